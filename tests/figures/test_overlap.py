"""The overlap matrix and the counts beside it."""

from __future__ import annotations

from typing import Any

import pytest

from reportgen.figures.overlap import Cell, HeadGroup, overlap
from reportgen.figures.theme import Style

NAMES = ["IOI", "Coloured objects", "Capitals"]
SIZES = [11, 8, 6]
CELLS = [Cell(0, 1, 7, 8, 2.9, "0.009"), Cell(0, 2, 4, 6, 2.1, "0.43"), Cell(1, 2, 0, 6, 1.6, "1.00")]
GROUPS = [HeadGroup((0,), 3), HeadGroup((0, 1), 5), HeadGroup((0, 1, 2), 2)]


def layers(style: Style | None = None, count: int = 3) -> dict[str, list[dict[str, Any]]]:
    cells = [cell for cell in CELLS if max(cell.row, cell.column) < count]
    spec = overlap(NAMES[:count], SIZES[:count], cells, GROUPS, style or Style()).to_dict()
    found = {}
    for layer in spec["layer"]:
        data = layer["data"]
        found[layer["name"]] = list(data["values"] if "values" in data else spec["datasets"][data["name"]])
    found["page"] = [{"width": spec["width"], "height": spec["height"]}]
    return found


def test_a_cell_is_coloured_by_the_share_of_the_smaller_circuit() -> None:
    shares = {(row["a"], row["b"]): row["share"] for row in layers()["overlaps"]}
    assert shares[("IOI", "Coloured objects")] == pytest.approx(7 / 8)
    assert shares[("Coloured objects", "Capitals")] == 0.0


def test_words_are_dark_on_bright_cells_and_light_on_dark_ones() -> None:
    found = layers()
    assert {row["text"] for row in found["overlap_dark"]} >= {"7 of 8", "expected 2.9", "p 0.009", "4 of 6"}
    assert {row["text"] for row in found["overlap_light"]} == {"0 of 6", "expected 1.6", "p 1.00"}
    assert [row["text"] for row in found["size_words"]] == ["11 heads", "8 heads", "6 heads"]


def test_groups_are_bars_largest_first_with_dots_at_their_tasks() -> None:
    found = layers()
    assert [row["heads"] for row in found["bars"]] == [5, 3, 2]
    assert [row["shared"] for row in found["bars"]] == [True, False, True]
    assert len(found["dots"]) == 2 + 1 + 3
    assert len(found["dots"]) + len(found["dots_empty"]) == 9
    assert len(found["dot_links"]) == 2


def test_two_tasks_have_no_bars() -> None:
    found = layers(count=2)
    assert "bars" not in found
    assert len(found["overlaps"]) == 1


@pytest.mark.parametrize("width", [None, 3.25, 7.0])
def test_everything_stands_on_the_page(width: float | None) -> None:
    found = layers(Style(width_in=width))
    (page,) = found.pop("page")
    for rows in found.values():
        for row in rows:
            assert -0.1 <= row["x"] <= page["width"] + 0.1
            assert -0.1 <= row["y"] <= page["height"] + 0.1
            assert row.get("x2", 0) <= page["width"] + 0.1
    beside = min(row["x"] for row in found["bars"]) > max(row["x2"] for row in found["sizes"])
    assert beside is (width != 3.25)
