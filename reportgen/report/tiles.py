"""Drawings as the page carries them: score maps named where the figure says that they stand, and their thumbnails.

The page names the cell under a pointer from the panel's origin and steps, whatever else is drawn on top of it. Large
maps are rewritten on a unit grid, neighbours of one colour as one path: 80 x 64 heads take 0.2 MB. The first screen
shows every score map once, under one legend, with its controls on the same scale.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from markupsafe import Markup

from reportgen.figures.figure import MapPlace
from reportgen.figures.geometry import Bar, bar_of, under
from reportgen.figures.svg import SVG
from reportgen.report.document import Framed, FramedPanel, Plate, Report
from reportgen.report.labels import control_words
from reportgen.report.text import number
from reportgen.scores import Control, HeadScores

_CELLS = re.compile(r"\bcells(_down)?(_\d+)?_marks$")
_OVER = re.compile(r"\b(missing|significant|overlay)\w*_marks$")  # what a thumbnail shows beside the cells
_CORNER = re.compile(r"M(-?[\d.]+),(-?[\d.]+)h")
_DROPPED = ("class", "pointer-events", "aria-hidden")
_EMPTY = "M0,0h0v0h0Z"
_INHERITED = tuple("fill stroke stroke-width stroke-dasharray font-size font-weight font-style text-anchor".split())
SHARED_FROM = 3  # marks
COMPACT_FROM = 200  # cells
LONG_SHAPE, SHARED_SHAPE_FROM = 24, 6  # characters of a path, marks of that shape
_PLACE = re.compile(r"translate\((-?[\d.]+),(-?[\d.]+)\)")


def framed(svg: str, figure_id: str, places: Sequence[MapPlace], scores: Mapping[str, HeadScores]) -> Framed:
    """The drawing `svg` with its score maps named; `scores` are the run's, by key.

    Where the drawing and `places` do not agree the drawing stays as it is, without panels.
    """
    root = ET.fromstring(svg)  # checked in draw.py
    for name in ("title", "desc"):  # a title inside the page would pop up over the chart
        for element in root.findall(f"{{{SVG}}}{name}"):
            root.remove(element)
    maps = _maps(root, places)
    layers, heads = next((one.values.shape for one in scores.values()), (0, 0))
    uses = [_ids(parent, group, f"{figure_id}-cells{i}") for i, (parent, group, _) in enumerate(maps)]
    for _, group, held in maps:
        group.set("data-panels", "[" + ",".join(FramedPanel(**asdict(place)).data() for place in held) + "]")
        if len(group) >= COMPACT_FROM:
            _compact(group, [(place, _drawn(scores.get(place.key), (layers, heads))) for place in held])
    for element in root.iter():
        for name in _DROPPED:
            element.attrib.pop(name, None)
    by_id = {element.get("id", ""): element for element in root.iter()}
    defs = "".join(_text(element) for element in root.iter(f"{{{SVG}}}defs"))
    panels = []
    for (_, _, held), ids in zip(maps, uses, strict=True):
        art = defs + "".join(_text(by_id[name]) for name in ids)
        panels += [FramedPanel(**asdict(place), shape=(layers, heads), uses=ids, art=art) for place in held]
    for group in list(root.iter(f"{{{SVG}}}g")):
        _lighten(group)
    _share_shapes(root, figure_id)
    return Framed("".join(_text(child) for child in root), tuple(panels))


def _maps(root: ET.Element, places: Sequence[MapPlace]) -> list[tuple[ET.Element, ET.Element, Sequence[MapPlace]]]:
    """(parent, group of cells, the maps drawn in it): those with one colour bar in one group, else a group each."""
    found = [(parent, group) for parent in root.iter() for group in parent if _CELLS.search(group.get("class", ""))]
    if len(found) == 1 and places and all(place.shared for place in places):
        return [(*found[0], places)]
    return [(*at, [place]) for at, place in zip(found, places, strict=True)] if len(found) == len(places) else []


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


def _share_shapes(root: ET.Element, figure_id: str) -> None:
    """A shape drawn in many places stands in the file once: `<use>` draws the same, at a third of the bytes."""
    shapes: dict[str, list[tuple[ET.Element, str, str]]] = {}
    for path in root.iter(f"{{{SVG}}}path"):
        place = _PLACE.fullmatch(path.get("transform", ""))
        if place and len(path.get("d", "")) >= LONG_SHAPE:
            shapes.setdefault(path.attrib["d"], []).append((path, place[1], place[2]))
    common = {d: marks for d, marks in shapes.items() if len(marks) >= SHARED_SHAPE_FROM}
    if not common:
        return
    defs = ET.Element(f"{{{SVG}}}defs")
    for i, (d, marks) in enumerate(common.items()):
        name = f"{figure_id}-shape{i}"
        ET.SubElement(defs, f"{{{SVG}}}path", {"id": name, "d": d})
        for mark, x, y in marks:
            colours = {key: value for key, value in mark.attrib.items() if key not in ("d", "transform")}
            mark.tag, mark.attrib = f"{{{SVG}}}use", {"href": f"#{name}", "x": x, "y": y, **colours}
    root.insert(0, defs)


def _text(element: ET.Element) -> str:
    plain = ET.tostring(element, encoding="unicode").replace(f' xmlns="{SVG}"', "")
    return plain.replace(" />", "/>")


def _ids(parent: ET.Element, cells: ET.Element, name: str) -> tuple[str, ...]:
    """Give the cells and what is drawn on them ids; which these are."""
    shown = [g for g in parent if g is cells or _OVER.search(g.get("class", ""))]
    for i, group in enumerate(shown):
        group.set("id", name if group is cells else f"{name}-{i}")
    return tuple(group.attrib["id"] for group in shown)


def _drawn(scores: HeadScores | None, shape: tuple[int, int]) -> list[list[int]]:
    """(layer, head) of the cells of a map, in the order they are drawn: those with a value."""
    found: list[list[int]] = np.argwhere(np.ones(shape) if scores is None else np.isfinite(scores.values)).tolist()
    return found


def _compact(group: ET.Element, maps: Sequence[tuple[MapPlace, Sequence[Sequence[int]]]]) -> None:
    """The cells of each map, with its heads in the order drawn, on a unit grid; left alone where they do not fit it."""
    cells, grids, at = list(group), list[ET.Element](), 0
    for place, heads in maps:
        own = cells[at : at + len(heads)]
        at += len(heads)
        if len(own) != len(heads) or any(set(path.attrib) - {"d", "fill"} for path in own):
            return
        if own and not _is_at(own[0], place, heads[0]):
            return
        grids.append(_on_grid(own, place, heads))
    if at == len(cells):
        group[:] = grids


def _is_at(path: ET.Element, place: MapPlace, head: Sequence[int]) -> bool:
    """Whether a cell is drawn where the map has this head."""
    x, y = (head[1], head[0]) if place.down else (head[0], head[1])
    wanted = place.at[0] + x * place.step[0], place.at[1] + y * place.step[1]
    found = _CORNER.match(path.get("d", ""))
    return found is not None and max(abs(float(a) - b) for a, b in zip(found.groups(), wanted, strict=True)) < 1


def _on_grid(group: Sequence[ET.Element], place: MapPlace, heads: Sequence[Sequence[int]]) -> ET.Element:
    """The cells of `heads`, in this order, as strokes down a unit grid, those of one colour in a row as one path.

    Order is kept: each cell reaches under its right and lower neighbours, which are drawn after it.
    """
    runs: list[tuple[str, list[tuple[int, int, int]]]] = []  # colour, (x, first y, y after the last)
    for (layer, head), path in zip(heads, group, strict=True):
        fill = path.get("fill", "")
        x, y = (head, layer) if place.down else (layer, head)
        if not runs or runs[-1][0] != fill:
            runs.append((fill, []))
        cells = runs[-1][1]
        if cells and cells[-1][0] == x and cells[-1][2] == y:
            cells[-1] = (x, cells[-1][1], y + 1)
        else:
            cells.append((x, y, y + 1))
    across, down = place.step
    wide, over = 1 + under(min(place.step)) / across, under(min(place.step)) / down
    start = round(place.at[0] + wide * across / 2, 3)
    grid = ET.Element(f"{{{SVG}}}g", {"fill": "none", "stroke-width": f"{wide:.3f}"})
    grid.set("transform", f"matrix({across},0,0,{down},{start},{place.at[1]})")
    for fill, cells in runs:
        shapes = "".join(f"M{x},{low}v{f'{high - low + over:.2f}'.rstrip('0').rstrip('.')}" for x, low, high in cells)
        ET.SubElement(grid, f"{{{SVG}}}path", {"stroke": fill, "d": shapes})
    return grid


_STOP = re.compile(r'<stop offset="([\d.e-]+)" stop-color="#([0-9a-f]{6})"')
GREY = "#d4d4d4"


@dataclass(frozen=True)
class ColourScale:
    """The colours of a bar, as the figures themselves draw it: (offset 0..1, hex colour) in order."""

    stops: tuple[tuple[float, str], ...]

    def colour(self, share: float) -> str:
        """The colour at `share` 0..1 of the bar; beyond its ends the end's."""
        share = min(max(share, 0.0), 1.0)
        for (low, before), (high, after) in zip(self.stops, self.stops[1:], strict=False):
            if share <= high:
                part = 0.0 if high == low else (share - low) / (high - low)
                pairs = zip(_rgb(before), _rgb(after), strict=True)
                return "#" + "".join(f"{round(a + part * (b - a)):02x}" for a, b in pairs)
        return self.stops[-1][1]


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


