"""Where the panels of a category map stand, in points from the upper left corner of the drawing.

All panels have cells of one size, in as many lines as their letters need to be read; the key stands beside the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reportgen.figures.figure import Style
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.theme import index_ticks, text_width

NATURAL_WIDTH = 716.0
_LEAST = 24.0  # times the font size: what a narrower figure is drawn at, and then made smaller with its text
_TALLEST = (0.85, 290.0)  # height of a row of panels over the figure's width, and in points where that is more
_LETTERED = 5.0  # points of a cell that holds a letter one can read
_LARGEST = 13.0


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
    room: float = 0.0  # points for the title, where that is more than the width

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
    """What every row needs beside its panels, in points.

    left      the axis;  key, key_height  the key and the least height that its words need;  gap  between panels
    head, titles, axis  heights of a row's head line, of a panel's titles, and of the axis below
    """

    total: float
    left: float
    key: float
    key_height: float
    gap: float
    head: float
    titles: float
    axis: float


def layout(shape: tuple[int, int], panels: int, rows: int, words: Sequence[str], style: Style, foot: bool) -> Layout:
    """`rows` rows of `panels` panels of [layer head] `shape`; `words` stand beside the key, `foot` leaves a line.

    In one line the key takes what its words need; in several it takes the second place of the first line.
    """
    size = style.font_size
    given = NATURAL_WIDTH if style.width_in is None else style.width_in * POINTS_PER_INCH - 4
    digits = text_width(str(shape[1] - 1), 0.88 * size)
    room = _Room(
        total=max(given, _LEAST * size),
        left=1.45 * size + digits + 0.7 * size,
        key=2.8 * size + max(text_width(word, 0.88 * size) for word in words),
        key_height=1.02 * size * len(words),
        gap=0.9 * size,
        head=1.9 * size,
        titles=2.3 * size,
        axis=2.7 * size,
    )
    tried = [_lines(shape, panels, columns, size, room) for columns in range(2, panels + 2)]
    made, key_x = min(tried, key=lambda one: _worth(one[0], room))
    bottom = max(room.key_height, *(p.y + p.height for p in made))
    step = room.head + room.titles + bottom + room.axis
    placed = tuple(tuple(_moved(p, room.head + room.titles + row * step) for p in made) for row in range(rows))
    keys = tuple((key_x, row[0].y, max(row[0].height, room.key_height)) for row in placed)
    right = max(*(p.x + p.width for p in made), key_x + room.key - 1.2 * size)
    end = rows * step
    width = max(right, given - 1.0 if style.width_in else 0.0) + 1.0
    return Layout(placed, keys, (room.left, end + 0.7 * size), width, end + (1.5 * size if foot else 0.0))


def _worth(made: Sequence[Panel], room: _Room) -> tuple[float, ...]:
    """Smaller is better: room for titles, no taller than a page, letters that can be read, few gaps, then low.

    Where no letters fit anyway cells as large as can be count before gaps.
    """
    height = max(room.key_height, *(p.y + p.height for p in made))
    titled = max(made[0].room, made[0].width) >= 7 * made[0].size
    low = height <= max(_TALLEST[0] * room.total, _TALLEST[1])
    lettered = made[0].cell >= _LETTERED
    lines = len({p.y for p in made})
    places = len({p.x for p in made} | {made[0].x}) if lines == 1 else max(2, len({p.x for p in made})) * lines - 1
    gaps = places - len(made)
    return (not titled, not low, not lettered, *((gaps, height) if lettered else (-made[0].cell, gaps)))


def _lines(shape: tuple[int, int], panels: int, columns: int, size: float, room: _Room) -> tuple[list[Panel], float]:
    """The panels, all of one size, in lines of `columns` places, and the key's left edge."""
    layers, heads = shape
    alone = columns > panels  # one line
    across = room.total - room.left - 1.0
    width = (
        (across - room.key - (panels - 1) * room.gap) / panels if alone else (across + room.gap) / columns - room.gap
    )
    if not alone and width < room.key - 0.9 * size:  # the key's words are wider than a place
        width = (across - room.key - (columns - 2) * room.gap) / (columns - 1)
    cell = max(min(width / layers, (16.5 if alone else 24.0) * size / heads, _LARGEST), 0.5)
    cell_h = max(cell, min(1.4 * cell, 1.08 * 0.88 * size)) if heads <= 16 else cell
    pitch = max(layers * cell, min(width, 8.5 * size)) + room.gap
    extra = room.key if alone else 0.0
    first, down = (high + room.titles + 0.6 * size for high in (max(heads * cell_h, room.key_height), heads * cell_h))
    places = [0, *range(1 if alone else 2, panels + (0 if alone else 1))]
    made = []
    for place in places:
        line, column = divmod(place, panels if alone else columns)
        x = room.left + column * pitch + (extra if place else 0.0)
        under = not any(divmod(p, columns) == (line + 1, column) for p in places)
        made.append(
            Panel(
                x,
                first + (line - 1) * down if line else 0.0,
                cell,
                cell_h,
                layers,
                heads,
                size,
                labels_left=column == 0,
                labels_below=under,
                room=pitch - room.gap,
            )
        )
    return made, room.left + layers * cell + 1.1 * size


def _moved(panel: Panel, down: float) -> Panel:
    return replace(panel, y=panel.y + down)
