"""Legend boxes of a map: their words, their size, their marks. Where they stand is decided in `placement`.

Boxes are drawn as marks of the chart, not as Vega legends: a set's legend keeps its own title, and its place is decided
here, from the values and the markers, the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from reportgen.figures.data import round6
from reportgen.figures.geometry import Grid
from reportgen.figures.marks import layer
from reportgen.figures.overlays import Overlay, marker_radius, symbols
from reportgen.figures.placement import Box, Entry, placed
from reportgen.figures.theme import NOT_COMPUTED, NOT_COMPUTED_LINE, PAPER_INK, clean, text_width
from reportgen.scores import HeadScores


def boxes(overlays: Sequence[Overlay], scores: HeadScores, grid: Grid) -> list[Box]:
    """One placed box per legend title, one for 'not computed' where cells are missing, one where some are estimates."""
    size = 0.84 * grid.font_size
    groups: dict[str, list[Entry]] = {}
    room = max(min(grid.width - 8, 26 * size), 9 * size)
    for overlay in overlays:
        lines = wrap(clean(overlay.label), size, room - 3 * size)
        groups.setdefault(overlay.head_set.legend, []).append(Entry(lines, overlay))
    made = [_box(wrap(clean(title), size, room - size), tuple(entries), size) for title, entries in groups.items()]
    if np.isnan(scores.values).any():
        made.append(_box((), (Entry(("not computed",), None),), size))
    if scores.estimated is not None:
        told = (("exact", "exact"), ("estimated", f"estimated by {clean(scores.estimator)}"))
        made.append(
            _box((), tuple(Entry(wrap(words, size, room - 3 * size), None, cell) for cell, words in told), size)
        )
    return placed(made, overlays, scores.values, grid)


MOST_LINES = 8


def wrap(text: str, size: float, room: float) -> tuple[str, ...]:
    """`text` in lines no wider than `room` points, `MOST_LINES` of them: the rest is left out with an ellipsis."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and text_width(f"{lines[-1]} {word}", size) <= room:
            lines[-1] += f" {word}"
            continue
        while text_width(word, size) > room and len(lines) <= MOST_LINES and len(word) > 1:
            start = fitting(word, size, room)
            lines.append(start)
            word = word[len(start) :]
        lines.append(word)
        if len(lines) > MOST_LINES:
            break
    return tuple(lines) if len(lines) <= MOST_LINES else (*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1][:-1]}…")


def fitting(text: str, size: float, room: float) -> str:
    """The start of `text` that is no wider than `room` points, one character at least."""
    width = 0.0
    for i, char in enumerate(text):
        width += text_width(char, size)
        if width > room:
            return text[: max(1, i)]
    return text


def _box(title: tuple[str, ...], entries: tuple[Entry, ...], size: float) -> Box:
    widths = [text_width(line, size) for line in title]
    widths += [text_width(line, size) + 1.65 * size for entry in entries for line in entry.lines]
    count = len(title) + sum(len(entry.lines) for entry in entries)
    return Box(title, entries, round(max(widths) + 0.9 * size, 2), round(count * 1.25 * size + 0.7 * size, 2), size)


def layers(standing: Sequence[Box], grid: Grid, axes: dict[str, Any]) -> list[alt.Chart]:
    """The marks of all boxes: `legend<i>_box`, `_title`, `_text` and a pair of symbol layers per entry."""
    charts: list[alt.Chart] = []
    for i, box in enumerate(standing):
        name = f"legend{i}"
        charts.append(_frame(box, grid, axes, f"{name}_box"))
        titles, words = _text_rows(box, grid)
        if titles:
            charts.append(_text(titles, "center", box.size, axes, f"{name}_title"))
        charts.append(_text(words, "left", box.size, axes, f"{name}_text"))
        charts += _symbols(box, grid, axes, name)
    return charts


def _frame(box: Box, grid: Grid, axes: dict[str, Any], name: str) -> alt.Chart:
    end = {"layer_end": round6(grid.x_at(box.x + box.width)), "head_end": round6(grid.y_at(box.y + box.height))}
    mark = {"type": "rect", "fill": "#ffffff", "fillOpacity": 0.82, "stroke": "#b8b8b8", "strokeWidth": 0.6}
    channels = {**axes, "x2": alt.X2("layer_end:Q"), "y2": alt.Y2("head_end:Q")}
    return layer(name, [{**_at(grid, box.x, box.y), **end}], {**mark, "cornerRadius": 2}, channels)


