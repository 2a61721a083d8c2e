from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import pytest

from reportgen.figures import data, export
from reportgen.figures.figure import Figure, Style
from reportgen.figures.head_maps import HeadMap, maps
from reportgen.figures.heatmap import heatmap, pair
from reportgen.report.frames import Framed, framed
from reportgen.scores import HeadScores
from tests import fixtures
from tests.pixels import decode

SHAPE = (3, 4)
ONE = fixtures.head_scores("a/score/one")
TWO = fixtures.head_scores("a/score/two", seed=1)


def drawn(scores: Sequence[HeadScores], chart: object, keys: Sequence[str] | None = None) -> tuple[Figure, str, Framed]:
    figure = Figure("f", "a", "T", "C", "A", chart, data.table([(s, ()) for s in scores]))  # type: ignore[arg-type]
    svg = export.svg(figure)
    layers, heads = scores[0].values.shape
    return figure, svg, framed(svg, "f", figure.data, keys or [s.key for s in scores], (layers, heads))


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


def test_a_drawing_that_does_not_fit_its_data_gets_no_panel() -> None:
    figure, svg, frame = drawn([ONE], heatmap(ONE))
    assert len(frame.panels) == 1
    short = dataclasses.replace(figure.data, rows=figure.data.rows[:-1])
    assert framed(svg, "f", short, [ONE.key], SHAPE).panels == ()
    moved = svg.replace('d="M', 'd="M9', 1) if 'd="M0,0h' in svg else svg
    broken = re.sub(r'(cells_marks"[^>]*><path d=")M[\d.-]+', r"\g<1>M77", moved, count=1)
    assert framed(broken, "f", figure.data, [ONE.key], SHAPE).panels == ()
    empty = HeadScores("a/score/none", "N", np.full(SHAPE, np.nan, np.float32), 0, no_null="x", reasons={"*": "y"})
    assert drawn([empty], heatmap(empty))[2].panels == ()
    assert framed(svg, "f", figure.data, [], SHAPE).panels == ()


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
