"""The matrix of pairs of heads: writers down, readers to the right, blocked by layer; a cell per pair that is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.aliases import Rows
from reportgen.figures import theme
from reportgen.figures.chart_data import ENDS, Axes, chart_layer, check_style, finished, rect, round6, words
from reportgen.figures.geometry import POINTS_PER_INCH, Bar
from reportgen.figures.head_maps import bar_labels, colour, colour_bar
from reportgen.figures.small_multiples import Page, SmallPlot, watermarks
from reportgen.figures.theme import Style
from reportgen.scores import head_name

MOST = 2500  # cells drawn; what is left white is nearer to 0
_WIDTH = 430.0  # points of a figure without a printed width
_QUANTILE = 0.995  # of the drawn sizes that the colours reach


@dataclass(frozen=True, eq=False)
class PairMatrix:
    """values [writer reader], NaN where there is no pair; marked [writer reader]: drawn with a frame.

    Heads stand layer by layer, `n_heads` in each.
    """

    values: npt.NDArray[np.float64]
    marked: npt.NDArray[np.bool_]
    n_heads: int
    label: str

    def drawn(self) -> tuple[npt.NDArray[np.int64], float]:
        """The pairs that are drawn [pair 2], largest sizes first, and the size that the others stay below (0: none)."""
        sizes = np.where(np.isfinite(self.values), np.abs(self.values), -1.0)
        order = np.argsort(-sizes, axis=None, kind="stable")
        known = int((sizes >= 0).sum())
        kept = order[: min(MOST, known)]
        left = float(sizes.flat[order[MOST]]) if known > MOST else 0.0
        return np.stack(np.unravel_index(kept, sizes.shape), axis=1), left


def matrix(given: PairMatrix, style: Style, *, synthetic: bool = False) -> alt.LayerChart:
    """Cells in a diverging scale, frames around the marked ones, lines between layers, a colour bar at the right."""
    style = check_style(style)
    size, count = style.font_size, len(given.values)
    total = _WIDTH if style.width_in is None else max(style.width_in * POINTS_PER_INCH - 4, 24 * size)
    pairs, _ = given.drawn()
    bar, clipped = _bar(np.array([given.values[a, b] for a, b in pairs]))
    labels = bar_labels(bar, clipped)
    room = 1.1 * size + 1.6 * size + max(theme.text_width(t, 0.88 * size) for t in labels) + 1.9 * size
    left = 2.3 * size + theme.text_width("00", 0.88 * size)
    side = total - left - room
    tile = SmallPlot(left, 2.0, side, side, left=True, below=True)
    place = Page((tile,), total, side + 2 + 3.0 * size, size, (left + side + 1.1 * size, 2.0, side), left)
    axes = place.axes()
    charts = [*_blocks(given, tile, axes, size), _cells(given, pairs, bar, tile, style, axes)]
    charts += [_frames(given, pairs, tile, axes)]
    charts += _titles(given, tile, axes, size, count) + colour_bar(bar, labels, given.label, place, style, axes)
    charts += watermarks(place, axes) if synthetic else []
    return finished(charts, place, style)


def _bar(values: npt.NDArray[np.float64]) -> tuple[Bar, int]:
    """A scale with 0 in the middle, and how many values lie beyond it."""
    reach = float(np.quantile(np.abs(values), _QUANTILE)) if values.size else 1.0
    step = theme.nice_step(2 * (reach or 1.0), 6)
    top = theme.exact(math.ceil((reach or 1.0) / step) * step)
    ticks = tuple(theme.exact(-top + i * step) for i in range(round(2 * top / step) + 1))
    return Bar(-top, top, ticks, theme.decimals(step, 1), True), int((np.abs(values) > top).sum())


def _box(tile: SmallPlot, count: int, writer: int, reader: int, span: int = 1) -> dict[str, float]:
    step = tile.width / count
    return rect(tile.x + reader * step, tile.y + writer * step, span * step, span * step)


def _cells(
    given: PairMatrix, pairs: npt.NDArray[np.int64], bar: Bar, tile: SmallPlot, style: Style, axes: Axes
) -> alt.Chart:
    names = [head_name(*divmod(i, given.n_heads)) for i in range(len(given.values))]
    rows: Rows = [
        {**_box(tile, len(names), a, b), "value": round6(float(given.values[a, b])), "from": names[a], "to": names[b]}
        for a, b in pairs.tolist()
    ]
    tips = [
        alt.Tooltip("from:N", title="writer"),
        alt.Tooltip("to:N", title="reader"),
        alt.Tooltip("value:Q", format=".3~g"),
    ]
    return chart_layer("cells", rows, {"type": "rect"}, {**axes, **ENDS, "color": colour(bar, style), "tooltip": tips})


def _frames(given: PairMatrix, pairs: npt.NDArray[np.int64], tile: SmallPlot, axes: Axes) -> alt.Chart:
    count = len(given.values)
    rows = [_box(tile, count, a, b) for a, b in pairs.tolist() if given.marked[a, b]]
    line = min(0.7, 0.12 * tile.width / count + 0.2)
    mark = {"type": "rect", "fill": "transparent", "stroke": "#000000", "strokeWidth": round6(line)}
    return chart_layer("marked", rows, mark, {**axes, **ENDS})


def _blocks(given: PairMatrix, tile: SmallPlot, axes: Axes, size: float) -> list[alt.Chart]:
    """The frame, what can hold no pair in grey, and a faint line between layers."""
    count, step = len(given.values), tile.width / len(given.values)
    layers = count // given.n_heads
    empty = [
        rect(tile.x, tile.y + i * given.n_heads * step, (i + 1) * given.n_heads * step, given.n_heads * step)
        for i in range(layers)
    ]
    cuts = [i * given.n_heads * step for i in range(1, layers)]
    lines = [rect(tile.x + at, tile.y, 0, tile.height) for at in cuts]
    lines += [rect(tile.x, tile.y + at, tile.width, 0) for at in cuts]
    outline = {"type": "rect", "fill": "transparent", "stroke": theme.INK, "strokeWidth": 0.6}
    rule = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.4, "strokeOpacity": 0.18}
    ends = {**axes, **ENDS}
    return [
        chart_layer("no_pair", empty, {"type": "rect", "fill": "#9a9a9a", "fillOpacity": 0.25}, ends),
        chart_layer("layer_lines", lines, rule, ends),
        chart_layer("frame", [rect(tile.x, tile.y, tile.width, tile.height)], outline, ends),
    ]


def _titles(given: PairMatrix, tile: SmallPlot, axes: Axes, size: float, count: int) -> list[alt.Chart]:
    layers, small = count // given.n_heads, 0.88 * size
    width = tile.width / layers
    shown = theme.index_ticks(layers, width, small, True)
    across = [(tile.x + (i + 0.5) * width, tile.y + tile.height + 0.8 * size, str(i), small) for i in shown]
    down = [(tile.x - 0.4 * size, tile.y + (i + 0.5) * width, str(i), small) for i in shown]
    return [
        words("readers", across, axes),
        words("writers", down, axes, "right"),
        words(
            "across", [(tile.x + tile.width / 2, tile.y + tile.height + 2.1 * size, "Layer of the reader", size)], axes
        ),
        words("down", [(0.7 * size, tile.y + tile.height / 2, "Layer of the writer", size)], axes, angle=270),
    ]
