"""Where legend boxes stand: inside the axes, each in the corner where it hides least, and never over a marker.

They move below the map where every corner would hide a marker, or where they would take half of the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reportgen.figures.geometry import Grid
from reportgen.figures.overlays import Overlay, marker_radius
from reportgen.scores import FloatGrid

_ALIKE = 1.5  # corners that differ by less than one and a half full cells are alike
_MAX_SHARE = 0.5  # of the map's area that boxes may take before they move below it
_GAP = 3.0  # points between a box and the frame or another box


@dataclass(frozen=True)
class Entry:
    """One line or more of a legend: the words, and the overlay whose symbol stands before them.

    cell  without an overlay, the kind of cell before them: "missing", "exact" or "estimated"
    """

    lines: tuple[str, ...]
    overlay: Overlay | None
    cell: str = "missing"


@dataclass(frozen=True)
class Box:
    """A legend box: its title's lines, entries, and its rectangle in points from the plot's upper left corner."""

    title: tuple[str, ...]
    entries: tuple[Entry, ...]
    width: float
    height: float
    size: float  # font size of the entries
    x: float = 0.0
    y: float = 0.0

    @property
    def line_height(self) -> float:
        return 1.25 * self.size

    @property
    def pad(self) -> float:
        return 0.45 * self.size

    @property
    def indent(self) -> float:
        return 1.65 * self.size

    def overlaps(self, other: Box) -> bool:
        apart_x = self.x + self.width <= other.x or other.x + other.width <= self.x
        return not (apart_x or self.y + self.height <= other.y or other.y + other.height <= self.y)


@dataclass(frozen=True, eq=False)
class Scene:
    """What a box can hide: cells, each with the distance of its value from the map's middle, and markers."""

    grid: Grid
    cost: npt.NDArray[np.float64]  # [layer head] 0..1
    spots: tuple[tuple[float, float, float], ...]  # x, y, radius in points

    @classmethod
    def of(cls, overlays: Sequence[Overlay], values: FloatGrid, grid: Grid) -> Scene:
        finite = values[np.isfinite(values)]
        middle = float(np.median(finite)) if finite.size else 0.0
        distance = np.abs(np.nan_to_num(values, nan=middle).astype(np.float64) - middle)  # [layer head]
        spots = tuple(
            ((x + 0.5) * grid.cell_w, (y + 0.5) * grid.cell_h, marker_radius(grid) * factor)
            for overlay in overlays
            for x, y, factor, _ in overlay.places
        )
        return cls(grid, distance / max(float(distance.max()), 1e-12), spots)

    def hidden(self, box: Box) -> float:
        """Cost of the cells under `box`, each by its covered share."""
        across = _covered(self.grid.layers, self.grid.cell_w, box.x, box.x + box.width)  # [layer]
        down = _covered(self.grid.heads, self.grid.cell_h, box.y, box.y + box.height)  # [head]
        return float(across @ self.cost @ down)

    def hides_marker(self, box: Box) -> bool:
        """True when a marker would stand under `box`; a corner of it under the see-through edge is let pass."""
        return any(
            box.x < x + 0.9 * r and x - 0.9 * r < box.x + box.width and box.y < y + 0.9 * r
            and y - 0.9 * r < box.y + box.height
            for x, y, r in self.spots
        )  # fmt: skip


def placed(boxes: Sequence[Box], overlays: Sequence[Overlay], values: FloatGrid, grid: Grid) -> list[Box]:
    """The boxes with their places: as many as can be inside, the others below the map."""
    scene = Scene.of(overlays, values, grid)
    area = sum(box.width * box.height for box in boxes)
    inside: list[Box] = []
    below: list[Box] = []
    for box in boxes:
        best = None if area > _MAX_SHARE * grid.width * grid.height else _corner(box, inside, scene)
        if best is None:
            below.append(box)
        else:
            inside.append(best)
    return inside + _stacked(below, grid)


def _corner(box: Box, taken: Sequence[Box], scene: Scene) -> Box | None:
    """`box` in its cheapest corner, or None where there is no room that hides no marker. Ties: upper left first."""
    right, lower = scene.grid.width - box.width - _GAP, scene.grid.height - box.height - _GAP
    if right < 0 or lower < 0:
        return None
    places = [(_GAP, _GAP), (_GAP, lower), (right, lower), (right, _GAP)]
    for other in taken:  # and above or below a box that already stands in a corner
        places += [(other.x, other.y + other.height + _GAP), (other.x, other.y - box.height - _GAP)]
    tried = [replace(box, x=x, y=y) for x, y in places if 0 <= y <= lower and x <= right]
    fits = [p for p in tried if not scene.hides_marker(p) and not any(p.overlaps(other) for other in taken)]
    return min(fits, key=lambda p: round(scene.hidden(p) / _ALIKE)) if fits else None


def _covered(count: int, cell: float, start: float, end: float) -> npt.NDArray[np.float64]:
    """[index] the share of each of `count` cells in a row that lies between `start` and `end` points."""
    edges = np.arange(count) * cell
    overlap: npt.NDArray[np.float64] = np.minimum(edges + cell, end) - np.maximum(edges, start)
    return np.maximum(overlap, 0.0) / cell


def _stacked(boxes: Sequence[Box], grid: Grid) -> list[Box]:
    """Boxes below the plot, under the x axis and its title, side by side while there is room."""
    standing: list[Box] = []
    x, y = 0.0, grid.height + 3.4 * grid.font_size
    for box in boxes:
        if standing and x + box.width > grid.width + 4:
            x, y = 0.0, max(p.y + p.height for p in standing) + _GAP
        standing.append(replace(box, x=x, y=y))
        x += box.width + 4
    return standing
