"""Intervals, nulls and families of tests, on numpy and scipy.

Rules that hold for every suite: an interval is 95 % unless it says otherwise; a sampled p-value is (1 + #) / (B + 1);
heads that were not computed (NaN) are no members of any family and keep NaN.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit
from scipy.stats import false_discovery_control, rankdata

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


def clustered_wilson(hits: npt.ArrayLike, clusters: Sequence[object], z: float = Z95) -> tuple[float, float]:
    """Wilson's interval of a share whose examples come in clusters (pairs that share a target), hits [n] of 0 and 1.

    n is divided by the design effect sum_c (sum_{i in c} (y_i - p))^2 / sum_i (y_i - p)^2, at least 1 (Kish 1965);
    where every example agrees there is no variance to read it from, and n is the number of clusters.
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


def halves(clusters: Sequence[object], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """[n] bool: which examples are in the first half, whole clusters at a time, as even as a greedy walk makes them.

    Something chosen on one half is estimated on the other: the best of many at face value is too good.
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

    NaN where the value or any draw is not finite.
    """
    x, draws = np.asarray(observed, dtype=np.float64), np.asarray(null)
    p = (1.0 + (draws >= x).sum(axis=0)) / (len(draws) + 1.0)
    return np.where(np.isfinite(x) & np.isfinite(draws).all(axis=0), p, np.nan)


def step_down_max_t(observed: npt.ArrayLike, null: npt.ArrayLike, *, floor: float = 0.0) -> Floats:
    """Family-wise adjusted p per head by step-down max-T (Westfall and Young 1993, algorithm 4.1), one-sided.

    observed [J], null [B J] from shared permutations. Every column is standardised by its own mean and sd over the B
    + 1 values, observed included, so that the observed row is exchangeable with the others; `floor` is the least sd
    (one example's worth for shares: a head that never hits by chance is not surprising at its first hit). A column
    whose null does not vary has p = 1. Columns with a value or a draw that is not finite are no members of the family
    and get NaN: compared as they are, they would hide every draw's maximum from the others. For two sides pass absolute
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


def step_down_min_p(observed: npt.ArrayLike, null: npt.ArrayLike) -> Floats:
    """Family-wise adjusted p per head by step-down min-p (Westfall and Young 1993, algorithm 2.8), one-sided.

    As `step_down_max_t`, with each head's own permutation p as the statistic: no scale is assumed, but with B near the
    number of heads nothing can be significant, for the smallest p is 1 / (B + 1) in the null's rows, too.
    """
    x = np.asarray(observed, dtype=np.float64)
    draws = np.asarray(null, dtype=np.float64)
    p = np.full(x.shape, np.nan)
    member = np.isfinite(x) & np.isfinite(draws).all(axis=0)
    fixed = np.ptp(draws, axis=0) == 0 if len(draws) else np.ones(x.shape, dtype=bool)
    p[member & fixed] = 1.0
    family = np.flatnonzero(member & ~fixed)
    if not len(family):
        return p
    pooled = np.vstack([x[family], draws[:, family]])
    # Own p of every row: the share of rows at least as large, ties counted in full.
    own = rankdata(-pooled, method="max", axis=0) / len(pooled)
    order = np.argsort(-own[0], kind="stable")
    own = own[:, order]
    lowest = np.minimum.accumulate(own, axis=1)
    adjusted = (lowest <= own[0] + 1e-12).sum(axis=0) / len(pooled)
    p[family[order]] = np.maximum.accumulate(adjusted[::-1])[::-1]
    return p


def benjamini_hochberg(p: npt.ArrayLike, draws: int, q: float = 0.05) -> int | None:
    """How many tests pass Benjamini-Hochberg at level q; None where `draws` permutations cannot resolve it.

    A single test can pass only if 1 / (draws + 1) <= q / tests; NaN values are no tests.
    """
    values = np.asarray(p, dtype=np.float64)
    values = values[~np.isnan(values)]
    if (draws + 1) * q < values.size - 1e-9 or values.size == 0:
        return None
    return int((false_discovery_control(values, method="bh") <= q).sum())


def sign_flip_null(effects: npt.ArrayLike, draws: int, rng: np.random.Generator) -> Floats:
    """Means over prompts with random signs, [draws J], from effects [prompt J]; the same signs for every head."""
    x = np.asarray(effects, dtype=np.float64)
    signs = rng.integers(0, 2, (draws, len(x))) * 2.0 - 1.0
    return np.asarray(signs @ x / len(x), dtype=np.float64)


def template_weights(templates: Sequence[object], draws: int, rng: np.random.Generator) -> Floats:
    """[draws prompt] multiplicities of a bootstrap that draws templates first, then prompts within each drawn one."""
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

    Templates are resampled first, then prompts within them: template spread is larger than prompt spread. How the draws
    become an interval: `interval_of`. It ends at `bounds`, which no mean can pass.
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
    """How many were drawn anew: the templates, or the prompts where they are all of one template."""
    count = len(set(templates))
    return count if count > 1 else len(templates)


def interval_of(estimate: npt.ArrayLike, draws: Floats, count: int, level: float = 0.95) -> tuple[Floats, Floats]:
    """Interval of an estimate [...] over `count` units (templates, or prompts of one) from bootstrap draws [draw ...].

    Percentiles of so few are too narrow (docs/calibration.md): Student's quantile for count - 1 degrees of freedom
    times the draws' standard deviation, which resampling `count` of `count` makes too small by the square root of
    (count - 1) / count (Cameron, Gelbach and Miller, Rev. Econ. Stat. 90, 2008). No interval of one unit: NaN.
    """
    middle = np.asarray(estimate, dtype=np.float64)
    if count < 2:
        return np.full_like(middle, np.nan), np.full_like(middle, np.nan)
    half = stdtrit(count - 1, (1 + level) / 2) * draws.std(axis=0) * math.sqrt(count / (count - 1))
    return middle - half, middle + half


@dataclass(frozen=True)
class Enrichment:
    """How much higher a set of heads scores than the others: auroc 0..1 (0.5 = no difference), one-sided p."""

    auroc: float
    p: float
    sets: int  # sets of heads that p was counted over
    enumerated: bool  # all of them (p = #/N) or a sample (p = (1 + #) / (B + 1))


def enrichment(
    values: npt.ArrayLike, members: npt.ArrayLike, rng: np.random.Generator, *, draws: int = 9999
) -> Enrichment | None:
    """AUROC of `values` [layer head] for the heads in `members` [layer head] bool, against heads of the same layers.

    AUROC = (R_1 - n_1 (n_1 + 1) / 2) / (n_1 n_0) with mid-ranks (Mann and Whitney 1947). The null draws as many heads
    per layer as the set has there; all such sets are enumerated where there are at most `draws`. NaN heads are left
    out; None where no member or no other head is left.
    """
    x, inside = np.asarray(values, dtype=np.float64), np.asarray(members, dtype=bool)
    known = ~np.isnan(x)
    inside = inside & known
    n_in, n_out = int(inside.sum()), int((known & ~inside).sum())
    if not n_in or not n_out:
        return None
    ranks = np.full(x.shape, np.nan)
    ranks[known] = rankdata(x[known])
    observed = float(ranks[inside].sum())
    layers = [(ranks[i][known[i]], int(inside[i].sum())) for i in range(len(x)) if inside[i].any()]
    sets = math.prod(math.comb(len(of), count) for of, count in layers)
    enumerated = sets <= draws
    if enumerated:
        per_layer = [[sum(chosen) for chosen in itertools.combinations(of, count)] for of, count in layers]
        null = np.array([sum(parts) for parts in itertools.product(*per_layer)])
    else:
        sets = draws
        null = np.zeros(draws)
        for of, count in layers:
            null += rng.permuted(np.tile(of, (draws, 1)), axis=1)[:, :count].sum(axis=1)
    reached = int((null >= observed - 1e-9).sum())
    p = reached / sets if enumerated else (1 + reached) / (sets + 1)
    return Enrichment((observed - n_in * (n_in + 1) / 2) / (n_in * n_out), p, sets, enumerated)
