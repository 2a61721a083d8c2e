"""A report as one self-contained HTML file: readable and printable with scripts off, nothing loaded from elsewhere.

- Jinja2 escapes everything; only our own style, script and checked SVG are put in as they are.
- The Content-Security-Policy allows exactly the style and the script of this very page, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files as resources
from itertools import count

import jinja2
from markupsafe import Markup

from reportgen import __version__
from reportgen.report.frames import Framed
from reportgen.report.live import block
from reportgen.report.parts import Plate, Report
from reportgen.report.passport import passport
from reportgen.report.tiles import wall
from reportgen.report.verdicts import on_first_screen

WIDE_PX = 440  # wider figures get the full width, and scroll inside their frame on a phone
MAIN_PX = 880  # the column that figure and caption share
LETTER_PX, LINE_PX = 6.6, 22.5  # of a caption, about
SCALE = 1.15  # px on the page per point of the figure
DOWNLOADS = (
    ("svg", "svg", "SVG"),
    ("pdf", "pdf", "PDF"),
    ("png", "png", "PNG"),
    ("csv", "csv", "CSV"),
    ("tex", "tex", "LaTeX"),
    ("json", "vl.json", "Vega-Lite"),
)
FILES = {
    "report.pdf": "PDF",
    "report.zip": "Everything, zip",
    "scores.csv": "All scores, CSV",
    "numbers.tex": "Numbers for LaTeX",
    "references.bib": "BibTeX",
}
SCRIPTS = ("base.js", "core.js", "maps.js", "passport.js", "find.js", "take.js", "start.js")


@dataclass(frozen=True)
class Around:
    """The site that a page stands in: the address and name of its gallery, and every figure's permalink by id."""

    home: str = ""
    title: str = ""
    links: Mapping[str, str] = field(default_factory=dict)


def is_below(plate: Plate) -> bool:
    """Whether the caption stands below a figure that has room beside it: it would be much taller than the figure."""
    column = max(260.0, MAIN_PX - SCALE * plate.width - 32)
    lines = len(plate.caption) * LETTER_PX / column
    return lines * LINE_PX > 1.6 * SCALE * plate.height


def page(
    report: Report,
    formats: Sequence[str] = (),
    tex: Mapping[str, str] | None = None,
    files: Sequence[str] = (),
    around: Around | None = None,
) -> str:
    """The page.

    formats  of figures that lie beside it in figures/
    tex      LaTeX snippets by figure id
    files    names of FILES that lie beside it
    around   the site it is part of, if any
    """
    style, script = template("style.css"), scripts(*SCRIPTS)
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            r=report,
            version=__version__,
            style=Markup(style),
            script=Markup(script),
            policy=policy(style, script),
            downloads=[d for d in DOWNLOADS if d[0] in formats],
            files=[(name, words) for name, words in FILES.items() if name in files],
            tex=tex or {},
            around=around or Around(),
            art={p.id: inline(p, report.frames[p.id]) for p in report.plates},
            wall=wall(report),
            passport=passport(report),
            specs=block(report.plates),
            wide_px=WIDE_PX,
            is_below=is_below,
            first_claims=on_first_screen(report.verdicts),
            uid=count(1).__next__,
        )
    )


@cache
def scripts(*names: str) -> str:
    """A page's script: its files in order, in one scope of their own."""
    return '"use strict";\n(() => {\n' + "".join(template(name) for name in names) + "})();\n"


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy of a page with this style and script."""
    parts = (
        "default-src 'none'",
        f"style-src '{_sha256(style)}'",
        f"script-src '{_sha256(script)}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(parts)


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def template(name: str) -> str:
    """A file of reportgen.templates; `\\n` line ends, since the policy hashes what the browser sees."""
    return resources("reportgen.templates").joinpath(name).read_text("utf-8").replace("\r\n", "\n")


def inline(plate: Plate, frame: Framed) -> Markup:
    """The plate's drawing as part of the page, named for screen readers."""
    head = Markup('<svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">').format(
        plate.width, plate.height, round(SCALE * plate.width), round(SCALE * plate.height), plate.alt
    )
    return head + Markup(frame.body) + Markup("</svg>")  # checked in draw.py


def data_block(value: object) -> Markup:
    """`value` as JSON that cannot end its script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # no character left that HTML reads


@cache
def environment() -> jinja2.Environment:
    """Templates of this package; everything put into them is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"data_block": data_block}
    return made
