"""Statistics two by two, and on text against shuffled text: a point per head; heads that a set of the run names are
marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from reportgen.figures import captions, theme
from reportgen.figures.curves import Axis, Curve, CurvePanel, Label, Points, axis_of, line_chart, spots
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.head_points import CROSS
from reportgen.figures.theme import Style
from reportgen.scores import Cell, Column, FloatGrid, Head, HeadScores, SuiteResult, Table, head_name
from reportgen.suites.text.drawing import caption_text as words
from reportgen.suites.text.facts import TextFacts
from reportgen.suites.text.suite import SUITE, TASK

PAIRS = (("induction", "copy_next"), ("sink", "honor_out"), ("entropy", "reach"), ("previous", "output_norm"))
SHORT = {
    "induction": "Induction", "copy_next": "Copies of the next token", "sink": "Sink", "honor_out": "HONOR after W_O",
    "entropy": "Relative entropy", "reach": "Reach (tokens)", "previous": "Previous token",
    "output_norm": "Output norm", "dla_abs": "Size of the direct effect", "duplicate": "Duplicate token",
}  # fmt: skip
_SHAPES = ("circle", CROSS)
_NAMED = 2  # heads named in each panel, by either axis
ORDER = ("previous", "induction", "copy_next", "duplicate", "entropy", "dla_abs")  # what the order of words could make
CONTROL = "shuffled text"


@dataclass(frozen=True, eq=False)
class Cloud:
    """One panel: a point per head at (x, y), both [layer head]; `named` heads have a label; `same`: x = y is drawn."""

    title: str
    x: FloatGrid
    y: FloatGrid
    named: tuple[Head, ...]
    same: bool = False


def clouds(result: SuiteResult, view: View, told: TextFacts) -> Figure | None:
    """None where the run lacks one of the statistics."""
    pairs = [(result.get(x, TASK), result.get(y, TASK)) for x, y in PAIRS]
    found = [(x, y) for x, y in pairs if x is not None and y is not None]
    if len(found) < len(PAIRS):
        return None
    name, named = captions.model_name(view), _found_on_tasks(view)
    panels = []
    for x, y in found:
        best = sorted({head for s in (x, y) for head in s.ranking()[:_NAMED]})
        title = f"{SHORT[y.measure]} against {SHORT[x.measure][0].lower()}{SHORT[x.measure][1:]}"
        panels.append(Cloud(title, x.values, y.values, tuple(best)))
    return Figure(
        id="text-clouds",
        suite=SUITE.name,
        title=f"{name}: what heads do on text, two by two",
        caption=captions.join(
            f"Four pairs of statistics over the heads of {captions.grid_words(view)}.",
            words.material(told),
            f"Crosses: {captions.plural(len(named), 'head')} that suites of this run name on tasks." if named else "",
            captions.synthetic(view),
        ),
        alt=f"Four scatter plots of statistics on text over the heads of {name}.",
        chart=later(_chart, panels, named, view.style, synthetic=bool(captions.synthetic(view))),
        data=_table(found, named),
        notes=captions.notes(
            *(f"{SHORT[s.measure]}: {SUITE.measure(s.measure).formula}." for pair in found for s in pair),
            "Named: the two highest heads by either axis.",
            words.source(told),
        ),
    )


def shuffled(result: SuiteResult, view: View, told: TextFacts) -> Figure | None:
    """Text against the same windows with their tokens in random order; None for a run without that control."""
    scores = [one for name in ORDER if (one := result.get(name, TASK)) is not None]
    both = [(one, control.values) for one in scores for control in one.controls
            if control.name == CONTROL and control.values is not None]  # fmt: skip
    if len(both) < 2:
        return None
    name, named = captions.model_name(view), _found_on_tasks(view)
    best = [tuple(dict.fromkeys((one.ranking()[0], _farthest(one, mixed)))) for one, mixed in both]
    panels = [
        Cloud(SHORT[s.measure], mixed, s.values, heads, True) for (s, mixed), heads in zip(both, best, strict=True)
    ]
    return Figure(
        id="text-shuffled",
        suite=SUITE.name,
        title=f"{name}: statistics on text against shuffled text",
        caption=captions.join(
            f"Each head of {captions.grid_words(view)} on text (up) and on {told.shuffled} windows with their tokens "
            "in random order (across). Dashed: order makes no difference.",
            _example(both),
            f"Crosses: {captions.plural(len(named), 'head')} that suites of this run name on tasks." if named else "",
            captions.synthetic(view),
        ),
        alt=f"Scatter plots of statistics on text against shuffled text over the heads of {name}.",
        chart=later(_chart, panels, named, view.style, synthetic=bool(captions.synthetic(view))),
        data=_shuffled_table(both, named),
        notes=captions.notes(
            *(f"{SHORT[one.measure]}: {SUITE.measure(one.measure).formula}." for one, _ in both),
            "Named: the highest head on text, and the one that order changes most.",
            words.source(told),
        ),
    )


def _example(both: Sequence[tuple[HeadScores, FloatGrid]]) -> str:
    """The head of highest induction, or of the first statistic, on both texts; in words."""
    one, mixed = next(((s, m) for s, m in both if s.measure == "induction"), both[0])
    head = one.ranking()[0]
    values = captions.number(float(one.values[head])), captions.number(float(mixed[head]))
    return f"{SHORT[one.measure]} is highest in {head_name(*head)}: {values[0]} on text, {values[1]} shuffled."


def _farthest(one: HeadScores, mixed: FloatGrid) -> Head:
    """The head whose statistic the order of tokens changes most."""
    gap = np.nan_to_num(np.abs(one.values - mixed), nan=-1.0)
    at = np.unravel_index(int(gap.argmax()), gap.shape)
    return int(at[0]), int(at[1])


def _found_on_tasks(view: View) -> set[Head]:
    return {head for heads in view.overlays if heads.kind != "user" and heads.evidence for head in heads.heads}


def _chart(clouds: Sequence[Cloud], named: set[Head], style: Style, *, synthetic: bool) -> alt.LayerChart:
    colours = [theme.CATEGORY_COLOURS[style.palette][i] for i in (0, 3)]
    panels, axes = [], []
    for cloud in clouds:
        x, y = cloud.x.astype(float), cloud.y.astype(float)
        ends = axis_of("", x), axis_of("", y)
        if cloud.same:
            both = np.stack([x, y])
            ends = axis_of("shuffled text", both), axis_of("text", both)
        axes.append(ends)
        mark = np.zeros(x.shape, bool)
        for head in named:
            mark[head] = True
        points = [
            Points(kind, spots(x, y, some), colour, shape)
            for kind, some, colour, shape in zip(
                ("other heads", "heads named on tasks"), (~mark, mark), colours, _SHAPES, strict=True
            )
            if some.any()
        ]
        labels = [_label(head, float(x[head]), float(y[head]), ends[0], style) for head in cloud.named]
        across = (ends[0].low, ends[0].high)
        line = Curve("", across, across if cloud.same else (0.0, 0.0), "#9a9a9a", dash=(2, 2), width=0.5)
        lines = [line] if cloud.same or bool(np.nanmin(y) < 0) else []
        panels.append(CurvePanel(cloud.title, "", lines, points=points, labels=labels))
    return line_chart(
        panels, axes, style, synthetic=synthetic, colours=colours, aspect=0.78, in_row=3 if len(panels) > 4 else 2,
        natural=504.0, widest=26.0,
    )  # fmt: skip


def _label(head: Head, x: float, y: float, across: Axis, style: Style) -> Label:
    """The head's name beside its point, on the side where there is room."""
    name = head_name(*head)
    left = across.share(x) > 0.75
    return Label(name, x, y, right=-theme.text_width(name, 0.88 * style.font_size) - 4.0 if left else 4.0)


