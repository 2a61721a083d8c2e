from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures import chart_data, export
from reportgen.figures.figure import Figure
from reportgen.figures.head_maps import HeadMap, maps
from reportgen.figures.heatmap import heatmap, pair
from reportgen.figures.theme import Style
from reportgen.report.build import build
from reportgen.report.document import Framed, FramedPanel, Report
from reportgen.report.html import page
from reportgen.report.labels import control_words
from reportgen.report.tiles import ColourScale, framed, wall
from reportgen.scores import Control, HeadScores
from tests import fixtures
from tests.pixels import decode
from tests.report import sample


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build(sample.run(tmp_path_factory.mktemp("run")), suites=sample.SUITES)


def test_colours_lie_on_the_figures_own_bar() -> None:
    scale = ColourScale(((0.0, "#000000"), (0.5, "#804020"), (1.0, "#ffffff")))
    assert [scale.colour(x) for x in (-1, 0, 0.5, 1, 2)] == ["#000000", "#000000", "#804020", "#ffffff", "#ffffff"]
    assert scale.colour(0.25) == "#402010"


def test_the_wall_has_every_map_once_under_the_figures_colours(report: Report) -> None:
    found = wall(report)
    assert [(t.key, t.number, t.anchor) for t in found.tiles] == [
        ("alpha/score/capital", 1, "fig-alpha-capital"),
        ("alpha/effect/ioi", 2, "fig-alpha-ioi"),
    ]
    assert [t.range for t in found.tiles] == ["", "± 1.0"]
    assert found.shares is not None
    assert found.shares.stops[0] == (0.0, "#440154")  # viridis
    assert found.signed is not None
    assert list(found.controls) == ["ideal copier", "random twin"]


def test_a_twin_with_a_score_per_head_is_drawn_head_by_head(report: Report) -> None:
    capital = wall(report).tiles[0]
    copier, twin = capital.controls.values()
    assert copier.words == "ideal copier 0.250"
    assert copier.body.count("<rect") == 1
    assert twin.body.count("M") == sample.LAYERS * sample.HEADS
    assert twin.short == f"highest {sample.grid(9).max():.3f}"
    assert wall(report).tiles[1].controls == {}


def test_words_of_controls() -> None:
    assert control_words(Control("random twin", 0.1, bound=True)) == "random twin ≤ 0.100"
    assert control_words(Control("random twin", 0.25, np.zeros((1, 1), np.float32))) == "random twin, highest 0.250"
    assert control_words(Control("ideal copier", 0.25)) == "ideal copier 0.250"


def test_a_report_without_maps_has_an_empty_wall(tmp_path: Path) -> None:
    found = wall(build(sample.run(tmp_path), suites={"gamma": sample.SUITES["gamma"]}))
    assert found.tiles == ()
    assert found.controls == {}


@given(st.tuples(st.integers(1, 80), st.integers(1, 64)), st.floats(2, 30), st.floats(2, 30), st.booleans())
def test_a_thumbnail_has_the_proportion_of_its_grid(
    shape: tuple[int, int], across: float, down: float, turned: bool
) -> None:
    """After the transformation cells are unit squares in a box of columns x rows, whatever the figure's cells were."""
    panel = FramedPanel("a/b/c", (12.5, 30.0), (across, down), turned, shape=shape)
    scale = re.fullmatch(r"scale\(([\d.e-]+) ([\d.e-]+)\) translate\((-?[\d.]+) (-?[\d.]+)\)", panel.in_cells())
    assert scale is not None
    kx, ky, dx, dy = (float(part) for part in scale.groups())
    right, low = 12.5 + panel.columns * across, 30.0 + panel.rows * down
    assert (kx * (12.5 + dx), ky * (30.0 + dy)) == (0, 0)
    assert kx * (right + dx) == pytest.approx(panel.columns, rel=1e-4)
    assert ky * (low + dy) == pytest.approx(panel.rows, rel=1e-4)


def test_the_page_gives_thumbnails_the_box_of_their_grid(report: Report) -> None:
    text = page(report, (), {}, [])
    boxes = re.findall(r'<svg class="model" viewBox="([\d. ]+)" aria', text)
    assert boxes == [f"0 0 {sample.LAYERS} {sample.HEADS}"] * len(wall(report).tiles)


SHAPE = (3, 4)
ONE = fixtures.head_scores("a/score/one")
TWO = fixtures.head_scores("a/score/two", seed=1)


def drawn(scores: Sequence[HeadScores], chart: object) -> tuple[Figure, str, Framed]:
    figure = Figure("f", "a", "T", "C", "A", chart, chart_data.table([(s, ()) for s in scores]))  # type: ignore[arg-type]
    svg = export.svg(figure)
    return figure, svg, framed(svg, "f", figure.panels, {s.key: s for s in scores})


def centres(svg: str) -> set[tuple[float, float]]:
    """Upper left corners of all cells."""
    groups = re.findall(r'cells\w*_marks"[^>]*>(.*?)</g>', svg)
    corners = re.findall(r'd="M([\d.-]+),([\d.-]+)h', "".join(groups))
    return {(float(x), float(y)) for x, y in corners}


