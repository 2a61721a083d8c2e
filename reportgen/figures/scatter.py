"""One score against others over heads, a small panel per task: points where heads stand, alike ones drawn once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.figures import theme
from reportgen.figures.data import round6
from reportgen.figures.figure import Style
from reportgen.figures.marks import check_style, layer
from reportgen.figures.panels import Frame, Sign, axis, domain_of, multiples, panel, sheet

Floats = npt.NDArray[np.float64]
NATURAL_WIDTH = 504.0
_SHAPES = ("circle", "M-0.8,-0.8L0.8,0.8M-0.8,0.8L0.8,-0.8")  # a second kind is told apart without its colour
_MARKS = ("\u25cb", "\u00d7")
_MOST = 350  # distinct points of one kind in a panel, above which they are put on a grid
_GRID = 48


@dataclass(frozen=True, eq=False)
class Cloud:
    """One panel: x against one or two y, flat [head], NaN left out; `lines` say what is printed over it, one per y."""

    title: str
    x: Floats
    ys: Sequence[Floats]
    lines: Sequence[str] = ()


def scatter(
    clouds: Sequence[Cloud], style: Style, titles: tuple[str, str], kinds: Sequence[str], *, synthetic: bool = False
) -> alt.ConcatChart:
    """A panel per cloud, each with its own axes from 0, equal on x and y, and the line y = x.

    titles  of the axes x and y
    kinds   what the one or two y are
    """
    style = check_style(style)
    lines = max(len(cloud.lines) for cloud in clouds)
    of = sheet(len(clouds), style, natural_width=NATURAL_WIDTH, pitch=15.5, ratio=0.78, lines=lines)
    colours = [theme.CATEGORY_COLOURS[style.palette][i] for i in (0, 3)]
    signs = [Sign(words, colour, shape) for words, colour, shape in zip(kinds, colours, _SHAPES, strict=False)]
    draw = [partial(_draw, cloud, titles, signs, synthetic) for cloud in clouds]
    return multiples(of, draw, style)


def _draw(
    cloud: Cloud, titles: tuple[str, str], signs: Sequence[Sign], synthetic: bool, frame: Frame
) -> alt.LayerChart:
    largest = max((float(np.nanmax(v)) for v in (cloud.x, *cloud.ys) if np.isfinite(v).any()), default=1.0)
    end, ticks, digits = domain_of(largest)
    scale = alt.Scale(domain=[round6(-0.03 * end), round6(1.03 * end)], nice=False, zero=False)
    axes = {
        "x": alt.X("x:Q", scale=scale, axis=axis(ticks, titles[0] if frame.last else None, digits=digits)),
        "y": alt.Y("y:Q", scale=scale, axis=axis(ticks, titles[1] if frame.first else None, digits=digits)),
    }
    diagonal = [{"x": 0, "y": 0, "x2": end, "y2": end}]
    line = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.5, "strokeDash": [2, 2], "opacity": 0.6}
    charts = [layer("diagonal", diagonal, line, {**axes, "x2": alt.X2("x2:Q"), "y2": alt.Y2("y2:Q")})]
    for i, (y, sign) in enumerate(zip(cloud.ys, signs, strict=True)):
        charts.append(_points(f"points{i}", points(cloud.x, y, end), sign, axes, frame))
    lines = [(f"{_MARKS[i]} {words}", signs[i].colour) for i, words in enumerate(cloud.lines)]
    return panel(charts, frame, cloud.title, lines, signs, synthetic=synthetic)


def points(x: Floats, y: Floats, end: float) -> list[dict[str, Any]]:
    """Distinct points with how many heads stand there; on a grid of 48 x 48 where there are too many."""
    known = np.isfinite(x) & np.isfinite(y)
    spots = Counter(zip(x[known].round(4).tolist(), y[known].round(4).tolist(), strict=True))
    if len(spots) > _MOST:
        step = end / _GRID
        spots = Counter(
            (round(round(a / step) * step, 4), round(round(b / step) * step, 4)) for a, b in spots.elements()
        )
    return [{"x": a, "y": b, "heads": count} for (a, b), count in sorted(spots.items())]


def _points(
    name: str, values: Sequence[Mapping[str, Any]], sign: Sign, axes: Mapping[str, Any], frame: Frame
) -> alt.Chart:
    """Areas grow with the logarithm of the heads they stand for."""
    unit = (0.34 * frame.size) ** 2
    rows = [{**row, "size": round6(unit * (1 + np.log2(row["heads"])))} for row in values]
    mark = {"type": "point", "shape": sign.shape, "filled": False, "stroke": sign.colour, "strokeWidth": 0.8,
            "opacity": 0.85, "clip": True}  # fmt: skip
    tips = [alt.Tooltip("x:Q", format=".3f"), alt.Tooltip("y:Q", format=".3f"), alt.Tooltip("heads:Q")]
    size = alt.Size("size:Q", scale=None, legend=None)
    return layer(name, rows, mark, {**axes, "size": size, "tooltip": tips})
