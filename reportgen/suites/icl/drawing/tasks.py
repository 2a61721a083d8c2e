"""Tasks by heads: which tasks a head's mean brings back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from reportgen.aliases import Floats, Rows
from reportgen.figures import captions, theme
from reportgen.figures.chart_data import ENDS, Axes, chart_layer, check_style, finished, rect, round6, words
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.geometry import POINTS_PER_INCH, Bar
from reportgen.figures.head_maps import bar_labels, colour, colour_bar
from reportgen.figures.small_multiples import Page, SmallPlot, watermarks
from reportgen.figures.theme import Style
from reportgen.scores import Cell, Column, SuiteResult, Table, head_name
from reportgen.suites.icl.drawing import words as said
from reportgen.suites.icl.facts import Gate
from reportgen.suites.icl.found import control_means, rank_correlation, task_means
from reportgen.suites.icl.suite import SUITE, TASK

MOST = 20  # heads
_WIDTH = 600.0  # points of a figure without a printed width
GAP = 0.6  # between tasks and control tasks, in rows
ONE_TASK = 0.5  # share of a head's effect above which it is called a head of one task


@dataclass(frozen=True, eq=False)
class Cells:
    """values [task head], nats; `breaks`: rows that begin a class of tasks; `apart`: how many rows at the end stand
    apart."""

    tasks: tuple[str, ...]
    heads: tuple[str, ...]
    values: Floats
    breaks: tuple[int, ...]
    apart: int = 0

    def places(self, tile: SmallPlot) -> list[tuple[float, float]]:
        """Upper edge and height of every row."""
        h = tile.height / self.lines
        near = len(self.tasks) - self.apart
        return [(tile.y + (i + GAP * (i >= near)) * h, h) for i in range(len(self.tasks))]

    @property
    def lines(self) -> float:
        """Heights of a row that all rows take."""
        return len(self.tasks) + GAP * bool(self.apart)


def matrix_figure(result: SuiteResult, view: View) -> Figure | None:
    """None where there is one task, or the run did not store effects per prompt."""
    stored, aie, told = task_means(result), result.get("aie", TASK), said.facts_of(result)
    if stored is None or aie is None or len(told.tasks) < 2 or len(stored[0]) != len(told.tasks):
        return None
    means, heads = stored
    order = [heads.index(head) for head in aie.ranking()[:MOST]]
    rows = sorted(range(len(told.tasks)), key=lambda i: (told.tasks[i].kind, told.tasks[i].title))
    kinds = [told.tasks[i].kind for i in rows]
    breaks = tuple(i for i in range(1, len(rows)) if kinds[i] != kinds[i - 1])
    tasks = means[rows][:, order]
    copied = control_means(result)
    controls = told.controls if copied is not None and len(copied) == len(told.controls) else []
    cells = Cells(
        (*(told.tasks[i].title for i in rows), *(gate.title for gate in controls)),
        tuple(head_name(*heads[i]) for i in order),
        np.vstack([tasks, copied[:, order]]) if controls and copied is not None else tasks,
        breaks,
        len(controls),
    )
    name = captions.model_name(view)
    positive = np.maximum(tasks, 0)
    shares = positive.max(0) / np.maximum(positive.sum(0), 1e-12)
    single = [
        f"{head} ({said.lower(cells.tasks[int(positive[:, i].argmax())])})"
        for i, head in enumerate(cells.heads) if shares[i] > ONE_TASK
    ]  # fmt: skip
    all_tasks = [head for i, head in enumerate(cells.heads) if (tasks[:, i] > 0).all()]
    return Figure(
        id="icl-tasks",
        suite=SUITE.name,
        title=f"{name}: tasks by heads",
        caption=captions.join(
            f"Effect of each task's own mean on log P of the answer, for the {len(order)} heads of {name} with the "
            "largest mean over tasks.",
            f"n = {told.prompts} prompts a task.",
            f"{captions.plural(len(all_tasks), 'head')} above zero on every task.",
            f"Of one task: {', '.join(single[:2])}{' and others' * (len(single) > 2)}." if single else "",
            _copying(cells, tasks), captions.synthetic(view),
        ),
        alt=f"Matrix of tasks by heads of {name}, coloured by the effect of the head's mean.",
        chart=later(matrix, cells, view.style, synthetic=bool(captions.synthetic(view))),
        data=_table(cells),
        notes=captions.notes(
            f"Colour: {SUITE.measure('aie').formula}, for one task.",
            f"Tasks are grouped by class ({', '.join(dict.fromkeys(kinds))}); heads stand in the order of their mean "
            "over tasks.",
            f"Of one task: more than half of the head's effects above zero come from it: {', '.join(single)}."
            if single else "", _correlations(controls, copied, means), said.tasks(told),
        ),
    )  # fmt: skip


def _copying(cells: Cells, tasks: Floats) -> str:
    """How many of the heads do more where copying is enough."""
    if not cells.apart:
        return ""
    more = int((cells.values[-cells.apart :].max(0) > tasks.mean(0)).sum())
    return f"Apart: copying, where {more} of them do more."


def _correlations(controls: Sequence[Gate], copied: Floats | None, means: Floats) -> str:
    """How the effect on control tasks goes with the mean over tasks, over all heads that have both."""
    parts = []
    for gate, effect in zip(controls, copied if copied is not None else (), strict=False):
        rho, low, high = (captions.number(v) for v in rank_correlation(effect, means.mean(0)))
        parts.append(f"{said.lower(gate.title)} {rho} [{low}, {high}], n = {gate.prompts} prompts")
    return (
        "Control tasks, where the output is the input, so that a head that copies brings the answer back. Rank "
        f"correlation over {means.shape[1]} heads with the mean over tasks: {'; '.join(parts)}." if parts else ""
    )  # fmt: skip


def _table(cells: Cells) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (task, head, float(cells.values[i, j]))
        for i, task in enumerate(cells.tasks) for j, head in enumerate(cells.heads)
    ]  # fmt: skip
    columns = (Column("task"), Column("head"), Column("effect", "nats", 4))
    return Table("icl/tasks", "Effect of each head's mean by task", columns, tuple(rows), folded=True)


def matrix(cells: Cells, style: Style, *, synthetic: bool = False) -> alt.LayerChart:
    """Cells on a diverging scale with their tasks at the left and heads below, a line between classes."""
    style = check_style(style)
    size, small = style.font_size, 0.88 * style.font_size
    columns = len(cells.heads)
    bar, clipped = _bar(cells.values)
    labels = bar_labels(bar, clipped)
    left = max(theme.text_width(task, small) for task in cells.tasks) + 1.8 * size
    room = 4.1 * size + max(theme.text_width(text, small) for text in labels)
    total = _WIDTH if style.width_in is None else max(style.width_in * POINTS_PER_INCH - 4, 34 * size)
    width = total - left - room
    height = cells.lines * min(1.9 * size, max(1.3 * size, width / columns))
    tile = SmallPlot(left, 2.0, width, height, left=True, below=True)
    below = max(theme.text_width(head, small) for head in cells.heads) + 0.9 * size
    place = Page((tile,), total, height + 2 + below, size, (left + width + 1.1 * size, 2.0, height), left)
    axes = place.axes()
    charts = [_cells(cells, tile, bar, style, axes), *_rules(cells, tile, axes), *_names(cells, tile, size, axes)]
    charts += colour_bar(bar, labels, "Effect (nats)", place, style, axes)
    charts += watermarks(place, axes) if synthetic else []
    return finished(charts, place, style)


def _bar(values: Floats) -> tuple[Bar, int]:
    """A scale with 0 in the middle, and how many values lie beyond it."""
    sizes = np.abs(values)
    reach = float(np.quantile(sizes, 0.98)) or float(sizes.max()) or 1.0
    step = theme.nice_step(2 * reach, 5)
    count = int(np.ceil(reach / step - 1e-9)) or 1
    top = theme.exact(count * step)
    ticks = tuple(theme.exact(i * step) for i in range(-count, count + 1))
    return Bar(-top, top, ticks, theme.decimals(step, 1), True), int((sizes > top).sum())


def _cells(cells: Cells, tile: SmallPlot, bar: Bar, style: Style, axes: Axes) -> alt.Chart:
    w, places = tile.width / len(cells.heads), cells.places(tile)
    rows: Rows = [
        {**rect(tile.x + j * w, places[i][0], w, places[i][1]), "value": round6(float(cells.values[i, j])),
         "task": task, "head": head}
        for i, task in enumerate(cells.tasks) for j, head in enumerate(cells.heads)
    ]  # fmt: skip
    tips = [alt.Tooltip("task:N"), alt.Tooltip("head:N"), alt.Tooltip("value:Q", format=".3~g")]
    return chart_layer("cells", rows, {"type": "rect"}, {**axes, **ENDS, "color": colour(bar, style), "tooltip": tips})


def _rules(cells: Cells, tile: SmallPlot, axes: Axes) -> list[alt.Chart]:
    """A frame round tasks and one round control tasks, and a line between classes of tasks."""
    places, near = cells.places(tile), len(cells.tasks) - cells.apart
    outline = {"type": "rect", "fill": "transparent", "stroke": theme.INK, "strokeWidth": 0.6}
    rule = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.8}
    lines = [rect(tile.x, places[at][0], tile.width, 0) for at in cells.breaks]
    boxes = [
        rect(tile.x, some[0][0], tile.width, some[-1][0] + some[-1][1] - some[0][0])
        for some in (places[:near], places[near:]) if some
    ]  # fmt: skip
    found = [chart_layer("frame", boxes, outline, {**axes, **ENDS})]
    return found + ([chart_layer("classes", lines, rule, {**axes, **ENDS})] if lines else [])


def _names(cells: Cells, tile: SmallPlot, size: float, axes: Axes) -> list[alt.Chart]:
    w, small = tile.width / len(cells.heads), 0.88 * size
    down: Sequence[tuple[float, float, str, float]] = [
        (tile.x - 0.4 * size, y + 0.5 * h, task, small)
        for task, (y, h) in zip(cells.tasks, cells.places(tile), strict=True)
    ]
    across = [
        (tile.x + (j + 0.5) * w, tile.y + tile.height + 0.4 * size, head, small) for j, head in enumerate(cells.heads)
    ]
    return [words("tasks", list(down), axes, "right"), words("heads", across, axes, "right", angle=270)]
