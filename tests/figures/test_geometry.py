from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures.figure import Style
from reportgen.figures.geometry import bar_of, fit, margins
from reportgen.scores import HeadScores
from tests.figures import samples


def test_a_share_runs_from_zero_to_one_in_fifths() -> None:
    bar = bar_of(samples.scores())
    assert (bar.low, bar.high, bar.signed) == (0.0, 1.0, False)
    assert bar.labels() == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]


def test_signed_scores_are_symmetric_with_zero_labelled() -> None:
    bar = bar_of(samples.signed())
    assert (bar.low, bar.high, bar.signed) == (-0.4, 0.4, True)
    assert bar.labels() == ["−0.4", "−0.3", "−0.2", "−0.1", "0.0", "0.1", "0.2", "0.3", "0.4"]


def test_a_bounded_signed_range_is_kept() -> None:
    values = np.full((2, 2), 0.01, np.float32)
    bar = bar_of(HeadScores("a/b/c", "r", values, 1, no_null="none", range=(-1.0, 1.0)))
    assert (bar.low, bar.high) == (-1.0, 1.0)


@given(st.floats(1e-6, 1e6), st.booleans())
def test_open_scales_hold_their_data_and_have_few_ticks(reach: float, negative: bool) -> None:
    values = np.array([[reach, 0.0], [-reach / 3 if negative else 0.0, 0.0]], np.float32)
    bar = bar_of(HeadScores("a/b/c", "r", values, 1, no_null="none", range=(-math.inf if negative else 0.0, math.inf)))
    assert bar.high >= values.max() * (1 - 1e-6)
    assert 0.0 in bar.ticks
    assert 3 <= len(bar.ticks) <= 13
    assert len(set(bar.labels())) == len(bar.ticks)


@pytest.mark.parametrize("filler", [0.0, math.nan])
def test_a_map_without_any_reach_still_has_a_scale(filler: float) -> None:
    values = np.full((2, 3), filler, np.float32)
    bar = bar_of(HeadScores("a/b/c", "r", values, 1, no_null="none", reasons={"*": "none"}))
    assert bar.low < 0 < bar.high


@pytest.mark.parametrize("shape", [(12, 12), (24, 16), (6, 8), (32, 32), (80, 64), (1, 1), (4, 64)])
def test_cells_are_square_or_nearly(shape: tuple[int, int]) -> None:
    grid = fit(shape, bar_of(samples.scores()), Style())
    assert 1.0 <= grid.cell_w / grid.cell_h <= 1.401
    assert grid.cell_h >= 4


@pytest.mark.parametrize("shape", [(12, 12), (24, 16), (6, 8), (32, 32)])
@pytest.mark.parametrize("panels", [1, 2])
def test_a_printed_width_is_filled(shape: tuple[int, int], panels: int) -> None:
    style = Style(width_in=3.25 * panels, font_size=8)
    bar = bar_of(samples.scores())
    grid = fit(shape, bar, style, panels)
    taken = panels * (grid.width + sum(margins(shape[1], bar, 8))) + (panels - 1) * 1.6 * 8 + 4
    assert taken == pytest.approx(72 * 3.25 * panels, rel=1e-3)


def test_points_and_coordinates_agree() -> None:
    grid = fit((3, 4), bar_of(samples.scores()), Style())
    assert grid.x_at(0) == -0.5
    assert grid.x_at(grid.width) == pytest.approx(2.5)
    assert grid.y_at(grid.height) == pytest.approx(3.5)
