"""The gallery's cards: one per run, with the same small maps in the same order wherever runs have them."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reportgen.figures.geometry import bar_of
from reportgen.manifest import Manifest
from reportgen.report.about import by_suite
from reportgen.report.leading import beyond, order
from reportgen.report.parts import Pairs, Report
from reportgen.report.text import NOT_COMPUTED, clean, number, parameters, plural
from reportgen.report.tiles import GREY, Scale, Tile, Wall, wall
from reportgen.scores import HeadScores
from reportgen.suites.compared.suite import NAME as COMPARED

MOST_MAPS = 8
FIRST = (  # scores that readers look for; others follow in the report's order
    "attention/induction/", "attention/previous_token/", "circuits/direct/ioi", "circuits/total/ioi",
    "relations/score/name_copying", "relations/suppression/name_copying", "relations/score/country_to_capital",
)  # fmt: skip
# Viridis and ColorBrewer's RdBu reversed, as Vega has them.
SHARES = Scale(((0.0, "#440154"), (0.25, "#3b528b"), (0.5, "#21908d"), (0.75, "#5dc963"), (1.0, "#fde725")))
SIGNED = Scale(((0.0, "#134b85"), (0.25, "#8ac0db"), (0.5, "#f2efee"), (0.75, "#f4ae8c"), (1.0, "#8d1228")))
_STATUS = ("done", "skipped", "failed")
KINDS = {"import": "imported", "comparison": "comparison", "fixture": "made up"}


@dataclass(frozen=True)
class Map:
    """One thumbnail: a PNG of one pixel a head, as a data address. `note` says how many heads beat the null."""

    key: str
    label: str
    anchor: str
    png: str
    note: str


@dataclass(frozen=True)
class Card:
    """One run in the gallery. `sort` holds what cards are ordered by."""

    slug: str
    name: str
    kind: str
    synthetic: bool
    facts: Pairs
    suites: tuple[str, ...]
    skipped: tuple[str, ...]  # suites that this model has no place for: no fault
    failed: tuple[str, ...]
    maps: tuple[Map, ...]
    sort: Mapping[str, str | float]
    words: str


def cards(found: Sequence[tuple[Manifest, Report]]) -> tuple[Card, ...]:
    """A card per run, in the order given: that of site.toml or of the command line."""
    walls = [wall(report) for _, report in found]
    counts = Counter(tile.key for w in walls for tile in w.tiles)
    pairs = enumerate(zip(found, walls, strict=True))
    return tuple(_card(manifest, report, w, counts, i) for i, ((manifest, report), w) in pairs)


def _card(manifest: Manifest, report: Report, drawn: Wall, counts: Mapping[str, int], place: int) -> Card:
    model = manifest.model
    scores = {s.key: s for s in report.scores}
    maps = [_map(tile, scores[tile.key], _scale(drawn, scores[tile.key])) for tile in chosen(drawn.tiles, counts)]
    by_status = {status: tuple(s.title for s in report.sections if s.status == status) for status in _STATUS}
    suites, skipped, failed = (by_status[status] for status in _STATUS)
    labels = " ".join(tile.label for tile in drawn.tiles)
    return Card(
        slug=report.slug,
        name=report.name,
        kind=KINDS.get(model.source, ""),
        synthetic=report.synthetic,
        facts=_facts(manifest, report),
        suites=suites,
        skipped=skipped,
        failed=failed,
        maps=tuple(maps),
        sort={
            "place": place,
            "name": report.name.lower(),
            "layers": model.n_layers,
            "heads": model.n_layers * model.n_heads,
            "parameters": model.n_params,
            "date": manifest.created,
        },
        words=clean(" ".join((report.name, report.slug, model.family, *suites, labels))).lower(),
    )


def _facts(manifest: Manifest, report: Report) -> Pairs:
    model = manifest.model
    if model.source == "comparison":
        return (("Date", report.date),)
    grid = f"{model.n_layers} × {plural(model.n_heads, 'head')}"
    rows = (
        ("Grid", grid),
        ("Parameters", parameters(model.n_params) if model.n_params else ""),
        ("Family", clean(model.family)),
        ("Weights", clean(model.dequantised)),
        ("Preset", clean(by_suite(manifest, lambda record: record.preset))),
        ("Date", report.date),
    )
    return tuple((name, value) for name, value in rows if value)


def chosen(tiles: Sequence[Tile], counts: Mapping[str, int]) -> list[Tile]:
    """At most eight maps, the suites in turn; within a suite first what most runs have, then what readers look for."""
    tiles_of: dict[str, list[Tile]] = {}
    for tile in tiles:
        tiles_of.setdefault(tile.suite, []).append(tile)
    queues = [sorted(found, key=lambda t: (-counts[t.key], _wanted(t.key))) for found in tiles_of.values()]
    turns = [queue[i] for i in range(MOST_MAPS) for queue in queues if i < len(queue)][:MOST_MAPS]
    place = {tile.key: i for i, tile in enumerate(tiles)}
    return sorted(turns, key=lambda t: place[t.key])


def _wanted(key: str) -> int:
    return next((i for i, start in enumerate(FIRST) if key.startswith(start)), len(FIRST))


def _scale(drawn: Wall, scores: HeadScores) -> Scale:
    """The colours that the run's own figures have; the usual ones where no figure of one map shows them."""
    if bar_of(scores).signed:
        return drawn.signed or SIGNED
    return drawn.shares or SHARES


def _map(tile: Tile, scores: HeadScores, scale: Scale) -> Map:
    past, heads = beyond(scores), len(order(scores))
    note = "" if past == NOT_COMPUTED else f"{past} of {heads}"
    if scores.suite == COMPARED:  # differences are small beside what is possible: each map to its own size
        scores = replace(scores, range=(-math.inf, math.inf))
        note = f"± {number(bar_of(scores).high)}" if np.nan_to_num(scores.values).any() else "no difference"
    return Map(
        key=scores.key,
        label=tile.label,
        anchor=tile.anchor,
        png="data:image/png;base64," + base64.b64encode(pixels(scores, scale, tile.panel.down)).decode(),
        note=note,
    )


def pixels(scores: HeadScores, scale: Scale, down: bool) -> bytes:
    """A PNG of one pixel a head: layers across and heads down as in the figures, or layers down."""
    bar = bar_of(scores)
    share = (scores.values.astype(np.float64) - bar.low) / (bar.high - bar.low)  # [layer head]
    ramp = np.array([_rgb(scale.colour(i / 255)) for i in range(256)], dtype=np.uint8)  # [step rgb]
    step = np.clip(np.nan_to_num(np.round(share * 255)), 0, 255).astype(np.intp)
    image = ramp[step]
    image[np.isnan(share)] = _rgb(GREY)
    return _png(image if down else image.transpose(1, 0, 2))


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    """An 8-bit RGB PNG of [row column rgb]."""
    high, wide, _ = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    sums = ((kind, data, zlib.crc32(kind + data)) for kind, data in parts)
    chunks = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", total) for kind, data, total in sums)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
