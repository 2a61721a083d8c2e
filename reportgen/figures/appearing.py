"""When single heads appear along a training run: a row per head, a disc per step, sized and coloured by its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reportgen.figures import theme
from reportgen.figures.curves import GREY
from reportgen.figures.data import round6
from reportgen.figures.figure import Style
from reportgen.figures.log_axis import LogAxis
from reportgen.figures.marks import check_style, layer
from reportgen.figures.small_multiples import (
    ENDS,
    Axes,
    Page,
    Rows,
    Tile,
    finished,
    rect,
    watermarks,
    words,
)


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
    size, axis = style.font_size, LogAxis.of(steps)
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
    tile = Tile(left, 1.6 * size, width, y - 1.3 * size, True, True)
    place = Page((tile,), left + width + 7 * size, tile.y + tile.height + 2.8 * size, size, (0, 0, 0))
    axes = place.axes()
    charts = _threads(rows, ys, steps, tile, axis, axes)
    charts += _discs(rows, ys, steps, tile, axis, axes, style, top)
    names = [(left - 0.6 * size, at, row.name, 0.88 * size) for row, at in zip(rows, ys, strict=True)]
    charts += [words("names", names, axes, "right"), words("groups", heads, axes, "left", fontWeight="bold")]
    bottom = tile.y + tile.height + 0.3 * size
    ticks = axis.ticks(width, 0.88 * size)
    marks = [rect(tile.x + share * width, bottom, 0, 0.3 * size) for share, _ in ticks]
    rule = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6}
    charts.append(layer("ticks", [*marks, rect(tile.x, bottom, width, 0)], rule, {**axes, **ENDS}))
    numbers = [(tile.x + share * width, bottom + 0.95 * size, text, 0.88 * size) for share, text in ticks]
    charts.append(words("numbers_below", numbers, axes))
    charts.append(words("title_below", [(tile.x + width / 2, bottom + 2.15 * size, "Training step", size)], axes))
    charts += _bar(tile, label, style, axes, top)
    charts += watermarks(place, axes) if synthetic else []
    return finished([chart for chart in charts if chart.data.values], place, style)


def _threads(
    rows: Sequence[Appearing], ys: Sequence[float], steps: Sequence[int], tile: Tile, axis: LogAxis, axes: Axes
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
        layer("threads", thin, {**grey, "strokeWidth": 0.4, "opacity": 0.6}, {**axes, **ENDS}),
        layer("since", thick, {**grey, "strokeWidth": 1.6}, {**axes, **ENDS}),
    ]


def _discs(
    rows: Sequence[Appearing], ys: Sequence[float], steps: Sequence[int], tile: Tile, axis: LogAxis, axes: Axes,
    style: Style, top: float,
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
    colour = _colours(style, top)
    area = round6((0.9 * style.font_size) ** 2 * 0.6)
    edge = {"stroke": theme.INK, "strokeWidth": 0.4, "opacity": 1}
    ring = {
        "type": "circle",
        "size": 2.2 * area,
        "fill": "transparent",
        "stroke": theme.INK,
        "strokeWidth": 1.1,
        "opacity": 1,
    }
    return [
        layer("below", below, {"type": "circle", "size": 5, "color": GREY, "opacity": 1}, {**axes, "tooltip": tips}),
        layer("first", first, ring, axes),
        layer("discs", discs, {"type": "circle", "size": area, **edge}, {**axes, "color": colour, "tooltip": tips}),
    ]


def _colours(style: Style, top: float) -> alt.Color:
    scheme: dict[str, Any] = {"scheme": style.cmap}
    return alt.Color("value:Q", scale=alt.Scale(**scheme, domain=[0, top], clamp=True), legend=None)


def _bar(tile: Tile, label: str, style: Style, axes: Axes, top: float) -> list[alt.Chart]:
    """The colour bar at the right."""
    size, steps = style.font_size, 80
    x, height = tile.x + tile.width + 1.6 * size, min(tile.height, 14 * size)
    y, part = tile.y, min(tile.height, 14 * size) / 80
    cells = [
        {**rect(x, y + height - (i + 1) * part, 1.1 * size, part + (min(0.8, part / 3) if i else 0)),
         "value": round6(top * (i + 0.5) / steps)}
        for i in range(steps)
    ]  # fmt: skip
    colour = _colours(style, top)
    edge = x + 1.1 * size
    texts = [(edge + 0.5 * size, y + height * (1 - s), f"{top * s:g}", 0.88 * size) for s in (0.0, 0.5, 1.0)]
    title = theme.clean(label)
    fitted = size * min(1.0, 1.0 * tile.height / max(1.0, theme.text_width(title, size)))
    wide = max(theme.text_width(text, 0.88 * size) for _, _, text, _ in texts)
    return [
        layer("bar", cells, {"type": "rect"}, {**axes, **ENDS, "color": colour}),
        words("bar_numbers", texts, axes, "left"),
        words("bar_title", [(edge + wide + 1.5 * size, y + height / 2, title, fitted)], axes, angle=270),
    ]
