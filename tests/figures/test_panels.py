"""Small multiples: how panels are laid out, scatter points, and ablation curves."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from reportgen.figures.ablation_curves import Curve, Step, ablation_curves
from reportgen.figures.figure import Style
from reportgen.figures.panels import domain_of, sheet
from reportgen.figures.scatter import Cloud, points, scatter
from tests.figures import samples

NAN = math.nan


def rows(spec: dict[str, Any], panel: int, layer: str) -> list[dict[str, Any]]:
    """The rows of a panel's layer; Altair numbers the names of layers of several panels."""
    named = samples.layers_of(spec["concat"][panel])
    return samples.values_of(spec, next(one for name, one in named.items() if re.fullmatch(rf"{layer}(_\d+)?", name)))


def names(spec: dict[str, Any], panel: int) -> set[str]:
    return {re.sub(r"_\d+$", "", name) for name in samples.layers_of(spec["concat"][panel])}


def laid_out(count: int, **style: Any) -> Any:
    return sheet(count, Style(**style), natural_width=504, pitch=15.5, ratio=0.8, lines=1)


def test_three_panels_fit_a_text_width_and_the_last_of_each_column_is_marked() -> None:
    of = laid_out(7)
    assert of.columns == 3
    assert [f.first for f in of.frames] == [True, False, False, True, False, False, True]
    assert [f.last for f in of.frames] == [False, False, False, False, True, True, True]
    assert sum(f.first and f.last for f in of.frames) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("style", [{}, {"width_in": 6.75}, {"width_in": 3.25, "font_size": 8.0}, {"font_size": 20.0}])
def test_a_row_of_panels_with_its_axes_is_no_wider_than_asked(count: int, style: dict[str, float]) -> None:
    of = laid_out(count, **style)
    size = style.get("font_size", 10.0)
    asked = max(style.get("width_in", 7.0) * 72, (2 * 15.5 + 2) * size)
    assert of.frames[0].row + of.gap + 1.5 * size <= asked + 1e-6
    assert all(f.width > 0 for f in of.frames)
    assert of.columns <= count
    assert sum(f.first and f.last for f in of.frames) == 1


@given(st.floats(1e-6, 1.0))
def test_axes_hold_the_largest_value_and_end_in_a_tick(largest: float) -> None:
    end, ticks, digits = domain_of(largest)
    assert largest <= end + 1e-9
    assert (ticks[0], ticks[-1]) == (0, end)
    assert len({f"{tick:.{digits}f}" for tick in ticks}) == len(ticks) >= 3


def test_heads_at_one_point_are_counted_and_unknown_ones_left_out() -> None:
    x = np.array([0.0, 0.0, 0.5, np.nan, 0.1])
    y = np.array([0.0, 0.0, 0.25, 0.3, np.nan])
    assert points(x, y, 1.0) == [{"x": 0.0, "y": 0.0, "heads": 2}, {"x": 0.5, "y": 0.25, "heads": 1}]


def test_many_points_are_put_on_a_grid_without_losing_a_head() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random(5000), rng.random(5000) * 0.2
    found = points(x, y, 1.0)
    assert len(found) < 800
    assert sum(row["heads"] for row in found) == 5000
    assert np.average([row["x"] for row in found], weights=[row["heads"] for row in found]) == pytest.approx(
        x.mean(), abs=0.01
    )


def cloud(title: str = "Copying", top: float = 0.8) -> Cloud:
    x = np.array([0.0, 0.1, top])
    return Cloud(title, x, [x / 2, x / 4], ["r .90", "r .80"])


def test_a_scatter_tells_its_two_kinds_apart_by_shape_and_colour() -> None:
    spec = scatter([cloud()], Style(), ("static score", "dynamic score"), ("without", "with")).to_dict()
    marks = {re.sub(r"_\d+$", "", layer["name"]): layer["mark"] for layer in spec["concat"][0]["layer"]}
    assert marks["points0"]["shape"] != marks["points1"]["shape"]
    assert marks["points0"]["stroke"] != marks["points1"]["stroke"]
    assert [rows(spec, 0, f"head{i}")[0]["text"] for i in range(3)] == ["Copying", "○ r .90", "× r .80"]
    assert [rows(spec, 0, f"sign{i}_words")[0]["text"] for i in range(2)] == ["without", "with"]
    x = spec["concat"][0]["layer"][0]["encoding"]["x"]
    assert (x["axis"]["title"], x["axis"]["values"]) == ("static score", [0, 0.2, 0.4, 0.6, 0.8])