Rows = list[dict[str, Any]]


def _at(grid: Grid, x: float, y: float) -> dict[str, Any]:
    """Points from the plot's corner as the coordinates of the map."""
    return {"layer": round6(grid.x_at(x)), "head": round6(grid.y_at(y))}


def _text_rows(box: Box, grid: Grid) -> tuple[Rows, Rows]:
    y = box.y + box.pad + 0.5 * box.line_height - 0.1 * box.size
    titles: Rows = []
    for line in box.title:
        titles.append({**_at(grid, box.x + box.width / 2, y), "text": line})
        y += box.line_height
    words: Rows = []
    for line in (line for entry in box.entries for line in entry.lines):
        words.append({**_at(grid, box.x + box.pad + box.indent, y), "text": line})
        y += box.line_height
    return titles, words


def _text(values: Rows, align: str, size: float, axes: dict[str, Any], name: str) -> alt.Chart:
    mark = {"type": "text", "align": align, "baseline": "middle", "fontSize": round6(size), "color": PAPER_INK}
    return layer(name, values, mark, {**axes, "text": alt.Text("text:N")})


def _symbols(box: Box, grid: Grid, axes: dict[str, Any], name: str) -> list[alt.Chart]:
    charts: list[alt.Chart] = []
    y = box.y + box.pad + (len(box.title) + 0.5) * box.line_height - 0.1 * box.size
    radius = min(max(marker_radius(grid), 0.36 * box.size), 0.46 * box.size)
    for i, entry in enumerate(box.entries):
        x = box.x + box.pad + 0.7 * box.size
        if entry.overlay is None and entry.cell == "missing":
            charts += missing([_at(grid, x, y)], 1.1 * box.size, 1.1 * box.size, axes, f"{name}_missing")
        elif entry.overlay is None:
            charts += _sample(entry.cell, x, y, 1.1 * box.size, grid, axes, f"{name}_{entry.cell}")
        else:
            spot = (round6(grid.x_at(x)), round6(grid.y_at(y)), radius, 1.0)
            charts += symbols([spot], entry.overlay, grid, axes, f"{name}_symbol{i}")
        y += len(entry.lines) * box.line_height
    return charts


def _sample(cell: str, x: float, y: float, side: float, grid: Grid, axes: dict[str, Any], name: str) -> list[alt.Chart]:
    """A cell as it looks on the map, without a colour of the scale: with the mark of exact ones, or without."""
    frame = {"type": "rect", "width": round6(side), "height": round6(side), "fill": "#ffffff", "opacity": 1,
             "stroke": NOT_COMPUTED_LINE, "strokeWidth": 0.6}  # fmt: skip
    charts = [layer(name, [_at(grid, x, y)], frame, axes)]
    if cell == "exact":
        charts.append(corners([_at(grid, x - side / 2, y - side / 2)], 0.55 * side, axes, f"{name}_corner"))
    return charts


def corners(values: Rows, side: float, axes: dict[str, Any], name: str) -> alt.Chart:
    """The mark of cells with an exact value among estimates: a filled corner, at each cell's upper left."""
    mark = {
        "type": "point", "shape": "M0.1,0.1H1L0.1,1Z", "size": round6((2 * side) ** 2), "filled": True, "opacity": 1,
        "fill": "#000000", "stroke": "#ffffff", "strokeWidth": round6(max(0.25, 0.08 * side)),
    }  # fmt: skip
    return layer(name, values, mark, axes)


def missing(values: Rows, width: float, height: float, axes: dict[str, Any], name: str) -> list[alt.Chart]:
    """Cells without a value: grey with a stroke from corner to corner, so that no colour of a scale looks like it."""
    grey = {"type": "rect", "width": round6(width), "height": round6(height), "fill": NOT_COMPUTED, "opacity": 1,
            "stroke": NOT_COMPUTED_LINE, "strokeWidth": 0.3}  # fmt: skip
    slope = round6(height / width)
    stroke = {
        "type": "point", "shape": f"M-1,{slope}L1,{-slope}", "size": round6(width * width), "filled": False,
        "stroke": NOT_COMPUTED_LINE, "strokeWidth": 0.6, "opacity": 1,
    }  # fmt: skip
    return [layer(name, values, grey, axes), layer(f"{name}_stroke", values, stroke, axes)]
