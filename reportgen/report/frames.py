"""Where the cells of a drawn score map stand, and the drawing as the page carries it.

The page names the cell under a pointer from the panel's origin and steps, whatever else is drawn on top of it. Large
maps are rewritten on a unit grid, neighbours of one colour as one path: 80 x 64 heads take 0.2 MB.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reportgen.figures.svg import SVG
from reportgen.scores import Head, Table

_CELLS = re.compile(r"\bcells(_down)?(_\d+)?_marks$")
_OVER = re.compile(r"\b(missing|significant|overlay)\w*_marks$")  # what a thumbnail shows beside the cells
_RECT = re.compile(r"M(-?[\d.]+),(-?[\d.]+)h(-?[\d.]+)v(-?[\d.]+)h-?[\d.]+Z")
_DROPPED = ("class", "pointer-events", "aria-hidden")
_EMPTY = "M0,0h0v0h0Z"
_INHERITED = tuple("fill stroke stroke-width stroke-dasharray font-size font-weight font-style text-anchor".split())
SHARED_FROM = 3  # marks
SLACK = 1.01  # points: the renderer rounds the corners of small maps
COMPACT_FROM = 1000  # cells

Box = tuple[float, float, float, float]  # x, y, width, height


@dataclass(frozen=True)
class Panel:
    """One map: cell (layer, head) starts at `at + layer * step[0]` across and `at + head * step[1]` down.

    down   layers run downwards and heads across instead; then `step` is (per head across, per layer down)
    shape  layers, heads
    uses   ids of the groups that a thumbnail draws
    art    these groups and their definitions, for a thumbnail that stands elsewhere
    """

    key: str
    at: tuple[float, float]
    step: tuple[float, float]
    shape: Head
    down: bool
    uses: tuple[str, ...] = ()
    art: str = ""

    @property
    def columns(self) -> int:
        return self.shape[1] if self.down else self.shape[0]

    @property
    def rows(self) -> int:
        return self.shape[0] if self.down else self.shape[1]

    def in_cells(self) -> str:
        """The transformation after which a cell is a unit square and the panel's corner the origin."""
        (x, y), (across, down) = self.at, self.step
        return f"scale({1 / across:.6g} {1 / down:.6g}) translate({-x:g} {-y:g})"

    def data(self) -> str:
        """What the page's script reads: [key, x, y, step across, step down, layers run down]."""
        return json.dumps([self.key, *self.at, *self.step, int(self.down)], separators=(",", ":"))


@dataclass(frozen=True)
class Framed:
    """A drawing's inside for the page, without its root, and its panels."""

    body: str
    panels: tuple[Panel, ...] = field(default=())


def framed(svg: str, figure_id: str, data: Table, keys: Sequence[str], shape: Head) -> Framed:
    """The drawing `svg` of the score maps `keys` (none for other figures) with its panels named.

    Where cells and data do not agree the drawing stays as it is, without panels.
    """
    root = ET.fromstring(svg)  # checked in draw.py
    for name in ("title", "desc"):  # a title inside the page would pop up over the chart
        for element in root.findall(f"{{{SVG}}}{name}"):
            root.remove(element)
    panels = _name_panels(root, figure_id, _heads(data, keys), shape) if keys else ()
    for element in root.iter():
        for name in _DROPPED:
            element.attrib.pop(name, None)
    by_id = {element.get("id", ""): element for element in root.iter()}
    defs = "".join(_text(element) for element in root.iter(f"{{{SVG}}}defs"))
    panels = tuple(replace(p, art=defs + "".join(_text(by_id[name]) for name in p.uses)) for p in panels)
    for group in list(root.iter(f"{{{SVG}}}g")):
        _lighten(group)
    return Framed("".join(_text(child) for child in root), panels)


def _lighten(group: ET.Element) -> None:
    """The same drawing in fewer bytes: what all marks of a group share is said once, empty backgrounds go."""
    for mark in [mark for mark in group if mark.get("d") == _EMPTY]:
        group.remove(mark)
    marks = list(group)
    if len(marks) < SHARED_FROM or any(len(mark) for mark in marks):
        return
    for name in _INHERITED:
        values = {mark.get(name) for mark in marks}
        if len(values) == 1 and None not in values and name not in group.attrib:
            group.set(name, marks[0].attrib[name])
            for mark in marks:
                del mark.attrib[name]


def _text(element: ET.Element) -> str:
    plain = ET.tostring(element, encoding="unicode").replace(f' xmlns="{SVG}"', "")
    return plain.replace(" />", "/>")


def _heads(data: Table, keys: Sequence[str]) -> dict[str, list[Head]]:
    """The heads with a value of each score, in the order drawn."""
    at = {column.name: i for i, column in enumerate(data.columns)}
    found: dict[str, list[Head]] = {key: [] for key in keys}
    for row in data.rows:
        layer, head = row[at["layer"]], row[at["head"]]
        if row[at["value"]] is not None and isinstance(layer, int) and isinstance(head, int):
            found[str(row[at["key"]])].append((layer, head))
    return found


