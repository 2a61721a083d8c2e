"""Overlaps of circuits, their chance within layers, and the reused set."""

from __future__ import annotations

from itertools import combinations as subsets

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.scores import Head
from reportgen.suites.circuits.reuse import LEGEND, chance, combinations, grid, holm, overlaps, reuse
from reportgen.suites.circuits.runs import Outcome

SHAPE = (2, 4)


def outcome(title: str, *stages: tuple[Head, ...], effects: list[list[float]] | None = None) -> Outcome:
    out = Outcome(facts={"title": title}, stages=dict(zip(("direct", "through_movers"), stages, strict=False)))
    if effects is not None:
        out.effects["direct"] = out.effects["total"] = np.array(effects)
    return out


A = outcome("A", ((0, 0), (1, 1)), ((0, 2),), effects=[[3, 0, 1, 0], [0, 2, 0, 0]])
B = outcome("B", ((0, 0), (1, 1)), effects=[[6, 0, 2, 0], [0, 4, 0, 0]])
C = outcome("C", ((1, 1), (1, 2)), effects=[[0, 1, 0, 5], [0, 7, 6, 0]])


def test_chance_is_that_of_all_sets_with_as_many_heads_per_layer() -> None:
    a, b = grid(((0, 0), (0, 1), (1, 3)), SHAPE), grid(((0, 1), (1, 3), (1, 0)), SHAPE)
    expected, p = chance(a, b)
    counts = []
    for upper in range(4):  # b holds one head of layer 0 and two of layer 1
        for lower in subsets(range(4), 2):
            other = grid(((0, upper), *((1, head) for head in lower)), SHAPE)
            counts.append(int((a & other).sum()))
    assert expected == pytest.approx(np.mean(counts))
    assert p == pytest.approx(np.mean(np.array(counts) >= int((a & b).sum())))


@given(st.integers(0, 2**32 - 1))
def test_chance_lies_between_nothing_and_certainty(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 3, 5)) < rng.random()
    expected, p = chance(a, b)
    assert 0 < p <= 1
    assert 0 <= expected <= min(a.sum(), b.sum()) + 1e-9
    if not (a & b).any():
        assert p == pytest.approx(1.0)


def test_holm_multiplies_by_the_tests_that_are_left() -> None:
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]).tolist() == pytest.approx([1.0, 1.0])
    assert holm([]).tolist() == []


def test_a_circuit_is_the_heads_of_all_its_stages() -> None:
    (pair,) = overlaps({"a": A, "b": B}, SHAPE)
    assert (pair.both, pair.either, pair.smaller) == (2, 3, 2)
    assert pair.expected == pytest.approx(2 * 1 / 4 + 1 * 1 / 4)
    assert pair.spearman_direct == pytest.approx(1.0)
    assert pair.p == pair.p_holm


def test_heads_are_grouped_by_the_tasks_they_serve() -> None:
    assert combinations({"a": A, "b": B, "c": C}) == {
        ("a", "b", "c"): ((1, 1),), ("a", "b"): ((0, 0),), ("a",): ((0, 2),), ("c",): ((1, 2),),
    }  # fmt: skip


def test_the_reused_set_is_in_two_circuits_at_least() -> None:
    found = reuse({"a": A, "b": B, "c": C, "failed": Outcome()}, SHAPE)
    (reused,) = found.head_sets
    assert reused.heads == ((0, 0), (1, 1))
    assert reused.weights == {"L0H0": pytest.approx(2 / 3), "L1H1": 1.0}
    assert reused.legend == LEGEND == "'Circuits Components Reused' classifications"
    assert reused.source == "computed: circuits of A, B, C on this model"
    assert [table.key for table in found.tables] == ["circuits/reuse/pairs", "circuits/reuse/groups"]
    assert found.facts["sizes"] == {"a": 3, "b": 2, "c": 2}


def test_one_circuit_is_compared_with_nothing() -> None:
    found = reuse({"a": A, "failed": Outcome()}, SHAPE)
    assert found.facts == {}
    assert found.not_computed[0].why == "1 of 2 tasks have a circuit, two are needed"
