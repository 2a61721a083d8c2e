"""A figure as SVG, PDF, PNG, CSV, Vega-Lite JSON or LaTeX. Every output is the same bytes for the same figure.

PDF and PNG are drawn by Typst from the normalised SVG with the fonts that ship with the package: vector, embedded,
independent of the machine's own fonts, but for letters that the shipped ones lack (fonts.py).
"""

from __future__ import annotations

import csv as csv_module
import datetime
import hashlib
import io
import json
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import typst

from reportgen.errors import SettingsError, nearest
from reportgen.figures import latex, theme
from reportgen.figures.figure import Figure, Kept, Style
from reportgen.figures.fonts import settable, shipped
from reportgen.figures.svg import normalise, render, size_of
from reportgen.scores import Cell

PNG_PPI = 300
_EPOCH = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)  # a fixed date: PDFs of one figure are identical
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PAGE = """
#set page(width: {width}pt, height: {height}pt, margin: 0pt, fill: {fill})
#set document(title: sys.inputs.title, date: auto, keywords: sys.inputs.stamp)
#set text(lang: "en")
#image("figure.svg", width: {width}pt, height: {height}pt, alt: sys.inputs.alt)
"""


Spec = dict[str, Any]


def spec(figure: Figure, style: Style | None = None) -> Spec:
    """The figure's Vega-Lite specification, with the house configuration for `style` where one is given.

    Raises SettingsError for a figure that is kept as it was drawn.

    Not checked against the schema, which takes longer than drawing; `chart.to_dict()` does that.
    """
    if isinstance(figure.chart, Kept):
        raise as_drawn(figure)
    made: Spec = figure.chart.to_dict(validate=False)
    if style is not None or "config" not in made or "font" not in made["config"]:
        made["config"] = theme.config(style or Style())
    return made


def as_drawn(figure: Figure) -> SettingsError:
    """Why a figure that the run keeps as it was drawn can't be had in another form or size."""
    hint = "Give the suite's file, and it is drawn anew: --suite FILE.py."
    return SettingsError(
        f"{figure.id} is kept in the run as it was drawn: no other size or style, and no Vega-Lite.", hint
    )


def svg(figure: Figure, style: Style | None = None, made: Spec | None = None) -> str:
    """The figure as one normalised SVG; `style.width_in` sets its printed width. Text is `currentColor`.

    made  the figure's `spec`, where there is one already
    """
    width = style.width_in if style else None
    if isinstance(figure.chart, Kept):
        if width is not None:
            raise as_drawn(figure)
        return figure.chart.svg
    return normalise(render(made or spec(figure, style)), figure.id, figure.title, figure.alt, width)


def pdf(svg_text: str, title: str = "", alt: str = "", mark: str = "") -> bytes:
    """A one-page PDF of a normalised SVG, as large as the figure: tagged, vector, fonts embedded.

    mark  the figure's `stamp`, kept among the keywords
    """
    return _typeset(svg_text, title, alt, "pdf", mark=mark)


def png(svg_text: str, ppi: int = PNG_PPI, mark: str = "") -> bytes:
    """A PNG of a normalised SVG on white, at `ppi` pixels per inch, which the file states, as it does its `stamp`."""
    return _with_notes(_typeset(svg_text, "", "", "png", ppi), ppi, mark)


PARTS = {"numbers": slice(0, 6), "words": slice(6, 11), "marked heads": slice(11, 16)}  # digits of a stamp's hash


def stamp(figure: Figure) -> str:
    """What a figure shows, whatever its size and colours: `reportgen:<id>:<hash of its numbers, caption and notes>`.

    PDF and PNG carry it, so that a paper's copy can be checked against its run. PARTS says which digits of the hash are
    of what.
    """
    marks = [i for i, column in enumerate(figure.data.columns) if column.name == "sets"]
    rows = [[cell for i, cell in enumerate(row) if i not in marks] for row in figure.data.rows]
    heads = [[str(row[i]) for i in marks] for row in figure.data.rows]
    parts = (
        repr((figure.id, [[_csv_cell(cell) for cell in row] for row in rows])),
        "\n".join((figure.caption, *figure.notes)),
        repr((heads, [(s.label, s.heads) for s in figure.head_sets])),
    )
    sums = [hashlib.sha256(part.encode(errors="replace")).hexdigest() for part in parts]
    told = zip(sums, PARTS.values(), strict=True)
    return f"reportgen:{figure.id}:{''.join(found[: part.stop - part.start] for found, part in told)}"


