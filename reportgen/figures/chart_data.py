"""From scores to the rows of a chart, the table behind it, one layer of marks, and marks in points on one plane."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import altair as alt
import numpy as np
from altair.utils.schemapi import debug_mode

from reportgen.errors import SettingsError, nearest
from reportgen.figures import theme
from reportgen.figures.theme import SCHEMES_SIGNED, Style, clean
from reportgen.scores import Cell, Column, FloatGrid, Head, HeadScores, HeadSet, Table, head_name

# The tidy numbers behind a score map: the rows the chart is drawn from and the table that goes into the CSV.

COLUMNS = (
    Column("key"), Column("layer"), Column("head"), Column("name"), Column("value", digits=4), Column("low", digits=4),
    Column("high", digits=4), Column("n"), Column("p", digits=4), Column("line", digits=4), Column("rank"),
    Column("sets"), Column("weight"), Column("note"),
)  # fmt: skip


def marks_of(sets: Sequence[HeadSet]) -> dict[Head, str]:
    """Which sets each head is in: `Name-Mover Heads (wang2022ioi); ...`, an unconfirmed list marked so."""
    words: dict[Head, list[str]] = {}
    for head_set in sets:
        doubt = "" if head_set.verified else ", unconfirmed"
        for head in dict.fromkeys(head_set.heads):
            words.setdefault(head, []).append(clean(f"{head_set.label} ({head_set.source}{doubt})"))
    return {head: "; ".join(names) for head, names in words.items()}


def weights_of(sets: Sequence[HeadSet]) -> dict[Head, str]:
    """The weights with which each head is in its sets, in the order of `marks_of`: `1; 0.4`."""
    words: dict[Head, list[str]] = {}
    for head_set in sets:
        for head in dict.fromkeys(head_set.heads):
            words.setdefault(head, []).append(f"{head_set.weights.get(head_name(*head), 1.0):.4g}")
    return {head: "; ".join(each) for head, each in words.items()}


def places(scores: HeadScores) -> dict[Head, int]:
    """The rank of every head with an exact value, from 1; equal values share the better rank."""
    found: dict[float, int] = {}
    order = scores.ranking()
    return {head: found.setdefault(float(scores.values[head]), i) for i, head in enumerate(order, start=1)}


def rows(scores: HeadScores, sets: Sequence[HeadSet] = ()) -> list[dict[str, Any]]:
    """One row per head, layer by layer. `value` is None where nothing was computed; `note` says why, or that the value
    is an estimate."""
    words, rank = (marks_of(sets), weights_of(sets)), places(scores)
    grids = (scores.values, scores.low, scores.high, scores.p)
    columns = (_column(grid, scores.values.size) for grid in grids)  # once a grid: 5,120 heads have 20,480 numbers
    every = zip(np.ndindex(scores.values.shape), *columns, strict=True)
    return [_row(scores, (at[0], at[1]), rank, words, numbers) for at, *numbers in every]


def table(panels: Sequence[tuple[HeadScores, Sequence[HeadSet]]], title: str = "") -> Table:
    """The rows of one or more maps, each with the sets marked on it, under each other, with the columns `COLUMNS`."""
    cells: list[tuple[Cell, ...]] = []
    for scores, sets in panels:
        cells += [(scores.key, *(row[column.name] for column in COLUMNS[1:])) for row in rows(scores, sets)]
    first = panels[0][0]
    return Table(first.key, title or first.label, COLUMNS, tuple(cells))


def _row(
    scores: HeadScores,
    at: Head,
    rank: dict[Head, int],
    words: tuple[dict[Head, str], dict[Head, str]],
    numbers: Sequence[float | None],
) -> dict[str, Any]:
    value, low, high, p = numbers
    return {
        "layer": at[0],
        "head": at[1],
        "name": head_name(*at),
        "value": value,
        "low": low,
        "high": high,
        "n": scores.n,
        "p": p,
        "line": None if scores.line is None else round6(scores.line),
        "rank": rank.get(at),
        "sets": words[0].get(at, ""),
        "weight": words[1].get(at, ""),
        "note": clean(scores.note(*at)),
    }


def _column(grid: FloatGrid | None, size: int) -> list[float | None]:
    """The grid's numbers head by head; None where there is none."""
    if grid is None:
        return [None] * size
    return [round6(value) if math.isfinite(value) else None for value in grid.ravel().tolist()]


def round6(value: float) -> float:
    """Six significant digits: what a float32 holds, and short in a file; minus zero is zero."""
    return float(f"{value:.6g}") + 0.0


# One layer of a chart from its rows, mark and channels, and the colour schemes that Altair knows.