def _table(found: Sequence[tuple[HeadScores, HeadScores]], named: set[Head]) -> Table:
    scores = {s.measure: s for pair in found for s in pair}
    shape = found[0][0].values.shape
    heads = [(layer, head) for layer in range(shape[0]) for head in range(shape[1])]
    rows: list[tuple[Cell, ...]] = []
    for head in heads:
        values = [float(s.values[head]) if np.isfinite(s.values[head]) else None for s in scores.values()]
        rows.append((head_name(*head), *values, head in named))
    columns = (Column("head"), *(Column(SHORT[name], digits=4) for name in scores), Column("named on a task"))
    return Table("text/clouds", "Statistics on text, two by two", columns, tuple(rows), folded=True)


def _shuffled_table(both: Sequence[tuple[HeadScores, FloatGrid]], named: set[Head]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for head in np.ndindex(*both[0][0].values.shape):
        at = (head[0], head[1])
        values = [float(v[at]) if np.isfinite(v[at]) else None for one, mixed in both for v in (one.values, mixed)]
        rows.append((head_name(*at), *values, at in named))
    columns = [Column("head")]
    for one, _ in both:
        columns += [Column(SHORT[one.measure], "text", 4), Column(f"{SHORT[one.measure]}, shuffled", "shuffled", 4)]
    return Table(
        "text/shuffled", "Statistics on text and on shuffled text", (*columns, Column("named on a task")), tuple(rows),
        folded=True,
    )  # fmt: skip
