"""Copying against pointing and writing, and against what other suites of the run scored, a point per head.

Heads of this suite's sets are crosses; dashed lines stand where the top share of the heads begins.
"""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np

from reportgen.aliases import Bools
from reportgen.figures import captions, theme
from reportgen.figures.curves import GREY, SEVERAL, Curve, CurvePanel, Points, axis_of, line_chart, spots
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.head_points import CROSS, named, zero_lines
from reportgen.figures.theme import Style
from reportgen.scores import Cell, Column, Head, HeadScores, SuiteResult, Table, head_name
from reportgen.stats import overlap_by_chance
from reportgen.suites.ranked import TOP, top
from reportgen.suites.retrieval.drawing import words
from reportgen.suites.retrieval.facts import RetrievalFacts
from reportgen.suites.retrieval.suite import SUITE, TASK

OWN = ("point", "write")
ELSEWHERE = ("induction", "aie")  # measures of other suites
SHORT = {"point": "pointing", "write": "writing", "induction": "induction", "aie": "function vectors"}
_NAMED = 3  # heads named in each panel, by either axis


def clouds(result: SuiteResult, view: View, told: RetrievalFacts) -> Figure | None:
    """Against pointing and writing; None where neither is computed."""
    copy, own = _copying(result), [result.get(name, TASK) for name in OWN]
    known = [s for s in own if s is not None and np.isfinite(s.values).any()]
    return None if copy is None or not known else _figure("retrieval-clouds", copy, known, view, told)


def elsewhere(result: SuiteResult, view: View, told: RetrievalFacts) -> Figure | None:
    """Against induction and function-vector effects; None where no suite of the run has scored them."""
    copy = _copying(result)
    known = [] if copy is None else _elsewhere(view, copy)
    return None if copy is None or not known else _figure("retrieval-elsewhere", copy, known, view, told)


def _copying(result: SuiteResult) -> HeadScores | None:
    """Copying, or attention to the answer where that is not computed."""
    found = (result.get(name, TASK) for name in ("copy", "copy_mass"))
    return next((s for s in found if s is not None and np.isfinite(s.values).any()), None)


def _figure(key: str, copy: HeadScores, known: Sequence[HeadScores], view: View, told: RetrievalFacts) -> Figure:
    name = captions.model_name(view)
    marked = {head for s in view.sets("retrieval/") if s.key.endswith("/retrieval_heads") for head in s.heads}
    both = [f"{_shared(copy, one)[0]} in {words.lower(one.label)}" for one in known]
    against = " and ".join(SHORT[s.measure] for s in known)
    return Figure(
        id=key,
        suite=SUITE.name,
        title=f"{name}: copying against {against}",
        caption=captions.join(
            f"{copy.label.partition(' (')[0]} of each head of {captions.grid_words(view)}.",
            words.counted(told, copy),
            f"Of the {int(_top(copy).sum())} highest in copying, among the highest: {', '.join(both)}.",
            captions.synthetic(view),
        ),
        alt=f"Scatter of copying against {against} over the heads of {name}.",
        chart=later(_chart, copy, known, marked, view.style, synthetic=bool(captions.synthetic(view))),
        data=_table(key.replace("-", "/"), [copy, *known], marked),
        notes=captions.notes(
            *(f"{s.label}: {SUITE.measure(s.measure).formula}." for s in (copy, *known) if s.suite == SUITE.name),
            *(f"{s.label}: of the suite {s.suite}, {s.key}." for s in known if s.suite != SUITE.name),
            f"Dashed: where the top {100 * TOP:.0f} % of the heads begin (three at least). Top by both, against chance "
            f"within layers: {'; '.join(_by_chance(copy, one) for one in known)}.",
            f"Crosses: this suite's retrieval heads. Named: the {_NAMED} highest by either axis.",
            words.text(told),
        ),
    )


def _elsewhere(view: View, copy: HeadScores) -> list[HeadScores]:
    """The scores of other suites of the run, the first of each measure that has them on these heads."""
    every = [s for r in view.results.values() for s in r.scores if s.suite != SUITE.name]
    every = [s for s in every if s.values.shape == copy.values.shape and s.exact.any()]
    found = (next((s for s in every if s.measure == name), None) for name in ELSEWHERE)
    return [s for s in found if s is not None]


def _top(scores: HeadScores) -> Bools:
    """[layer head] the highest share of the heads that have an exact value."""
    return top(scores.exact_values.astype(np.float64))


def _shared(one: HeadScores, other: HeadScores) -> tuple[int, float, float]:
    """Heads that are top by both, how many chance gives within layers, and p of at least as many."""
    a, b = _top(one), _top(other)
    expected, p = overlap_by_chance(a, b)
    return int((a & b).sum()), expected, p


def _by_chance(copy: HeadScores, one: HeadScores) -> str:
    found, expected, p = _shared(copy, one)
    return f"{words.lower(one.label)} {found}, expected {expected:.2f}, one-sided p = {captions.number(p)}"


def _chart(
    y: HeadScores, others: Sequence[HeadScores], marked: set[Head], style: Style, *, synthetic: bool
) -> alt.LayerChart:
    colours = [theme.CATEGORY_COLOURS[style.palette][i] for i in (0, 3)]
    mark, up = np.zeros(y.values.shape, np.bool_), y.values.astype(float)
    for head in marked:
        mark[head] = True
    panels, axes = [], []
    for x in others:
        across = x.exact_values.astype(float)
        known = np.isfinite(across) & np.isfinite(up)
        ends = axis_of(x.label, across[known]), axis_of(y.label.partition(" (")[0], up[known])
        axes.append(ends)
        kinds = (("other heads", known & ~mark, "circle"), ("retrieval heads", known & mark, CROSS))
        points = [Points(kind, spots(across, up, some), colour, shape)
                  for (kind, some, shape), colour in zip(kinds, colours, strict=True) if some.any()]  # fmt: skip
        edges = [float(s.values[_top(s)].min()) for s in (x, y)]
        lines = zero_lines(across[known], up[known], *ends)
        lines += [
            Curve("", (edges[0], edges[0]), (ends[1].low, ends[1].high), GREY, dash=(3, 2), width=0.7),
            Curve("", (ends[0].low, ends[0].high), (edges[1], edges[1]), GREY, dash=(3, 2), width=0.7),
        ]
        best = [head for s in (y, x) for head in s.ranking()[:_NAMED] if known[head]]
        panels.append(CurvePanel("", "", lines, points=points, labels=named(best, across, up, ends, style)))
    return line_chart(panels, axes, style, synthetic=synthetic, colours=colours, aspect=0.78, **SEVERAL)


def _table(key: str, scores: Sequence[HeadScores], marked: set[Head]) -> Table:
    layers, heads = scores[0].values.shape
    rows: list[tuple[Cell, ...]] = []
    for head in ((layer, h) for layer in range(layers) for h in range(heads)):
        values = [float(s.exact_values[head]) if s.exact[head] else None for s in scores]
        rows.append((head_name(*head), *values, head in marked))
    columns = (Column("head"), *(Column(s.label, digits=4) for s in scores), Column("retrieval head"))
    return Table(key, "Copying and other scores", columns, tuple(rows), folded=True)
