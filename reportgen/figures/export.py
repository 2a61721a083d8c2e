"""A figure as SVG, PDF, PNG, CSV, Vega-Lite JSON or LaTeX. Every output is the same bytes for the same figure.

PDF and PNG are drawn by Typst from the normalised SVG with the fonts that ship with the package: vector, embedded,
independent of the machine's own fonts, but for letters that the shipped ones lack (theme.py).
"""

from __future__ import annotations

import csv as csv_module
import datetime
import hashlib
import io
import json
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import altair as alt
import typst

from reportgen.errors import SettingsError, nearest
from reportgen.figures import theme
from reportgen.figures.figure import Figure, KeptDrawing
from reportgen.figures.svg import normalise, render, size_of
from reportgen.figures.theme import Style, settable, shipped
from reportgen.scores import Cell

# LaTeX text: escaping, and the snippet that puts a figure into a paper.

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi - pi rho - sigma tau upsilon phi chi psi "
    "omega"
)
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "\n": " ", "\t": " ",
    "\u2265": r"$\geq$", "\u2264": r"$\leq$", "\u00d7": r"$\times$", "\u2212": "$-$", "\u00b1": r"$\pm$",
    "\u2248": r"$\approx$", "\u2260": r"$\neq$", "\u221e": r"$\infty$", "\u2192": r"$\rightarrow$",
    "\u00b7": r"$\cdot$", "\u2013": "--", "\u2014": "---", "\u2026": r"\ldots{}",
    "\u00a0": "~", "\u2009": r"\,", "\u202f": r"\,",
    "\u2018": "`", "\u2019": "'", "\u201c": "``", "\u201d": "''",
    **{chr(0x3B1 + i): rf"$\{name}$" for i, name in enumerate(_GREEK.split()) if name != "-"},
}  # fmt: skip
NOTES = "\\providecommand{\\rgnotes}[1]{}% \\renewcommand{\\rgnotes}[1]{\\par\\footnotesize #1} prints them\n"
_UNPLAIN = re.compile(r"[^A-Za-z0-9 .,;:()=+/*'!?-]")
_POWER = re.compile(r"(?<![\w.])(\u2212?\d\.\d+)e(\u2212?)\+?0*(\d+)\b")
_LABEL = re.compile(r"[^A-Za-z0-9:_.-]")


def escape_latex(text: str) -> str:
    r"""`text` with LaTeX's special characters and the captions' mathematical signs written as commands.

    Letters that an ordinary LaTeX font lacks are written as their numbers: `[U+4E2D]`.
    """
    return "".join(
        rf"\ensuremath{{{_minus(part[0])} \times 10^{{{_minus(part[1])}}}}}"
        if isinstance(part, tuple)
        else _escaped(part)
        for part in _powers(text)
    )


def _powers(text: str) -> Iterator[str | tuple[str, str]]:
    """The text in pieces; numbers such as 5.00e\u221204 as (mantissa, exponent)."""
    at = 0
    for found in _POWER.finditer(text):
        yield text[at : found.start()]
        yield found[1], found[2] + found[3]
        at = found.end()
    yield text[at:]


def _minus(number: str) -> str:
    return number.replace("\u2212", "-")


def _escaped(text: str) -> str:
    return _UNPLAIN.sub(lambda found: _SPECIAL.get(found[0]) or _letter(found[0]), text)


def _letter(char: str) -> str:
    return char if " " <= char <= "~" or "\u00a1" <= char <= "\u017e" else f"[U+{ord(char):04X}]"


def latex_figure(
    figure_id: str, caption: str, folder: str = "figures", width: str = "", notes: Sequence[str] = ()
) -> str:
    r"""A figure environment for `<folder>/<figure_id>.pdf`; `width` is a LaTeX length, `\linewidth` by default.

    notes  how it was made: \rgnotes below the caption, which prints nothing until the paper defines it
    """
    name = _LABEL.sub("-", figure_id)
    path = f"{folder.rstrip('/')}/{name}" if folder else name
    below = f"  \\rgnotes{{{escape_latex(' '.join(notes))}}}\n" if notes else ""
    return (
        f"{NOTES if notes else ''}\\begin{{figure}}[t]\n  \\centering\n"
        f"  \\includegraphics[width={width or chr(92) + 'linewidth'}]{{{path}.pdf}}\n"
        f"  \\caption{{{escape_latex(caption)}}}\n  \\label{{fig:{name}}}\n{below}\\end{{figure}}\n"
    )


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
    if isinstance(figure.chart, KeptDrawing):
        raise as_drawn(figure)
    made: Spec = figure.chart.to_dict(validate=False)
    made.pop("usermeta", None)  # notes for this package
    if style is not None or "config" not in made or "font" not in made["config"]:
        made["config"] = theme.config(style or Style())
    return made


