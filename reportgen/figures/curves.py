"""Line charts: panels of lines, bands, dots and points on linear or logarithmic axes, with one key below all of them.

Everything stands in points on a page of small_multiples.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np

from reportgen.aliases import Bools, Floats, Rows
from reportgen.figures import theme
from reportgen.figures.chart_data import ENDS, Axes, chart_layer, check_style, finished, rect, round6, words
from reportgen.figures.small_multiples import Page, SmallPlot, axis_titles, frames, page, titles_above, watermarks
from reportgen.figures.theme import Style

BLUE, RED, GREY = "#1f77b4", "#d62728", "#7f7f7f"
SAFE = {BLUE: "#0072b2", RED: "#d55e00", GREY: "#7f7f7f"}  # Okabe and Ito
NARROW = 4.5  # inches below which plots stand two in a row
_DASH, _DOTS = (3.0, 2.0), (1.5, 1.5)
_ZERO = 0.08  # share of a logarithmic axis that its place for 0 takes
_DOT = 22.0  # square points
Ticks = Sequence[tuple[float, str]]  # value, its number; a tick without one is a small one's


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`, linear or logarithmic.

    zero   0 has a place of its own at the lower end of a logarithmic axis
    inset  share of the axis that stays empty at either end
    """

    title: str
    low: float
    high: float
    ticks: Ticks = ()
    log: bool = False
    zero: bool = False
    inset: float = 0.0

    def share(self, value: float) -> float:
        """0..1 of the axis; a value beyond it stands at its end."""
        start = self.inset + (_ZERO if self.zero else 0.0)
        if self.log and value <= 0:
            return self.inset
        ends = [math.log(v) if self.log else v for v in (self.low, value, self.high)]
        at = (ends[1] - ends[0]) / ((ends[2] - ends[0]) or 1.0)
        return min(1.0, max(0.0, start + (1 - self.inset - start) * at))

    def shown(self, width: float, size: float) -> list[tuple[float, str]]:
        """(share, number) of the ticks whose numbers do not touch on `width` points; the largest is kept."""
        kept: list[tuple[float, str]] = []
        last = math.inf
        for value, text in sorted(self.ticks, reverse=True):
            room = (theme.text_width(text, 0.88 * size) + 0.6 * size) / width
            if text and last - self.share(value) < room:
                continue
            last = self.share(value) if text else last
            kept.append((self.share(value), text))
        return kept[::-1]


def rounded(largest: float, parts: int = 5, least: float = 0.0) -> tuple[float, float]:
    """(end, step) of an axis from 0 that holds `largest` in about `parts` steps of at least `least`."""
    largest = largest if largest > 0 else 1.0
    step = max(least, theme.nice_step(largest, parts))
    return theme.exact(math.ceil(largest / step - 1e-9) * step), step


def axis_of(title: str, values: Floats) -> Axis:
    """From zero, or from the lowest value where that is below, to a round number, with room for marks at the ends."""
    known = values[np.isfinite(values)]
    high, step = rounded(float(max(known.max(initial=0.0), 1e-6)))
    least = float(known.min(initial=0.0))
    low = float(-step * np.ceil(-least / step)) if least < 0 else 0.0
    room = 0.04 * (high - low)
    return Axis(title, low - room, high + 3 * room, even(low, high, step))


def spots(x: Floats, y: Floats, some: Bools) -> list[tuple[float, float, int]]:
    """Points at (x, y) of the heads in `some` [layer head] that have both values."""
    known = np.isfinite(x) & np.isfinite(y) & some
    return [(round(float(a), 5), round(float(b), 5), 1) for a, b in zip(x[known], y[known], strict=True)]


