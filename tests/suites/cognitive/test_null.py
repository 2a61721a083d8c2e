"""What a probe is read against: permuted labels, the line and its p, the elbow, surface features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reportgen.suites.cognitive.rows import Row
from reportgen.suites.cognitive.scoring import null, probe
from reportgen.suites.cognitive.scoring.dataset import answer_shape
from reportgen.suites.cognitive.scoring.fit import intervals
from reportgen.suites.cognitive.suite import preset

SMALL = replace(preset("recommended"), proj=6, hidden=12, batch=48)
LAYERS, HEADS, D, CLASSES = 3, 4, 4, 3
PLANTED = ((0, 1), (2, 3))


def _job(strength: float, seed: int = 0, steps: int = 40) -> null.ProbeJob:
    """Features of pure noise, but for two heads with a direction per class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(360) % CLASSES)
    z = rng.standard_normal((360, LAYERS, HEADS, D)) * np.exp(rng.normal(size=(LAYERS, HEADS, 1)))
    for layer, head in PLANTED:
        z[:, layer, head] += strength * z[:, layer, head].std() * rng.standard_normal((CLASSES, D))[labels]
    split = [torch.arange(a, b) for a, b in ((0, 200), (200, 280), (280, 360))]
    features = probe.make_features(torch.from_numpy(z), split[0], standardise=True, layer_mean=True)
    return null.ProbeJob(features, torch.from_numpy(labels), *split, CLASSES, SMALL, steps)


def _real(job: null.ProbeJob, seeds: int = 3) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """|own importance| [function head], mean over starts."""
    found = []
    for seed in range(seeds):
        made = probe.train(job.features, job.labels[None], job.train, job.recipe, job.steps, [seed], classes=CLASSES)
        own = probe.importance(made.probes, job.features, job.labels[None], job.selection, job.recipe).own
        found.append(null.class_means(own, job.labels[None, job.selection], CLASSES)[0].numpy())
    return np.abs(np.mean(found, axis=0, dtype=np.float64))


def test_planted_heads_are_beyond_the_line_and_null_heads_are_not() -> None:
    job = _job(1.5)
    drawn = null.train_permuted(job, np.zeros(360, np.int64), 99, 1, 0, lambda done, total: None)
    size, line = _real(job), null.family_line(drawn.maxima("own"), 0.05)
    beyond = (size > line).any(0).reshape(LAYERS, HEADS)
    assert [tuple(at) for at in np.argwhere(beyond)] == list(PLANTED)
    assert float(drawn.accuracy.mean()) == pytest.approx(1 / CLASSES, abs=0.03)


def test_nothing_planted_nothing_found() -> None:
    job = _job(0.0, seed=1)
    drawn = null.train_permuted(job, np.zeros(360, np.int64), 99, 1, 0, lambda done, total: None)
    assert not (_real(job) > null.family_line(drawn.maxima("own"), 0.05)).any()


def test_permuted_probes_take_as_many_steps_as_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def spy(*arguments: object, **named: object) -> probe.Trained:
        made = probe.train(*arguments, **named)  # type: ignore[arg-type]
        taken.append((made.steps, made.validation))
        return made

    monkeypatch.setattr(null, "train", spy)
    null.train_permuted(_job(1.0, steps=7), np.zeros(360, np.int64), 5, 2, 0, lambda done, total: None)
    assert set(taken) == {(7, ())}  # the same number, and no early stop


