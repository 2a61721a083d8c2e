"""Charts of points: a score against others over heads, sets of heads against scores, heads along a training run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import altair as alt
import numpy as np

from reportgen.aliases import Floats, Rows
from reportgen.figures import theme
from reportgen.figures.chart_data import ENDS, Axes, chart_layer, check_style, finished, rect, round6, words
from reportgen.figures.curves import (
    GREY,
    SEVERAL,
    Axis,
    Curve,
    CurvePanel,
    Points,
    even,
    line_chart,
    rounded,
    step_axis,
)
from reportgen.figures.geometry import POINTS_PER_INCH, Bar
from reportgen.figures.head_maps import colour, colour_bar
from reportgen.figures.head_points import CROSS
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.small_multiples import Page, SmallPlot, axis_titles, frames, watermarks
from reportgen.figures.theme import Style

_SHAPES = ("circle", CROSS)  # a second kind is told apart without its colour
_MARKS = ("\u25cb", "\u00d7")
_MOST = 350  # distinct points of one kind in a panel, above which they are put on a grid
_GRID = 48
_EQUAL = "#767676"


@dataclass(frozen=True, eq=False)
class Cloud:
    """One panel: x against one or two y, flat [head], NaN left out; `lines` say what is printed over it, one per y."""

    title: str
    x: Floats
    ys: Sequence[Floats]
    lines: Sequence[str] = ()


def scatter(
    clouds: Sequence[Cloud], style: Style, titles: tuple[str, str], kinds: Sequence[str], *, synthetic: bool = False
) -> alt.LayerChart:
    """A panel per cloud, each with its own axes from 0, equal on x and y, and the line y = x.

    titles  of the axes x and y
    kinds   what the one or two y are
    """
    colours = [theme.CATEGORY_COLOURS[style.palette][i] for i in (0, 3)]
    panels, axes = [], []
    for cloud in clouds:
        largest = max((float(np.nanmax(v)) for v in (cloud.x, *cloud.ys) if np.isfinite(v).any()), default=1.0)
        end, step = rounded(max(largest, 1e-3))
        x, y = (Axis(title, -0.03 * end, 1.03 * end, even(0.0, end, step)) for title in titles)
        axes.append((x, y))
        found = [
            Points(kind, points(cloud.x, ys, end), colour, shape)
            for kind, ys, colour, shape in zip(kinds, cloud.ys, colours, _SHAPES, strict=False)
        ]
        equal = Curve("", (0.0, end), (0.0, end), _EQUAL, dash=(2, 2), width=0.5)
        said = "\n".join(f"{mark} {line}" for mark, line in zip(_MARKS, cloud.lines, strict=False))
        panels.append(CurvePanel(cloud.title, said, [equal], points=found))
    return line_chart(panels, axes, style, synthetic=synthetic, colours=colours, aspect=0.78, **SEVERAL)


def points(x: Floats, y: Floats, end: float) -> list[tuple[float, float, int]]:
    """Distinct points (x, y, heads that stand there); on a grid of 48 x 48 where there are too many."""
    known = np.isfinite(x) & np.isfinite(y)
    spots = Counter(zip(x[known].round(4).tolist(), y[known].round(4).tolist(), strict=True))
    if len(spots) > _MOST:
        step = end / _GRID
        spots = Counter(
            (round(round(a / step) * step, 4), round(round(b / step) * step, 4)) for a, b in spots.elements()
        )
    return [(a, b, count) for (a, b), count in sorted(spots.items())]


# Sets of heads against scores, a line each: a set's share at the threshold, and how far it stands above others.

FOREST_WIDTH = 640.0
_BAND = "#b9b9b9"
_AXIS = Axis("", -0.03, 1.03, even(0.0, 1.0, 0.2))  # dots at 0 and 1 stand whole
_LINE = 1.45  # font sizes


@dataclass(frozen=True)
class ForestLine:
    """One set on one score; NaN is not drawn.

    group      head line that it stands under: the score
    share      with its interval low, high
    auroc      with the interval of chance, null_low and null_high
    confirmed  False is drawn hollow
    """

    group: str
    label: str
    share: float
    low: float
    high: float
    auroc: float
    null_low: float
    null_high: float
    p: str
    confirmed: bool = True


Placed = Sequence[tuple[float, ForestLine]]  # a line and the middle of its row, in points


def forest(lines: Sequence[ForestLine], style: Style, share_title: str, *, synthetic: bool = False) -> alt.LayerChart:
    """Labels, shares with intervals, AUROC over the band of chance, and p, side by side."""
    style = check_style(style)
    size = style.font_size
    heads, placed = _rows(lines, size)
    total = max(FOREST_WIDTH if style.width_in is None else style.width_in * POINTS_PER_INCH - 4, 36 * size)
    wide = [theme.text_width(text, 0.88 * size) for _, text in heads]
    wide += [theme.text_width(line.label, 0.88 * size) + size for line in lines]
    beside = min(max(wide) + 0.6 * size, 0.45 * total)
    last = max(theme.text_width(line.p, 0.88 * size) for line in lines) + 1.2 * size
    gap, height = 1.6 * size, _LINE * size * (len(heads) + len(lines))
    width = (total - beside - last - 3 * gap) / 2
    share = SmallPlot(beside + gap, 1.0, width, height, left=False, below=True)
    auroc = replace(share, x=share.x + width + gap)
    place = Page((share, auroc), total, height + 1 + 2.8 * size, size, (0.0, 0.0, 0.0))
    axes, small = place.axes(), 0.88 * size
    charts = [
        *frames(place, axes, [(_AXIS.shown(width, size), [])] * 2),
        *axis_titles(place, axes, [(share_title, ""), ("AUROC", "")]),
        words("groups", [(0.0, y, text, small) for y, text in heads], axes, "left", fontWeight="bold", limit=beside),
        words("names", [(size, y, line.label, small) for y, line in placed], axes, "left", limit=beside),
        words("p", [(auroc.x + width + gap, y, line.p, small) for y, line in placed], axes, "left"),
        words("p_title", [(auroc.x + width + gap, height + 1 + 2.15 * size, "p", size)], axes, "left"),
        *_estimates("shares", [(y, one, one.share, one.low, one.high) for y, one in placed], share, axes, size),
        *_estimates(
            "aurocs", [(y, one, one.auroc, one.null_low, one.null_high) for y, one in placed], auroc, axes, size
        ),
    ]
    if synthetic:
        at = [(_at(share, 0.5), share.y + height / 2, WATERMARK, min(width / 8, height / 2))]
        charts.append(words("watermark", at, axes, fontWeight="bold", color="#8c8c8c", fillOpacity=0.5))
    return finished(charts, place, style)


def _rows(lines: Sequence[ForestLine], size: float) -> tuple[list[tuple[float, str]], Placed]:
    """Head lines, and lines, each with the middle of its row."""
    heads: list[tuple[float, str]] = []
    placed: list[tuple[float, ForestLine]] = []
    for i, line in enumerate(lines):
        if i == 0 or line.group != lines[i - 1].group:
            heads.append((1 + (len(heads) + i + 0.5) * _LINE * size, line.group))
        placed.append((1 + (len(heads) + i + 0.5) * _LINE * size, line))
    return heads, placed


def _at(tile: SmallPlot, value: float) -> float:
    return tile.x + _AXIS.share(value) * tile.width


def _estimates(
    name: str, rows: Sequence[tuple[float, ForestLine, float, float, float]], tile: SmallPlot, axes: Axes, size: float
) -> list[alt.Chart]:
    """Spans; filled dots, hollow ones for lists that nobody has confirmed. AUROCs have theirs over those of chance."""
    known = [row for row in rows if not math.isnan(row[2])]
    spans = [rect(_at(tile, low), y, _at(tile, high) - _at(tile, low), 0) for y, _, _, low, high in known]
    ends, chance = {**axes, **ENDS}, name == "aurocs"
    look = {"stroke": _BAND if chance else theme.INK, "strokeWidth": round6(0.75 * size) if chance else 1.0}
    charts = [chart_layer(f"{name}_spans", spans, {"type": "rule", **look}, ends)]
    if chance:
        dashes = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6, "strokeDash": [2, 2]}
        charts.append(chart_layer("even", [rect(_at(tile, 0.5), tile.y, 0, tile.height)], dashes, ends))
    for kind, confirmed in (("", True), ("_unconfirmed", False)):
        some: Rows = [
            {"x": round(_at(tile, value), 2), "y": round(y, 2), "value": round6(value), "name": line.label}
            for y, line, value, _, _ in known
            if line.confirmed is confirmed
        ]
        mark = {"type": "point", "filled": False, "stroke": theme.INK, "strokeWidth": 1.1, "opacity": 1,
                "fill": theme.INK if confirmed else "#ffffff", "size": round6((0.55 * size) ** 2)}  # fmt: skip
        charts.append(chart_layer(f"{name}{kind}", some, mark, axes))
    return charts


# When single heads appear along a training run: a row per head, a disc per step, sized and coloured by its score.


@dataclass(frozen=True)
class Appearing:
    """One head: its score at every step, and whether it is above the line there."""

    name: str
    group: str
    values: tuple[float | None, ...]
    above: tuple[bool, ...]


def appearances(
    rows: Sequence[Appearing], steps: Sequence[int], label: str, style: Style, *, top: float = 1.0,
    synthetic: bool = False,
) -> alt.LayerChart:  # fmt: skip
    """Heads downwards in groups, steps across: a disc where a head is above the line, its colour the score."""
    style = check_style(style)
    size, axis = style.font_size, step_axis(steps)
    line = 1.25 * size
    left = max(theme.text_width(row.name, 0.88 * size) for row in rows) + 1.2 * size
    width = 34 * size
    ys, heads, y = [], [], 0.0
    for i, row in enumerate(rows):
        if i == 0 or row.group != rows[i - 1].group:
            y += 1.7 * size if i else 1.3 * size
            heads.append((left, y - 0.15 * size, row.group, 0.95 * size))
            y += 0.5 * size
        y += line
        ys.append(y - line / 2)
    tile = SmallPlot(left, 1.6 * size, width, y - 1.3 * size, True, True)
    beside = (left + width + 1.6 * size, tile.y, min(tile.height, 14 * size))
    place = Page((tile,), left + width + 7 * size, tile.y + tile.height + 2.8 * size, size, beside)
    axes, bar = place.axes(), Bar(0.0, top, (0.0, top / 2, top), 0, signed=False)
    charts = _threads(rows, ys, steps, tile, axis, axes)
    charts += _discs(rows, ys, steps, tile, axis, axes, style, bar)
    names = [(left - 0.6 * size, at, row.name, 0.88 * size) for row, at in zip(rows, ys, strict=True)]
    charts += [words("names", names, axes, "right"), words("groups", heads, axes, "left", fontWeight="bold")]
    bottom = tile.y + tile.height + 0.3 * size
    ticks = axis.shown(width, size)
    marks = [rect(tile.x + share * width, bottom, 0, 0.3 * size) for share, _ in ticks]
    rule = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6}
    charts.append(chart_layer("ticks", [*marks, rect(tile.x, bottom, width, 0)], rule, {**axes, **ENDS}))
    numbers = [(tile.x + share * width, bottom + 0.95 * size, text, 0.88 * size) for share, text in ticks]
    charts.append(words("numbers_below", numbers, axes))
    charts.append(words("title_below", [(tile.x + width / 2, bottom + 2.15 * size, axis.title, size)], axes))
    charts += colour_bar(bar, [f"{tick:g}" for tick in bar.ticks], label, place, style, axes)
    charts += watermarks(place, axes) if synthetic else []
    return finished(charts, place, style)


def _threads(
    rows: Sequence[Appearing], ys: Sequence[float], steps: Sequence[int], tile: SmallPlot, axis: Axis, axes: Axes
) -> list[alt.Chart]:
    """A thin line per head, thicker from its first step above the line on."""
    thin: Rows = []
    thick: Rows = []
    end = tile.x + axis.share(max(steps)) * tile.width
    for row, y in zip(rows, ys, strict=True):
        thin.append(rect(tile.x, y, tile.width, 0))
        first = next((step for step, above in zip(steps, row.above, strict=True) if above), None)
        if first is not None:
            start = tile.x + axis.share(first) * tile.width
            thick.append(rect(start, y, end - start, 0))
    grey = {"type": "rule", "stroke": GREY}
    return [
        chart_layer("threads", thin, {**grey, "strokeWidth": 0.4, "opacity": 0.6}, {**axes, **ENDS}),
        chart_layer("since", thick, {**grey, "strokeWidth": 1.6}, {**axes, **ENDS}),
    ]


def _discs(
    rows: Sequence[Appearing], ys: Sequence[float], steps: Sequence[int], tile: SmallPlot, axis: Axis, axes: Axes,
    style: Style, bar: Bar,
) -> list[alt.Chart]:  # fmt: skip
    """Discs above the line in the score's colour, the first one ringed; small dots below it."""
    discs: Rows = []
    below: Rows = []
    first: Rows = []
    for row, y in zip(rows, ys, strict=True):
        seen = False
        for step, value, above in zip(steps, row.values, row.above, strict=True):
            if value is None:
                continue
            x = round(tile.x + axis.share(step) * tile.width, 2)
            spot = {"x": x, "y": round(y, 2), "name": row.name, "step": step, "value": round6(value)}
            (discs if above else below).append(spot)
            if above and not seen:
                first.append(spot)
                seen = True
    tips = [alt.Tooltip("name:N", title="head"), alt.Tooltip("step:Q"), alt.Tooltip("value:Q", format=".4~g")]
    area = round6((0.9 * style.font_size) ** 2 * 0.6)
    edge = {"stroke": theme.INK, "strokeWidth": 0.4, "opacity": 1}
    ring = {**edge, "type": "circle", "size": 2.2 * area, "fill": "transparent", "strokeWidth": 1.1}
    small = {"type": "circle", "size": 5, "color": GREY, "opacity": 1}
    shade = {**axes, "color": colour(bar, style), "tooltip": tips}
    return [
        chart_layer("below", below, small, {**axes, "tooltip": tips}),
        chart_layer("first", first, ring, axes),
        chart_layer("discs", discs, {"type": "circle", "size": area, **edge}, shade),
    ]
