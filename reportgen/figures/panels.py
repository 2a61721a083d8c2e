"""Small multiples: panels with axes of their own in rows, each under a head of a title and a few lines.

One unit is one point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import altair as alt

from reportgen.figures import theme
from reportgen.figures.data import round6
from reportgen.figures.figure import Style
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.marks import layer


@dataclass(frozen=True)
class Frame:
    """One panel's plot and place: whether it is the first of its row and the last of its column.

    row   width of a whole row of plots
    size  font size
    """

    width: float
    height: float
    row: float
    size: float
    first: bool
    last: bool

    @property
    def small(self) -> float:
        """Font size of what stands in a panel's head under its title."""
        return 0.76 * self.size


@dataclass(frozen=True)
class Sheet:
    """How many columns, and the points between plots: `gap` across for the axis of the right one, `drop` down."""

    frames: tuple[Frame, ...]
    columns: int
    gap: float
    drop: float


def sheet(count: int, style: Style, *, natural_width: float, pitch: float, ratio: float, lines: int) -> Sheet:
    """The frames of `count` panels.

    pitch  least width of a plot with its axis, in font sizes: decides how many fit side by side
    ratio  height over width of a plot
    lines  lines under the title of a panel
    """
    size = style.font_size
    total = natural_width if style.width_in is None else style.width_in * POINTS_PER_INCH - 4
    least = min(count, 2) if count > 3 else 1  # a single column of many would be a strip; its text shrinks instead
    total = max(total, (least * pitch + 2) * size)
    columns = max(1, min(count, math.floor((total - 1.5 * size) / (pitch * size))))
    axis = 2.6 * size  # tick labels left of a plot
    width = (total - 1.5 * size - columns * axis - 2) / columns
    width = min(width, 20 * size)
    drop = 1.6 * size + 2.0 * size + lines * 0.95 * size  # tick labels, then the head of the panel below
    below = [i + columns >= count for i in range(count)]
    row = columns * width + (columns - 1) * axis
    frames = tuple(Frame(width, ratio * width, row, size, i % columns == 0, below[i]) for i in range(count))
    return Sheet(frames, columns, axis, drop)


def multiples(of: Sheet, draw: Sequence[Callable[[Frame], alt.LayerChart]], style: Style) -> alt.ConcatChart:
    """The panels drawn into their frames."""
    charts = [make(frame) for make, frame in zip(draw, of.frames, strict=True)]
    spacing = {"row": round6(of.drop), "column": round6(of.gap)}
    chart = alt.ConcatChart(concat=charts, columns=of.columns, spacing=spacing, bounds="flush")
    chart.resolve = alt.Resolve(scale=alt.ScaleResolveMap(x="independent", y="independent"))
    chart.config = alt.Config(**theme.config(style))
    return chart


@dataclass(frozen=True)
class Sign:
    """One entry of the line below all panels: a point's shape or a stroke's dashes, its colour and what it means."""

    words: str
    colour: str
    shape: str = ""
    dash: tuple[float, ...] = (1, 0)
    thick: float = 1.3


def panel(
    charts: Sequence[alt.Chart],
    frame: Frame,
    title: str,
    lines: Sequence[tuple[str, str]] = (),
    signs: Sequence[Sign] = (),
    *,
    synthetic: bool,
) -> alt.LayerChart:
    """A panel of `charts` under `title` and `lines` (words, colour), flush with the plot's left edge.

    The panel at the lower left also holds the line of `signs`.
    """
    head = [(theme.clean(title), theme.INK, frame.size)] + [(words, colour, frame.small) for words, colour in lines]
    charts = [*charts, *(_text(f"head{i}", *line, _up(i, len(lines), frame), frame) for i, line in enumerate(head))]
    if frame.first and frame.last:
        charts += _key(signs, frame)
    if synthetic:
        charts.append(_watermark(frame))
    return alt.LayerChart(layer=charts, width=round6(frame.width), height=round6(frame.height))


