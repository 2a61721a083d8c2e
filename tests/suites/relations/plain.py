"""A reference that scores one head and one pair at a time in float64; the weights in memory are the self-test's."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from reportgen.selftest.planted import PlainTokens, PlainWeights, random_weights

__all__ = ["PlainTokens", "PlainWeights", "random_weights", "reference_logits", "reference_twice"]


def reference_logits(x: Tensor, W_V: Tensor, W_O: Tensor, W_U: Tensor, head: int) -> np.ndarray:
    """One head's row x W_V W_O W_U in float64, the products in the plain order."""
    group = head // (len(W_O) // len(W_V))
    return ((x.double() @ W_V[group].double()) @ W_O[head].double() @ W_U.double()).numpy()


def reference_twice(row: np.ndarray, target: int, *, without: int | None = None) -> int:
    """Twice the mid-rank of `target` in a row of logits; nearer than 1e-14 of the largest logit is a tie."""
    near = 1e-14 * max(1e-300, float(np.abs(row).max()))
    others = np.ones(len(row), dtype=bool)
    others[target] = False
    if without is not None:
        others[without] = False
    gap = row[others] - row[target]
    return int(2 + 2 * (gap > near).sum() + (np.abs(gap) <= near).sum())
