"""Legend boxes inside a map's axes, each in the corner where it hides least.

They move below the map where every corner would hide a marker, or where they would take half of the map.

Boxes are drawn as marks of the chart, not as Vega legends: a set's legend keeps its own title, and its place is decided
here, from the values and the markers, the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.figures.data import round6
from reportgen.figures.geometry import Grid
from reportgen.figures.marks import layer
from reportgen.figures.overlays import Overlay, marker_radius, symbols
from reportgen.figures.theme import NOT_COMPUTED, NOT_COMPUTED_LINE, PAPER_INK, clean, text_width
from reportgen.scores import FloatGrid

_MARKER_COST = 60.0  # hiding one marker is worse than hiding any five cells or so
_ALIKE = 1.5  # corners that differ by less than one and a half full cells are alike
_MAX_SHARE = 0.5  # of the map's area that boxes may take before they move below it


@dataclass(frozen=True)
class Entry:
    """One line or more of a legend: the words, and the overlay whose symbol stands before them (None: not computed)."""

    lines: tuple[str, ...]
    overlay: Overlay | None


@dataclass(frozen=True)
class Box:
    """A legend box: its title's lines, entries, and its rectangle in points from the plot's upper left corner."""

    title: tuple[str, ...]
    entries: tuple[Entry, ...]
    width: float
    height: float
    size: float  # font size of the entries
    x: float = 0.0
    y: float = 0.0

    @property
    def line_height(self) -> float:
        return 1.25 * self.size

    @property
    def pad(self) -> float:
        return 0.45 * self.size

    @property
    def indent(self) -> float:
        return 1.65 * self.size

    def overlaps(self, other: Box) -> bool:
        apart_x = self.x + self.width <= other.x or other.x + other.width <= self.x
        return not (apart_x or self.y + self.height <= other.y or other.y + other.height <= self.y)


def boxes(overlays: Sequence[Overlay], values: FloatGrid, grid: Grid) -> list[Box]:
    """One placed box per legend title, and one for 'not computed' where cells are missing."""
    size = 0.84 * grid.font_size
    groups: dict[str, list[Entry]] = {}
    room = max(min(grid.width - 8, 26 * size), 9 * size)
    for overlay in overlays:
        lines = wrap(clean(overlay.label), size, room - 3 * size)
        groups.setdefault(overlay.head_set.legend, []).append(Entry(lines, overlay))
    made = [_box(wrap(clean(title), size, room - size), tuple(entries), size) for title, entries in groups.items()]
    if np.isnan(values).any():
        made.append(_box((), (Entry(("not computed",), None),), size))
    return _placed(made, overlays, values, grid)


def wrap(text: str, size: float, room: float) -> tuple[str, ...]:
    """`text` in lines no wider than `room` points where its words allow."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and text_width(f"{lines[-1]} {word}", size) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return tuple(lines)


def _box(title: tuple[str, ...], entries: tuple[Entry, ...], size: float) -> Box:
    widths = [text_width(line, size) for line in title]
    widths += [text_width(line, size) + 1.65 * size for entry in entries for line in entry.lines]
    count = len(title) + sum(len(entry.lines) for entry in entries)
    return Box(title, entries, round(max(widths) + 0.9 * size, 2), round(count * 1.25 * size + 0.7 * size, 2), size)


def _placed(made: list[Box], overlays: Sequence[Overlay], values: FloatGrid, grid: Grid) -> list[Box]:
    cost = _cost(overlays, values, grid)
    area = sum(box.width * box.height for box in made)
    inside: list[Box] = []
    below: list[Box] = []
    for box in made:
        best = None if area > _MAX_SHARE * grid.width * grid.height else _corner(box, inside, cost, grid)
        if best is None:
            below.append(box)
        else:
            inside.append(best)
    return inside + _stacked(below, grid)


