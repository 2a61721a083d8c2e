"""Legends of a map: their texts, their marks, and their positions.

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
import numpy.typing as npt

from reportgen.aliases import Rows
from reportgen.figures import theme
from reportgen.figures.chart_data import chart_layer, round6
from reportgen.figures.geometry import LINE, UNDER_AXIS, Bar, MapGrid, bar_offset, bar_thickness, bar_title_x, room
from reportgen.figures.overlays import Overlay, marker_radius, symbols
from reportgen.figures.theme import INK, NOT_COMPUTED, NOT_COMPUTED_LINE, PAPER_INK, clean, text_width, wrap
from reportgen.scores import Head, HeadScores, head_name

# Positions of legend boxes inside a map: each in the corner where it hides least, never over a cell that is marked or
# above the line. Where there is no such corner the reason says which head a box would cover.

SIGNIFICANT = 0.05
_ALIKE = 1.5  # corners that differ by less than one and a half full cells are alike
_GAP = 3.0  # points between a box and the frame or another box


@dataclass(frozen=True)
class LegendEntry:
    """One line or more of a legend: the words, and the overlay whose symbol stands before them.

    cell  without an overlay, the kind of cell before them: "missing", "hatched", "exact" or "estimated"
    """

    lines: tuple[str, ...]
    overlay: Overlay | None
    strength: float = 1.0
    cell: str = "missing"


@dataclass(frozen=True)
class Box:
    """A legend box: its title's lines, entries, and its rectangle in points from the plot's upper left corner."""

    title: tuple[str, ...]
    entries: tuple[LegendEntry, ...]
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


def above_line(scores: HeadScores) -> npt.NDArray[np.bool_]:
    """[layer head] the heads that beat the null: adjusted p <= 0.05, or above the family-wise line."""
    if scores.p is not None:
        return np.nan_to_num(scores.p, nan=1.0) <= SIGNIFICANT
    if scores.line is not None:
        return np.nan_to_num(scores.exact_values, nan=-np.inf) > scores.line
    return np.zeros(scores.values.shape, dtype=bool)


@dataclass(frozen=True, eq=False)
class LegendScene:
    """What a box can hide: cells, each with the distance of its value from the map's middle.

    marked, above  [layer head] cells that no box may cover: marked ones, and those above the line
    """

    grid: MapGrid
    cost: npt.NDArray[np.float64]  # [layer head] 0..1
    marked: npt.NDArray[np.bool_]
    above: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, overlays: Sequence[Overlay], scores: HeadScores, grid: MapGrid) -> LegendScene:
        values = scores.values
        finite = values[np.isfinite(values)]
        middle = float(np.median(finite)) if finite.size else 0.0
        distance = np.abs(np.nan_to_num(values, nan=middle).astype(np.float64) - middle)  # [layer head]
        marked = np.zeros(values.shape, dtype=bool)
        for layer, head in (at for overlay in overlays for at in overlay.head_set.heads):
            if layer < grid.layers and head < grid.heads:
                marked[layer, head] = True
        return cls(grid, distance / max(float(distance.max()), 1e-12), marked, above_line(scores))

    def hidden(self, box: Box) -> float:
        """Cost of the cells under `box`, each by its covered share."""
        return float((self.share(box) * self.cost).sum())

    def covered(self, box: Box) -> list[Head]:
        """The heads under `box` that it may not cover."""
        found = (self.share(box) > 0) & (self.marked | self.above)
        return [(layer, head) for layer, head in np.argwhere(found).tolist()]

    def share(self, box: Box) -> npt.NDArray[np.float64]:
        """[layer head] the share of each cell that lies under `box`."""
        across = _covered(self.grid.layers, self.grid.cell_w, box.x, box.x + box.width)  # [layer]
        down = _covered(self.grid.heads, self.grid.cell_h, box.y, box.y + box.height)  # [head]
        return np.outer(across, down)

    def why(self, head: Head) -> str:
        return f"{head_name(*head)}, which is {'marked' if self.marked[head] else 'above the line'}"


def inside(boxes: Sequence[Box], overlays: Sequence[Overlay], scores: HeadScores, grid: MapGrid) -> list[Box] | str:
    """All boxes with their places inside the map, or the reason why one of them has none."""
    scene, standing = LegendScene.of(overlays, scores, grid), list[Box]()
    for box in boxes:
        best = _corner(box, standing, scene)
        if isinstance(best, str):
            return best
        standing.append(best)
    return standing


def _corner(box: Box, taken: Sequence[Box], scene: LegendScene) -> Box | str:
    """`box` in its cheapest corner, or why there is none. Ties: upper left first."""
    right, lower = scene.grid.width - box.width - _GAP, scene.grid.height - box.height - _GAP
    if right < 0 or lower < 0:
        return "the map is too small for it"
    places = [(_GAP, _GAP), (_GAP, lower), (right, lower), (right, _GAP)]
    for other in taken:  # and above or below a box that already stands in a corner
        places += [(other.x, other.y + other.height + _GAP), (other.x, other.y - box.height - _GAP)]
    tried = [replace(box, x=x, y=y) for x, y in places if 0 <= y <= lower and x <= right]
    apart = [p for p in tried if not any(p.overlaps(other) for other in taken)]
    if not apart:
        return "there is no corner left for it"
    best = min(apart, key=lambda p: (len(scene.covered(p)), round(scene.hidden(p) / _ALIKE)))
    heads = scene.covered(best)
    return f"it would cover {scene.why(heads[0])}" if heads else best


def _covered(count: int, cell: float, start: float, end: float) -> npt.NDArray[np.float64]:
    """[index] the share of each of `count` cells in a row that lies between `start` and `end` points."""
    edges = np.arange(count) * cell
    overlap: npt.NDArray[np.float64] = np.minimum(edges + cell, end) - np.maximum(edges, start)
    return np.maximum(overlap, 0.0) / cell


# The colour bar of a score map: right of the plot with its label along it, or lying under a flat plot.
#
# The gradient is Vega's; ticks, numbers and label are marks, for a Vega legend has no ticks and sets its title flat.


def bar_gradient(grid: MapGrid) -> alt.Legend:
    """The bar itself."""
    size = grid.font_size
    common: dict[str, Any] = {
        "title": None,
        "type": "gradient",
        "gradientThickness": round6(bar_thickness(size)),
        "values": [],
    }
    if grid.bar_below:
        return alt.Legend(
            **common, orient="none", direction="horizontal", legendX=0, gradientLength=round(grid.width, 2),
            legendY=round6(grid.height + UNDER_AXIS * size),
        )  # fmt: skip
    return alt.Legend(
        **common, orient="right", offset=bar_offset(size), direction="vertical", gradientLength=round(grid.height, 2)
    )


def bar_words(grid: MapGrid, bar: Bar, axes: dict[str, Any]) -> list[alt.Chart]:
    """Ticks, numbers and label of the bar, all within its length."""
    ticks, numbers, label = (_lying if grid.bar_below else _upright)(grid, bar)
    line = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6}
    text = {"type": "text", "baseline": "middle", "color": theme.INK}
    small = {**text, "align": "center" if grid.bar_below else "left", "fontSize": round6(grid.label_size)}
    turned = {**text, "angle": 0 if grid.bar_below else 270, "fontSize": grid.font_size}
    channels = {**axes, "text": alt.Text("text:N")}
    ends = {"x2": alt.X2("layer_end:Q"), "y2": alt.Y2("head_end:Q")}
    return [
        chart_layer("bar_ticks", ticks, line, {**axes, **ends}),
        chart_layer("bar_numbers", numbers, small, channels),
        chart_layer("bar_label", label, turned, channels),
    ]


def _tick_place(grid: MapGrid, x: float, y: float) -> dict[str, Any]:
    return {"layer": round6(grid.x_at(x)), "head": round6(grid.y_at(y))}


def _tick(grid: MapGrid, start: tuple[float, float], end: tuple[float, float]) -> dict[str, Any]:
    last = _tick_place(grid, *end)
    return {**_tick_place(grid, *start), "layer_end": last["layer"], "head_end": last["head"]}


def _upright(grid: MapGrid, bar: Bar) -> tuple[Rows, Rows, Rows]:
    size = grid.font_size
    edge = grid.width + bar_offset(size) + bar_thickness(size)
    down = [grid.height * (bar.high - tick) / (bar.high - bar.low) for tick in bar.ticks]
    ticks = [_tick(grid, (edge, y), (edge + 0.35 * size, y)) for y in down]
    numbers = [
        {**_tick_place(grid, edge + 0.6 * size, y), "text": word} for y, word in zip(down, bar.labels(), strict=True)
    ]
    x = grid.width + bar_title_x(bar, size)
    label = [
        {**_tick_place(grid, x + i * LINE * size, grid.height / 2), "text": line}
        for i, line in enumerate(grid.bar_label)
    ]
    return ticks, numbers, label


def _lying(grid: MapGrid, bar: Bar) -> tuple[Rows, Rows, Rows]:
    size = grid.font_size
    edge = grid.height + UNDER_AXIS * size + bar_thickness(size)
    across = [grid.width * (tick - bar.low) / (bar.high - bar.low) for tick in bar.ticks]
    ticks = [_tick(grid, (x, edge), (x, edge + 0.35 * size)) for x in across]
    shown = _thinned(across, bar, grid)
    numbers = [{**_tick_place(grid, x, edge + size), "text": word} for x, word in shown]
    label = [
        {**_tick_place(grid, grid.width / 2, edge + (2.2 + i * LINE) * size), "text": line}
        for i, line in enumerate(grid.bar_label)
    ]
    return ticks, numbers, label


def _thinned(across: list[float], bar: Bar, grid: MapGrid) -> list[tuple[float, str]]:
    """Every number of a lying bar, or every second, third ... one where they would touch, counted from zero."""
    words_ = bar.labels()
    need = max(theme.text_width(word, grid.label_size) for word in words_) + 0.5 * grid.label_size
    apart = abs(across[1] - across[0]) if len(across) > 1 else need
    step, zero = max(1, -int(-need // apart)), min(range(len(words_)), key=lambda i: abs(bar.ticks[i]))
    return [(x, word) for i, (x, word) in enumerate(zip(across, words_, strict=True)) if (i - zero) % step == 0]


_LEAST = 10.0  # font sizes that a legend outside is wide at least
_MOST = 26.0  # font sizes that a box inside is wide at most


@dataclass(frozen=True)
class Placed:
    """One legend where it stands, in points from the plot's upper left corner.

    titles, words  (x, y of the middle line, text);  symbols  (x, y, entry);  frame  x, y, width, height, or None
    """

    titles: tuple[tuple[float, float, str], ...]
    words: tuple[tuple[float, float, str], ...]
    symbols: tuple[tuple[float, float, LegendEntry], ...]
    size: float
    bottom: float
    frame: tuple[float, float, float, float] | None = None


def groups(overlays: Sequence[Overlay], scores: HeadScores, hatched: str = "") -> dict[str, list[LegendEntry]]:
    """The entries by legend title, each its words on one line; the last title, empty, is that of kinds of cells.

    hatched  what hatched cells are, where there are some
    """
    found: dict[str, list[LegendEntry]] = {}
    for overlay in overlays:
        found.setdefault(overlay.head_set.legend, []).append(LegendEntry((clean(overlay.label),), overlay))
    for entries in found.values():
        palest = min((e.overlay for e in entries if e.overlay), key=lambda overlay: overlay.palest, default=None)
        if palest is not None and palest.palest < 1:
            words = "paler: smaller weight" if palest.head_set.kind == "user" else "paler: found less often"
            entries.append(LegendEntry((words,), palest, palest.palest))
    if np.isnan(scores.values).any():
        found[""] = [LegendEntry(("not computed",), None)]
    if hatched:
        found[""] = [*found.get("", []), LegendEntry((clean(hatched),), None, cell="hatched")]
    if scores.estimated is not None:
        told = (("exact", "exact"), ("estimated", f"estimated by {clean(scores.estimator)}"))
        found[""] = [*found.get("", []), *(LegendEntry((words,), None, cell=cell) for cell, words in told)]
    return found


def below(found: Mapping[str, Sequence[LegendEntry]], grid: MapGrid, bar: Bar) -> list[Placed]:
    """The legends under the map: entries side by side while there is room, a title before them or above them."""
    size, of = 0.84 * grid.font_size, room(grid, bar)
    across = max(grid.width + of.right - 1, _LEAST * size)
    made: list[Placed] = []
    y = grid.height + of.below + 0.6 * size
    for title, entries in found.items():
        made.append(_group(clean(title), entries, size, across, y))
        y = made[-1].bottom + 0.25 * size
    return made


def _group(title: str, entries: Sequence[LegendEntry], size: float, across: float, top: float) -> Placed:
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
    found: Mapping[str, Sequence[LegendEntry]], overlays: Sequence[Overlay], scores: HeadScores, grid: MapGrid
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


def _box(title: tuple[str, ...], entries: Sequence[LegendEntry], size: float) -> Box:
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
    signs: list[tuple[float, float, LegendEntry]] = []
    for entry in box.entries:
        signs.append((box.x + box.pad + 0.7 * box.size, y, entry))
        for text in entry.lines:
            words.append((box.x + box.pad + box.indent, y, text))
            y += box.line_height
    frame = (box.x, box.y, box.width, box.height)
    return Placed(titles, tuple(words), tuple(signs), box.size, box.y + box.height, frame)


def layers(standing: Sequence[Placed], grid: MapGrid, axes: dict[str, Any]) -> list[alt.Chart]:
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
            charts += [chart_layer(f"{name}_{part}", rows, mark, {**axes, "text": alt.Text("text:N")})] if rows else []
        charts += _symbols(placed, grid, axes, name)
    return charts


def _frame(frame: tuple[float, float, float, float], grid: MapGrid, axes: dict[str, Any], name: str) -> alt.Chart:
    x, y, width, height = frame
    end = {"layer_end": round6(grid.x_at(x + width)), "head_end": round6(grid.y_at(y + height))}
    mark = {"type": "rect", "fill": "#ffffff", "fillOpacity": 0.82, "stroke": "#b8b8b8", "strokeWidth": 0.6}
    channels = {**axes, "x2": alt.X2("layer_end:Q"), "y2": alt.Y2("head_end:Q")}
    return chart_layer(name, [{**_at(grid, x, y), **end}], {**mark, "cornerRadius": 2}, channels)


def _at(grid: MapGrid, x: float, y: float) -> dict[str, Any]:
    """Points from the plot's corner as the coordinates of the map."""
    return {"layer": round6(grid.x_at(x)), "head": round6(grid.y_at(y))}


