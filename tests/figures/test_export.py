from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from reportgen.errors import SettingsError
from reportgen.figures import export
from reportgen.figures.chart_data import table
from reportgen.figures.export import COLUMNS, LEAST_PT, inches, legible, smallest_text
from reportgen.figures.figure import Figure
from reportgen.figures.heatmap import heatmap, pair
from reportgen.figures.theme import Style
from reportgen.scores import Column, Table
from tests.figures import samples
from tests.figures.samples import head_set

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</script><script>alert(1)</script> \" ' & <b> \u202eשלום\x07\ud800"


def small(figure_id: str = "relations-name_copying", style: Style | None = None, **changes: Any) -> Figure:
    scores, sets = samples.scores(dead=[(0, 3)]), [head_set()]
    chart = heatmap(scores, samples.view(), sets, "GPT-2: Name Copying heads", style=style)
    return samples.figure(chart, table([(scores, sets)]), id=figure_id, **changes)


def double(style: Style | None = None) -> Figure:
    left, right = samples.scores(), samples.signed()
    chart = pair((left, [head_set()], "left"), (right, [], "right"), samples.view(synthetic=True), style=style)
    return samples.figure(chart, table([(left, [head_set()]), (right, [])]), id="relations-pair")


def test_an_svg_names_itself_and_hides_its_inner_roles() -> None:
    root = ElementTree.fromstring(export.svg(small(alt="A map of scores.")))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"].split() == [root[0].attrib["id"], root[1].attrib["id"]]
    assert (root[0].tag, root[0].text) == (f"{SVG}title", "A title")
    assert (root[1].tag, root[1].text) == (f"{SVG}desc", "A map of scores.")
    inner = [element for element in root.iter() if element is not root]
    assert not any(name == "role" or name.startswith("aria") for element in inner for name in element.attrib)


def test_two_figures_on_one_page_share_no_id() -> None:
    def ids(svg: str) -> set[str]:
        return set(re.findall(r'\bid="([^"]+)"', svg))

    one, two = export.svg(small("a-one")), export.svg(small("a-two"))
    assert len(ids(one)) >= 4  # title, desc, clip and gradient at least
    assert not ids(one) & ids(two)
    for svg in (one, two, export.svg(double())):
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= ids(svg)


def test_text_takes_the_pages_colour() -> None:
    svg = export.svg(small())
    texts = list(ElementTree.fromstring(svg).iter(f"{SVG}text"))
    fills = {t.attrib["fill"] for t in texts}
    assert "currentColor" in fills
    assert fills <= {"currentColor", "#111111"}  # the legend's own box is white in either theme
    assert "sans-serif" in ElementTree.fromstring(svg).attrib["font-family"]
    assert not any("font-family" in text.attrib for text in texts)


PROGRAM = """
import hashlib
from tests.figures.test_export import double, small
from reportgen.figures import export
from reportgen.figures.figure import Style
for figure in (small(), double()):
    svg = export.svg(figure, Style(width_in=3.25))
    for part in (svg.encode(), export.pdf(svg, "t", "a"), export.png(svg), export.vega_lite(figure).encode()):
        print(hashlib.sha256(part).hexdigest())
"""


def test_two_processes_write_the_same_bytes() -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(runs[0].split()) == 8
    assert runs[0] == runs[1]


def test_a_figure_is_the_same_however_many_were_drawn_before() -> None:
    first = export.svg(small())
    export.svg(double())
    assert hashlib.sha256(export.svg(small()).encode()).digest() == hashlib.sha256(first.encode()).digest()


@pytest.mark.parametrize("width_in", [2.0, 3.25, 6.75])
def test_a_printed_width_is_the_pdfs_and_the_svgs(width_in: float) -> None:
    style = Style(width_in=width_in, font_size=8)
    svg = export.svg(double(style), style)
    assert f'width="{width_in:g}in"' in svg[:400]
    box = pypdf.PdfReader(io.BytesIO(export.pdf(svg))).pages[0].mediabox
    assert float(box.width) == pytest.approx(72 * width_in, abs=0.1)


def test_printed_text_keeps_its_size() -> None:
    style = Style(width_in=3.25, font_size=8)
    scores = samples.scores(12, 12)
    figure = samples.figure(heatmap(scores, style=style), table([(scores, [])]))
    natural = float(re.search(r'viewBox="0 0 ([\d.]+)', export.svg(figure, style))[1])  # type: ignore[index]
    assert 72 * 3.25 / natural == pytest.approx(1.0, abs=0.03)


