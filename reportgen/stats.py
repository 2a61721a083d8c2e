"""Intervals, nulls and families of tests, on numpy and scipy.

Rules that hold for every suite: an interval is 95 % unless it says otherwise; a sampled p-value is (1 + #) / (B + 1);
heads that were not computed (NaN) are no members of any family and keep NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Z95 = 1.959963984540054  # the normal distribution's 97.5 % point


def wilson(hits: npt.ArrayLike, n: npt.ArrayLike, z: float = Z95) -> tuple[Floats, Floats]:
    """Wilson's score interval of a share, elementwise (Wilson 1927; Brown, Cai and DasGupta 2001).

    (p + z^2/2n +- z sqrt(p (1-p)/n + z^2/4n^2)) / (1 + z^2/n) with p = hits/n. NaN where n is 0 or hits is NaN.
    """
    h, m = np.broadcast_arrays(np.asarray(hits, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if np.any(h > m) or np.any(h < 0):
        raise ValueError("wilson: hits outside 0..n")
    with np.errstate(divide="ignore", invalid="ignore"):
        p = h / m
        centre = p + z * z / (2 * m)
        half = z * np.sqrt(p * (1 - p) / m + z * z / (4 * m * m))
        low, high = (centre - half) / (1 + z * z / m), (centre + half) / (1 + z * z / m)
    low, high = np.where(h == 0, 0.0, low), np.where(h == m, 1.0, high)  # exactly, not up to rounding
    empty = ~(m > 0) | np.isnan(h)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)
