"""Many small plots of one kind on one page: where they stand, their frames and titles, and maps of heads in them.

Maps have layers downwards with layer 0 on top and heads to the right, one colour bar for all (Cognitive Mirrors, arXiv
2512.10978). Everything stands in points on one pair of scales: any number of panels lays out alike on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.figures import theme
from reportgen.figures.data import round6
from reportgen.figures.figure import Style
from reportgen.figures.geometry import POINTS_PER_INCH, Bar
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.legend import wrap
from reportgen.figures.marks import check_style, layer
from reportgen.scores import HeadScores, head_name

NATURAL_WIDTH = 716.0
_LEAST = 40.0  # times the font size
_NOTHING = 1e-9  # sizes below count as zero
SLOPE = 160  # steps of the colour bar
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
    """Tiles in reading order; `size` is the font's; `bar` is the colour bar's upper left corner and height."""

    tiles: tuple[Tile, ...]
    width: float
    height: float
    size: float
    bar: tuple[float, float, float]

    def axes(self) -> dict[str, Any]:
        """x and y in points, y downwards, without axes of their own."""
        return {
            "x": alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, round6(self.width)], nice=False, zero=False)),
            "y": alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[round6(self.height), 0], nice=False, zero=False)),
        }


@dataclass(frozen=True, eq=False)
class HeadMap:
    """One panel: a title, a line below it, scores, and the heads to mark with a dot, [layer head] or None."""

    title: str
    subtitle: str
    scores: HeadScores
    marked: npt.NDArray[np.bool_] | None = None


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
) -> Page:
    """Where `count` plots stand; `aspect` is height over width of a plot.

    numbers  the widest number of the left axis;  bar  points that a colour bar takes at the right, 0 for none
    gap      points between plots of a row, at least;  in_row  plots in a row, 0 for as many as look best
    least    width in font sizes that a narrower figure is drawn at, and then made smaller with its text
    """
    size = style.font_size
    given = NATURAL_WIDTH if style.width_in is None else style.width_in * POINTS_PER_INCH - 4
    columns = in_row or columns_for(count)
    left, gap = 2.3 * size + theme.text_width(numbers, 0.88 * size), max(1.1 * size, gap)
    width = min((max(given, least * size) - left - bar - (columns - 1) * gap) / columns, 19 * size)
    tiles: list[Tile] = []
    y = 0.0
    for start in range(0, count, columns):
        row = titles[start : start + columns]
        y += _above(row, size, width)
        for i in range(start, min(start + columns, count)):
            column = i - start
            tiles.append(
                Tile(left + column * (width + gap), y, width, width * aspect, column == 0, i + columns >= count)
            )
        y += width * aspect + 1.3 * size
    bottom, right = tiles[-1].y + tiles[-1].height, left + columns * width + (columns - 1) * gap
    beside = (right + 1.1 * size, tiles[0].y, bottom - tiles[0].y)
    return Page(tuple(tiles), right + bar + 1, bottom + 2.8 * size, size, beside)


def _above(titles: Sequence[tuple[str, str]], size: float, width: float) -> float:
    """Points that the titles of one row take."""
    lines = max((len(title_lines(title, size, width)) for title, _ in titles), default=1)
    return 1.25 * size * lines + (1.15 * size if any(below for _, below in titles) else 0.0) + 0.35 * size


def title_lines(title: str, size: float, width: float) -> tuple[str, ...]:
    """A panel's title in at most three lines as wide as the panel and its gap allow."""
    lines = wrap(theme.clean(title), size, width + 0.8 * size)
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
        middle, room = tile.x + tile.width / 2, tile.width + 0.8 * size
        up = tile.y - 0.85 * size
        if subtitle:
            wide = theme.text_width(subtitle, 0.82 * size)
            notes.append((middle, up, theme.clean(subtitle), 0.82 * size * min(1.0, room / wide)))
            up -= 1.2 * size
        for text in reversed(title_lines(title, size, tile.width)):
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
    side = [(0.6 * size, t.y + t.height / 2, down, size) for t in place.tiles if t.left]
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


