"""A report as one self-contained HTML file: readable and printable with scripts off, nothing loaded from elsewhere.

- Jinja2 escapes everything; only our own style, script and checked SVG are put in as they are.
- The Content-Security-Policy allows exactly the style and the script of this very page, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files as resources
from itertools import count
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from reportgen import __version__
from reportgen.figures.export import Spec
from reportgen.report.document import Framed, Plate, Report, TextTable
from reportgen.report.example_block import example_block
from reportgen.report.passport import passport
from reportgen.report.text import NOT_COMPUTED, number, printed_count
from reportgen.report.tiles import wall
from reportgen.report.verdicts import on_first_screen
from reportgen.scores import Cell, Table

# Vega-Lite specifications as the page holds them: rows of score maps left out, what repeats said once.
#
# The page fills the rows in from the scores it carries anyway, and hands out the whole specification as a file.

_FIELDS = frozenset(
    ("layer", "head", "name", "value", "low", "high", "n", "p", "line", "rank", "sets", "weight", "note")
)
_NAME = re.compile(r"cells(_\d+)?")
SHARED_FROM = 60  # bytes of JSON from which a part that repeats is said once
TOO_LARGE = 150_000  # bytes of a figure's specification: such a one stays in its file


def spec_block(plates: Sequence[Plate]) -> dict[str, object]:
    """What the page carries: `specifications` as base64 of zlib, which it unpacks when asked for, and what is in them.

    held  figures with a specification;  maps  those of them whose rows come from the scores
    """
    found = specifications(plates)
    packed = zlib.compress(json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(), 9)
    held = [plate.id for plate in plates if plate.id in found["figures"]]
    maps = [plate.id for plate in plates if plate.id in held and b'"@rows"' in _json(_lean(plate.spec, plate.keys))]
    return {"held": held, "maps": maps, "packed": base64.b64encode(packed).decode()}


def specifications(plates: Sequence[Plate]) -> dict[str, Any]:
    """`parts` that several specifications share, and `figures` by id.

    A part is referred to as {"@": index}; the rows of a map are {"@rows": key, "fields": [...], "sets": {head: text},
    "weight": {head: text}}.
    """
    lean = {plate.id: _lean(plate.spec, plate.keys) for plate in plates if plate.spec}
    kept = {name: spec for name, spec in lean.items() if len(_json(spec)) <= TOO_LARGE}
    pool = _Pool(kept.values())
    figures = {name: pool.refer(spec, top=True) for name, spec in kept.items()}
    return {"parts": pool.parts, "figures": figures}


_sorted = msgspec.json.Encoder(order="sorted", enc_hook=lambda number: number.item())  # NumPy's own


def _json(value: object) -> bytes:
    return _sorted.encode(value)


def _lean(spec: Spec, keys: Sequence[str]) -> Spec:
    """`spec` with the rows of its cells replaced by what they are made from."""
    datasets = spec.get("datasets", {})
    names = [node["data"]["name"] for node in _nodes(spec) if _NAME.fullmatch(str(node.get("name", "")))]
    if not names or len(names) != len(keys):
        return spec
    short = {name: _rows(datasets.get(name), key) for name, key in zip(names, keys, strict=True)}
    return {**spec, "datasets": {name: short.get(name) or rows for name, rows in datasets.items()}}


def _nodes(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if isinstance(value.get("data"), Mapping) and "name" in value["data"]:
            yield value
        for name, item in value.items():
            if name != "datasets":  # rows, by the thousand
                yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _rows(rows: object, key: str) -> dict[str, object] | None:
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        return None
    fields = list(rows[0])
    if not {"layer", "head", "name", "value"} <= set(fields) <= _FIELDS:
        return None
    words = {name: {row["name"]: row[name] for row in rows if row.get(name)} for name in ("sets", "weight")}
    return {"@rows": key, "fields": fields, **words}


class _Pool:
    """The parts that stand in several places, each once, smaller parts before those that hold them."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        self.counts: dict[bytes, int] = {}
        for spec in specs:
            self._count(spec)
        self.parts: list[object] = []
        self.places: dict[bytes, int] = {}

    def _count(self, value: object) -> None:
        if not isinstance(value, dict | list):
            return
        text = _json(value)
        self.counts[text] = self.counts.get(text, 0) + 1
        if self.counts[text] == 1:  # its parts repeat with it
            for item in value.values() if isinstance(value, dict) else value:
                self._count(item)

    def refer(self, value: object, top: bool = False) -> object:
        """`value` with its shared parts replaced by references."""
        if not isinstance(value, dict | list):
            return value
        text = _json(value)
        shared = not top and len(text) >= SHARED_FROM and self.counts[text] > 1
        if shared and text in self.places:
            return {"@": self.places[text]}
        short: object = (
            {k: self.refer(v) for k, v in value.items()} if isinstance(value, dict) else [self.refer(v) for v in value]
        )
        if not shared:
            return short
        self.parts.append(short)
        self.places[text] = len(self.parts) - 1
        return {"@": self.places[text]}


