"""The drawn circuit: boxes by layer, edges by effect, nothing outside a column of text."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.figures.circuit_graph import FILLS, LOGITS, CircuitEdge, Node, circuit_graph, place
from reportgen.figures.theme import Style

NODES = [
    Node((4, 1), "name mover", "0.31"), Node((4, 5), "name mover", "0.24"), Node((2, 4), "S-inhibition"),
    Node((0, 3), "feeds those"),
]  # fmt: skip
LINKS = [
    CircuitEdge((4, 1), None, 0.31), CircuitEdge((4, 5), None, -0.24), CircuitEdge((2, 4), (4, 1), 0.1, "q"),
    CircuitEdge((0, 3), (2, 4), 0.05, "k"), CircuitEdge((1, 1), (4, 1), 0.5, "q"),
]  # fmt: skip


@cache
def drawn(style: Style) -> dict[str, Any]:
    return dict(circuit_graph(NODES, LINKS, style).to_dict())


def rows(layer: str, style: Style | None = None) -> list[dict[str, Any]]:
    spec = drawn(style or Style())
    found = next(one for one in spec["layer"] if one["name"] == layer)
    data = found["data"]
    return list(data["values"] if "values" in data else spec["datasets"][data["name"]])


def centre(row: dict[str, Any]) -> tuple[float, float]:
    return (row["x"] + row["x2"]) / 2, (row["y"] + row["y2"]) / 2


def test_later_layers_stand_higher_and_the_logits_on_top() -> None:
    boxes = {row["name"]: centre(row)[1] for row in rows("boxes")}
    assert boxes[LOGITS] < boxes["L4H1"] == boxes["L4H5"] < boxes["L2H4"] < boxes["L0H3"]
    assert [row["text"] for row in rows("row_names")] == ["layer 4", "layer 2", "layer 0"]


def test_an_edges_width_and_colour_are_its_effect() -> None:
    edges = {row["from"]: row for row in rows("edges")}
    assert set(edges) == {"L4H1", "L4H5", "L2H4", "L0H3"}  # L1H1 is not among the nodes
    assert edges["L4H1"]["width"] > edges["L4H5"]["width"] > edges["L2H4"]["width"]
    assert edges["L4H1"]["colour"] == edges["L2H4"]["colour"] != edges["L4H5"]["colour"]
    safe = {row["from"]: row["colour"] for row in rows("edges", Style(palette="safe"))}
    assert safe["L4H1"] != edges["L4H1"]["colour"]


def test_edges_run_from_box_to_box() -> None:
    boxes = {row["name"]: row for row in rows("boxes")}
    points = [row for row in rows("edges") if row["from"] == "L2H4"]
    first, last = (next(p for p in points if p["order"] == order) for order in (0, max(p["order"] for p in points)))
    assert first["y"] == pytest.approx(boxes["L2H4"]["y"], abs=0.1)
    assert last["y"] == pytest.approx(boxes["L4H1"]["y2"], abs=0.1)
    assert last["x"] == pytest.approx(centre(boxes["L4H1"])[0], abs=0.1)


def test_letters_name_the_input_and_stand_on_no_box() -> None:
    letters = rows("letters")
    assert sorted(row["text"] for row in letters) == ["k", "q"]
    for letter in letters:
        for box in rows("boxes"):
            inside = box["x"] < letter["x"] < box["x2"] and box["y"] < letter["y"] < box["y2"]
            assert not inside or box["name"] == LOGITS


def test_every_group_has_its_fill_and_its_line_in_the_key() -> None:
    fills = {row["is"]: row["fill"] for row in rows("boxes") if row["is"]}
    assert fills == {"name mover": FILLS[0], "S-inhibition": FILLS[1], "feeds those": FILLS[2]}
    words = [row["text"] for row in rows("key_words")]
    assert words == ["name mover", "S-inhibition", "feeds those", "supports the answer", "opposes it"]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), min_size=1, max_size=14, unique=True),
    st.sampled_from([None, 3.25, 7.0]),
)
def test_boxes_stay_on_the_page_and_apart(heads: list[tuple[int, int]], width: float | None) -> None:
    nodes = [Node(head, "direct effect", "−0.123") for head in heads]
    links = [CircuitEdge(head, None, 0.1) for head in heads]
    frame = place(nodes, links, ["direct effect"], Style(width_in=width, font_size=9))
    (w, h), centres = frame.box, [*frame.at.values(), frame.logits]
    assert len(centres) == len(heads) + 1
    for i, (x, y) in enumerate(centres):
        assert w / 2 - 0.1 <= x <= frame.width - w / 2 + 0.1
        assert 0 <= y <= frame.height - h / 2
        assert all(abs(x - other) >= w - 0.1 or abs(y - above) >= h for other, above in centres[:i])


def test_made_up_circuits_carry_the_mark() -> None:
    spec = circuit_graph(NODES, LINKS, Style(), synthetic=True).to_dict()
    assert spec["layer"][-1]["name"] == "watermark"
