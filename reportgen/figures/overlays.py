"""Named sets of heads drawn on a map: one marker per set, a light halo under each, none hidden behind another.

- A published list that nobody has confirmed is drawn hollow, dashed where the marker is large enough for dashes.
- A smaller weight is a paler marker: its colour mixed with white, opaque, over the same halo.
- A head in several sets shows all their markers, smaller and side by side.
- A flag, the set whose key ends in `generic_copiers`, is a wide circle around whatever else marks the head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reportgen.figures.chart_data import chart_layer, round6
from reportgen.figures.geometry import MapGrid
from reportgen.figures.markers import BLACK, FLAG, WHITE, Marker, is_flag, marker_of, styled
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
    """A head set with the marker it got and where its markers stand: (layer, head, size factor, strength) each."""

    head_set: HeadSet
    marker: Marker
    places: tuple[tuple[float, float, float, float], ...]

    @property
    def palest(self) -> float:
        """Strength of the palest of its markers, 1 where none is paler."""
        return min((place[3] for place in self.places), default=1.0)

    @property
    def label(self) -> str:
        return self.head_set.label if self.head_set.verified else f"{self.head_set.label} ({UNCONFIRMED})"


def place(sets: Sequence[HeadSet], grid: MapGrid) -> list[Overlay]:
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


def _on(head_set: HeadSet, grid: MapGrid) -> list[Head]:
    return [head for head in dict.fromkeys(head_set.heads) if _inside(head, grid)]


def _inside(head: Head, grid: MapGrid) -> bool:
    return 0 <= head[0] < grid.layers and 0 <= head[1] < grid.heads


def _flag(head: Head, grid: MapGrid) -> tuple[float, float, float, float]:
    return head[0], head[1], _AROUND * grid.cell / marker_radius(grid), 1.0


def _place(head_set: HeadSet, index: int, head: Head, owners: list[int]) -> tuple[float, float, float, float]:
    count, turn = len(owners), owners.index(index)
    if count in _OFFSETS:
        dx, dy = _OFFSETS[count][turn]
    else:  # on a circle
        angle = 2 * math.pi * turn / count
        dx, dy = 0.28 * math.cos(angle), 0.28 * math.sin(angle)
    factor = (1.0, 0.7, 0.6, 0.55)[min(count, 4) - 1]
    return head[0] + dx, head[1] + dy, factor, strength(head_set.weights.get(head_name(*head), 1.0))


def strength(weight: float) -> float:
    """How much of its own colour a marker of `weight` 0 to 1 keeps; any weight below 1 is seen to be so."""
    return 1.0 if weight >= 1 else 0.25 + 0.6 * max(weight, 0.0)


def paler(colour: str, share: float) -> str:
    """`colour` (#rrggbb, or transparent) with white for all but `share` of it."""
    if not colour.startswith("#"):
        return colour
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)


def marker_radius(grid: MapGrid) -> float:
    """Half the width of a marker alone in its cell, in points: 0.3 of the cell, kept visible on large grids."""
    return max(min(0.3 * grid.cell, 7.0), 1.6)


def layers(overlays: Sequence[Overlay], grid: MapGrid, axes: dict[str, Any]) -> list[alt.Chart]:
    """Two layers per overlay, `overlay<i>_halo` and `overlay<i>`; `axes` makes the x and y of the map."""
    charts: list[alt.Chart] = []
    for i, overlay in sorted(enumerate(overlays), key=lambda pair: pair[1].marker is not FLAG):  # flags lie below
        spots = [(x, y, marker_radius(grid) * factor, share) for x, y, factor, share in overlay.places]
        charts += symbols(spots, overlay, grid, axes, f"overlay{i}")
    return charts


def symbols(
    spots: Sequence[tuple[float, float, float, float]], overlay: Overlay, grid: MapGrid, axes: dict[str, Any], name: str
) -> list[alt.Chart]:
    """The halo and the marker of `overlay` at `spots`: (layer, head, radius in points, strength) each."""
    marker, hollow = overlay.marker, not overlay.head_set.verified
    mark: dict[str, Any] = {
        "type": "point",
        "shape": marker.outline if hollow and marker.outline else marker.path,
        "filled": False,
        "opacity": 1,
    }
    fill = "transparent" if hollow or marker.fill is None else marker.fill
    stroke = (overlay.head_set.color or BLACK) if hollow else marker.stroke
    if hollow and marker_radius(grid) >= _DASHED_FROM:
        radius = max(spot[2] for spot in spots)
        mark["strokeDash"] = [round6(0.45 * radius), round6(0.28 * radius)]
    halo = {**mark, **({"fillOpacity": 0.75} if hollow else {}), "strokeDash": [1, 0], "strokeOpacity": 0.85}
    under = _values(spots, overlay, 0.1 if marker is FLAG else 0.34, (WHITE if hollow else fill, WHITE))
    channels = {**axes, **_CHANNELS}
    return [
        chart_layer(f"{name}_halo", under, halo, channels),
        chart_layer(name, _values(spots, overlay, 0.0, (fill, stroke)), mark, channels),
    ]


_CHANNELS = {
    "size": alt.Size("size:Q", scale=None, legend=None),
    "strokeWidth": alt.StrokeWidth("line:Q", scale=None, legend=None),
    "fill": alt.Fill("fill:N", scale=None, legend=None),
    "stroke": alt.Stroke("stroke:N", scale=None, legend=None),
}


def _values(
    spots: Sequence[tuple[float, float, float, float]], overlay: Overlay, halo: float, colours: tuple[str, str]
) -> list[dict[str, float | str]]:
    """Rows with area and line width from each spot's radius, and the fill and stroke of `colours` in its strength.

    halo  how much wider the halo's line is, in radii
    """
    marker, hollow = overlay.marker, not overlay.head_set.verified
    line = (0.2 if hollow else marker.line) + (0.0 if marker.stroke == WHITE and not hollow else halo)
    return [
        {
            "layer": round6(x),
            "head": round6(y),
            "size": round6((2 * radius * marker.scale) ** 2),
            "line": round6(max(line * radius, 0.5)),
            "fill": paler(colours[0], share),
            "stroke": paler(colours[1], share),
        }
        for x, y, radius, share in spots
    ]
