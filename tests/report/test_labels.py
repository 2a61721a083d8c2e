"""The leading label of a head: the score in which it stands farthest beyond the null, on one scale."""

from __future__ import annotations

import numpy as np
import pytest

from reportgen.report.labels import Label, count_led, leading_labels, margin, margins, null_line
from reportgen.scores import HeadScores

ONE = (0.0, 1.0)


def scores(key: str, values: list[float], beyond: list[bool] | None = None, line: float | None = None) -> HeadScores:
    grid = np.array([values], np.float32)
    p = None if beyond is None else np.where([beyond], 0.01, 0.5).astype(np.float32)
    why = "" if beyond is not None or line is not None else "a description"
    return HeadScores(key, key, grid, 10, p=p, line=line, no_null=why, range=(-1.0, 1.0) if min(values) < 0 else ONE)


def test_the_line_of_p_values_parts_the_heads_with_the_fewest_errors() -> None:
    assert null_line(scores("a/m/t", [0.1, 0.2, 0.5, 0.9], [False, False, True, True])) == pytest.approx(0.2)
    one_small = scores("a/m/t", [0.01, 0.2, 0.3, 0.5, 0.9], [True, False, False, True, True])
    assert null_line(one_small) == pytest.approx(0.3)  # the head at 0.01 is the one error
    assert null_line(scores("a/m/t", [-0.9, 0.2, 0.1, 0.0], [True, False, False, False])) == pytest.approx(0.2)
    assert null_line(scores("a/m/t", [0.1, 0.2], [True, True])) == 0
    assert null_line(scores("a/m/t", [0.1, 0.2], line=0.15)) == pytest.approx(0.15)
    assert null_line(scores("a/m/t", [0.1, 0.2], [False, False])) is None
    assert null_line(scores("a/m/t", [0.1, 0.2])) is None


def test_a_margin_counts_standard_deviations_from_the_line_or_the_median_head() -> None:
    rare = scores("a/m/t", [0.0, 0.0, 0.0, 0.8], line=0.2)
    assert margin(rare, 0.8) == pytest.approx(0.6 / np.std([0, 0, 0, 0.8]))
    assert np.isnan(margins(rare)[0, :3]).all()
    common = scores("a/m/t", [0.5, 0.6, 0.7, 0.8], line=0.1)
    assert margin(common, 0.8) == pytest.approx(0.15 / np.std([0.5, 0.6, 0.7, 0.8]))
    assert np.isnan(margins(common)[0, :2]).all()  # beyond the null, as most heads are, and below the median one
    assert margin(scores("a/m/t", [0.3, 0.3], line=0.1), 0.3) is None


def test_what_most_heads_do_leads_none_that_does_something_rare() -> None:
    common = scores("a/first/t", [0.7, 0.8, 0.6, 0.9, 0.75, 0.65, 0.85, 0.5], [True] * 8)
    rare = scores("a/induction/t", [0.0, 0.01, 0.0, 0.6, 0.0, 0.02, 0.0, 0.0], [False] * 3 + [True] + [False] * 4)
    labels = leading_labels([common, rare])
    assert labels[0, 3].key == "a/induction/t"
    assert labels[0, 3].margin > 2
    assert labels[0, 6].key == "a/first/t"
    assert set(labels) == {(0, 1), (0, 3), (0, 6), (0, 4)}  # the others stand out in nothing


def test_ties_are_named_and_multiples_count_once() -> None:
    effect = scores("a/direct/t", [0.0, 0.01, 0.0, 0.6, 0.0], line=0.1)
    raw = scores("a/direct_raw/t", [0.0, 0.0025, 0.0, 0.15, 0.0], line=0.025)
    other = scores("a/total/t", [0.0, 0.0, 0.02, 0.6, 0.0], line=0.11)
    weaker = scores("a/weak/t", [0.3, 0.0, 0.2, 0.6, 0.0], line=0.1)
    labels = leading_labels([effect, raw, other, weaker])
    assert labels[0, 3] == Label("a/direct/t", pytest.approx(labels[0, 3].margin), ("a/total/t",))
    assert count_led(labels) == {"a/direct/t": 1, "a/total/t": 1, "a/weak/t": 1}
    assert leading_labels([]) == {}