# A figure's numbers as tables beside it: what a screen reader, a printout and a doubter need.

Cells = dict[tuple[int, int], Cell]  # (layer, head) -> value

MAX_ROWS = 200
MAX_MATRIX_CELLS = 6_000  # 80 layers x 64 heads, and one panel more of small models


def is_map(data: Table) -> bool:
    """Whether `data` is one value per layer and head (in every group of its word columns)."""
    return bool(matrices(data, limit=None))


def panel_keys(data: Table) -> tuple[str, ...]:
    """The score keys of a map's panels in order, from its column `key`; empty for other figures."""
    names = [c.name for c in data.columns]
    if "key" not in names or not is_map(data):
        return ()
    return tuple(dict.fromkeys(str(row[names.index("key")]) for row in data.rows))


def twins(
    data: Table, labels: Mapping[str, str] | None = None, limit: int | None = MAX_MATRIX_CELLS
) -> tuple[TextTable, ...]:
    """Layer x head matrices where `data` is a score map, else its rows, at most 200 of them.

    labels  score key -> printed name, for the titles of panels
    """
    found = matrices(data, limit)
    named = tuple(replace(grid, title=(labels or {}).get(grid.title, grid.title)) for grid in found)
    return named or (rows(data),)


def cell(value: Cell, digits: int) -> str:
    """One cell in print."""
    if value is None:
        return NOT_COMPUTED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return printed_count(value) if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return number(value, digits)
    return value


def rows(table: Table, most: int = MAX_ROWS) -> TextTable:
    """A table as it stands, cut after `most` rows."""
    numeric = tuple(_is_numeric(table, i) for i in range(len(table.columns)))
    return TextTable(
        title=table.title,
        columns=tuple(f"{c.name} ({c.unit})" if c.unit else c.name for c in table.columns),
        numeric=numeric,
        rows=tuple(
            tuple(cell(v, c.digits) for v, c in zip(row, table.columns, strict=True)) for row in table.rows[:most]
        ),
        caption=table.caption,
        folded=table.folded,
        hidden=max(0, len(table.rows) - most),
    )


def matrices(data: Table, limit: int | None) -> tuple[TextTable, ...]:
    """One layer x head matrix per panel; empty where `data` is no such map or has more than `limit` cells."""
    names = [c.name for c in data.columns]
    if "layer" not in names or "head" not in names or not data.rows or (limit and len(data.rows) > limit):
        return ()
    layer, head = names.index("layer"), names.index("head")
    floats = [i for i in range(len(names)) if i not in (layer, head) and _is_float(data, i)]
    if not floats:
        return ()
    value = names.index("value") if "value" in names and names.index("value") in floats else floats[0]
    words = [i for i in range(len(names)) if i not in (layer, head) and _is_word(data, i)]
    for split in (None, *words):
        panels = _panels(data, layer, head, value, split)
        if panels:
            digits = data.columns[value].digits
            return tuple(_matrix(name or data.title, cells, digits) for name, cells in panels.items())
    return ()


