"""Numbers of a comparison: differences with intervals, rank correlations, layer profiles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.scores import EVERY_HEAD, FloatGrid, HeadScores, head_name

DRAWS = 2000
SEED = 0
LEAST = 4  # points below which no correlation is given
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """Spearman's correlation of `n` points with a 95 % bootstrap interval; NaN where there are too few points."""

    rho: float
    low: float
    high: float
    n: int


def difference(key: str, label: str, first: HeadScores, other: HeadScores) -> HeadScores:
    """`other` minus `first`, head by head, where both are exact.

    The interval is put together from both runs' 95 % intervals as if they were independent (MOVER; Zou and Donner 2008,
    Statistics in Medicine 27): runs that share examples have a narrower one.
    """
    values = other.exact_values.astype(np.float64) - first.exact_values.astype(np.float64)  # [layer head]
    low, high = _mover(values, first, other)
    ends = (first.range[0] - other.range[1], first.range[1] - other.range[0])
    reach = max((abs(end) for end in ends if math.isfinite(end)), default=math.inf)
    reach = reach if all(math.isfinite(end) for end in ends) else math.inf
    return HeadScores(
        key, label, values.astype(np.float32), n=min(first.n, other.n), low=low, high=high,
        no_null="a difference of two runs has no null here: read its interval", range=(-reach, reach),
        reasons=_reasons(values, first, other),
    )  # fmt: skip


def _mover(values: Floats, first: HeadScores, other: HeadScores) -> tuple[FloatGrid | None, FloatGrid | None]:
    if first.low is None or first.high is None or other.low is None or other.high is None:
        return None, None
    a, b = first.values.astype(np.float64), other.values.astype(np.float64)
    down = np.hypot(b - other.low, first.high - a)
    up = np.hypot(other.high - b, a - first.low)
    return (values - down).astype(np.float32), (values + up).astype(np.float32)


def _reasons(values: Floats, first: HeadScores, other: HeadScores) -> dict[str, str]:
    found = {}
    for layer, head in np.argwhere(np.isnan(values)):
        at = (int(layer), int(head))
        found[head_name(*at)] = first.note(*at) or other.note(*at) or "not computed"
    return found or {EVERY_HEAD: "not computed"}


def spearman(x: Floats, y: Floats) -> Correlation:
    """Spearman's rho of the points where both are known; the interval resamples points (2,000 draws, seed 0)."""
    known = np.isfinite(x) & np.isfinite(y)
    a, b = x[known], y[known]
    if len(a) < LEAST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(math.nan, math.nan, math.nan, len(a))
    draws = np.random.default_rng(SEED).integers(0, len(a), (DRAWS, len(a)))
    rhos = _rho(a[draws], b[draws])
    low, high = np.quantile(rhos[np.isfinite(rhos)], [0.025, 0.975])
    return Correlation(float(_rho(a[None], b[None])[0]), float(low), float(high), len(a))


def _rho(a: Floats, b: Floats) -> Floats:
    """Row by row [draw point]: Pearson's correlation of the mid-ranks; NaN where a row is constant."""
    from scipy.stats import rankdata

    x, y = rankdata(a, axis=1), rankdata(b, axis=1)
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1)), dtype=np.float64)


def sized(values: npt.NDArray[np.floating], signed: bool) -> Floats:
    """Values, or their sizes where a score can be negative."""
    plain = values.astype(np.float64)
    return np.abs(plain) if signed else plain


def depths(layers: int) -> Floats:
    """Relative depth of every layer: 0 the first, 1 the last."""
    return np.arange(layers) / max(1, layers - 1)


def profile(values: Floats) -> Floats:
    """[layer, 3] mean and quartiles over the heads of each layer; NaN for a layer without a value."""
    rows = []
    for row in values:
        known = row[np.isfinite(row)]
        rows.append((known.mean(), *np.quantile(known, [0.25, 0.75])) if known.size else (np.nan,) * 3)
    return np.array(rows, dtype=np.float64)


def at_depths(mean: Floats, count: int) -> Floats:
    """A profile's means at `count` equally spaced relative depths, by linear interpolation between layers."""
    known = np.isfinite(mean)
    if known.sum() < 2:
        return np.full(count, np.nan)
    return np.interp(depths(count), depths(len(mean))[known], mean[known])
