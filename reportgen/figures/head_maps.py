"""Maps of heads beside each other under one colour scale: layers to the right and heads downwards, as in all maps.

`down` turns them as Cognitive Mirrors (arXiv 2512.10978) prints its own: layers downwards with layer 0 on top. Where
the panels stand is small_multiples.py's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.aliases import Rows
from reportgen.figures import theme
from reportgen.figures.chart_data import ENDS, Axes, chart_layer, check_style, finished, rect, round6, words
from reportgen.figures.export import LEAST_PT
from reportgen.figures.figure import MapPlace, noted
from reportgen.figures.geometry import POINTS_PER_INCH, Bar
from reportgen.figures.small_multiples import (
    Page,
    SmallPlot,
    axis_titles,
    columns_for,
    frames,
    page,
    titles_above,
    watermarks,
)
from reportgen.figures.theme import Style
from reportgen.scores import HeadScores, head_name

SLOPE = 160  # steps of the colour bar
_LEAST = 40.0  # font sizes: a narrower figure has its bar under the maps
_COLUMN = 24.0  # font sizes that a figure in a column is drawn at, at least


@dataclass(frozen=True, eq=False)
class HeadMap:
    """One panel: a title, a line below it, scores, and the heads to mark with a dot, [layer head] or None."""

    title: str
    subtitle: str
    scores: HeadScores
    marked: npt.NDArray[np.bool_] | None = None


def shared_bar(
    panels: Sequence[HeadScores], *, signed: bool, quantile: float = 0.99, start: float = 0.0
) -> tuple[Bar, int]:
    """One colour scale for all panels and the number of cells beyond it.

    The scale ends at the next round number above the `quantile` of all sizes, or holds everything where the largest
    value is less than a third above that. It begins at `start` (0 in the middle where `signed`).
    """
    sizes = np.abs(np.concatenate([s.values[np.isfinite(s.values)] for s in panels])).astype(float) - start
    nothing = 1e-6 * abs(start)  # what float32 makes of `start` counts as zero
    largest = float(sizes.max()) if sizes.size and sizes.max() > nothing else 1.0
    reach = float(np.quantile(sizes, quantile)) if sizes.size else 1.0
    reach = largest if largest <= 4 / 3 * reach or reach <= nothing else reach
    step = theme.nice_step(2 * reach if signed else reach, 6)
    count = max(1, math.ceil(reach / step - 1e-6))
    top = theme.exact(count * step)
    ticks = tuple(theme.exact(start + i * step) for i in range(-count if signed else 0, count + 1))
    digits = theme.decimals(step, 1)
    bar = Bar(-top if signed else start, theme.exact(start + top), ticks, max(digits, 4 if top < 0.1 else 1), signed)
    return bar, int((sizes > top * (1 + 1e-6)).sum())


def bar_labels(bar: Bar, clipped: int) -> list[str]:
    """The bar's numbers; where values lie beyond, its ends say `\u2265` (and `\u2264` below zero)."""
    labels = bar.labels()
    if clipped:
        labels[-1] = f"\u2265{labels[-1]}"
        labels[0] = f"\u2264{labels[0]}" if bar.signed else labels[0]
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
    down: bool = False,
) -> alt.LayerChart:
    """Maps of heads under one colour bar called `label`; sizes where not `signed`; the bar begins at `start`.

    In a narrow column the bar lies under the maps, of which as many stand in a row as their titles leave room for.

    in_row  maps in a row, 0 for as many as look best
    down    layers run downwards and heads to the right
    """
    style = check_style(style)
    size, shape = style.font_size, panels[0].scores.values.shape
    bar, clipped = shared_bar([p.scores for p in panels], signed=signed, start=start)
    labels, lying = bar_labels(bar, clipped), _is_narrow(style)
    titles = [(p.title, p.subtitle) for p in panels]
    room = 1.1 * size + 1.1 * size + 0.5 * size + max(theme.text_width(t, 0.88 * size) for t in labels) + 1.9 * size
    columns, rows = (shape[1], shape[0]) if down else (shape[0], shape[1])
    if style.width_in is not None:
        left = 2.3 * size + theme.text_width(str(rows - 1), 0.88 * size) + (0.0 if lying else room)
        in_row = _readable(titles, size, max(style.width_in * POINTS_PER_INCH, _COLUMN * size) - left, in_row)
    place = page(
        len(panels), style, aspect=_aspect(rows / columns), titles=titles, numbers=str(rows - 1), in_row=in_row,
        bar=0.0 if lying else room, least=_COLUMN if lying else _LEAST, tallest=1.5,
    )  # fmt: skip
    if lying:
        place = replace(place, height=place.height + 4.2 * size)
    axes, tile = place.axes(), place.tiles[0]
    across = [
        ((i + 0.5) / columns, str(i)) for i in theme.index_ticks(columns, tile.width / columns, 0.88 * size, True)
    ]
    up = [((i + 0.5) / rows, str(i)) for i in theme.index_ticks(rows, tile.height / rows, 0.88 * size, False)]
    charts = _cells(panels, place, bar, style, axes, down=down)
    charts += frames(place, axes, [(across, up)] * len(panels)) + titles_above(titles, place, axes)
    charts += axis_titles(place, axes, [("Head", "Layer") if down else ("Layer", "Head")] * len(panels))
    charts += (_lying_bar if lying else colour_bar)(bar, labels, label, place, style, axes)
    charts += watermarks(place, axes) if synthetic else []
    step = (round(tile.width / columns, 4), round(tile.height / rows, 4))
    drawn = [
        MapPlace(panel.scores.key, (round(at.x, 2), round(at.y, 2)), step, down, shared=True)
        for panel, at in zip(panels, place.tiles, strict=True)
        if np.isfinite(panel.scores.values).any()
    ]
    return noted(finished(charts, place, style), drawn)


