"""Heads as points: induction against the average indirect effect, and both by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import numpy as np

from reportgen.aliases import Floats
from reportgen.figures import captions, theme
from reportgen.figures.curves import GREY, Axis, Curve, CurvePanel, Points, axis_of, even, line_chart, spots
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.head_points import CROSS, DIAMOND, named
from reportgen.figures.theme import Style
from reportgen.scores import Cell, Column, Head, HeadScores, SuiteResult, Table, head_name
from reportgen.stats import overlap_by_chance
from reportgen.suites.icl.drawing import words
from reportgen.suites.icl.found import (
    Agreement,
    Depth,
    Ring,
    agreement,
    depth,
    induction_of,
    rings,
    task_means,
)
from reportgen.suites.icl.suite import SUITE, TASK
from reportgen.suites.ranked import TOP, top

_DEPTHS = ("first third of the layers", "middle third", "last third")
_SHAPES = ("circle", CROSS, DIAMOND)
_RINGS = (("circle", 2.1), (_SHAPES[2], 3.2))  # shape, and how far round the mark
_NAMED = 5  # heads named in a panel, by either score


def _both(result: SuiteResult, view: View) -> tuple[HeadScores, HeadScores] | None:
    """Induction and average indirect effect, where the run has both."""
    aie = result.get("aie", TASK)
    if aie is None:
        return None
    induction = induction_of(view.results, (aie.values.shape[0], aie.values.shape[1]))
    return None if induction is None else (induction, aie)


def scatter_figure(result: SuiteResult, view: View) -> Figure | None:
    """None where no suite of the run scored induction."""
    found = _both(result, view)
    if found is None:
        return None
    induction, aie = found
    x, y = induction.values.astype(np.float64), aie.exact_values.astype(np.float64)
    told, name, of = words.facts_of(result), captions.model_name(view), agreement(x, y)
    others = rings(view.results, (x.shape[0], x.shape[1]))
    return Figure(
        id="icl-induction",
        suite=SUITE.name,
        title=f"{name}: induction against function vectors",
        caption=captions.join(
            f"Average indirect effect of each head of {captions.grid_words(view)} against its induction score.",
            f"n = {of.heads} heads with an exact effect.", _correlation(of),
            f"Top by both: {of.both} of {of.first + of.both} and {of.second + of.both}, expected {of.expected:.1f}.",
            captions.synthetic(view),
        ),
        alt=f"Scatter of the average indirect effect against induction over the heads of {name}.",
        chart=later(_scatter, induction, aie, others, view.style, synthetic=bool(captions.synthetic(view))),
        data=_table(induction, aie, others),
        notes=captions.notes(
            f"Across: {induction.label}, of the suite {induction.suite}: mean attention of queries in the second copy "
            "to the token after the first one, at most 1. Published induction scores are made otherwise.",
            f"Up: {words.lower(aie.label)}; {SUITE.measure('aie').formula}.",
            f"Dashed: where the top {100 * TOP:.0f} % of the heads begin (three at least). Top by induction alone "
            f"{of.first}, by the effect alone {of.second}, by both {of.both}; expected by chance within layers "
            f"{of.expected:.2f}, one-sided p = {captions.number(of.p)}.",
            *(_ring_words(ring, np.where(np.isfinite(x), y, np.nan)) for ring in others),
            words.exact(told),
            words.tasks(told),
            f"Named: the {_NAMED} highest heads by either score.",
        ),
    )  # fmt: skip


def _correlation(of: Agreement) -> str:
    if not math.isfinite(of.rho):
        return ""
    low, high = (captions.number(v) for v in (of.low, of.high))
    return f"Spearman {captions.number(of.rho)} [{low}, {high}] over heads."


def _ring_words(ring: Ring, effect: Floats) -> str:
    """How many ringed heads are among the highest by effect [layer head], against sets drawn within layers."""
    known = np.isfinite(effect)
    some = ring.member & known
    drawn = f"{int(some.sum())} of {captions.plural(int(ring.member.sum()), 'head')} with an exact effect"
    if not some.any():
        return f"Ringed, {ring.name}: {drawn}."
    expected, p = overlap_by_chance(top(effect), some)
    both = int((top(effect) & some).sum())
    return (
        f"Ringed, {ring.name}: {drawn}; {both} of them top by the effect, expected by chance within layers "
        f"{expected:.2f}, one-sided p = {captions.number(p)}."
    )


def _scatter(
    induction: HeadScores, aie: HeadScores, others: Sequence[Ring], style: Style, *, synthetic: bool
) -> alt.LayerChart:
    x, y = induction.values.astype(np.float64), aie.exact_values.astype(np.float64)
    known, layers = np.isfinite(x) & np.isfinite(y), len(x)
    third = np.minimum(2, 3 * np.arange(layers) // max(1, layers))[:, None] * np.ones_like(x)
    colours = [theme.CATEGORY_COLOURS[style.palette][i] for i in (0, 2, 3)]
    across, up = axis_of(induction.label, x[known]), axis_of(aie.label, y[known])
    dots = [
        Points(name, spots(x, y, known & (third == i)), colours[i], _SHAPES[i])
        for i, name in enumerate(_DEPTHS)
        if (known & (third == i)).any()
    ]
    for ring, (shape, around) in zip(others, _RINGS, strict=False):
        some = spots(x, y, known & ring.member)
        dots += [Points(f"{ring.name} ({len(some)})", some, theme.INK, shape, around)] if some else []
    edges = [float(values[top(np.where(known, values, np.nan))].min()) for values in (x, y)]
    lines = [
        Curve("", (edges[0], edges[0]), (up.low, up.high), GREY, dash=(3, 2), width=0.7),
        Curve("", (across.low, across.high), (edges[1], edges[1]), GREY, dash=(3, 2), width=0.7),
    ]
    if float(np.nanmin(y)) < 0:
        lines.append(Curve("", (across.low, across.high), (0.0, 0.0), "#9a9a9a", dash=(1.5, 1.5), width=0.5))
    best: list[Head] = [*aie.ranking()[:_NAMED], *(h for h in induction.ranking() if known[h])][: 2 * _NAMED]
    labels = named(best, x, y, (across, up), style, clear=(0.12, 0.05))
    panel = CurvePanel("", "", lines, points=dots, labels=labels)
    return line_chart([panel], [(across, up)], style, synthetic=synthetic, aspect=0.7, widest=46.0)


def _table(induction: HeadScores, aie: HeadScores, others: Sequence[Ring] = ()) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for head in np.ndindex(aie.values.shape):
        at = (int(head[0]), int(head[1]))
        values = [float(s[at]) if np.isfinite(s[at]) else None for s in (induction.values, aie.exact_values)]
        rows.append((head_name(*at), at[0], *values, *(bool(ring.member[at]) for ring in others)))
    columns = (
        Column("head"), Column("layer"), Column(induction.label, digits=4), Column(aie.label, digits=4),
        *(Column(ring.name) for ring in others),
    )  # fmt: skip
    return Table("icl/induction", "Induction and average indirect effect", columns, tuple(rows), folded=True)


# By layer.


def depth_figure(result: SuiteResult, view: View) -> Figure | None:
    """Both scores by layer; None where the run has not both."""
    found, stored = _both(result, view), task_means(result)
    if found is None or stored is None:
        return None
    induction, aie = found
    told, name = words.facts_of(result), captions.model_name(view)
    of = depth(induction.values.astype(np.float64), *stored)
    apart = f"{captions.number(of.second - of.first)} layers"
    spread = f" [{captions.number(of.low)}, {captions.number(of.high)}]" if math.isfinite(of.low) else ""
    return Figure(
        id="icl-depth",
        suite=SUITE.name,
        title=f"{name}: where induction and function vectors are",
        caption=captions.join(
            f"Induction score and average indirect effect of each head of {captions.grid_words(view)}, by layer.",
            f"Score-weighted mean layers (dashed): {of.first:.1f} and {of.second:.1f}, apart by {apart}{spread} over "
            f"{captions.plural(len(told.tasks), 'task')}.",
            captions.synthetic(view),
        ),
        alt=f"Two rows of dots: induction and average indirect effect by layer of {name}.",
        chart=later(_depths, induction, aie, of, view.style, synthetic=bool(captions.synthetic(view))),
        data=_table(induction, aie),
        notes=captions.notes(
            "Weights: scores above zero. The interval of the difference resamples tasks; induction is held fixed.",
            words.exact(told),
            words.tasks(told),
        ),
    )  # fmt: skip


def _depths(induction: HeadScores, aie: HeadScores, of: Depth, style: Style, *, synthetic: bool) -> alt.LayerChart:
    colours = [theme.CATEGORY_COLOURS[style.palette][i] for i in (0, 3)]
    layers = len(aie.values)
    step = next((s for s in (1.0, 2.0, 5.0, 10.0) if layers <= 12 * s), 20.0)
    panels, axes = [], []
    for scores, middle, colour, shape in zip((induction, aie), (of.first, of.second), colours, _SHAPES, strict=False):
        values = scores.exact_values.astype(np.float64)
        known = np.isfinite(values)
        at = np.arange(layers)[:, None] * np.ones_like(values)
        x = Axis("Layer", -0.7, layers - 0.3, [(v, f"{v:g}") for v, _ in even(0.0, layers - 1.0, step)])
        y = axis_of(scores.label.partition(" (")[0], values[known])
        middle_line = Curve("", (middle, middle), (y.low, y.high), GREY, dash=(3, 2), width=0.9)
        best = scores.ranking()[:3]
        labels = named(best, at, values, (x, y), style, clear=(0.12, 0.05))
        dots = [Points("", spots(at, values, known), colour, shape)]
        panels.append(CurvePanel(scores.label, "", [middle_line], points=dots, labels=labels))
        axes.append((x, y))
    return line_chart(panels, axes, style, synthetic=synthetic, aspect=0.32, in_row=1, widest=50.0)
