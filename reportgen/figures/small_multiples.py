"""Many small plots of one kind on one page: layout, frames and titles.

Everything is placed in points on one pair of scales: the layout is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reportgen.figures import theme
from reportgen.figures.chart_data import ENDS, Axes, axes_of, chart_layer, rect, words
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.theme import Style

NATURAL_WIDTH = 716.0
_LEAST = 40.0  # times the font size


@dataclass(frozen=True)
class SmallPlot:
    """A plot whose upper left corner is (x, y), in points; `left` and `below`: whether its axes carry numbers."""

    x: float
    y: float
    width: float
    height: float
    left: bool
    below: bool


@dataclass(frozen=True)
class Page:
    """Tiles in reading order; `size` is the font's; `bar` is the colour bar's upper left corner and height.

    left  points that the left axis takes
    own   every plot has axes of its own, with their numbers
    """

    tiles: tuple[SmallPlot, ...]
    width: float
    height: float
    size: float
    bar: tuple[float, float, float]
    left: float = 0.0
    room: float = 0.0  # for a plot and its titles; 0 = the plot's width
    own: bool = False

    @property
    def pitch(self) -> float:
        return self.room or self.tiles[0].width

    def axes(self) -> dict[str, Any]:
        return axes_of(self)


def columns_for(count: int) -> int:
    """Four in a row as published, or three or five where that leaves fewer gaps; five where there are many."""
    if count <= 4:
        return count
    return min((4, 3, 5), key=lambda c: (-(-count // c) * c - count, c != 4, -c if count > 9 else c))


def page(
    count: int,
    style: Style,
    *,
    aspect: float,
    titles: Sequence[tuple[str, str]],
    numbers: str,
    bar: float = 0.0,
    gap: float = 0.0,
    in_row: int = 0,
    least: float = _LEAST,
    tallest: float = math.inf,
    natural: float = NATURAL_WIDTH,
    widest: float = 19.0,
    pitch: float = 0.0,
    own: bool = False,
) -> Page:
    """Where `count` plots stand; `aspect` is height over width of a plot.

    numbers  the widest number of the left axis;  bar  points that a colour bar takes at the right, 0 for none
    gap      points between plots of a row, at least;  in_row  plots in a row, 0 for as many as look best
    least    width in font sizes that a narrower figure is drawn at, and then made smaller with its text
    tallest  height of a plot over the width there is for it; a higher one is narrower, in the middle of its place
    natural  points that a page without a printed width is wide;  widest: font sizes that a plot is wide at most
    pitch    least width of a plot with its axis in font sizes, which decides how many stand in a row, two of many
    own      every plot has axes of its own
    """
    size = style.font_size
    given = natural if style.width_in is None else style.width_in * POINTS_PER_INCH - 4
    if pitch:
        least = (2 if count > 3 else 1) * pitch + 2  # one column of many would be a strip: its text shrinks instead
        in_row = max(1, min(count, int((max(given, least * size) / size - 1.5) / pitch)))
    columns = in_row or columns_for(count)
    numbered = theme.text_width(numbers, 0.88 * size)
    left, gap = 2.3 * size + numbered, max(1.1 * size, gap, numbered + 1.4 * size if own else 0.0)
    width = min((max(given, least * size) - left - bar - (columns - 1) * gap) / columns, widest * size)
    tiles: list[SmallPlot] = []
    y, across = 0.0, min(width, tallest * width / aspect)
    for start in range(0, count, columns):
        row = titles[start : start + columns]
        y += _above(row, size, width)
        for i in range(start, min(start + columns, count)):
            column = i - start
            x = left + column * (width + gap) + (width - across) / 2
            tiles.append(SmallPlot(x, y, across, across * aspect, column == 0, i + columns >= count))
        y += across * aspect + (1.9 if own else 1.3) * size
    bottom, right = tiles[-1].y + tiles[-1].height, left + columns * width + (columns - 1) * gap
    beside = (right + 1.1 * size, tiles[0].y, bottom - tiles[0].y)
    return Page(tuple(tiles), right + bar + 1, bottom + 2.8 * size, size, beside, left, width, own)


def _above(titles: Sequence[tuple[str, str]], size: float, width: float) -> float:
    """Points that the titles of one row take."""
    lines = max((len(title_lines(title, size, width)) for title, _ in titles if title), default=0)
    below = max((len(below.split("\n")) for _, below in titles if below), default=0)
    return 1.25 * size * lines + 1.15 * size * below + 0.35 * size


def title_lines(title: str, size: float, width: float) -> tuple[str, ...]:
    """A panel's title in at most three lines as wide as the panel and its gap allow."""
    lines = theme.wrap(theme.clean(title), size, width + 0.8 * size)
    return lines if len(lines) <= 3 else (*lines[:2], f"{lines[2]} …")


