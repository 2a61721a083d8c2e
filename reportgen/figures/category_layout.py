"""Where the panels of a category map stand, in points from the upper left corner of the drawing.

All panels of a row are alike while a letter fits into their cells; on larger grids the first panel, whose classes only
letters tell apart for every eye, is drawn large with the others in two rows beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reportgen.figures.figure import Style
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.theme import index_ticks, text_width

NATURAL_WIDTH = 716.0
_LEAST = 40.0  # times the font size: what a narrower figure is drawn at, and then made smaller with its text
_LETTERED = 5.0  # points of a cell that holds a letter one can read
_LARGEST = 13.0
_NARROWEST = 64.0  # points of a panel, for its title


@dataclass(frozen=True)
class Panel:
    """A plot of `layers` x `heads` cells whose upper left corner is (x, y); which of its edges have tick labels."""

    x: float
    y: float
    cell_w: float
    cell_h: float
    layers: int
    heads: int
    size: float  # font size
    labels_left: bool = True
    labels_below: bool = True

    @property
    def width(self) -> float:
        return self.layers * self.cell_w

    @property
    def height(self) -> float:
        return self.heads * self.cell_h

    @property
    def cell(self) -> float:
        return min(self.cell_w, self.cell_h)

    def layer_ticks(self) -> list[int]:
        return index_ticks(self.layers, self.cell_w, 0.88 * self.size, along_x=True)

    def head_ticks(self) -> list[int]:
        return index_ticks(self.heads, self.cell_h, 0.88 * self.size, along_x=False)


@dataclass(frozen=True)
class Layout:
    """Panels [row][panel], the key's upper left corner and height per row, where the footer's words start, the size."""

    panels: tuple[tuple[Panel, ...], ...]
    keys: tuple[tuple[float, float, float], ...]
    foot: tuple[float, float]
    width: float
    height: float


@dataclass(frozen=True)
class _Room:
    """What every row needs beside its panels, in points: `left` axis, `key`, `gutter` for tick labels, `gap`, heights
    of a row's head line, of a panel's titles, and of the axis below."""

    total: float
    left: float
    key: float
    gutter: float
    gap: float
    head: float
    titles: float
    axis: float


def layout(shape: tuple[int, int], panels: int, rows: int, words: Sequence[str], style: Style, foot: bool) -> Layout:
    """`rows` rows of `panels` panels of [layer head] `shape`; `words` stand beside the key, `foot` leaves a line."""
    size = style.font_size
    given = NATURAL_WIDTH if style.width_in is None else style.width_in * POINTS_PER_INCH - 4
    total = max(given, _LEAST * size)
    digits = text_width(str(shape[1] - 1), 0.88 * size)
    room = _Room(
        total=total,
        left=1.45 * size + digits + 0.7 * size,
        key=2.8 * size + max(text_width(word, 0.88 * size) for word in words),
        gutter=digits + 1.6 * size,
        gap=0.9 * size,
        head=1.9 * size,
        titles=2.3 * size,
        axis=2.7 * size,
    )
    even = _even(shape, panels, size, room)
    made = even if min(even[0].cell, even[-1].cell) >= _LETTERED else _one_large(shape, panels, size, room)
    above, height = room.head + room.titles, max(p.y + p.height for p in made)
    step = above + height + room.axis
    placed = tuple(tuple(_moved(p, above + row * step) for p in made) for row in range(rows))
    key_x = room.left + made[0].width + 1.1 * size
    keys = tuple((key_x, above + row * step, made[0].height) for row in range(rows))
    right = max(p.x + p.width for p in made)
    end = rows * step
    width = max(right, key_x + room.key - 1.2 * size, total - 1.0 if style.width_in else 0.0) + 1.0
    return Layout(placed, keys, (room.left, end + 0.7 * size), width, end + (1.5 * size if foot else 0.0))


def _even(shape: tuple[int, int], panels: int, size: float, room: _Room) -> list[Panel]:
    """All panels alike, in one line."""
    layers, heads = shape
    beside = room.left + room.key + (room.gutter + (panels - 2) * room.gap if panels > 1 else 0.0)
    width, height = _plot(shape, (room.total - beside) / panels, 15.0 * size)
    made, x = [], room.left
    for i in range(panels):
        made.append(Panel(x, 0.0, width / layers, height / heads, layers, heads, size, labels_left=i < 2))
        x += width + (room.key + room.gutter if i == 0 else room.gap)
    return made


def _one_large(shape: tuple[int, int], panels: int, size: float, room: _Room) -> list[Panel]:
    """The first panel large, the others in two rows beside its key, as high together as it is."""
    layers, heads = shape
    columns = max(1, panels // 2)
    between = room.titles + 0.6 * size
    free = room.total - room.left - room.key - room.gutter - (columns - 1) * room.gap
    # A small panel is half as high as the large one less what stands between them, and as wide in proportion.
    width, height = _plot(shape, (free + columns * _aspect(shape) * between / 2) / (1 + columns / 2), 24.0 * size)
    small = (height - between) / 2 / height
    made = [Panel(room.left, 0.0, width / layers, height / heads, layers, heads, size)]
    start = room.left + width + room.key + room.gutter
    for i in range(panels - 1):
        row, column = divmod(i, columns)
        x, y = start + column * (small * width + room.gap), row * (small * height + between)
        below = i + columns >= panels - 1
        cell = (small * width / layers, small * height / heads)
        made.append(Panel(x, y, *cell, layers, heads, size, labels_left=column == 0, labels_below=below))
    return made


def _aspect(shape: tuple[int, int]) -> float:
    """Width over height of a plot: cells are square unless it would be a strip."""
    return min(max(shape[0] / shape[1], 0.6), 2.0)


def _plot(shape: tuple[int, int], width: float, height: float) -> tuple[float, float]:
    """The largest plot within these bounds whose cells are no larger than need be; wide enough for its title."""
    aspect = _aspect(shape)
    best = min(width, aspect * height, _LARGEST * max(shape[0], aspect * shape[1]))
    best = max(best, min(width, _NARROWEST))
    return best, min(best / aspect, height)


def _moved(panel: Panel, down: float) -> Panel:
    p = panel
    return Panel(p.x, p.y + down, p.cell_w, p.cell_h, p.layers, p.heads, p.size, p.labels_left, p.labels_below)