@dataclass(frozen=True)
class Art:
    """A control as a small map: its SVG inside, in cells, or none where it was not scored."""

    words: str
    short: str
    body: Markup


@dataclass(frozen=True)
class Thumbnail:
    """One thumbnail. `range` is empty where the scale is that of the common legend; `controls` are by name."""

    key: str
    label: str
    suite: str
    anchor: str
    number: int
    panel: FramedPanel
    range: str
    controls: Mapping[str, Art]


@dataclass(frozen=True)
class Wall:
    """All thumbnails, and the scales they stand on; None for a scale that no map has."""

    tiles: tuple[Thumbnail, ...]
    shares: ColourScale | None
    signed: ColourScale | None
    controls: Mapping[str, str]  # what there is to switch to, by name, and what each is


def wall(report: Report) -> Wall:
    """The thumbnails of `report`, one per score that a figure draws, in the order of the figures."""
    scores = {s.key: s for s in report.scores}
    places = _places(report, scores)
    scales = {signed: _scale(places, scores, signed) for signed in (False, True)}
    tiles = [_tile(plate, panel, scores[panel.key], report.names[panel.key], scales[False]) for plate, panel in places]
    meanings = {control.name: control.meaning for s in report.scores for control in s.controls}
    drawn = {name for tile in tiles for name in tile.controls}
    shown = {name: meaning for name, meaning in meanings.items() if name in drawn}
    return Wall(tuple(tiles), scales[False], scales[True], shown)


