"""Circuits compared: a matrix of overlaps between tasks, and heads counted by the tasks they belong to (UpSet)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reportgen.aliases import Rows
from reportgen.figures import theme
from reportgen.figures.chart_data import ENDS, SIZED, axes_of, chart_layer, check_style, finished, rect, round6
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.theme import Style

NATURAL_WIDTH = 480.0
_BESIDE = 40.0  # times the font size: a narrower figure has its two parts below each other
_SHARED = "#2f5f8f"  # heads of several tasks


@dataclass(frozen=True)
class Cell:
    """The overlap of tasks number `row` and `column`: shared heads, those of the smaller circuit, expectation, p."""

    row: int
    column: int
    shared: int
    smaller: int
    expected: float
    p: str


@dataclass(frozen=True)
class HeadGroup:
    """Heads in the circuits of exactly these tasks (numbers)."""

    tasks: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class OverlapSheet:
    """Where the parts stand, in points: the matrix at `left`, `top` with cells of `cell`; the bars in `bars`.

    bars  x, y, width, height, or None with fewer than three tasks
    """

    width: float
    height: float
    left: float
    top: float
    cell: float
    bars: tuple[float, float, float, float] | None


def overlap(
    names: Sequence[str], sizes: Sequence[int], cells: Sequence[Cell], groups: Sequence[HeadGroup], style: Style, *,
    synthetic: bool = False,
) -> alt.LayerChart:  # fmt: skip
    """Shared heads of every pair, coloured by their share of the smaller circuit, the diagonal its size.

    Beside it (below it in a column of text), from three tasks on: a bar per group of heads, with dots at its tasks.
    """
    style = check_style(style)
    sheet = _sheet(names, style)
    axes = axes_of(sheet)
    charts = _matrix(names, sizes, cells, sheet, axes, style)
    if sheet.bars:
        charts += _upset(names, groups, sheet.bars, axes, style)
    if synthetic:
        charts.append(_watermark(sheet, axes))
    return finished(charts, sheet, style)


def _sheet(names: Sequence[str], style: Style) -> OverlapSheet:
    """The bars stand beside the matrix, or below it where the figure is narrow."""
    size, count = style.font_size, len(names)
    total = max(NATURAL_WIDTH if style.width_in is None else style.width_in * POINTS_PER_INCH - 4, 24 * size)
    left = max(theme.text_width(name, 0.88 * size) for name in names) + 0.8 * size
    upset, stacked = count > 2, total < _BESIDE * size
    share = 0.5 if upset and not stacked else 0.8 if not stacked else 1.0
    cell, top = min((total * share - left) / count, 6.0 * size), 2.2 * size
    matrix = top + count * cell + 3.4 * size
    if not upset:
        return OverlapSheet(left + count * cell + 1, matrix, left, top, cell, None)
    if stacked:
        return OverlapSheet(total, matrix + 16 * size, left, top, cell, (0.0, matrix + top, total, 16 * size - top))
    start = left + count * cell + 2.2 * size
    return OverlapSheet(total, matrix, left, top, cell, (start, top, total - start, count * cell))


def _watermark(sheet: OverlapSheet, axes: dict[str, Any]) -> alt.Chart:
    mark = {"type": "text", "fontWeight": "bold", "fontSize": round6(sheet.width / 9), "color": "#8c8c8c",
            "fillOpacity": 0.4}  # fmt: skip
    at = [{"x": sheet.width / 2, "y": sheet.height / 2, "text": WATERMARK}]
    return chart_layer("watermark", at, mark, {**axes, "text": alt.Text("text:N")})


_TEXT = {"text": alt.Text("text:N")}
_MIDDLE: dict[str, Any] = {"type": "text", "baseline": "middle"}


def _matrix(
    names: Sequence[str],
    sizes: Sequence[int],
    cells: Sequence[Cell],
    sheet: OverlapSheet,
    axes: dict[str, Any],
    style: Style,
) -> list[alt.Chart]:
    """Cells below the diagonal, sizes on it, task names left and below."""
    size, side = style.font_size, sheet.cell
    own = [rect(sheet.left + i * side, sheet.top + i * side, side, side) for i in range(len(names))]
    own_words = [
        {
            "x": round(sheet.left + (i + 0.5) * side, 2), "y": round(sheet.top + (i + 0.5) * side, 2),
            "text": f"{n} heads", "size": _fitted(f"{n} heads", side, 0.88 * size),
        }
        for i, n in enumerate(sizes)
    ]  # fmt: skip
    beside = [
        {"x": sheet.left - 0.5 * size, "y": round(sheet.top + (i + 0.5) * side, 2), "text": name}
        for i, name in enumerate(names)
    ]
    text = {**_MIDDLE, "color": theme.INK}
    plain = {"type": "rect", "fill": "transparent", "stroke": theme.INK, "strokeOpacity": 0.4, "strokeWidth": 0.6}
    title = [{"x": 0, "y": 0.6 * size, "text": "Shared heads, of the smaller circuit's"}]
    return [
        _boxes(names, cells, sheet, axes, style),
        chart_layer("sizes", own, plain, {**axes, **ENDS}),
        *_counts(cells, sheet, axes, size),
        chart_layer("size_words", own_words, text, {**axes, **SIZED}),
        chart_layer(
            "names_left", beside, {**text, "align": "right", "fontSize": round6(0.88 * size)}, {**axes, **_TEXT}
        ),
        chart_layer("names_below", _below(names, sheet.left, sheet.top, side, size), text, {**axes, **SIZED}),
        chart_layer("title_left", title, {**text, "align": "left", "fontSize": size}, {**axes, **_TEXT}),
    ]


def _corner(cell: Cell, sheet: OverlapSheet) -> tuple[float, float]:
    """The upper left corner of a pair's cell, below the diagonal."""
    low, high = max(cell.row, cell.column), min(cell.row, cell.column)
    return sheet.left + high * sheet.cell, sheet.top + low * sheet.cell


