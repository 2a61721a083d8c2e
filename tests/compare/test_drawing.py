"""Figures of comparisons: no head is left out of a curve without a word, and cells that differ are marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reportgen.compare import drawing
from reportgen.compare.store import ComparisonRequest, compare
from reportgen.figures.figure import Figure
from reportgen.report.build import all_figures
from reportgen.runfolder import Run
from tests.compare.made_up import grid, result, stored


@pytest.fixture
def pair(tmp_path: Path) -> list[Run]:
    values = grid(20, 15)
    moved = values.copy()
    moved[1, 2] += np.float32(0.3)
    return [stored(tmp_path / "a", result(values, ())), stored(tmp_path / "b", result(moved, ()))]


def of(pair: list[Run], out: Path, kind: str, *measures: str) -> Figure:
    found = compare(pair, ComparisonRequest(measures), out)
    return next(f for f in all_figures(found) if f.id.endswith(kind))


def lines(figure: Figure) -> int:
    return sum(len(layer.data.values) for layer in figure.chart.layer if layer.name in ("lines", "dashed_lines"))


def test_a_rank_curve_draws_and_keeps_every_head(
    pair: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = of(pair, tmp_path, "-rank")
    assert (len(whole.data.rows), lines(whole)) == (2 * 2 * 300, 2 * 2 * 300)
    assert "are drawn" not in " ".join(whole.notes)
    monkeypatch.setattr(drawing, "MOST_POINTS", 250)
    thinned = of(pair, tmp_path, "-rank")
    assert len(thinned.data.rows) == 2 * 2 * 300
    assert lines(thinned) == 2 * 2 * 250
    assert "Of 300 heads 250 are drawn: the 100 highest, the 100 lowest" in " ".join(thinned.notes)
    kept = drawing.drawn(300)
    assert [*kept[:100], *kept[-100:]] == [*range(100), *range(200, 300)]


def test_ranked_names_each_head_from_the_highest(pair: list[Run]) -> None:
    heads, x, y = drawing.ranked(np.array([[0.1, np.nan], [0.3, 0.2]]))
    assert heads == ["L1H0", "L1H1", "L0H0"]
    assert (x.tolist(), y.tolist()) == ([0, 0.5, 1], [0.3, 0.2, 0.1])


def test_cells_whose_interval_leaves_out_zero_have_a_dot(pair: list[Run], tmp_path: Path) -> None:
    several = of(pair, tmp_path, "-difference")
    dots = next(layer for layer in several.chart.layer if layer.name == "significant")
    assert len(dots.data.values) == 2  # the head in one relation, its mirror in the other
    assert "2 of 600 intervals leave out 0" in several.caption
    assert drawing._beyond([_one(pair)]).startswith("1 of 300 intervals leaves out 0")
    assert drawing._clipped(1) == "1 cell lies beyond the colour bar."
    (marked,) = drawing._apart(_one(pair))
    assert marked.heads == ((1, 2),)


def _one(pair: list[Run]) -> drawing.HeadScores:
    from reportgen.compare.numbers import difference

    first, other = (run.result("relations").scores[0] for run in pair)
    return difference("compared/difference/x", "x", first, other)


def test_panels_of_one_measure_on_several_tasks_are_named_by_the_task() -> None:
    from reportgen.compare.drawing import _labels
    from reportgen.scores import SuiteResult

    labels = {"circuits/direct/ioi": "IOI: Direct effect", "circuits/direct/capitals": "Capitals: Direct effect"}
    result = SuiteResult("compared", facts={"labels": labels})
    assert _labels(result, list(labels)) == ["IOI", "Capitals"]
    assert _labels(result, ["circuits/direct/ioi"]) == ["IOI: Direct effect"]
