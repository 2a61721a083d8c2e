"""Legends of a map: their words, their marks, and where they stand.

Outside: below the map, at the plot's left edge, one group of entries after the other, in every figure at every width.
Inside: half-transparent boxes in the map's corners, placed in `placement`.
They are drawn as marks of the chart, not as Vega legends: a set's legend keeps its own title, and its place is decided
here, the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np

from reportgen.figures.data import round6
from reportgen.figures.geometry import Bar, Grid, room
from reportgen.figures.marks import layer
from reportgen.figures.overlays import Overlay, marker_radius, symbols
from reportgen.figures.placement import Box, Entry, inside
from reportgen.figures.theme import INK, NOT_COMPUTED, NOT_COMPUTED_LINE, PAPER_INK, clean, text_width, wrap
from reportgen.scores import HeadScores

PALE = 0.4  # opacity of the symbol that stands for paler markers
_LEAST = 10.0  # font sizes that a legend outside is wide at least
_MOST = 26.0  # font sizes that a box inside is wide at most


@dataclass(frozen=True)
class Placed:
    """One legend where it stands, in points from the plot's upper left corner.

    titles, words  (x, y of the middle line, text);  symbols  (x, y, entry);  frame  x, y, width, height, or None
    """

    titles: tuple[tuple[float, float, str], ...]
    words: tuple[tuple[float, float, str], ...]
    symbols: tuple[tuple[float, float, Entry], ...]
    size: float
    bottom: float
    frame: tuple[float, float, float, float] | None = None


def groups(overlays: Sequence[Overlay], scores: HeadScores) -> dict[str, list[Entry]]:
    """The entries by legend title, each its words on one line; the last title, empty, is that of kinds of cells."""
    found: dict[str, list[Entry]] = {}
    for overlay in overlays:
        found.setdefault(overlay.head_set.legend, []).append(Entry((clean(overlay.label),), overlay))
    for entries in found.values():
        paler = next((e.overlay for e in entries if e.overlay and e.overlay.paler), None)
        if paler is not None:
            words = "paler: smaller weight" if paler.head_set.kind == "user" else "paler: found less often"
            entries.append(Entry((words,), paler, PALE))
    if np.isnan(scores.values).any():
        found[""] = [Entry(("not computed",), None)]
    if scores.estimated is not None:
        told = (("exact", "exact"), ("estimated", f"estimated by {clean(scores.estimator)}"))
        found[""] = [*found.get("", []), *(Entry((words,), None, cell=cell) for cell, words in told)]
    return found


def below(found: Mapping[str, Sequence[Entry]], grid: Grid, bar: Bar) -> list[Placed]:
    """The legends under the map: entries side by side while there is room, a title before them or above them."""
    size, of = 0.84 * grid.font_size, room(grid, bar)
    across = max(grid.width + of.right - 1, _LEAST * size)
    made: list[Placed] = []
    y = grid.height + of.below + 0.6 * size
    for title, entries in found.items():
        made.append(_group(clean(title), entries, size, across, y))
        y = made[-1].bottom + 0.25 * size
    return made


def _group(title: str, entries: Sequence[Entry], size: float, across: float, top: float) -> Placed:
    line, symbol, gap = 1.25 * size, 1.65 * size, 1.2 * size
    widths = [symbol + text_width(entry.lines[0], size) for entry in entries]
    head = text_width(title, size) + gap if title else 0.0
    x, y = head, top + 0.5 * line
    titles = [(0.0, y, title)] if title else []
    if head + sum(widths) + gap * (len(widths) - 1) > across and title:
        lines = wrap(title, size, across)
        titles = [(0.0, y + i * line, words) for i, words in enumerate(lines)]
        x, y = 0.0, y + len(lines) * line
    start, words, signs = x, [], []
    for entry, width in zip(entries, widths, strict=True):
        if x > start and x + width > across:
            x, y = start, y + line
        signs.append((x + 0.7 * size, y, entry))
        lines = wrap(entry.lines[0], size, across - x - symbol)
        words += [(x + symbol, y + i * line, text) for i, text in enumerate(lines)]
        y += (len(lines) - 1) * line
        x = start if len(lines) > 1 else x + width + gap
        y += line if len(lines) > 1 and entry is not entries[-1] else 0.0
    return Placed(tuple(titles), tuple(words), tuple(signs), size, y + 0.5 * line)


def boxed(
    found: Mapping[str, Sequence[Entry]], overlays: Sequence[Overlay], scores: HeadScores, grid: Grid
) -> list[Placed] | str:
    """The legends in boxes inside the map, or the reason why they can't stand there."""
    size = 0.84 * grid.font_size
    across = max(min(grid.width - 8, _MOST * size), 9 * size)
    boxes = []
    for title, entries in found.items():
        lines = wrap(clean(title), size, across - size) if title else ()
        boxes.append(_box(lines, [replace(e, lines=wrap(e.lines[0], size, across - 3 * size)) for e in entries], size))
    placed = inside(boxes, overlays, scores, grid)
    return placed if isinstance(placed, str) else [_in_box(box) for box in placed]