def even(low: float, high: float, step: float) -> Ticks:
    """Multiples of `step`, with as many decimals as tell them apart."""
    ticks = [theme.exact(i * step) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return list(zip(ticks, theme.tick_labels(ticks, theme.decimals(step)), strict=True))


def decades(low: float, high: float) -> list[float]:
    """The powers of ten from `low` to `high`; also 2 and 5 times these where there are fewer than three."""
    powers = [10.0**p for p in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    tens = [p for p in powers if low <= p <= high]
    return tens if len(tens) >= 3 else [m * p for p in powers for m in (1, 2, 5) if low <= m * p <= high]


def log_axis(title: str, low: float, high: float) -> Axis:
    """A logarithmic axis with small ticks between its numbers."""
    numbered = decades(low, high)
    fine = [m * 10.0**p for p in range(math.floor(math.log10(low)), math.ceil(math.log10(high))) for m in range(1, 10)]
    small = [(v, "") for v in fine if low <= v <= high and not any(math.isclose(v, n) for n in numbered)]
    return Axis(title, low, high, [*((v, f"{v:g}") for v in numbered), *small], log=True)


def step_axis(steps: Iterable[float]) -> Axis:
    """The logarithmic axis of training steps, with a place for step 0 where there is one."""
    known = set(steps)
    above = [step for step in known if step > 0] or [1]
    low, high = min(above), max(above)
    chosen = [step for step in decades(low, high) if step >= 1] or [low, high]
    ticks = [(float(step), step_words(round(step))) for step in ([0] if 0 in known else []) + chosen]
    return Axis("Training step", low, high, ticks, log=True, zero=0 in known, inset=0.03)


def step_words(step: int) -> str:
    """`500`, `2k`, `1.5M`: a step as short as it is exact."""
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if step >= size and step % (size // 100) == 0:
            return f"{step / size:g}{letter}"
    return str(step)


@dataclass(frozen=True)
class Curve:
    """A line through (x, y) points in data units; None or NaN is left out. The key names it where it has a name.

    band  a low and a high y per point, or empty
    dash  in place of that of `dashed`
    dot   square points of a dot at every point
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: str = BLUE
    dashed: bool = False
    band: Sequence[tuple[float, float]] = ()
    dash: tuple[float, ...] = ()
    width: float = 1.2
    dot: float = 0.0

    def shade(self) -> Band:
        low, high = zip(*self.band, strict=True)
        return Band("", self.x, low, high, 0.18, self.colour)


@dataclass(frozen=True)
class Band:
    """A low and a high y per x, shaded."""

    name: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    opacity: float
    colour: str = BLUE


@dataclass(frozen=True)
class Points:
    """Open marks of one shape at (x, y), `heads` of them at each: larger where they are more.

    around  times the usual size: a ring round other marks
    """

    name: str
    spots: Sequence[tuple[float, float, int]]
    colour: str
    shape: str
    around: float = 1.0


@dataclass(frozen=True)
class Label:
    """Words that begin `right` and `down` points beside (x, y)."""

    text: str
    x: float
    y: float
    colour: str = theme.INK
    right: float = 0.0
    down: float = 0.0


@dataclass(frozen=True)
class CurvePanel:
    """One plot. dots: (x, y, words beside) in red; levels: (y, dotted line's name) across the whole width."""

    title: str
    subtitle: str
    curves: Sequence[Curve] = ()
    dots: Sequence[tuple[float, float, str]] = ()
    levels: Sequence[tuple[float, str]] = ()
    bands: Sequence[Band] = ()
    points: Sequence[Points] = ()
    labels: Sequence[Label] = ()

    def highest(self) -> float:
        """The largest y; 1 where there is none."""
        values = [y for c in self.curves for y in c.y if y is not None] + [y for c in self.curves for _, y in c.band]
        return max([*values, *(y for band in self.bands for y in band.high), *(y for y, _ in self.levels)], default=1.0)


def curves(
    panels: Sequence[CurvePanel], across: str, down: str, style: Style, *, top: float = 0.0,
    ticks: Sequence[float] = (), steps: bool = False, whole: bool = False, synthetic: bool = False,
) -> alt.LayerChart:  # fmt: skip
    """Plots side by side with common axes from zero.

    top    end of y, 0 = the data's;  whole: y counts things
    ticks  positions on x, none = round numbers;  steps: x is a logarithmic axis of training steps, called so
    """
    size, xs = style.font_size, [x for panel in panels for curve in panel.curves for x in curve.x]
    largest = max(panel.highest() for panel in panels)
    high = top or (rounded(largest, 4, 1.0) if whole else rounded(largest))[0]
    step = theme.nice_step(high, 4)
    y = Axis(down, 0.0, high, even(0.0, high, max(1.0, round(step)) if whole else step))
    right = max(xs, default=1.0) or 1.0
    marks = ticks or [tick for tick, _ in even(0.0, right, max(1.0, theme.nice_step(right, 4)))]
    x = step_axis(xs) if steps else Axis(across, 0.0, right, [(tick, f"{tick:g}") for tick in marks])
    ends = theme.text_width(f"{right:g}", 0.88 * size) + 0.9 * size  # the last number of a plot and the next one's 0
    narrow = len(panels) > 2 and (style.width_in or NARROW) < NARROW  # in a column of text
    rows: dict[str, Any] = {"in_row": 2, "least": 26.0} if narrow else {}
    gap = 1.4 * size if steps else ends
    return line_chart(panels, [(x, y)], style, synthetic=synthetic, aspect=0.72, gap=gap, **rows)


def line_chart(
    panels: Sequence[CurvePanel], axes: Sequence[tuple[Axis, Axis]], style: Style, *, synthetic: bool = False,
    colours: Sequence[str] = (), **layout: Any,
) -> alt.LayerChart:  # fmt: skip
    """The panels as a page laid out by `page(..., **layout)`; a key below names every kind of mark once.

    axes     x and y of all panels, or of each
    colours  of the lines of the subtitles
    """
    style = check_style(style)
    titles = [(panel.title, panel.subtitle) for panel in panels]
    widest = max((text for _, y in axes for _, text in y.ticks), key=len)
    place = page(len(panels), style, titles=titles, numbers=widest, own=len(axes) > 1, **layout)
    pairs = axes if len(axes) > 1 else [axes[0]] * len(panels)
    key = _key_entries(panels)
    lines = _key_places(key, place)[-1][1] + 1 if key else 0
    place = replace(place, height=place.height + ((0.2 + 1.5 * lines) * style.font_size if key else 0.0))
    xy = place.axes()
    ticks = [
        (x.shown(tile.width, place.size), [(1 - y.share(value), text) for value, text in y.ticks])
        for (x, y), tile in zip(pairs, place.tiles, strict=True)
    ]
    charts = frames(place, xy, ticks) + titles_above(titles, place, xy, colours)
    charts += axis_titles(place, xy, [(x.title, y.title) for x, y in pairs])
    charts += _marks(panels, pairs, place, style, xy) + _key(key, place, style, xy)
    charts += watermarks(place, xy) if synthetic else []
    return finished(charts, place, style)


def hue(colour: str, style: Style) -> str:
    """A colour of this module in the style's palette."""
    return SAFE.get(colour, colour) if style.palette == "safe" else colour


def _channel(kind: type[Any], name: str) -> Any:
    """A channel whose field holds what is drawn."""
    return kind(name, scale=None, legend=None)


_COLOUR = {"color": _channel(alt.Color, "colour:N")}
_WIDTH = {"strokeWidth": _channel(alt.StrokeWidth, "width:Q")}
_STROKE = {**_COLOUR, **_WIDTH, "strokeDash": _channel(alt.StrokeDash, "dash:N")}
_SHADE = {**_COLOUR, "opacity": _channel(alt.Opacity, "opacity:Q")}
_AREA = {"size": _channel(alt.Size, "area:Q")}
_OPEN = {"type": "point", "filled": False, "strokeWidth": 0.8}


def _stroke(curve: Curve, style: Style) -> dict[str, Any]:
    dash = curve.dash or (_DASH if curve.dashed else ())
    return {"colour": hue(curve.colour, style), "dash": list(dash) or None, "width": curve.width}


def _levels(panel: CurvePanel) -> list[Curve]:
    """Across the whole width, whatever x is."""
    return [Curve(name, (0.0, 1.0), (y, y), theme.INK, dash=_DOTS, width=0.8) for y, name in panel.levels]


@dataclass
class _Layers:
    """The rows of the marks of all panels."""

    style: Style
    bands: Rows
    lines: Rows
    dots: Rows
    points: Rows
    labels: Rows

    def add(self, number: int, panel: CurvePanel, tile: SmallPlot, axes: tuple[Axis, Axis]) -> None:
        size = self.style.font_size

        def at(x: float, y: float) -> dict[str, float]:
            across, up = axes[0].share(x), axes[1].share(y)
            return {"x": round(tile.x + across * tile.width, 2), "y": round(tile.y + (1 - up) * tile.height, 2)}

        for i, band in enumerate((*panel.bands, *(curve.shade() for curve in panel.curves if curve.band))):
            look = {"line": f"{number}-{i}", "colour": hue(band.colour, self.style), "opacity": band.opacity}
            for x, low, top in zip(band.x, band.low, band.high, strict=True):
                self.bands.append({**look, **at(x, low), "y2": at(x, top)["y"]})
        for i, level in enumerate(_levels(panel)):
            box = {**at(axes[0].low, panel.levels[i][0]), **_stroke(level, self.style), "line": f"{number}-level{i}"}
            self.lines += [{**box, "x": round(tile.x + end * tile.width, 2), "order": end} for end in (0, 1)]
        for i, curve in enumerate(sorted(panel.curves, key=lambda curve: curve.dashed)):  # dashes over lines
            for order, (x, y) in enumerate(zip(curve.x, curve.y, strict=True)):
                if y is None or math.isnan(y):
                    continue
                told = {"panel": panel.title, "what": curve.name, "across": round6(x), "value": round6(y)}
                row = {**_stroke(curve, self.style), **at(x, y)}
                self.lines.append({**row, "line": f"{number}-{i}", "order": order})
                self.dots += [{**at(x, y), "colour": row["colour"], "area": curve.dot, **told}] if curve.dot else []
        for points in panel.points:
            unit = (0.34 * points.around * size) ** 2
            for x, y, heads in points.spots:
                told = {"across": round6(x), "value": round6(y), "heads": heads}
                look = {"colour": points.colour, "shape": points.shape, "area": round6(unit * (1 + math.log2(heads)))}
                self.points.append({**at(x, y), **look, **told})
        for x, y, _ in panel.dots:
            self.dots.append({**at(x, y), "colour": hue(RED, self.style), "area": _DOT})
        beside = [Label(text, x, y, theme.INK, 0.55 * size, -0.45 * size) for x, y, text in panel.dots]
        for label in (*beside, *panel.labels):
            spot = at(label.x, label.y)
            place = {"x": round(spot["x"] + label.right, 2), "y": round(spot["y"] + label.down, 2)}
            self.labels.append({**place, "text": theme.clean(label.text), "colour": hue(label.colour, self.style)})


def _marks(
    panels: Sequence[CurvePanel], axes: Sequence[tuple[Axis, Axis]], place: Page, style: Style, xy: Axes
) -> list[alt.Chart]:
    """Bands, lines, points, dots and words of every panel, in that order."""
    of = _Layers(style, [], [], [], [], [])
    for number, (panel, tile, pair) in enumerate(zip(panels, place.tiles, axes, strict=True)):
        of.add(number, panel, tile, pair)
    tips = [alt.Tooltip(name) for name in ("panel:N", "what:N", "across:Q", "value:Q")]
    counted = [*tips[2:], alt.Tooltip("heads:Q")]
    text = {"type": "text", "align": "left", "baseline": "middle", "fontSize": round6(0.88 * style.font_size)}
    thread = {**xy, **_STROKE, "detail": "line:N", "order": alt.Order("order:Q")}
    shape = {**xy, **_COLOUR, **_AREA, "shape": _channel(alt.Shape, "shape:N"), "tooltip": counted}
    return [
        chart_layer("bands", of.bands, {"type": "area"}, {**xy, **_SHADE, "y2": alt.Y2("y2:Q"), "detail": "line:N"}),
        chart_layer("lines", of.lines, {"type": "line"}, thread),
        chart_layer("points", of.points, {**_OPEN, "opacity": 0.85}, shape),
        chart_layer("dots", of.dots, {"type": "circle", "opacity": 1}, {**xy, **_COLOUR, **_AREA, "tooltip": tips}),
        chart_layer("labels", of.labels, text, {**xy, **_COLOUR, "text": alt.Text("text:N")}),
    ]


Entry = Curve | Band | Points


def _key_entries(panels: Sequence[CurvePanel]) -> list[Entry]:
    """Every kind of line, band, point and level that has a name, once."""
    found: dict[str, Entry] = {}
    for panel in panels:
        entries: list[Entry] = [*panel.curves, *panel.bands, *panel.points, *_levels(panel)]
        for entry in entries:
            found.setdefault(entry.name, entry)
    return [entry for name, entry in found.items() if name]


def _key_places(entries: Sequence[Entry], place: Page) -> list[tuple[float, int]]:
    """Where each entry of the key begins: x in points, and the number of its line."""
    size, left = place.size, place.tiles[0].x
    found: list[tuple[float, int]] = []
    x, line = left, 0
    for entry in entries:
        long = 2.7 * size + theme.text_width(entry.name, 0.88 * size)
        if x > left and x + long > place.width:
            x, line = left, line + 1
        found.append((x, line))
        x += long + 1.6 * size
    return found


def _key(entries: Sequence[Entry], place: Page, style: Style, xy: Axes) -> list[alt.Chart]:
    """Below all panels, in as many lines as the names need."""
    size, places = place.size, _key_places(entries, place)
    bands, lines, points = Rows(), Rows(), Rows()
    texts: list[tuple[float, float, str, float]] = []
    clear = 1.0
    for entry, (x, number) in zip(entries, places, strict=True):
        y = place.height - (0.8 + 1.5 * (places[-1][1] - number)) * size
        if isinstance(entry, Band):
            clear *= 1 - entry.opacity  # it lies over the wider ones before it
            box = rect(x, y - 0.4 * size, 2.2 * size, 0.8 * size)
            bands.append({**box, "colour": hue(entry.colour, style), "opacity": round(1 - clear, 3)})
        elif isinstance(entry, Points):
            spot = {
                "x": round(x + 1.1 * size, 2),
                "y": round(y, 2),
                "area": round6((0.6 * min(1.6, entry.around) * size) ** 2),
            }
            points.append({**spot, "colour": entry.colour, "shape": entry.shape})
        else:
            lines.append({**rect(x, y, 2.2 * size, 0), **_stroke(entry, style)})
        texts.append((x + 2.7 * size, y, theme.clean(entry.name), 0.88 * size))
    shape = {**xy, **_COLOUR, **_AREA, "shape": _channel(alt.Shape, "shape:N")}
    return [
        chart_layer("key_bands", bands, {"type": "rect"}, {**xy, **ENDS, **_SHADE}),
        chart_layer("key_lines", lines, {"type": "rule"}, {**xy, **ENDS, **_STROKE}),
        chart_layer("key_points", points, {**_OPEN, "opacity": 1}, shape),
        words("key_words", texts, xy, "left"),
    ]


# Accuracy against heads removed, a small panel per task: the task's own heads, random heads, and other tasks.

SEVERAL: dict[str, Any] = {"natural": 504.0, "pitch": 15.5}  # layout of panels with axes of their own
_BAND, _RANDOM = "#c4c4c4", "#6f6f6f"
_ACCURACY = Axis("Accuracy", -0.03, 1.04, [(i / 10, "" if i % 2 else f"{i / 10:.1f}") for i in range(11)])


@dataclass(frozen=True)
class AblationStep:
    """One number of heads removed; NaN where something was not run."""

    removed: int
    accuracy: float
    low: float
    high: float
    random: float
    random_low: float
    random_high: float
    controls: float


@dataclass(frozen=True)
class AblationCurve:
    """One panel; `reported` is the number of heads that tables report, `line` what is printed under the title."""

    title: str
    steps: tuple[AblationStep, ...]
    reported: int | None = None
    line: str = ""


def ablation_curves(
    curves: Sequence[AblationCurve], style: Style, band: str, *, synthetic: bool = False
) -> alt.LayerChart:
    """A panel per curve; `band` says what the band of the random heads is."""
    panels = [_ablation(curve, style, band) for curve in curves]
    axes = []
    for curve in curves:
        last = max((step.removed for step in curve.steps), default=1) or 1
        ticks = even(0, last, max(1, round(theme.nice_step(last, 4))))
        axes.append((Axis("# heads ablated", -0.02 * last, 1.02 * last, ticks), _ACCURACY))
    return line_chart(panels, axes, style, synthetic=synthetic, aspect=0.72, **SEVERAL)


def _ablation(curve: AblationCurve, style: Style, band: str) -> CurvePanel:
    own, other = (theme.CATEGORY_COLOURS[style.palette][i] for i in (0, 3))
    steps = curve.steps
    x = [step.removed for step in steps]
    banded = [step for step in steps if not math.isnan(step.random_low)]
    shades = [Band(band, [s.removed for s in banded], [s.random_low for s in banded], [s.random_high for s in banded],
                   0.75, _BAND)] if banded else []  # fmt: skip
    shades.append(Band("", x, [step.low for step in steps], [step.high for step in steps], 0.18, own))
    lines = [Curve("", x, [step.random for step in steps], _RANDOM, width=1.0)]
    if any(not math.isnan(step.controls) for step in steps):
        name = "other tasks, same heads removed"
        lines.append(Curve(name, x, [step.controls for step in steps], other, dash=(4, 2), width=1.3))
    if curve.reported is not None:
        at = (curve.reported, curve.reported)
        lines.insert(0, Curve("", at, (_ACCURACY.low, _ACCURACY.high), theme.INK, dash=(1, 2), width=0.6))
    dot = round6((0.4 * style.font_size) ** 2)
    lines.append(Curve("the relation's heads", x, [step.accuracy for step in steps], own, width=1.6, dot=dot))
    return CurvePanel(curve.title, curve.line, lines, bands=shades)
