from __future__ import annotations

import copy
import dataclasses
import datetime
import io
import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pypdf
import pytest

from reportgen.figures.figure import supplementary
from reportgen.figures.theme import printable
from reportgen.report import pdf
from reportgen.report.build import build
from reportgen.report.document import Report
from tests.report import sample

FONTS = Path(str(files("reportgen.templates"))) / "fonts"
DAY = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build(sample.run(tmp_path_factory.mktemp("run"), sample.HOSTILE), suites=sample.SUITES)


@pytest.fixture(scope="module")
def document(report: Report) -> bytes:
    return pdf.document(report)


@pytest.fixture(scope="module")
def reader(document: bytes) -> pypdf.PdfReader:
    return pypdf.PdfReader(io.BytesIO(document))


def nodes(reader: pypdf.PdfReader, kind: str) -> list[Any]:
    """Elements of the structure tree of one kind, in reading order."""
    found: list[Any] = []

    def walk(item: Any) -> None:
        node = item.get_object() if hasattr(item, "get_object") else item
        if isinstance(node, list):
            for kid in node:
                walk(kid)
        elif isinstance(node, dict):
            if node.get("/S") == kind:
                found.append(node)
            if "/K" in node:
                walk(node["/K"])

    walk(reader.trailer["/Root"]["/StructTreeRoot"])
    return found


def text_of(reader: pypdf.PdfReader) -> str:
    return " ".join(" ".join(p.extract_text() for p in reader.pages).split()).replace("\u200b", "")


def test_the_document_is_tagged_titled_and_dated(reader: pypdf.PdfReader, report: Report) -> None:
    root = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"].value is True
    assert str(root["/Lang"]).startswith("en")
    assert reader.metadata is not None
    assert reader.metadata.title == printable(report.title)
    assert reader.metadata.creation_date == datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_every_figure_has_its_words_and_its_name(reader: pypdf.PdfReader, report: Report) -> None:
    alts = [str(node["/Alt"]) for node in nodes(reader, "/Figure") if "/Alt" in node]
    assert alts == [printable(p.alt) for p in report.plates]
    text = text_of(reader)
    for plate in report.plates:
        assert f"Figure {plate.number}. {printable(plate.title)}" in text


def test_supplementary_figures_are_named_and_the_others_keep_their_numbers(report: Report) -> None:
    first, *others = report.sections
    assert len(first.plates) > 1
    left_out, *printed = first.plates
    further = dataclasses.replace(left_out, figure=copy.copy(left_out.figure))
    supplementary(lambda: further.figure)()
    section = dataclasses.replace(first, plates=(further, *printed))
    changed = dataclasses.replace(report, sections=(section, *others))
    reader = pypdf.PdfReader(io.BytesIO(pdf.document(changed)))
    text = text_of(reader)
    assert len(nodes(reader, "/Figure")) < len(nodes(pypdf.PdfReader(io.BytesIO(pdf.document(report))), "/Figure"))
    assert f"Figure {left_out.number}. {printable(left_out.title)}" not in text
    assert f"{printable(left_out.title)} ({left_out.number})" in text
    for plate in printed:
        assert f"Figure {plate.number}. {printable(plate.title)}" in text


def test_sections_tables_and_reasons_are_there(reader: pypdf.PdfReader) -> None:
    text = text_of(reader)
    for words in ("Contents", "Suite alpha", "ZeroDivisionError", "Failed. ValueError", "the slow experiment",
                  "Leading heads", "Glossary", "Interpretability in the Wild", "Provenance"):  # fmt: skip
        assert words in text, words
    assert nodes(reader, "/Table")
    assert nodes(reader, "/TH")


def test_data_are_never_read_as_markup(reader: pypdf.PdfReader) -> None:
    text = text_of(reader)
    assert r"\u{202e}RTL\u{7} \u{4e2d}\u{6587} {{ 7*7 }} #let x" in text


def test_all_fonts_are_embedded_and_ours(reader: pypdf.PdfReader) -> None:
    names = set()
    for page in reader.pages:
        for font in page["/Resources"].get("/Font", {}).values():
            child = font.get_object()["/DescendantFonts"][0].get_object()
            descriptor = child["/FontDescriptor"]
            assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(descriptor)
            names.add(str(descriptor["/FontName"]).split("+")[1].split("-")[0])
    assert names == {"LiberationSans", "LibertinusSerif"}


