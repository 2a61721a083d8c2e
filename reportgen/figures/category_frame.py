"""Everything around the cells of a category map: frames, ticks, texts, the key, and the line below.

Everything in points from the upper left corner: rows of data hold x, y and, where a mark has two ends, x2 and y2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt

from reportgen.aliases import Rows
from reportgen.figures import theme
from reportgen.figures.chart_data import COLOUR, ENDS, SIZED, Axes, chart_layer, rect, round6
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.theme import Style, index_ticks, text_width

# Positions of the panels of a category map, in points from the upper left corner of the drawing.
#
# All panels have cells of one size, in as many lines as their letters need to be read; the key stands beside the
# first.

NATURAL_WIDTH = 716.0
_LEAST = 24.0  # times the font size: what a narrower figure is drawn at, and then made smaller with its text
_TALLEST = (0.85, 290.0)  # height of a row of panels over the figure's width, and in points where that is more
_LETTERED = 5.0  # points of a cell that holds a letter one can read
_LARGEST = 13.0


@dataclass(frozen=True)
class CategoryPanel:
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
class CategoryLayout:
    """Panels [row][panel], the key's upper left corner and height per row, where the footer's words start, the size."""

    panels: tuple[tuple[CategoryPanel, ...], ...]
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


def layout(
    shape: tuple[int, int], panels: int, rows: int, words: Sequence[str], style: Style, foot: bool
) -> CategoryLayout:
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
    return CategoryLayout(placed, keys, (room.left, end + 0.7 * size), width, end + (1.5 * size if foot else 0.0))


def _worth(made: Sequence[CategoryPanel], room: _Room) -> tuple[float, ...]:
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


def _lines(
    shape: tuple[int, int], panels: int, columns: int, size: float, room: _Room
) -> tuple[list[CategoryPanel], float]:
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
            CategoryPanel(
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


def _moved(panel: CategoryPanel, down: float) -> CategoryPanel:
    return replace(panel, y=panel.y + down)


ABSENT = (theme.NOT_COMPUTED, theme.NOT_COMPUTED_LINE)  # fill and stroke of a cell without a value
DOTTED = [1.2, 1.0]  # the outline of an unsure cell
LETTER = {"type": "text", "align": "center", "baseline": "middle", "fontWeight": "bold"}


@dataclass(frozen=True)
class Class:
    """One entry of the key."""

    name: str
    letter: str
    colour: str


def slanted(rects: Rows) -> Rows:
    """The diagonals of rectangles, from lower left to upper right."""
    return [{**row, "y": row["y2"], "y2": row["y"]} for row in rects]


def ink(colour: str) -> str:
    """Black or white, whichever stands out more on `colour` (WCAG's contrast ratio)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def frames(panels: Sequence[CategoryPanel], axes: Axes, size: float) -> list[alt.Chart]:
    """Frame, ticks and their numbers of every panel."""
    boxes = [rect(p.x, p.y, p.width, p.height) for p in panels]
    ticks: Rows = []
    below: Rows = []
    left: Rows = []
    for p in panels:
        for index in p.layer_ticks():
            x, y = p.x + (index + 0.5) * p.cell_w, p.y + p.height
            ticks.append(rect(x, y, 0, 0.35 * size))
            below += [{"x": round(x, 2), "y": round(y + 0.55 * size, 2), "text": str(index)}] if p.labels_below else []
        for index in p.head_ticks():
            x, y = p.x, p.y + (index + 0.5) * p.cell_h
            ticks.append(rect(x - 0.35 * size, y, 0.35 * size, 0))
            left += [{"x": round(x - 0.55 * size, 2), "y": round(y, 2), "text": str(index)}] if p.labels_left else []
    text = {"type": "text", "color": theme.INK, "fontSize": round6(0.88 * size)}
    line = {"stroke": theme.INK, "strokeWidth": 0.6}
    channels = {**axes, "text": alt.Text("text:N")}
    return [
        chart_layer("frames", boxes, {"type": "rect", "fill": "transparent", **line}, {**axes, **ENDS}),
        chart_layer("ticks", ticks, {"type": "rule", **line}, {**axes, **ENDS}),
        chart_layer("layer_labels", below, {**text, "align": "center", "baseline": "top"}, channels),
        chart_layer("head_labels", left, {**text, "align": "right", "baseline": "middle"}, channels),
    ]


def words_around(
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]], place: CategoryLayout, axes: Axes, size: float
) -> list[alt.Chart]:
    """Head lines of rows, (title, subtitle) of panels, and the axes' words."""
    heads: Rows = []
    titles: Rows = []
    subtitles: Rows = []
    below: Rows = []
    left: Rows = []
    for (words, named), panels in zip(rows, place.panels, strict=True):
        first = panels[0]
        room = place.width - first.x - 1
        fitted = 1.08 * size * min(1.0, room / max(1.0, theme.text_width(words, 1.08 * size)))
        heads.append({"x": round(first.x, 2), "y": round(first.y - 3.3 * size, 2), "text": words, "size": fitted})
        left.append({"x": round(0.5 * size, 2), "y": round(first.y + first.height / 2, 2), "text": "head"})
        for (title, subtitle), p in zip(named, panels, strict=True):
            middle = round(p.x + p.width / 2, 2)
            titles.append({"x": middle, "y": round(p.y - 1.55 * size, 2), **_fitted(title, size, p)})
            subtitles.append({"x": middle, "y": round(p.y - 0.6 * size, 2), **_fitted(subtitle, 0.8 * size, p)})
            if p.labels_below:
                below.append({"x": middle, "y": round(p.y + p.height + 1.95 * size, 2), "text": "layer"})
    text = {"type": "text", "color": theme.INK, "baseline": "middle"}
    channels = {**axes, "text": alt.Text("text:N")}
    middle_text = {**text, "align": "center"}
    return [
        chart_layer("row_titles", heads, {**text, "align": "left"}, {**axes, **SIZED}),
        chart_layer("panel_titles", titles, middle_text, {**axes, **SIZED}),
        chart_layer("panel_subtitles", subtitles, middle_text, {**axes, **SIZED}),
        chart_layer("layer_title", below, {**middle_text, "fontSize": size}, channels),
        chart_layer("head_title", left, {**middle_text, "fontSize": size, "angle": 270}, channels),
    ]