def shared_bar(
    panels: Sequence[HeadScores], *, signed: bool, quantile: float = 0.99, start: float = 0.0
) -> tuple[Bar, int]:
    """One colour scale for all panels and the number of cells beyond it.

    The scale ends at the next round number above the `quantile` of all sizes, or holds everything where the largest
    value is less than a third above that. It begins at `start` (0 in the middle where `signed`).
    """
    sizes = np.abs(np.concatenate([s.values[np.isfinite(s.values)] for s in panels])).astype(float) - start
    largest = float(sizes.max()) if sizes.size and sizes.max() > _NOTHING else 1.0
    reach = float(np.quantile(sizes, quantile)) if sizes.size else 1.0
    reach = largest if largest <= 4 / 3 * reach or reach <= _NOTHING else reach
    step = theme.nice_step(2 * reach if signed else reach, 6)
    count = max(1, math.ceil(reach / step - 1e-6))
    top = round(count * step, 12)
    ticks = tuple(round(start + i * step, 12) for i in range(-count if signed else 0, count + 1))
    digits = next(d for d in range(1, 12) if abs(round(step, d) - step) < 1e-9 * step)
    bar = Bar(-top if signed else start, round(start + top, 12), ticks, max(digits, 4 if top < 0.1 else 1), signed)
    return bar, int((sizes > top * (1 + 1e-6)).sum())


def bar_labels(bar: Bar, clipped: int) -> list[str]:
    """The bar's numbers; the ends get a plus (and a minus before them) where values lie beyond."""
    labels = bar.labels()
    if clipped:
        labels[-1] += "+"
        labels[0] += "+" if bar.signed else ""
    return labels


def maps(
    panels: Sequence[HeadMap],
    label: str,
    style: Style,
    *,
    signed: bool = False,
    start: float = 0.0,
    synthetic: bool = False,
    in_row: int = 0,
) -> alt.LayerChart:
    """Maps of heads under one colour bar called `label`; sizes where not `signed`; the bar begins at `start`.

    in_row  maps in a row, 0 for as many as look best
    """
    style = check_style(style)
    size, (layers, heads) = style.font_size, panels[0].scores.values.shape
    bar, clipped = shared_bar([p.scores for p in panels], signed=signed, start=start)
    labels = bar_labels(bar, clipped)
    titles = [(p.title, p.subtitle) for p in panels]
    room = 1.1 * size + 1.1 * size + 0.5 * size + max(theme.text_width(t, 0.88 * size) for t in labels) + 1.9 * size
    aspect = min(1.5, max(0.5, layers / heads))
    place = page(len(panels), style, aspect=aspect, titles=titles, numbers=str(layers - 1), bar=room, in_row=in_row)
    axes, tile = place.axes(), place.tiles[0]
    across = [((i + 0.5) / heads, str(i)) for i in theme.index_ticks(heads, tile.width / heads, 0.88 * size, True)]
    down = [((i + 0.5) / layers, str(i)) for i in theme.index_ticks(layers, tile.height / layers, 0.88 * size, False)]
    charts = _cells(panels, place, bar, style, axes)
    charts += frames(place, axes, across, down) + titles_above(titles, place, axes)
    charts += axis_titles(place, axes, "Head", "Layer") + _colour_bar(bar, labels, label, place, style, axes)
    charts += watermarks(place, axes) if synthetic else []
    return finished(charts, place, style)


def signed_scheme(style: Style) -> dict[str, Any]:
    """The diverging scheme of the palette, red or orange above zero."""
    return {"scheme": theme.SCHEMES_SIGNED.get(style.palette, "redblue"), "reverse": True}


def _colour(bar: Bar, style: Style) -> alt.Color:
    kind = signed_scheme(style) if bar.signed else {"scheme": style.cmap}
    return alt.Color("value:Q", scale=alt.Scale(**kind, domain=[bar.low, bar.high], clamp=True), legend=None)