def _box(title: tuple[str, ...], entries: Sequence[Entry], size: float) -> Box:
    widths = [text_width(line, size) for line in title]
    widths += [text_width(line, size) + 1.65 * size for entry in entries for line in entry.lines]
    count = len(title) + sum(len(entry.lines) for entry in entries)
    return Box(
        title, tuple(entries), round(max(widths) + 0.9 * size, 2), round(count * 1.25 * size + 0.7 * size, 2), size
    )


def _in_box(box: Box) -> Placed:
    y = box.y + box.pad + 0.5 * box.line_height - 0.1 * box.size
    titles = tuple((box.x + box.width / 2, y + i * box.line_height, text) for i, text in enumerate(box.title))
    y += len(titles) * box.line_height
    words: list[tuple[float, float, str]] = []
    signs: list[tuple[float, float, Entry]] = []
    for entry in box.entries:
        signs.append((box.x + box.pad + 0.7 * box.size, y, entry))
        for text in entry.lines:
            words.append((box.x + box.pad + box.indent, y, text))
            y += box.line_height
    frame = (box.x, box.y, box.width, box.height)
    return Placed(titles, tuple(words), tuple(signs), box.size, box.y + box.height, frame)


def layers(standing: Sequence[Placed], grid: Grid, axes: dict[str, Any]) -> list[alt.Chart]:
    """The marks of all legends: `legend<i>_box`, `_title`, `_text` and a pair of symbol layers per entry."""
    charts: list[alt.Chart] = []
    for i, placed in enumerate(standing):
        name, ink = f"legend{i}", INK
        if placed.frame is not None:
            charts.append(_frame(placed.frame, grid, axes, f"{name}_box"))
            ink = PAPER_INK
        align = "left" if placed.frame is None else "center"
        for part, texts, side in (("title", placed.titles, align), ("text", placed.words, "left")):
            rows = [{**_at(grid, x, y), "text": text} for x, y, text in texts]
            mark = {"type": "text", "align": side, "baseline": "middle", "fontSize": round6(placed.size), "color": ink}
            charts += [layer(f"{name}_{part}", rows, mark, {**axes, "text": alt.Text("text:N")})] if rows else []
        charts += _symbols(placed, grid, axes, name)
    return charts


def _frame(frame: tuple[float, float, float, float], grid: Grid, axes: dict[str, Any], name: str) -> alt.Chart:
    x, y, width, height = frame
    end = {"layer_end": round6(grid.x_at(x + width)), "head_end": round6(grid.y_at(y + height))}
    mark = {"type": "rect", "fill": "#ffffff", "fillOpacity": 0.82, "stroke": "#b8b8b8", "strokeWidth": 0.6}
    channels = {**axes, "x2": alt.X2("layer_end:Q"), "y2": alt.Y2("head_end:Q")}
    return layer(name, [{**_at(grid, x, y), **end}], {**mark, "cornerRadius": 2}, channels)


Rows = list[dict[str, Any]]


def _at(grid: Grid, x: float, y: float) -> dict[str, Any]:
    """Points from the plot's corner as the coordinates of the map."""
    return {"layer": round6(grid.x_at(x)), "head": round6(grid.y_at(y))}


def _symbols(placed: Placed, grid: Grid, axes: dict[str, Any], name: str) -> list[alt.Chart]:
    charts: list[alt.Chart] = []
    radius = min(max(marker_radius(grid), 0.36 * placed.size), 0.46 * placed.size)
    for i, (x, y, entry) in enumerate(placed.symbols):
        if entry.overlay is None and entry.cell != "missing":
            charts += _sample(entry.cell, x, y, 1.1 * placed.size, grid, axes, f"{name}_{entry.cell}")
        elif entry.overlay is None:
            charts += missing([_at(grid, x, y)], 1.1 * placed.size, 1.1 * placed.size, axes, f"{name}_missing")
        else:
            spot = (round6(grid.x_at(x)), round6(grid.y_at(y)), radius, entry.opacity)
            charts += symbols([spot], entry.overlay, grid, axes, f"{name}_symbol{i}")
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