def _readable(titles: Sequence[tuple[str, str]], size: float, across: float, in_row: int) -> int:
    """Maps in a row, at most `in_row` (0: as many as look best), whose titles and subtitles are still of six points."""
    most = in_row or columns_for(len(titles))
    words = max(theme.text_width(below, LEAST_PT) for _, below in titles)
    least = max(1.03 * words - 0.8 * size, 8.5 * size)
    return max(1, min(most, int((across + 1.1 * size) / (least + 1.1 * size))))


def _is_narrow(style: Style) -> bool:
    return style.width_in is not None and style.width_in * POINTS_PER_INCH < _LEAST * style.font_size


def _aspect(ratio: float) -> float:
    """Height over width of a plot: of square cells, or of cells up to 1.4 times as long as wide on strips."""
    return max(ratio / 1.4, min(ratio, 1.5)) if ratio > 1 else min(1.4 * ratio, max(ratio, 0.67))


def signed_scheme(style: Style) -> dict[str, Any]:
    """The diverging scheme of the palette, red or orange above zero."""
    return {"scheme": theme.SCHEMES_SIGNED.get(style.palette, "redblue"), "reverse": True}


def colour(bar: Bar, style: Style) -> alt.Color:
    """The colour of a field `value` on `bar`."""
    kind = signed_scheme(style) if bar.signed else {"scheme": style.cmap}
    return alt.Color("value:Q", scale=alt.Scale(**kind, domain=[bar.low, bar.high], clamp=True), legend=None)