def test_pages_are_a4_and_not_empty(reader: pypdf.PdfReader) -> None:
    assert 3 <= len(reader.pages) <= 12
    for page in reader.pages:
        assert (round(page.mediabox.width), round(page.mediabox.height)) == (595, 842)
        assert len(page.extract_text()) > 150


def test_the_same_bytes_again(report: Report, document: bytes) -> None:
    assert pdf.document(report) == document


def test_every_character_said_to_be_held_is_held_in_both_text_and_svg() -> None:
    held = [chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i < 0xE000 and printable(chr(i)) == chr(i)]
    assert 500 < len(held) < 1200
    line = "".join(c for c in held if c.isprintable())
    escaped = line.replace("&", "&amp;").replace("<", "&lt;")
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 20"><text y="10" font-size="8" '
        f'font-family="Liberation Sans, Arial, sans-serif">{escaped}</text></svg>'
    )
    main = '#set document(title: "t")\n#set text(lang: "en")\n= A\n'
    for font in ("Liberation Sans", "Libertinus Serif"):
        main += f'#text(font: "{font}", json("held.json"))\n\n'
    main += '#image("held.svg", alt: "held")'
    sources = {"main.typ": main.encode(), "held.json": json.dumps(line).encode(), "held.svg": svg.encode()}
    assert pdf.compile_pdf(sources, FONTS, DAY).startswith(b"%PDF")


def test_a_warning_is_an_error() -> None:
    source = b'#set document(title: "t")\n#set text(lang: "en")\n= A\n#text(font: "No Such Font")[x]'
    with pytest.raises(pdf.PdfError, match="unknown font family"):
        pdf.compile_pdf({"main.typ": source}, FONTS, DAY)


def test_long_words_get_places_to_break() -> None:
    assert pdf.breakable("short words stay") == "short words stay"
    assert max(len(part) for part in pdf.breakable(sample.LONG).split("\u200b")) == 24


@pytest.mark.parametrize(
    ("created", "want"),
    [("2026-11-03T09:41:07+02:00", "2026-11-03T07:41:07+00:00"), ("2026-11-03", "2026-11-03T00:00:00+00:00"),
     ("yesterday", "1970-01-01T00:00:00+00:00")],
)  # fmt: skip
def test_the_date_is_the_runs(created: str, want: str) -> None:
    assert pdf.moment(created).isoformat() == want


def placed(report: Report, width: int, height: int, size: float) -> list[tuple[float, float, float]]:
    """Per page width, height and the smallest text of a chart (a lone Ω) that stands on it."""
    text = f'<text x="5" y="20" font-size="{size}" font-family="Liberation Sans">Ω</text>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{text}</svg>'
    plate = dataclasses.replace(report.plates[0], svg=svg, width=width, height=height)
    section = dataclasses.replace(report.sections[0], plates=(plate,))
    found = []
    for page in pypdf.PdfReader(io.BytesIO(pdf.document(dataclasses.replace(report, sections=(section,))))).pages:
        seen: list[float] = []

        def visit(text: str, cm: Any, tm: Any, font: Any, size: Any, seen: list[float] = seen) -> None:
            if "Ω" in text:
                seen.append(abs(size * tm[3] * cm[3]))

        page.extract_text(visitor_text=visit)
        found += [(float(page.mediabox.width), float(page.mediabox.height), min(seen))] if seen else []
    return found


@pytest.mark.parametrize(
    ("width", "height", "size", "turned"),
    [(300, 280, 8.0, False), (730, 300, 8.2, False), (480, 700, 7.5, False), (900, 300, 8.0, True)],
    ids=["small", "into the margins", "tall", "on its side"],
)
def test_text_in_figures_is_at_least_six_points(
    report: Report, width: int, height: int, size: float, turned: bool
) -> None:
    ((across, down, smallest),) = placed(report, width, height, size)
    assert smallest >= 5.99
    assert (across > down) == turned
