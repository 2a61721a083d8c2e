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
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import typst

from reportgen import __version__
from reportgen.figures.fonts import printable
from reportgen.figures.widths import LEAST_PT, smallest_text
from reportgen.report.columns import fit
from reportgen.report.parts import Grid, Plate, Report, Section, SetText
from reportgen.report.tiles import Tile, wall
from reportgen.report.verdicts import on_first_screen

RUNNING = 80  # characters of the running head
MAX_ROWS = 60  # of a table on paper; the page and the CSV have the rest
_METADATA = {"document", "alt", "file", "id"}  # never set as text: no places to break at
_LONG = re.compile(r"\S{24}(?=\S)")


class PdfError(RuntimeError):
    """The report's own Typst template failed or warned: a bug of this program, never of the user's data."""


def document(report: Report) -> bytes:
    """The report as PDF/UA-1. Raises PdfError when Typst fails or warns."""
    sources = {f"{plate.id}.svg": printable(plate.svg).encode() for plate in report.plates}
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
        "sections": _numbered([_section(s) for s in report.sections]),
        "sets": [{"legend": legend, "sets": [_head_set(s) for s in sets]} for legend, sets in report.set_groups],
        "not_computed": _grid(_missing(report)) if report.not_computed else None,
        "provenance": report.provenance,
        "glossary": report.glossary,
        "sources": [s.citation for s in report.sources],
    }
    result: dict[str, Any] = _set(value)
    return result


def _tile_svg(tile: Tile) -> str:
    """A thumbnail as a file of its own."""
    across, down = tile.panel.columns, tile.panel.rows
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {down}" width="{10 * across}" '
        f'height="{10 * down}"><g transform="{tile.panel.in_cells()}">{tile.panel.art}</g></svg>'
    )


def _tile(tile: Tile, file: str) -> dict[str, Any]:
    controls = [("copier", tile.copier), ("twin", tile.twin)]
    return {
        "file": file,
        "number": tile.number,
        "label": tile.label,
        "range": tile.range,
        "controls": "; ".join(f"{name} {found.short}" for name, found in controls if found),
    }


def _head_set(heads: SetText) -> dict[str, Any]:
    return {
        "label": heads.label,
        "heads": ", ".join(heads.heads) or "no head",
        "source": f"{heads.kind}, {heads.source}",
        "rule": heads.rule,
        "evidence": "; ".join(f"{rung}: {outcome}" for rung, outcome in heads.evidence),
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
        "undrawn": [section.undrawn_at(i) for i in range(len(section.plates) + 1)],
        "left_out": section.left_out,
        "plates": [_plate(p) for p in section.plates],
        "leading": [{"title": x.title, "overview": _grid(x.overview), "notes": x.notes} for x in section.leading],
        "leading_notes": section.leading_notes,
        "tables": [_grid(g) for g in section.tables],
        "measures": [
            {"title": m.title, "formula": m.formula, "meaning": m.meaning, "unit": m.unit, "source": m.source}
            for m in section.measures
        ],
        "settings": [{"name": s.name, "value": s.value, "given": s.given} for s in section.settings],
        "notes": section.notes,
        "made": _made(section.plates),
    }


def _made(plates: Sequence[Plate]) -> dict[str, Any]:
    """How a section's figures were made: sentences that several share, once, then what is said of single figures."""
    counts = Counter(note for plate in plates for note in dict.fromkeys(plate.notes))
    own = [(p.number, " ".join(note for note in p.notes if counts[note] == 1)) for p in plates]
    return {
        "shared": [note for note, count in counts.items() if count > 1],
        "own": [{"number": number, "text": text} for number, text in own if text],
    }


def _numbered(sections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sections, each of their tables with a name that links can use."""
    for i, section in enumerate(sections):
        for j, table in enumerate(section["tables"]):
            table["id"] = f"table-{i}-{j}"
    return sections


def _missing(report: Report) -> Grid:
    return Grid("", ("Suite", "What", "Why"), (False,) * 3, report.not_computed)


def _plate(plate: Plate) -> dict[str, Any]:
    return {
        "file": f"{plate.id}.svg",
        "title": plate.title,
        "caption": plate.caption,
        "alt": plate.alt,
        "width": plate.width,
        "height": plate.height,
        "least": min(1.0, LEAST_PT / smallest_text(plate.svg)),  # of its size, below which text is too small to print
    }


def _grid(grid: Grid) -> dict[str, Any]:
    """A table in as many parts as its columns need, each with the first column."""
    shown = grid.rows[:MAX_ROWS]
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
        "id": "",
        "title": grid.title,
        "caption": grid.caption,
        "hidden": grid.hidden + len(grid.rows) - len(shown),
        "size": layout.size,
        "parts": parts,
        "landscape": layout.landscape,
    }