def test_a_pdf_is_one_tagged_vector_page_with_its_fonts_inside() -> None:
    reader = pypdf.PdfReader(io.BytesIO(export.pdf(export.svg(small()), "Name copying", "A map.")))
    assert len(reader.pages) == 1
    fonts = fonts_of(reader)
    assert fonts
    assert all(re.match(r"/[A-Z]{6}\+LiberationSans", name) and embedded for name, embedded in fonts.items())
    assert reader.metadata is not None
    assert reader.metadata.title == "Name copying"
    assert "/StructTreeRoot" in reader.trailer["/Root"]
    assert not reader.pages[0].images
    assert "Name Copying heads" in reader.pages[0].extract_text()


def fonts_of(reader: pypdf.PdfReader) -> dict[str, bool]:
    """Base font name -> whether a font file is embedded, on every page and form inside it."""
    found: dict[str, bool] = {}

    def walk(resources: Any) -> None:
        for font in (resources.get("/Font") or {}).values():
            font = font.get_object()
            parts = [part.get_object() for part in font.get("/DescendantFonts", [font])]
            descriptors = [part["/FontDescriptor"].get_object() for part in parts if "/FontDescriptor" in part]
            held = any(key in d for d in descriptors for key in ("/FontFile", "/FontFile2", "/FontFile3"))
            found[str(font["/BaseFont"])] = held
        for form in (resources.get("/XObject") or {}).values():
            form = form.get_object()
            if "/Resources" in form:
                walk(form["/Resources"].get_object())

    for page in reader.pages:
        walk(page["/Resources"])
    return found


def test_a_png_has_three_hundred_dots_per_inch_and_says_so() -> None:
    svg = export.svg(double(style := Style(width_in=2.0)), style)
    image = export.png(svg)
    width, height = struct.unpack(">II", image[16:24])
    assert width == 600
    assert height > 100
    at = image.index(b"pHYs")
    across, down, unit = struct.unpack(">IIB", image[at + 4 : at + 13])
    assert (across, down, unit) == (11811, 11811, 1)
    assert image.count(b"pHYs") == 1


def test_hostile_words_stay_words_in_every_format() -> None:
    scores = samples.scores(label=HOSTILE, dead=[(0, 0)], reasons={"*": HOSTILE})
    sets = [head_set(label=HOSTILE, legend=HOSTILE, source=HOSTILE, kind="user")]
    chart = heatmap(scores, samples.view(id=HOSTILE), sets, HOSTILE)
    figure = samples.figure(chart, table([(scores, sets)], HOSTILE), title=HOSTILE, caption=HOSTILE, alt=HOSTILE)
    svg = export.svg(figure)
    root = ElementTree.fromstring(svg)
    assert not list(root.iter(f"{SVG}script"))
    assert "<script" not in svg
    assert "alert(1)" in "".join(root.itertext())
    assert export.pdf(svg, HOSTILE, HOSTILE).startswith(b"%PDF")
    assert export.png(svg).startswith(b"\x89PNG")
    assert json.loads(export.vega_lite(figure))
    export.csv(figure).encode()
    assert "\\textbackslash" not in export.tex(small(caption="plain"))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("=SUM(A1)", "'=SUM(A1)"),
        ("+cmd", "'+cmd"),
        ("-cmd", "'-cmd"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("-0.5", "-0.5"),
        ("+3e5", "+3e5"),
        (-0.25, "-0.25"),
        (None, ""),
        (float("nan"), ""),
        (True, "true"),
        (7, "7"),
        ('say "x", y', '"say ""x"", y"'),
    ],
)
def test_csv_cells_run_no_formula_and_keep_their_numbers(cell: Any, text: str) -> None:
    data = Table("t", "T", (Column("a"), Column("b")), ((cell, 1),))
    assert export.csv(samples.figure(None, data)) == f"a,b\n{text},1\n"


@given(st.text())
def test_no_csv_text_starts_a_formula_unless_it_is_a_number(text: str) -> None:
    data = Table("t", "T", (Column("a"), Column("b")), ((text, "x"),))
    body = export.csv(samples.figure(None, data)).split("\n", 1)[1]
    first = body.lstrip('"')[:1]
    if first and first in "=+-@\t\r":
        float(text)


