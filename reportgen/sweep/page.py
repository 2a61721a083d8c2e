"""A sweep's report as one self-contained HTML file and as one PDF, from the same plates. No torch.

The page is complete with scripts off; with them, a slider moves through the steps of every filmstrip at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import count
from typing import Any

import numpy as np
from markupsafe import Markup

from reportgen import __version__
from reportgen.figures.fonts import printable
from reportgen.report.html import DOWNLOADS, SCALE, WIDE_PX, environment, policy, scripts, template
from reportgen.report.parts import Grid, Pairs, Plate
from reportgen.report.pdf import compile_pdf, moment
from reportgen.report.text import clean
from reportgen.sweep.series import Track

FILES = {"report.pdf": "PDF", "report.zip": "Everything, zip", "scores.csv": "All scores, CSV"}
MOST_VALUES = 400_000  # numbers that the slider carries; a longer sweep's slider gets every second step, or fewer
_MAX_ROWS = 60  # of a table on paper
_FILL = re.compile(r'fill="(#[0-9a-f]{6})"')


@dataclass(frozen=True)
class Part:
    """One section: figures of one suite on one training run, or the families."""

    title: str
    anchor: str
    plates: tuple[Plate, ...]
    tables: tuple[Grid, ...] = ()
    undrawn: tuple[str, ...] = ()  # figures that could not be drawn, and why


@dataclass(frozen=True)
class SweepReport:
    """Everything the page and the PDF say; all text clean."""

    title: str
    name: str
    created: str
    synthetic: bool
    facts: Pairs
    failed: tuple[tuple[str, str], ...]  # member, reason
    parts: tuple[Part, ...]
    members: Grid
    provenance: Pairs
    slides: Mapping[str, Mapping[str, Any]]  # figure id -> what its slider shows

    @property
    def plates(self) -> tuple[Plate, ...]:
        return tuple(plate for part in self.parts for plate in part.plates)


def page(report: SweepReport, formats: Sequence[str], tex: Mapping[str, str], present: Sequence[str]) -> str:
    """The page. `formats` of figures beside it; `tex` snippets by id; `present`: names of FILES beside it."""
    style = template("style.css") + template("sweep.css")
    script = scripts("base.js", "sweep.js")
    return (
        environment()
        .get_template("sweep.html.jinja")
        .render(
            r=report,
            version=__version__,
            style=Markup(style),
            script=Markup(script),
            policy=policy(style, script),
            downloads=[d for d in DOWNLOADS if d[0] in formats],
            files=[(name, words) for name, words in FILES.items() if name in present],
            tex=tex,
            art={plate.id: _inline(plate) for plate in report.plates},
            wide_px=WIDE_PX,
            uid=count(1).__next__,
        )
    )


def _inline(plate: Plate) -> Markup:
    """The plate's drawing as part of the page, named for screen readers; its root is written anew."""
    inside = plate.svg[plate.svg.index(">") + 1 : plate.svg.rindex("</svg>")]
    size = (round(SCALE * plate.width), round(SCALE * plate.height))
    font = "Liberation Sans, Arial, Helvetica, sans-serif"
    head = Markup('<svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}" font-family="{}">')
    return head.format(plate.width, plate.height, *size, plate.alt, font) + Markup(inside) + Markup("</svg>")


def slide(track: Track, svg: str) -> dict[str, Any]:
    """One score at every step, as the slider shows it, in the colours of the drawn filmstrip."""
    every = max(1, -(-sum(p.scores.values.size for p in track.points) // MOST_VALUES))
    points = [p for i, p in enumerate(track.points) if i % every == 0 or i == len(track.points) - 1]
    shown = [p.scores.exact_values if track.signed else p.sizes for p in points]
    masks = [p.above() for p in points]
    low, high, colours = _bar(svg)
    return {
        "label": clean(track.label),
        "steps": [p.member.step for p in points],
        "shape": list(points[0].shape),
        "low": low,
        "high": high,
        "colours": colours,
        "values": [[_short(v) for v in grid.ravel().tolist()] for grid in shown],
        "above": [np.flatnonzero(mask).tolist() if mask is not None else [] for mask in masks],
    }


def _short(value: float) -> float | None:
    return None if not np.isfinite(value) else float(f"{value:.3g}")


def _bar(svg: str) -> tuple[float, float, list[str]]:
    """(lowest, highest, colours upwards) of the colour bar in a drawn filmstrip."""
    start = svg.index("bar_marks")
    colours = list(dict.fromkeys(_FILL.findall(svg[start : svg.index("</g>", start)])))
    numbers = svg[svg.index("bar_numbers_marks") :]
    texts = re.findall(r">([^<>]+)</text>", numbers[: numbers.index("</g>")])
    values = [float(text.rstrip("+").replace("\u2212", "-")) for text in texts]
    return min(values), max(values), colours


def document(report: SweepReport) -> bytes:
    """The report as PDF/UA-1. Raises PdfError when Typst fails or warns."""
    sources = {f"{plate.id}.svg": printable(plate.svg).encode() for plate in report.plates}
    sources["report.json"] = json.dumps(_data(report)).encode()
    with as_file(files("reportgen.templates")) as templates:
        sources["main.typ"] = (templates / "sweep.typ").read_bytes()
        return compile_pdf(sources, templates / "fonts", moment(report.created))


def _data(report: SweepReport) -> dict[str, Any]:
    value = {
        "title": report.title, "name": report.name, "date": report.created[:10], "version": __version__,
        "synthetic": report.synthetic, "facts": report.facts, "failed": report.failed,
        "parts": [
            {"title": p.title, "undrawn": p.undrawn, "plates": [_plate(x) for x in p.plates]} for p in report.parts
        ],
        "members": {"columns": report.members.columns, "rows": report.members.rows[:_MAX_ROWS]},
        "hidden": max(0, len(report.members.rows) - _MAX_ROWS), "provenance": report.provenance,
    }  # fmt: skip
    made: dict[str, Any] = _printable(value)
    return made


def _plate(plate: Plate) -> dict[str, Any]:
    return {
        "file": f"{plate.id}.svg", "title": plate.title, "caption": " ".join((plate.caption, *plate.notes)),
        "alt": plate.alt, "width": plate.width, "height": plate.height,
    }  # fmt: skip


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {key: _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list | tuple) else value