def _cells(
    panels: Sequence[HeadMap], place: Page, bar: Bar, style: Style, axes: Axes, *, down: bool
) -> list[alt.Chart]:
    """Cells, cells without a value, dots on marked cells."""
    known: Rows = []
    absent: Rows = []
    dots: Rows = []
    for panel, tile in zip(panels, place.tiles, strict=True):
        values = panel.scores.values if bar.signed else np.abs(panel.scores.values)
        for (at, head), value in np.ndenumerate(values):
            box = _cell(tile, head, at, values.shape[::-1]) if down else _cell(tile, at, head, values.shape)
            if not np.isfinite(value):
                absent.append(box)
                continue
            known.append({**box, "value": round6(float(value)), "name": head_name(at, head), "panel": panel.title})
            if panel.marked is not None and panel.marked[at, head]:
                dots.append(
                    _middle(tile, head, at, values.shape[::-1]) if down else _middle(tile, at, head, values.shape)
                )
    tips = [alt.Tooltip("panel:N"), alt.Tooltip("name:N", title="head"), alt.Tooltip("value:Q", format=".4~g")]
    grey = {"type": "rect", "fill": theme.NOT_COMPUTED}
    slash = {"type": "rule", "stroke": theme.NOT_COMPUTED_LINE, "strokeWidth": 0.6}
    columns, rows = panels[0].scores.values.shape[:: -1 if down else 1]
    dot = min(place.tiles[0].width / columns, place.tiles[0].height / rows)
    radius = max(0.14 * dot, min(0.3 * dot, 1.0))  # points: in grids of small cells a larger share of the cell
    mark = {"type": "circle", "size": round6(math.pi * radius**2), "fill": "#ffffff", "opacity": 1,
            "stroke": "#000000", "strokeWidth": round6(max(0.25, 0.035 * dot))}  # fmt: skip
    charts = [
        chart_layer(
            "cells_down" if down else "cells",
            known,
            {"type": "rect"},
            {**axes, **ENDS, "color": colour(bar, style), "tooltip": tips},
        )
    ]
    charts += [
        chart_layer("missing", absent, grey, {**axes, **ENDS}),
        chart_layer("missing_lines", absent, slash, {**axes, **ENDS}),
    ]
    return [*(charts if absent else charts[:1]), *([chart_layer("significant", dots, mark, axes)] if dots else [])]


def _cell(tile: SmallPlot, column: int, row: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """A cell's box, `shape` its columns and rows.

    It reaches under its right and lower neighbours, drawn later: side by side they show seams.
    """
    w, h = tile.width / shape[0], tile.height / shape[1]
    under = min(0.8, w / 4, h / 4)
    right, low = min(tile.width, (column + 1) * w + under), min(tile.height, (row + 1) * h + under)
    return rect(tile.x + column * w, tile.y + row * h, right - column * w, low - row * h)


def _middle(tile: SmallPlot, column: int, row: int, shape: tuple[int, ...]) -> dict[str, Any]:
    w, h = tile.width / shape[0], tile.height / shape[1]
    return {"x": round(tile.x + (column + 0.5) * w, 2), "y": round(tile.y + (row + 0.5) * h, 2)}


def colour_bar(bar: Bar, labels: Sequence[str], label: str, place: Page, style: Style, axes: Axes) -> list[alt.Chart]:
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
        chart_layer("bar", steps, {"type": "rect"}, {**axes, **ENDS, "color": colour(bar, style)}),
        chart_layer("bar_ticks", [rect(edge, at, 0.3 * size, 0) for at in down], line, {**axes, **ENDS}),
        words("bar_numbers", numbers, axes, "left"),
        words("bar_title", title, axes, angle=270),
    ]


def _lying_bar(bar: Bar, labels: Sequence[str], label: str, place: Page, style: Style, axes: Axes) -> list[alt.Chart]:
    """The bar under the maps, as wide as they are, with its title under it."""
    size, span = place.size, bar.high - bar.low
    left = min(t.x for t in place.tiles)
    width, y = max(t.x + t.width for t in place.tiles) - left, place.height - 4.2 * size
    step = width / SLOPE
    steps = []
    for i in range(SLOPE):
        over = min(0.8, step / 4) if i < SLOPE - 1 else 0.0
        box = rect(left + i * step, y, step + over, 1.0 * size)
        steps.append({**box, "value": round6(bar.low + span * (i + 0.5) / SLOPE)})
    across = [left + width * (tick - bar.low) / span for tick in bar.ticks]
    need = max(theme.text_width(text, 0.88 * size) for text in labels) + 0.5 * size
    every = max(1, math.ceil(need * (len(across) - 1) / width))
    shown = list(zip(across, labels, strict=True))[::-1][::every]  # the end, with its plus, always has its number
    line = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6}
    return [
        chart_layer("bar", steps, {"type": "rect"}, {**axes, **ENDS, "color": colour(bar, style)}),
        chart_layer("bar_ticks", [rect(x, y + size, 0, 0.3 * size) for x in across], line, {**axes, **ENDS}),
        words("bar_numbers", [(x, y + 1.95 * size, text, 0.88 * size) for x, text in shown], axes),
        words("bar_title", [(left + width / 2, y + 3.2 * size, theme.clean(label), size)], axes),
    ]
