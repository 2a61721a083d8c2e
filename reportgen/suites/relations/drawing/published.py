"""What lists of heads (published, the user's, computed) are worth on the relation scores.

- Recall at tau: the share of listed heads with score >= tau, with Wilson's interval.
- AUROC over all heads, mid-ranks for ties (Mann and Whitney 1947); 0.5 = listed heads score as the others do.
- Its p is layer-matched: every draw takes as many heads of a layer as the set has there, for late layers score higher
  as a whole. All such sets are enumerated where there are at most `DRAWS`.
- No precision: lists are not exhaustive, so a head that is on none is no false alarm; such heads are named instead.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Bools, Floats
from reportgen.figures import captions
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.points import ForestLine, forest
from reportgen.published import short_citation
from reportgen.scores import Cell, Column, Head, HeadScores, HeadSet, SuiteResult, Table, head_name
from reportgen.stats import mid_ranks, wilson
from reportgen.suites.relations.categories import reached, threshold, title_of

DRAWS = 9_999


@dataclass(frozen=True, eq=False)
class SetEvidence:
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


class LayerMatchedSets:
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
            self._parts = [pool[list(itertools.combinations(range(len(pool)), count))].T for pool, count in pairs]
        else:
            rng = np.random.default_rng(seed)
            drawn = [pool[_draw(len(pool), count, draws, rng)] for pool, count in pairs]
            self._parts = [np.ascontiguousarray(np.concatenate(drawn, axis=1).T)]

    def sums(self, ranks: Floats) -> Floats:
        """[set] the sum of flat `ranks` [layer*head] over every set."""
        total = np.zeros(1 if self.enumerated else self.sets)
        for part in self._parts:  # [head, set]: of one layer where all sets are enumerated, else of all layers
            sums = ranks[part].sum(axis=0)
            total = (total[:, None] + sums).ravel() if self.enumerated else total + sums
        return total


def _draw(pool: int, count: int, draws: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """[draw count] distinct places out of `pool`, every set as likely."""
    if count == pool:
        return np.tile(np.arange(pool), (draws, 1))
    order = rng.random((draws, pool), dtype=np.float32)
    return np.asarray(np.argpartition(order, count, axis=1)[:, :count], dtype=np.int64)


def evidence(scores: HeadScores, head_set: HeadSet, tau: float, matched: LayerMatchedSets | None = None) -> SetEvidence:
    """`head_set` against `scores`; `matched` may be shared by scores that lack the same heads."""
    members, known = inside(head_set, scores), np.isfinite(scores.values)
    at_tau = reached(scores, tau)
    listed, others = int((members & known).sum()), int((~members & known).sum())
    hits = int((members & at_tau).sum())
    low, high = map(float, wilson(hits, listed))
    auroc, null, p, sets, enumerated = math.nan, (math.nan, math.nan), math.nan, 0, False
    if listed and others:
        matched = matched or LayerMatchedSets(members & known, known, seed_of(head_set))
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
    beside = at_tau & ~members
    extra = tuple(head_name(*at) for at in scores.ranking() if beside[at]) if beside.any() else ()
    absent = len(set(head_set.heads)) - listed
    return SetEvidence(head_set, scores, listed, absent, hits, low, high, auroc, null, p, sets, enumerated, extra)


def evidence_table(scores: Sequence[HeadScores], sets: Sequence[HeadSet], tau: float) -> list[SetEvidence]:
    """Every set on every score, set by set. The draws of a set are shared by scores that lack the same heads."""
    found = []
    for head_set in sets:
        drawn: dict[bytes, LayerMatchedSets] = {}
        for score in scores:
            known = np.isfinite(score.values)
            members = inside(head_set, score) & known
            if members.any() and known.tobytes() not in drawn:
                drawn[known.tobytes()] = LayerMatchedSets(members, known, seed_of(head_set))
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


COLUMNS = (
    Column("set"), Column("source"), Column("kind"), Column("confirmed"), Column("measure"), Column("relation"),
    Column("heads"), Column("without a value"), Column("heads at tau"), Column("recall"), Column("recall low"),
    Column("recall high"), Column("AUROC"), Column("null 5 %"), Column("null 95 %"), Column("p", digits=4),
    Column("sets counted"), Column("all sets"), Column("unlisted heads at tau"), Column("which"),
)  # fmt: skip


def as_table(found: Sequence[SetEvidence], title: str) -> Table:
    """One row per set and score, in the order given."""
    caption = (
        "Heads at tau: score at least tau, recall with Wilson's 95 % interval. AUROC: listed against all other heads; "
        "null: 5 % and 95 % of layer-matched sets; p one-sided, not adjusted for the number of rows. No precision: "
        "lists are not exhaustive."
    )
    return Table("relations-published", title, COLUMNS, tuple(_row(e) for e in found), caption)


def _row(e: SetEvidence) -> tuple[Cell, ...]:
    s = e.head_set
    numbers = (e.recall, e.low, e.high, e.auroc, *e.null, e.p)
    return (
        s.label, s.source, s.kind, s.verified, e.scores.measure, e.scores.task, e.listed, e.absent, e.hits,
        *(None if math.isnan(x) else x for x in numbers), e.sets, e.enumerated, len(e.extra), " ".join(e.extra),
    )  # fmt: skip


Found = Mapping[tuple[str, str], SetEvidence]  # (set's key, score's key)
_MEASURES = ("score", "suppression")
_MOST = 20  # lines of the figure
_NAMED = 6  # heads that a note names
_KINDS = ("published", "computed", "user")
NO_PRECISION = "The lists are incomplete, so precision cannot be computed."


def gathered(result: SuiteResult, view: View, marked: Sequence[tuple[HeadScores, Sequence[HeadSet]]]) -> Found:
    """Every list on every relation's score and suppression: those marked on maps first, map by map, then all others.

    A set that this suite computed is left out: its heads were chosen by the scores it would be held against.
    """
    tau = threshold(result)
    if tau is None:
        return {}
    scores = [score for score in result.scores if score.measure in _MEASURES]
    sets = {s.key: s for _, on in marked for s in on} | {
        s.key: s for s in view.overlays if s.key.startswith(("published/", "user/")) or s.kind == "computed"
    }
    own = f"{result.suite}/"
    every = evidence_table(scores, [s for s in sets.values() if s.heads and not s.key.startswith(own)], tau)
    by_key = {(e.head_set.key, e.scores.key): e for e in every}
    first = [(s.key, scores_.key) for scores_, on in marked for s in on if (s.key, scores_.key) in by_key]
    return {at: by_key[at] for at in dict.fromkeys([*first, *by_key])}


def words(found: Found, scores: HeadScores, sets: Sequence[HeadSet], tau: float | None) -> str:
    """How the sets marked on one map score there, and how many heads that score as high no list has."""
    here = [found[s.key, scores.key] for s in sets if (s.key, scores.key) in found]
    parts = [_one(e) for e in here if e.listed]
    if not parts or tau is None:
        return ""
    listed = {head for e in here for head in e.head_set.heads}
    at_tau = reached(scores, tau)
    extra = [head_name(*at) for at in scores.ranking() if at_tau[at] and at not in listed]
    verb = "is" if len(extra) == 1 else "are"
    more = f" and {len(extra) - _NAMED:,} more" if len(extra) > _NAMED else ""
    which = f" ({', '.join(extra[:_NAMED])}{more})" if extra else ""
    others = f"{captions.plural(len(extra), 'other head')} at τ or above {verb} on none of these lists{which}"
    return f"Listed heads at τ or above: {'; '.join(parts)}; {others}."


def _one(e: SetEvidence) -> str:
    said = f"{e.head_set.label} {e.hits} of {e.listed} [{e.low:.2f}, {e.high:.2f}]"
    if not e.sets:
        return said
    return f"{said}, AUROC {e.auroc:.2f}, layer-matched p = {e.p_words}"


def published_figure(result: SuiteResult, view: View, found: Found, marked: set[tuple[str, str]]) -> Figure | None:
    """Shares at tau and AUROC of the lists marked on maps; None where no list applies to this model."""
    tau = threshold(result)
    on_maps = [e for at, e in found.items() if at in marked and e.listed]
    drawn = _drawn(on_maps)
    if tau is None or not drawn:
        return None
    name = captions.model_name(view)
    title = f"{name}: listed heads on the relation scores"
    lines = [_line(e, result) for e in drawn]
    return Figure(
        id="relations-published",
        suite=result.suite,
        title=title,
        caption=_caption(drawn, view, tau),
        alt=f"Shares at the threshold and AUROC of listed heads of {name}, {len(lines)} lines.",
        chart=later(
            forest,
            lines,
            view.style,
            f"share at τ = {tau:g} or above",
            synthetic=view.synthetic or view.model.synthetic,
        ),
        data=as_table(list(found.values()), title),
        head_sets=tuple({e.head_set.key: e.head_set for e in drawn}.values()),
        notes=_notes(drawn, len(on_maps) - len(drawn), found, tau),
    )


def _drawn(marked: Sequence[SetEvidence]) -> list[SetEvidence]:
    """At most `_MOST`: published, computed, then the user's with the smallest p first; those of one score together."""
    order = sorted(marked, key=lambda e: (_KINDS.index(e.head_set.kind), e.p if e.head_set.kind == "user" else 0.0))
    kept = order[:_MOST]
    places = {key: i for i, key in enumerate(dict.fromkeys(e.scores.key for e in kept))}
    return sorted(kept, key=lambda e: places[e.scores.key])