def test_only_outer_panels_have_axis_titles_and_only_one_the_key() -> None:
    spec = scatter([cloud(str(i)) for i in range(5)], Style(), ("across", "up"), ("a", "b")).to_dict()
    axes = [panel["layer"][0]["encoding"] for panel in spec["concat"]]
    assert [a["x"]["axis"]["title"] for a in axes] == [None, None, "across", "across", "across"]
    assert [a["y"]["axis"]["title"] for a in axes] == ["up", None, None, "up", None]
    assert ["sign0" in names(spec, i) for i in range(5)] == [False, False, False, True, False]


def test_a_panel_without_any_value_is_drawn() -> None:
    empty = Cloud("Nothing", np.full(3, NAN), [np.full(3, NAN)])
    spec = scatter([empty], Style(), ("x", "y"), ("a",)).to_dict()
    assert rows(spec, 0, "points0") == []


STEPS = (
    Step(0, 0.8, 0.7, 0.9, 0.8, 0.8, 0.8, 0.75),
    Step(1, 0.4, 0.3, 0.5, 0.78, 0.7, 0.82, 0.7),
    Step(2, 0.0, 0.0, 0.1, NAN, NAN, NAN, NAN),
)


def curves(**given: Any) -> dict[str, Any]:
    made = Curve("Copying", STEPS, reported=1, line="1 head: 0.40")
    return ablation_curves([made], Style(), "random", **given).to_dict()


def test_axes_of_ablation_are_the_papers() -> None:
    encoding = samples.layers_of(curves()["concat"][0])["accuracy"]["encoding"]
    assert (encoding["x"]["axis"]["title"], encoding["y"]["axis"]["title"]) == ("# heads ablated", "Accuracy")
    assert encoding["y"]["axis"]["values"] == [i / 10 for i in range(11)]
    assert encoding["x"]["axis"]["values"] == [0, 1, 2]


def test_curves_stop_where_nothing_was_run() -> None:
    spec = curves()
    assert [row["y"] for row in rows(spec, 0, "accuracy")] == [0.8, 0.4, 0.0]
    assert [(row["x"], row["y"]) for row in rows(spec, 0, "random")] == [(0, 0.8), (1, 0.78)]
    assert [(row["y"], row["high"]) for row in rows(spec, 0, "random_band")] == [(0.8, 0.8), (0.7, 0.82)]
    assert [row["y"] for row in rows(spec, 0, "controls")] == [0.75, 0.7]
    assert rows(spec, 0, "reported") == [{"x": 1}]


def test_without_control_tasks_there_is_no_sign_for_them() -> None:
    bare = tuple(Step(s.removed, s.accuracy, s.low, s.high, NAN, NAN, NAN, NAN) for s in STEPS)
    spec = ablation_curves([Curve("Copying", bare)], Style(), "random").to_dict()
    assert not {"controls", "random", "reported", "sign2"} & names(spec, 0)


def test_other_marks_than_hue_tell_the_lines_apart() -> None:
    layers = samples.layers_of(curves()["concat"][0])
    assert layers["controls"]["mark"]["strokeDash"] != layers["accuracy"]["mark"]["strokeDash"]
    assert layers["random_band"]["mark"]["type"] == "area"


@pytest.mark.parametrize("synthetic", [False, True])
def test_synthetic_panels_are_marked(synthetic: bool) -> None:
    assert ("watermark" in names(curves(synthetic=synthetic), 0)) is synthetic


def test_the_specification_of_a_small_curve(snapshot: SnapshotAssertion) -> None:
    spec = curves()
    layers = samples.layers_of(spec["concat"][0])
    assert {name: samples.values_of(spec, layer) for name, layer in layers.items()} == snapshot