def _places(report: Report, scores: Mapping[str, HeadScores]) -> list[tuple[Plate, FramedPanel]]:
    """Where each score is drawn: on a figure of its own where there is one, else on its first."""
    found: dict[str, tuple[Plate, FramedPanel]] = {}
    for plate in sorted(report.plates, key=lambda p: len(report.frames[p.id].panels)):
        for panel in report.frames[plate.id].panels:
            if panel.key in scores:
                found.setdefault(panel.key, (plate, panel))
    return sorted(found.values(), key=lambda place: place[0].number)


def _scale(
    places: Sequence[tuple[Plate, FramedPanel]], scores: Mapping[str, HeadScores], signed: bool
) -> ColourScale | None:
    """The colours of the first map of this kind."""
    for plate, panel in places:
        stops = tuple((float(at), f"#{colour}") for at, colour in _STOP.findall(plate.svg))
        if len(plate.keys) == 1 and len(stops) > 1 and bar_of(scores[panel.key]).signed == signed:
            return ColourScale(stops)
    return None


def _tile(
    plate: Plate,
    panel: FramedPanel,
    scores: HeadScores,
    name: str,
    scale: ColourScale | None,
) -> Thumbnail:
    bar = bar_of(scores)
    drawn = scores.controls if scale is not None and not bar.signed else ()
    return Thumbnail(
        key=scores.key,
        label=_short(name),
        suite=scores.suite,
        anchor=plate.anchor,
        number=plate.number,
        panel=panel,
        range="scale of its figure" if panel.shared else _range(bar),
        controls={control.name: _art(control, panel, bar, scale) for control in drawn if scale},
    )


def _short(label: str) -> str:
    """A label without what every thumbnail is."""
    label = label.removesuffix(" (share of the gap)").removesuffix(" on the logits")
    return label.removesuffix(" score").removesuffix(" attention") or label


def _range(bar: Bar) -> str:
    if bar.signed:
        return f"± {number(bar.high, min(max(bar.digits, 1), 5))}"
    return "" if (bar.low, bar.high) == (0.0, 1.0) else f"0 to {number(bar.high, min(max(bar.digits, 1), 5))}"


def _art(control: Control, panel: FramedPanel, bar: Bar, scale: ColourScale) -> Art:
    """The control drawn in cells: one rectangle for one value, else a path per colour."""
    if control.values is None:
        colour = scale.colour((control.value - bar.low) / (bar.high - bar.low))
        body = f'<rect width="{panel.columns}" height="{panel.rows}" fill="{colour}"/>'
        words = control_words(control)
        return Art(words, words.removeprefix(f"{control.name} "), Markup(body))
    paths: dict[str, list[str]] = {}
    for (layer, head), value in np.ndenumerate(control.values):
        x, y = (head, layer) if panel.down else (layer, head)
        share = (float(value) - bar.low) / (bar.high - bar.low)
        colour = scale.colour(share) if np.isfinite(value) else GREY
        paths.setdefault(colour, []).append(f"M{x},{y}h1v1H{x}z")
    parts = (f'<path fill="{colour}" d="{"".join(shapes)}"/>' for colour, shapes in paths.items())
    return Art(control_words(control), f"highest {number(control.value)}", Markup("".join(parts)))
