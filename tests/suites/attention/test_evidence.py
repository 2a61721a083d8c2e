"""The best head of half of the sequences, measured on the others."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from reportgen.scores import HeadScores, HeldOut, NamedArray, SuiteResult
from reportgen.suites.attention.suite import held_out, older

DRAW = np.random.default_rng(1)


def stored(values: Any, measure: str = "score", scores: HeadScores | None = None) -> HeldOut | None:
    """What is read from a result of reportgen 0.1 with these values [sequence layer head]."""
    each = np.asarray(values, np.float32)
    scores = scores or HeadScores("s/score/t", "S", each.mean(0), n=9, no_null="x", range=(0, 1))
    array = NamedArray(("measure", "sequence", "layer", "head"), each[None], {"measure": (measure,)})
    return older(SuiteResult("s", (scores,), arrays={"per_sequence": array})).scores[0].held_out


def test_the_head_of_the_even_sequences_is_measured_on_the_odd_ones() -> None:
    values = DRAW.uniform(0, 0.2, (20, 2, 3)).astype(np.float32)
    values[::2, 1, 1] += 0.6  # best where it is picked
    values[1::2, 0, 2] += 0.7  # best where it is measured
    held = held_out(values, np.zeros(20))
    assert held is not None
    assert held == stored(values)
    odd = values[1::2, 1, 1]
    assert (held.head, held.n) == ("L1H1", 10)
    assert held.value == pytest.approx(odd.mean(), abs=1e-6)
    half = 2.262157 * odd.std(ddof=1) / np.sqrt(10)  # Student's t, 9 degrees of freedom, 97.5 %
    assert held.high - held.value == pytest.approx(half, rel=1e-4)


def test_both_halves_have_every_block_length() -> None:
    """A head that scores with one block length alone is measured at its mean over all of them."""
    lags = np.tile([13, 17], 12)
    values = np.random.default_rng(2).uniform(0, 0.1, (24, 2, 2))
    values[lags == 13, 1, 0] += 0.8
    held = held_out(values, lags)
    assert held is not None
    assert (held.head, held.n) == ("L1H0", 12)
    assert held.value == pytest.approx(0.45, abs=0.03)
    assert held.low < 0.45 < held.high


def test_sequences_that_are_not_the_scores_own_say_nothing() -> None:
    values = DRAW.uniform(0, 1, (20, 2, 3)).astype(np.float32)
    assert stored(values) is not None
    assert stored(values, "other") is None
    assert stored(values[:6]) is None  # three sequences measure nothing
    of = HeadScores("s/score/t", "S", values.mean(0), n=9, no_null="x", range=(0, 1))
    assert stored(values[:, :1], scores=of) is None
    assert stored(values, scores=dataclasses.replace(of, values=of.values / 2)) is None
    values[3, 0, 0] = np.nan
    assert held_out(values, np.zeros(20)) is None
