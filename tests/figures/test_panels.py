"""Line charts whose panels have axes of their own: the layout, scatter points, and ablation curves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from reportgen.figures.curves import SEVERAL, AblationCurve, AblationStep, ablation_curves, even, rounded
from reportgen.figures.points import Cloud, points, scatter
from reportgen.figures.small_multiples import page
from reportgen.figures.theme import Style
from tests.figures import samples

NAN = math.nan


def names(spec: dict[str, Any]) -> set[str]:
    return set(samples.layers_of(spec))


def texts(spec: dict[str, Any], layer: str) -> list[str]:
    return [row["text"] for row in samples.rows_of(spec, layer)]


def laid_out(count: int, **style: Any) -> Any:
    return page(count, Style(**style), aspect=0.8, titles=[("T", "note")] * count, numbers="0.8", own=True, **SEVERAL)


def test_three_panels_fit_a_text_width_and_the_last_of_each_column_is_marked() -> None:
    tiles = laid_out(7).tiles
    assert [t.left for t in tiles] == [True, False, False, True, False, False, True]
    assert [t.below for t in tiles] == [False, False, False, False, True, True, True]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("style", [{}, {"width_in": 6.75}, {"width_in": 3.25, "font_size": 8.0}, {"font_size": 20.0}])
def test_a_row_of_panels_with_its_axes_is_no_wider_than_asked(count: int, style: dict[str, float]) -> None:
    of = laid_out(count, **style)
    size = style.get("font_size", 10.0)
    asked = max(style.get("width_in", 7.0) * 72, (2 * 15.5 + 2) * size)
    assert of.width <= asked + 1 + 1e-6
    assert all(t.width >= 9 * size for t in of.tiles)
    assert sum(t.left and t.below for t in of.tiles) == 1


@given(st.floats(1e-6, 1.0))
def test_axes_hold_the_largest_value_and_end_in_a_tick(largest: float) -> None:
    end, step = rounded(largest)
    ticks = even(0.0, end, step)
    assert largest <= end + 1e-9
    assert (ticks[0][0], ticks[-1][0]) == (0, pytest.approx(end))
    assert len({text for _, text in ticks}) == len(ticks) >= 3


def test_heads_at_one_point_are_counted_and_unknown_ones_left_out() -> None:
    x = np.array([0.0, 0.0, 0.5, np.nan, 0.1])
    y = np.array([0.0, 0.0, 0.25, 0.3, np.nan])
    assert points(x, y, 1.0) == [(0.0, 0.0, 2), (0.5, 0.25, 1)]


def test_many_points_are_put_on_a_grid_without_losing_a_head() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random(5000), rng.random(5000) * 0.2
    found = points(x, y, 1.0)
    assert len(found) < 800
    at, _, heads = zip(*found, strict=True)
    assert sum(heads) == 5000
    assert np.average(at, weights=heads) == pytest.approx(x.mean(), abs=0.01)


def cloud(title: str = "Copying", top: float = 0.8) -> Cloud:
    x = np.array([0.0, 0.1, top])
    return Cloud(title, x, [x / 2, x / 4], ["r .90", "r .80"])


def test_a_scatter_tells_its_two_kinds_apart_by_shape_and_colour() -> None:
    spec = scatter([cloud()], Style(), ("static score", "dynamic score"), ("without", "with")).to_dict()
    drawn = samples.rows_of(spec, "points")
    assert [row["across"] for row in drawn] == [0.0, 0.1, 0.8] * 2
    looks = [{row[name] for row in drawn} for name in ("shape", "colour")]
    assert [len(look) for look in looks] == [2, 2]
    titles = [texts(spec, layer) for layer in ("panel_titles", "panel_subtitles", "panel_subtitles1")]
    assert titles == [["Copying"], ["\u25cb r .90"], ["\u00d7 r .80"]]
    assert texts(spec, "key_words") == ["without", "with"]
    assert texts(spec, "title_below") == ["static score"]
    assert texts(spec, "numbers_below") == ["0.0", "0.2", "0.4", "0.6", "0.8"]


def test_only_outer_panels_have_axis_titles_but_all_have_numbers() -> None:
    spec = scatter([cloud(str(i)) for i in range(5)], Style(), ("across", "up"), ("a", "b")).to_dict()
    assert texts(spec, "title_below") == ["across"] * 3
    assert texts(spec, "title_left") == ["up"] * 2
    assert texts(spec, "numbers_left") == ["0.0", "0.2", "0.4", "0.6", "0.8"] * 5
    assert texts(spec, "key_words") == ["a", "b"]


def test_a_panel_without_any_value_is_drawn() -> None:
    empty = Cloud("Nothing", np.full(3, NAN), [np.full(3, NAN)])
    spec = scatter([empty], Style(), ("x", "y"), ("a",)).to_dict()
    assert "points" not in names(spec)
    assert texts(spec, "panel_titles") == ["Nothing"]


STEPS = (
    AblationStep(0, 0.8, 0.7, 0.9, 0.8, 0.8, 0.8, 0.75),
    AblationStep(1, 0.4, 0.3, 0.5, 0.78, 0.7, 0.82, 0.7),
    AblationStep(2, 0.0, 0.0, 0.1, NAN, NAN, NAN, NAN),
)


def curves(**given: Any) -> dict[str, Any]:
    made = AblationCurve("Copying", STEPS, reported=1, line="1 head: 0.40")
    return ablation_curves([made], Style(), "random", **given).to_dict()


def lines(spec: dict[str, Any]) -> dict[tuple[str, tuple[float, ...]], list[tuple[float, float]]]:
    """(heads removed, accuracy) of every line of the one panel, by colour and dash."""
    (box,) = samples.rows_of(spec, "frames")
    found: dict[tuple[str, tuple[float, ...]], list[tuple[float, float]]] = {}
    for row in samples.rows_of(spec, "lines"):
        x = -0.04 + 2.08 * (row["x"] - box["x"]) / (box["x2"] - box["x"])
        y = 1.04 - 1.07 * (row["y"] - box["y"]) / (box["y2"] - box["y"])
        found.setdefault((row["colour"], tuple(row["dash"] or ())), []).append((round(x, 2), round(y, 2)))
    return found


def test_axes_of_ablation_are_the_papers() -> None:
    spec = curves()
    assert (texts(spec, "title_below"), texts(spec, "title_left")) == (["# heads ablated"], ["Accuracy"])
    assert texts(spec, "numbers_left") == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert texts(spec, "numbers_below") == ["0", "1", "2"]
    assert texts(spec, "panel_subtitles") == ["1 head: 0.40"]


def test_curves_stop_where_nothing_was_run() -> None:
    spec = curves()
    reported, random, controls, own = lines(spec).values()
    assert own == [(0, 0.8), (1, 0.4), (2, 0.0)]
    assert random == [(0, 0.8), (1, 0.78)]
    assert controls == [(0, 0.75), (1, 0.7)]
    assert reported == [(1, -0.03), (1, 1.04)]
    assert [row["opacity"] for row in samples.rows_of(spec, "bands")] == [0.75] * 2 + [0.18] * 3
    assert [(row["across"], row["value"]) for row in samples.rows_of(spec, "dots")] == own


def test_without_control_tasks_there_is_no_sign_for_them() -> None:
    bare = tuple(AblationStep(s.removed, s.accuracy, s.low, s.high, NAN, NAN, NAN, NAN) for s in STEPS)
    spec = ablation_curves([AblationCurve("Copying", bare)], Style(), "random").to_dict()
    assert texts(spec, "key_words") == ["the relation's heads"]
    assert len(lines(spec)) == 1
    assert texts(curves(), "key_words") == ["other tasks, same heads removed", "the relation's heads", "random"]


def test_other_marks_than_hue_tell_the_lines_apart() -> None:
    assert len({dash for _, dash in lines(curves())}) == 3  # the reported number, other tasks, and solid lines


@pytest.mark.parametrize("synthetic", [False, True])
def test_synthetic_panels_are_marked(synthetic: bool) -> None:
    assert ("watermark" in names(curves(synthetic=synthetic))) is synthetic


def test_the_specification_of_a_small_curve(snapshot: SnapshotAssertion) -> None:
    spec = curves()
    assert {name: samples.values_of(spec, layer) for name, layer in samples.layers_of(spec).items()} == snapshot