def _cost(overlays: Sequence[Overlay], values: FloatGrid, grid: Grid) -> FloatGrid:
    """[layer head] what hiding each cell costs: its distance from the map's middle value, and its markers."""
    finite = values[np.isfinite(values)]
    middle = float(np.median(finite)) if finite.size else 0.0
    span = float(np.abs(finite - middle).max()) if finite.size else 0.0
    cost: FloatGrid = np.nan_to_num(np.abs(values - middle) / (span or 1.0), nan=0.0).astype(np.float32)  # [layer head]
    for overlay in overlays:
        for x, y, _, _ in overlay.places:
            cost[round(x), round(y)] += _MARKER_COST
    return cost


def _corner(box: Box, taken: Sequence[Box], cost: FloatGrid, grid: Grid) -> Box | None:
    """`box` in its cheapest corner, or None where each would hide a marker or is too small. Ties: upper left first."""
    gap = 3.0
    right, lower = grid.width - box.width - gap, grid.height - box.height - gap
    if right < 0 or lower < 0:
        return None
    places = [replace(box, x=x, y=y) for x, y in ((gap, gap), (gap, lower), (right, lower), (right, gap))]
    for other in taken:  # and above or below a box that already stands in a corner
        places += [replace(box, x=other.x, y=other.y + other.height + gap)]
        places += [replace(box, x=other.x, y=other.y - box.height - gap)]
    fits = [
        p for p in places if 0 <= p.y <= lower + 0.01 and p.x <= right + 0.01 and not any(p.overlaps(t) for t in taken)
    ]
    if not fits:
        return None
    best = min(fits, key=lambda p: round(_hidden(p, cost, grid) / _ALIKE))
    return best if _hidden(best, cost, grid) < _MARKER_COST / 2 else None


def _hidden(box: Box, cost: FloatGrid, grid: Grid) -> float:
    """Cost of the cells under `box`, each by its covered share; a marker counts once its cell is touched."""
    layer = np.arange(grid.layers) * grid.cell_w  # [layer] left edges
    head = np.arange(grid.heads) * grid.cell_h  # [head] upper edges
    across = (
        np.clip(np.minimum(layer + grid.cell_w, box.x + box.width) - np.maximum(layer, box.x), 0, None) / grid.cell_w
    )
    down = np.clip(np.minimum(head + grid.cell_h, box.y + box.height) - np.maximum(head, box.y), 0, None) / grid.cell_h
    cover = np.outer(across, down)  # [layer head] share covered
    marked = np.where(cost >= _MARKER_COST, cover > 0.12, cover)
    return float((marked * cost).sum())


def _covered(count: int, cell: float, start: float, end: float) -> npt.NDArray[np.float64]:
    """[index] the share of each of `count` cells in a row that lies between `start` and `end` points."""
    edges = np.arange(count) * cell
    overlap: npt.NDArray[np.float64] = np.minimum(edges + cell, end) - np.maximum(edges, start)
    return np.maximum(overlap, 0.0) / cell


def _stacked(made: list[Box], grid: Grid) -> list[Box]:
    """Boxes below the plot, under the x axis and its title, side by side while there is room."""
    placed: list[Box] = []
    x, y = 0.0, grid.height + 3.4 * grid.font_size
    for box in made:
        if placed and x + box.width > grid.width + 4:
            x, y = 0.0, max(p.y + p.height for p in placed) + 3
        placed.append(replace(box, x=x, y=y))
        x += box.width + 4
    return placed


def layers(placed: Sequence[Box], grid: Grid, axes: dict[str, Any]) -> list[alt.Chart]:
    """The marks of all boxes: `legend<i>_box`, `_title`, `_text` and a pair of symbol layers per entry."""
    charts: list[alt.Chart] = []
    for i, box in enumerate(placed):
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
        if entry.overlay is None:
            charts += missing([_at(grid, x, y)], 1.1 * box.size, 1.1 * box.size, axes, f"{name}_missing")
        else:
            spot = (round6(grid.x_at(x)), round6(grid.y_at(y)), radius, 1.0)
            charts += symbols([spot], entry.overlay, grid, axes, f"{name}_symbol{i}")
        y += len(entry.lines) * box.line_height
    return charts


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
