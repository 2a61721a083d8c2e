"""The two files of a suite hold all of its result, and a damaged one is refused in one line."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.errors import RunError
from reportgen.score_files import decode, encode
from reportgen.scores import BadScores, Column, Control, HeadScores, HeadSet, HeldOut, SuiteResult, Table
from tests.figures import samples
from tests.fixtures import head_scores, suite_result


def test_everything_comes_back() -> None:
    before = suite_result()
    after = decode(*encode(before), where="x")
    for name in ("values", "low", "high", "p"):
        np.testing.assert_array_equal(getattr(after.scores[0], name), getattr(before.scores[0], name))
    assert after.scores[0].reasons == before.scores[0].reasons
    assert after.scores[0].range == (0.0, 1.0)
    assert after.head_sets == before.head_sets
    assert after.tables == before.tables
    assert after.arrays["ranks/capital"].labels == {"pair": ("a", "b")}
    assert after.arrays["ranks/capital"].values.dtype == np.uint32
    assert after.facts == before.facts
    assert after.notes == before.notes
    assert after.not_computed == before.not_computed


def test_open_range_and_missing_grids_come_back() -> None:
    score = HeadScores("s/m/t", "x", np.zeros((1, 2), np.float32), 1, no_null="none here")
    after = decode(*encode(SuiteResult("s", (score,))), where="x").scores[0]
    assert after.range == (-math.inf, math.inf)
    assert after.low is None
    assert after.p is None


def test_nan_cells_are_stored_as_empty() -> None:
    table = Table("t", "T", (Column("a"),), ((math.nan,), (np.float32(0.5),)))  # type: ignore[arg-type]
    assert decode(*encode(SuiteResult("s", tables=(table,))), where="x").tables[0].rows == ((None,), (0.5,))


def test_evidence_comes_back() -> None:
    """Held-out head, controls with and without a grid, threshold, and a set's score."""
    grid = np.ones((1, 2), np.float32)
    controls = (Control("copier", 0.25), Control("random twin", 1.0, grid), Control("twin", 0.1, bound=True))
    held = HeldOut("L0H1", 0.5, 0.4, 0.6, 20, "even prompts", "odd prompts")
    score = HeadScores("s/m/t", "x", grid, 1, line=0.1, threshold=0.2, held_out=held, controls=controls)
    heads = HeadSet("s/t/m", "x", ((0, 1),), "x", "x", "x", score="s/m/t")
    after = decode(*encode(SuiteResult("s", (score,), (heads,))), where="x")
    found = after.scores[0]
    assert (found.threshold, found.held_out, after.head_sets) == (0.2, held, (heads,))
    assert [(c.name, c.value, c.bound) for c in found.controls] == [(c.name, c.value, c.bound) for c in controls]
    assert [c.values is None for c in found.controls] == [True, False, True]
    np.testing.assert_array_equal(found.controls[1].values, grid)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"held_out": HeldOut("L1H0", 0.5, 0.4, 0.6, 9)},
        {"controls": (Control("twin", 0.5, np.ones((2, 2), np.float32)),)},
        {"controls": (Control("twin", math.nan),)},
        {"controls": (Control("twin", 0.1), Control("twin", 0.2))},
        {"controls": (Control(" ", 0.1),)},
    ],
)
def test_evidence_outside_the_grid_or_without_a_value_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadScores):
        HeadScores("s/m/t", "x", np.ones((1, 2), np.float32), 1, line=0.1, **wrong)


@pytest.mark.parametrize("wrong", [("x", 0.5), ("L0H0", math.nan)])
def test_a_held_out_head_has_a_name_and_a_number(wrong: tuple[str, float]) -> None:
    with pytest.raises(ValueError, match=r"x|held out"):
        HeldOut(*wrong, 0.4, 0.6, 9)


def test_same_result_same_bytes() -> None:
    assert encode(suite_result()) == encode(suite_result())


@given(st.text(min_size=1, max_size=40), st.floats(0, 1, width=32))
def test_any_text_and_value_survive(text: str, value: float) -> None:
    text = text.encode("utf-8", "ignore").decode()
    values = np.full((1, 1), value, np.float32)
    score = HeadScores("s/m/t", text, values, 1, no_null=text or "-", range=(0, 1))
    after = decode(*encode(SuiteResult("s", (score,), notes=(text,))), where="x")
    assert after.notes == (text,)
    assert after.scores[0].values[0, 0] == np.float32(value)


_WRONG_DIMS = {"dims": ["a"], "labels": {}}


@pytest.mark.parametrize(
    "damage",
    [
        lambda m, a: (m[:-20], a),
        lambda m, a: (m, a[:-9]),
        lambda m, a: (m, b""),
        lambda m, a: (b"{}", a),
        lambda m, a: (m.replace(b'"n": 40', b'"n": "forty"'), a),
        lambda m, a: (m.replace(b"relations/score/capital", b"relations/score/other"), a),
        lambda m, a: (m.replace(b'"L0H1": "inactive head"', b'"L9H9": "other"'), a),
        lambda m, a: (
            json.dumps({**json.loads(m), "arrays": {"ranks/capital": {"dims": ["a"], "labels": {}}}}).encode(),
            a,
        ),
    ],
)
def test_damage_is_one_line(damage) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RunError) as caught:
        decode(*damage(*encode(suite_result())), where="run/scores/relations")
    assert "run/scores/relations is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_estimates_come_back_and_a_run_without_them_reads_as_before() -> None:
    whole = samples.estimated()
    meaning, arrays = encode(SuiteResult("circuits", (whole,)))
    after = decode(meaning, arrays, where="x").scores[0]
    np.testing.assert_array_equal(after.estimated, whole.estimated)
    assert (after.estimator, after.estimated.dtype) == ("attribution", bool)  # type: ignore[union-attr]
    meaning, arrays = encode(SuiteResult("circuits", (samples.signed(),)))
    stored = json.loads(meaning)
    assert stored["scores"][0].pop("estimator") == ""  # 0.1.0 stored none
    old = decode(json.dumps(stored).encode(), arrays, where="x").scores[0]
    assert old.estimated is None
    assert old.exact.all()


def test_an_estimate_claims_no_interval_and_no_p() -> None:
    good = samples.estimated()
    for changes, words in (
        ({"p": np.full((3, 4), 0.5, np.float32)}, "p is given for an estimated head"),
        ({"low": good.values}, "low is given for an estimated head"),
        ({"estimator": ""}, "without estimator"),
        ({"estimated": np.ones((3, 3), bool)}, "want bool"),
        ({"values": np.full((3, 4), np.nan, np.float32), "reasons": {"*": "no"}}, "both estimated and not computed"),
    ):
        with pytest.raises(BadScores, match=words):
            replace(good, **changes)  # type: ignore[arg-type]
    assert {layer for layer, _ in good.ranking()} == {0}
    assert good.exact.sum() == 4
    assert np.isnan(good.exact_values[1:]).all()


def test_the_p_of_each_head_comes_back_and_may_be_absent() -> None:
    scores = head_scores()
    each = np.where(np.isnan(scores.values), np.nan, 0.25).astype(np.float32)
    result = replace(suite_result(), scores=(replace(scores, p_each=each),))
    again = decode(*encode(result), "here").scores[0]
    np.testing.assert_array_equal(again.p_each, each)  # type: ignore[arg-type]
    assert decode(*encode(suite_result()), "here").scores[0].p_each is None