def _cells(panels: Sequence[HeadMap], place: Page, bar: Bar, style: Style, axes: Axes) -> list[alt.Chart]:
    """Cells, cells without a value, dots on marked cells."""
    known: Rows = []
    absent: Rows = []
    dots: Rows = []
    for panel, tile in zip(panels, place.tiles, strict=True):
        values = panel.scores.values if bar.signed else np.abs(panel.scores.values)
        for (at, head), value in np.ndenumerate(values):
            box = _cell(tile, at, head, values.shape)
            if not np.isfinite(value):
                absent.append(box)
                continue
            known.append({**box, "value": round6(float(value)), "name": head_name(at, head), "panel": panel.title})
            if panel.marked is not None and panel.marked[at, head]:
                w, h = tile.width / values.shape[1], tile.height / values.shape[0]
                dots.append({"x": round(tile.x + (head + 0.5) * w, 2), "y": round(tile.y + (at + 0.5) * h, 2)})
    tips = [alt.Tooltip("panel:N"), alt.Tooltip("name:N", title="head"), alt.Tooltip("value:Q", format=".4~g")]
    grey = {"type": "rect", "fill": theme.NOT_COMPUTED}
    slash = {"type": "rule", "stroke": theme.NOT_COMPUTED_LINE, "strokeWidth": 0.6}
    layers, heads = panels[0].scores.values.shape
    dot = min(place.tiles[0].width / heads, place.tiles[0].height / layers)
    radius = max(0.14 * dot, min(0.3 * dot, 1.0))  # points: in grids of small cells a larger share of the cell
    mark = {"type": "circle", "size": round6(math.pi * radius**2), "fill": "#ffffff", "opacity": 1,
            "stroke": "#000000", "strokeWidth": round6(max(0.25, 0.035 * dot))}  # fmt: skip
    charts = [
        layer("cells_down", known, {"type": "rect"}, {**axes, **ENDS, "color": _colour(bar, style), "tooltip": tips})
    ]
    charts += [
        layer("missing", absent, grey, {**axes, **ENDS}),
        layer("missing_lines", absent, slash, {**axes, **ENDS}),
    ]
    return [*(charts if absent else charts[:1]), *([layer("significant", dots, mark, axes)] if dots else [])]


def _cell(tile: Tile, at: int, head: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """A cell's box. It reaches under its right and lower neighbours, drawn later: side by side they show seams."""
    w, h = tile.width / shape[1], tile.height / shape[0]
    under = min(0.8, w / 4, h / 4)
    right, low = min(tile.width, (head + 1) * w + under), min(tile.height, (at + 1) * h + under)
    return rect(tile.x + head * w, tile.y + at * h, right - head * w, low - at * h)


def _colour_bar(bar: Bar, labels: Sequence[str], label: str, place: Page, style: Style, axes: Axes) -> list[alt.Chart]:
    """The bar as high as all maps together, its ticks and numbers, its title along it."""
    size, (x, y, height) = place.size, place.bar
    height = min(height, 42 * size)
    step, span = height / SLOPE, bar.high - bar.low
    steps = []
    for i in range(SLOPE):
        over = min(0.8, step / 4) if i else 0.0  # drawn from below: each reaches under the next one above
        box = rect(x, y + height - (i + 1) * step, 1.1 * size, step + over)
        steps.append({**box, "value": round6(bar.low + span * (i + 0.5) / SLOPE)})
    down = [y + height * (bar.high - tick) / span for tick in bar.ticks]
    edge = x + 1.1 * size
    line = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6}
    numbers = [(edge + 0.5 * size, at, text, 0.88 * size) for at, text in zip(down, labels, strict=True)]
    wide = max(theme.text_width(text, 0.88 * size) for text in labels)
    title = [(edge + 0.5 * size + wide + 0.95 * size, y + height / 2, theme.clean(label), size)]
    return [
        layer("bar", steps, {"type": "rect"}, {**axes, **ENDS, "color": _colour(bar, style)}),
        layer("bar_ticks", [rect(edge, at, 0.3 * size, 0) for at in down], line, {**axes, **ENDS}),
        words("bar_numbers", numbers, axes, "left"),
        words("bar_title", title, axes, angle=270),
    ]