LEGENDS = ("outside", "inside")
alt.data_transformers.disable_max_rows()  # 80 x 64 heads are 5,120 rows, above Altair's limit for notebooks


class _Rows(alt.InlineData):
    """Inline data that a copied chart shares: Altair copies it row by row whenever charts are put together."""

    def __deepcopy__(self, memo: object) -> _Rows:
        return self


class _Marks(alt.Chart):
    """A chart whose copies share its mark, channels and data, which nothing changes once they are made.

    Putting charts together copies each of them several times; with whole copies that is a third of drawing.
    """

    def __deepcopy__(self, memo: object) -> _Marks:
        return self.copy(deep=False)


def chart_layer(
    name: str, values: Sequence[Mapping[str, Any]], mark: Mapping[str, Any], channels: Mapping[str, Any]
) -> alt.Chart:
    """The chart `name` of `values`, one mark per row; `mark` holds the mark's type and properties.

    The renderer's aria attributes are off: they double an SVG and repeat what the data table says better.
    """
    with debug_mode(False):  # our own plain rows: checking 5,120 of them against the schema takes longer than drawing
        definition = alt.MarkDef(**{"aria": False, **mark})
        data = _Rows(values=list(values))
        chart = _Marks(data, mark=definition, name=name)
    return chart.encode(**channels)


def check_style(style: Style) -> Style:
    """`style` when its colours and sizes exist, else SettingsError with the names there are."""
    known = {name for kind in ("SequentialSingleHue", "SequentialMultiHue") for name in _schemes(kind)}
    if style.cmap not in known:
        raise SettingsError(f"No colour map {style.cmap!r}.", nearest(style.cmap, known))
    if style.palette not in SCHEMES_SIGNED:
        raise SettingsError(f"No palette {style.palette!r}.", nearest(style.palette, SCHEMES_SIGNED))
    if style.legend not in LEGENDS:
        raise SettingsError(f"No place {style.legend!r} for legends.", nearest(style.legend, LEGENDS))
    if not 4 <= style.font_size <= 30:
        raise SettingsError(f"Font size {style.font_size:g} pt: expected 4 to 30.")
    if style.width_in is not None and not 1 <= style.width_in <= 40:
        raise SettingsError(f"Width {style.width_in:g} in: expected 1 to 40 inches.")
    return style


def _schemes(kind: str) -> list[str]:
    """Names of one kind of colour scheme; the variants with a fixed number of colours left out."""
    names: list[str] = getattr(alt, kind).resolve_references()["enum"]
    return [name for name in names if "-" not in name]


# Drawing in points on one plane, y downwards: its axes, the rows of marks on it, and the finished chart.
#
# Rows of data hold x, y and, where a mark has two ends, x2 and y2.

Axes = Mapping[str, Any]
ENDS = {"x2": alt.X2("x2:Q"), "y2": alt.Y2("y2:Q")}
SIZED = {"text": alt.Text("text:N"), "size": alt.Size("size:Q", scale=None, legend=None)}
COLOUR = {"color": alt.Color("colour:N", scale=None, legend=None)}


class Plane(Protocol):
    """What has a width and a height in points."""

    @property
    def width(self) -> float: ...
    @property
    def height(self) -> float: ...


def axes_of(plane: Plane) -> dict[str, Any]:
    """x and y in points, without axes of their own."""
    return {
        "x": alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, round6(plane.width)], nice=False, zero=False)),
        "y": alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[round6(plane.height), 0], nice=False, zero=False)),
    }


def rect(x: float, y: float, width: float, height: float) -> dict[str, Any]:
    """The ends of a mark whose upper left corner is (x, y)."""
    return {"x": round(x, 2), "y": round(y, 2), "x2": round(x + width, 2), "y2": round(y + height, 2)}


def words(
    name: str, rows: Sequence[tuple[float, float, str, float]], axes: Axes, align: str = "center", **mark: Any
) -> alt.Chart:
    """A layer of texts (x, y, text, font size)."""
    values = [{"x": round(x, 2), "y": round(y, 2), "text": t, "size": round(s, 2)} for x, y, t, s in rows]
    kind = {"type": "text", "align": align, "baseline": "middle", "color": theme.INK, **mark}
    return chart_layer(name, values, kind, {**axes, **SIZED})


def finished(charts: Sequence[alt.Chart], plane: Plane, style: Style) -> alt.LayerChart:
    """The layers that hold anything, as one chart of the plane's size in the house style."""
    layers = [chart for chart in charts if chart.data.values]
    chart = alt.LayerChart(layer=layers, width=round6(plane.width), height=round6(plane.height))
    chart.view = alt.ViewBackground(stroke=None)
    chart.config = alt.Config(**theme.config(style))
    return chart
