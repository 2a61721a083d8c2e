"""The first screen's thumbnails: every score map once, under one legend, with its controls on the same scale."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from reportgen.figures.geometry import Bar, bar_of
from reportgen.report.controls import COPIER, TWIN, Control
from reportgen.report.frames import Panel
from reportgen.report.parts import Plate, Report
from reportgen.report.text import number
from reportgen.scores import HeadScores

_STOP = re.compile(r'<stop offset="([\d.e-]+)" stop-color="#([0-9a-f]{6})"')
GREY = "#d4d4d4"


@dataclass(frozen=True)
class Scale:
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
class Tile:
    """One thumbnail. `range` is empty where the scale is that of the common legend."""

    key: str
    label: str
    suite: str
    anchor: str
    number: int
    panel: Panel
    range: str
    copier: Art | None
    twin: Art | None


@dataclass(frozen=True)
class Wall:
    """All thumbnails, and the scales they stand on; None for a scale that no map has."""

    tiles: tuple[Tile, ...]
    shares: Scale | None
    signed: Scale | None

    @property
    def controlled(self) -> bool:
        """Whether there is anything to switch to."""
        return any(tile.copier or tile.twin for tile in self.tiles)


def wall(report: Report) -> Wall:
    """The thumbnails of `report`, one per score that a figure draws, in the order of the figures."""
    scores = {s.key: s for s in report.scores}
    places = _places(report, scores)
    scales = {signed: _scale(places, scores, signed) for signed in (False, True)}
    tiles = [
        _tile(
            plate, panel, scores[panel.key], report.names[panel.key], scales[False], report.controls.get(panel.key, ())
        )
        for plate, panel in places
    ]
    return Wall(tuple(tiles), scales[False], scales[True])


def _places(report: Report, scores: Mapping[str, HeadScores]) -> list[tuple[Plate, Panel]]:
    """Where each score is drawn: on a figure of its own where there is one, else on its first."""
    found: dict[str, tuple[Plate, Panel]] = {}
    for plate in sorted(report.plates, key=lambda p: len(report.frames[p.id].panels)):
        for panel in report.frames[plate.id].panels:
            if panel.key in scores:
                found.setdefault(panel.key, (plate, panel))
    return sorted(found.values(), key=lambda place: place[0].number)


def _scale(places: Sequence[tuple[Plate, Panel]], scores: Mapping[str, HeadScores], signed: bool) -> Scale | None:
    """The colours of the first map of this kind."""
    for plate, panel in places:
        stops = tuple((float(at), f"#{colour}") for at, colour in _STOP.findall(plate.svg))
        if len(plate.keys) == 1 and len(stops) > 1 and bar_of(scores[panel.key]).signed == signed:
            return Scale(stops)
    return None


def _tile(
    plate: Plate, panel: Panel, scores: HeadScores, name: str, scale: Scale | None, controls: Sequence[Control]
) -> Tile:
    bar = bar_of(scores)
    drawn = controls if scale is not None and not bar.signed else ()
    arts = {control.name: _art(control, panel, bar, scale) for control in drawn if scale}
    return Tile(
        key=scores.key,
        label=_short(name),
        suite=scores.suite,
        anchor=plate.anchor,
        number=plate.number,
        panel=panel,
        range="scale of its figure" if panel.down or _shares_a_bar(plate) else _range(bar),
        copier=arts.get(COPIER),
        twin=arts.get(TWIN),
    )


def _short(label: str) -> str:
    """A label without what every thumbnail is."""
    label = label.removesuffix(" (share of the gap)").removesuffix(" on the logits")
    return label.removesuffix(" score").removesuffix(" attention") or label


def _shares_a_bar(plate: Plate) -> bool:
    """Whether its maps stand on one colour bar together: a map's own bar is a gradient."""
    return len(plate.keys) > 1 and plate.svg.count("<linearGradient") < len(plate.keys)


def _range(bar: Bar) -> str:
    if bar.signed:
        return f"± {number(bar.high, min(max(bar.digits, 1), 5))}"
    return "" if (bar.low, bar.high) == (0.0, 1.0) else f"0 to {number(bar.high, min(max(bar.digits, 1), 5))}"


def _art(control: Control, panel: Panel, bar: Bar, scale: Scale) -> Art:
    """The control drawn in cells: one rectangle for one value, else a path per colour."""
    if control.values is None:
        colour = scale.colour((control.value - bar.low) / (bar.high - bar.low))
        body = f'<rect width="{panel.columns}" height="{panel.rows}" fill="{colour}"/>'
        return Art(control.words, control.words.removeprefix(f"{control.name} "), Markup(body))
    paths: dict[str, list[str]] = {}
    for (layer, head), value in np.ndenumerate(control.values):
        x, y = (head, layer) if panel.down else (layer, head)
        share = (float(value) - bar.low) / (bar.high - bar.low)
        colour = scale.colour(share) if np.isfinite(value) else GREY
        paths.setdefault(colour, []).append(f"M{x},{y}h1v1H{x}z")
    parts = (f'<path fill="{colour}" d="{"".join(shapes)}"/>' for colour, shapes in paths.items())
    return Art(control.words, f"highest {number(control.value)}", Markup("".join(parts)))
