from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from reportgen.report.heldout import held_out
from reportgen.scores import HeadScores, NamedArray, SuiteResult

GOOD = {"head": "L1H2", "value": 0.5, "low": 0.4, "high": 0.6, "n": 30}


def scores(values: Any, measure: str = "score", task: str = "capital") -> HeadScores:
    return HeadScores(f"s/{measure}/{task}", "S", np.asarray(values, np.float32), n=9, no_null="x", range=(0, 1))


def result(found: HeadScores, **more: Any) -> SuiteResult:
    return SuiteResult("s", (found,), **more)


@pytest.mark.parametrize(
    "facts",
    [
        {"held_out": {"s/direct/capital": GOOD}},
        {"relations": {"capital": {"best": {"direct": GOOD}}}},
        {"tasks": {"capital": {"top_head": {**GOOD, "effect": 0.5}}}},
    ],
)
def test_every_suite_is_read_from_where_it_says_it(facts: dict[str, Any]) -> None:
    found = scores([[0.5, 0.1]], "direct")
    held = held_out(result(found, facts=facts), found)
    assert held is not None
    assert (held.head, held.value, held.low, held.high, held.n) == ("L1H2", 0.5, 0.4, 0.6, 30)


@pytest.mark.parametrize(
    "broken",
    [{"head": "x"}, {"value": "a lot"}, {"n": None}, {"low": float("nan")}, {"value": None}],
)
def test_damaged_estimates_are_no_estimates(broken: dict[str, Any]) -> None:
    found = scores([[0.5, 0.1]])
    facts = {"held_out": {found.key: {**GOOD, **broken}}}
    assert held_out(result(found, facts=facts), found) is None


def sequences(values: Any, measures: tuple[str, ...] = ("score",)) -> dict[str, NamedArray]:
    dims = ("measure", "sequence", "layer", "head")
    return {"per_sequence": NamedArray(dims, np.asarray(values, np.float32), {"measure": measures})}


def test_the_head_of_the_even_sequences_is_measured_on_the_odd_ones() -> None:
    draw = np.random.default_rng(1)
    values = draw.uniform(0, 0.2, (1, 20, 2, 3))
    values[0, ::2, 1, 1] += 0.6  # best where it is picked
    values[0, 1::2, 0, 2] += 0.7  # best where it is measured
    found = scores(values[0].mean(0))
    held = held_out(result(found, arrays=sequences(values)), found)
    assert held is not None
    odd = values[0, 1::2, 1, 1]
    assert (held.head, held.n) == ("L1H1", 10)
    assert held.value == pytest.approx(odd.mean(), abs=1e-6)
    half = 2.262157 * odd.std(ddof=1) / np.sqrt(10)  # Student's t, 9 degrees of freedom, 97.5 %
    assert held.high - held.value == pytest.approx(half, rel=1e-4)


def test_both_halves_have_every_block_length() -> None:
    """A head that scores with one block length alone is measured at its mean over all of them."""
    draw = np.random.default_rng(2)
    lags = np.tile([13, 17], 12)
    values = draw.uniform(0, 0.1, (1, 24, 2, 2))
    values[0, lags == 13, 1, 0] += 0.8
    found = scores(values[0].mean(0))
    arrays = {**sequences(values), "lag": NamedArray(("sequence",), lags.astype(np.int32))}
    held = held_out(result(found, arrays=arrays), found)
    assert held is not None
    assert (held.head, held.n) == ("L1H0", 12)
    assert held.value == pytest.approx(0.45, abs=0.03)
    assert held.low < 0.45 < held.high


def test_sequences_that_are_not_the_scores_own_say_nothing() -> None:
    values = np.random.default_rng(1).uniform(0, 1, (1, 20, 2, 3))
    found = scores(values[0].mean(0))
    assert held_out(result(found, arrays=sequences(values, ("other",))), found) is None
    assert held_out(result(found, arrays=sequences(values[:, :6])), found) is None
    other = dataclasses.replace(found, values=found.values / 2)
    assert held_out(result(other, arrays=sequences(values)), other) is None
    few = scores(values[0, :6].mean(0))
    assert held_out(result(few, arrays=sequences(values[:, :6])), few) is None
