"""Where legend boxes stand inside a map: each in the corner where it hides least, never over a cell that is marked or
above the line. Where there is no such corner the reason says which head a box would cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reportgen.figures.geometry import Grid
from reportgen.figures.overlays import Overlay
from reportgen.scores import Head, HeadScores, head_name

SIGNIFICANT = 0.05
_ALIKE = 1.5  # corners that differ by less than one and a half full cells are alike
_GAP = 3.0  # points between a box and the frame or another box


@dataclass(frozen=True)
class Entry:
    """One line or more of a legend: the words, and the overlay whose symbol stands before them.

    cell  without an overlay, the kind of cell before them: "missing", "exact" or "estimated"
    """

    lines: tuple[str, ...]
    overlay: Overlay | None
    opacity: float = 1.0
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


def above_line(scores: HeadScores) -> npt.NDArray[np.bool_]:
    """[layer head] the heads that beat the null: adjusted p <= 0.05, or above the family-wise line."""
    if scores.p is not None:
        return np.nan_to_num(scores.p, nan=1.0) <= SIGNIFICANT
    if scores.line is not None:
        return np.nan_to_num(scores.exact_values, nan=-np.inf) > scores.line
    return np.zeros(scores.values.shape, dtype=bool)


@dataclass(frozen=True, eq=False)
class Scene:
    """What a box can hide: cells, each with the distance of its value from the map's middle.

    marked, above  [layer head] cells that no box may cover: marked ones, and those above the line
    """

    grid: Grid
    cost: npt.NDArray[np.float64]  # [layer head] 0..1
    marked: npt.NDArray[np.bool_]
    above: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, overlays: Sequence[Overlay], scores: HeadScores, grid: Grid) -> Scene:
        values = scores.values
        finite = values[np.isfinite(values)]
        middle = float(np.median(finite)) if finite.size else 0.0
        distance = np.abs(np.nan_to_num(values, nan=middle).astype(np.float64) - middle)  # [layer head]
        marked = np.zeros(values.shape, dtype=bool)
        for layer, head in (at for overlay in overlays for at in overlay.head_set.heads):
            if layer < grid.layers and head < grid.heads:
                marked[layer, head] = True
        return cls(grid, distance / max(float(distance.max()), 1e-12), marked, above_line(scores))

    def hidden(self, box: Box) -> float:
        """Cost of the cells under `box`, each by its covered share."""
        return float((self.share(box) * self.cost).sum())

    def covered(self, box: Box) -> list[Head]:
        """The heads under `box` that it may not cover."""
        found = (self.share(box) > 0) & (self.marked | self.above)
        return [(layer, head) for layer, head in np.argwhere(found).tolist()]

    def share(self, box: Box) -> npt.NDArray[np.float64]:
        """[layer head] the share of each cell that lies under `box`."""
        across = _covered(self.grid.layers, self.grid.cell_w, box.x, box.x + box.width)  # [layer]
        down = _covered(self.grid.heads, self.grid.cell_h, box.y, box.y + box.height)  # [head]
        return np.outer(across, down)

    def why(self, head: Head) -> str:
        return f"{head_name(*head)}, which is {'marked' if self.marked[head] else 'above the line'}"


def inside(boxes: Sequence[Box], overlays: Sequence[Overlay], scores: HeadScores, grid: Grid) -> list[Box] | str:
    """All boxes with their places inside the map, or the reason why one of them has none."""
    scene, standing = Scene.of(overlays, scores, grid), list[Box]()
    for box in boxes:
        best = _corner(box, standing, scene)
        if isinstance(best, str):
            return best
        standing.append(best)
    return standing


def _corner(box: Box, taken: Sequence[Box], scene: Scene) -> Box | str:
    """`box` in its cheapest corner, or why there is none. Ties: upper left first."""
    right, lower = scene.grid.width - box.width - _GAP, scene.grid.height - box.height - _GAP
    if right < 0 or lower < 0:
        return "the map is too small for it"
    places = [(_GAP, _GAP), (_GAP, lower), (right, lower), (right, _GAP)]
    for other in taken:  # and above or below a box that already stands in a corner
        places += [(other.x, other.y + other.height + _GAP), (other.x, other.y - box.height - _GAP)]
    tried = [replace(box, x=x, y=y) for x, y in places if 0 <= y <= lower and x <= right]
    apart = [p for p in tried if not any(p.overlaps(other) for other in taken)]
    if not apart:
        return "there is no corner left for it"
    best = min(apart, key=lambda p: (len(scene.covered(p)), round(scene.hidden(p) / _ALIKE)))
    heads = scene.covered(best)
    return f"it would cover {scene.why(heads[0])}" if heads else best


def _covered(count: int, cell: float, start: float, end: float) -> npt.NDArray[np.float64]:
    """[index] the share of each of `count` cells in a row that lies between `start` and `end` points."""
    edges = np.arange(count) * cell
    overlap: npt.NDArray[np.float64] = np.minimum(edges + cell, end) - np.maximum(edges, start)
    return np.maximum(overlap, 0.0) / cell
