from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures.geometry import Arrangement, Wanted, bar_of, fit, room
from reportgen.figures.theme import Style, index_ticks, text_width
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


@pytest.mark.parametrize(("largest", "high"), [(0.8, 1.0), (0.25, 1.0), (0.19, 0.2), (0.0, 1.0)])
def test_a_bounded_signed_range_is_kept_where_the_data_fill_a_quarter_of_it(largest: float, high: float) -> None:
    values = np.full((2, 2), largest, np.float32)
    bar = bar_of(HeadScores("a/b/c", "r", values, 1, no_null="none", range=(-1.0, 1.0)))
    assert (bar.low, bar.high) == (-high, high)
    assert 0.0 in bar.ticks


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


GRIDS = st.tuples(st.integers(1, 80), st.integers(1, 64))
STYLES = st.builds(Style, font_size=st.sampled_from([8.0, 10.0]), width_in=st.sampled_from([None, 3.03, 3.25, 5.5]))
LABELS = st.sampled_from(["Score", "Induction attention (prefix matching)", "(Suppression) Name Copying score"])


def arranged(shape: tuple[int, int], style: Style, *labels: str) -> Arrangement:
    bar = bar_of(samples.scores())
    return fit([Wanted(shape, bar, label) for label in labels or ("Score",)], style)


@given(GRIDS, STYLES)
def test_cells_are_square_or_nearly(shape: tuple[int, int], style: Style) -> None:
    (grid,) = arranged(shape, style).grids
    assert 1 / 1.401 <= grid.cell_w / grid.cell_h <= 1.401


@given(GRIDS, STYLES, LABELS, LABELS)
def test_the_label_of_a_bar_is_no_longer_than_the_bar(
    shape: tuple[int, int], style: Style, left: str, right: str
) -> None:
    place = arranged(shape, style, left, right)
    assert len({grid.bar_below for grid in place.grids}) == 1
    for grid in place.grids:
        assert grid.bar_label
        longest = max(text_width(line, grid.font_size) for line in grid.bar_label)
        if grid.bar_below:
            assert longest <= max(grid.width + 2 * grid.font_size, 9 * grid.font_size)
        else:
            assert longest <= grid.height
            assert len(grid.bar_label) <= 2


@given(GRIDS, STYLES)
def test_the_maps_of_a_pair_are_of_one_size(shape: tuple[int, int], style: Style) -> None:
    left, right = arranged(shape, style, "Score", "Score").grids
    assert (left.cell_w, left.cell_h) == (right.cell_w, right.cell_h)


@pytest.mark.parametrize("shape", [(12, 12), (24, 16), (6, 8), (32, 32), (30, 9), (48, 25)])
def test_a_printed_width_is_filled(shape: tuple[int, int]) -> None:
    style, bar = Style(width_in=3.25, font_size=8), bar_of(samples.scores())
    (grid,) = arranged(shape, style).grids
    of = room(grid, bar)
    assert grid.width + of.left + of.right + 4 == pytest.approx(72 * 3.25, rel=2e-3)


def test_a_pair_is_stacked_in_a_column_and_side_by_side_on_a_page() -> None:
    assert arranged((12, 12), Style(width_in=3.25, font_size=8), "a", "b").stacked
    assert not arranged((12, 12), Style(width_in=5.5, font_size=8), "a", "b").stacked
    assert not arranged((30, 9), Style(), "a", "b").stacked


@given(st.integers(1, 200), st.floats(1.0, 30.0), st.floats(5.0, 12.0), st.booleans())
def test_ticks_hold_the_first_and_the_last_and_never_touch(count: int, cell: float, size: float, along: bool) -> None:
    ticks = index_ticks(count, cell, size, along)
    need = text_width(str(count - 1), size) + 0.45 * size if along else 1.05 * size
    assert ticks[0] == 0
    assert ticks[-1] == count - 1 or (count - 1) * cell < need
    assert all((b - a) * cell >= need - 1e-6 for a, b in itertools.pairwise(ticks))


def test_every_head_of_a_flat_grid_has_its_number_in_a_column() -> None:
    for shape in ((30, 9), (18, 4), (6, 8)):
        for width in (3.03, 3.25, 5.5):
            (grid,) = arranged(shape, Style(width_in=width, font_size=8)).grids
            assert grid.head_ticks() == list(range(shape[1]))


def test_points_and_coordinates_agree() -> None:
    (grid,) = arranged((3, 4), Style()).grids
    assert grid.x_at(0) == -0.5
    assert grid.x_at(grid.width) == pytest.approx(2.5)
    assert grid.y_at(grid.height) == pytest.approx(3.5)