def _name_panels(root: ET.Element, figure_id: str, heads: dict[str, list[Head]], shape: Head) -> tuple[Panel, ...]:
    groups = [(parent, group) for parent in root.iter() for group in parent if _CELLS.search(group.get("class", ""))]
    cells = [(group, path) for _, group in groups for path in group]
    boxes = [_rect(path) for _, path in cells]
    if None in boxes or len(cells) != sum(len(found) for found in heads.values()):
        return ()
    panels, first = [], 0
    for key, found in heads.items():
        part = slice(first, first + len(found))
        first += len(found)
        panel = _fit(key, found, [box for box in boxes[part] if box is not None], shape)
        if found and panel is None:
            return ()
        panels += [(panel, cells[part])] if panel is not None else []
    uses = {id(group): _ids(parent, group, f"{figure_id}-cells{i}") for i, (parent, group) in enumerate(groups)}
    named: dict[int, list[Panel]] = {}
    made = []
    for panel, part_cells in panels:
        group = part_cells[0][0]
        made.append(Panel(panel.key, panel.at, panel.step, panel.shape, panel.down, uses[id(group)]))
        named.setdefault(id(group), []).append(made[-1])
    for _, group in groups:
        group.set("data-panels", "[" + ",".join(p.data() for p in named.get(id(group), [])) + "]")
        if len(group) >= COMPACT_FROM and len(named.get(id(group), [])) == 1:
            _compact(group, named[id(group)][0])
    return tuple(made)


def _rect(path: ET.Element) -> Box | None:
    match = _RECT.fullmatch(path.get("d", ""))
    return (float(match[1]), float(match[2]), float(match[3]), float(match[4])) if match else None


def _ids(parent: ET.Element, cells: ET.Element, name: str) -> tuple[str, ...]:
    """Give the cells and what is drawn on them ids; which these are."""
    shown = [g for g in parent if g is cells or _OVER.search(g.get("class", ""))]
    for i, group in enumerate(shown):
        group.set("id", name if group is cells else f"{name}-{i}")
    return tuple(group.attrib["id"] for group in shown)


def _fit(key: str, heads: Sequence[Head], boxes: Sequence[Box], shape: Head) -> Panel | None:
    """The regular grid that these cells stand on, layers across or layers down; None where they stand on none."""
    for down in (False, True):
        places = [(h, lay) if down else (lay, h) for lay, h in heads]
        across = _line([p[0] for p in places], [b[0] for b in boxes], max((b[2] for b in boxes), default=0.0))
        up = _line([p[1] for p in places], [b[1] for b in boxes], max((b[3] for b in boxes), default=0.0))
        if across and up:
            return Panel(key, (across[0], up[0]), (across[1], up[1]), shape, down)
    return None


def _line(indices: Sequence[int], starts: Sequence[float], size: float) -> tuple[float, float] | None:
    """(origin, step) such that start = origin + index * step; `size` is the step where there is one index only."""
    if not indices:
        return None
    (low, start), (high, end) = min(zip(indices, starts, strict=True)), max(zip(indices, starts, strict=True))
    step = (end - start) / (high - low) if high > low else size
    origin = start - low * step
    fits = all(abs(s - origin - i * step) <= SLACK for i, s in zip(indices, starts, strict=True))
    return (round(origin, 2), round(step, 4)) if fits and step > 0 else None


def _compact(group: ET.Element, panel: Panel) -> None:
    """The cells as strokes down a unit grid, cells of one colour that follow each other as one path.

    Order is kept: each cell reaches under its right and lower neighbours, which are drawn after it.
    """
    if any(set(path.attrib) - {"d", "fill"} for path in group):
        return
    boxes = [_rect(path) for path in group]
    wide = max(box[2] for box in boxes if box) / panel.step[0]
    over = max(box[3] for box in boxes if box) / panel.step[1] - 1
    runs: list[tuple[str, list[tuple[int, int, int]]]] = []  # colour, (x, first y, y after the last)
    for path, box in zip(group, boxes, strict=True):
        fill = path.get("fill", "")
        if box is None:
            return
        x, y = round((box[0] - panel.at[0]) / panel.step[0]), round((box[1] - panel.at[1]) / panel.step[1])
        if not runs or runs[-1][0] != fill:
            runs.append((fill, []))
        cells = runs[-1][1]
        if cells and cells[-1][0] == x and cells[-1][2] == y:
            cells[-1] = (x, cells[-1][1], y + 1)
        else:
            cells.append((x, y, y + 1))
    group[:] = []
    across, down = panel.step
    start = round(panel.at[0] + wide * across / 2, 3)
    grid = ET.SubElement(group, f"{{{SVG}}}g", {"fill": "none", "stroke-width": f"{wide:.3f}"})
    grid.set("transform", f"matrix({across},0,0,{down},{start},{panel.at[1]})")
    for fill, cells in runs:
        shapes = "".join(f"M{x},{low}v{f'{high - low + over:.2f}'.rstrip('0').rstrip('.')}" for x, low, high in cells)
        ET.SubElement(grid, f"{{{SVG}}}path", {"stroke": fill, "d": shapes})
