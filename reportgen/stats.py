"""Intervals, nulls and families of tests, on numpy and scipy.

Rules that hold for every suite: an interval is 95 % unless it says otherwise; a sampled p-value is (1 + #) / (B + 1);
heads that were not computed (NaN) are no members of any family and keep NaN. scipy takes a second to import, and is
imported where it is used: drawing and looking suites up need this module too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Bools, Floats

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


def clustered_wilson(hits: npt.ArrayLike, clusters: Sequence[object], z: float = Z95) -> tuple[float, float]:
    """Wilson's interval of a share whose examples come in clusters (pairs that share a target), hits [n] of 0 and 1.

    n is divided by the design effect sum_c (sum_{i in c} (y_i - p))^2 / sum_i (y_i - p)^2, at least 1 (Kish 1965);
    if all examples agree there is no variance to estimate it from, and n is the number of clusters.
    """
    y = np.asarray(hits, dtype=np.float64)
    if y.size == 0:
        return float("nan"), float("nan")
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    p = float(y.mean())
    within = float(((y - p) ** 2).sum())
    if within == 0:
        effective = float(member.max() + 1)
    else:
        between = float((np.bincount(member, weights=y - p) ** 2).sum())
        effective = y.size / max(1.0, between / within)
    low, high = wilson(p * effective, effective, z)
    return float(low), float(high)


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
    V = _variance_of_mean(sums.sum(0), templates * pairs)
    if templates > 1:
        V_template = _variance_of_mean(sums.sum(1), templates * pairs)
        V_cell = _variance_of_mean(sums.reshape(-1, y.shape[2]), templates * pairs)
        V = np.maximum(V + V_template - V_cell, np.maximum(V, V_template))
    inner = (p > 0) & (p < 1)
    binomial = np.where(inner, p * (1 - p) / pairs, 1)
    n = np.where(inner, np.maximum(pairs / np.maximum(np.where(inner, V, 1) / binomial, 1), 1), len(kinds))
    low, high = wilson(p * n, n)
    return low.reshape(hits.shape[2:]), high.reshape(hits.shape[2:])


def _variance_of_mean(sums: Floats, n: int) -> Floats:
    """Variance of a mean of n values from the clusters' residual sums [cluster share]; infinite for one cluster."""
    if len(sums) < 2:
        return np.full(sums.shape[1], np.inf)
    return np.asarray(len(sums) / (len(sums) - 1) * (sums**2).sum(0) / n**2)


def halves(clusters: Sequence[object], rng: np.random.Generator) -> Bools:
    """[n] bool: which examples are in the first half, whole clusters at a time, as even as a greedy walk makes them.

    What is selected on one half is estimated on the other: the maximum of many is biased upwards.
    """
    values, member = np.unique(np.asarray(clusters), return_inverse=True)
    sizes = np.bincount(member, minlength=len(values))
    order = rng.permutation(len(values))
    order = order[np.argsort(-sizes[order], kind="stable")]
    first, filled = np.zeros(len(values), dtype=bool), [0, 0]
    for cluster in order:
        side = int(filled[1] < filled[0])
        first[cluster] = side == 0
        filled[side] += int(sizes[cluster])
    return first[member]


def permutation_p(observed: npt.ArrayLike, null: npt.ArrayLike) -> Floats:
    """(1 + #{null >= observed}) / (B + 1) per column, one-sided, unadjusted; observed [J], null [B J].

    NaN if the value or any draw is not finite. Compared in the draws' precision, in which a draw may equal the value.
    """
    draws = np.asarray(null)
    x = np.asarray(observed, dtype=draws.dtype if np.issubdtype(draws.dtype, np.floating) else np.float64)
    p = (1.0 + (draws >= x).sum(axis=0)) / (len(draws) + 1.0)
    return np.where(np.isfinite(x) & np.isfinite(draws).all(axis=0), p, np.nan)


