"""Named sets of heads drawn on a map: one marker per set, a light halo under each, none hidden behind another.

- A published list that nobody has confirmed is drawn as a dashed outline.
- A set's weights become opacity. A head in several sets shows all their markers, smaller and side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reportgen.figures.data import round6
from reportgen.figures.geometry import Grid
from reportgen.figures.marks import layer
from reportgen.scores import Head, HeadSet, head_name

UNCONFIRMED = "unconfirmed list"
_BLACK, _GREY, _WHITE = "#000000", "#8c8c8c", "#ffffff"
_OFFSETS: dict[int, tuple[tuple[float, float], ...]] = {  # in cells, by how many markers a head has
    1: ((0.0, 0.0),),
    2: ((-0.23, 0.0), (0.23, 0.0)),
    3: ((-0.23, -0.2), (0.23, -0.2), (0.0, 0.22)),
    4: ((-0.23, -0.23), (0.23, -0.23), (-0.23, 0.23), (0.23, 0.23)),
}


@dataclass(frozen=True)
class Marker:
    """A marker's shape: a path in the square -1..1. `outline` is the hollow form of a shape made of strokes."""

    name: str
    path: str
    fill: str | None
    stroke: str
    scale: float = 1.0
    outline: str = ""


def _cross(turn: float) -> str:
    """The outline of a plus with arms 0.6 wide, turned by `turn` radians."""
    arm = 0.3
    points = [(-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm), (arm, 1), (-arm, 1), (-arm, arm),
              (-1, arm), (-1, -arm), (-arm, -arm)]  # fmt: skip
    turned = [(x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)) for x, y in points]
    return "M" + "L".join(f"{x:.3f},{y:.3f}" for x, y in turned) + "Z"


_CIRCLE = "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0Z"
MARKERS = (
    Marker("x", "M-0.8,-0.8L0.8,0.8M-0.8,0.8L0.8,-0.8", None, _BLACK, 1.0, _cross(math.pi / 4)),
    Marker("dot", _CIRCLE, _GREY, _WHITE, 0.82),
    Marker("square", "M-0.8,-0.8H0.8V0.8H-0.8Z", _WHITE, _BLACK, 0.85),
    Marker("triangle", "M0,-0.9L0.95,0.75H-0.95Z", _BLACK, _WHITE, 0.95),
    Marker("plus", "M0,-1V1M-1,0H1", None, _BLACK, 1.0, _cross(0.0)),
    Marker("ring", _CIRCLE, None, _BLACK, 0.82),
    Marker("diamond", "M0,-1L1,0L0,1L-1,0Z", _WHITE, _BLACK, 0.95),
    Marker("wedge", "M0,0.9L0.95,-0.75H-0.95Z", _BLACK, _WHITE, 0.95),
)


@dataclass(frozen=True)
class Overlay:
    """A head set with the marker it got and where its markers stand: (layer, head, size factor, opacity) each."""

    head_set: HeadSet
    marker: Marker
    places: tuple[tuple[float, float, float, float], ...]

    @property
    def label(self) -> str:
        return self.head_set.label if self.head_set.verified else f"{self.head_set.label} ({UNCONFIRMED})"


def place(sets: Sequence[HeadSet], grid: Grid) -> list[Overlay]:
    """The overlays of `sets`, in order; sets without a head on the grid are left out."""
    kept = [s for s in sets if any(_inside(head, grid) for head in s.heads)]
    owners: dict[Head, list[int]] = {}
    for i, head_set in enumerate(kept):
        for head in dict.fromkeys(head_set.heads):
            owners.setdefault(head, []).append(i)
    return [
        Overlay(s, MARKERS[i % len(MARKERS)], tuple(_place(s, i, head, owners[head]) for head in _on(s, grid)))
        for i, s in enumerate(kept)
    ]


def _on(head_set: HeadSet, grid: Grid) -> list[Head]:
    return [head for head in dict.fromkeys(head_set.heads) if _inside(head, grid)]


def _inside(head: Head, grid: Grid) -> bool:
    return 0 <= head[0] < grid.layers and 0 <= head[1] < grid.heads


def _place(head_set: HeadSet, index: int, head: Head, owners: list[int]) -> tuple[float, float, float, float]:
    count, turn = len(owners), owners.index(index)
    if count in _OFFSETS:
        dx, dy = _OFFSETS[count][turn]
    else:  # on a circle
        angle = 2 * math.pi * turn / count
        dx, dy = 0.28 * math.cos(angle), 0.28 * math.sin(angle)
    factor = (1.0, 0.62, 0.55, 0.5)[min(count, 4) - 1]
    weight = min(max(head_set.weights.get(head_name(*head), 1.0), 0.0), 1.0)
    return head[0] + dx, head[1] + dy, factor, 0.25 + 0.75 * weight


def marker_radius(grid: Grid) -> float:
    """Half the width of a marker alone in its cell, in points: 0.3 of the cell, kept visible on large grids."""
    return max(min(0.3 * grid.cell, 7.0), 1.6)


def layers(overlays: Sequence[Overlay], grid: Grid, axes: dict[str, Any], prefix: str = "overlay") -> list[alt.Chart]:
    """Two layers per overlay, `overlay_<i>_halo` and `overlay_<i>`; `axes` makes the x and y of the map."""
    charts: list[alt.Chart] = []
    for i, overlay in enumerate(overlays):
        radius = marker_radius(grid)
        values = [
            {"layer": round6(x), "head": round6(y), "size": round6((2 * radius * factor * overlay.marker.scale) ** 2),
             "opacity": round6(opacity)}
            for x, y, factor, opacity in overlay.places
        ]  # fmt: skip
        charts += symbol(values, overlay, grid.cell, axes, f"{prefix}_{i}")
    return charts


def symbol(
    values: list[dict[str, Any]], overlay: Overlay, cell: float, axes: dict[str, Any], name: str
) -> list[alt.Chart]:
    """The halo and the marker of `overlay` at `values` (layer, head, size, opacity)."""
    marker, hollow = overlay.marker, not overlay.head_set.verified
    width = max(min(0.1 * cell, 1.8), 0.6)
    mark: dict[str, Any] = {
        "type": "point",
        "shape": marker.outline if hollow and marker.outline else marker.path,
        "filled": False,
        "fill": "transparent" if hollow or marker.fill is None else marker.fill,
        "stroke": marker.stroke,
        "strokeWidth": round6(width),
    }
    if hollow:
        dash = [round6(1.4 * width), round6(0.9 * width)]
        mark |= {"stroke": _BLACK, "strokeWidth": round6(0.6 * width), "strokeDash": dash}
    halo = {
        **mark, "stroke": _WHITE, "strokeWidth": round6(mark["strokeWidth"] + _halo(mark, width)), "strokeDash": [1, 0],
        "strokeOpacity": 0.85, "fill": _WHITE if hollow else mark["fill"], "fillOpacity": 0.75 if hollow else 1,
    }  # fmt: skip
    channels = {
        **axes,
        "size": alt.Size("size:Q", scale=None, legend=None),
        "opacity": alt.Opacity("opacity:Q", scale=None, legend=None),
    }
    return [layer(f"{name}_halo", values, halo, channels), layer(name, values, mark, channels)]


def _halo(mark: dict[str, Any], width: float) -> float:
    """How much wider the halo is than the stroke; a white outline is its own halo."""
    return 0.0 if mark["stroke"] == _WHITE else 1.1 * width
