"""Heads as points: Elhage's corner and copying against suppression; and what ranks the heads that prompts found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import numpy as np

from reportgen.figures import captions, theme
from reportgen.figures.chart_data import table
from reportgen.figures.curves import SEVERAL, Axis, Curve, CurvePanel, Points, even, line_chart, rounded
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.markers import role
from reportgen.figures.points import ForestLine, forest
from reportgen.scores import Column, HeadScores, HeadSet, SuiteResult, Table, head_name
from reportgen.suites.ranked import Ranked, ranked
from reportgen.suites.weights.drawing.words import facts_of, formulas, lower
from reportgen.suites.weights.found import SCORES, from_prompts

_NAMED = 6  # points of a panel that carry their head's name
_APART = 0.4  # of an axis: names nearer than that would touch
_SHAPE = "circle"
_ROLES = ("mover", "negative", "inhibition", "induction", "previous_token", "duplicate_token")
_CURVES = 8  # heads of the profile


def _by_name(result: SuiteResult) -> dict[str, HeadScores]:
    return {one.measure: one for one in result.scores}


def corner_figure(result: SuiteResult, view: View) -> Figure | None:
    """Copying against matching through the strongest writer, and against suppression."""
    found = _by_name(result)
    copy = found.get("copying_mlp") or found.get("copying")
    plots = [(found[name], copy, roles) for name, roles in (
        ("induction_matching", ("induction",)), ("suppression", ("negative", "mover")),
    ) if name in found and copy is not None]  # fmt: skip
    if not plots or copy is None:
        return None
    sets = [[s for s in from_prompts(view.overlays, "weights/") if role(s) in roles] for *_, roles in plots]
    corner = _corner(plots[0][0], copy) if plots[0][0].measure == "induction_matching" else []
    words = ", ".join(head_name(*head) for head in corner[:4])
    named = [head_name(*h) for s in sets[0] for h in s.heads]
    synthetic = view.synthetic or view.model.synthetic
    return Figure(
        id="weights-corner",
        suite=result.suite,
        title=f"{captions.model_name(view)}: copying against matching and suppression",
        caption=captions.join(
            f"{copy.label} of each head of {captions.grid_words(view)}, against "
            f"{' and '.join(lower(x.label) for x, *_ in plots)}.",
            f"Nearest the upper right corner on the left: {words}." if words else "",
            f"Induction heads by their attention: {', '.join(named[:4])}." if named and words else "",
            captions.synthetic(view),
        ),
        alt=f"Scatter of {lower(copy.label)} against other scores, a point per head of {captions.model_name(view)}.",
        chart=later(_scatter, plots, sets, view, synthetic=synthetic),
        data=table([(copy, ()), *((x, ()) for x, *_ in plots)], "Scores of each head"),
        head_sets=tuple(s for group in sets for s in group),
        notes=captions.notes(
            "An induction head that copies stands in the upper right corner of the left panel (Elhage et al. 2021).",
            *formulas(copy, *(x for x, *_ in plots)),
            "Red: heads that other suites of this run found on prompts; left induction heads, right movers and "
            "negative movers.",
        ),
    )  # fmt: skip


def _corner(x: HeadScores, y: HeadScores) -> list[tuple[int, int]]:
    """Heads by the smaller of the two scores, largest first."""
    both = np.minimum(x.exact_values, y.exact_values)
    order = np.argsort(-np.where(np.isfinite(both), both, -np.inf), axis=None, kind="stable")
    known = int(np.isfinite(both).sum())
    width = both.shape[1]
    return [divmod(int(flat), width) for flat in order[:known]]


def _scatter(
    plots: Sequence[tuple[HeadScores, HeadScores, tuple[str, ...]]], sets: Sequence[Sequence[HeadSet]], view: View,
    *, synthetic: bool,
) -> alt.LayerChart:  # fmt: skip
    colour = theme.CATEGORY_COLOURS[view.style.palette][0]
    panels, axes = [], []
    for (x, y, _), groups in zip(plots, sets, strict=True):
        known = np.isfinite(x.values) & np.isfinite(y.values)
        spots = [
            (round(float(a), 4), round(float(b), 4), 1) for a, b in zip(x.values[known], y.values[known], strict=True)
        ]
        heads = [h for s in groups for h in s.heads if h[0] < len(known) and h[1] < known.shape[1] and known[h]]
        dots = _dots(x, y, list(dict.fromkeys(heads)))
        panels.append(
            CurvePanel(f"Against {lower(x.label)}", "", points=[Points("heads", spots, colour, _SHAPE)], dots=dots)
        )
        axes.append((_axis(x), _axis(y)))
    return line_chart(panels, axes, view.style, synthetic=synthetic, aspect=0.78, **SEVERAL)


def _dots(x: HeadScores, y: HeadScores, heads: Sequence[tuple[int, int]]) -> list[tuple[float, float, str]]:
    """Marked heads; a name beside those that stand clear of the ones named before."""
    found: list[tuple[float, float, str]] = []
    across, down = (max(float(np.nanmax(np.abs(one.values))), 1e-6) for one in (x, y))
    for head in heads:
        a, b = float(x.values[head]), float(y.values[head])
        near = [d for d in found if d[2] and abs(d[0] - a) < _APART * across and abs(d[1] - b) < 0.1 * down]
        found.append((a, b, "" if near or len(found) >= _NAMED else head_name(*head)))
    return found


def _axis(scores: HeadScores) -> Axis:
    """-1 to 1, or from 0 to a round number above the largest share."""
    if scores.range[0] < 0:
        return Axis(scores.label, -1.05, 1.05, even(-1.0, 1.0, 0.5))
    end, step = rounded(max(float(np.nanmax(scores.values)), 0.05), 4)
    return Axis(scores.label, -0.04 * end, 1.05 * end, even(0.0, end, step))


def profile_figure(result: SuiteResult, view: View) -> Figure | None:
    """Matching at a distance, of the heads that match most or least at distance 0."""
    stored, scores = result.arrays.get("profile"), _by_name(result).get("matching")
    if stored is None or scores is None or stored.values.shape[:2] != scores.values.shape:
        return None
    distances = [int(name) for name in stored.labels.get("distance", ())]
    order = sorted(scores.ranking(), key=lambda head: -abs(float(scores.values[head])))[:_CURVES]
    if not order or not distances:
        return None
    colours = theme.CATEGORY_COLOURS[view.style.palette]
    curves = []
    for i, head in enumerate(order):
        values = stored.values[head].astype(float)
        curves.append(
            Curve(head_name(*head), distances, [None if math.isnan(y) else y for y in values.tolist()],
                  colours[i % len(colours)], dash=((), (3, 2))[i >= len(colours)])
        )  # fmt: skip
    kept = [head for head in order if _end(stored.values[head]) * float(scores.values[head]) > 0]
    facts, synthetic = facts_of(result), view.synthetic or view.model.synthetic
    columns = (Column("head"), Column("distance"), Column("matching"))
    rows = tuple(
        (head_name(*head), distance, None if math.isnan(y) else float(y))
        for head in order for distance, y in zip(distances, stored.values[head].tolist(), strict=True)
    )  # fmt: skip
    return Figure(
        id="weights-profile",
        suite=result.suite,
        title=f"{captions.model_name(view)}: matching at a distance",
        caption=captions.join(
            f"Matching of queries and keys with the key so many positions before the query, of the {len(order)} heads "
            f"of {captions.grid_words(view)} with the largest size at distance 0.",
            f"{len(kept)} of them keep their sign at the largest distance.", captions.synthetic(view),
        ),
        alt="Curves of the matching score against distance, a line per head.",
        chart=later(_profiles, curves, distances, view, synthetic=synthetic),
        data=Table("weights/profile", "Matching at a distance", columns, rows),
        notes=captions.notes(
            *formulas(scores),
            "At distance δ the planes of a head turn by δ times their frequency; its other dimensions do not turn.",
            f"{captions.percent(facts.turning)} of a head's dimensions turn." if facts.turning < 1 else "",
        ),
    )  # fmt: skip


def _end(values: np.ndarray) -> float:
    """The last value that there is."""
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else math.nan


def _profiles(curves: Sequence[Curve], distances: Sequence[int], view: View, *, synthetic: bool) -> alt.LayerChart:
    most = max(distances)
    ticks = [(float(d), f"{d:,}") for d in distances if d in (0, 1, 4, 16, 64, 256, 1024) or d == most]
    x = Axis("Positions between key and query", 1.0, float(most), ticks, log=True, zero=True, inset=0.03)
    y = Axis("Matching", -1.05, 1.05, even(-1.0, 1.0, 0.5))
    return line_chart([CurvePanel("", "", curves)], [(x, y)], view.style, synthetic=synthetic, aspect=0.6, widest=46.0)


def found_figure(result: SuiteResult, view: View) -> Figure | None:
    """AUROC of each score for each set of heads that other suites found on prompts."""
    own = _by_name(result)
    sets = _one_per_role(from_prompts(view.overlays, "weights/"))
    lines: list[tuple[HeadSet, HeadScores, Ranked]] = []
    for one in sets:
        found = ((own[name], ranked(own[name], one)) for name in SCORES if name in own)
        lines += [(one, scores, of) for scores, of in found if of is not None]
    if not lines:
        return None
    best = max(lines, key=lambda line: abs(line[2].auroc - 0.5))
    synthetic = view.synthetic or view.model.synthetic
    return Figure(
        id="weights-found",
        suite=result.suite,
        title=f"{captions.model_name(view)}: do the weights rank the heads that prompts found?",
        caption=captions.join(
            f"Heads of {captions.grid_words(view)} that other suites of this run found on prompts, ranked by weights "
            f"alone: {len({one.key for one, *_ in lines})} sets, {len({s.measure for _, s, _ in lines})} scores.",
            f"Farthest from chance: {lower(best[1].label)}, {best[0].label}, AUROC {captions.number(best[2].auroc)}.",
            captions.synthetic(view),
        ),
        alt="Sets of heads against scores of the weights: share among the highest heads, and area under the ROC curve.",
        chart=later(forest, [_line(*one) for one in lines], view.style, "Share among the highest", synthetic=synthetic),
        data=_data(lines),
        head_sets=tuple({one.key: one for one, *_ in lines}.values()),
        notes=captions.notes(
            "Share: heads of the set among as many highest heads, with Wilson's 95 % interval.",
            "AUROC: the share of (listed, other) pairs in which the listed head is higher; grey: 95 % of sets with as "
            "many heads of each layer; p: two-sided against such sets, not corrected for the number of lines.",
            *_ranks(lines),
            f"Seen on {facts_of(result).n_heads} heads of one model: no rule for others.",
        ),
    )  # fmt: skip


def _one_per_role(sets: Sequence[HeadSet]) -> list[HeadSet]:
    """The first set of each role, in the order of `_ROLES`."""
    found = {name: next((s for s in sets if role(s) == name), None) for name in _ROLES}
    return [one for one in found.values() if one is not None]


def _line(one: HeadSet, scores: HeadScores, of: Ranked) -> ForestLine:
    group = f"{one.label} ({of.listed})"
    return ForestLine(group, scores.label, of.hits / of.listed, of.low, of.high, of.auroc, *of.null, f"{of.p:.2g}")


def _ranks(lines: Sequence[tuple[HeadSet, HeadScores, Ranked]]) -> list[str]:
    """For each set the score that is farthest above chance, with every head's rank by it."""
    words = []
    for key in dict.fromkeys(one.key for one, *_ in lines):
        own = [line for line in lines if line[0].key == key]
        one, scores, of = max(own, key=lambda line: line[2].auroc if math.isfinite(line[2].auroc) else -1.0)
        at = ", ".join(f"{head_name(*head)} {rank:g}" for head, rank in list(of.ranks.items())[:8])
        words.append(f"{one.label}, highest by {lower(scores.label)}: ranks {at} of {of.total}.")
    return words


def _data(lines: Sequence[tuple[HeadSet, HeadScores, Ranked]]) -> Table:
    columns = (Column("set"), Column("score"), Column("listed"), Column("heads"), Column("hits"), Column("AUROC"),
               Column("chance from"), Column("chance to"), Column("p", digits=4), Column("ranks"))  # fmt: skip
    rows = tuple(
        (one.key, scores.key, of.listed, of.total, of.hits, of.auroc, *of.null, of.p,
         " ".join(f"{head_name(*head)}:{rank:g}" for head, rank in of.ranks.items()))
        for one, scores, of in lines
    )  # fmt: skip
    return Table("weights/found", "Heads found on prompts, ranked by scores of the weights", columns, rows)