def as_drawn(figure: Figure) -> SettingsError:
    """Why a figure that the run keeps as it was drawn can't be had in another form or size."""
    hint = "Give the suite's file to redraw it: --suite FILE.py."
    return SettingsError(
        f"{figure.id} is kept in the run as it was drawn: no other size, style or head sets, no Vega-Lite.", hint
    )


def svg(figure: Figure, style: Style | None = None, made: Spec | None = None) -> str:
    """The figure as one normalised SVG; `style.width_in` sets its printed width. Text is `currentColor`.

    made  the figure's `spec`, where there is one already
    """
    width = style.width_in if style else None
    if isinstance(figure.chart, KeptDrawing):
        if width is not None:
            raise as_drawn(figure)
        return figure.chart.svg
    return normalise(render(made or spec(figure, style)), figure.id, figure.title, figure.alt, width)


def pdf(svg_text: str, title: str = "", alt: str = "", mark: str = "") -> bytes:
    """A one-page PDF of a normalised SVG, as large as the figure: tagged, vector, fonts embedded.

    mark  the figure's `stamp`, kept among the keywords with a digest of the file
    """
    if not mark:
        return _typeset(svg_text, title, alt, "pdf")
    open_ = _typeset(svg_text, title, alt, "pdf", mark=f"{mark}:{_UNSEALED}")
    return _SEAL.sub(rb"\g<1>" + _digest(open_).encode(), open_)


def png(svg_text: str, ppi: int = PNG_PPI, mark: str = "") -> bytes:
    """A PNG of a normalised SVG on white, at `ppi` pixels per inch, which the file states, as it does its `stamp`."""
    bare = _with_notes(_typeset(svg_text, "", "", "png", ppi), ppi, "")
    return _with_notes(bare, ppi, f"{mark}:{_digest(bare)}") if mark else bare


PARTS = {"numbers": slice(0, 6), "words": slice(6, 11), "marked heads": slice(11, 16)}  # digits of a stamp's hash


def stamp(figure: Figure) -> str:
    """A figure's content, independent of size and colours: `reportgen:<id>:<hash of its numbers, caption and notes>`.

    PDF and PNG carry it, followed by a digest of the file itself, so that a paper's copy can be checked against its
    run. PARTS says which digits of the hash are of what.
    """
    marks = [i for i, column in enumerate(figure.data.columns) if column.name in ("sets", "weight")]
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


_STAMP = re.compile(rb"reportgen:([A-Za-z0-9_.-]+):([0-9a-f]{16})(?::([0-9a-f]{16}))?")
_SEAL = re.compile(rb"(reportgen:[A-Za-z0-9_.-]+:[0-9a-f]{16}:)[0-9a-f]{16}")
_PNG_NOTE = re.compile(rb".{4}tEXtSource\0reportgen:[A-Za-z0-9_.-]+:[0-9a-f:]{16,33}.{4}", re.DOTALL)
_UNSEALED = "0" * 16


@dataclass(frozen=True)
class Stamp:
    """What a PDF or PNG says of itself: the figure's id, the hash of what it shows, whether its drawing is as written.

    drawing  None where the stamp has no digest of the file
    """

    figure: str
    shows: str
    drawing: bool | None


def read_stamp(path: Path, most: int) -> Stamp | None:
    """The stamp of a file of up to `most` bytes; None where it has none, or can't be read."""
    try:
        with path.open("rb") as file:
            content = file.read(most)
    except (OSError, ValueError):
        return None
    found = _STAMP.search(content)
    if found is None or not content.startswith((b"%PDF", b"\x89PNG")):
        return None
    return Stamp(found[1].decode(), found[2].decode(), found[3].decode() == _digest(content) if found[3] else None)


def _digest(content: bytes) -> str:
    """16 digits of a file's hash but for the digest in its stamp: a PDF's counts as zeros, a PNG's not at all."""
    bare = _SEAL.sub(rb"\g<1>" + _UNSEALED.encode(), _PNG_NOTE.sub(b"", content, count=1))
    return hashlib.sha256(bare).hexdigest()[:16]


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
    return latex_figure(figure.id, figure.caption, folder, width, figure.notes)


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


# A chart as a notebook shows it: SVG and PNG, which need no network, beside the specification for who can draw it.
#
# Altair's own output fetches its scripts from the network and is an error message without it.

