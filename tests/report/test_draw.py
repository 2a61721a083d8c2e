from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest

from reportgen.figures import export
from reportgen.figures.figure import Figure, View
from reportgen.figures.svg import render
from reportgen.figures.theme import Style, clean
from reportgen.report.draw import Drawing, Ready, settled, started, threads, unique
from reportgen.scores import SuiteResult
from reportgen.suites.base import Suite
from tests import fixtures
from tests.report import sample

VIEW = View(fixtures.model_record(sample.LAYERS, sample.HEADS))


def bad_ids(found: SuiteResult, view: View) -> list[Figure]:
    good = sample.figures(found, view)[0]
    return [dataclasses.replace(good, id=i) for i in ("../etc/passwd", "a b", "", ".hidden", "fine", "Fine")]


def suite(drawn: str) -> Suite:
    return dataclasses.replace(sample.suite(), figures=f"tests.report.test_draw:{drawn}")


def draw(drawn: Suite, ready: Ready | None = None) -> list[Drawing | str]:
    """All figures of a suite."""
    with threads(1) as pool:
        return settled(started(pool, drawn, sample.result(), VIEW, Style(), ready=ready))


def split(drawn: list[Drawing | str]) -> tuple[list[Drawing], list[str]]:
    return [d for d in drawn if not isinstance(d, str)], [d for d in drawn if isinstance(d, str)]


def test_ids_that_are_no_file_names_are_refused_one_by_one() -> None:
    drawings, problems = split(draw(suite("bad_ids")))
    assert [d.figure.id for d in drawings] == ["fine", "Fine"]
    assert len(problems) == 4
    assert "not a plain file name" in problems[0]


def test_doubled_ids_are_left_out_whatever_their_case() -> None:
    drawings, _ = split(draw(suite("bad_ids")))
    kept, problems = split(unique(drawings, set()))
    assert [d.figure.id for d in kept] == ["fine"]
    assert problems == ["Figure Fine is left out: another figure has this id."]


@pytest.mark.parametrize(
    "inside",
    ["<script>1</script>", "<foreignObject/>", '<image href="http://x/y.png"/>', '<rect onclick="1"/>',
     '<use href="http://x/#a"/>', "<![CDATA[<x>]]><!-- -->", "<style>@import 'http://x'</style>",
     '<rect style="fill:url(http://x)"/>', '<rect fill="url(http://x)"/>'],
)  # fmt: skip
def test_drawings_that_run_or_load_something_are_refused(monkeypatch: pytest.MonkeyPatch, inside: str) -> None:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10">{inside}</svg>'
    monkeypatch.setattr(export, "svg", lambda figure, *more: svg)
    drawings, problems = split(draw(sample.suite()))
    assert drawings == []
    assert len(problems) == 3
    assert all("SVG" in problem for problem in problems)


def test_every_drawing_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = export.svg

    def counted(figure: Figure, *more: Any) -> str:
        asked.append(figure.id)
        return real(figure, *more)

    monkeypatch.setattr(export, "svg", counted)
    told: list[tuple[str, int]] = []
    draw(sample.suite(), lambda drawing: told.append((drawing.figure.id, threading.get_ident())))
    assert asked == ["alpha-capital", "alpha-ioi", "alpha-bars"] == [name for name, _ in told]
    assert threading.get_ident() not in {thread for _, thread in told}


def test_what_waits_is_dropped_where_a_block_ends_early() -> None:
    begun, go = threading.Event(), threading.Event()
    ran: list[int] = []

    def work(number: int) -> None:
        begun.set()
        go.wait()
        ran.append(number)

    def stopped() -> None:
        with threads(1) as pool:
            for number in range(3):
                pool.submit(work, number)
            begun.wait()
            threading.Timer(0.1, go.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert ran == [0]


@pytest.mark.parametrize("text", ["bell \x07", "null \x00", "escape \x1b[2J", "half \ud800", "\ufffe", "\u202ertl"])
def test_no_string_of_a_chart_can_end_the_renderer(text: str) -> None:
    """It aborts on control characters."""
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "title": text,
        "data": {"values": [{"a": text, "b": 1}]},
        "mark": "text",
        "encoding": {"text": {"field": "a"}, "x": {"field": "b", "type": "quantitative", "title": text}},
    }
    drawn = render(spec)
    assert text not in drawn
    assert clean(text) in drawn