def shortened(text: str, most: int = 30) -> str:
    """`text` cut to `most` characters, for labels beside an axis."""
    text = theme.clean(text)
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def titles_above(
    titles: Sequence[tuple[str, str]], place: Page, axes: Axes, colours: Sequence[str] = ()
) -> list[alt.Chart]:
    """Titles and the smaller lines below them, in `colours`, centred; a line that is too wide is set smaller."""
    size, names = place.size, []
    notes: list[list[tuple[float, float, str, float]]] = [[] for _ in colours or [""]]
    for (title, subtitle), tile in zip(titles, place.tiles, strict=True):
        middle, room = tile.x + tile.width / 2, place.pitch + 0.8 * size
        up = tile.y - 0.85 * size
        for i, text in reversed(list(enumerate(subtitle.split("\n") if subtitle else ()))):
            wide = theme.text_width(text, 0.82 * size)
            notes[i].append((middle, up, theme.clean(text), 0.82 * size * min(1.0, room / wide)))
            up -= 1.2 * size
        for text in reversed(title_lines(title, size, place.pitch) if title else ()):
            wide = theme.text_width(text, size)
            names.append((middle, up, text, size * min(1.0, room / wide)))
            up -= 1.25 * size
    below = [
        words(f"panel_subtitles{i or ''}", lines, axes, color=colour)
        for i, (lines, colour) in enumerate(zip(notes, colours or [theme.INK], strict=True))
    ]
    return [words("panel_titles", names, axes), *below]


def frames(
    place: Page, axes: Axes, ticks_of: Sequence[tuple[Sequence[tuple[float, str]], Sequence[tuple[float, str]]]]
) -> list[alt.Chart]:
    """Frame and ticks of every tile: (share of the tile's side, number), from the left and from the top.

    A tick without a number is smaller.
    """
    size, ticks, below, left = place.size, [], [], []
    for t, (across, down) in zip(place.tiles, ticks_of, strict=True):
        for share, text in across:
            x = t.x + share * t.width
            ticks.append(rect(x, t.y + t.height, 0, (0.3 if text else 0.18) * size))
            below += [(x, t.y + t.height + 0.95 * size, text, 0.88 * size)] if text and (t.below or place.own) else []
        for share, text in down:
            y, long = t.y + share * t.height, (0.3 if text else 0.18) * size
            ticks.append(rect(t.x - long, y, long, 0))
            left += [(t.x - 0.5 * size, y, text, 0.88 * size)] if text and (t.left or place.own) else []
    line = {"stroke": theme.INK, "strokeWidth": 0.6}
    boxes = [rect(t.x, t.y, t.width, t.height) for t in place.tiles]
    return [
        chart_layer("frames", boxes, {"type": "rect", "fill": "transparent", **line}, {**axes, **ENDS}),
        chart_layer("ticks", ticks, {"type": "rule", **line}, {**axes, **ENDS}),
        words("numbers_below", below, axes),
        words("numbers_left", left, axes, "right"),
    ]


def axis_titles(place: Page, axes: Axes, titles: Sequence[tuple[str, str]]) -> list[alt.Chart]:
    """The words of every tile's axes: below the lowest of every column, left of the first of every row."""
    size, pairs = place.size, list(zip(place.tiles, titles, strict=True))
    low = [(t.x + t.width / 2, t.y + t.height + 2.15 * size, across, size) for t, (across, _) in pairs if t.below]
    side = [(t.x - place.left + 0.6 * size, t.y + t.height / 2, down, size) for t, (_, down) in pairs if t.left]
    return [words("title_below", low, axes), words("title_left", side, axes, angle=270)]


def watermarks(place: Page, axes: Axes) -> list[alt.Chart]:
    """The synthetic mark on every tile."""
    rows = [(t.x + t.width / 2, t.y + t.height / 2, WATERMARK, t.width / 6.2) for t in place.tiles]
    mark: dict[str, Any] = {
        "fontWeight": "bold",
        "color": "#ffffff",
        "fillOpacity": 0.45,
        "stroke": "#000000",
        "strokeWidth": 0.4,
    }
    return [words("watermark", rows, axes, angle=330, **mark, strokeOpacity=0.45)]
