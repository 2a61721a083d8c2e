from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures import legend, overlays
from reportgen.figures.figure import Style
from reportgen.figures.geometry import Grid, bar_of, fit
from reportgen.figures.placement import Box, Scene
from reportgen.scores import HeadScores
from tests.figures import samples
from tests.figures.samples import head_set


def boxes(scores: HeadScores, *heads: tuple[int, int], titles: int = 1) -> tuple[list[Box], Grid, Scene]:
    shape = (scores.values.shape[0], scores.values.shape[1])
    grid = fit(shape, bar_of(scores), Style())
    sets = [head_set(f"s{i}", *heads, legend=f"Title {i}") for i in range(titles)]
    drawn = overlays.place(sets, grid)
    return legend.boxes(drawn, scores, grid), grid, Scene.of(drawn, scores.values, grid)


def flat(layers: int = 12, heads: int = 12) -> HeadScores:
    return samples.scores(layers, heads, values=np.zeros((layers, heads), np.float32), low=None, high=None, p=None,
                          no_null="none")  # fmt: skip


def test_an_empty_map_has_its_legend_in_the_upper_left() -> None:
    (box,), _, _ = boxes(flat(), (11, 11))
    assert (box.x, box.y) == (3.0, 3.0)


def test_a_legend_goes_where_it_hides_least() -> None:
    values = np.zeros((12, 12), np.float32)
    values[:6, :6] = 0.9  # upper left is busy
    (box,), grid, _ = boxes(replace(flat(), values=values), (11, 0))
    assert box.x == 3.0
    assert box.y > grid.height / 2


def test_a_legend_never_covers_a_marker() -> None:
    corners = [(0, 0), (0, 11), (11, 11)]
    (box,), grid, scene = boxes(flat(), *corners)
    assert not scene.hides_marker(box)
    assert box.x > grid.width / 2
    assert box.y < grid.height / 2


def test_a_legend_moves_below_when_every_corner_holds_a_marker() -> None:
    (box,), grid, _ = boxes(flat(), (0, 0), (0, 11), (11, 11), (11, 0))
    assert box.y > grid.height


def test_a_legend_that_would_take_half_the_map_stands_below() -> None:
    (box,), grid, _ = boxes(flat(2, 2), (0, 0))
    assert box.y > grid.height


HEADS = st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=20)


@given(HEADS, st.integers(1, 4), st.integers(0, 9))
def test_boxes_never_overlap_and_hide_no_marker(heads: set[tuple[int, int]], titles: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((12, 12)).astype(np.float32)
    placed, grid, scene = boxes(replace(flat(), values=values), *sorted(heads), titles=titles)
    assert len(placed) == titles
    for i, box in enumerate(placed):
        assert not any(box.overlaps(other) for other in placed[i + 1 :])
        inside = box.y + box.height <= grid.height
        assert not inside or not scene.hides_marker(box)
        assert inside or box.y > grid.height


def test_long_labels_are_wrapped_to_the_map() -> None:
    words = "Function Vector heads (top 20 by average indirect effect)"
    lines = legend.wrap(words, 8.0, 120.0)
    assert len(lines) > 1
    assert " ".join(lines) == words
