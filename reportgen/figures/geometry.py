"""Layout of a heat map: cell size, margins, ticks and the colour scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reportgen.figures.theme import (
    Style,
    decimals,
    exact,
    index_step,
    index_ticks,
    nice_step,
    text_width,
    tick_labels,
    wrap,
)
from reportgen.scores import HeadScores

POINTS_PER_INCH = 72.0
LINE = 1.15  # from one line of a label to the next, in font sizes
_SINGLE = (330.0, 290.0)  # the size in points that a figure's own plot is fitted into
_PAIRED = (232.0, 232.0)
_TALLEST = 1.15  # a printed plot's height over the width there is
_STRETCH = 1.4  # the longer side of a cell over the shorter one
_NARROW = 0.6  # share of the width that a plot on screen takes at least
_FLAT = 3.0  # layers a head from which on a plot has its bar under it at every width, whatever the label
UNDER_AXIS = 3.3  # font sizes from the plot's lower edge to the end of the axis title
_BAR_BLOCK = 2.7  # font sizes that a lying bar with its numbers takes


@dataclass(frozen=True)
class MapGrid:
    """A plot of `layers` x `heads` cells of `cell_w` x `cell_h` points, with the text at `font_size` points.

    bar_label  lines of the colour bar's label;  bar_below  whether the bar lies under the plot
    """

    layers: int
    heads: int
    cell_w: float
    cell_h: float
    font_size: float
    bar_label: tuple[str, ...] = ("",)
    bar_below: bool = False

    @property
    def width(self) -> float:
        return self.layers * self.cell_w

    @property
    def height(self) -> float:
        return self.heads * self.cell_h

    @property
    def cell(self) -> float:
        """The shorter side of a cell in points: what markers are scaled by."""
        return min(self.cell_w, self.cell_h)

    @property
    def label_size(self) -> float:
        return 0.88 * self.font_size

    def x_at(self, points: float) -> float:
        """The layer coordinate `points` to the right of the plot's left edge."""
        return points / self.cell_w - 0.5

    def y_at(self, points: float) -> float:
        """The head coordinate `points` below the plot's upper edge."""
        return points / self.cell_h - 0.5

    def layer_ticks(self) -> list[int]:
        return index_ticks(self.layers, self.cell_w, self.label_size, along_x=True)

    def head_ticks(self) -> list[int]:
        return index_ticks(self.heads, self.cell_h, self.label_size, along_x=False)


def under(cell: float) -> float:
    """Points that a cell reaches under its right and lower neighbours, drawn later: side by side they show seams."""
    return min(1.0, cell / 4)


@dataclass(frozen=True)
class Bar:
    """The colour scale: from `low` to `high` with labels at `ticks`; `signed` scales are symmetric about zero."""

    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int
    signed: bool

    def labels(self) -> list[str]:
        """The numbers beside the bar, with a true minus sign."""
        return tick_labels(self.ticks, self.digits)


@dataclass(frozen=True)
class Wanted:
    """A map to find room for: its [layer head] shape, colour scale, and the scale's label."""

    shape: tuple[int, int]
    bar: Bar
    label: str


@dataclass(frozen=True)
class Arrangement:
    """The grids of a figure's maps, side by side or `stacked` below each other."""

    grids: tuple[MapGrid, ...]
    stacked: bool


FILLED = 0.25  # of a signed range


def bar_of(scores: HeadScores) -> Bar:
    """The colour scale of `scores`: its range where that is bounded, else the nearest round numbers that hold the data.

    A range that reaches below zero gives a scale symmetric about zero, with zero among its ticks; where the data fill
    less than FILLED of it, the scale is the data's own, since differences near zero would all look alike.
    """
    low, high = scores.range
    finite = scores.values[np.isfinite(scores.values)].astype(float)
    signed = low < 0
    if signed and finite.any() and _reach(finite) < FILLED * max(-low, high):
        low, high = -math.inf, math.inf
    bounds = (low, high) if signed else (high,)
    reach = max(abs(bound) if math.isfinite(bound) else _reach(finite) for bound in bounds) or 1.0
    if not signed and low > 0:
        low = 0.0
    step = nice_step(2 * reach if signed else reach)
    if not math.isfinite(high) or (signed and not math.isfinite(low)):
        reach = exact(math.ceil(reach / step - 1e-6) * step)
    count = math.floor(reach / step + 1e-9)
    ticks = tuple(exact(i * step) for i in range(-count if signed else 0, count + 1))
    return Bar(-reach if signed else low, reach, ticks, decimals(step, 1), signed)


