"""Named sets of heads drawn on a map: one marker per set, a light halo under each, none hidden behind another.

- A published list that nobody has confirmed is drawn hollow, dashed where the marker is large enough for dashes.
- A set's weights become opacity. A head in several sets shows all their markers, smaller and side by side.
- A flag, the set whose key ends in `generic_copiers`, is a wide circle around whatever else marks the head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reportgen.figures.data import round6
from reportgen.figures.geometry import Grid
from reportgen.figures.markers import BLACK, FLAG, WHITE, Marker, is_flag, marker_of, styled
from reportgen.figures.marks import layer
from reportgen.scores import Head, HeadSet, head_name

UNCONFIRMED = "unconfirmed list"
_DASHED_FROM = 3.5  # points of radius below which dashes would only look ragged
_OFFSETS: dict[int, tuple[tuple[float, float], ...]] = {  # in cells, by how many markers a head has
    1: ((0.0, 0.0),),
    2: ((-0.24, 0.0), (0.24, 0.0)),
    3: ((-0.23, -0.2), (0.23, -0.2), (0.0, 0.22)),
    4: ((-0.23, -0.23), (0.23, -0.23), (-0.23, 0.23), (0.23, 0.23)),
}


_AROUND = 0.46  # a flag's radius in cells


@dataclass(frozen=True)
class Overlay:
    """A head set with the marker it got and where its markers stand: (layer, head, size factor, opacity) each."""

    head_set: HeadSet
    marker: Marker
    places: tuple[tuple[float, float, float, float], ...]

    @property
    def paler(self) -> bool:
        """Whether a weight below 1 makes any of the markers paler."""
        return any(place[3] < 1 for place in self.places)

    @property
    def label(self) -> str:
        return self.head_set.label if self.head_set.verified else f"{self.head_set.label} ({UNCONFIRMED})"


def place(sets: Sequence[HeadSet], grid: Grid) -> list[Overlay]:
    """The overlays of `sets`, in order; sets without a head on the grid are left out."""
    kept = [s for s in styled(sets) if any(_inside(head, grid) for head in s.heads)]
    owners: dict[Head, list[int]] = {}
    for i, head_set in enumerate(kept):
        for head in () if is_flag(head_set) else dict.fromkeys(head_set.heads):
            owners.setdefault(head, []).append(i)
    return [
        Overlay(
            s,
            marker_of(s),
            tuple(_flag(head, grid) if is_flag(s) else _place(s, i, head, owners[head]) for head in _on(s, grid)),
        )
        for i, s in enumerate(kept)
    ]


def _on(head_set: HeadSet, grid: Grid) -> list[Head]:
    return [head for head in dict.fromkeys(head_set.heads) if _inside(head, grid)]


def _inside(head: Head, grid: Grid) -> bool:
    return 0 <= head[0] < grid.layers and 0 <= head[1] < grid.heads


def _flag(head: Head, grid: Grid) -> tuple[float, float, float, float]:
    return head[0], head[1], _AROUND * grid.cell / marker_radius(grid), 1.0


def _place(head_set: HeadSet, index: int, head: Head, owners: list[int]) -> tuple[float, float, float, float]:
    count, turn = len(owners), owners.index(index)
    if count in _OFFSETS:
        dx, dy = _OFFSETS[count][turn]
    else:  # on a circle
        angle = 2 * math.pi * turn / count
        dx, dy = 0.28 * math.cos(angle), 0.28 * math.sin(angle)
    factor = (1.0, 0.7, 0.6, 0.55)[min(count, 4) - 1]
    weight = min(max(head_set.weights.get(head_name(*head), 1.0), 0.0), 1.0)
    return head[0] + dx, head[1] + dy, factor, 0.25 + 0.75 * weight


def marker_radius(grid: Grid) -> float:
    """Half the width of a marker alone in its cell, in points: 0.3 of the cell, kept visible on large grids."""
    return max(min(0.3 * grid.cell, 7.0), 1.6)


def layers(overlays: Sequence[Overlay], grid: Grid, axes: dict[str, Any]) -> list[alt.Chart]:
    """Two layers per overlay, `overlay<i>_halo` and `overlay<i>`; `axes` makes the x and y of the map."""
    charts: list[alt.Chart] = []
    for i, overlay in sorted(enumerate(overlays), key=lambda pair: pair[1].marker is not FLAG):  # flags lie below
        spots = [(x, y, marker_radius(grid) * factor, opacity) for x, y, factor, opacity in overlay.places]
        charts += symbols(spots, overlay, grid, axes, f"overlay{i}")
    return charts


def symbols(
    spots: Sequence[tuple[float, float, float, float]], overlay: Overlay, grid: Grid, axes: dict[str, Any], name: str
) -> list[alt.Chart]:
    """The halo and the marker of `overlay` at `spots`: (layer, head, radius in points, opacity) each."""
    marker, hollow = overlay.marker, not overlay.head_set.verified
    mark: dict[str, Any] = {
        "type": "point",
        "shape": marker.outline if hollow and marker.outline else marker.path,
        "filled": False,
        "fill": "transparent" if hollow or marker.fill is None else marker.fill,
        "stroke": (overlay.head_set.color or BLACK) if hollow else marker.stroke,
    }
    if hollow and marker_radius(grid) >= _DASHED_FROM:
        radius = max(spot[2] for spot in spots)
        mark["strokeDash"] = [round6(0.45 * radius), round6(0.28 * radius)]
    inside = {"fill": WHITE, "fillOpacity": 0.75} if hollow else {"fill": mark["fill"]}
    halo = {**mark, **inside, "stroke": WHITE, "strokeDash": [1, 0], "strokeOpacity": 0.85}
    return [
        layer(f"{name}_halo", _values(spots, overlay, 0.1 if marker is FLAG else 0.34), halo, {**axes, **_CHANNELS}),
        layer(name, _values(spots, overlay, 0.0), mark, {**axes, **_CHANNELS}),
    ]


_CHANNELS = {
    "size": alt.Size("size:Q", scale=None, legend=None),
    "strokeWidth": alt.StrokeWidth("stroke:Q", scale=None, legend=None),
    "opacity": alt.Opacity("opacity:Q", scale=None, legend=None),
}


def _values(
    spots: Sequence[tuple[float, float, float, float]], overlay: Overlay, halo: float
) -> list[dict[str, float]]:
    """Rows with area and stroke from each spot's radius; `halo` is how much wider the halo's stroke is, in radii."""
    marker, hollow = overlay.marker, not overlay.head_set.verified
    line = (0.2 if hollow else marker.line) + (0.0 if marker.stroke == WHITE and not hollow else halo)
    return [
        {
            "layer": round6(x),
            "head": round6(y),
            "size": round6((2 * radius * marker.scale) ** 2),
            "stroke": round6(max(line * radius, 0.5)),
            "opacity": round6(opacity),
        }
        for x, y, radius, opacity in spots
    ]
