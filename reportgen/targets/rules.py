"""How a run's scores are held against a published list, per-head numbers or one number: the rules, stated beforehand.

- list: AUROC of the listed heads against all others; p by drawing as many heads within the same layers. Reproduced:
  AUROC >= .9 and p <= .01. Partly: one of the two. Otherwise not.
- number: reproduced if our 95 % interval holds the published number, or the two differ by no more than the tolerance.
  Partly: they differ by at most a tenth of the published number. Otherwise not.
- scores: reproduced if at least 90 % of the published numbers lie in our 95 % intervals (or within the tolerance).
  Partly: at least half of them do, or Spearman's correlation is .9 or more. Otherwise not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np

from reportgen.aliases import Bools, Floats
from reportgen.stats import mid_ranks

Verdict = Literal["reproduced", "partly", "not", "not comparable"]
AUROC, P = 0.9, 0.01
NEAR = 0.1  # of the published number
HELD, SOME, RHO = 0.9, 0.5, 0.9
ALL_SETS = 20_000  # sets of heads up to which all are tried
DRAWS = 9_999
Z = 1.959963984540054


@dataclass(frozen=True)
class ListResult:
    """A list against a score.

    auroc, low, high  share of (listed, other) pairs in which the listed head scores higher, ties half; 95 %
    p                 one-sided, over sets drawn within the listed heads' layers; exact up to ALL_SETS of them
    least             the smallest p that these layers allow
    listed, heads     listed heads with a score, and all heads with one
    """

    auroc: float
    low: float
    high: float
    p: float
    least: float
    listed: int
    heads: int

    @property
    def verdict(self) -> Verdict:
        passed = (self.auroc >= AUROC) + (self.p <= P)
        return "reproduced" if passed == 2 else "partly" if passed else "not"


def against_list(values: Floats, member: Bools, seed: int = 0) -> ListResult | None:
    """`values` [layer head] (NaN = no score) of the heads in `member` against the others; None if either has none."""
    known = np.isfinite(values)
    inside = member & known
    m, n = int(inside.sum()), int((known & ~member).sum())
    if not m or not n:
        return None
    ranks = mid_ranks(np.where(known, values, np.nan).ravel()).reshape(values.shape)
    auroc = (float(ranks[inside].sum()) - m * (m + 1) / 2) / (m * n)
    low, high = auroc_interval(auroc, m, n)
    p, least = _layer_matched(ranks, inside, known, seed)
    return ListResult(auroc, low, high, p, least, m, m + n)


def auroc_interval(auroc: float, m: int, n: int) -> tuple[float, float]:
    """95 % interval of an AUROC of m against n, by inverting Newcombe's score test (Statistics in Medicine 2006, 25,
    method 5): it keeps a width where the AUROC is 0 or 1."""

    def excess(theta: float) -> float:
        half = (m + n) / 2 - 1
        spread = theta * (1 - theta) / (m * n)
        spread *= 1 + half * (1 - theta) / (2 - theta) + half * theta / (1 + theta)
        return abs(auroc - theta) - Z * math.sqrt(spread)

    def edge(outside: float) -> float:
        if excess(outside) <= 0 and outside != auroc:
            return outside
        inner, outer = auroc, outside
        for _ in range(60):
            middle = (inner + outer) / 2
            inner, outer = (middle, outer) if excess(middle) <= 0 else (inner, middle)
        return inner

    # excess is 0 at the ends as the spread vanishes there: look just inside them
    return (0.0 if auroc == 0 else edge(1e-9)), (1.0 if auroc == 1 else edge(1 - 1e-9))


def _layer_matched(ranks: Floats, inside: Bools, known: Bools, seed: int) -> tuple[float, float]:
    """p of the listed heads' rank sum among sets of as many heads in each of their layers, and the least possible p."""
    layers = [(ranks[i][known[i]], int(inside[i].sum())) for i in np.flatnonzero(inside.any(1))]
    sets = math.prod(math.comb(len(row), k) for row, k in layers)
    observed = float(ranks[inside].sum()) - 1e-9
    if sets <= ALL_SETS:
        sums = [[sum(some) for some in combinations(row.tolist(), k)] for row, k in layers]
        totals = np.array([sum(one) for one in product(*sums)])
        return float((totals >= observed).mean()), 1 / sets
    rng = np.random.default_rng(seed)
    drawn = np.zeros(DRAWS)
    for row, k in layers:
        order = np.argpartition(rng.random((DRAWS, len(row))), k - 1, axis=1)[:, :k]
        drawn += row[order].sum(1)
    return float((1 + (drawn >= observed).sum()) / (DRAWS + 1)), 1 / (DRAWS + 1)


def against_number(published: float, ours: float, low: float | None, high: float | None, tolerance: float) -> Verdict:
    """One number; without an interval only the tolerance counts."""
    if _same(published, ours, low, high, tolerance):
        return "reproduced"
    return "partly" if abs(ours - published) <= NEAR * abs(published) else "not"


def _same(published: float, ours: float, low: float | None, high: float | None, tolerance: float) -> bool:
    held = low is not None and high is not None and low <= published <= high
    return held or abs(ours - published) <= tolerance


@dataclass(frozen=True)
class ScoresResult:
    """Published numbers of heads against ours: how many our intervals hold, of how many, and Spearman's correlation."""

    held: int
    of: int
    rho: float

    @property
    def verdict(self) -> Verdict:
        share = self.held / self.of
        if share >= HELD:
            return "reproduced"
        return "partly" if share >= SOME or self.rho >= RHO else "not"


def against_scores(
    published: Sequence[float], ours: Floats, low: Floats, high: Floats, tolerance: float
) -> ScoresResult | None:
    """Head by head, all [head]; NaN = no score or no interval. None if no head has a score."""
    want = np.asarray(published, dtype=np.float64)
    known = np.isfinite(ours)
    if not known.any():
        return None
    ends = [None if math.isnan(end) else float(end) for pair in zip(low, high, strict=True) for end in pair]
    held = sum(
        _same(float(want[i]), float(ours[i]), ends[2 * i], ends[2 * i + 1], tolerance) for i in np.flatnonzero(known)
    )
    a, b = mid_ranks(want[known]), mid_ranks(ours[known])
    rho = float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and np.ptp(a) and np.ptp(b) else math.nan
    return ScoresResult(held, int(known.sum()), rho)
