"""Category maps: the key, the panels, what a cell shows and where things stand."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from reportgen.figures import export, theme
from reportgen.figures.categories import CategoryMap, category_maps, key_of
from reportgen.figures.category_frame import ink, layout
from reportgen.figures.theme import Style
from reportgen.scores import Table
from tests.figures import samples

FOUR = ("Algorithmic", "Knowledge", "Linguistic", "Translation")
THREE = FOUR[:3]
TAB10 = ["#e377c2", "#8c564b", "#9467bd", "#d62728", "#2ca02c", "#ff7f0e", "#1f77b4", "#7f7f7f"]


def maps(
    shape: tuple[int, int] = (3, 4), names: tuple[str, ...] = THREE, background: int | None = None
) -> list[CategoryMap]:
    """A panel per category and one for all; L0H0 is of the first class, L0H1 not computed, L1H0 unsure."""
    last = len(key_of(names, "published")) - 1 if background is None else background
    classes = np.full(shape, last)
    classes[0, 0], classes[0, 1] = 0, -1
    unsure = np.zeros(shape, dtype=bool)
    unsure[1, 0] = unsure[0, 0] = True
    return [
        CategoryMap(name, "1 head", classes, unsure, {(0, 0): "Copying 0.40"}) for name in ("All Categories", *names)
    ]


def drawn(rows: int = 1, style: Style | None = None, **given: Any) -> dict[str, Any]:
    shape, names = given.pop("shape", (3, 4)), given.pop("names", THREE)
    of = [(f"row {i}", maps(shape, names)) for i in range(rows)]
    style = style or Style()
    chart = category_maps(of, key_of(names, style.palette), style, **given)
    return chart.to_dict()


def test_the_key_has_the_published_order_and_colours() -> None:
    key = key_of(FOUR, "published")
    assert [one.name for one in key] == [
        "4 categories", "3 categories", "2 categories", "Translation", "Linguistic", "Knowledge", "Algorithmic",
        "Unclassified",
    ]  # fmt: skip
    assert [one.colour for one in key] == TAB10
    assert [one.letter for one in key] == ["4", "3", "2", "T", "L", "K", "A", ""]


def test_classes_that_the_model_cannot_have_are_left_out() -> None:
    assert [one.name for one in key_of(THREE, "published")] == [
        "3 categories", "2 categories", "Linguistic", "Knowledge", "Algorithmic", "Unclassified",
    ]  # fmt: skip
    assert [one.name for one in key_of(("Knowledge",), "published")] == ["Knowledge", "Unclassified"]


def test_the_safe_palette_has_other_hues_and_the_same_letters() -> None:
    published, safe = key_of(FOUR, "published"), key_of(FOUR, "safe")
    assert not {one.colour for one in published} & {one.colour for one in safe}
    assert [one.letter for one in published] == [one.letter for one in safe]


def test_any_number_of_the_users_categories_has_distinct_letters_and_hues() -> None:
    names = (*FOUR, "Law", "Animals", "Kitchen", "Travel", "Art")
    key = key_of(names, "published")
    own = [one for one in key if one.name in names]
    assert len({one.letter for one in own}) == len({one.colour for one in own}) == len(names)
    assert key[0].name == "9 categories"


def test_every_class_is_drawn_with_its_letter_and_hue() -> None:
    rows = samples.rows_of(drawn(), "cells")
    assert [(row["panel"], row["name"], row["class"], row["colour"]) for row in rows] == [
        (title, "L0H0", "3 categories", "#8c564b") for title in ("All Categories", *THREE)
    ]
    assert rows[0]["note"] == "Copying 0.40"
    letters = samples.rows_of(drawn(), "letters")
    assert [row["text"] for row in letters] == ["3"] * 4
    assert letters[0]["colour"] == "#ffffff"


def test_not_computed_is_unlike_unclassified() -> None:
    spec = drawn()
    absent = samples.rows_of(spec, "absent")
    assert {(row["name"], row["class"]) for row in absent} == {("L0H1", "not computed")}
    assert samples.layers_of(spec)["absent"]["mark"]["fill"] != samples.rows_of(spec, "backgrounds")[0]["colour"]
    assert len(samples.rows_of(spec, "absent_strokes")) == len(absent)
    assert "not computed" in [row["text"] for row in samples.rows_of(spec, "sign_words")]
    whole = [CategoryMap("All Categories", "", np.zeros((3, 4), int), np.zeros((3, 4), bool))]
    full = category_maps([("row", whole)], key_of(THREE, "published"), Style()).to_dict()
    assert not {"absent", "sign_words"} & set(samples.layers_of(full))


def test_unsure_cells_have_a_dotted_outline_and_no_stroke_which_means_not_computed() -> None:
    spec = drawn(unsure="interval spans tau")
    path = samples.rows_of(spec, "unsure")[0]["path"]
    assert path.count("M") == 2  # L0H0 and L1H0, with and without a letter
    assert all(len(re.findall("[hv]", part)) == 4 for part in path.split("M")[1:])  # closed by strokes that are dotted
    layers = samples.layers_of(spec)
    assert layers["unsure"]["mark"]["strokeDash"] == layers["sign_outlines"]["mark"]["strokeDash"]
    assert len(samples.rows_of(spec, "sign_outlines")) == len(samples.rows_of(spec, "sign_lines")) == 1
    assert [row["text"] for row in samples.rows_of(spec, "sign_words")] == ["interval spans tau", "not computed"]
    assert [row["text"] for row in samples.rows_of(drawn(), "sign_words")] == ["not computed"]


def test_axes_are_lower_case_with_head_zero_on_top() -> None:
    spec = drawn()
    assert {row["text"] for row in samples.rows_of(spec, "layer_title")} == {"layer"}
    assert {row["text"] for row in samples.rows_of(spec, "head_title")} == {"head"}
    by_head = {row["text"]: row["y"] for row in samples.rows_of(spec, "head_labels")}
    assert by_head["0"] < by_head["1"] < by_head["3"]
    assert spec["layer"][0]["encoding"]["y"]["scale"]["domain"][1] == 0  # y runs downwards


@pytest.mark.parametrize(
    ("shape", "layers", "heads"),
    [
        ((32, 32), [0, 6, 12, 18, 24, 31], [0, 6, 12, 18, 24, 31]), ((36, 20), [0, 7, 14, 21, 28, 35], None),
        ((40, 40), [0, 8, 16, 24, 32, 39], [0, 8, 16, 24, 32, 39]), ((48, 25), [0, 9, 18, 27, 36, 47], None),
    ],
)  # fmt: skip
def test_tick_steps_are_the_papers_and_the_last_is_shown(
    shape: tuple[int, int], layers: list[int], heads: list[int] | None
) -> None:
    panel = layout(shape, 1, 1, ["Unclassified"], Style(), foot=False).panels[0][0]
    assert panel.layer_ticks() == layers
    assert panel.head_ticks() == (heads or panel.head_ticks())
    assert panel.head_ticks()[-1] == shape[1] - 1


def test_brackets_stand_beside_the_first_panels_of_grouped_queries_only() -> None:
    assert "kv_groups" not in samples.layers_of(drawn(n_kv_heads=4))
    spec = drawn(rows=2, n_kv_heads=2)
    assert len(samples.rows_of(spec, "kv_groups")) == 2 * 2 * 3  # rows, groups, strokes
    assert "2 heads of one key-value group" in [row["text"] for row in samples.rows_of(spec, "sign_words")]


@pytest.mark.parametrize("synthetic", [False, True])
def test_synthetic_maps_are_marked_in_every_panel(synthetic: bool) -> None:
    spec = drawn(rows=2, synthetic=synthetic)
    assert ("watermark" in samples.layers_of(spec)) is synthetic
    if synthetic:
        assert [row["text"] for row in samples.rows_of(spec, "watermark")] == ["SYNTHETIC"] * 8


def test_the_signs_below_stay_within_a_column() -> None:
    style = Style(width_in=3.03, font_size=8)
    spec = drawn(shape=(30, 9), unsure="95 % interval spans tau = 0.15", n_kv_heads=3, style=style)
    words = samples.rows_of(spec, "sign_words")
    assert len(words) == 3
    assert all(row["x"] + theme.text_width(row["text"], 0.88 * 8) <= spec["width"] + 1 for row in words)
    assert max(row["y"] for row in words) <= spec["height"] - 4


SHAPES = [(2, 2), (6, 8), (12, 12), (24, 16), (32, 32), (48, 25), (80, 64), (4, 64), (64, 4)]


@pytest.mark.parametrize("width", [None, 3.25, 6.75])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("panels", [2, 4, 5, 8])
def test_panels_and_key_stand_apart_and_inside(shape: tuple[int, int], panels: int, width: float | None) -> None:
    place = layout(shape, panels, 2, ["2 categories", "Unclassified"], Style(width_in=width), foot=True)
    boxes = [(p.x, p.y, p.x + p.width, p.y + p.height) for row in place.panels for p in row]
    boxes += [(x, y, x + 13, y + height) for x, y, height in place.keys]
    assert all(b[0] >= 0 and b[1] >= 0 and b[2] <= place.width and b[3] <= place.height for b in boxes)
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
    assert all(p.cell > 0 for row in place.panels for p in row)


@given(
    st.tuples(st.integers(1, 80), st.integers(1, 64)), st.integers(1, 8), st.sampled_from([None, 3.03, 3.25, 5.5, 6.75])
)
def test_all_panels_have_cells_of_one_size(shape: tuple[int, int], panels: int, width: float | None) -> None:
    place = layout(shape, panels, 2, ["2 categories", "Unclassified"], Style(width_in=width), foot=False)
    assert len({(p.cell_w, p.cell_h) for row in place.panels for p in row}) == 1
    assert all(len(row) == panels for row in place.panels)
    (p, *_), *_ = place.panels
    assert 1 / 1.401 <= p.cell_w / p.cell_h <= 1.401


def test_letters_that_can_be_read_decide_how_many_panels_stand_in_a_line() -> None:
    def lines(shape: tuple[int, int]) -> list[int]:
        row = layout(shape, 5, 1, ["Unclassified"], Style(), foot=False).panels[0]
        return [sum(p.y == y for p in row) for y in sorted({p.y for p in row})]

    assert lines((12, 12)) == [5]
    assert lines((32, 32)) == lines((30, 9)) == [2, 3]  # the key has the second place


def test_a_grid_of_80_by_64_stays_small() -> None:
    shape = (80, 64)
    classes = np.random.default_rng(0).choice([0, 7], shape, p=[0.2, 0.8])
    of = [CategoryMap(name, "", classes, classes == 0) for name in ("All Categories", *FOUR)]
    chart = category_maps([("row", of), ("other", of)], key_of(FOUR, "published"), Style())
    assert len(export.svg(samples.figure(chart, Table("t", "", (), ())))) < 1_500_000


@pytest.mark.parametrize(
    ("colour", "expected"), [("#ffffff", "#000000"), ("#000000", "#ffffff"), ("#f0e442", "#000000"),
                             ("#0072b2", "#ffffff")]
)  # fmt: skip
def test_letters_stand_out_on_their_hue(colour: str, expected: str) -> None:
    assert ink(colour) == expected


def test_the_specification_of_small_maps(snapshot: SnapshotAssertion) -> None:
    spec = drawn(names=("Knowledge",), shape=(2, 2), unsure="interval spans tau", n_kv_heads=1)
    spec.pop("config")
    assert {name: samples.rows_of(spec, name) for name in samples.layers_of(spec)} == snapshot
