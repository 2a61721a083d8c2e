"""What the suite does with models that lack something, and with settings."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from reportgen.errors import NotApplicable, SettingsError
from reportgen.scores import SuiteResult
from reportgen.selftest.planted import PlainTokens, PlainWeights, random_weights
from reportgen.suites.base import Context
from reportgen.suites.facts import read
from reportgen.suites.weights import classes
from reportgen.suites.weights.facts import WeightsFacts
from reportgen.suites.weights.scoring import eigen
from reportgen.suites.weights.scoring.composition import gamma_log_p
from reportgen.suites.weights.scoring.score import score
from reportgen.suites.weights.suite import SUITE, composition_kinds

GIVEN = {"words": 40, "rotations": 20, "permutations": 20, "twins": 1}


def scored(weights: PlainWeights, **given: object) -> SuiteResult:
    return score(weights, SUITE.make_settings("quick", {**GIVEN, **given}), Context(seed=0, threads=1))


def missing(result: SuiteResult) -> dict[str, str]:
    return {one.what: one.why for one in result.not_computed}


def test_every_measure_has_a_score_or_a_reason() -> None:
    result = scored(random_weights(0, queries=True))
    there = {s.measure for s in result.scores}
    left_out = missing(result)
    for measure in SUITE.measures:
        assert (measure.name in there) != (f"measure {measure.name}" in left_out), measure.name
    assert "whole words" in left_out["measure suppression"]
    assert "no block to run" in left_out["measure sink_value"]
    assert "no class of words" in left_out["measure successor"]
    assert "no rotary" in left_out["measure qk_slow"]
    assert "streamed" in left_out["control: randomly initialised twin"]


def test_an_inactive_head_has_no_value_and_is_no_member_of_the_family() -> None:
    weights = random_weights(1, queries=True)
    weights.O[1, 2] = 0.0
    result = scored(weights)
    for key in ("copying/vocabulary", "identity/residual", "ov_norm/map"):
        assert np.isnan(result[key].values[1, 2])
        assert "inactive" in result[key].reason(1, 2)
        p = result[key].p
        assert p is None or np.isnan(p[1, 2])
    assert np.isfinite(result["matching/vocabulary"].values[1, 2])
    assert read(result, WeightsFacts).inactive == ["L1H2"]


def test_a_head_that_is_not_finite_leaves_the_others_alone() -> None:
    sound = scored(random_weights(2, queries=True))
    weights = random_weights(2, queries=True)
    assert weights.K is not None
    weights.K[0, 1, 3, 2] = torch.nan
    result = scored(weights)
    assert result["matching/vocabulary"].reason(0, 1) == "weights are not finite"
    for key in ("copying/vocabulary", "matching/vocabulary"):
        others = np.isfinite(result[key].values)
        np.testing.assert_array_equal(result[key].values[others], sound[key].values[others])
    assert np.isfinite(result["copying/vocabulary"].values).all()


def test_without_a_finite_embedding_the_residual_scores_stay() -> None:
    weights = random_weights(3, queries=True)
    weights.E[:] = torch.inf
    result = scored(weights)
    assert "not finite" in missing(result)["measure copying"]
    assert np.isfinite(result["copying_residual/residual"].values).all()
    assert np.isfinite(result["composition_in/v"].values[1]).all()


def test_no_finite_head_at_all_is_refused() -> None:
    weights = random_weights(4, queries=True)
    weights.O[:], weights.Q = torch.nan, torch.full_like(weights.O.mT, torch.nan)
    with pytest.raises(NotApplicable, match="no head has finite weights"):
        scored(weights)


def test_one_layer_has_no_pairs() -> None:
    result = scored(random_weights(5, layers=1, queries=True))
    assert missing(result)["measure composition_in"] == "the model has one layer"
    assert not [name for name in result.arrays if name.startswith("composition")]


def test_a_wide_head_is_said() -> None:
    assert any("more than half of d_model" in note for note in scored(random_weights(6, d_head=12, queries=True)).notes)


def test_large_models_leave_composition_through_queries_out() -> None:
    small = random_weights(7).record
    large = msgspec.structs.replace(small, n_layers=32, n_heads=32, n_kv_heads=8, d_model=4096, d_head=128)
    quick = SUITE.make_settings("quick")
    assert composition_kinds(small, quick) == ("q", "k", "v")
    assert composition_kinds(large, quick) == ("k", "v")
    assert composition_kinds(large, SUITE.make_settings("quick", {"composition": "q,k,v"})) == ("q", "k", "v")
    assert composition_kinds(large, SUITE.make_settings("quick", {"composition": "none"})) == ()


@pytest.mark.parametrize(("given", "said"), [
    ({"composition": "auto,q"}, "auto alone"), ({"composition": "x"}, "must be one of"), ({"k": 0}, "at least 1"),
    ({"rotations": -1}, "at least 0"), ({"alpha": 1.5}, "between 0 and 1"),
])  # fmt: skip
def test_bad_settings_are_refused_in_one_line(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        SUITE.make_settings("quick", given)


def test_switched_off_parts_say_so() -> None:
    result = scored(random_weights(8, queries=True), rotations=0, raw=False, composition="none")
    assert missing(result)["p of copying and matching"] == "switched off (weights.rotations)"
    assert missing(result)["measure copying_raw"] == "switched off (weights.raw)"
    assert missing(result)["measure composition_in"] == "switched off (weights.composition)"
    assert result["copying/vocabulary"].p is None


def test_classes_keep_places_where_words_are_missing() -> None:
    days = next(one for one in classes.CLASSES if one.name == "days")
    kept = classes.KeptClass(days, (10, 11, 13, 16), (0, 1, 3, 6))
    assert kept.after(1) == {0: 1, 3: 0}  # Monday to Tuesday, Sunday to Monday
    assert kept.after(-1) == {1: 0, 0: 3}
    assert kept.after(2) == {1: 2, 3: 1}
    letters = classes.KeptClass(classes.CLASSES[-1], (1, 2), (0, 25))
    assert letters.after(1) == {}
    assert not classes.usable(kept)
    tokens = PlainTokens(50)
    assert all(not one.ids for one in classes.keep(tokens))  # type: ignore[arg-type]


def test_eigenvalues_of_matrices_that_lapack_gives_up_on() -> None:
    core = torch.zeros(3, 4, 4)
    core[0], core[1, 0, 0] = torch.eye(4), torch.nan
    share, taking_part = eigen.signed_share(core)
    assert share[0] == 1
    assert taking_part[0] == 4
    assert np.isnan(share[1:]).all()  # not finite; all zeros


def test_the_gamma_tail_has_the_nulls_moments() -> None:
    d, sd = 64, np.full((2, 1), 0.002)
    log_p = gamma_log_p(np.array([[1 / d], [0.5]]), sd, d)
    assert 0.4 < np.exp(log_p[0, 0]) < 0.6
    assert log_p[1, 0] < -300
