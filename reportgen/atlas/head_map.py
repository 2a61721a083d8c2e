"""The map of every head of every run: relative depth across, one score up, as small static SVG paths.

A run is one path with a dot for each head in layer-major order, so a script can tell which dot is which head; a head
without a value is a move without a dot.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reportgen import suites
from reportgen.nulls import is_signed
from reportgen.report.document import Report
from reportgen.report.text import number, plural, printed_count
from reportgen.scores import HeadScores

WIDE, HIGH = 300, 85  # of the plot, in units of its paths: whole numbers, so that 50,000 heads fit on a page
MOST_MAPS = 6
TICK = 7  # units between the numbers of two ticks
MOST_NAMED = 8  # runs that a caption names
HUES = 6  # runs with a colour of their own


@dataclass(frozen=True)
class Dots:
    """A run's dots: its place on the site, and the path's `d`."""

    place: int
    path: str


@dataclass(frozen=True)
class HeadMap:
    """One score of all runs that have it. `ticks` are (y, words)."""

    key: str
    label: str
    dots: tuple[Dots, ...]
    ticks: tuple[tuple[float, str], ...]
    caption: str
    alt: str


def head_maps(reports: Sequence[Report], most: int = MOST_MAPS) -> tuple[HeadMap, ...]:
    """The maps of at most `most` scores: those that most runs hold, the suites in turn."""
    held = [{score.key: score for score in report.scores} for report in reports]
    return tuple(_map(key, reports, held) for key in chosen(held, most))


def chosen(held: Sequence[Mapping[str, HeadScores]], most: int = MOST_MAPS) -> list[str]:
    """Score keys: in turn one of each suite, first what most runs hold, then what the suite features."""
    counts = Counter(key for scores in held for key in scores)
    known = suites.drawable({key.split("/")[0] for key in counts})
    queues: dict[str, list[str]] = {}
    for key in counts:
        queues.setdefault(key.split("/")[0], []).append(key)
    for name, queue in queues.items():
        starts = [f"{name}/{start}" for start in known[name].featured] if name in known else []
        wanted = {key: next((i for i, s in enumerate(starts) if key.startswith(s)), len(starts)) for key in queue}
        queue.sort(key=lambda key: (-counts[key], wanted[key]))
    order = sorted(queues.values(), key=lambda queue: -counts[queue[0]])
    return [queue[i] for i in range(most) for queue in order if i < len(queue)][:most]


def _map(key: str, reports: Sequence[Report], held: Sequence[Mapping[str, HeadScores]]) -> HeadMap:
    places = [i for i, scores in enumerate(held) if key in scores]
    grids = [held[i][key].exact_values.astype(np.float64) for i in places]
    low, high = limits([held[i][key] for i in places])
    first = reports[places[0]]
    title = next((s.title for s in first.sections if s.name == key.split("/")[0]), key.split("/")[0])
    label = f"{title}: {first.names[key]}"
    count = sum(int(np.isfinite(grid).sum()) for grid in grids)
    ends = [x for x in (low, high) if abs(_up(x, low, high) - _up(0.0, low, high)) > TICK or not low <= 0 <= high]
    beside = sorted({*ends, *([0.0] if low <= 0 <= high else [])})
    names = [reports[i].name for i in places[:MOST_NAMED]] + (["…"] if len(places) > MOST_NAMED else [])
    largest_first = sorted(zip(places, grids, strict=True), key=lambda pair: -pair[1].size)  # small runs stay visible
    return HeadMap(
        key=key,
        label=label,
        dots=tuple(Dots(i, path(grid, low, high)) for i, grid in largest_first),
        ticks=tuple((round(_up(x, low, high), 1), number(x, 2)) for x in beside),
        caption=f"{printed_count(count)} heads of {plural(len(places), 'run')}: {', '.join(names)}.",
        alt=f"Dots by relative depth and {label}.",
    )


def limits(every: Sequence[HeadScores]) -> tuple[float, float]:
    """The ends of the scale: the score's range where it has one, else what occurs, around 0 where that is meant."""
    known = np.concatenate([s.exact_values[np.isfinite(s.exact_values)] for s in every]).astype(np.float64)
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if is_signed(every[0]):
        low, high = min(low, 0.0), max(high, 0.0)
    bounds = every[0].range
    low = bounds[0] if math.isfinite(bounds[0]) and not is_signed(every[0]) else low
    high = bounds[1] if bounds[1] == 1 and high > 0.5 else high
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _up(value: float, low: float, high: float) -> float:
    return HIGH * (1 - (value - low) / (high - low))


def path(grid: np.ndarray[tuple[int, ...], np.dtype[np.float64]], low: float, high: float) -> str:
    """A dot for every head of [layer head], each a move from the one before, in whole units."""
    layers, heads = grid.shape
    along = (np.arange(layers)[:, None] + 0.1 + 0.8 * (np.arange(heads) + 0.5) / heads) / layers  # [layer head]
    x = np.rint(WIDE * along).astype(int).ravel()
    known = np.isfinite(grid).ravel()
    share = np.where(known, (np.nan_to_num(grid.ravel()) - low) / (high - low), 0)
    y = np.rint(HIGH * (1 - np.clip(share, 0, 1))).astype(int)
    parts, here = [], (0, 0)
    for i, there in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        there = there if known[i] else (there[0], here[1])
        dx, dy = there[0] - here[0], there[1] - here[1]
        parts.append(f"m{dx}{'' if dy < 0 else ' '}{dy}{'z' if known[i] else ''}")
        here = there
    return "".join(parts)