def csv(figure: Figure) -> str:
    """The figure's data as CSV; text that a spreadsheet would run as a formula is quoted with an apostrophe."""
    out = io.StringIO()
    writer = csv_module.writer(out, lineterminator="\n")
    writer.writerow([_safe(column.name) for column in figure.data.columns])
    for row in figure.data.rows:
        writer.writerow([_csv_cell(cell) for cell in row])
    return out.getvalue()


def vega_lite(figure: Figure, style: Style | None = None, made: Spec | None = None) -> str:
    """The specification as JSON. Escape `<` before it goes into a page: tokens are data."""
    return json.dumps(made or spec(figure, style), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def tex(figure: Figure, folder: str = "figures", width: str = "") -> str:
    """A LaTeX figure environment that includes the PDF, with caption and label `fig:<id>`."""
    return latex.figure(figure.id, figure.caption, folder, width, figure.notes)


FORMATS: dict[str, Callable[[Figure, Style], bytes]] = {
    "svg": lambda figure, style: svg(figure, style).encode(),
    "pdf": lambda figure, style: pdf(svg(figure, style), figure.title, figure.alt, stamp(figure)),
    "png": lambda figure, style: png(svg(figure, style), mark=stamp(figure)),
    "csv": lambda figure, style: csv(figure).encode(),
    "tex": lambda figure, style: tex(figure).encode(),
    "json": lambda figure, style: vega_lite(figure, style).encode(),
}


def _typeset(
    svg_text: str, title: str, alt: str, form: Literal["pdf", "png"], ppi: float | None = None, mark: str = ""
) -> bytes:
    width, height = _printed(svg_text)
    page = _PAGE.format(width=f"{width:.3f}", height=f"{height:.3f}", fill="none" if form == "pdf" else "white")
    words = {"title": theme.clean(title) or "Figure", "alt": theme.clean(alt or title) or "Figure", "stamp": mark}
    drawn, system = settable(svg_text)
    sources: Any = {"main.typ": page.encode(), "figure.svg": drawn.encode()}  # files in memory: typst's stubs lag
    result = typst.compile(
        sources, format=form, ppi=ppi, font_paths=shipped(), ignore_system_fonts=not system,
        sys_inputs=words, timestamp=_EPOCH,
    )  # fmt: skip
    if not isinstance(result, bytes):
        raise TypeError(f"a figure of one page came out as {type(result).__name__}")
    return result


def _printed(svg_text: str) -> tuple[float, float]:
    """Width and height in points on paper: the root's width in inches, else its own units as points."""
    width, height = size_of(svg_text)
    start = svg_text[: svg_text.index(">")]
    if (at := start.find(' width="')) >= 0:
        value = start[at + 8 :].split('"', 1)[0]
        if value.endswith("in"):
            inches = float(value[:-2])
            return 72 * inches, 72 * inches * height / width
    return width, height


def _with_notes(image: bytes, ppi: int, mark: str) -> bytes:
    """The PNG with a pHYs chunk that states `ppi`, where there is none, and a text chunk that holds `mark`."""
    notes = b""
    if b"pHYs" not in image[:200]:
        per_metre = round(ppi / 0.0254)
        notes += _chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1))
    if mark:
        notes += _chunk(b"tEXt", b"Source\0" + mark.encode("latin-1", errors="replace"))
    return image[:33] + notes + image[33:]  # 8 bytes signature, 25 bytes IHDR


def _chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def _csv_cell(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return _safe(cell) if isinstance(cell, str) else str(cell)


def _safe(text: str) -> str:
    """`text` with an apostrophe before it where a spreadsheet would take it for a formula; plain numbers stay."""
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def format_of(path: Path | None, said: str = "") -> str:
    """The format: as `said`, else by the ending of `path`, else svg. SettingsError for neither, or a contradiction."""
    if said and said not in FORMATS:
        raise SettingsError(f"No format {said!r}.", nearest(said, FORMATS))
    ending = path.suffix.lower().removeprefix(".") if path is not None else ""
    if ending not in FORMATS:
        if path is not None and not said:
            problem = f"{path}: its ending says no format." if ending else f"{path} has no ending."
            raise SettingsError(problem, f"End it with one of .{', .'.join(FORMATS)}, or add --format.")
        return said or "svg"
    if said and said != ending:
        raise SettingsError(f"{path} ends in .{ending}, --format says {said}.", "Give one of them.")
    return ending