def _reach(finite: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    return largest if largest > 0 else 1.0


def bar_thickness(font_size: float) -> float:
    return 1.1 * font_size


def bar_offset(font_size: float) -> float:
    return 0.9 * font_size


def bar_title_x(bar: Bar, font_size: float) -> float:
    """Points from the plot's right edge to the middle of the upright label's first line, colour bar in between."""
    labels = max(text_width(label, 0.88 * font_size) for label in bar.labels())
    return bar_offset(font_size) + bar_thickness(font_size) + 0.6 * font_size + labels + 0.95 * font_size


@dataclass(frozen=True)
class Room:
    """Points that axes and colour bar take beside the plot; `below`: down to the end of axis title and bar."""

    left: float
    right: float
    below: float


def room(grid: MapGrid, bar: Bar) -> Room:
    """What stands around the plot of `grid`; the bar is at its right, or under the axis title."""
    size = grid.font_size
    left = size * (1.0 + 0.4 + 0.2 + 0.35) + text_width(str(grid.heads - 1), grid.label_size) + 2
    if grid.bar_below:
        ends = max(text_width(label, grid.label_size) for label in bar.labels()) / 2
        return Room(left, ends + 1, (UNDER_AXIS + _BAR_BLOCK + LINE * len(grid.bar_label)) * size)
    lines = max(1, len(grid.bar_label))
    right = bar_title_x(bar, size) + (0.75 + LINE * (lines - 1)) * size + 2
    return Room(left, right, UNDER_AXIS * size)


def fit(panels: Sequence[Wanted], style: Style) -> Arrangement:
    """The grids of maps side by side, or below each other where a printed column leaves them no room.

    - With a printed width the cells take what the margins leave of it; else the plot has a size that suits the screen.
    - Cells are square, or up to 1.4 times as wide as high where the plot would be a narrow column, and up to 1.4 times
      as high as wide where the heads of a flat plot need it for their numbers.
    - The colour bar stands right of the plot where its label fits along it in two lines, in all panels or in none;
      else it lies under the plot.
    """
    grids = _alike(panels, style, len(panels))
    if len(panels) > 1 and style.width_in is not None:
        alone = _alike(panels, style, 1)
        if _cramped(grids, alone, panels, style):
            return Arrangement(tuple(alone), stacked=True)
    return Arrangement(tuple(grids), stacked=False)


def _cramped(grids: Sequence[MapGrid], alone: Sequence[MapGrid], panels: Sequence[Wanted], style: Style) -> bool:
    """Whether plots side by side are narrow and much smaller than `alone`, or wider together than the page."""
    taken = [
        grid.width + (of := room(grid, want.bar)).left + of.right for grid, want in zip(grids, panels, strict=True)
    ]
    total = _printed(style) - (len(grids) - 1) * 1.6 * style.font_size
    narrow = any(
        grid.width < 12 * grid.font_size and grid.cell < 0.6 * other.cell
        for grid, other in zip(grids, alone, strict=True)
    )
    return narrow or sum(taken) > total + 1


def _printed(style: Style) -> float:
    return (style.width_in or 0.0) * POINTS_PER_INCH - 4


def _alike(panels: Sequence[Wanted], style: Style, beside: int) -> list[MapGrid]:
    """The grids with the colour bar right of all plots, or under all: of flat plots, and where a label does not fit."""
    flat = any(want.shape[0] >= _FLAT * want.shape[1] for want in panels)
    upright = [None if flat else _upright(want, style, beside) for want in panels]
    grids = [grid for grid in upright if grid is not None]
    return grids if len(grids) == len(panels) else [_lying(want, style, beside) for want in panels]


def _upright(want: Wanted, style: Style, beside: int) -> MapGrid | None:
    """The grid with the bar at its right; None where the bar is too short for two lines of its label."""
    for count in (1, 2):
        grid = _sized(MapGrid(*want.shape, 1.0, 1.0, style.font_size, ("",) * count), want.bar, style, beside)
        lines = wrap(want.label, style.font_size, grid.height)
        whole = all(text_width(word, style.font_size) <= grid.height for word in want.label.split())
        if whole and len(lines) <= count:
            return replace(grid, bar_label=lines)
    return None


def _lying(want: Wanted, style: Style, beside: int) -> MapGrid:
    """The grid with the bar under it."""
    size = style.font_size
    grid = _sized(MapGrid(*want.shape, 1.0, 1.0, size, ("",), bar_below=True), want.bar, style, beside)
    across = max(grid.width + 2 * room(grid, want.bar).right, 9 * size)
    return replace(grid, bar_label=wrap(want.label, size, across, 3))


def _sized(grid: MapGrid, bar: Bar, style: Style, beside: int) -> MapGrid:
    """`grid` with cells as large as there is room with `beside` maps side by side."""
    layers, heads = grid.layers, grid.heads
    if style.width_in is None:
        width, height = _SINGLE if beside == 1 else _PAIRED
        largest, least = 28.0, 4.0
    else:
        of = room(grid, bar)
        width = (_printed(style) - (beside - 1) * 1.6 * grid.font_size) / beside - of.left - of.right
        height, largest, least = _TALLEST * max(width, _printed(style) / 2), math.inf, 1.5
    cell_h = max(least, min(largest, height / heads, width / layers))
    cell_w = cell_h
    if style.width_in is not None or layers * cell_h < _NARROW * width:
        wanted = width / layers if style.width_in is not None else _NARROW * width / layers
        cell_w = min(_STRETCH * cell_h, max(cell_h, wanted))
    if index_step(heads) == 1:  # every head has a number
        cell_h = max(cell_h, min(_STRETCH * cell_w, 1.08 * grid.label_size))
    return replace(grid, cell_w=round(cell_w, 3), cell_h=round(cell_h, 3))