def step_down_max_t(observed: npt.ArrayLike, null: npt.ArrayLike, *, floor: float = 0.0) -> Floats:
    """Family-wise adjusted p per head by step-down max-T (Westfall and Young 1993, algorithm 4.1), one-sided.

    observed [J], null [B J] from shared permutations. Every column is standardised by its own mean and sd over the B
    + 1 values, observed included, so that the observed row is exchangeable with the others; `floor` is the least sd
    (one example's worth for shares: a head that never hits by chance is not surprising at its first hit). A column
    whose null does not vary has p = 1. Columns with a non-finite value or draw are excluded from the family
    and get NaN: included, they would mask every draw's maximum. For a two-sided test pass absolute
    values.
    """
    x = np.asarray(observed, dtype=np.float64)
    draws = np.asarray(null, dtype=np.float32)
    if draws.ndim != 2 or x.shape != draws.shape[1:]:
        raise ValueError(f"observed {x.shape} and null {draws.shape}: want [J] and [B J]")
    p = np.full(x.shape, np.nan)
    member = np.isfinite(x) & np.isfinite(draws).all(axis=0)
    fixed = np.ptp(draws, axis=0) == 0 if len(draws) else np.ones(x.shape, dtype=bool)
    p[member & fixed] = 1.0
    family = np.flatnonzero(member & ~fixed)
    if not len(family):
        return p
    pooled = np.vstack([x[family].astype(np.float32), draws[:, family]]).astype(np.float64)
    z = (pooled - pooled.mean(axis=0)) / np.maximum(pooled.std(axis=0), floor)
    order = np.argsort(z[0], kind="stable")  # least surprising first
    z = z[:, order]
    highest = np.maximum.accumulate(z[1:], axis=1)  # over the heads no more surprising than this one
    adjusted = (1.0 + (highest >= z[0] - 1e-9).sum(axis=0)) / len(pooled)
    stepped = np.maximum.accumulate(adjusted[::-1])[::-1]  # from the most surprising on, p never falls
    p[family[order]] = stepped
    return p


def benjamini_hochberg(p: npt.ArrayLike, draws: int, q: float = 0.05) -> int | None:
    """How many tests pass Benjamini-Hochberg at level q; None where `draws` permutations cannot resolve it.

    A single test can pass only if 1 / (draws + 1) <= q / tests; NaN values are not tests.
    """
    from scipy.stats import false_discovery_control

    values = np.asarray(p, dtype=np.float64)
    values = values[~np.isnan(values)]
    if (draws + 1) * q < values.size - 1e-9 or values.size == 0:
        return None
    return int((false_discovery_control(values, method="bh") <= q).sum())