def test_the_csv_of_a_map_has_one_row_per_head() -> None:
    lines = export.csv(small()).splitlines()
    assert lines[0] == "key,layer,head,name,value,low,high,n,p,line,rank,sets,weight,note"
    assert len(lines) == 13
    assert "relations/score/name_copying,0,3,L0H3,,,,40," in lines[4]
    assert lines[4].endswith(",inactive head")


def test_the_latex_snippet_is_escaped_and_labelled() -> None:
    tex = export.tex(small(caption="50 % of E_W & 3 ≥ τ, {x} \\ ~^ $#"))
    assert r"\caption{50 \% of E\_W \& 3 $\geq$ $\tau$, \{x\} \textbackslash{} " in tex
    assert r"\label{fig:relations-name_copying}" in tex
    assert r"\includegraphics[width=\linewidth]{figures/relations-name_copying.pdf}" in tex
    assert tex.count("{") == tex.count("}")


def test_every_format_has_a_writer() -> None:
    assert list(export.FORMATS) == ["svg", "pdf", "png", "csv", "tex", "json"]
    for write in export.FORMATS.values():
        assert isinstance(write(small(), Style()), bytes)


def test_the_drawing_of_a_small_map(snapshot: SnapshotAssertion) -> None:
    assert export.svg(small()) == snapshot


def test_the_drawing_of_a_pair(snapshot: SnapshotAssertion) -> None:
    assert export.svg(double()) == snapshot


def test_eighty_layers_of_sixty_four_heads_make_a_small_file() -> None:
    scores = samples.scores(80, 64)
    svg = export.svg(samples.figure(heatmap(scores), table([(scores, [])])))
    assert len(svg) < 400_000


def test_figures_import_neither_torch_nor_scipy_nor_pandas() -> None:
    code = """
import sys
from reportgen.figures import figure
assert "altair" not in sys.modules
from reportgen.figures import export, heatmap
import reportgen.published, reportgen.suites.relations.drawing.figures, reportgen.suites.attention.drawing
import reportgen.suites.circuits.drawing.figures
from tests.figures.test_export import double
export.svg(double())
print([m for m in ("torch", "scipy", "pandas", "transformers", "transformer_lens") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "want"),
    [("3.25in", 3.25), ("3.25", 3.25), ("8.255cm", 3.25), ("82.55 mm", 3.25), ("72.27pt", 1.0), ("icml", 3.25)],
)
def test_widths_in_words(text: str, want: float) -> None:
    assert inches(text) == pytest.approx(want)


@pytest.mark.parametrize("text", ["wide", "-3in", "0.2in", "400in", "3.25 feet", "nan"])
def test_other_words_are_refused_with_the_columns_there_are(text: str) -> None:
    with pytest.raises(SettingsError, match="icml-wide"):
        inches(text)


def test_no_width_is_none() -> None:
    assert inches("") is None


def figure(style: Style) -> Figure:
    scores = samples.scores(12, 12)
    return samples.figure(heatmap(scores, style=style), table([(scores, [])]), id="a-map")


def test_the_smallest_text_is_measured_as_printed() -> None:
    plain = export.svg(figure(Style()), Style())
    assert smallest_text(plain) == pytest.approx(8.8)
    style = Style(width_in=3.25, font_size=8)
    assert smallest_text(export.svg(figure(style), style)) == pytest.approx(7.04, abs=0.3)
    assert smallest_text('<svg viewBox="0 0 10 10"></svg>') == float("inf")


@pytest.mark.parametrize("column", sorted(COLUMNS))
def test_every_column_has_text_of_six_points_or_more(column: str) -> None:
    made, style = legible(figure, Style(width_in=COLUMNS[column], font_size=5))
    assert smallest_text(export.svg(made, style)) >= LEAST_PT - 0.01
    assert style.width_in == COLUMNS[column]


def test_text_that_is_large_enough_stays() -> None:
    asked = Style(width_in=3.25, font_size=9)
    assert legible(figure, asked)[1] == asked


def test_a_figure_that_cannot_hold_its_text_is_refused() -> None:
    def stubborn(style: Style) -> Figure:
        return figure(Style(font_size=4))  # drawn for the screen, then made smaller

    with pytest.raises(SettingsError, match="below 6 pt"):
        legible(stubborn, Style(width_in=1.0, font_size=4))
