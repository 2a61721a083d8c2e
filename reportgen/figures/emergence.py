"""Quantities along a training run: panels with bands over heads on a logarithmic axis.

Everything stands in points, as in small_multiples.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import altair as alt

from reportgen.figures import theme
from reportgen.figures.curves import BLUE, SAFE
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
    axis_titles,
    finished,
    frames,
    page,
    rect,
    titles_above,
    watermarks,
    words,
)

_DASH = [3.0, 2.0]
_DOT = [1.5, 1.5]


@dataclass(frozen=True)
class Line:
    """One quantity per step; None = not known there."""

    name: str
    y: tuple[float | None, ...]
    colour: str = BLUE
    dashed: bool = False


@dataclass(frozen=True)
class Band:
    """A low and a high per step."""

    name: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    opacity: float


@dataclass(frozen=True)
class LogPanel:
    """One plot over `steps`, ascending; levels: (y, name) of dotted lines across."""

    title: str
    subtitle: str
    steps: tuple[int, ...]
    lines: tuple[Line, ...]
    bands: tuple[Band, ...] = ()
    levels: tuple[tuple[float, str], ...] = field(default=())


def log_panels(
    panels: Sequence[LogPanel], down: str, style: Style, *, top: float = 0.0, whole: bool = False,
    synthetic: bool = False,
) -> alt.LayerChart:  # fmt: skip
    """Plots over training steps with a common scale of y from 0 to `top` (0: the data's); `whole`: y counts things."""
    style = check_style(style)
    size = style.font_size
    axis = LogAxis.of([step for panel in panels for step in panel.steps])
    high = top or _round_up(max(_highest(panel) for panel in panels), whole)
    numbers = _numbers(high, whole)
    titles = [(panel.title, panel.subtitle) for panel in panels]
    widest = max((text for _, text in numbers), key=len)
    in_row = {5: 3, 6: 3}.get(len(panels), 0)
    place = page(len(panels), style, aspect=0.72, titles=titles, numbers=widest, gap=1.4 * size, in_row=in_row)
    place = replace(place, height=place.height + 1.7 * size)
    axes = place.axes()
    across = axis.ticks(place.tiles[0].width, 0.88 * size)
    charts = frames(
        place, axes, across, [(1 - value / high, text) for value, text in numbers if value <= high * (1 + 1e-9)]
    )
    charts += titles_above(titles, place, axes) + axis_titles(place, axes, "Training step", down)
    charts += _drawn(panels, place, axis, high, style, axes)
    charts += _key(panels, place, style, axes)
    charts += watermarks(place, axes) if synthetic else []
    return finished([chart for chart in charts if chart.data.values], place, style)


def _highest(panel: LogPanel) -> float:
    values = [y for line in panel.lines for y in line.y if y is not None]
    values += [y for band in panel.bands for y in band.high] + [y for y, _ in panel.levels]
    return max(values, default=1.0)


def _round_up(value: float, whole: bool) -> float:
    value = value if value > 0 else 1.0
    step = max(1.0, theme.nice_step(value, 4)) if whole else theme.nice_step(value)
    return theme.exact(math.ceil(value / step - 1e-9) * step)


def _numbers(high: float, whole: bool) -> list[tuple[float, str]]:
    step = max(1.0, round(theme.nice_step(high, 4))) if whole else theme.nice_step(high, 4)
    ticks = [theme.exact(i * step) for i in range(math.floor(high / step + 1e-9) + 1)]
    return list(zip(ticks, theme.tick_labels(ticks, theme.decimals(step)), strict=True))


def _hue(colour: str, style: Style) -> str:
    return SAFE.get(colour, colour) if style.palette == "safe" else colour


def _drawn(
    panels: Sequence[LogPanel], place: Page, axis: LogAxis, high: float, style: Style, axes: Axes
) -> list[alt.Chart]:
    """Bands, levels, lines and their dots of every panel, in that order."""
    bands: Rows = []
    levels: Rows = []
    lines: Rows = []
    dots: Rows = []
    for number, (panel, tile) in enumerate(zip(panels, place.tiles, strict=True)):
        for i, band in enumerate(panel.bands):
            for step, low, top in zip(panel.steps, band.low, band.high, strict=True):
                x, y = _at(tile, axis, step, low, high)
                y2 = _at(tile, axis, step, top, high)[1]
                bands.append({"x": x, "y": y, "y2": y2, "band": f"{number}-{i}", "opacity": band.opacity})
        levels += [rect(tile.x, _at(tile, axis, 0, y, high)[1], tile.width, 0) for y, _ in panel.levels]
        for i, line in enumerate(panel.lines):
            for step, value in zip(panel.steps, line.y, strict=True):
                if value is None:
                    continue
                x, y = _at(tile, axis, step, value, high)
                row = {"x": x, "y": y, "line": f"{number}-{i}", "order": step, "colour": _hue(line.colour, style)}
                shown = {"panel": panel.title, "what": line.name, "step": step, "value": round6(value)}
                lines.append({**row, "dashed": line.dashed})
                dots.append({**row, **shown})
    colour = {"color": alt.Color("colour:N", scale=None, legend=None)}
    tips = [alt.Tooltip(name) for name in ("panel:N", "what:N", "step:Q", "value:Q")]
    shade = {
        **axes,
        "y2": alt.Y2("y2:Q"),
        "detail": "band:N",
        "opacity": alt.Opacity("opacity:Q", scale=None, legend=None),
    }
    thread = {**axes, **colour, "detail": "line:N", "order": alt.Order("order:Q")}
    across = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.8, "strokeDash": _DOT}
    charts = [layer("bands", bands, {"type": "area", "color": _hue(BLUE, style)}, shade)]
    charts.append(layer("levels", levels, across, {**axes, **ENDS}))
    for name, dashed in (("lines", False), ("dashed_lines", True)):
        kind: dict[str, Any] = {"type": "line", "strokeWidth": 1.4, **({"strokeDash": _DASH} if dashed else {})}
        charts.append(layer(name, [row for row in lines if row["dashed"] == dashed], kind, thread))
    charts.append(
        layer("dots", dots, {"type": "circle", "size": 13, "opacity": 1}, {**axes, **colour, "tooltip": tips})
    )
    return charts


