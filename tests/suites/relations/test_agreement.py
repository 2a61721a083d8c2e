"""Correlations over heads and their bootstrap, against scipy and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from reportgen.suites.relations.scoring.correlation import agreement, head_weights


def test_agreement_is_scipy_s_and_its_interval_that_of_a_loop() -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 6, 24) / 6  # with ties
    y = x + rng.normal(0, 0.4, 24)
    weights = head_weights(6, 4, 2, 300, rng)
    got = agreement(x.reshape(6, 4), y.reshape(6, 4), weights)
    assert got.pearson == pytest.approx(scipy_stats.pearsonr(x, y).statistic)
    assert got.spearman == pytest.approx(scipy_stats.spearmanr(x, y).statistic)
    draws = [np.repeat(np.arange(24), w.astype(int)) for w in weights]
    pearson = [scipy_stats.pearsonr(x[i], y[i]).statistic for i in draws]
    spearman = [scipy_stats.spearmanr(x[i], y[i]).statistic for i in draws]
    np.testing.assert_allclose((got.pearson_low, got.pearson_high), np.percentile(pearson, (2.5, 97.5)))
    np.testing.assert_allclose((got.spearman_low, got.spearman_high), np.percentile(spearman, (2.5, 97.5)))
    assert (weights[:, 0::2] == weights[:, 1::2]).all()  # heads of one key-value group come together


def test_agreement_leaves_out_missing_heads_and_flat_scores() -> None:
    weights = head_weights(3, 4, 4, 20, np.random.default_rng(0))
    x = np.linspace(0, 1, 12)
    x[3] = np.nan
    assert agreement(x, 2 * x + 1, weights).n == 11
    assert agreement(x, 2 * x + 1, weights).pearson == pytest.approx(1)
    assert np.isnan(agreement(x, np.full(12, 0.1), weights).pearson)