def test_results_do_not_depend_on_how_many_are_stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels and starts belong to the permutation; only the order of the examples is shared within a stack."""
    job, strata = _job(1.0, steps=4), np.zeros(360, np.int64)
    full = replace(job, recipe=replace(SMALL, batch=200, shuffle=False))
    one = null.train_permuted(full, strata, 6, 1, 0, lambda done, total: None)
    monkeypatch.setattr(null, "stack_size", lambda job: 2)
    again = null.train_permuted(full, strata, 6, 1, 0, lambda done, total: None)
    assert np.allclose(one.own, again.own, atol=1e-5)
    assert np.array_equal(one.accuracy, again.accuracy)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.integers(0, 99))
def test_labels_are_permuted_within_strata(where: list[int], seed: int) -> None:
    strata = np.array(where)
    labels = np.arange(len(where)) % 3
    made = null.permuted(labels, strata, 4, np.random.default_rng(seed))
    for stratum in set(where):
        inside = strata == stratum
        assert all(sorted(row[inside]) == sorted(labels[inside]) for row in made)


@given(st.lists(st.floats(0, 1), min_size=99, max_size=250), st.floats(0, 1), st.sampled_from([0.01, 0.05, 0.1]))
def test_beyond_the_line_means_p_at_most_alpha(maxima: list[float], size: float, alpha: float) -> None:
    drawn = np.array(maxima)
    p = float(null.adjusted_p(np.array([size]), drawn)[0])
    assert (size > null.family_line(drawn, alpha)) == (p <= alpha + 1e-12)


def test_a_line_needs_enough_permutations() -> None:
    with pytest.raises(ValueError, match="can't resolve"):
        null.family_line(np.zeros(10), 0.05)


def test_intervals_resample_chains() -> None:
    """Rows of one chain go together: with one chain there is no spread."""
    values = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)
    labels = np.arange(40) % 2
    low, high = intervals(values, labels, [f"c{i}" for i in range(40)], 2, 500, np.random.default_rng(0))
    for c in range(2):
        mine = values[labels == c]
        wide = 1.96 * mine.std(0) / len(mine) ** 0.5
        assert np.allclose(low[c], mine.mean(0) - wide, atol=0.5 * wide.max())
        assert np.allclose(high[c], mine.mean(0) + wide, atol=0.5 * wide.max())


def test_elbow_of_a_bent_line() -> None:
    values = [1.0, 0.8, 0.6, 0.1, 0.09, 0.08, 0.07, 0.06]
    assert null.elbow(np.random.default_rng(0).permutation(values) * -1) == 3
    assert null.elbow([1.0, 0.5]) == 0
    assert null.elbow([0.3, np.nan, 1.0, 0.2, 0.1]) == null.elbow([0.3, 1.0, 0.2, 0.1])


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=40))
def test_elbow_is_the_point_farthest_from_the_chord(values: list[float]) -> None:
    """Against the distance itself: |(end - start) x (point - start)| over the chord's length."""
    y = np.sort(np.abs(values))[::-1]
    end = np.array([len(y) - 1, y[-1] - y[0]])
    points = np.stack([np.arange(len(y)), y - y[0]], axis=1)
    below = (end[1] * points[:, 0] - end[0] * points[:, 1]) / np.hypot(*end)
    assert below[null.elbow(values)] == pytest.approx(below.max(), abs=1e-9)


def test_elbow_finds_many_heads_in_noise() -> None:
    found = null.elbow_on_noise(1024, 0)
    assert 120 < found.mean < 190  # published head counts, 59 to 139, are of this order
    assert found.low < found.mean < found.high


def test_ranking_goes_by_size_and_leaves_nan_out() -> None:
    assert null.ranking([[0.1, -3.0], [np.nan, 2.0]]).tolist() == [1, 3, 0]


def test_agreement_between_seeds() -> None:
    same = np.tile(np.arange(10.0), (3, 1))
    assert null.agreement(same, 3) == (pytest.approx(1.0), 1.0)
    spearman, jaccard = null.agreement(np.stack([np.arange(10.0), np.arange(10.0)[::-1]]), 3)
    assert spearman == pytest.approx(-1.0)
    assert jaccard == 0.0
    assert np.isnan(null.agreement(same[:1], 3)).all()


def _row(i: int, text: str, answer: str, function: str, step: int = 0) -> Row:
    return Row(f"r{i}", f"r{i}", step, "", (), text, answer, function, "train")


def test_naive_bayes_reads_words_and_ignores_unseen_ones() -> None:
    rows = [_row(i, ("how many", "who is")[i % 2], "x", "AB"[i % 2]) for i in range(10)]
    rows += [_row(10, "who", "x", "B"), _row(11, "never seen", "x", "A")]
    labels, train = np.array(["AB".index(row.function) for row in rows]), np.arange(10)
    guesses = null.predict_all(rows, labels, train, 2)
    assert guesses["words"][10] == 1
    assert guesses["words"][11] == guesses["majority"][11]
    assert (guesses["position_shape"] == guesses["majority"]).all()  # nothing to read


def test_naive_bayes_reads_position_and_answer_form() -> None:
    rows = [_row(i, "same", ("yes", "seven")[i % 2], "AB"[i % 2], step=i % 2) for i in range(10)]
    labels = np.array([i % 2 for i in range(10)])
    assert (null.predict_all(rows, labels, np.arange(10), 2)["position_shape"] == labels).all()


def test_strata_are_given_up_where_they_fix_the_labels() -> None:
    free = [_row(i, "q", "yes", "AB"[(i // 2) % 2], step=i % 2) for i in range(16)]
    assert null.strata_of(free)[1] == "split, chain position and answer shape"
    by_shape = [_row(i, "q", ("yes", "seven")[i % 2], "AB"[i % 2], step=0) for i in range(16)]
    assert null.strata_of(by_shape)[1] == "split and chain position"
    by_step = [_row(i, "q", "yes", "AB"[i % 2], step=i % 2) for i in range(16)]
    assert null.strata_of(by_step)[1] == "split"


def test_answer_shapes() -> None:
    shapes = {
        "Yes.": "yes/no",
        "7": "number",
        "twelve": "number",
        "Paris": "name",
        "paris": "word",
        "a red kite": "phrase",
    }
    assert {answer: answer_shape(answer) for answer in shapes} == shapes
    assert answer_shape("it is because of the rain") == "sentence"


def test_balanced_accuracy() -> None:
    truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])
    assert null.balanced_accuracy(predicted, truth, 2) == 0.5
    assert np.isnan(null.recalls(predicted, truth, 3)[2])
