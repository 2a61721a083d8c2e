"""Line charts of the sparse suite: training, thresholds, faithfulness. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reportgen.figures.data import round6
from reportgen.figures.marks import layer
from reportgen.figures.theme import CATEGORY_COLOURS, INK, clean

WIDTH, HEIGHT = 330.0, 190.0


@dataclass(frozen=True)
class Axis:
    """An axis: its words, its ends, logarithmic or not."""

    title: str
    low: float
    high: float
    log: bool = False
    form: str = "~g"

    def scale(self) -> alt.Scale:
        domain = [round6(self.low), round6(self.high)]
        return alt.Scale(type="log" if self.log else "linear", domain=domain, nice=False, zero=False)

    def axis(self) -> alt.Axis:
        return alt.Axis(
            title=clean(self.title), format=self.form, grid=True, gridOpacity=0.25, domain=True, tickCount=5
        )


def colours(palette: str) -> dict[str, str]:
    """Column -> its colour in every chart of the suite."""
    hues = CATEGORY_COLOURS[palette]
    return {"dense": hues[7], "thresholded": hues[1], "sparse": hues[0]}


def channels(x: Axis, y: Axis) -> dict[str, Any]:
    """x and y of every layer of one chart."""
    return {
        "x": alt.X("x:Q", scale=x.scale(), axis=x.axis()),
        "y": alt.Y("y:Q", scale=y.scale(), axis=y.axis()),
    }


def line(
    name: str, points: Sequence[tuple[float, float]], colour: str, at: dict[str, Any], *, dash: Sequence[int] = (1, 0),
    dots: bool = False, width: float = 1.8,
) -> list[alt.Chart]:  # fmt: skip
    """A line through `points`, with a dot on each where asked."""
    rows = [{"x": round6(x), "y": round6(y)} for x, y in points]
    mark = {"type": "line", "stroke": colour, "strokeWidth": width, "strokeDash": list(dash), "clip": True}
    made = [layer(name, rows, mark, at)]
    if dots:
        made.append(layer(f"{name}_dots", rows, {"type": "point", "fill": colour, "stroke": None, "size": 26,
                                                 "opacity": 1, "clip": True}, at))  # fmt: skip
    return made


def band(name: str, rows: Sequence[tuple[float, float, float]], colour: str, at: dict[str, Any]) -> alt.Chart:
    """The area between low and high, (x, low, high) each."""
    values = [{"x": round6(x), "y": round6(low), "high": round6(high)} for x, low, high in rows]
    mark = {"type": "area", "fill": colour, "opacity": 0.2, "line": False, "clip": True}
    return layer(name, values, mark, {**at, "y2": alt.Y2("high:Q")})


def rule(name: str, y: float, colour: str, at: dict[str, Any], dash: Sequence[int] = (4, 3)) -> alt.Chart:
    """A horizontal line across the chart."""
    mark = {"type": "rule", "stroke": colour, "strokeWidth": 1.1, "strokeDash": list(dash)}
    return layer(name, [{"y": round6(y)}], mark, {"y": at["y"]})


def words(
    name: str, rows: Sequence[tuple[float, float, str]], at: dict[str, Any], *, colour: str = INK, align: str = "left",
    dx: float = 4.0, dy: float = 0.0, size: float = 8.8,
) -> alt.Chart:  # fmt: skip
    """Words beside points."""
    values = [{"x": round6(x), "y": round6(y), "text": clean(text)} for x, y, text in rows]
    mark = {"type": "text", "align": align, "baseline": "middle", "dx": dx, "dy": dy, "color": colour, "fontSize": size}
    return layer(name, values, mark, {**at, "text": alt.Text("text:N")})


def points(
    name: str, rows: Sequence[tuple[float, float, str]], colour: str, at: dict[str, Any], shape: str = "circle"
) -> list[alt.Chart]:
    """Single results with their names beside them."""
    values = [{"x": round6(x), "y": round6(y), "what": clean(text)} for x, y, text in rows]
    mark = {"type": "point", "shape": shape, "fill": colour, "stroke": "#ffffff", "strokeWidth": 0.8, "size": 70,
            "opacity": 1}  # fmt: skip
    return [layer(name, values, mark, {**at, "tooltip": [alt.Tooltip("what:N"), "x:Q", "y:Q"]})]


def stacked(charts: Sequence[alt.LayerChart]) -> alt.VConcatChart:
    """Charts one below the other, each with its own scales."""
    made = alt.VConcatChart(vconcat=list(charts))
    made.resolve = alt.Resolve(scale=alt.ScaleResolveMap(x="independent", y="independent", color="independent"))
    return made


def framed(layers: Sequence[alt.Chart], title: str = "", height: float = HEIGHT) -> alt.LayerChart:
    """One chart of the layers."""
    made = alt.LayerChart(layer=list(layers), width=WIDTH, height=height)
    if title:
        made.title = clean(title)
    return made
