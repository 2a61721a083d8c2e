"""A report as one self-contained HTML file: readable and printable with scripts off, nothing loaded from elsewhere.

- Jinja2 escapes everything; only our own style, script and checked SVG are put in as they are.
- The Content-Security-Policy allows exactly the style and the script of this very page, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import jinja2
from markupsafe import Markup

from reportgen import __version__
from reportgen.report.parts import Plate, Report, thumbnails
from reportgen.report.passport import passport

_ROOT = re.compile(r'<svg\b(?:[^>"]|"[^"]*")*>')
_TITLE = re.compile(r"<(title|desc)\b[^>]*>[^<]*</\1>")
WIDE_PX = 440  # wider figures get the full width, and scroll inside their frame on a phone
SCALE = 1.15  # px on the page per point of the figure
DOWNLOADS = (
    ("svg", "svg", "SVG"),
    ("pdf", "pdf", "PDF"),
    ("png", "png", "PNG"),
    ("csv", "csv", "CSV"),
    ("tex", "tex", "LaTeX"),
    ("json", "vl.json", "Vega-Lite"),
)


def page(report: Report, formats: Sequence[str] = (), tex: Mapping[str, str] | None = None) -> str:
    """The page. `formats` of figures lie beside it in figures/; `tex` are LaTeX snippets by figure id."""
    style, script = template("style.css"), template("page.js")
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            r=report,
            version=__version__,
            style=Markup(style),
            script=Markup(script),
            policy=policy(style, script),
            downloads=[d for d in DOWNLOADS if d[0] in formats],
            has_pdf="pdf" in formats,
            tex=tex or {},
            thumbs=thumbnails(report),
            passport=passport(report.scores, report.overlays),
            wide_px=WIDE_PX,
        )
    )


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
    return files("reportgen.templates").joinpath(name).read_text("utf-8").replace("\r\n", "\n")


def inline(plate: Plate) -> Markup:
    """The plate's SVG as part of the page, named for screen readers; a title inside would pop up over the chart."""
    art = _TITLE.sub("", _ROOT.sub("", plate.svg.split("?>", 1)[-1].strip(), count=1))
    head = Markup('<svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}"><g id="{}">').format(
        plate.width, plate.height, round(SCALE * plate.width), round(SCALE * plate.height), plate.alt, f"art-{plate.id}"
    )
    return head + Markup(art.removesuffix("</svg>") + "</g></svg>")  # checked in draw.py


def data_block(value: object) -> Markup:
    """`value` as JSON that cannot end its script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # no character left that HTML reads


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": inline, "data_block": data_block}
    return environment