def _share(cell: Cell) -> float:
    return cell.shared / cell.smaller if cell.smaller else 0.0


def _boxes(
    names: Sequence[str], cells: Sequence[Cell], sheet: OverlapSheet, axes: dict[str, Any], style: Style
) -> alt.Chart:
    """The coloured cells, each with its numbers in the tooltip."""
    boxes = [
        {
            **rect(*_corner(c, sheet), sheet.cell, sheet.cell), "share": round6(_share(c)),
            "a": names[min(c.row, c.column)], "b": names[max(c.row, c.column)], "shared": c.shared,
            "expected": round6(c.expected), "p": c.p,
        }
        for c in cells
    ]  # fmt: skip
    scheme: dict[str, Any] = {"scheme": style.cmap, "domain": [0, 1]}
    colour = alt.Color("share:Q", scale=alt.Scale(**scheme), legend=None)
    tips = [alt.Tooltip(f"{name}:N") for name in ("a", "b", "shared", "expected", "p")]
    mark = {"type": "rect", "stroke": "#ffffff", "strokeWidth": 1}
    return chart_layer("overlaps", boxes, mark, {**axes, **ENDS, "color": colour, "tooltip": tips})


def _counts(cells: Sequence[Cell], sheet: OverlapSheet, axes: dict[str, Any], size: float) -> list[alt.Chart]:
    """Three lines of text in each cell, white on dark colours and black on light ones."""
    dark: Rows = []
    light: Rows = []
    for c in cells:
        x, y = _corner(c, sheet)
        lines = (f"{c.shared} of {c.smaller}", f"expected {c.expected:.1f}", f"p {c.p}")
        for i, (said, scale) in enumerate(zip(lines, (1.0, 0.76, 0.76), strict=True)):
            down = y + 0.5 * sheet.cell + (i - 1) * 1.15 * size
            row = {"x": round(x + 0.5 * sheet.cell, 2), "y": round(down, 2), "text": said,
                   "size": _fitted(said, sheet.cell, scale * size)}  # fmt: skip
            (light if _share(c) < 0.6 else dark).append(row)
    channels = {**axes, **SIZED}
    return [
        chart_layer("overlap_light", light, {**_MIDDLE, "color": "#ffffff"}, channels),
        chart_layer("overlap_dark", dark, {**_MIDDLE, "color": "#000000"}, channels),
    ]


def _fitted(text: str, side: float, size: float) -> float:
    """The font size, smaller where the text would be wider than a cell."""
    return round6(min(size, size * (side - 4) / theme.text_width(text, size)))


def _below(names: Sequence[str], left: float, top: float, side: float, size: float) -> Rows:
    """Names below the columns, in smaller letters or two lines where they are wide."""
    rows: Rows = []
    for i, name in enumerate(names):
        words = name.split(" ") if theme.text_width(name, 0.88 * size) > side - 4 else [name]
        for line, word in enumerate(words):
            rows.append({"x": round(left + (i + 0.5) * side, 2), "text": word, "size": _fitted(word, side, 0.88 * size),
                         "y": round(top + len(names) * side + (0.9 + 1.05 * line) * size, 2)})  # fmt: skip
    return rows


