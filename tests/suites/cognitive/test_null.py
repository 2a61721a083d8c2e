"""Permuted labels: what is kept, the line and its p, planted and null heads together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reportgen.suites.cognitive import null, probe
from reportgen.suites.cognitive.fit import intervals
from reportgen.suites.cognitive.recipe import preset

SMALL = replace(preset("recommended"), proj=6, hidden=12, batch=48)
LAYERS, HEADS, D, CLASSES = 3, 4, 4, 3
PLANTED = ((0, 1), (2, 3))


def _job(strength: float, seed: int = 0, steps: int = 40) -> null.Job:
    """Features of pure noise, but for two heads with a direction per class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(360) % CLASSES)
    z = rng.standard_normal((360, LAYERS, HEADS, D)) * np.exp(rng.normal(size=(LAYERS, HEADS, 1)))
    for layer, head in PLANTED:
        z[:, layer, head] += strength * z[:, layer, head].std() * rng.standard_normal((CLASSES, D))[labels]
    split = [torch.arange(a, b) for a, b in ((0, 200), (200, 280), (280, 360))]
    features = probe.make_features(torch.from_numpy(z), split[0], standardise=True, layer_mean=True)
    return null.Job(features, torch.from_numpy(labels), *split, CLASSES, SMALL, steps)


def _real(job: null.Job, seeds: int = 3) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """|own importance| [function head], mean over starts."""
    found = []
    for seed in range(seeds):
        made = probe.train(job.features, job.labels[None], job.train, job.recipe, job.steps, [seed], classes=CLASSES)
        own = probe.importance(made.probes, job.features, job.labels[None], job.selection, job.recipe).own
        found.append(null.class_means(own, job.labels[None, job.selection], CLASSES)[0].numpy())
    return np.abs(np.mean(found, axis=0, dtype=np.float64))


def test_planted_heads_are_beyond_the_line_and_null_heads_are_not() -> None:
    job = _job(1.5)
    drawn = null.run(job, np.zeros(360, np.int64), 99, 1, 0, lambda done, total: None)
    size, line = _real(job), null.line(drawn.maxima("own"), 0.05)
    beyond = (size > line).any(0).reshape(LAYERS, HEADS)
    assert [tuple(at) for at in np.argwhere(beyond)] == list(PLANTED)
    assert float(drawn.accuracy.mean()) == pytest.approx(1 / CLASSES, abs=0.03)


def test_nothing_planted_nothing_found() -> None:
    job = _job(0.0, seed=1)
    drawn = null.run(job, np.zeros(360, np.int64), 99, 1, 0, lambda done, total: None)
    assert not (_real(job) > null.line(drawn.maxima("own"), 0.05)).any()


def test_permuted_probes_take_as_many_steps_as_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def spy(*arguments: object, **named: object) -> probe.Trained:
        made = probe.train(*arguments, **named)  # type: ignore[arg-type]
        taken.append((made.steps, made.validation))
        return made

    monkeypatch.setattr(null, "train", spy)
    null.run(_job(1.0, steps=7), np.zeros(360, np.int64), 5, 2, 0, lambda done, total: None)
    assert set(taken) == {(7, ())}  # the same number, and no early stop


def test_results_do_not_depend_on_how_many_are_stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels and starts belong to the permutation; only the order of the examples is shared within a stack."""
    job, strata = _job(1.0, steps=4), np.zeros(360, np.int64)
    full = replace(job, recipe=replace(SMALL, batch=200, shuffle=False))
    one = null.run(full, strata, 6, 1, 0, lambda done, total: None)
    monkeypatch.setattr(null, "stack_size", lambda job: 2)
    again = null.run(full, strata, 6, 1, 0, lambda done, total: None)
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
    assert (size > null.line(drawn, alpha)) == (p <= alpha + 1e-12)


def test_a_line_needs_enough_permutations() -> None:
    with pytest.raises(ValueError, match="can't resolve"):
        null.line(np.zeros(10), 0.05)


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