def _symbols(placed: Placed, grid: MapGrid, axes: dict[str, Any], name: str) -> list[alt.Chart]:
    charts: list[alt.Chart] = []
    radius = min(max(marker_radius(grid), 0.36 * placed.size), 0.46 * placed.size)
    for i, (x, y, entry) in enumerate(placed.symbols):
        if entry.overlay is None and entry.cell != "missing":
            charts += _sample(entry.cell, x, y, 1.1 * placed.size, grid, axes, f"{name}_{entry.cell}")
        elif entry.overlay is None:
            charts += missing([_at(grid, x, y)], 1.1 * placed.size, 1.1 * placed.size, axes, f"{name}_missing")
        else:
            both = entry.strength < 1  # a paler marker is told by the full one beside it
            told = [(-0.44, 1.0), (0.34, entry.strength)] if both else [(0.0, 1.0)]
            large = min(radius, 0.36 * placed.size) if both else radius
            spots = [(round6(grid.x_at(x + by * placed.size)), round6(grid.y_at(y)), large, o) for by, o in told]
            charts += symbols(spots, entry.overlay, grid, axes, f"{name}_symbol{i}")
    return charts


def _sample(
    cell: str, x: float, y: float, side: float, grid: MapGrid, axes: dict[str, Any], name: str
) -> list[alt.Chart]:
    """A cell as it looks on the map, without a colour of the scale: with the mark of exact ones, or without."""
    frame = {"type": "rect", "width": round6(side), "height": round6(side), "fill": "#ffffff", "opacity": 1,
             "stroke": NOT_COMPUTED_LINE, "strokeWidth": 0.6}  # fmt: skip
    charts = [chart_layer(name, [_at(grid, x, y)], frame, axes)]
    if cell == "exact":
        charts.append(corners([_at(grid, x - side / 2, y - side / 2)], 0.55 * side, axes, f"{name}_corner"))
    if cell == "hatched":
        charts += hatch([_at(grid, x, y)], side, side, axes, f"{name}_lines")
    return charts