@dataclass(frozen=True)
class BarColumns:
    """Where the bars stand: from `x` on, `step` apart, on `base`; the rows of dots below, `line` apart from `dots`."""

    x: float
    step: float
    base: float
    room: float
    dots: float
    line: float


def _upset(
    names: Sequence[str], groups: Sequence[HeadGroup], place: tuple[float, float, float, float], axes: dict[str, Any],
    style: Style,
) -> list[alt.Chart]:  # fmt: skip
    """Bars of the largest groups above a matrix of dots, a row per task."""
    (x0, top, width, height), size = place, style.font_size
    x = x0 + max(theme.text_width(name, 0.8 * size) for name in names) + 0.6 * size
    most = max(1, int((x0 + width - x) // (1.5 * size)))
    shown = sorted(groups, key=lambda g: (-g.count, -len(g.tasks), g.tasks))[:most]
    rows = min(1.5 * size * len(names), 0.5 * height)
    base = top + height - rows - 0.8 * size
    at = BarColumns(
        x, (x0 + width - x) / len(shown), base, base - top - 1.2 * size, base + 0.8 * size, rows / len(names)
    )
    tasks = [
        {"x": round(x - 0.4 * size, 2), "y": round(at.dots + (t + 0.5) * at.line, 2), "text": name}
        for t, name in enumerate(names)
    ]
    title = [{"x": round(x, 2), "y": round(top - 1.6 * size, 2), "text": "Heads in the circuits of exactly"}]
    text = {**_MIDDLE, "color": theme.INK}
    return [
        *_bars(names, shown, at, axes, size),
        *_dots(len(names), shown, at, axes, size),
        chart_layer(
            "upset_names", tasks, {**text, "align": "right", "fontSize": round6(0.8 * size)}, {**axes, **_TEXT}
        ),
        chart_layer("title_right", title, {**text, "align": "left", "fontSize": size}, {**axes, **_TEXT}),
    ]


def _bars(
    names: Sequence[str], shown: Sequence[HeadGroup], at: BarColumns, axes: dict[str, Any], size: float
) -> list[alt.Chart]:
    """A bar per group and its number of heads; blue where several tasks share them."""
    tallest, bars, numbers = max(g.count for g in shown), Rows(), Rows()
    for i, g in enumerate(shown):
        x, up = at.x + (i + 0.5) * at.step, at.room * g.count / tallest
        words = {"tasks": ", ".join(names[t] for t in g.tasks), "heads": g.count, "shared": len(g.tasks) > 1}
        bars.append({**rect(x - 0.32 * at.step, at.base - up, 0.64 * at.step, up), **words})
        numbers.append({"x": round(x, 2), "y": round(at.base - up - 0.6 * size, 2), "text": str(g.count)})
    fill = alt.Color("shared:N", scale=alt.Scale(domain=[False, True], range=["#9a9a9a", _SHARED]), legend=None)
    tips = [alt.Tooltip("tasks:N", title="in the circuits of"), alt.Tooltip("heads:Q")]
    count = {**_MIDDLE, "color": theme.INK, "fontSize": round6(0.88 * size)}
    return [
        chart_layer("bars", bars, {"type": "rect"}, {**axes, **ENDS, "color": fill, "tooltip": tips}),
        chart_layer("bar_counts", numbers, count, {**axes, **_TEXT}),
    ]


def _dots(tasks: int, shown: Sequence[HeadGroup], at: BarColumns, axes: dict[str, Any], size: float) -> list[alt.Chart]:
    """A dot per group and task, filled where the group is the task's, those joined by a line."""
    filled, empty, links = Rows(), Rows(), Rows()
    rows = [round(at.dots + (t + 0.5) * at.line, 2) for t in range(tasks)]
    for i, g in enumerate(shown):
        x = round(at.x + (i + 0.5) * at.step, 2)
        for t, y in enumerate(rows):
            (filled if t in g.tasks else empty).append({"x": x, "y": y})
        if len(g.tasks) > 1:
            links.append({"x": x, "y": rows[min(g.tasks)], "y2": rows[max(g.tasks)]})
    link = {"type": "rule", "stroke": _SHARED, "strokeWidth": 1.4}
    dot = {"type": "circle", "size": round6((0.62 * size) ** 2), "opacity": 1}
    return [
        chart_layer("dot_links", links, link, {**axes, "y2": ENDS["y2"]}),
        chart_layer("dots_empty", empty, {**dot, "color": "#dddddd"}, axes),
        chart_layer("dots", filled, {**dot, "color": _SHARED}, axes),
    ]
