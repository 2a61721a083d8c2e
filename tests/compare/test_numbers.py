from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from reportgen.compare.numbers import at_depths, depths, difference, profile, spearman
from reportgen.scores import HeadScores
from tests.figures import samples


@given(st.integers(0, 10_000), st.integers(5, 40))
def test_spearman_is_scipys_and_inside_its_interval(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 6, n).astype(float), rng.normal(size=n)
    if np.ptp(x) == 0:
        return
    found = spearman(np.append(x, np.nan), np.append(y, 1.0))
    assert found.n == n
    assert found.rho == pytest.approx(spearmanr(x, y).statistic)
    assert -1 <= found.low <= found.high <= 1


def test_spearman_interval_covers_and_narrows() -> None:
    """Two scores of correlation .8: the interval holds the truth in about 38 of 40 samples of 60 heads."""
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=60)
        y = 0.8 * x + 0.6 * rng.normal(size=60)
        found = spearman(x, y)
        covered += found.low <= 6 / np.pi * np.arcsin(0.4) <= found.high  # Spearman's rho of a normal pair with r = .8
    assert 34 <= covered <= 40


def test_too_few_or_constant_points_have_no_correlation() -> None:
    assert np.isnan(spearman(np.arange(3.0), np.arange(3.0)).rho)
    assert np.isnan(spearman(np.ones(9), np.arange(9.0)).rho)


def test_depth_runs_from_the_first_layer_to_the_last() -> None:
    np.testing.assert_array_equal(depths(3), [0, 0.5, 1])
    np.testing.assert_array_equal(depths(1), [0])
    mean = profile(np.array([[1.0, 3.0], [np.nan, np.nan], [5.0, 5.0]]))[:, 0]
    np.testing.assert_array_equal(mean, [2.0, np.nan, 5.0])
    np.testing.assert_allclose(at_depths(mean, 5), [2, 2.75, 3.5, 4.25, 5])
    assert np.isnan(at_depths(np.array([1.0, np.nan]), 4)).all()


def test_a_head_missing_in_either_run_has_no_difference_and_says_why() -> None:
    values = np.zeros((1, 2), np.float32)
    gap = np.array([[np.nan, 0.5]], np.float32)
    plain = HeadScores("a/b/c", "x", values, 4, no_null="n", range=(0, 1))
    holed = HeadScores("a/b/c", "x", gap, 3, no_null="n", range=(0, 1), reasons={"L0H0": "inactive"})
    found = difference("compared/difference/x", "x", plain, holed)
    assert found.reason(0, 0) == "inactive"
    assert found.values[0, 1] == 0.5
    assert (found.n, found.low, found.range) == (3, None, (-1, 1))
    open_ended = HeadScores("a/b/c", "x", values, 4, no_null="n")
    assert difference("compared/difference/x", "x", open_ended, plain).range == (-np.inf, np.inf)


def test_estimates_are_not_subtracted() -> None:
    exact, some = samples.signed(), samples.estimated()
    found = difference("compared/m/t", "x", exact, some)
    assert np.isfinite(found.values[0]).all()
    assert np.isnan(found.values[1:]).all()
    assert found.reason(2, 3) == some.how_estimated
