"""A report as one PDF through Typst: tagged, vector, byte-identical for the same report.

- The template reads its data with `json(...)`: no text is ever pasted into markup.
- PDF/UA-1 refuses characters that no font has. The report's fonts are known, so what they lack is written out.
- Warnings are errors: a missing font or a broken reference must not pass as a slightly different document.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import typst

from reportgen import __version__
from reportgen.figures.export import LEAST_PT, smallest_text
from reportgen.figures.theme import printable, text_width
from reportgen.report.document import Leading, Plate, Report, Section, SetText, TextTable
from reportgen.report.tiles import Thumbnail, wall
from reportgen.report.verdicts import on_first_screen

# How wide the columns of a printed table are: text sizes and widths that keep every table on its page.

PORTRAIT_PT = 470.0  # A4 less its margins
LANDSCAPE_PT = 717.0
SIZES_PT = (7.6, 7.0, 6.4)
INSET_PT = 8.6  # left and right of a cell, and a little for rounding
_BREAKS = re.compile(r"[\s\u200b]+|(?<=-)(?=[^\W\d])")  # where Typst breaks lines: no number is split
LONGEST = 24  # characters; longer words get places to break at


@dataclass(frozen=True)
class TablePart:
    """Some columns of a table, by index, and their widths in points."""

    columns: tuple[int, ...]
    widths: tuple[float, ...]


@dataclass(frozen=True)
class TableLayout:
    """Text size and the parts that stand below each other; `landscape` where no size fits an upright page."""

    size: float
    parts: tuple[TablePart, ...]
    landscape: bool


def fit(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> TableLayout:
    """The largest text at which no number wraps and no word is cut; upright where possible.

    A table too wide for a page on its side is cut into parts that repeat its first column.
    """
    every = tuple(range(len(columns)))
    for width, landscape in ((PORTRAIT_PT, False), (LANDSCAPE_PT, True)):
        for size in SIZES_PT:
            least, natural = _needs(columns, rows, numeric, size)
            if sum(least) <= width:
                return TableLayout(size, (TablePart(every, _share(least, natural, width)),), landscape)
    return TableLayout(SIZES_PT[-1], tuple(_cut(least, natural)), True)


def _cut(least: Sequence[float], natural: Sequence[float]) -> list[TablePart]:
    """The columns in order, as many to a part as fit beside the first one."""
    groups: list[list[int]] = [[0]]
    for i in range(1, len(least)):
        if sum(least[j] for j in groups[-1]) + least[i] > LANDSCAPE_PT and len(groups[-1]) > 1:
            groups.append([0])
        groups[-1].append(i)
    parts = []
    for group in groups:
        narrow = [min(least[i], LANDSCAPE_PT / 2) for i in group]
        parts.append(TablePart(tuple(group), _share(narrow, [max(natural[i], least[i]) for i in group], LANDSCAPE_PT)))
    return parts


def _needs(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], size: float
) -> tuple[list[float], list[float]]:
    """Per column the width below which a word or number would be cut, and the width at which nothing wraps."""
    least, natural = [], []
    for i, name in enumerate(columns):
        cells = [row[i] for row in rows]
        whole = [text_width(cell, size) for cell in cells]
        parts = whole if numeric[i] else [longest(cell, size) for cell in cells]
        least.append(max([*parts, longest(name, size, bold=True)]) + INSET_PT)
        wish = max([*whole, text_width(name, size, bold=True)]) + INSET_PT
        natural.append(max(least[-1], min(wish, PORTRAIT_PT / 2)))  # one long text must not starve the others
    return least, natural


def longest(text: str, size: float, bold: bool = False) -> float:
    """Width of the widest piece of `text` that no line break can go through."""
    words = [word[:LONGEST] for word in _BREAKS.split(text)]
    return max(text_width(word, size, bold) for word in words)


def _share(least: Sequence[float], natural: Sequence[float], width: float) -> tuple[float, ...]:
    """Natural widths where they fit, else the least ones and a fair share of what is left."""
    room = max(width - sum(least), 0.0)
    wish = sum(natural) - sum(least)
    part = 1.0 if wish <= room else room / wish
    return tuple(round(a + part * (b - a), 2) for a, b in zip(least, natural, strict=True))


RUNNING = 80  # characters of the running head
MAX_ROWS, MAX_COLUMNS = 5, 12  # of a table on paper; the page and the CSV have the rest
_METADATA = {"document", "alt", "file", "id"}  # never set as text: no places to break at
_LONG = re.compile(r"\S{24}(?=\S)")


class PdfError(RuntimeError):
    """The report's own Typst template failed or warned: a bug of this program, never of the user's data."""


def document(report: Report) -> bytes:
    """The report as PDF/UA-1. Raises PdfError when Typst fails or warns."""
    sources = {
        f"{plate.id}.svg": printable(plate.svg).encode() for plate in report.plates if not plate.figure.supplementary
    }
    tiles = wall(report).tiles
    sources |= {f"tile-{i}.svg": _tile_svg(tile).encode() for i, tile in enumerate(tiles)}
    sources["report.json"] = json.dumps(data(report)).encode()
    with as_file(files("reportgen.templates")) as templates:
        sources["main.typ"] = (templates / "report.typ").read_bytes()
        return compile_pdf(sources, templates / "fonts", moment(report.created))


def compile_pdf(sources: Mapping[str, bytes], fonts: Path, created: datetime) -> bytes:
    """`main.typ` among `sources` as tagged PDF/UA-1, with the fonts of one folder and no other. Raises PdfError."""
    held: Any = dict(sources)  # files in memory; the stubs lag behind
    try:
        pdf, warnings = typst.compile_with_warnings(
            held,
            font_paths=[str(fonts)],
            ignore_system_fonts=True,
            format="pdf",
            pdf_standards=["ua-1"],
            timestamp=created,
        )
    except typst.TypstError as error:
        raise PdfError(f"{error.message}: {error.diagnostic}") from error
    if warnings:
        raise PdfError("; ".join(w.message for w in warnings))
    if not isinstance(pdf, bytes):
        raise PdfError(f"a PDF came out as {type(pdf).__name__}")
    return pdf


def moment(created: str) -> datetime:
    """A run's `created` as the document's date; the epoch where a foreign run says no readable date."""
    try:
        found = datetime.fromisoformat(created)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def breakable(text: str) -> str:
    """Very long words get places to break at (U+200B), so that no table runs off the page."""
    return _LONG.sub(lambda match: f"{match[0]}\u200b", text)


def data(report: Report) -> dict[str, Any]:
    """What the template reads: plain JSON values, all text ready to set."""
    value = {
        "document": report.title,
        "running": report.title if len(report.title) <= RUNNING else f"{report.title[:RUNNING]}…",
        "name": report.name,
        "date": report.date,
        "slug": report.slug,
        "version": __version__,
        "synthetic": report.synthetic,
        "check": report.check,
        "broken": report.broken,
        "facts": report.facts,
        "banner": report.banner,
        "verdicts": [{"text": v.text, "causal": v.causal} for v in report.verdicts],
        "first_verdicts": on_first_screen(report.verdicts),
        "tiles": [_tile(tile, f"tile-{i}.svg") for i, tile in enumerate(wall(report).tiles)],
        "sections": [_section(s) for s in report.sections],
        "sets": [{"legend": legend, "sets": [_head_set(s) for s in sets]} for legend, sets in report.set_groups],
        "not_computed": _grid(_missing(report)) if report.not_computed else None,
        "provenance": report.provenance,
        "glossary": report.glossary,
        "sources": [s.citation for s in report.sources],
    }
    result: dict[str, Any] = _set(value)
    return result


def _tile_svg(tile: Thumbnail) -> str:
    """A thumbnail as a file of its own."""
    across, down = tile.panel.columns, tile.panel.rows
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {down}" width="{10 * across}" '
        f'height="{10 * down}"><g transform="{tile.panel.in_cells()}">{tile.panel.art}</g></svg>'
    )


def _tile(tile: Thumbnail, file: str) -> dict[str, Any]:
    return {
        "file": file,
        "number": tile.number,
        "label": tile.label,
        "range": tile.range,
        "controls": "; ".join(f"{name.split()[-1]} {found.short}" for name, found in tile.controls.items()),
    }


def _head_set(heads: SetText) -> dict[str, Any]:
    return {
        "label": heads.label,
        "heads": ", ".join(heads.heads) or "no head",
        "source": f"{heads.kind}, {heads.source}",
        "rule": heads.rule,
        "evidence": "; ".join(f"{rung}: {outcome}" for rung, outcome in heads.evidence),
        "holds": heads.holds,
    }


def _plain(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


def _set(value: Any) -> Any:
    if isinstance(value, str):
        return breakable(printable(value))
    if isinstance(value, Mapping):
        return {key: _plain(item) if key in _METADATA else _set(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_set(item) for item in value]
    return value


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "summary": section.summary,
        "cited": [name for _, name in section.cited],
        "status": section.status,
        "reason": section.reason,
        "undrawn": _undrawn(section),
        "left_out": section.left_out,
        "plates": [_plate(p) for p in section.plates if not p.figure.supplementary],
        "further": [f"{p.title} ({p.number})" for p in section.plates if p.figure.supplementary],
        "leading": _grid(_leading(section.leading), rows=None) if section.leading else None,
        "leading_notes": [*section.leading_notes, *(note for x in section.leading for note in x.notes)],
        "tables": [_grid(g) for g in section.tables],
        "measures": [
            {"title": m.title, "formula": m.formula, "meaning": m.meaning, "unit": m.unit, "source": m.source}
            for m in section.measures
        ],
        "settings": [{"name": s.name, "value": s.value, "given": s.given} for s in section.settings],
        "notes": section.notes,
        "made": _made([plate for plate in section.plates if not plate.figure.supplementary]),
    }


def _undrawn(section: Section) -> list[list[str]]:
    """What could not be drawn, before each printed figure and after the last."""
    found: list[list[str]] = [[]]
    for i, plate in enumerate(section.plates):
        found[-1] += section.undrawn_at(i)
        if not plate.figure.supplementary:
            found.append([])
    found[-1] += section.undrawn_at(len(section.plates))
    return found


def _made(plates: Sequence[Plate]) -> dict[str, Any]:
    """How a section's figures were made: sentences that several share, once, then what is said of single figures."""
    counts = Counter(note for plate in plates for note in dict.fromkeys(plate.notes))
    own = [(p.number, " ".join(note for note in p.notes if counts[note] == 1)) for p in plates]
    return {
        "shared": [note for note, count in counts.items() if count > 1],
        "own": [{"number": number, "text": text} for number, text in own if text],
    }


