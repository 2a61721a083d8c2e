"""Intervals of shares over pairs that are not independent of each other: same target, or same template."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from reportgen.stats import wilson

Floats = npt.NDArray[np.float64]


def two_way_wilson(hits: npt.NDArray[Any], clusters: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Wilson's interval of the mean of hits [template pair ...] over both axes, with an effective n: (low, high) [...].

    The variance is clustered both ways, by template and by `clusters` (the pairs' targets): V = V_cluster + V_template
    - V_cell, each the sum of squared residual sums (Cameron, Gelbach and Miller, J. Bus. Econ. Stat. 29, 2011), at
    least as large as either alone. The effective n is p (1 - p) / V, at most the number of pairs: the same pair under
    another template is no new pair. A share of 0 or 1 shows no variance, and n is the number of clusters, as in
    stats.clustered_wilson.
    """
    templates, pairs = hits.shape[:2]
    y = hits.reshape(templates, pairs, -1).astype(np.float64)
    p = y.mean((0, 1))  # [share]
    kinds, of = np.unique(np.asarray(clusters), return_inverse=True)
    member = (of == np.arange(len(kinds))[:, None]).astype(np.float64)  # [cluster pair]
    sums = member @ (y - p)  # [template cluster share]
    V = _variance(sums.sum(0), templates * pairs)
    if templates > 1:
        V_template = _variance(sums.sum(1), templates * pairs)
        V_cell = _variance(sums.reshape(-1, y.shape[2]), templates * pairs)
        V = np.maximum(V + V_template - V_cell, np.maximum(V, V_template))
    inner = (p > 0) & (p < 1)
    binomial = np.where(inner, p * (1 - p) / pairs, 1)
    n = np.where(inner, np.maximum(pairs / np.maximum(np.where(inner, V, 1) / binomial, 1), 1), len(kinds))
    low, high = wilson(p * n, n)
    return low.reshape(hits.shape[2:]), high.reshape(hits.shape[2:])


def _variance(sums: Floats, n: int) -> Floats:
    """Variance of a mean of n values from the clusters' residual sums [cluster share]; infinite for one cluster."""
    if len(sums) < 2:
        return np.full(sums.shape[1], np.inf)
    return np.asarray(len(sums) / (len(sums) - 1) * (sums**2).sum(0) / n**2)