@pytest.mark.parametrize("width", [None, 3.0])
def test_cells_stand_where_the_panel_says(width: float | None) -> None:
    scores = fixtures.head_scores(layers=5, heads=7)
    _, svg, frame = drawn([scores], heatmap(scores, style=Style(width_in=width)))
    (panel,) = frame.panels
    assert not panel.down
    where = {
        (round(panel.at[0] + lay * panel.step[0]), round(panel.at[1] + h * panel.step[1]))
        for lay in range(5)
        for h in range(7)
        if np.isfinite(scores.values[lay, h])
    }
    assert where == {(round(x), round(y)) for x, y in centres(svg)}


def test_pairs_have_two_panels_and_small_multiples_run_down() -> None:
    _, _, frame = drawn([ONE, TWO], pair((ONE, (), "one"), (TWO, (), "two")))
    assert [p.key for p in frame.panels] == [ONE.key, TWO.key]
    assert frame.panels[0].uses != frame.panels[1].uses
    many = [HeadMap("one", "", ONE), HeadMap("two", "", TWO)]
    _, _, frame = drawn([ONE, TWO], maps(many, "Score", Style()))
    assert [p.down for p in frame.panels] == [False, False]
    _, _, frame = drawn([ONE, TWO], maps(many, "Score", Style(), down=True))
    assert [p.down for p in frame.panels] == [True, True]
    assert frame.panels[0].step == pytest.approx(frame.panels[1].step, abs=0.1)
    assert frame.panels[0].at[0] < frame.panels[1].at[0]


def test_a_drawing_that_does_not_fit_its_panels_gets_none() -> None:
    figure, svg, frame = drawn([ONE], heatmap(ONE))
    assert len(frame.panels) == 1
    assert framed(svg, "f", [*figure.panels, *figure.panels], {ONE.key: ONE}).panels == ()
    assert framed(svg.replace("cells_marks", "marks"), "f", figure.panels, {ONE.key: ONE}).panels == ()
    resized = dataclasses.replace(figure, chart=heatmap(ONE).properties(width=500))
    assert resized.panels == ()
    empty = HeadScores("a/score/none", "N", np.full(SHAPE, np.nan, np.float32), 0, no_null="x", reasons={"*": "y"})
    assert drawn([empty], heatmap(empty))[2].panels == ()
    assert framed(svg, "f", [], {ONE.key: ONE}).panels == ()


def test_a_map_without_a_value_is_no_panel_of_a_pair() -> None:
    empty = HeadScores("a/score/none", "N", np.full(SHAPE, np.nan, np.float32), 0, no_null="x", reasons={"*": "y"})
    _, _, frame = drawn([empty, TWO], pair((empty, (), "none"), (TWO, (), "two")))
    assert [panel.key for panel in frame.panels] == [TWO.key]


def test_the_page_gets_a_large_map_small_and_it_looks_the_same() -> None:
    scores = fixtures.head_scores(layers=40, heads=30)
    _, svg, frame = drawn([scores], heatmap(scores))
    assert len(frame.body) < 0.75 * len(svg)
    whole = svg[: svg.index(">") + 1] + frame.body + "</svg>"
    one, other = (decode(export.png(text, 100)) for text in (svg, whole))
    assert np.abs(one - other).mean() < 0.002
    moved = decode(export.png(whole.replace("matrix(", "matrix(1.02,0,0,1,0,0) matrix("), 100))
    assert np.abs(one - moved).mean() > 0.02


def test_what_marks_share_is_said_once_and_the_drawing_is_the_same() -> None:
    chart = maps([HeadMap("one", "", ONE), HeadMap("two", "", TWO)], "Score", Style())
    _, svg, frame = drawn([ONE, TWO], chart)
    assert frame.body.count("font-size") < 0.5 * svg.count("font-size")
    whole = svg[: svg.index(">") + 1] + frame.body + "</svg>"
    one, other = (decode(export.png(text, 100)) for text in (svg, whole))
    assert np.abs(one - other).max() == 0
    lost = decode(export.png(whole.replace('text-anchor="middle"', ""), 100))
    assert np.abs(one - lost).max() > 0.1


def test_ids_are_the_figures_own_and_titles_are_left_out() -> None:
    _, svg, frame = drawn([ONE], heatmap(ONE))
    assert "<title" in svg
    assert "<title" not in frame.body
    assert all(f'id="{name}"' in frame.body for name in frame.panels[0].uses)
    assert "xmlns" not in frame.body
    assert all(name in frame.panels[0].art for name in frame.panels[0].uses)


def test_a_shape_in_many_places_stands_there_once_and_looks_the_same() -> None:
    circle = "M2,0A2,2,0,1,1,-2,0A2,2,0,1,1,2,0"
    marks = "".join(f'<path transform="translate({x},{x % 7})" d="{circle}" fill-opacity="0.4"/>' for x in range(3, 40))
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="44" height="12" viewBox="0 0 44 12">'
    svg = f'{head}<g fill="#c0392b">{marks}<path transform="rotate(9)" d="{circle}" fill="#123456"/></g></svg>'
    body = framed(svg, "f", [], {}).body
    assert body.count(circle) == 2  # the shape, and the one that no place alone describes
    assert body.count('href="#f-shape0"') == 37
    one, other = (decode(export.png(text, 300)) for text in (svg, f"{head}{body}</svg>"))
    assert np.abs(one - other).max() < 0.01
    lost = decode(export.png(f"{head}{body.replace('f-shape0', 'none', 1)}</svg>", 300))
    assert np.abs(one - lost).max() > 0.1
