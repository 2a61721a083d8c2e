"""Which heads belong to a function: the published elbow, and the heads beyond the family-wise line."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_NOISE_DRAWS = 300


def ranking(values: npt.ArrayLike) -> Ints:
    """Flat head numbers by falling |value|; equal values in the order of the grid, NaN left out."""
    size = np.abs(np.asarray(values, dtype=np.float64).reshape(-1))
    order = np.argsort(-size, kind="stable")
    return order[~np.isnan(size[order])]


def elbow(values: npt.ArrayLike) -> int:
    """Heads kept by the paper's rule: |I| in falling order, up to the point farthest below the chord of its ends."""
    size = np.abs(np.asarray(values, dtype=np.float64).reshape(-1))
    y = np.sort(size[~np.isnan(size)])[::-1]
    if len(y) < 3:
        return 0
    chord = y[0] + (y[-1] - y[0]) * np.arange(len(y)) / (len(y) - 1)
    return int(np.argmax(chord - y))


def elbow_on_noise(heads: int, seed: int) -> dict[str, float]:
    """How many heads the elbow keeps of pure noise: mean and 5-95 % range over normal draws of this many heads."""
    rng = np.random.default_rng([seed, 7])
    kept = [elbow(rng.standard_normal(heads)) for _ in range(_NOISE_DRAWS)]
    low, high = np.quantile(kept, [0.05, 0.95])
    return {"mean": float(np.mean(kept)), "low": float(low), "high": float(high), "draws": float(_NOISE_DRAWS)}


def overlap(first: Ints, second: Ints, layers: int, heads: int) -> tuple[int, float, float]:
    """Heads in both sets; their expectation and the one-sided p of as many or more, for sets placed at random in their
    own layers (a hypergeometric count per layer, added up exactly)."""
    both = len(np.intersect1d(first, second))
    a = np.bincount(first // heads, minlength=layers)
    b = np.bincount(second // heads, minlength=layers)
    total = np.ones(1)
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        total = np.convolve(total, _hypergeometric(heads, x, y))
    return both, float((a * b / heads).sum()), float(min(1.0, total[both:].sum()))


def _hypergeometric(population: int, marked: int, drawn: int) -> Floats:
    """P(k marked among the drawn), k = 0..min(marked, drawn)."""
    ways = comb(population, drawn)
    return np.array(
        [comb(marked, k) * comb(population - marked, drawn - k) / ways for k in range(min(marked, drawn) + 1)]
    )


def holm(p: npt.ArrayLike) -> Floats:
    """Holm's step-down adjustment; NaN is no test and stays."""
    values = np.asarray(p, dtype=np.float64)
    out = np.full(values.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    steps = values[order] * (len(order) - np.arange(len(order)))
    out[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return out


def jaccard(first: Ints, second: Ints) -> float:
    """Shared heads over all heads of two sets; 1 for two empty ones."""
    union = len(np.union1d(first, second))
    return 1.0 if not union else len(np.intersect1d(first, second)) / union


def agreement(seeds: Floats, top: int) -> tuple[float, float]:
    """Mean Spearman correlation of |I| and mean Jaccard index of the first `top` heads, over pairs of seeds [S J]."""
    from scipy.stats import spearmanr

    size = np.abs(seeds[:, ~np.isnan(seeds).any(0)])
    pairs = list(combinations(range(len(size)), 2))
    if not pairs or size.shape[1] < 3:
        return float("nan"), float("nan")
    rank = [float(spearmanr(size[i], size[j]).statistic) for i, j in pairs]
    shared = [jaccard(ranking(size[i])[:top], ranking(size[j])[:top]) for i, j in pairs]
    return float(np.mean(rank)), float(np.mean(shared))


def starts_words(null: Mapping[str, object]) -> str:
    """Whether a permutation was averaged over as many starts as the real importance."""
    each, real = null.get("seeds_each"), null.get("seeds")
    if not (isinstance(each, int) and isinstance(real, int)):
        return ""
    if each < real:
        return f", {each} start{'s' if each > 1 else ''} each against {real} in the map: conservative"
    return f", {each} starts each as in the map"
