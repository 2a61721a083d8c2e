"""Circuits compared: a matrix of overlaps between tasks, and heads counted by the tasks they belong to (UpSet)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reportgen.figures import theme
from reportgen.figures.data import round6
from reportgen.figures.figure import Style
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.marks import check_style, layer

NATURAL_WIDTH = 480.0
_BESIDE = 40.0  # times the font size: a narrower figure has its two parts below each other
Rows = list[dict[str, Any]]


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
class Group:
    """Heads in the circuits of exactly these tasks (numbers)."""

    tasks: tuple[int, ...]
    count: int


def overlap(
    names: Sequence[str], sizes: Sequence[int], cells: Sequence[Cell], groups: Sequence[Group], style: Style, *,
    synthetic: bool = False,
) -> alt.LayerChart:  # fmt: skip
    """Shared heads of every pair, coloured by their share of the smaller circuit, the diagonal its size.

    Beside it (below it in a column of text), from three tasks on: a bar per group of heads, with dots at its tasks.
    """
    style = check_style(style)
    size, count = style.font_size, len(names)
    total = max(NATURAL_WIDTH if style.width_in is None else style.width_in * POINTS_PER_INCH - 4, 24 * size)
    left = max(theme.text_width(name, 0.88 * size) for name in names) + 0.8 * size
    upset, stacked = count > 2, total < _BESIDE * size
    share = 0.5 if upset and not stacked else 0.8 if not stacked else 1.0
    cell = min((total * share - left) / count, 6.0 * size)
    top = 2.2 * size
    matrix = top + count * cell + 3.4 * size
    height = matrix + (16 * size if upset and stacked else 0)
    bars = (0.0, matrix + top) if stacked else (left + count * cell + 2.2 * size, top)
    width = total if upset else left + count * cell + 1
    axes = {
        "x": alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, round6(width)], nice=False, zero=False)),
        "y": alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[round6(height), 0], nice=False, zero=False)),
    }
    charts = _matrix(names, sizes, cells, (left, top, cell), axes, style)
    if upset:
        tall = 16 * size - top if stacked else count * cell
        charts += _upset(names, groups, (*bars, width - bars[0], tall), axes, style)
    if synthetic:
        mark = {
            "type": "text",
            "fontWeight": "bold",
            "fontSize": round6(width / 9),
            "color": "#8c8c8c",
            "fillOpacity": 0.4,
        }
        at = [{"x": width / 2, "y": height / 2, "text": WATERMARK}]
        charts.append(layer("watermark", at, mark, {**axes, "text": alt.Text("text:N")}))
    chart = alt.LayerChart(layer=charts, width=round6(width), height=round6(height))
    chart.view = alt.ViewBackground(stroke=None)
    chart.config = alt.Config(**theme.config(style))
    return chart


def _rect(x: float, y: float, w: float, h: float) -> dict[str, float]:
    return {"x": round(x, 2), "y": round(y, 2), "x2": round(x + w, 2), "y2": round(y + h, 2)}


_ENDS = {"x2": alt.X2("x2:Q"), "y2": alt.Y2("y2:Q")}
_TEXT = {"text": alt.Text("text:N")}


def _matrix(
    names: Sequence[str], sizes: Sequence[int], cells: Sequence[Cell], place: tuple[float, float, float],
    axes: dict[str, Any], style: Style,
) -> list[alt.Chart]:  # fmt: skip
    """Cells below the diagonal, sizes on it, task names left and below."""
    (left, top, side), size = place, style.font_size
    boxes: Rows = []
    dark: Rows = []
    light: Rows = []
    for c in cells:
        low, high = max(c.row, c.column), min(c.row, c.column)
        share = c.shared / c.smaller if c.smaller else 0.0
        words = {"a": names[high], "b": names[low], "shared": c.shared, "expected": round6(c.expected), "p": c.p}
        boxes.append({**_rect(left + high * side, top + low * side, side, side), "share": round6(share), **words})
        ink = light if share < 0.6 else dark
        x, y = left + (high + 0.5) * side, top + (low + 0.5) * side
        lines = (f"{c.shared} of {c.smaller}", f"expected {c.expected:.1f}", f"p {c.p}")
        for i, (said, scale) in enumerate(zip(lines, (1.0, 0.76, 0.76), strict=True)):
            ink.append({"x": round(x, 2), "y": round(y + (i - 1) * 1.15 * size, 2), "text": said,
                        "size": _fitted(said, side, scale * size)})  # fmt: skip
    own = [_rect(left + i * side, top + i * side, side, side) for i in range(len(names))]
    own_words = [
        {
            "x": round(left + (i + 0.5) * side, 2), "y": round(top + (i + 0.5) * side, 2), "text": f"{n} heads",
            "size": _fitted(f"{n} heads", side, 0.88 * size),
        }
        for i, n in enumerate(sizes)
    ]  # fmt: skip
    beside = [{"x": left - 0.5 * size, "y": round(top + (i + 0.5) * side, 2), "text": n} for i, n in enumerate(names)]
    text = {"type": "text", "baseline": "middle"}
    sized = {**_TEXT, "size": alt.Size("size:Q", scale=None, legend=None)}
    scheme: dict[str, Any] = {"scheme": style.cmap, "domain": [0, 1]}
    colour = alt.Color("share:Q", scale=alt.Scale(**scheme), legend=None)
    tips = [alt.Tooltip(f"{name}:N") for name in ("a", "b", "shared", "expected", "p")]
    plain = {"type": "rect", "fill": "transparent", "stroke": theme.INK, "strokeOpacity": 0.4, "strokeWidth": 0.6}
    below = _below(names, left, top, side, size)
    charts = [
        layer("overlaps", boxes, {"type": "rect", "stroke": "#ffffff", "strokeWidth": 1},
              {**axes, **_ENDS, "color": colour, "tooltip": tips}),
        layer("sizes", own, plain, {**axes, **_ENDS}),
        layer("overlap_light", light, {**text, "color": "#ffffff"}, {**axes, **sized}),
        layer("overlap_dark", dark, {**text, "color": "#000000"}, {**axes, **sized}),
        layer("size_words", own_words, {**text, "color": theme.INK}, {**axes, **sized}),
        layer("names_left", beside, {**text, "align": "right", "color": theme.INK, "fontSize": round6(0.88 * size)},
              {**axes, **_TEXT}),
        layer("names_below", below, {**text, "color": theme.INK}, {**axes, **sized}),
        layer("title_left", [{"x": 0, "y": 0.6 * size, "text": "Shared heads, of the smaller circuit's"}],
              {**text, "align": "left", "color": theme.INK, "fontSize": size}, {**axes, **_TEXT}),
    ]  # fmt: skip
    return [chart for chart in charts if chart.data.values]


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


def _upset(
    names: Sequence[str], groups: Sequence[Group], place: tuple[float, float, float, float], axes: dict[str, Any],
    style: Style,
) -> list[alt.Chart]:  # fmt: skip
    """Bars of the largest groups above a matrix of dots, a row per task."""
    (x0, top, width, height), size = place, style.font_size
    label = max(theme.text_width(name, 0.8 * size) for name in names) + 0.6 * size
    room = width - label
    shown = sorted(groups, key=lambda g: (-g.count, -len(g.tasks), g.tasks))[: max(1, int(room // (1.5 * size)))]
    step = room / len(shown)
    rows_h = min(1.5 * size * len(names), 0.5 * height)
    line = rows_h / len(names)
    base = top + height - rows_h - 0.8 * size
    tallest = max(g.count for g in shown)
    bars: Rows = []
    numbers: Rows = []
    dots: Rows = []
    empty: Rows = []
    links: Rows = []
    for i, g in enumerate(shown):
        x = x0 + label + (i + 0.5) * step
        up = (base - top - 1.2 * size) * g.count / tallest
        words = {"tasks": ", ".join(names[t] for t in g.tasks), "heads": g.count, "shared": len(g.tasks) > 1}
        bars.append({**_rect(x - 0.32 * step, base - up, 0.64 * step, up), **words})
        numbers.append({"x": round(x, 2), "y": round(base - up - 0.6 * size, 2), "text": str(g.count)})
        at = [top + height - rows_h + (t + 0.5) * line for t in range(len(names))]
        for t, y in enumerate(at):
            (dots if t in g.tasks else empty).append({"x": round(x, 2), "y": round(y, 2)})
        if len(g.tasks) > 1:
            links.append({"x": round(x, 2), "y": round(at[min(g.tasks)], 2), "y2": round(at[max(g.tasks)], 2)})
    left, first = round(x0 + label - 0.4 * size, 2), top + height - rows_h + 0.5 * line
    tasks = [{"x": left, "y": round(first + t * line, 2), "text": n} for t, n in enumerate(names)]
    title = [{"x": round(x0 + label, 2), "y": round(top - 1.6 * size, 2), "text": "Heads in the circuits of exactly"}]
    link = {"type": "rule", "stroke": "#2f5f8f", "strokeWidth": 1.4}
    dot = {"type": "circle", "size": round6((0.62 * size) ** 2), "opacity": 1}
    text = {"type": "text", "baseline": "middle", "color": theme.INK}
    fill = alt.Color("shared:N", scale=alt.Scale(domain=[False, True], range=["#9a9a9a", "#2f5f8f"]), legend=None)
    tips = [alt.Tooltip("tasks:N", title="in the circuits of"), alt.Tooltip("heads:Q")]
    charts = [
        layer("bars", bars, {"type": "rect"}, {**axes, **_ENDS, "color": fill, "tooltip": tips}),
        layer("bar_counts", numbers, {**text, "fontSize": round6(0.88 * size)}, {**axes, **_TEXT}),
        layer("dot_links", links, link, {**axes, "y2": _ENDS["y2"]}),
        layer("dots_empty", empty, {**dot, "color": "#dddddd"}, axes),
        layer("dots", dots, {**dot, "color": "#2f5f8f"}, axes),
        layer("upset_names", tasks, {**text, "align": "right", "fontSize": round6(0.8 * size)}, {**axes, **_TEXT}),
        layer("title_right", title, {**text, "align": "left", "fontSize": size}, {**axes, **_TEXT}),
    ]  # fmt: skip
    return [chart for chart in charts if chart.data.values]