def _line(e: SetEvidence, result: SuiteResult) -> ForestLine:
    s = e.head_set
    source = f" ({short_citation(s.source)})" if s.kind == "published" else f" ({s.source})" if s.kind == "user" else ""
    group = f"{'(Suppression) ' if e.scores.measure == 'suppression' else ''}{title_of(result, e.scores.task)}"
    return ForestLine(
        group, f"{s.label}, {e.hits} of {e.listed}{source}", e.recall, e.low, e.high, e.auroc, *e.null,
        e.p_words, s.verified,
    )  # fmt: skip


def _caption(drawn: Sequence[SetEvidence], view: View, tau: float) -> str:
    tested = [e for e in drawn if not math.isnan(e.p)]
    low = sum(1 for e in tested if e.p <= captions.SIGNIFICANT)
    return captions.join(
        f"Relation scores of heads of {captions.grid_words(view)} that others listed or another suite found.",
        f"Left: share at τ = {tau:g} or above; right: AUROC against all other heads.",
        f"Layer-matched p ≤ {captions.SIGNIFICANT} (not adjusted) on {low} of {captions.plural(len(tested), 'line')}; "
        f"highest AUROC {max(e.auroc for e in tested):.2f}."
        if tested
        else "",
        captions.synthetic(view),
    )


