"""Ten thousand characters, markup, quotes, right-to-left and control characters wherever words may come from."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from reportgen.figures.heatmap import heatmap
from reportgen.figures.svg import normalise, render, size_of
from reportgen.report import pdf
from reportgen.report.build import build
from reportgen.report.document import Report
from reportgen.report.html import page
from tests.report import sample

WIDE = "</script><script>\"'`&amp;\u202e\u2066\u0000\u0007\u001b[31m\ud800" + "W" * 10_000 + "]]>-->{{ 7*7 }}"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report whose names, labels, captions, tokens, settings and reasons all are the hostile text."""
    return build(sample.run(tmp_path_factory.mktemp("wide"), WIDE), suites=sample.SUITES)


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    return page(report)


def test_figures_captions_and_the_page_are_made(report: Report, text: str) -> None:
    assert not report.sections[0].undrawn
    assert len(report.plates) == 3
    assert "W" * 10_000 in text


def test_nothing_of_it_becomes_markup(text: str) -> None:
    assert len(re.findall("<script", text)) == len(re.findall("</script>", text)) == 3
    assert not re.search("[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]", text)
    text.encode()  # no lone surrogate is left
    for block in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL):
        json.loads(block)


def test_the_pdf_is_made_with_lines_that_break(report: Report) -> None:
    assert pdf.document(report).startswith(b"%PDF")


def test_drawings_stay_small(report: Report) -> None:
    for plate in report.plates:
        assert plate.width < 2_000
        assert plate.height < 2_000


def test_a_score_of_any_label_is_drawn_small() -> None:
    scores = replace(sample.signed(), label=WIDE)
    width, height = size_of(normalise(render(heatmap(scores, title=WIDE).to_dict()), "wide", WIDE, WIDE))
    assert width < 1_000
    assert height < 1_000


def test_a_hostile_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    run = sample.run(tmp_path, "../../../etc/passwd\u0000")
    ids = {plate.id for plate in build(run, suites=sample.SUITES).plates}
    assert ids == {"alpha-capital", "alpha-ioi", "alpha-bars"}
