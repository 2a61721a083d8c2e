"""Small plots of curves under common axes: solid and dashed lines, bands, dots, a level across.

Axes are linear from zero, in x through the positions given; all panels share the scale of y, or each has its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import altair as alt

from reportgen.figures import theme
from reportgen.figures.figure import Style
from reportgen.figures.marks import check_style, layer
from reportgen.figures.small_multiples import (
    ENDS,
    Axes,
    Page,
    Rows,
    Tile,
    axis_titles,
    finished,
    frames,
    page,
    rect,
    titles_above,
    watermarks,
    words,
)

BLUE, RED, GREY = "#1f77b4", "#d62728", "#7f7f7f"
SAFE = {BLUE: "#0072b2", RED: "#d55e00", GREY: "#7f7f7f"}  # Okabe and Ito
_NARROW = 4.5  # inches below which plots stand two in a row
_DASH = [3.0, 2.0]


@dataclass(frozen=True)
class Curve:
    """A line through (x, y) points in data units; `band` is a low and a high y per point, or empty."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: str = BLUE
    dashed: bool = False
    band: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Panel:
    """One plot. dots: (x, y, words beside) in red; levels: (y, dashed line's name) across the whole width."""

    title: str
    subtitle: str
    curves: tuple[Curve, ...]
    dots: tuple[tuple[float, float, str], ...] = field(default=())
    levels: tuple[tuple[float, str], ...] = field(default=())


def curves(
    panels: Sequence[Panel], across: str, down: str, style: Style, *, top: float = 0.0, ticks: Sequence[float] = (),
    synthetic: bool = False,
) -> alt.LayerChart:  # fmt: skip
    """Plots side by side. `top`: end of y, 0 = the data's; `ticks`: positions on x, none = round numbers.

    A key below names every kind of line once.
    """
    style = check_style(style)
    size = style.font_size
    right = max((max(c.x) for p in panels for c in p.curves if c.x), default=1.0) or 1.0
    high = top or _round_up(max(_highest(p) for p in panels))
    numbers = _numbers(high)
    titles = [(p.title, p.subtitle) for p in panels]
    widest = max((text for _, text in numbers), key=len)
    ends = theme.text_width(f"{right:g}", 0.88 * size) + 0.9 * size  # the last number of a plot and the next one's 0
    rows: dict[str, Any] = {}
    if len(panels) > 2 and (style.width_in or _NARROW) < _NARROW:  # in a column of text
        rows = {"in_row": 2, "least": 26.0}
    place = page(len(panels), style, aspect=0.72, titles=titles, numbers=widest, gap=ends, **rows)
    key = _key_rows(panels)
    lines = _key_places(key, place)[-1][1] + 1 if key else 0
    room = (0.2 + 1.5 * lines) * size if key else 0.0
    place = replace(place, height=place.height + room)
    axes = place.axes()
    marks = ticks or _positions(right)
    shown = [(x / right, f"{x:g}") for x in _thinned(marks, right, place.tiles[0].width, size)]
    charts = frames(
        place, axes, shown, [(1 - value / high, text) for value, text in numbers if value <= high * (1 + 1e-9)]
    )
    charts += titles_above(titles, place, axes) + axis_titles(place, axes, across, down)
    charts += _drawn(panels, place, right, high, style, axes)
    charts += _key(key, place, style, axes)
    charts += watermarks(place, axes) if synthetic else []
    return finished(charts, place, style)


def _highest(panel: Panel) -> float:
    values = [y for c in panel.curves for y in c.y] + [h for c in panel.curves for _, h in c.band]
    return max([*values, *(y for y, _ in panel.levels)], default=1.0)


def _round_up(value: float) -> float:
    value = value if value > 0 else 1.0
    step = theme.nice_step(value)
    return theme.exact(math.ceil(value / step - 1e-9) * step)


def _numbers(high: float) -> list[tuple[float, str]]:
    """Ticks of y with as many decimals as tell them apart."""
    step = theme.nice_step(high, 4)
    ticks = [theme.exact(i * step) for i in range(math.floor(high / step + 1e-9) + 1)]
    return list(zip(ticks, theme.tick_labels(ticks, theme.decimals(step)), strict=True))


def _positions(right: float) -> list[float]:
    step = max(1.0, theme.nice_step(right, 4))
    return [i * step for i in range(math.floor(right / step + 1e-9) + 1)]


def _thinned(ticks: Sequence[float], right: float, width: float, size: float) -> list[float]:
    """Ticks whose numbers do not touch; the largest is kept."""
    kept: list[float] = []
    for x in sorted(ticks, reverse=True):
        room = theme.text_width(f"{x:g}", 0.88 * size) + 0.6 * size
        if not kept or (kept[-1] - x) / right * width >= room:
            kept.append(x)
    return kept[::-1]


def _at(tile: Tile, x: float, y: float, right: float, high: float) -> tuple[float, float]:
    """Data units to points; y beyond the plot stays at its edge."""
    share = min(1.0, max(0.0, y / high))
    return round(tile.x + x / right * tile.width, 2), round(tile.y + (1 - share) * tile.height, 2)


