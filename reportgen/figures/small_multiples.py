"""Many small plots of one kind on one page: where they stand, their frames and titles.

Everything stands in points on one pair of scales: any number of panels lays out alike on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reportgen.figures import theme
from reportgen.figures.data import round6
from reportgen.figures.figure import Style
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.marks import layer

NATURAL_WIDTH = 716.0
_LEAST = 40.0  # times the font size
Rows = list[dict[str, Any]]
Axes = Mapping[str, Any]
ENDS = {"x2": alt.X2("x2:Q"), "y2": alt.Y2("y2:Q")}
SIZED = {"text": alt.Text("text:N"), "size": alt.Size("size:Q", scale=None, legend=None)}


@dataclass(frozen=True)
class Tile:
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
    """

    tiles: tuple[Tile, ...]
    width: float
    height: float
    size: float
    bar: tuple[float, float, float]
    left: float = 0.0
    room: float = 0.0  # for a plot and its titles; 0 = the plot's width

    @property
    def pitch(self) -> float:
        return self.room or self.tiles[0].width

    def axes(self) -> dict[str, Any]:
        """x and y in points, y downwards, without axes of their own."""
        return {
            "x": alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, round6(self.width)], nice=False, zero=False)),
            "y": alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[round6(self.height), 0], nice=False, zero=False)),
        }


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
) -> Page:
    """Where `count` plots stand; `aspect` is height over width of a plot.

    numbers  the widest number of the left axis;  bar  points that a colour bar takes at the right, 0 for none
    gap      points between plots of a row, at least;  in_row  plots in a row, 0 for as many as look best
    least    width in font sizes that a narrower figure is drawn at, and then made smaller with its text
    tallest  height of a plot over the width there is for it; a higher one is narrower, in the middle of its place
    """
    size = style.font_size
    given = NATURAL_WIDTH if style.width_in is None else style.width_in * POINTS_PER_INCH - 4
    columns = in_row or columns_for(count)
    left, gap = 2.3 * size + theme.text_width(numbers, 0.88 * size), max(1.1 * size, gap)
    width = min((max(given, least * size) - left - bar - (columns - 1) * gap) / columns, 19 * size)
    tiles: list[Tile] = []
    y, across = 0.0, min(width, tallest * width / aspect)
    for start in range(0, count, columns):
        row = titles[start : start + columns]
        y += _above(row, size, width)
        for i in range(start, min(start + columns, count)):
            column = i - start
            x = left + column * (width + gap) + (width - across) / 2
            tiles.append(Tile(x, y, across, across * aspect, column == 0, i + columns >= count))
        y += across * aspect + 1.3 * size
    bottom, right = tiles[-1].y + tiles[-1].height, left + columns * width + (columns - 1) * gap
    beside = (right + 1.1 * size, tiles[0].y, bottom - tiles[0].y)
    return Page(tuple(tiles), right + bar + 1, bottom + 2.8 * size, size, beside, left, width)


def _above(titles: Sequence[tuple[str, str]], size: float, width: float) -> float:
    """Points that the titles of one row take."""
    lines = max((len(title_lines(title, size, width)) for title, _ in titles), default=1)
    return 1.25 * size * lines + (1.15 * size if any(below for _, below in titles) else 0.0) + 0.35 * size


def title_lines(title: str, size: float, width: float) -> tuple[str, ...]:
    """A panel's title in at most three lines as wide as the panel and its gap allow."""
    lines = theme.wrap(theme.clean(title), size, width + 0.8 * size)
    return lines if len(lines) <= 3 else (*lines[:2], f"{lines[2]} …")


def shortened(text: str, most: int = 30) -> str:
    """`text` cut to `most` characters, for labels beside an axis."""
    text = theme.clean(text)
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def rect(x: float, y: float, width: float, height: float) -> dict[str, Any]:
    return {"x": round(x, 2), "y": round(y, 2), "x2": round(x + width, 2), "y2": round(y + height, 2)}


def words(
    name: str, rows: Sequence[tuple[float, float, str, float]], axes: Axes, align: str = "center", **mark: Any
) -> alt.Chart:
    """A layer of texts (x, y, text, font size)."""
    values = [{"x": round(x, 2), "y": round(y, 2), "text": t, "size": round(s, 2)} for x, y, t, s in rows]
    kind = {"type": "text", "align": align, "baseline": "middle", "color": theme.INK, **mark}
    return layer(name, values, kind, {**axes, **SIZED})


def titles_above(titles: Sequence[tuple[str, str]], place: Page, axes: Axes) -> list[alt.Chart]:
    """Titles and the smaller lines below them, centred; a line that is too wide is set smaller."""
    size, names, notes = place.size, [], []
    for (title, subtitle), tile in zip(titles, place.tiles, strict=True):
        middle, room = tile.x + tile.width / 2, place.pitch + 0.8 * size
        up = tile.y - 0.85 * size
        if subtitle:
            wide = theme.text_width(subtitle, 0.82 * size)
            notes.append((middle, up, theme.clean(subtitle), 0.82 * size * min(1.0, room / wide)))
            up -= 1.2 * size
        for text in reversed(title_lines(title, size, place.pitch)):
            wide = theme.text_width(text, size)
            names.append((middle, up, text, size * min(1.0, room / wide)))
            up -= 1.25 * size
    return [words("panel_titles", names, axes), words("panel_subtitles", notes, axes)]


def frames(
    place: Page, axes: Axes, across: Sequence[tuple[float, str]], down: Sequence[tuple[float, str]]
) -> list[alt.Chart]:
    """Frame and ticks of every tile: (share of the tile's side, number), from the left and from the top."""
    size, ticks, below, left = place.size, [], [], []
    for t in place.tiles:
        for share, text in across:
            x = t.x + share * t.width
            ticks.append(rect(x, t.y + t.height, 0, 0.3 * size))
            below += [(x, t.y + t.height + 0.95 * size, text, 0.88 * size)] if t.below else []
        for share, text in down:
            y = t.y + share * t.height
            ticks.append(rect(t.x - 0.3 * size, y, 0.3 * size, 0))
            left += [(t.x - 0.5 * size, y, text, 0.88 * size)] if t.left else []
    line = {"stroke": theme.INK, "strokeWidth": 0.6}
    boxes = [rect(t.x, t.y, t.width, t.height) for t in place.tiles]
    return [
        layer("frames", boxes, {"type": "rect", "fill": "transparent", **line}, {**axes, **ENDS}),
        layer("ticks", ticks, {"type": "rule", **line}, {**axes, **ENDS}),
        words("numbers_below", below, axes),
        words("numbers_left", left, axes, "right"),
    ]


def axis_titles(place: Page, axes: Axes, across: str, down: str) -> list[alt.Chart]:
    """The axes' words: below the lowest tile of every column, left of the first tile of every row."""
    size = place.size
    low = [(t.x + t.width / 2, t.y + t.height + 2.15 * size, across, size) for t in place.tiles if t.below]
    side = [(t.x - place.left + 0.6 * size, t.y + t.height / 2, down, size) for t in place.tiles if t.left]
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


def finished(charts: Sequence[alt.Chart], place: Page, style: Style) -> alt.LayerChart:
    """The layers as one chart of the page's size in the house style."""
    chart = alt.LayerChart(layer=list(charts), width=round6(place.width), height=round6(place.height))
    chart.view = alt.ViewBackground(stroke=None)
    chart.config = alt.Config(**theme.config(style))
    return chart
