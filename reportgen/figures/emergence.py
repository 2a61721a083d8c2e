"""Quantities along a training run: panels with bands over heads on a logarithmic axis, and when single heads appear.

Everything stands in points, as in small_multiples.py; step 0 has a place of its own left of the logarithmic axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt

from reportgen.figures import theme
from reportgen.figures.curves import BLUE, GREY, SAFE
from reportgen.figures.data import round6
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

_ZERO = 0.08  # share of the axis that step 0 takes
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


@dataclass(frozen=True)
class LogAxis:
    """Steps to shares of an axis: logarithmic from `low` to `high`, both above 0, with step 0 at the left end."""

    low: int
    high: int
    has_zero: bool

    @classmethod
    def of(cls, steps: Sequence[int]) -> LogAxis:
        """The axis that holds these steps, at least one of them above 0."""
        above = [step for step in steps if step > 0] or [1]
        return cls(min(above), max(above), 0 in steps)

    def share(self, step: float) -> float:
        """0..1 of the axis, a little inside its ends."""
        start = _ZERO if self.has_zero else 0.0
        if step <= 0:
            return 0.03
        span = math.log(self.high / self.low) or 1.0
        return start + 0.03 + (0.94 - start) * math.log(step / self.low) / span

    def ticks(self, width: float, size: float) -> list[tuple[float, str]]:
        """(share, number) at round steps whose numbers do not touch, on an axis of `width` points."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        fine = [m * 10**p for p in powers if p >= 0 for m in (1, 2, 5)]
        tens = [10**p for p in powers if p >= 0]
        chosen = [s for s in tens if self.low <= s <= self.high]
        chosen = chosen if len(chosen) >= 3 else [s for s in fine if self.low <= s <= self.high]
        chosen = chosen or [self.low, self.high]
        shown = [(self.share(step), step_words(step)) for step in ([0] if self.has_zero else []) + chosen]
        kept: list[tuple[float, str]] = []
        for share, text in shown:
            room = (theme.text_width(text, size) + 0.5 * size) / width
            if not kept or share - kept[-1][0] >= room:
                kept.append((share, text))
        return kept


def step_words(step: int) -> str:
    """`500`, `2k`, `1.5M`: a step as short as it is exact."""
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if step >= size and step % (size // 100) == 0:
            return f"{step / size:g}{letter}"
    return str(step)


def log_panels(
    panels: Sequence[LogPanel], down: str, style: Style, *, top: float = 0.0, whole: bool = False,
    synthetic: bool = False,
) -> alt.LayerChart:  # fmt: skip
    """Plots over training steps with a common scale of y from 0 to `top` (0: the data's); `whole`: y counts things."""
    style = check_style(style)
    size = style.font_size
    axis = LogAxis.of([step for panel in panels for step in panel.steps])
    high = top or _round_up(max([1e-9, *(_highest(panel) for panel in panels)]), whole)
    numbers = _numbers(high, whole)
    titles = [(panel.title, panel.subtitle) for panel in panels]
    widest = max((text for _, text in numbers), key=len)
    in_row = {5: 3, 6: 3}.get(len(panels), 0)
    place = page(len(panels), style, aspect=0.72, titles=titles, numbers=widest, gap=1.4 * size, in_row=in_row)
    place = Page(place.tiles, place.width, place.height + 1.7 * size, size, place.bar)
    axes = place.axes()
    across = axis.ticks(place.tiles[0].width, 0.88 * size)
    charts = frames(place, axes, across, [(1 - value / high, text) for value, text in numbers if value <= high + 1e-9])
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
    step = max(1.0, theme.nice_step(value, 4)) if whole else theme.nice_step(value)
    return round(math.ceil(value / step - 1e-9) * step, 12)


def _numbers(high: float, whole: bool) -> list[tuple[float, str]]:
    step = max(1.0, round(theme.nice_step(high, 4))) if whole else theme.nice_step(high, 4)
    digits = next(d for d in range(12) if abs(round(step, d) - step) < 1e-9 * step)
    return [(i * step, f"{i * step:.{digits}f}") for i in range(math.floor(high / step + 1e-9) + 1)]


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
