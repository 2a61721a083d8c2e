"""Attention patterns as small T x T panels, one per head, with one position of the keys and one of the queries marked.

Keys run to the right and queries downwards. Exact zeros stay white: an edge that is not there looks like nothing else.
Everything of a figure stands on one canvas in points, so that token row, panels and legend keep their places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.aliases import Rows
from reportgen.figures.chart_data import chart_layer, round6
from reportgen.figures.theme import INK, PAPER_INK, clean, text_width

Pattern = npt.NDArray[np.float32]  # [query key], 0..1
KEY_COLOURS = {"published": "#d62728", "safe": "#d55e00"}  # red
QUERY_COLOURS = {"published": "#1f4fd8", "safe": "#0072b2"}  # blue
WEIGHT_COLOURS = ("#c9ccd4", "#8d93a6", "#565d78", "#2b3150", "#0b0f2b")  # from just above 0 to 1
ABSENT = "#ffffff"
_BEYOND = "#efefef"  # keys after the query: no edge is possible
_FRAME = "#9a9a9a"


@dataclass(frozen=True, eq=False)
class PatternPanel:
    """One head: `title` above its pattern [query key], `note` (its share) to the right of it."""

    title: str
    note: str
    pattern: Pattern


@dataclass(frozen=True)
class PatternLink:
    """The marked positions: attention from position `key` to position `query`."""

    key: int
    query: int


@dataclass
class Canvas:
    """Marks on a plane of `width` x `height` points, y downwards; `chart` makes one layered chart of them."""

    width: float
    height: float = 0.0
    layers: list[alt.Chart] = field(default_factory=list)
    _rects: Rows = field(default_factory=list)
    _words: dict[tuple[str, float, str, str], Rows] = field(default_factory=dict)
    _cells: Rows = field(default_factory=list)
    _lines: Rows = field(default_factory=list)

    def rect(self, x: float, y: float, width: float, height: float, fill: str, stroke: str = "", line: float = 0.6,
             opacity: float = 1.0) -> None:  # fmt: skip
        """A rectangle; an empty `stroke` draws no outline."""
        place = {"x": round6(x), "y": round6(y), "x2": round6(x + width), "y2": round6(y + height)}
        self._rects.append({**place, "fill": fill, "stroke": stroke or "transparent", "line": line, "opacity": opacity})
        self.height = max(self.height, y + height)

    def text(self, x: float, y: float, words: str, size: float, align: str = "left", colour: str = INK,
             weight: str = "normal") -> None:  # fmt: skip
        """Words with their middle at height `y`."""
        rows = self._words.setdefault((align, size, colour, weight), [])
        rows.append({"x": round6(x), "y": round6(y), "text": clean(words)})
        self.height = max(self.height, y + 0.7 * size)

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float) -> None:
        """A line through `points`."""
        at = len({row["line"] for row in self._lines})
        self._lines += [{"x": round6(x), "y": round6(y), "line": at, "order": i, "stroke": colour, "width": width}
                        for i, (x, y) in enumerate(points)]  # fmt: skip

    def cell(self, x: float, y: float, size: float, weight: float, **words: Any) -> None:
        """One attention weight, a square of side `size`; `words` go into its tooltip."""
        gap = min(0.25, 0.06 * size)
        self._cells.append({"x": round6(x + gap), "y": round6(y + gap), "x2": round6(x + size - gap),
                            "y2": round6(y + size - gap), "weight": round6(weight), **words})  # fmt: skip

    def chart(self, title: str = "") -> alt.LayerChart:
        """All marks as one chart without axes: boxes, cells, outlines, lines, words."""
        solid = [row for row in self._rects if row["fill"] != "transparent"]
        outlines = [row for row in self._rects if row["fill"] == "transparent"]
        charts = [self._boxes("boxes", solid)] if solid else []
        charts += [self._weights()] if self._cells else []
        charts += [self._boxes("outlines", outlines)] if outlines else []
        charts += [self._strokes()] if self._lines else []
        for i, ((align, size, colour, weight), rows) in enumerate(self._words.items()):
            mark = {"type": "text", "align": align, "baseline": "middle", "fontSize": round6(size), "color": colour,
                    "fontWeight": weight}  # fmt: skip
            charts.append(chart_layer(f"words{i}", rows, mark, {**self._axes(), "text": alt.Text("text:N")}))
        made = alt.LayerChart(layer=charts, width=round(self.width, 2), height=round(self.height + 2, 2))
        made.view = alt.ViewConfig(stroke=None)
        if title:
            made.title = clean(title)
        return made

    def _axes(self) -> dict[str, Any]:
        across = alt.Scale(domain=[0, round6(self.width)], nice=False, zero=False)
        down = alt.Scale(domain=[round6(self.height + 2), 0], nice=False, zero=False)
        return {"x": alt.X("x:Q", axis=None, scale=across), "y": alt.Y("y:Q", axis=None, scale=down)}

    def _boxes(self, name: str, rows: Rows) -> alt.Chart:
        channels = {
            **self._axes(), "x2": "x2", "y2": "y2",
            "fill": alt.Fill("fill:N", scale=None, legend=None),
            "stroke": alt.Stroke("stroke:N", scale=None, legend=None),
            "strokeWidth": alt.StrokeWidth("line:Q", scale=None, legend=None),
            "opacity": alt.Opacity("opacity:Q", scale=None, legend=None),
        }  # fmt: skip
        return chart_layer(name, rows, {"type": "rect"}, channels)

    def _weights(self) -> alt.Chart:
        scale = alt.Scale(domain=[0, 1], range=list(WEIGHT_COLOURS), clamp=True, interpolate="rgb")
        names = [name for name in self._cells[0] if name not in ("x", "y", "x2", "y2", "weight")]
        tips = [alt.Tooltip(name, type="nominal") for name in names]
        tips.append(alt.Tooltip("weight", type="quantitative", format=".3f"))
        channels = {**self._axes(), "x2": "x2", "y2": "y2", "tooltip": tips,
                    "color": alt.Color("weight:Q", scale=scale, legend=None)}  # fmt: skip
        return chart_layer("weights", self._cells, {"type": "rect", "opacity": 1}, channels)

    def _strokes(self) -> alt.Chart:
        channels = {
            **self._axes(),
            "detail": alt.Detail("line:N"),
            "order": alt.Order("order:Q"),
            "stroke": alt.Stroke("stroke:N", scale=None, legend=None),
            "strokeWidth": alt.StrokeWidth("width:Q", scale=None, legend=None),
        }
        return chart_layer("lines", self._lines, {"type": "line", "fill": None}, channels)


def panel(
    canvas: Canvas, one: PatternPanel, x: float, y: float, side: float, link: PatternLink, size: float, palette: str
) -> None:
    """Draw a panel with its upper left corner at (x, y): title line, then a square of `side` points."""
    count = len(one.pattern)
    cell = side / count
    top = y + 1.35 * size
    canvas.text(x, y + 0.6 * size, one.title, size, weight="bold")
    if one.note:
        canvas.text(x + side, y + 0.6 * size, one.note, size, "right")
    canvas.rect(x, top, side, side, ABSENT)  # what no cell covers stays white, and is an edge that is not there
    for query in range(count - 1):  # beyond the diagonal
        canvas.rect(x + (query + 1) * cell, top + query * cell, side - (query + 1) * cell, cell, _BEYOND)
    for query, key in np.argwhere(one.pattern > 0).tolist():
        if key <= query:
            canvas.cell(x + key * cell, top + query * cell, cell, float(one.pattern[query, key]),
                        head=one.title, query=query, key=key)  # fmt: skip
    canvas.rect(x, top, side, side, "transparent", _FRAME, 0.6)
    column, row = x + link.key * cell, top + link.query * cell
    canvas.rect(
        column, top + link.key * cell, cell, (count - link.key) * cell, "transparent", KEY_COLOURS[palette], 1.1
    )
    canvas.rect(x, row, (link.query + 1) * cell, cell, "transparent", QUERY_COLOURS[palette], 1.1)


def height_of(side: float, size: float) -> float:
    """Points a panel takes downwards, its title and the space below it included."""
    return side + 1.35 * size + 0.9 * size


def block(
    canvas: Canvas,
    panels: Sequence[PatternPanel],
    x: float,
    y: float,
    width: float,
    link: PatternLink,
    size: float,
    palette: str,
    largest: float = 92.0,
) -> float:
    """Panels in rows within `width` points from (x, y); returns the y below them."""
    side, columns = fit(len(panels), width, size, largest)
    step = side + 1.2 * size
    for i, one in enumerate(panels):
        row, column = divmod(i, columns)
        panel(canvas, one, x + column * step, y + row * height_of(side, size), side, link, size, palette)
    return y + math.ceil(len(panels) / columns) * height_of(side, size)


def fit(count: int, width: float, size: float, largest: float) -> tuple[float, int]:
    """(side, columns): as many columns as `largest` fills the width with, more where that makes over five rows."""
    gap, least = 1.2 * size, 6.4 * size
    room = max(1, int((width + gap) / (least + gap)))
    columns = max(1, min(room, max(int((width + gap) / (largest + gap)), math.ceil(count / 5))))
    return min(largest, (width + gap) / columns - gap), columns


def token_row(
    canvas: Canvas,
    tokens: Sequence[str],
    link: PatternLink,
    size: float,
    palette: str,
    y: float,
    guess: tuple[str, str],
) -> list[tuple[float, float]]:
    """The prompt with its positions, an arc from key to query above it, and `guess` (word, note) as a prediction.

    Returns the (left, right) of every token. Tokens wrap into further lines where the canvas is too narrow.
    """
    shown = [_visible(token) for token in tokens]
    widths = [max(text_width(word, size) + 0.9 * size, 1.6 * size) for word in shown]
    places: list[tuple[float, float]] = []
    lines: list[float] = []
    x, line = 0.0, y
    for width in widths:
        if x + width > canvas.width and x > 0:
            x, line = 0.0, line + 3.6 * size
        places.append((x, x + width))
        lines.append(line)
        x += width + 0.35 * size
    colours = {link.key: KEY_COLOURS[palette], link.query: QUERY_COLOURS[palette]}
    for i, (word, (left, right), top) in enumerate(zip(shown, places, lines, strict=True)):
        colour = colours.get(i, "")
        canvas.rect(left, top, right - left, 1.6 * size, ABSENT, colour or _FRAME, 1.4 if colour else 0.6)
        canvas.text((left + right) / 2, top + 0.82 * size, word, size, "center", colour or PAPER_INK,
                    "bold" if colour else "normal")  # fmt: skip
        canvas.text((left + right) / 2, top + 2.25 * size, str(i), 0.85 * size, "center", colour or INK)
    if lines[link.key] == lines[link.query]:
        _arc(canvas, places[link.key], places[link.query], y, size, QUERY_COLOURS[palette])
    _prediction(canvas, x, line, size, guess)
    return places


def _visible(token: str) -> str:
    """A token as a reader can see it: its leading space as a small mark."""
    return f"\u00b7{token[1:]}" if token.startswith(" ") and len(token) > 1 else (token if token.strip() else "\u00b7")


def _arc(
    canvas: Canvas, key: tuple[float, float], query: tuple[float, float], y: float, size: float, colour: str
) -> None:
    start, end = sum(key) / 2, sum(query) / 2
    rise = min(1.5 * size, 0.5 * abs(end - start) + 0.3 * size)
    curve = [(start + (end - start) * t, y - 0.25 * size - rise * math.sin(math.pi * t)) for t in np.linspace(0, 1, 25)]
    canvas.line(curve, colour, 1.2)
    x, y = curve[-1]
    canvas.line([(x - 0.32 * size, y - 0.42 * size), (x, y), (x + 0.2 * size, y - 0.48 * size)], colour, 1.2)


def _prediction(canvas: Canvas, x: float, y: float, size: float, guess: tuple[str, str]) -> None:
    word, note = _visible(guess[0]), guess[1]
    x += 0.6 * size
    tip, middle, back = x + 1.3 * size, y + 0.8 * size, x + 0.95 * size
    canvas.line([(x, middle), (tip, middle)], INK, 0.9)
    canvas.line([(back, middle - 0.25 * size), (tip, middle), (back, middle + 0.25 * size)], INK, 0.9)
    left = x + 1.7 * size
    width = text_width(word, size, bold=True) + 0.9 * size
    canvas.rect(left, y, width, 1.6 * size, "#fff7d6", "#a8841a", 1.0)
    canvas.text(left + width / 2, y + 0.82 * size, word, size, "center", PAPER_INK, "bold")
    canvas.text(left, y + 2.25 * size, note, 0.85 * size)


def weight_key(canvas: Canvas, x: float, y: float, size: float) -> float:
    """The legend of weights: 'no edge' white, then the colours of 0 to 1; returns the x to its right."""
    box = 1.1 * size
    canvas.rect(x, y, box, box, ABSENT, _FRAME, 0.6)
    canvas.text(x + 1.35 * box, y + box / 2, "no edge (exactly 0)", 0.88 * size)
    x += 1.7 * box + text_width("no edge (exactly 0)", 0.88 * size)
    canvas.text(x + 0.2 * size, y + box / 2, ">0", 0.88 * size)
    x += 0.5 * size + text_width(">0", 0.88 * size)
    for colour in WEIGHT_COLOURS:
        canvas.rect(x, y, box, box, colour)
        x += box
    canvas.text(x + 0.3 * size, y + box / 2, "1 attention weight", 0.88 * size)
    return x + 0.6 * size + text_width("1 attention weight", 0.88 * size)


def feature_strip(
    canvas: Canvas, places: Sequence[tuple[float, float]], groups: Sequence[Mapping[str, Any]], n_layers: int, y: float,
    size: float,
) -> float:  # fmt: skip
    """Named groups of features by position and layer, layer 0 at the bottom; returns the y below the strip."""
    step = max(0.9 * size, 40.0 / (n_layers + 1))
    height = step * (n_layers + 1)
    top = y + 0.9 * size
    for group in groups:
        left, right = places[group["position"]]
        low, high = group["layers"]
        box = (high - low + 1) * step
        at = top + height - (high + 1) * step
        canvas.rect(left, at, right - left, box, "#e8eef7", "#5b7db1", 0.8)
        words = f"{group['name']} (L{low}\u2013{high})" if high > low else f"{group['name']} (L{low})"
        canvas.text((left + right) / 2, at + box / 2, words, 0.78 * size, "center", PAPER_INK)
    words = f"Feature groups given by the user, by layer: 0 at the bottom, {n_layers} = output"
    canvas.text(0, y + 0.3 * size, words, 0.85 * size)
    return top + height