def hatch(values: Rows, width: float, height: float, axes: dict[str, Any], name: str) -> list[alt.Chart]:
    """Three thin lines across cells that have a value, falling, so that they differ from the stroke of missing ones;
    white on dark, to be seen on every colour of a scale."""
    slope = round6(height / width)
    lines = f"M-1,{-slope}L1,{slope}M0,{-slope}L1,0M-1,0L0,{slope}"
    mark = {"type": "point", "shape": lines, "size": round6(width * width), "filled": False, "opacity": 1}
    thin = round6(min(1.0, max(0.4, width / 16)))
    dark = {**mark, "stroke": "#000000", "strokeWidth": round6(2.2 * thin), "strokeOpacity": 0.55}
    white = {**mark, "stroke": "#ffffff", "strokeWidth": thin}
    return [chart_layer(f"{name}_dark", values, dark, axes), chart_layer(name, values, white, axes)]


def corners(values: Rows, side: float, axes: dict[str, Any], name: str) -> alt.Chart:
    """The mark of cells with an exact value among estimates: a filled corner, at each cell's upper left."""
    mark = {
        "type": "point", "shape": "M0.1,0.1H1L0.1,1Z", "size": round6((2 * side) ** 2), "filled": True, "opacity": 1,
        "fill": "#000000", "stroke": "#ffffff", "strokeWidth": round6(max(0.25, 0.08 * side)),
    }  # fmt: skip
    return chart_layer(name, values, mark, axes)


def missing(values: Rows, width: float, height: float, axes: dict[str, Any], name: str) -> list[alt.Chart]:
    """Cells without a value: grey with a stroke from corner to corner, so that no colour of a scale looks like it."""
    grey = {"type": "rect", "width": round6(width), "height": round6(height), "fill": NOT_COMPUTED, "opacity": 1,
            "stroke": NOT_COMPUTED_LINE, "strokeWidth": 0.3}  # fmt: skip
    slope = round6(height / width)
    stroke = {
        "type": "point", "shape": f"M-1,{slope}L1,{-slope}", "size": round6(width * width), "filled": False,
        "stroke": NOT_COMPUTED_LINE, "strokeWidth": 0.6, "opacity": 1,
    }  # fmt: skip
    return [chart_layer(name, values, grey, axes), chart_layer(f"{name}_stroke", values, stroke, axes)]
