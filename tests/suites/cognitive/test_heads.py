"""The elbow, overlaps and the small statistics about sets of heads."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.suites.cognitive import baselines, heads
from reportgen.suites.cognitive.dataset import answer_shape
from reportgen.suites.cognitive.rows import Row


def test_elbow_of_a_bent_line() -> None:
    values = [1.0, 0.8, 0.6, 0.1, 0.09, 0.08, 0.07, 0.06]
    assert heads.elbow(np.random.default_rng(0).permutation(values) * -1) == 3
    assert heads.elbow([1.0, 0.5]) == 0
    assert heads.elbow([0.3, np.nan, 1.0, 0.2, 0.1]) == heads.elbow([0.3, 1.0, 0.2, 0.1])


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=40))
def test_elbow_is_the_point_farthest_from_the_chord(values: list[float]) -> None:
    """Against the distance itself: |(end - start) x (point - start)| over the chord's length."""
    y = np.sort(np.abs(values))[::-1]
    end = np.array([len(y) - 1, y[-1] - y[0]])
    points = np.stack([np.arange(len(y)), y - y[0]], axis=1)
    below = (end[1] * points[:, 0] - end[0] * points[:, 1]) / np.hypot(*end)
    assert below[heads.elbow(values)] == pytest.approx(below.max(), abs=1e-9)


def test_elbow_finds_many_heads_in_noise() -> None:
    found = heads.elbow_on_noise(1024, 0)
    assert 120 < found["mean"] < 190  # published head counts, 59 to 139, are of this order
    assert found["low"] < found["mean"] < found["high"]


def test_ranking_goes_by_size_and_leaves_nan_out() -> None:
    assert heads.ranking([[0.1, -3.0], [np.nan, 2.0]]).tolist() == [1, 3, 0]


def test_overlap_against_counting() -> None:
    """Every way of placing the second set within its layers, counted."""
    layers, width = 2, 4
    first, second = np.array([0, 1, 5]), np.array([1, 2, 6])
    both, expected, p = heads.overlap(first, second, layers, width)
    ways = [{*a, *b} for a in combinations(range(4), 2) for b in combinations(range(4, 8), 1)]
    counts = [len(way & set(first.tolist())) for way in ways]
    assert both == 1
    assert expected == pytest.approx(np.mean(counts))
    assert p == pytest.approx(np.mean(np.array(counts) >= 1))


def test_holm() -> None:
    assert heads.holm([0.01, np.nan, 0.04, 0.03]).tolist() == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert heads.holm([0.9, 0.8]).max() == 1.0


def test_agreement_between_seeds() -> None:
    same = np.tile(np.arange(10.0), (3, 1))
    assert heads.agreement(same, 3) == (pytest.approx(1.0), 1.0)
    spearman, jaccard = heads.agreement(np.stack([np.arange(10.0), np.arange(10.0)[::-1]]), 3)
    assert spearman == pytest.approx(-1.0)
    assert jaccard == 0.0
    assert np.isnan(heads.agreement(same[:1], 3)).all()


def _row(i: int, text: str, answer: str, function: str, step: int = 0) -> Row:
    return Row(f"r{i}", f"r{i}", step, "", (), text, answer, function, "train")


def test_naive_bayes_reads_words_and_ignores_unseen_ones() -> None:
    rows = [_row(i, ("how many", "who is")[i % 2], "x", "AB"[i % 2]) for i in range(10)]
    rows += [_row(10, "who", "x", "B"), _row(11, "never seen", "x", "A")]
    labels, train = np.array(["AB".index(row.function) for row in rows]), np.arange(10)
    guesses = baselines.predict_all(rows, labels, train, 2)
    assert guesses["words"][10] == 1
    assert guesses["words"][11] == guesses["majority"][11]
    assert (guesses["position_shape"] == guesses["majority"]).all()  # nothing to read


def test_naive_bayes_reads_position_and_answer_form() -> None:
    rows = [_row(i, "same", ("yes", "seven")[i % 2], "AB"[i % 2], step=i % 2) for i in range(10)]
    labels = np.array([i % 2 for i in range(10)])
    assert (baselines.predict_all(rows, labels, np.arange(10), 2)["position_shape"] == labels).all()


def test_strata_are_given_up_where_they_fix_the_labels() -> None:
    free = [_row(i, "q", "yes", "AB"[(i // 2) % 2], step=i % 2) for i in range(16)]
    assert baselines.strata(free)[1] == "split, chain position and answer shape"
    by_shape = [_row(i, "q", ("yes", "seven")[i % 2], "AB"[i % 2], step=0) for i in range(16)]
    assert baselines.strata(by_shape)[1] == "split and chain position"
    by_step = [_row(i, "q", "yes", "AB"[i % 2], step=i % 2) for i in range(16)]
    assert baselines.strata(by_step)[1] == "split"


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
    assert baselines.balanced_accuracy(predicted, truth, 2) == 0.5
    assert np.isnan(baselines.recalls(predicted, truth, 3)[2])
