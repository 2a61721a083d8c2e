from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures import overlays, theme
from reportgen.figures.geometry import MapGrid, Wanted, bar_of, fit
from reportgen.figures.legend import Box, LegendScene, Placed, below, boxed, groups
from reportgen.figures.theme import Style
from reportgen.scores import HeadScores
from tests.figures import samples
from tests.figures.samples import head_set


def made(
    scores: HeadScores, *heads: tuple[int, int], titles: int = 1
) -> tuple[list[Placed] | str, MapGrid, LegendScene]:
    """Legends inside, or the reason why not."""
    shape = (scores.values.shape[0], scores.values.shape[1])
    (grid,) = fit([Wanted(shape, bar_of(scores), scores.label)], Style()).grids
    sets = [head_set(f"s{i}", *heads, legend=f"Title {i}") for i in range(titles)]
    drawn = overlays.place(sets, grid)
    return boxed(groups(drawn, scores), drawn, scores, grid), grid, LegendScene.of(drawn, scores, grid)


def frame(found: list[Placed] | str) -> tuple[float, float, float, float]:
    assert not isinstance(found, str), found
    assert found[0].frame is not None
    return found[0].frame


def flat(layers: int = 12, heads: int = 12) -> HeadScores:
    return samples.scores(layers, heads, values=np.zeros((layers, heads), np.float32), low=None, high=None, p=None,
                          no_null="none")  # fmt: skip


def test_an_empty_map_has_its_legend_in_the_upper_left() -> None:
    found, _, _ = made(flat(), (11, 11))
    assert frame(found)[:2] == (3.0, 3.0)


def test_a_legend_inside_goes_where_it_hides_least() -> None:
    values = np.zeros((12, 12), np.float32)
    values[:6, :6] = 0.9  # upper left is busy
    found, grid, _ = made(replace(flat(), values=values), (11, 0))
    assert frame(found)[0] == 3.0
    assert frame(found)[1] > grid.height / 2


def test_a_legend_inside_leaves_marked_cells_free() -> None:
    found, grid, _ = made(flat(), (0, 0), (0, 11), (11, 11))
    assert frame(found)[0] > grid.width / 2
    assert frame(found)[1] < grid.height / 2


def test_a_legend_inside_is_refused_where_every_corner_holds_a_marked_head() -> None:
    found, _, _ = made(flat(), (0, 0), (0, 11), (11, 11), (11, 0))
    assert found == "it would cover L0H0, which is marked"


def test_a_legend_inside_is_refused_where_it_would_cover_a_head_above_the_line() -> None:
    p = np.ones((12, 12), np.float32)
    p[[0, 0, 11, 11], [0, 11, 11, 0]] = 0.01
    found, _, _ = made(replace(flat(), p=p), (6, 6))
    assert found == "it would cover L0H0, which is above the line"
    line = replace(flat(), values=np.where(p < 1, 0.5, 0).astype(np.float32), line=0.2)
    assert made(line, (6, 6))[0] == "it would cover L0H0, which is above the line"


def test_a_map_that_is_too_small_has_no_legend_inside() -> None:
    assert made(flat(1, 1), (0, 0))[0] == "the map is too small for it"


HEADS = st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=20)


@given(HEADS, st.integers(1, 4), st.integers(0, 9))
def test_boxes_inside_never_overlap_and_cover_no_marked_cell(
    heads: set[tuple[int, int]], titles: int, seed: int
) -> None:
    values = np.random.default_rng(seed).random((12, 12)).astype(np.float32)
    found, _, scene = made(replace(flat(), values=values), *sorted(heads), titles=titles)
    if isinstance(found, str):
        return
    assert len(found) == titles
    boxes = [Box((), (), w, h, 8.0, x, y) for x, y, w, h in (p.frame for p in found if p.frame)]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert scene.covered(box) == []


@given(
    st.integers(1, 80), st.integers(1, 64), st.sampled_from([None, 3.03, 3.25, 5.5]), st.integers(1, 4),
    st.sampled_from(["Name-Mover Heads", "Attention heads feeding MLPs 8-9 (start-year heads)"]),
)  # fmt: skip
def test_a_legend_outside_never_touches_the_grid_and_starts_at_its_left(
    layers: int, heads: int, width: float | None, titles: int, label: str
) -> None:
    scores = flat(layers, heads)
    (grid,) = fit([Wanted((layers, heads), bar_of(scores), scores.label)], Style(width_in=width)).grids
    sets = [head_set(f"s{i}", (0, 0), legend=f"Title {i}", label=label, weights={"L0H0": 0.5}) for i in range(titles)]
    placed = below(groups(overlays.place(sets, grid), scores), grid, bar_of(scores))
    rows = [(x, y) for one in placed for x, y, _ in (*one.titles, *one.words)]
    assert len(placed) == titles
    assert min(x for x, _ in rows) == 0
    half = 0.5 * placed[0].size
    assert all(y - half > grid.height + 3 * grid.font_size for _, y in rows)  # under the axis title
    assert all(y - half >= one.bottom - 0.01 for one, after in itertools.pairwise(placed)
               for _, y, _ in after.titles)  # fmt: skip
    assert all(one.words[-1][2].startswith(("paler", "often", "less", "found")) for one in placed)


def test_long_labels_are_wrapped_to_the_map() -> None:
    words = "Function Vector heads (top 20 by average indirect effect)"
    lines = theme.wrap(words, 8.0, 120.0)
    assert len(lines) > 1
    assert " ".join(lines) == words
