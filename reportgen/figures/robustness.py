"""In how many ways findings hold: a row per set of heads, a mark per kind of setting, and chance beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

from reportgen.aliases import Rows
from reportgen.figures import theme
from reportgen.figures.chart_data import ENDS, Axes, chart_layer, check_style, finished, rect, round6, words
from reportgen.figures.curves import Axis, even
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.small_multiples import Page, SmallPlot, axis_titles, frames, shortened
from reportgen.figures.theme import Style

WIDTH = 560.0
MOST_ROWS = 60
LONGEST = 44  # letters of a label
WIDER = 1.14  # than theme.text_width: what a browser's own sans serif takes
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_AXIS = Axis("", -0.03, 1.03, even(0.0, 1.0, 0.25))
_LINE = 1.55  # font sizes
_CHANCE = "#b9b9b9"
OTHERS = "the other heads, all settings"


@dataclass(frozen=True)
class HoldLine:
    """One set of heads.

    group   head line that it stands under: where it was found
    shares  setting -> share of (head, way) pairs above the line
    others  the same share of the model's other heads, over all settings
    count   "142 of 144"
    """

    group: str
    label: str
    shares: dict[str, float]
    others: float
    count: str


Placed = Sequence[tuple[float, HoldLine]]  # the middle of a row, in points, and its line


def holds(lines: Sequence[HoldLine], style: Style, *, synthetic: bool = False) -> alt.LayerChart:
    """Labels, shares by setting over the other heads' share, and counts. Raises ValueError for no line."""
    if not lines:
        raise ValueError("no set of heads")
    style = check_style(style)
    size = style.font_size
    small = 0.88 * size
    settings = list(dict.fromkeys(name for line in lines for name in line.shares))
    total = max(WIDTH if style.width_in is None else style.width_in * POINTS_PER_INCH - 4, 34 * size)
    texts = [theme.text_width(shortened(line.label, LONGEST), small) + 1.4 * size for line in lines]
    texts += [1.18 * theme.text_width(shortened(line.group, 60), small) for line in lines]  # bold
    beside = min(WIDER * max(texts) + 0.8 * size, 0.5 * total)
    last = WIDER * max(theme.text_width(line.count, small) for line in lines) + 0.6 * size
    groups, placed, end = _rows(lines, size)
    tile = SmallPlot(beside, 1.0, total - beside - last - size, end - 1.0, left=False, below=True)
    bottom = end + 3.2 * size
    page = Page((tile,), total, bottom + 1.4 * size * (1 + len(settings)), size, (0.0, 0.0, 0.0))
    axes = page.axes()
    charts = [
        *frames(page, axes, [(_AXIS.shown(tile.width, size), [])]),
        *axis_titles(page, axes, [("Share of heads and settings above the line", "")]),
        words("groups", [(0.0, y, text, small) for y, text in groups], axes, "left", fontWeight="bold"),
        words(
            "names", [(size, middle, shortened(line.label, LONGEST), small) for middle, line in placed], axes, "left"
        ),
        words("counts", [(tile.x + tile.width + 0.6 * size, m, line.count, small) for m, line in placed], axes, "left"),
        *_marks(placed, settings, tile, axes, style, bottom),
    ]
    keys = [(1.8 * size, _key_at(bottom, i, size), name, small) for i, name in enumerate([*settings, OTHERS])]
    charts.append(words("key", keys, axes, "left"))
    if synthetic:
        spot = [(_at(tile, 0.5), tile.y + tile.height / 2, WATERMARK, min(tile.width / 8, tile.height / 2))]
        charts.append(words("watermark", spot, axes, fontWeight="bold", color="#8c8c8c", fillOpacity=0.5))
    return finished(charts, page, style)


def _rows(lines: Sequence[HoldLine], size: float) -> tuple[list[tuple[float, str]], Placed, float]:
    """Head lines and lines, each with the middle of its row; where the last row ends."""
    groups: list[tuple[float, str]] = []
    placed: list[tuple[float, HoldLine]] = []
    y = 1.0
    for i, line in enumerate(lines):
        if i == 0 or line.group != lines[i - 1].group:
            groups.append((y + 0.5 * _LINE * size, shortened(line.group, 60)))
            y += _LINE * size
        placed.append((y + 0.5 * _LINE * size, line))
        y += _LINE * size
    return groups, placed, y


def _at(tile: SmallPlot, share: float) -> float:
    return tile.x + _AXIS.share(share) * tile.width


def _key_at(bottom: float, place: int, size: float) -> float:
    return bottom + 1.4 * size * (place + 0.5)


def _marks(
    placed: Placed, settings: Sequence[str], tile: SmallPlot, axes: Axes, style: Style, bottom: float
) -> list[alt.Chart]:
    """A rule at the other heads' share of every row, a point per setting, and the same in the key."""
    size, hues = style.font_size, theme.CATEGORY_COLOURS[style.palette]
    mark_size = ((0.7 if len(settings) == 1 else 0.6) * size) ** 2
    apart = min(0.3, 1.1 / len(settings)) * size  # marks of one share stay apart
    rules = [rect(_at(tile, line.others), middle - 0.5 * size, 0, size) for middle, line in placed]
    rules.append(rect(0.8 * size, _key_at(bottom, len(settings), size) - 0.5 * size, 0, size))
    look = {"type": "rule", "stroke": _CHANCE, "strokeWidth": 2.5}
    charts = [chart_layer("others", rules, look, {**axes, **ENDS})]
    for i, name in enumerate(settings):
        rows: Rows = [
            {
                "x": round(_at(tile, line.shares[name]), 2),
                "y": round(middle + apart * (i - (len(settings) - 1) / 2), 2),
                "value": round6(line.shares[name]),
            }
            for middle, line in placed
            if name in line.shares
        ]
        rows.append({"x": round(0.8 * size, 2), "y": round(_key_at(bottom, i, size), 2), "value": 0})
        mark = {"type": "point", "shape": SHAPES[i % len(SHAPES)], "filled": True, "opacity": 0.9,
                "fill": hues[i % len(hues)], "size": round6(mark_size)}  # fmt: skip
        charts.append(chart_layer(f"setting{i}", rows, mark, axes))
    return charts
