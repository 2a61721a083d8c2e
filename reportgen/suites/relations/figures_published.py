"""What lists of heads are worth on the relation scores: words for the maps' notes, and a figure with the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reportgen.figures import captions
from reportgen.figures.figure import Figure, View
from reportgen.figures.forest import Line, forest
from reportgen.published.catalogue import short_citation
from reportgen.scores import HeadScores, HeadSet, SuiteResult, head_name
from reportgen.suites.relations.categories import reached, threshold, title_of
from reportgen.suites.relations.enrichment import Evidence, as_table, evidence_table

Found = Mapping[tuple[str, str], Evidence]  # (set's key, score's key)
_MEASURES = ("score", "suppression")
_MOST = 20  # lines of the figure
_NAMED = 6  # heads that a note names
_KINDS = ("published", "computed", "user")
NO_PRECISION = "No precision is given: lists are not exhaustive, a head on none of them is no false alarm."


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


def _one(e: Evidence) -> str:
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
        chart=forest(
            lines, view.style, f"share at τ = {tau:g} or above", synthetic=view.synthetic or view.model.synthetic
        ),
        data=as_table(list(found.values()), title),
        head_sets=tuple({e.head_set.key: e.head_set for e in drawn}.values()),
        notes=_notes(drawn, len(on_maps) - len(drawn), found, tau),
    )


def _drawn(marked: Sequence[Evidence]) -> list[Evidence]:
    """At most `_MOST`: published, computed, then the user's with the smallest p first; those of one score together."""
    order = sorted(marked, key=lambda e: (_KINDS.index(e.head_set.kind), e.p if e.head_set.kind == "user" else 0.0))
    kept = order[:_MOST]
    places = {key: i for i, key in enumerate(dict.fromkeys(e.scores.key for e in kept))}
    return sorted(kept, key=lambda e: places[e.scores.key])


def _line(e: Evidence, result: SuiteResult) -> Line:
    s = e.head_set
    source = f" ({short_citation(s.source)})" if s.kind == "published" else f" ({s.source})" if s.kind == "user" else ""
    group = f"{'(Suppression) ' if e.scores.measure == 'suppression' else ''}{title_of(result, e.scores.task)}"
    return Line(
        group, f"{s.label}, {e.hits} of {e.listed}{source}", e.recall, e.low, e.high, e.auroc, *e.null,
        e.p_words, s.verified,
    )  # fmt: skip


def _caption(drawn: Sequence[Evidence], view: View, tau: float) -> str:
    tested = [e for e in drawn if not math.isnan(e.p)]
    low = sum(1 for e in tested if e.p <= captions.SIGNIFICANT)
    return captions.join(
        f"Heads of {captions.grid_words(view)} that others listed or another suite found, on the relation scores.",
        f"Left: share at τ = {tau:g} or above; right: AUROC against all other heads.",
        f"Layer-matched p ≤ {captions.SIGNIFICANT} (not adjusted) on {low} of {captions.plural(len(tested), 'line')}; "
        f"highest AUROC {max(e.auroc for e in tested):.2f}."
        if tested
        else "",
        captions.synthetic(view),
    )


def _notes(drawn: Sequence[Evidence], left_out: int, found: Found, tau: float) -> tuple[str, ...]:
    enumerated = sorted({e.sets for e in drawn if e.enumerated})
    sampled = sorted({e.sets for e in drawn if not e.enumerated and e.sets})
    counted = f"all {enumerated[0]:,} sets" if len(enumerated) == 1 else "all such sets"
    how = [f"as a share of {counted} where they can be enumerated"] if enumerated else []
    how += [f"from {sampled[0]:,} draws"] if sampled else []
    absent = sum(e.absent for e in drawn)
    return captions.notes(
        f"Share: a list's heads with score ≥ τ = {tau:g} out of its heads with a value, with Wilson's 95 % interval.",
        "AUROC: listed against all other heads, mid-ranks for ties (0.5, dashed: no higher than others); grey: 5 to "
        "95 % of sets with as many heads in every layer.",
        f"p, one-sided: how often such a set scores as high, {', else '.join(how)}; not adjusted for "
        f"{captions.plural(len(drawn), 'line')}."
        if how
        else "",
        f"The table has {captions.plural(len(found), 'row')}, every list on every relation, with the heads at τ that "
        "are on no list.",
        NO_PRECISION,
        "Hollow: unconfirmed lists." if not all(e.head_set.verified for e in drawn) else "",
        f"Of your own lists those with the smallest p are drawn, {captions.plural(left_out, 'line')} not."
        if left_out
        else "",
        f"{captions.plural(absent, 'listed head')} without a value left out." if absent else "",
    )