SCREEN_PPI = 144


def shown(chart: Any, name: str, title: str = "", words: str = "", width_in: float | None = None) -> Any:
    """`chart`, which notebooks show without a network from now on; it is still the Altair chart it was.

    name      id within the page, e.g. the figure's
    title, words  for who cannot see it
    width_in  printed width in inches; None = the figure's own
    """
    kind: Any = type(chart)
    object.__setattr__(chart, "__class__", _offline(kind))  # an attribute set on a chart becomes a field of it
    object.__setattr__(chart, "_told", (name, title, words, width_in))
    return chart


class Offline:
    """What makes a chart show itself without a network. A renderer that the user chose in Altair is respected."""

    def _repr_mimebundle_(self: Any, *args: Any, **more: Any) -> Any:
        """SVG, PNG and Vega-Lite; the notebook takes the richest that it can show."""
        if alt.renderers.active != "default":
            return super()._repr_mimebundle_(*args, **more)  # type: ignore[misc]
        name, title, words, width_in = self.__dict__.get("_told", ("chart", "", "", None))
        spec = self.to_dict(validate=False)
        svg = normalise(render(spec), name, title or name, words or title or name, width_in)
        paper = svg.replace("currentColor", theme.PAPER_INK).replace("<svg ", '<svg style="background:#fff" ', 1)
        return {
            f"application/vnd.vegalite.v{alt.SCHEMA_VERSION.lstrip('v').split('.')[0]}+json": spec,
            "image/svg+xml": paper,
            "image/png": png(svg, SCREEN_PPI),
            "text/plain": f"<{type(self).__name__} {name}>",
        }

    def _repr_html_(self: Any) -> None:
        """None: HTML would come before the SVG, and Altair's needs the network."""


def _offline(kind: Any) -> Any:
    """The chart's class with `Offline` before it, under the same name: copies and changed copies keep it."""
    return kind if issubclass(kind, Offline) else type(kind.__name__, (Offline, kind), {"__module__": kind.__module__})


# Printed widths: inches, centimetres, or the name of a column; and text that stays readable at that width.

LEAST_PT = 6.0  # the smallest text that journals accept
COLUMNS = {  # inches: a column, and the whole width of the text, by the venue's style file
    "acl": 3.03, "acl-wide": 6.3, "icml": 3.25, "icml-wide": 6.75, "ieee": 3.5, "ieee-wide": 7.16, "neurips": 5.5,
    "iclr": 5.5,
}  # fmt: skip
_UNITS = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27, "": 1.0}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(in|cm|mm|pt|)")
_TEXT = re.compile(r'font-size="([\d.]+)(?:px|pt)?"')


def inches(text: str) -> float | None:
    """The width in inches that `text` says: `3.25in`, `8.3cm`, `icml`. None where it is empty. Raises SettingsError."""
    if not text:
        return None
    if text in COLUMNS:
        return COLUMNS[text]
    match = _LENGTH.fullmatch(text.strip())
    value = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 1 <= value <= 40:
        hint = "For example --width 3.25in, or a column: " + nearest("", COLUMNS).removeprefix("Known: ")
        raise SettingsError(f"--width {text!r} is not a width from 1 to 40 inches.", hint)
    return value


def smallest_text(svg: str) -> float:
    """The smallest text of a normalised SVG in points as it is printed; infinity where there is none."""
    natural, _ = size_of(svg)
    width = re.search(r'<svg[^>]* width="([\d.]+)in"', svg)
    scale = 72 * float(width[1]) / natural if width else 1.0
    return min((scale * float(size) for size in _TEXT.findall(svg)), default=float("inf"))


def legible(make: Callable[[Style], Figure], style: Style) -> tuple[Figure, Style]:
    """The figure that `make` draws at `style.width_in`, and the style with text enlarged until none is below 6 pt.

    Raises SettingsError where that takes text larger than the figure can hold.
    """
    figure = make(style)
    if style.width_in is None:
        return figure, style
    for _ in range(4):
        found = smallest_text(svg(figure, style))
        if found >= LEAST_PT - 0.005:
            return figure, style
        size = style.font_size * LEAST_PT / found * 1.01
        if size > 30:
            break
        style = replace(style, font_size=round(size, 2))
        figure = make(style)
    raise SettingsError(
        f"{figure.id} at {style.width_in:g} in: its smallest text would be {found:.1f} pt, below {LEAST_PT:g} pt.",
        "Choose a wider column, e.g. --width icml-wide.",
    )