def _at(tile: Tile, axis: LogAxis, step: float, y: float, high: float) -> tuple[float, float]:
    """Data to points; y beyond the plot stays at its edge."""
    share = min(1.0, max(0.0, y / high))
    return round(tile.x + axis.share(step) * tile.width, 2), round(tile.y + (1 - share) * tile.height, 2)


def _key(panels: Sequence[LogPanel], place: Page, style: Style, axes: Axes) -> list[alt.Chart]:
    """One line below all panels that names every kind of line, band and level once."""
    size, x, y = place.size, place.tiles[0].x, place.height - 0.8 * place.size
    lines = {line.name: line for panel in panels for line in panel.lines}
    bands = {band.name: band for panel in panels for band in panel.bands}
    names = [*lines, *bands, *dict.fromkeys(name for panel in panels for _, name in panel.levels)]
    drawn: dict[str, Rows] = {"solid": [], "dashed": [], "level": [], "band": []}
    texts: list[tuple[float, float, str, float]] = []
    for name in names:
        mark = rect(x, y, 2.2 * size, 0)
        if name in lines:
            kind, colour = ("dashed" if lines[name].dashed else "solid"), _hue(lines[name].colour, style)
            drawn[kind].append({**mark, "colour": colour})
        elif name in bands:
            drawn["band"].append({**rect(x, y - 0.4 * size, 2.2 * size, 0.8 * size), "opacity": _stacked(name, bands)})
        else:
            drawn["level"].append(mark)
        texts.append((x + 2.7 * size, y, theme.clean(name), 0.88 * size))
        x += 2.7 * size + theme.text_width(name, 0.88 * size) + 1.4 * size
    colour_of = {"color": alt.Color("colour:N", scale=None, legend=None)}
    shade = {"opacity": alt.Opacity("opacity:Q", scale=None, legend=None)}
    rule = {"type": "rule", "strokeWidth": 1.4}
    return [
        layer("key_bands", drawn["band"], {"type": "rect", "color": _hue(BLUE, style)}, {**axes, **ENDS, **shade}),
        layer("key_lines", drawn["solid"], rule, {**axes, **ENDS, **colour_of}),
        layer("key_dashed", drawn["dashed"], {**rule, "strokeDash": _DASH}, {**axes, **ENDS, **colour_of}),
        layer("key_levels", drawn["level"], {**rule, "stroke": theme.INK, "strokeWidth": 0.8, "strokeDash": _DOT},
              {**axes, **ENDS}),
        words("key_words", texts, axes, "left"),
    ]  # fmt: skip


def _stacked(name: str, bands: dict[str, Band]) -> float:
    """The opacity a band has where it lies over the wider ones before it."""
    clear = 1.0
    for each in bands.values():
        clear *= 1 - each.opacity
        if each.name == name:
            break
    return round(1 - clear, 3)
