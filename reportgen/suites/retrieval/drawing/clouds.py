"""Copying against pointing and against writing, a point per head; heads of this suite's sets are named."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np

from reportgen.figures import captions, theme
from reportgen.figures.curves import SEVERAL, Axis, Curve, CurvePanel, Label, Points, axis_of, line_chart, spots
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.theme import Style
from reportgen.scores import Cell, Column, Head, HeadScores, SuiteResult, Table, head_name
from reportgen.suites.retrieval.drawing import words
from reportgen.suites.retrieval.facts import RetrievalFacts
from reportgen.suites.retrieval.suite import SUITE, TASK

_CROSS = "M-0.8,-0.8L0.8,0.8M-0.8,0.8L0.8,-0.8"
_NAMED = 3  # heads named in each panel, by either axis
_TOP = 0.02  # share of heads that are compared


def clouds(result: SuiteResult, view: View, told: RetrievalFacts) -> Figure | None:
    """None where a measure is not computed; attention to the answer stands for copying where that is not."""
    copy = result.get("copy", TASK)
    if copy is None or not np.isfinite(copy.values).any():
        copy = result.get("copy_mass", TASK)
    others = [result.get(name, TASK) for name in ("point", "write")]
    known = [s for s in others if s is not None and np.isfinite(s.values).any()]
    if copy is None or not known:
        return None
    name = captions.model_name(view)
    marked = {head for s in view.sets("retrieval/") if s.key.endswith("/retrieval_heads") for head in s.heads}
    both = [f"{_shared(copy, one)} in {words.lower(one.label)}" for one in known]
    return Figure(
        id="retrieval-clouds",
        suite=SUITE.name,
        title=f"{name}: copying, pointing and writing",
        caption=captions.join(
            f"{copy.label.partition(' (')[0]} of each head of {captions.grid_words(view)} against "
            f"{' and '.join(words.lower(one.label) for one in known)}.",
            words.questions(told),
            f"Of the {_count(copy)} highest in copying, among the highest: {', '.join(both)}.",
            captions.synthetic(view),
        ),
        alt=f"Scatter of copying against pointing and writing over the heads of {name}.",
        chart=later(_chart, copy, known, marked, view.style, synthetic=bool(captions.synthetic(view))),
        data=_table([copy, *known], marked),
        notes=captions.notes(
            *(f"{s.label}: {SUITE.measure(s.measure).formula}." for s in (copy, *known)),
            f"Crosses: this suite's retrieval heads. Named: the {_NAMED} highest by either axis.",
            words.text(told),
        ),
    )


def _count(scores: HeadScores) -> int:
    return max(1, round(_TOP * int(scores.exact.sum())))


def _shared(one: HeadScores, other: HeadScores) -> int:
    return len(set(one.ranking()[: _count(one)]) & set(other.ranking()[: _count(other)]))


def _chart(
    y: HeadScores, others: Sequence[HeadScores], marked: set[Head], style: Style, *, synthetic: bool
) -> alt.LayerChart:
    colours = [theme.CATEGORY_COLOURS[style.palette][i] for i in (0, 3)]
    mark = np.zeros(y.values.shape, bool)
    for head in marked:
        mark[head] = True
    panels, axes = [], []
    for x in others:
        ends = axis_of(x.label, x.values.astype(float)), axis_of(y.label, y.values.astype(float))
        axes.append(ends)
        kinds = (("other heads", ~mark, "circle"), ("retrieval heads", mark, _CROSS))
        points = [Points(kind, spots(x.values.astype(float), y.values.astype(float), some), colour, shape)
                  for (kind, some, shape), colour in zip(kinds, colours, strict=True) if some.any()]  # fmt: skip
        best = sorted({head for s in (x, y) for head in s.ranking()[:_NAMED]})
        labels = [_label(head, x, y, ends[0], style) for head in best]
        zero = [Curve("", (0.0, 0.0), (ends[1].low, ends[1].high), "#9a9a9a", dash=(2, 2), width=0.5)]
        panels.append(CurvePanel("", "", zero, points=points, labels=labels))
    return line_chart(panels, axes, style, synthetic=synthetic, colours=colours, aspect=0.78, **SEVERAL)


def _label(head: Head, x: HeadScores, y: HeadScores, across: Axis, style: Style) -> Label:
    """The head's name beside its point, on the side where there is room."""
    name = head_name(*head)
    left = across.share(float(x.values[head])) > 0.75
    right = -theme.text_width(name, 0.88 * style.font_size) - 4.0 if left else 4.0
    return Label(name, float(x.values[head]), float(y.values[head]), right=right)


def _table(scores: Sequence[HeadScores], marked: set[Head]) -> Table:
    layers, heads = scores[0].values.shape
    rows: list[tuple[Cell, ...]] = []
    for head in ((layer, h) for layer in range(layers) for h in range(heads)):
        values = [float(s.values[head]) if np.isfinite(s.values[head]) else None for s in scores]
        rows.append((head_name(*head), *values, head in marked))
    columns = (Column("head"), *(Column(s.label, digits=4) for s in scores), Column("retrieval head"))
    return Table("retrieval/clouds", "Copying, pointing and writing", columns, tuple(rows), folded=True)