def _key(signs: Sequence[Sign], frame: Frame) -> list[alt.Chart]:
    """Signs and words below the axis title of the last row, in as many lines as they need."""
    size, x, y = frame.size, 0.0, frame.height + 4.0 * frame.size
    charts = []
    for i, sign in enumerate(signs):
        long = 2.0 * size + theme.text_width(sign.words, 0.88 * size)
        if x and x + long > frame.row:
            x, y = 0.0, y + 1.35 * size
        if sign.shape:
            mark = {"type": "point", "shape": sign.shape, "filled": False, "stroke": sign.colour, "strokeWidth": 0.8,
                    "size": round6((0.6 * size) ** 2), "opacity": 1}  # fmt: skip
            at = {"x": alt.value(round6(x + 0.5 * size)), "y": alt.value(round6(y))}
        else:
            mark = {"type": "rule", "stroke": sign.colour, "strokeWidth": sign.thick, "strokeDash": list(sign.dash)}
            at = {"x": alt.value(round6(x)), "x2": alt.value(round6(x + 1.4 * size)), "y": alt.value(round6(y))}
        charts.append(layer(f"sign{i}", [{}], mark, at))
        text = {"type": "text", "align": "left", "baseline": "middle", "color": theme.INK,
                "fontSize": round6(0.88 * size)}  # fmt: skip
        start = x + (1.3 if sign.shape else 1.8) * size
        place = {"x": alt.value(round6(start)), "y": alt.value(round6(y)), "text": alt.Text("text:N")}
        charts.append(layer(f"sign{i}_words", [{"text": sign.words}], text, place))
        x += long + 1.2 * size
    return charts


def _up(index: int, lines: int, frame: Frame) -> float:
    """Points above the plot of the middle of a head's line; 0 is the title."""
    down = 0.55 * frame.size + (lines - index) * 0.95 * frame.size
    return round(down + (0.15 * frame.size if index == 0 else 0.0), 2)


def _text(name: str, words: str, colour: str, size: float, up: float, frame: Frame) -> alt.Chart:
    """A line `up` points above the plot, smaller where it would be wider than the plot with its gap."""
    wide = theme.text_width(words, size)
    fitting = round(size * min(1.0, (frame.width + 1.4 * frame.size) / wide), 2) if wide else size
    mark = {"type": "text", "align": "left", "baseline": "middle", "color": colour, "fontSize": fitting}
    channels = {"x": alt.value(0), "y": alt.value(-up), "text": alt.Text("text:N")}
    return layer(name, [{"text": words}], mark, channels)


def _watermark(frame: Frame) -> alt.Chart:
    mark = {"type": "text", "fontWeight": "bold", "color": "#8c8c8c", "fillOpacity": 0.45, "baseline": "middle",
            "align": "center", "fontSize": round6(frame.width / 8)}  # fmt: skip
    at = {"x": alt.value(round6(frame.width / 2)), "y": alt.value(round6(frame.height / 2))}
    return layer("watermark", [{"text": WATERMARK}], mark, {**at, "text": alt.Text("text:N")})


def axis(values: Sequence[float], title: str | None, *, digits: int, labels: bool = True) -> alt.Axis:
    """Ticks at `values` with that many decimals; no title where None."""
    return alt.Axis(values=list(values), title=title, format=f".{digits}f", labels=labels)


def domain_of(largest: float) -> tuple[float, list[float], int]:
    """(end, ticks, decimals) of an axis from 0 that holds `largest`: steps of 1, 2 or 5, at most five of them."""
    largest = max(largest, 1e-3)
    power = 10.0 ** math.floor(math.log10(largest / 5))
    step = next(s for s in (power, 2 * power, 5 * power, 10 * power) if largest <= 5 * s * (1 + 1e-9))
    end = round(math.ceil(largest / step - 1e-9) * step, 9)
    digits = next((d for d in range(1, 6) if abs(round(step, d) - step) < 1e-9), 5)
    count = round(end / step)
    return end, [round(i * step, 9) for i in range(count + 1)], digits
