from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.report.build import build
from reportgen.report.controls import Control, controls
from reportgen.report.frames import Panel
from reportgen.report.html import page
from reportgen.report.parts import Report
from reportgen.report.tiles import Scale, wall
from reportgen.scores import NamedArray
from tests.report import sample


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build(sample.run(tmp_path_factory.mktemp("run")), suites=sample.SUITES)


def test_colours_lie_on_the_figures_own_bar() -> None:
    scale = Scale(((0.0, "#000000"), (0.5, "#804020"), (1.0, "#ffffff")))
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
    assert found.controlled


def test_a_twin_with_a_score_per_head_is_drawn_head_by_head(report: Report) -> None:
    capital = wall(report).tiles[0]
    assert capital.copier is not None
    assert capital.copier.words == "ideal copier 0.250"
    assert capital.copier.body.count("<rect") == 1
    assert capital.twin is not None
    assert capital.twin.body.count("M") == sample.LAYERS * sample.HEADS
    assert capital.twin.short == f"highest {sample.grid(9).max():.3f}"
    assert wall(report).tiles[1].copier is None


def test_a_twins_highest_head_is_called_a_bound() -> None:
    result = sample.result()
    _, names, effect = result.scores
    (twin,) = controls(result, names)
    assert (twin.words, twin.values, twin.bound) == ("random twin ≤ 0.100", None, True)
    assert controls(result, effect) == ()


@pytest.mark.parametrize("values", [np.ones((1, 2, 2)), np.full((1, sample.LAYERS, sample.HEADS), np.nan)])
def test_a_twin_of_another_grid_or_without_values_is_none(values: np.ndarray) -> None:  # type: ignore[type-arg]
    stored = NamedArray(("measure", "layer", "head"), values.astype(np.float32), {"measure": ("score",)})
    result = dataclasses.replace(sample.result(), arrays={"twin/capital": stored})
    assert [c.name for c in controls(result, result.scores[0])] == ["ideal copier"]


@pytest.mark.parametrize("value", [True, "0.3", None, float("nan"), [0.3]])
def test_a_damaged_control_is_none(value: object) -> None:
    facts = {"relations": {"capital": {"copier": {"embedding": {"score": value}}}}}
    result = dataclasses.replace(sample.result(), arrays={}, facts=facts)
    assert controls(result, result.scores[0]) == ()


def test_words_of_controls() -> None:
    assert Control("random twin", 0.25, np.zeros((1, 1), np.float32)).words == "random twin, highest 0.250"


def test_a_report_without_maps_has_an_empty_wall(tmp_path: Path) -> None:
    found = wall(build(sample.run(tmp_path), suites={"gamma": sample.SUITES["gamma"]}))
    assert found.tiles == ()
    assert not found.controlled


@given(st.tuples(st.integers(1, 80), st.integers(1, 64)), st.floats(2, 30), st.floats(2, 30), st.booleans())
def test_a_thumbnail_has_the_proportion_of_its_grid(
    shape: tuple[int, int], across: float, down: float, turned: bool
) -> None:
    """After the transformation cells are unit squares in a box of columns x rows, whatever the figure's cells were."""
    panel = Panel("a/b/c", (12.5, 30.0), (across, down), shape, turned)
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