def _missing(report: Report) -> TextTable:
    return TextTable("", ("Suite", "What", "Why"), (False,) * 3, report.not_computed)


def _plate(plate: Plate) -> dict[str, Any]:
    return {
        "file": f"{plate.id}.svg",
        "number": plate.number,
        "title": plate.title,
        "caption": plate.caption,
        "alt": plate.alt,
        "width": plate.width,
        "height": plate.height,
        "least": min(1.0, LEAST_PT / smallest_text(plate.svg)),  # of its size, below which text is too small to print
    }


def _leading(lists: Sequence[Leading]) -> TextTable:
    """The leading heads of every measure in one table, a line before each measure's rows where there are several."""
    rows: list[tuple[str, ...]] = []
    for one in lists:
        first = [(f"{one.title}:", *[""] * (len(one.overview.columns) - 1))] if len(lists) > 1 else []
        left = len(one.overview.rows) - MAX_ROWS
        more = [(f"and {left} more, on the page", *first[0][1:])] if first and left > 0 else []
        rows += [*first, *one.overview.rows[:MAX_ROWS], *more]
    same = lists[0].overview
    return replace(same, rows=tuple(rows), title="Leading heads", hidden=0)


def _grid(grid: TextTable, rows: int | None = MAX_ROWS) -> dict[str, Any]:
    """A table in as many parts as its columns need, each with the first column; its first `rows` rows, None = all."""
    shown = grid.rows[:rows]
    layout = fit(grid.columns, shown, grid.numeric)
    parts = [
        {
            "columns": [grid.columns[i] for i in part.columns],
            "numeric": [grid.numeric[i] for i in part.columns],
            "rows": [[row[i] for i in part.columns] for row in shown],
            "widths": part.widths,
        }
        for part in layout.parts
    ]
    return {
        "title": grid.title,
        "caption": grid.caption,
        "hidden": grid.hidden + len(grid.rows) - len(shown),
        "size": layout.size,
        "parts": parts,
        "wide": layout.landscape or len(grid.columns) > MAX_COLUMNS,
    }