def _hue(colour: str, style: Style) -> str:
    return SAFE.get(colour, colour) if style.palette == "safe" else colour


def _drawn(
    panels: Sequence[Panel], place: Page, right: float, high: float, style: Style, axes: Axes
) -> list[alt.Chart]:
    """Bands, levels, lines and dots of every panel, in that order."""
    bands: Rows = []
    levels: Rows = []
    lines: Rows = []
    dots: Rows = []
    beside: list[tuple[float, float, str, float]] = []
    for number, (panel, tile) in enumerate(zip(panels, place.tiles, strict=True)):
        for i, curve in enumerate(panel.curves):
            base = {"line": f"{number}-{i}", "colour": _hue(curve.colour, style), "dashed": curve.dashed}
            for order, (x, y) in enumerate(zip(curve.x, curve.y, strict=True)):
                px, py = _at(tile, x, y, right, high)
                lines.append({**base, "x": px, "y": py, "order": order})
            for x, (low, top) in zip(curve.x, curve.band, strict=False):
                px, py = _at(tile, x, low, right, high)
                bands.append({**base, "x": px, "y": py, "y2": _at(tile, x, top, right, high)[1]})
        for y, _ in panel.levels:
            px, py = _at(tile, 0, y, right, high)
            levels.append(rect(px, py, tile.width, 0))
        for x, y, text in panel.dots:
            px, py = _at(tile, x, y, right, high)
            dots.append({"x": px, "y": py, "colour": _hue(RED, style)})
            beside.append((px + 0.55 * place.size, py - 0.45 * place.size, text, 0.88 * place.size))
    colour = {"color": alt.Color("colour:N", scale=None, legend=None)}
    thread = {**axes, **colour, "detail": "line:N"}
    charts = [layer("bands", bands, {"type": "area", "opacity": 0.18}, {**thread, "y2": alt.Y2("y2:Q")})]
    across = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.8, "strokeDash": [1.5, 1.5]}
    charts.append(layer("levels", levels, across, {**axes, **ENDS}))
    for name, dashed in (("lines", False), ("dashed_lines", True)):
        kind: dict[str, Any] = {"type": "line", "strokeWidth": 1.2, **({"strokeDash": _DASH} if dashed else {})}
        some = [row for row in lines if row["dashed"] == dashed]
        charts.append(layer(name, some, kind, {**thread, "order": alt.Order("order:Q")}))
    charts.append(layer("dots", dots, {"type": "circle", "size": 22, "opacity": 1}, {**axes, **colour}))
    charts.append(words("dot_words", beside, axes, "left"))
    return [chart for chart in charts if chart.data.values]


def _key_rows(panels: Sequence[Panel]) -> list[tuple[str, str, bool, str]]:
    """(name, colour, dashed, kind) of every kind of line, dot or level, once."""
    found: dict[str, tuple[str, str, bool, str]] = {}
    for panel in panels:
        for curve in panel.curves:
            if curve.name:
                found.setdefault(curve.name, (curve.name, curve.colour, curve.dashed, "line"))
        for _, name in panel.levels:
            found.setdefault(name, (name, "", True, "level"))
    return list(found.values())


def _key_places(rows: Sequence[tuple[str, str, bool, str]], place: Page) -> list[tuple[float, int]]:
    """Where each entry of the key begins: x in points, and the number of its line."""
    size, left = place.size, place.tiles[0].x
    found: list[tuple[float, int]] = []
    x, line = left, 0
    for name, *_ in rows:
        long = 2.7 * size + theme.text_width(name, 0.88 * size)
        if x > left and x + long > place.width:
            x, line = left, line + 1
        found.append((x, line))
        x += long + 1.6 * size
    return found


def _key(rows: Sequence[tuple[str, str, bool, str]], place: Page, style: Style, axes: Axes) -> list[alt.Chart]:
    """Below all panels, in as many lines as the names need."""
    size, places = place.size, _key_places(rows, place)
    solid: Rows = []
    dashed: Rows = []
    levels: Rows = []
    texts: list[tuple[float, float, str, float]] = []
    for (name, colour, is_dashed, kind), (x, number) in zip(rows, places, strict=True):
        y = place.height - (0.8 + 1.5 * (places[-1][1] - number)) * size
        line = {**rect(x, y, 2.2 * size, 0), "colour": _hue(colour, style)}
        (levels if kind == "level" else dashed if is_dashed else solid).append(line)
        texts.append((x + 2.7 * size, y, theme.clean(name), 0.88 * size))
    colour_of = {"color": alt.Color("colour:N", scale=None, legend=None)}
    rule = {"type": "rule", "strokeWidth": 1.2}
    charts = [
        layer("key_lines", solid, rule, {**axes, **ENDS, **colour_of}),
        layer("key_dashed", dashed, {**rule, "strokeDash": _DASH}, {**axes, **ENDS, **colour_of}),
        layer("key_levels", levels, {**rule, "stroke": theme.INK, "strokeWidth": 0.8, "strokeDash": [1.5, 1.5]},
              {**axes, **ENDS}),
        words("key_words", texts, axes, "left"),
    ]  # fmt: skip
    return [chart for chart in charts if chart.data.values]