def _panels(data: Table, layer: int, head: int, value: int, split: int | None) -> dict[str, Cells]:
    """The cells of each panel, split by one word column; empty where a head would stand twice in a panel."""
    panels: dict[str, Cells] = {}
    for row in data.rows:
        place = (row[layer], row[head])
        if not (isinstance(place[0], int) and isinstance(place[1], int)):
            return {}
        cells = panels.setdefault("" if split is None else str(row[split]), {})
        if place in cells:
            return {}
        cells[place[0], place[1]] = row[value]
    return panels


def _is_numeric(table: Table, column: int) -> bool:
    """Numbers and gaps only, and at least one number; yes and no are words."""
    kinds = {type(row[column]) for row in table.rows} - {type(None)}
    return bool(kinds) and kinds <= {int, float}


def _is_float(data: Table, column: int) -> bool:
    kinds = {type(row[column]) for row in data.rows} - {type(None)}
    return float in kinds and kinds <= {int, float}


def _is_word(data: Table, column: int) -> bool:
    return all(isinstance(row[column], str) for row in data.rows)


def _matrix(title: str, cells: Cells, digits: int) -> TextTable:
    layers = sorted({lay for lay, _ in cells})
    heads = sorted({h for _, h in cells})
    return TextTable(
        title=title,
        columns=("layer", *(str(h) for h in heads)),
        numeric=(True,) * (len(heads) + 1),
        rows=tuple((str(lay), *(cell(cells.get((lay, h)), digits) for h in heads)) for lay in layers),
        matrix=True,
    )


WIDE_PX = 440  # wider figures get the full width, and scroll inside their frame on a phone
FLAT_PX = 100  # a lower figure has its caption below: the words beside it would be much taller
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
SCRIPTS = ("base.js", "scores.js", "maps.js", "examples.js", "passport.js", "search.js", "downloads.js", "links.js")
_MODULE_LINE = re.compile(r"^(?:import|export) .*;\n", re.MULTILINE)


@dataclass(frozen=True)
class Around:
    """The site that a page stands in: the address and name of its gallery, and every figure's permalink by id.

    alike  what the site's other runs hold that is most like each head (atlas/pages.py); None: nothing was searched
    """

    home: str = ""
    title: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    alike: Mapping[str, object] | None = None


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
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            page_values(template("style.css"), scripts(*SCRIPTS), formats, {n: FILES[n] for n in FILES if n in files}),
            r=report,
            tex=tex or {},
            around=around or Around(),
            art={p.id: inline(p, report.frames[p.id]) for p in report.plates},
            wall=wall(report),
            passport={**passport(report), **({"alike": around.alike} if around and around.alike else {})},
            examples=example_block(report.examples, report.scores[0].values.shape) if report.scores else None,
            specs=spec_block(report.plates),
            flat_px=FLAT_PX,
            first_claims=on_first_screen(report.verdicts),
        )
    )


def page_values(style: str, script: str, formats: Sequence[str], files: Mapping[str, str]) -> dict[str, object]:
    """What the pages of a run and of a sweep both take; `files` lie beside the page: name -> words of the link."""
    return {
        "version": __version__,
        "style": Markup(style),
        "script": Markup(script),
        "policy": policy(style, script),
        "downloads": [d for d in DOWNLOADS if d[0] in formats],
        "files": list(files.items()),
        "wide_px": WIDE_PX,
        "uid": count(1).__next__,
    }


@cache
def scripts(*names: str) -> str:
    """A page's script: its modules in order, each after those it reads at once, in one scope of their own."""
    return '"use strict";\n(() => {\n' + "".join(_MODULE_LINE.sub("", template(name)) for name in names) + "})();\n"


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