def _fitted(words: str, size: float, panel: CategoryPanel) -> dict[str, Any]:
    """The words at `size`, or smaller where the panel with its gap is narrower than they are."""
    wide = theme.text_width(words, size)
    room = max(panel.width, panel.room) + 0.6 * panel.size
    return {"text": words, "size": round(size * min(1.0, room / wide), 2) if wide else size}


def key_bars(place: CategoryLayout, key: Sequence[Class], axes: Axes, size: float) -> list[alt.Chart]:
    """The bar of classes with letters inside and names beside it, as high as the first panel, one per row."""
    blocks: Rows = []
    letters: Rows = []
    names: Rows = []
    for x, top, height in place.keys:
        step = height / len(key)
        for i, one in enumerate(key):
            block = rect(x, top + i * step, 1.3 * size, step)
            middle = round(top + (i + 0.5) * step, 2)
            blocks.append({**block, "colour": one.colour})
            small = round(min(0.85 * size, 0.85 * step), 2)
            ink_ = {"colour": ink(one.colour), "size": small}
            letters.append({"x": round(x + 0.65 * size, 2), "y": middle, "text": one.letter, **ink_})
            names.append({"x": round(x + 1.6 * size, 2), "y": middle, "text": one.name,
                          "size": round(min(0.88 * size, 0.95 * step), 2)})  # fmt: skip
    text = {"type": "text", "align": "left", "baseline": "middle", "color": theme.INK}
    return [
        chart_layer("key", blocks, {"type": "rect", "strokeWidth": 0}, {**axes, **ENDS, **COLOUR}),
        chart_layer("key_letters", letters, LETTER, {**axes, **SIZED, **COLOUR}),
        chart_layer("key_names", names, text, {**axes, **SIZED}),
    ]


def brackets(firsts: Sequence[CategoryPanel], n_kv_heads: int, axes: Axes) -> list[alt.Chart]:
    """Right of the first panels: one bracket per key-value group."""
    lines: Rows = []
    for p in firsts:
        step, reach = p.height / n_kv_heads, min(0.32 * p.size, 4.0)
        inset = min(0.12 * step, 1.2)
        x = p.x + p.width + 0.25 * p.size
        for group in range(n_kv_heads):
            top, low = p.y + group * step + inset, p.y + (group + 1) * step - inset
            lines += [rect(x + reach, top, 0, low - top), rect(x, top, reach, 0), rect(x, low, reach, 0)]
    return [
        chart_layer("kv_groups", lines, {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6}, {**axes, **ENDS})
    ]


def footer_places(signs: Sequence[tuple[str, str]], place: CategoryLayout, size: float) -> list[tuple[float, float]]:
    """Where each sign of the footer starts: in one line, or in more where the drawing is narrower."""
    (start, y), found = place.foot, list[tuple[float, float]]()
    x = start
    for _, said in signs:
        wide = 1.4 * size + theme.text_width(said, 0.88 * size)
        if x > start and x + wide > place.width:
            x, y = start, y + 1.35 * size
        found.append((x, y))
        x += wide + 1.6 * size
    return found


def footer(signs: Sequence[tuple[str, str]], place: CategoryLayout, axes: Axes, size: float) -> list[alt.Chart]:
    """The signs that are no classes, explained below the maps."""
    if not signs:
        return []
    side = 0.95 * size
    words: Rows = []
    lines: Rows = []
    boxes: Rows = []
    outlines: Rows = []
    for (sign, said), (x, y) in zip(signs, footer_places(signs, place, size), strict=True):
        square = rect(x, y - side / 2, side, side)
        words.append({"x": round(x + 1.4 * size, 2), "y": round(y, 2), "text": said})
        if sign == "group":
            lines += [rect(x + 0.7 * side, y - side / 2, 0, side), rect(x + 0.3 * side, y - side / 2, 0.4 * side, 0),
                      rect(x + 0.3 * side, y + side / 2, 0.4 * side, 0)]  # fmt: skip
        else:
            boxes.append({**square, "colour": "#7f7f7f" if sign == "unsure" else ABSENT[0]})
            outlines += [rect(x + 1.3, y - side / 2 + 1.3, side - 2.6, side - 2.6)] if sign == "unsure" else []
            lines += [{**line, "colour": ABSENT[1]} for line in slanted([square])] if sign == "absent" else []
    lines = [{"colour": theme.INK, **line} for line in lines]
    text = {"type": "text", "align": "left", "baseline": "middle", "color": theme.INK, "fontSize": round6(0.88 * size)}
    box = {"type": "rect", "stroke": ABSENT[1], "strokeWidth": 0.3}
    dotted = {"type": "rect", "fill": "transparent", "stroke": "#ffffff", "strokeWidth": 0.8, "strokeDash": DOTTED}
    return [
        chart_layer("signs", boxes, box, {**axes, **ENDS, "fill": alt.Fill("colour:N", scale=None, legend=None)}),
        chart_layer("sign_outlines", outlines, dotted, {**axes, **ENDS}),
        chart_layer("sign_lines", lines, {"type": "rule", "strokeWidth": 0.8}, {**axes, **ENDS, **COLOUR}),
        chart_layer("sign_words", words, text, {**axes, "text": alt.Text("text:N")}),
    ]