def _notes(drawn: Sequence[SetEvidence], left_out: int, found: Found, tau: float) -> tuple[str, ...]:
    enumerated = sorted({e.sets for e in drawn if e.enumerated})
    sampled = sorted({e.sets for e in drawn if not e.enumerated and e.sets})
    counted = f"all {enumerated[0]:,} sets" if len(enumerated) == 1 else "all such sets"
    how = [f"as a share of {counted} if they can be enumerated"] if enumerated else []
    how += [f"from {sampled[0]:,} draws"] if sampled else []
    absent = sum(e.absent for e in drawn)
    return captions.notes(
        f"Share: a list's heads with score ≥ τ = {tau:g} out of its heads with a value, with Wilson's 95 % interval.",
        "AUROC: listed against all other heads, mid-ranks for ties (0.5, dashed: no higher than others); grey: 5 to "
        "95 % of sets with the same number of heads per layer.",
        f"p, one-sided: how often such a set scores as high, {', else '.join(how)}; not adjusted for "
        f"{captions.plural(len(drawn), 'line')}."
        if how
        else "",
        f"The table has {captions.plural(len(found), 'row')}, every list on every relation, with the heads at τ that "
        "are on no list.",
        NO_PRECISION,
        "Hollow: unconfirmed lists." if not all(e.head_set.verified for e in drawn) else "",
        f"Of your own lists only those with the smallest p are drawn; {captions.plural(left_out, 'line')} omitted."
        if left_out
        else "",
        f"{captions.plural(absent, 'listed head')} without a value omitted." if absent else "",
    )
