"""Accuracy against heads removed, a small panel per task: the task's own heads, random heads, and other tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import altair as alt

from reportgen.figures import theme
from reportgen.figures.data import round6
from reportgen.figures.figure import Style
from reportgen.figures.marks import check_style, layer
from reportgen.figures.panels import Frame, Sign, multiples, panel, sheet

NATURAL_WIDTH = 504.0
_BAND = "#c4c4c4"
_GREY = "#6f6f6f"
_EVERY_OTHER = "round(datum.value * 10) % 2 == 0 ? datum.label : ''"


@dataclass(frozen=True)
class Step:
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
class Curve:
    """One panel; `reported` is the number of heads that tables report, `line` what is printed under the title."""

    title: str
    steps: tuple[Step, ...]
    reported: int | None = None
    line: str = ""


def ablation_curves(curves: Sequence[Curve], style: Style, band: str, *, synthetic: bool = False) -> alt.ConcatChart:
    """A panel per curve; `band` says what the band of the random heads is."""
    style = check_style(style)
    own, other = (theme.CATEGORY_COLOURS[style.palette][i] for i in (0, 3))
    signs = [Sign("the relation's heads", own, thick=1.6), Sign(band, _BAND, thick=0.7 * style.font_size)]
    if any(not math.isnan(step.controls) for curve in curves for step in curve.steps):
        signs.append(Sign("other tasks, same heads removed", other, dash=(4, 2)))
    lines = 1 if any(curve.line for curve in curves) else 0
    of = sheet(len(curves), style, natural_width=NATURAL_WIDTH, pitch=15.5, ratio=0.72, lines=lines)
    return multiples(of, [partial(_draw, curve, signs, synthetic) for curve in curves], style)


def _draw(curve: Curve, signs: Sequence[Sign], synthetic: bool, frame: Frame) -> alt.LayerChart:
    axes = _axes(curve, frame)
    rows = [{name: _known(getattr(step, name)) for name in Step.__annotations__} for step in curve.steps]
    charts = []
    for name, low, high, colour, opacity in (
        ("random_band", "random_low", "random_high", _BAND, 0.75),
        ("interval", "low", "high", signs[0].colour, 0.18),
    ):
        some = [{"x": row["removed"], "y": row[low], "high": row[high]} for row in rows if row[low] is not None]
        mark = {"type": "area", "fill": colour, "opacity": opacity}
        charts.append(layer(name, some, mark, {**axes, "y2": alt.Y2("high:Q")}))
    if curve.reported is not None:
        line = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6, "strokeDash": [1, 2]}
        charts.append(layer("reported", [{"x": curve.reported}], line, {"x": axes["x"]}))
    charts += _line("random", rows, "random", Sign("", _GREY, thick=1.0), axes)
    charts += _line("controls", rows, "controls", signs[-1], axes) if len(signs) > 2 else []
    charts += _line("accuracy", rows, "accuracy", signs[0], axes)
    dots = [{"x": row["removed"], "y": row["accuracy"]} for row in rows if row["accuracy"] is not None]
    dot = {
        "type": "point",
        "filled": True,
        "fill": signs[0].colour,
        "opacity": 1,
        "size": round6((0.4 * frame.size) ** 2),
    }
    tips = [alt.Tooltip("x:Q", title="heads ablated"), alt.Tooltip("y:Q", title="accuracy", format=".3f")]
    charts.append(layer("steps", dots, dot, {**axes, "tooltip": tips}))
    lines = [(curve.line, theme.INK)] if curve.line else []
    return panel(charts, frame, curve.title, lines, signs, synthetic=synthetic)


def _axes(curve: Curve, frame: Frame) -> dict[str, Any]:
    last = max((step.removed for step in curve.steps), default=1) or 1
    step = max(1, round(theme.nice_step(last, 4)))
    across = alt.Scale(domain=[round6(-0.02 * last), round6(1.02 * last)], nice=False, zero=False)
    up = alt.Scale(domain=[-0.03, 1.04], nice=False, zero=False)  # lines at 0 and 1 stand clear of the frame
    roomy = frame.height / 11 >= 0.92 * frame.size
    below = alt.Axis(values=list(range(0, last + 1, step)), format="d", title="# heads ablated" if frame.last else None)
    left = alt.Axis(
        values=[i / 10 for i in range(11)], format=".1f", title="Accuracy" if frame.first else None,
        labelExpr=alt.Undefined if roomy else _EVERY_OTHER,
    )  # fmt: skip
    return {"x": alt.X("x:Q", scale=across, axis=below), "y": alt.Y("y:Q", scale=up, axis=left)}


def _line(
    name: str, rows: Sequence[Mapping[str, Any]], of: str, sign: Sign, axes: Mapping[str, Any]
) -> list[alt.Chart]:
    values = [{"x": row["removed"], "y": row[of]} for row in rows if row[of] is not None]
    mark = {"type": "line", "stroke": sign.colour, "strokeWidth": sign.thick, "strokeDash": list(sign.dash)}
    return [layer(name, values, mark, {"x": axes["x"], "y": axes["y"]})] if values else []


def _known(value: float) -> float | int | None:
    if isinstance(value, int):
        return value
    return None if math.isnan(value) else round6(value)
