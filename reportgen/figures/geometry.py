"""Where things stand in a heat map: cell size, margins, ticks and the scale of the colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reportgen.figures.figure import Style
from reportgen.figures.theme import decimals, exact, index_ticks, nice_step, text_width, tick_labels
from reportgen.scores import HeadScores

POINTS_PER_INCH = 72.0
_SINGLE = (330.0, 290.0)  # the size in points that a figure's own plot is fitted into
_PAIRED = (232.0, 232.0)


@dataclass(frozen=True)
class Grid:
    """A plot of `layers` x `heads` cells of `cell_w` x `cell_h` points, with the text at `font_size` points."""

    layers: int
    heads: int
    cell_w: float
    cell_h: float
    font_size: float

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


def bar_of(scores: HeadScores) -> Bar:
    """The colour scale of `scores`: its range where that is bounded, else the nearest round numbers that hold the data.

    A range that reaches below zero gives a scale symmetric about zero, with zero among its ticks.
    """
    low, high = scores.range
    finite = scores.values[np.isfinite(scores.values)].astype(float)
    signed = low < 0
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


def margins(heads: int, bar: Bar, font_size: float) -> tuple[float, float]:
    """Points left and right of the plot: axis to the left, colour bar with its label to the right."""
    label_size = 0.88 * font_size
    left = font_size * (1.0 + 0.4 + 0.2 + 0.35) + text_width(str(heads - 1), label_size) + 2
    right = bar_title_x(bar, font_size) + 0.75 * font_size + 2
    return left, right


def bar_title_x(bar: Bar, font_size: float) -> float:
    """Distance in points from the plot's right edge to the middle of the colour bar's vertical label."""
    labels = max(text_width(label, 0.88 * font_size) for label in bar.labels())
    return bar_offset(font_size) + bar_thickness(font_size) + 0.6 * font_size + labels + 0.95 * font_size


def bar_offset(font_size: float) -> float:
    return 0.9 * font_size


def fit(shape: tuple[int, int], bar: Bar, style: Style, panels: int = 1) -> Grid:
    """The grid of a map of [layer head] `shape`, one of `panels` side by side.

    With a printed width the cells take what the margins leave of it; else the plot has a size that suits the screen.
    Cells are square, or up to 1.4 times as wide as high where the plot would be a narrow column.
    """
    layers, heads = shape
    size = style.font_size
    if style.width_in is None:
        width, height = _SINGLE if panels == 1 else _PAIRED
        cell_h = max(4.0, min(28.0, height / heads, width / layers))
        cell_w = min(1.4 * cell_h, max(cell_h, 0.6 * width / layers))
        return Grid(layers, heads, round(cell_w, 2), round(cell_h, 2), size)
    total = style.width_in * POINTS_PER_INCH - (panels - 1) * 1.6 * size - 4
    left, right = margins(heads, bar, size)
    cell_w = max((total / panels - left - right) / layers, 1.5)
    cell_h = min(cell_w, max(1.15 * cell_w * layers / heads, cell_w / 1.4))
    return Grid(layers, heads, round(cell_w, 3), round(cell_h, 3), size)
