"""Sets of heads against scores, a line each: a set's share at the threshold, and how far it stands above others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reportgen.figures import theme
from reportgen.figures.data import round6
from reportgen.figures.figure import Style
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.marks import check_style, layer

NATURAL_WIDTH = 640.0
_BAND = "#b9b9b9"
_DOMAIN = (-0.03, 1.03)  # dots at 0 and 1 stand whole
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Line:
    """One set on one score; NaN is not drawn.

    group      head line that it stands under: the score
    share      with its interval low, high
    auroc      with the interval of chance, null_low and null_high
    confirmed  False is drawn hollow
    """

    group: str
    label: str
    share: float
    low: float
    high: float
    auroc: float
    null_low: float
    null_high: float
    p: str
    confirmed: bool = True


def forest(lines: Sequence[Line], style: Style, share_title: str, *, synthetic: bool = False) -> alt.HConcatChart:
    """Labels, shares with intervals, AUROC over the band of chance, and p, side by side."""
    style = check_style(style)
    size = style.font_size
    rows = _rows(lines)
    total = max(NATURAL_WIDTH if style.width_in is None else style.width_in * POINTS_PER_INCH - 4, 36 * size)
    words = max(theme.text_width(row["text"], 0.88 * size) + (0 if "head" in row else size) for row in rows)
    words = min(words + 0.6 * size, 0.45 * total)
    p_width = max(theme.text_width(line.p, 0.88 * size) for line in lines) + 1.2 * size
    spacing = 1.6 * size
    width = (total - words - p_width - 3 * spacing) / 2
    height = 1.45 * size * len(rows)
    panels = [
        _labels(rows, words, height, size),
        _shares(rows, width, height, share_title, size, synthetic=synthetic),
        _aurocs(rows, width, height, size),
        _ps(rows, p_width, height, size),
    ]
    chart = alt.HConcatChart(hconcat=panels, spacing=round6(spacing), bounds="flush")
    chart.resolve = alt.Resolve(scale=alt.ScaleResolveMap(x="independent", y="shared"))
    chart.config = alt.Config(**theme.config(style))
    return chart


def _rows(lines: Sequence[Line]) -> Rows:
    """Head lines and lines in order, each with its place `y`."""
    rows: Rows = []
    group = None
    for line in lines:
        if line.group != group:
            group = line.group
            rows.append({"y": len(rows), "text": group, "head": True})
        rows.append({"y": len(rows), "text": line.label, "line": line})
    return rows


def _axes(rows: Rows, domain: Sequence[float], axis: alt.Axis | None) -> dict[str, Any]:
    down = alt.Scale(domain=[len(rows) - 0.5, -0.5], nice=False, zero=False)
    across = alt.Scale(domain=list(domain), nice=False, zero=False)
    return {"x": alt.X("x:Q", scale=across, axis=axis), "y": alt.Y("y:Q", scale=down, axis=None)}


def _panel(charts: list[alt.Chart], width: float, height: float, *, framed: bool = False) -> alt.LayerChart:
    chart = alt.LayerChart(layer=charts, width=round6(width), height=round6(height))
    if not framed:
        chart.view = alt.ViewBackground(stroke=None)
    return chart


def _labels(rows: Rows, width: float, height: float, size: float) -> alt.LayerChart:
    axes = {**_axes(rows, [0, round6(width)], None), "text": alt.Text("text:N")}
    text = {"type": "text", "align": "left", "baseline": "middle", "color": theme.INK, "fontSize": round6(0.88 * size)}
    text["limit"] = round6(width)
    heads = [{"x": 0, "y": row["y"], "text": row["text"]} for row in rows if "head" in row]
    names = [{"x": size, "y": row["y"], "text": row["text"]} for row in rows if "line" in row]
    return _panel([layer("groups", heads, {**text, "fontWeight": "bold"}, axes), layer("names", names, text, axes)],
                  width, height)  # fmt: skip


def _ps(rows: Rows, width: float, height: float, size: float) -> alt.LayerChart:
    axes = {**_axes(rows, [0, round6(width)], None), "text": alt.Text("text:N")}
    text = {"type": "text", "align": "left", "baseline": "middle", "color": theme.INK, "fontSize": round6(0.88 * size)}
    values = [{"x": 0, "y": row["y"], "text": row["line"].p} for row in rows if "line" in row]
    title = [{"x": 0, "y": round6(len(rows) - 0.5 + (0.35 + 0.2 + 0.9 + 0.4 + 0.5) / 1.45), "text": "p"}]
    return _panel([layer("p", values, text, axes), layer("p_title", title, {**text, "fontSize": size}, axes)],
                  width, height)  # fmt: skip


def _shares(rows: Rows, width: float, height: float, title: str, size: float, *, synthetic: bool) -> alt.LayerChart:
    axes = _axes(rows, _DOMAIN, _axis(title))
    values = [_values(row, x="share", x2="high", low="low") for row in rows if "line" in row]
    known = [v for v in values if not math.isnan(v["x"])]
    spans = [{"x": v["low"], "x2": v["x2"], "y": v["y"]} for v in known]
    charts = [
        layer("intervals", spans, {"type": "rule", "stroke": theme.INK, "strokeWidth": 1.0},
              {**axes, "x2": alt.X2("x2:Q")}),
        *_points("shares", known, axes, size),
    ]  # fmt: skip
    if synthetic:
        mark = {"type": "text", "fontWeight": "bold", "color": "#8c8c8c", "fillOpacity": 0.5, "baseline": "middle",
                "fontSize": round6(min(width / 8, height / 2))}  # fmt: skip
        at = [{"x": 0.5, "y": (len(rows) - 1) / 2, "text": WATERMARK}]
        charts.append(layer("watermark", at, mark, {**axes, "text": alt.Text("text:N")}))
    return _panel(charts, width, height, framed=True)


def _aurocs(rows: Rows, width: float, height: float, size: float) -> alt.LayerChart:
    axes = _axes(rows, _DOMAIN, _axis("AUROC"))
    values = [_values(row, x="auroc", x2="null_high", low="null_low") for row in rows if "line" in row]
    known = [v for v in values if not math.isnan(v["x"])]
    bands = [{"x": v["low"], "x2": v["x2"], "y": v["y"]} for v in known]
    ends = {**axes, "x2": alt.X2("x2:Q")}
    middle = [{"x": 0.5, "y": -0.5, "y2": len(rows) - 0.5}]
    return _panel(
        [
            layer("bands", bands, {"type": "rule", "stroke": _BAND, "strokeWidth": round6(0.75 * size)}, ends),
            layer(
                "even", middle, {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6, "strokeDash": [2, 2]},
                {**axes, "y2": alt.Y2("y2:Q")},
            ),
            *_points("aurocs", known, axes, size),
        ],
        width, height, framed=True,
    )  # fmt: skip


def _axis(title: str) -> alt.Axis:
    return alt.Axis(title=title, values=[0, 0.2, 0.4, 0.6, 0.8, 1], format=".1f")


def _values(row: Mapping[str, Any], **fields: str) -> dict[str, Any]:
    line: Line = row["line"]
    found = {to: round6(float(getattr(line, name))) for to, name in fields.items()}
    return {**found, "y": row["y"], "name": line.label, "group": line.group, "confirmed": line.confirmed}


def _points(name: str, values: Rows, axes: Mapping[str, Any], size: float) -> list[alt.Chart]:
    """Filled dots, and hollow ones for lists that nobody has confirmed."""
    charts = []
    for kind, confirmed in (("", True), ("_unconfirmed", False)):
        some = [{k: v[k] for k in ("x", "y", "name", "group")} for v in values if v["confirmed"] is confirmed]
        mark = {"type": "point", "filled": False, "stroke": theme.INK, "strokeWidth": 1.1, "opacity": 1,
                "fill": theme.INK if confirmed else "#ffffff", "size": round6((0.55 * size) ** 2)}  # fmt: skip
        charts += [layer(f"{name}{kind}", some, mark, axes)] if some else []
    return charts