def holm(p: npt.ArrayLike) -> Floats:
    """Family-wise adjusted p of every test (Holm 1979); NaN is no test and stays."""
    values = np.asarray(p, dtype=np.float64)
    out = np.full(values.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    out[order] = np.maximum.accumulate(np.minimum(1.0, values[order] * np.arange(len(order), 0, -1)))
    return out


def false_discovery(p: npt.ArrayLike) -> Floats:
    """Benjamini-Hochberg adjusted p of every unadjusted p (1995): the smallest rate at which it counts; NaN stays."""
    values = np.asarray(p, dtype=np.float64)
    out = np.full(values.shape, np.nan)
    at = np.nonzero(~np.isnan(values))
    known = values[at]
    order = np.argsort(known, kind="stable")
    scaled = known[order] * len(known) / np.arange(1, len(known) + 1)
    adjusted = np.empty(len(known))
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    out[at] = adjusted
    return out


def overlap_by_chance(a: Bools, b: Bools) -> tuple[float, float]:
    """Expected number of heads in both sets [layer head], and the one-sided p of at least as many as there are.

    Chance places each set at random within the layers it has heads in: a hypergeometric count per layer, exact.
    """
    in_a, in_b, heads = a.sum(1), b.sum(1), a.shape[1]
    total = np.ones(1)
    for x, y in zip(in_a.tolist(), in_b.tolist(), strict=True):
        every = math.comb(heads, y)
        ways = [math.comb(x, k) * math.comb(heads - x, y - k) / every for k in range(min(x, y) + 1)]
        total = np.convolve(total, ways)
    return float((in_a * in_b / heads).sum()), float(min(1.0, total[int((a & b).sum()) :].sum()))


def mid_ranks(values: Floats) -> Floats:
    """[i] 1-based ranks in ascending order, ties share their middle; NaN stays and takes no rank."""
    ranks = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    _, at, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    ranks[known] = (np.cumsum(counts) - (counts - 1) / 2)[at]
    return ranks


def reaches(hits: npt.ArrayLike, n: int, tau: float) -> Bools:
    """hits / n >= tau in whole numbers (6 of 40 is exactly 0.15, a float32 mean is not). NaN does not, nor 0 of 0."""
    limit = Fraction(str(tau))
    return np.asarray((n > 0) & (np.asarray(hits) * limit.denominator >= n * limit.numerator))


def sign_flip_null(effects: npt.ArrayLike, draws: int, rng: np.random.Generator) -> Floats:
    """Means over prompts with random signs, [draws J], from effects [prompt J]; the same signs for every head."""
    x = np.asarray(effects, dtype=np.float64)
    signs = rng.integers(0, 2, (draws, len(x))) * 2.0 - 1.0
    return np.asarray(signs @ x / len(x), dtype=np.float64)


def template_weights(templates: Sequence[object], draws: int, rng: np.random.Generator) -> Floats:
    """[draws prompt] multiplicities of a bootstrap over templates, then prompts within each drawn template."""
    values, member = np.unique(np.asarray(templates), return_inverse=True)
    times = rng.multinomial(len(values), [1 / len(values)] * len(values), size=draws)  # [draws template]
    weights = np.zeros((draws, len(member)))
    for i in range(len(values)):
        inside = np.flatnonzero(member == i)
        weights[:, inside] = rng.multinomial(times[:, i] * len(inside), [1 / len(inside)] * len(inside))
    return weights


def bootstrap_interval(
    values: npt.ArrayLike,
    templates: Sequence[object],
    rng: np.random.Generator,
    *,
    per: npt.ArrayLike | None = None,
    draws: int = 2000,
    level: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[Floats, Floats]:
    """Interval of a mean over prompts, or of a ratio of means, values [prompt ...] and per [prompt].

    Templates are resampled first, then prompts within them: templates vary more than prompts. How the draws
    become an interval: `interval_of`. It is clipped to `bounds`.
    """
    x = np.asarray(values, dtype=np.float64)
    weights = template_weights(templates, draws, rng)
    means = np.tensordot(weights, x, axes=1) / weights.sum(axis=1).reshape(-1, *[1] * (x.ndim - 1))
    if per is not None:
        scale = weights @ np.asarray(per, dtype=np.float64) / weights.sum(axis=1)
        means = means / scale.reshape(-1, *[1] * (x.ndim - 1))
    estimate = x.mean(axis=0) / (1.0 if per is None else np.asarray(per, dtype=np.float64).mean())
    low, high = interval_of(estimate, means, units(templates), level)
    return np.clip(low, *bounds), np.clip(high, *bounds)


def units(templates: Sequence[object]) -> int:
    """The number of resampled units: templates, or prompts if there is only one template."""
    count = len(set(templates))
    return count if count > 1 else len(templates)


def interval_of(estimate: npt.ArrayLike, draws: Floats, count: int, level: float = 0.95) -> tuple[Floats, Floats]:
    """Interval of an estimate [...] over `count` units (templates, or prompts of one) from bootstrap draws [draw ...].

    Percentiles of so few are too narrow (docs/calibration.md): Student's quantile for count - 1 degrees of freedom
    times the draws' standard deviation, which resampling `count` of `count` makes too small by the square root of
    (count - 1) / count (Cameron, Gelbach and Miller, Rev. Econ. Stat. 90, 2008). NaN for a single unit.
    """
    from scipy.special import stdtrit

    middle = np.asarray(estimate, dtype=np.float64)
    if count < 2:
        return np.full_like(middle, np.nan), np.full_like(middle, np.nan)
    half = stdtrit(count - 1, (1 + level) / 2) * draws.std(axis=0) * math.sqrt(count / (count - 1))
    return middle - half, middle + half
