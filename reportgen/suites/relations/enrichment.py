"""Do listed heads score higher than others? Sets of heads (published, the user's, computed) against relation scores.

- Recall at tau: the share of listed heads with score >= tau, with Wilson's interval.
- AUROC over all heads, mid-ranks for ties (Mann and Whitney 1947); 0.5 = listed heads score as the others do.
- Its p is layer-matched: every draw takes as many heads of a layer as the set has there, for late layers score higher
  as a whole. All such sets are enumerated where there are at most `DRAWS`.
- No precision: lists are not exhaustive, so a head that is on none is no false alarm; such heads are named instead.

Numpy only: rendering uses it.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.scores import Cell, Column, Head, HeadScores, HeadSet, Table, head_name
from reportgen.suites.relations.categories import reached

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
DRAWS = 9_999
_Z = 1.959963984540054  # the normal distribution's 97.5 % point


@dataclass(frozen=True, eq=False)
class Evidence:
    """One set of heads on one score.

    listed     heads of the set that have a value
    absent     heads of the set that have none, or that the model does not have
    hits       listed heads with score >= tau; low, high: Wilson's 95 % interval of hits / listed
    auroc      NaN without listed or without other heads
    null       5 % and 95 % of the layer-matched sets' AUROC
    p          one-sided; over `sets` sets, all of them (#/N) or a sample ((1 + #) / (B + 1))
    extra      heads with score >= tau that are not in the set, highest first
    """

    head_set: HeadSet
    scores: HeadScores
    listed: int
    absent: int
    hits: int
    low: float
    high: float
    auroc: float
    null: tuple[float, float]
    p: float
    sets: int
    enumerated: bool
    extra: tuple[str, ...]

    @property
    def recall(self) -> float:
        return self.hits / self.listed if self.listed else math.nan

    @property
    def p_words(self) -> str:
        """`1/792`, `0.0079`, `0.46`; empty without."""
        if math.isnan(self.p):
            return ""
        count = round(self.p * self.sets)
        return f"{count}/{self.sets:,}" if self.enumerated and count < 10 else f"{self.p:.2g}"


class Matched:
    """Sets of heads that have as many heads in every layer as `members` [layer head], out of those in `known`."""

    def __init__(self, members: Bools, known: Bools, seed: int, draws: int = DRAWS) -> None:
        layers = [i for i in range(len(members)) if members[i].any()]
        pools = [np.flatnonzero(known[i]) + i * members.shape[1] for i in layers]  # flat head indices
        counts = [int(members[i].sum()) for i in layers]
        size = math.prod(math.comb(len(pool), count) for pool, count in zip(pools, counts, strict=True))
        self.enumerated = size <= draws
        self.sets = size if self.enumerated else draws
        pairs = list(zip(pools, counts, strict=True))
        if self.enumerated:
            self._parts = [pool[list(itertools.combinations(range(len(pool)), count))] for pool, count in pairs]
        else:
            rng = np.random.default_rng(seed)
            self._parts = [pool[_draw(len(pool), count, draws, rng)] for pool, count in pairs]

    def sums(self, ranks: Floats) -> Floats:
        """[set] the sum of flat `ranks` [layer*head] over every set."""
        total = np.zeros(1 if self.enumerated else self.sets)
        for part in self._parts:  # [set of this layer, head]
            sums = ranks[part].sum(axis=1)
            total = (total[:, None] + sums).ravel() if self.enumerated else total + sums
        return total


def _draw(pool: int, count: int, draws: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """[draw count] distinct places out of `pool`, every set as likely."""
    if count == pool:
        return np.tile(np.arange(pool), (draws, 1))
    order = rng.random((draws, pool), dtype=np.float32)
    return np.asarray(np.argpartition(order, count, axis=1)[:, :count], dtype=np.int64)


def evidence(scores: HeadScores, head_set: HeadSet, tau: float, matched: Matched | None = None) -> Evidence:
    """`head_set` against `scores`; `matched` may be shared by scores that lack the same heads."""
    members, known = inside(head_set, scores), np.isfinite(scores.values)
    at_tau = reached(scores, tau)
    listed, others = int((members & known).sum()), int((~members & known).sum())
    hits = int((members & at_tau).sum())
    low, high = wilson(hits, listed)
    auroc, null, p, sets, enumerated = math.nan, (math.nan, math.nan), math.nan, 0, False
    if listed and others:
        matched = matched or Matched(members & known, known, seed_of(head_set))
        ranks = mid_ranks(scores.values.ravel().astype(np.float64))
        own = float(ranks[(members & known).ravel()].sum())
        sums = matched.sums(ranks)
        above = int((sums >= own - 1e-9).sum())
        sets, enumerated = matched.sets, matched.enumerated
        p = above / sets if enumerated else (1 + above) / (sets + 1)
        lowest = listed * (listed + 1) / 2
        auroc = (own - lowest) / (listed * others)
        null_low, null_high = (np.percentile(sums, (5, 95)) - lowest) / (listed * others)
        null = (float(null_low), float(null_high))
    extra = tuple(head_name(*at) for at in scores.ranking() if at_tau[at] and not members[at])
    absent = len(set(head_set.heads)) - listed
    return Evidence(head_set, scores, listed, absent, hits, low, high, auroc, null, p, sets, enumerated, extra)


def evidence_table(scores: Sequence[HeadScores], sets: Sequence[HeadSet], tau: float) -> list[Evidence]:
    """Every set on every score, set by set. The draws of a set are shared by scores that lack the same heads."""
    found = []
    for head_set in sets:
        drawn: dict[bytes, Matched] = {}
        for score in scores:
            known = np.isfinite(score.values)
            members = inside(head_set, score) & known
            if members.any() and known.tobytes() not in drawn:
                drawn[known.tobytes()] = Matched(members, known, seed_of(head_set))
            found.append(evidence(score, head_set, tau, drawn.get(known.tobytes())))
    return found


def inside(head_set: HeadSet, scores: HeadScores) -> Bools:
    """[layer head] the heads of the set; those that the grid does not have are left out."""
    members = np.zeros(scores.values.shape, dtype=bool)
    for layer, head in _on(head_set.heads, scores):
        members[layer, head] = True
    return members


def _on(heads: Iterable[Head], scores: HeadScores) -> list[Head]:
    layers, count = scores.values.shape
    return [(layer, head) for layer, head in heads if 0 <= layer < layers and 0 <= head < count]


def seed_of(head_set: HeadSet) -> int:
    """A set's draws depend on its key and heads alone, so that a report is the same every time."""
    return zlib.crc32(f"{head_set.key} {sorted(set(head_set.heads))}".encode())


def mid_ranks(values: Floats) -> Floats:
    """[i] 1-based ranks in ascending order, ties share their middle; NaN stays and takes no rank."""
    ranks = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    _, at, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks[known] = (ends - (counts - 1) / 2)[at]
    return ranks


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of hits / n (Wilson 1927); NaN for n = 0."""
    if n == 0:
        return math.nan, math.nan
    p = hits / n
    centre, half = p + _Z * _Z / (2 * n), _Z * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
    low, high = (centre - half) / (1 + _Z * _Z / n), (centre + half) / (1 + _Z * _Z / n)
    return (0.0 if hits == 0 else low), (1.0 if hits == n else high)


COLUMNS = (
    Column("set"), Column("source"), Column("kind"), Column("confirmed"), Column("measure"), Column("relation"),
    Column("heads"), Column("without a value"), Column("heads at tau"), Column("recall"), Column("recall low"),
    Column("recall high"), Column("AUROC"), Column("null 5 %"), Column("null 95 %"), Column("p", digits=4),
    Column("sets counted"), Column("all sets"), Column("unlisted heads at tau"), Column("which"),
)  # fmt: skip


def as_table(found: Sequence[Evidence], title: str) -> Table:
    """One row per set and score, in the order given."""
    caption = (
        "Heads at tau: score at least tau, recall with Wilson's 95 % interval. AUROC: listed against all other heads; "
        "null: 5 % and 95 % of layer-matched sets; p one-sided, not adjusted for the number of rows. No precision: "
        "lists are not exhaustive."
    )
    return Table("relations-published", title, COLUMNS, tuple(_row(e) for e in found), caption)


def _row(e: Evidence) -> tuple[Cell, ...]:
    s = e.head_set
    numbers = (e.recall, e.low, e.high, e.auroc, *e.null, e.p)
    return (
        s.label, s.source, s.kind, s.verified, e.scores.measure, e.scores.task, e.listed, e.absent, e.hits,
        *(None if math.isnan(x) else x for x in numbers), e.sets, e.enumerated, len(e.extra), " ".join(e.extra),
    )  # fmt: skip
