"""Layout of many small maps, their shared colour bar, and curves, whatever the number of panels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures.curves import BLUE, RED, Curve, CurvePanel, curves
from reportgen.figures.head_maps import HeadMap, bar_labels, maps, shared_bar
from reportgen.figures.small_multiples import columns_for, page, shortened
from reportgen.figures.theme import Style
from reportgen.scores import HeadScores


def _scores(values: Any, task: str = "x") -> HeadScores:
    grid = np.asarray(values, dtype=np.float32)
    return HeadScores(f"s/m/{task}", "x", grid, 5, no_null="none", reasons={"*": "inactive"})


def _rows(chart: Any) -> dict[str, list[dict[str, Any]]]:
    spec = chart.to_dict()
    data = spec.get("datasets", {})
    return {
        layer["name"]: layer["data"].get("values") or data.get(layer["data"].get("name"), []) for layer in spec["layer"]
    }


@given(st.integers(1, 40), st.sampled_from([None, 3.25, 7.0]), st.floats(0.4, 1.5), st.text(max_size=60))
def test_tiles_stand_apart_on_the_page(count: int, width_in: float | None, aspect: float, title: str) -> None:
    made = page(count, Style(width_in=width_in), aspect=aspect, titles=[(title, "note")] * count, numbers="30", bar=60)
    assert len(made.tiles) == count
    boxes = [(t.x, t.y, t.x + t.width, t.y + t.height) for t in made.tiles]
    for i, (left, top, right, low) in enumerate(boxes):
        assert left > 0
        assert top > 0
        assert right + 60 <= made.width + 1
        assert low <= made.height
        assert not any(left < r and l_ < right and top < b and t < low for l_, t, r, b in boxes[:i])
    assert sum(t.below for t in made.tiles) == min(count, columns_for(count))
    assert sum(t.left for t in made.tiles) == -(-count // columns_for(count))


def test_columns() -> None:
    assert [columns_for(n) for n in (1, 3, 4, 6, 8, 9, 12, 13)] == [1, 3, 4, 3, 4, 3, 4, 5]


def test_the_bar_ends_at_a_round_number_and_counts_what_is_beyond() -> None:
    values = np.linspace(0, 0.0029, 1000)
    values[:3] = 0.05
    bar, clipped = shared_bar([_scores(values.reshape(20, 50))], signed=False)
    assert (bar.low, bar.high, clipped) == (0.0, 0.003, 3)
    assert bar_labels(bar, clipped)[-1] == "\u22650.0030"
    assert bar_labels(bar, clipped)[0] == "0.0000"
    whole, none = shared_bar([_scores([[0.1, 0.4], [0.2, 0.47]])], signed=False)
    assert (whole.high, none) == (0.5, 0)
    assert bar_labels(whole, none)[-1] == "0.5"


def test_a_bar_may_begin_at_chance() -> None:
    bar, clipped = shared_bar([_scores([[0.4, 0.5], [0.7, 0.92]])], signed=False, start=0.5)
    assert (bar.low, clipped) == (0.5, 0)
    assert bar.high == pytest.approx(bar.ticks[-1])
    assert 0.92 <= bar.high <= 1.0
    assert bar.ticks[0] == 0.5


def test_a_signed_bar_is_symmetric() -> None:
    bar, clipped = shared_bar([_scores([[-0.3, 0.1], [0.0, 0.2]])], signed=True)
    assert bar.low == -bar.high
    assert 0.0 in bar.ticks
    assert clipped == 0


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30), st.booleans())
def test_any_values_give_a_bar(values: list[float], signed: bool) -> None:
    bar, clipped = shared_bar([_scores([values])], signed=signed)
    assert bar.high > 0
    assert bar.ticks[-1] == pytest.approx(bar.high)
    assert clipped == sum(abs(np.float32(v)) > bar.high * (1 + 1e-6) for v in values)


def test_maps_draw_every_head_once_and_missing_ones_grey() -> None:
    values = np.arange(12.0).reshape(4, 3) - 6
    values[1, 2] = np.nan
    dots = np.zeros((4, 3), bool)
    dots[3, 0] = True
    rows = _rows(maps([HeadMap("A", "a", _scores(values), dots), HeadMap("B", "", _scores(values))], "Bar", Style()))
    assert len(rows["cells"]) == 22
    assert len(rows["missing"]) == 2
    assert len(rows["significant"]) == 1
    first = {row["name"]: row for row in rows["cells"] if row["panel"] == "A"}
    assert first["L0H0"]["value"] == 6.0  # sizes where nothing is signed
    assert first["L3H0"]["y"] == first["L0H0"]["y"]
    assert first["L3H0"]["x"] > first["L0H0"]["x"]
    dot = rows["significant"][0]
    assert first["L3H0"]["x"] < dot["x"] < first["L3H0"]["x2"]
    assert {row["text"] for row in rows["title_below"]} == {"Layer"}
    turned = _rows(maps([HeadMap("A", "", _scores(values))], "Bar", Style(), down=True))
    places = {row["name"]: row for row in turned["cells_down"]}
    assert places["L3H0"]["x"] == places["L0H0"]["x"]
    assert places["L3H0"]["y"] > places["L0H0"]["y"]
    assert {row["text"] for row in turned["title_below"]} == {"Head"}


def test_dots_stay_visible_in_small_cells() -> None:
    def radius(heads: int) -> float:
        scores = _scores(np.random.default_rng(0).random((heads, heads)))
        made = maps([HeadMap("a", "", scores, np.ones((heads, heads), bool))] * 8, "I", Style())
        dots = next(one for one in made.to_dict(validate=False)["layer"] if one["name"] == "significant")
        return float((dots["mark"]["size"] / np.pi) ** 0.5)

    assert radius(6) > radius(12) > 1.0
    assert radius(32) == pytest.approx(1.0)


def test_the_last_tick_of_the_bar_is_labelled() -> None:
    rows = _rows(maps([HeadMap("A", "", _scores([[0.001, 0.0005], [0.002, 0.003]]))], "Bar", Style()))
    assert rows["bar_numbers"][-1]["text"] == "0.0030"
    assert rows["bar_numbers"][-1]["y"] == pytest.approx(min(row["y"] for row in rows["bar"]), abs=1)


def test_curves_dots_levels_and_key() -> None:
    line = Curve("still right", (0, 2, 8), (1.0, 0.5, 0.0), BLUE)
    random = Curve("random", (0, 2, 8), (1.0, 0.9, 0.8), RED, True, ((1, 1), (0.8, 1.0), (0.7, 0.9)))
    panels = [
        CurvePanel("One", "", (line, random), ((2, 0.5, "2"),), ((0.25, "line"),)),
        CurvePanel("Two", "", (line,)),
    ]
    rows = _rows(curves(panels, "Heads", "Score", Style(), top=1.0, ticks=(0, 2, 8)))
    dashes = [(row["line"], row["dash"]) for row in rows["lines"]]
    assert (
        dashes == [("0-level0", [1.5, 1.5])] * 2 + [("0-0", None)] * 3 + [("0-1", [3.0, 2.0])] * 3 + [("1-0", None)] * 3
    )
    assert len(rows["bands"]) == 3
    assert [row["text"] for row in rows["key_words"]] == ["still right", "random", "line"]
    assert [row["text"] for row in rows["labels"]] == ["2"]
    tops = [row["y"] for row in rows["lines"] if row["line"] == "0-0"]
    assert tops == sorted(tops)  # falling in value, so lower on the page
    assert rows["dots"][0]["x"] == rows["lines"][3]["x"]
    assert {row["text"] for row in rows["numbers_below"]} == {"0", "2", "8"}


def test_in_a_column_of_text_plots_stand_two_in_a_row_and_the_key_takes_more_lines() -> None:
    names = [f"a line with a long name {i}" for i in range(4)]
    panels = [CurvePanel(f"P{i}", "", tuple(Curve(name, (0, 1), (0, 1), BLUE) for name in names)) for i in range(4)]
    wide = curves(panels, "Heads", "Score", Style(width_in=6.5))
    narrow = curves(panels, "Heads", "Score", Style(width_in=3.25, font_size=8.0))
    assert narrow.width <= 3.25 * 72
    assert len({row["y"] for row in _rows(wide)["key_words"]}) < len({row["y"] for row in _rows(narrow)["key_words"]})
    ends = [row["x"] for row in _rows(narrow)["key_words"]]
    assert max(ends) < narrow.width
    starts = {row["x"] for row in _rows(narrow)["lines"] if row["order"] == 0}
    assert len(starts) == 2


def test_safe_palette_changes_hues_only() -> None:
    panels = [CurvePanel("One", "", (Curve("a", (0, 1), (0, 1), BLUE),))]
    hues = {
        p: {row["colour"] for row in _rows(curves(panels, "x", "y", Style(palette=p)))["lines"]}
        for p in ("published", "safe")
    }
    assert hues == {"published": {BLUE}, "safe": {"#0072b2"}}


def test_labels_are_cut_with_an_ellipsis() -> None:
    assert shortened("short") == "short"
    assert shortened("x" * 40) == "x" * 29 + "…"
