"""How alike two scores are over heads: Pearson and Spearman, with intervals by a bootstrap over heads.

Heads that share a value matrix (one key-value group) are drawn together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as scipy_stats

Floats = npt.NDArray[np.float64]
MIN_HEADS = 5  # a correlation over fewer says nothing


@dataclass(frozen=True)
class Agreement:
    """Correlations with 95 % percentile intervals over `n` heads; NaN where a score does not vary."""

    pearson: float
    pearson_low: float
    pearson_high: float
    spearman: float
    spearman_low: float
    spearman_high: float
    n: int


def head_weights(n_layers: int, n_heads: int, n_kv: int, draws: int, rng: np.random.Generator) -> Floats:
    """How often each head is drawn [draw layer*head]; key-value groups are drawn whole."""
    groups = n_layers * n_kv
    counts = rng.multinomial(groups, np.full(groups, 1 / groups), size=draws)  # [draw group]
    return np.repeat(counts, n_heads // n_kv, axis=1).astype(np.float64)


def agreement(a: npt.ArrayLike, b: npt.ArrayLike, weights: Floats) -> Agreement:
    """Of two scores over all heads, flat [layer*head]; heads that are NaN in either are left out."""
    x, y = (np.asarray(v, dtype=np.float64).reshape(-1) for v in (a, b))
    use = np.isfinite(x) & np.isfinite(y)
    x, y, drawn = x[use], y[use], weights[:, use]
    if len(x) < MIN_HEADS:
        return Agreement(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, len(x))
    once = np.ones((1, len(x)))
    pearson = _pearson(x[None], y[None], once)[0]
    spearman = _pearson(_ranks(x, once), _ranks(y, once), once)[0]
    low, high = _interval(_pearson(x[None], y[None], drawn))
    rank_low, rank_high = _interval(_pearson(_ranks(x, drawn), _ranks(y, drawn), drawn))
    return Agreement(float(pearson), low, high, float(spearman), rank_low, rank_high, len(x))


def paper_correlation(static: npt.ArrayLike, dynamic: npt.NDArray[np.float64]) -> tuple[float, float]:
    """(r, p) over all heads and templates at once, the static score repeated: dynamic [template layer head].

    As Elhelo and Geva (2025) print it. The p-value takes the templates as independent heads, which they are not.
    """
    y = dynamic.reshape(len(dynamic), -1)
    x = np.tile(np.asarray(static, dtype=np.float64).reshape(-1), (len(dynamic), 1))
    use = np.isfinite(x) & np.isfinite(y)
    if use.sum() < MIN_HEADS or np.ptp(x[use]) == 0 or np.ptp(y[use]) == 0:
        return math.nan, math.nan
    result = scipy_stats.pearsonr(x[use], y[use])
    return float(result.statistic), float(result.pvalue)


def _ranks(x: Floats, weights: Floats) -> Floats:
    """Mid-ranks [draw head] of x [head] in the sample that holds head i weights[draw, i] times."""
    levels, at = np.unique(x, return_inverse=True)
    mass = weights @ (at[:, None] == np.arange(len(levels))).astype(np.float64)  # [draw level]
    return np.asarray((np.cumsum(mass, axis=1) - mass / 2 + 0.5)[:, at])


def _pearson(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Weighted correlation per draw [draw]; NaN where one side does not vary."""
    total = weights.sum(1, keepdims=True)
    x = x - (weights * x).sum(1, keepdims=True) / total
    y = y - (weights * y).sum(1, keepdims=True) / total
    xx, yy, xy = ((weights * part).sum(1) for part in (x * x, y * y, x * y))
    flat = (xx <= 1e-12 * weights.sum(1)) | (yy <= 1e-12 * weights.sum(1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flat, np.nan, np.clip(xy / np.sqrt(xx * yy), -1, 1))


def _interval(draws: Floats) -> tuple[float, float]:
    """95 % percentile interval; NaN when more than one draw in twenty has no value."""
    known = draws[np.isfinite(draws)]
    if not len(known) or len(known) < 0.95 * len(draws):
        return math.nan, math.nan
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)
