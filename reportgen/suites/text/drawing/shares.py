"""Stacked bars: where attention goes by distance and by class of token, of the choosiest heads."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.figures import captions, theme
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.patterns import Canvas
from reportgen.figures.theme import Style
from reportgen.scores import Cell, Column, Head, SuiteResult, Table, head_name
from reportgen.suites.text.drawing import caption_text as words
from reportgen.suites.text.drawing.maps import class_titles
from reportgen.suites.text.facts import TextFacts
from reportgen.suites.text.suite import SUITE

WIDTH = 620.0
MOST = 24  # heads drawn
REST = "#e4e4e4"  # the mass on position 0
DISTANCES = (
    "#08306b", "#08519c", "#2171b5", "#4292c6", "#6baed6", "#9ecae1", "#c7e9c0", "#a1d99b", "#74c476", "#31a354",
    "#006d2c",
)  # fmt: skip
CLASSES = (
    "#7f7f7f", "#bcbd22", "#dbdb8d", "#e69f00", "#d55e00", "#cc79a7", "#0072b2", "#56b4e9", "#009e73", "#8c564b",
    "#9467bd", "#17becf", "#aec7e8", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94", "#f7b6d2",
)  # fmt: skip
Shares = npt.NDArray[np.floating]


def bars(result: SuiteResult, view: View, told: TextFacts) -> Figure | None:
    """None where the arrays are missing."""
    offsets, classes = result.arrays.get("offsets"), result.arrays.get("classes")
    if offsets is None or classes is None:
        return None
    distance, kinds = offsets.values[0].astype(float), classes.values[0].astype(float)
    heads = choosiest(kinds, told)
    name = captions.model_name(view)
    return Figure(
        id="text-shares",
        suite=SUITE.name,
        title=f"{name}: where attention goes on text",
        caption=captions.join(
            f"Mean attention by distance (left) and by class of token (right) of the {len(heads)} heads of {name} that "
            "are choosiest about classes, in order of layer.",
            words.material(told),
            captions.synthetic(view),
        ),
        alt=f"Stacked bars of attention by distance and by class of token for {len(heads)} heads of {name}.",
        chart=later(_chart, heads, distance, kinds, told, view.style),
        data=_table(heads, distance, kinds, told),
        notes=captions.notes(
            "Choosiest: largest sum over classes of |mass on the class minus the class's share among keys 1..q|.",
            "Both bars leave position 0 out of their parts; what is missing to 1 (pale) is the mass on it.",
            "First row: the classes' shares among the keys, of a head that does not choose.",
            words.source(told),
        ),
    )


def choosiest(kinds: Shares, told: TextFacts, most: int = MOST) -> list[Head]:
    """The heads of `kinds` [layer head class] farthest from the classes' shares, in order of layer."""
    size = np.abs(kinds - np.asarray([float(x) for x in told.class_base])).sum(-1)
    order = np.argsort(-np.nan_to_num(size, nan=-1.0).ravel(), kind="stable")[:most]
    return sorted((int(i // size.shape[1]), int(i % size.shape[1])) for i in order)


def _chart(heads: Sequence[Head], distance: Shares, kinds: Shares, told: TextFacts, style: Style) -> alt.LayerChart:
    total = WIDTH if style.width_in is None else max(360.0, style.width_in * POINTS_PER_INCH)
    size = 0.9 * style.font_size
    canvas = Canvas(total)
    left = theme.text_width("no choice", size) + 0.8 * size
    width = (total - left - 1.6 * size) / 2
    tops = (left, left + width + 1.6 * size)
    canvas.text(tops[0], 0.7 * size, "by distance to the key", size, weight="bold")
    canvas.text(tops[1], 0.7 * size, "by class of the key's token", size, weight="bold")
    y, step = 1.7 * size, 1.35 * size
    base = [float(x) for x in told.class_base]
    canvas.text(left - 0.5 * size, y + 0.55 * step, "no choice", size, "right")
    _bar(canvas, tops[1], y, width, step, base, CLASSES)
    for head in heads:
        y += step
        canvas.text(left - 0.5 * size, y + 0.55 * step, head_name(*head), size, "right")
        _bar(canvas, tops[0], y, width, step, distance[head], DISTANCES)
        _bar(canvas, tops[1], y, width, step, kinds[head], CLASSES)
    y += 1.9 * step
    below = _legend(canvas, tops[0], y, width, size, told.bins, DISTANCES)
    below = max(below, _legend(canvas, tops[1], y, width, size, class_titles(told), CLASSES))
    canvas.rect(tops[0], below, 0.9 * size, 0.9 * size, REST)
    canvas.text(tops[0] + 1.3 * size, below + 0.45 * size, "position 0", size)
    chart = canvas.chart()
    chart.config = alt.Config.from_dict(theme.config(style))
    return chart


def _bar(
    canvas: Canvas, x: float, y: float, width: float, step: float, parts: Sequence[float] | Shares,
    colours: Sequence[str],
) -> None:  # fmt: skip
    canvas.rect(x, y + 0.1 * step, width, 0.8 * step, REST)
    for part, colour in zip(parts, colours, strict=False):
        wide = width * max(0.0, float(np.nan_to_num(part)))
        if wide > 0.05:
            canvas.rect(x, y + 0.1 * step, wide, 0.8 * step, colour)
        x += wide


def _legend(
    canvas: Canvas, x: float, y: float, width: float, size: float, names: Sequence[str], colours: Sequence[str]
) -> float:
    """Boxes with their names in lines; returns the y below them."""
    at = x
    for name, colour in zip(names, colours, strict=False):
        wide = theme.text_width(name, size) + 2.2 * size
        if at > x and at + wide > x + width:
            at, y = x, y + 1.5 * size
        canvas.rect(at, y, 0.9 * size, 0.9 * size, colour)
        canvas.text(at + 1.2 * size, y + 0.45 * size, name, size)
        at += wide
    return y + 1.5 * size


def _table(heads: Sequence[Head], distance: Shares, kinds: Shares, told: TextFacts) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (head_name(*h), *(float(x) for x in distance[h]), *(float(x) for x in kinds[h])) for h in heads
    ]
    columns = (
        Column("head"), *(Column(f"distance {d}") for d in told.bins), *(Column(n) for n in class_titles(told)),
    )  # fmt: skip
    return Table("text/shares", "Attention by distance and by class of token", columns, tuple(rows), folded=True)
