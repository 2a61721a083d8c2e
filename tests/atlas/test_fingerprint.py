"""Fingerprints: one scale for all runs, no suite outvotes another, gaps stay gaps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportgen.atlas.fingerprint import DEPTH, NORM, PLACE, fingerprints, of_scores, output_norm, shared, weights
from reportgen.runfolder import Run
from reportgen.scores import HeadScores
from tests.atlas import made_up
from tests.fixtures import model_record

STORED = Path(__file__).parents[2] / "site" / "runs"


def test_suites_weigh_the_same_and_twenty_tasks_are_one_measure() -> None:
    keys = [*(f"a/score/t{i}" for i in range(20)), "a/other/t0", "b/one/t0", DEPTH, NORM]
    found = dict(zip(keys, weights(keys), strict=True))
    assert sum(found.values()) == pytest.approx(1)
    for suite in ("a/", "b/", PLACE):
        assert sum(w for key, w in found.items() if key.startswith(suite)) == pytest.approx(1 / 3)
    assert sum(w for key, w in found.items() if key.startswith("a/score/")) == pytest.approx(found["a/other/t0"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from("abc")] * 3), min_size=1, unique=True))
def test_weights_are_shares_of_suites(parts: list[tuple[str, str, str]]) -> None:
    keys = ["/".join(part) for part in parts]
    found = weights(keys)
    suites = {key[0] for key in keys}
    assert found.sum() == pytest.approx(1)
    for suite in suites:
        assert found[[key[0] == suite for key in keys]].sum() == pytest.approx(1 / len(suites))


def test_a_score_is_counted_from_its_twin_s_heads_and_else_ranked() -> None:
    rng = np.random.default_rng(0)
    found, twin = made_up.values(rng, 4, 6), made_up.values(rng, 4, 6)
    one = made_up.prints("one", found, twin)
    null = twin[..., 0].astype(np.float32).astype(float)
    want = np.arcsinh((found[..., 0].astype(np.float32) - null.mean()) / null.std())
    np.testing.assert_allclose(one.z[0], want.ravel(), rtol=1e-5)
    assert np.isnan(made_up.prints("two", found).z).all()
    ranks = one.ranks[0]
    assert list(np.argsort(ranks)) == list(np.argsort(found[..., 0].ravel()))
    assert ranks.min() == pytest.approx(-1 + 1 / 24)
    assert ranks.max() == pytest.approx(1 - 1 / 24)
    assert list(one.depth[::6]) == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_gaps_and_estimates_are_not_compared() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    values[0, 1] = np.nan
    guessed = np.zeros((2, 3), bool)
    guessed[1, 2] = True
    score = HeadScores(
        "a/b/c", "x", values, 4, no_null="made up", reasons={"L0H1": "dead"}, estimated=guessed, estimator="guess"
    )
    one = of_scores(model_record(2, 3), [score])
    assert [i for i in range(6) if math.isnan(one.ranks[0, i])] == [1, 5]
    assert np.isnan(one.ranks[-1]).all()  # no suite measured an output norm


def test_runs_are_compared_on_what_both_hold_and_on_one_scale() -> None:
    rng = np.random.default_rng(1)
    a, b = made_up.values(rng, 4, 6), made_up.values(rng, 3, 5)
    both = shared(made_up.prints("a", a, a), made_up.prints("b", b))
    assert both.measures == made_up.MEASURES
    assert not both.is_z.any()  # only one of them has a twin
    both = shared(made_up.prints("a", a, a), made_up.prints("b", b, b))
    assert both.is_z.sum() == made_up.MEASURES
    size = np.concatenate([both.first, both.second], axis=1)
    np.testing.assert_allclose(np.mean(size**2, 1), both.weight)  # no measure is longer than its weight


def test_stored_runs_are_read_without_their_models() -> None:
    run = Run.open(STORED / "mini")
    one = fingerprints(run)
    assert one.ranks.shape == (len(one.keys), 48)
    assert {key.split("/")[0] for key in one.keys} == {
        PLACE,
        *(name for name, result in run.results.items() if result.scores),
    }
    norm = output_norm(run.results, (6, 8))
    assert norm is not None
    relative = norm / norm.mean(1, keepdims=True)
    assert list(np.argsort(one.ranks[-1])) == list(np.argsort(relative.ravel()))
    larger = fingerprints(Run.open(STORED / "smollm2-135m-instruct"))
    held = np.isfinite(larger.twin).any(1)
    assert held.sum() > 40  # scores of its random twin, head by head
    assert np.nanmean(larger.twin[held]) == pytest.approx(0, abs=0.2)
