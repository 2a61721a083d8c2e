"""Facts between scoring and drawing: made plain once, read back once, from a stored run of any age."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from reportgen import suites
from reportgen.errors import DataError
from reportgen.runfolder import Run
from reportgen.scores import Control, HeadScores, HeadSet, SuiteResult
from reportgen.suites.circuits.facts import CircuitFacts, Faithfulness, TaskFacts
from reportgen.suites.cognitive.facts import AblationFacts, CognitiveFacts, FunctionEffect
from reportgen.suites.facts import encoded, read
from tests.docs.reading import ROOT


def test_what_is_not_there_is_left_out_and_read_as_not_there() -> None:
    task = TaskFacts(title="IOI", gap=math.nan, accuracy=0.5, faithfulness=Faithfulness(kept=[0.0, math.inf]))
    stored = encoded(CircuitFacts(tasks={"ioi": task}))
    tasks = stored["tasks"]
    assert isinstance(tasks, dict)
    assert "gap" not in tasks["ioi"]
    assert tasks["ioi"]["faithfulness"]["kept"] == [0.0, None]
    assert encoded(TaskFacts(n=np.int64(3), accuracy=np.float32(0.5)))["n"] == 3  # type: ignore[arg-type]


def test_an_earlier_run_lacks_some_and_a_later_one_has_others() -> None:
    facts = {"tasks": {"ioi": {"gap": 3, "of_a_later_version": [1]}}, "and": {}}
    found = read(SuiteResult("circuits", facts=facts), CircuitFacts)
    assert (found.task("ioi").gap, found.task("ioi").twin, found.reuse) == (3.0, None, None)
    assert found.task("greater_than").title == "greater than"


@pytest.mark.parametrize(
    ("facts", "place"),
    [({"tasks": [1]}, "$.tasks"), ({"tasks": {"ioi": {"top_head": "L1H1"}}}, "$.tasks[...].top_head")],
)
def test_other_facts_are_one_line(facts: dict[str, object], place: str) -> None:
    with pytest.raises(DataError, match="circuits") as caught:
        read(SuiteResult("circuits", facts=facts), CircuitFacts)
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_that_does_not_exist_is_nan_again() -> None:
    facts = CognitiveFacts(ablation=AblationFacts(functions={"Recall": FunctionEffect(n=3, own=-0.5)}))
    stored = json.loads(json.dumps(encoded(facts), allow_nan=False))
    ablation = read(SuiteResult("cognitive", facts=stored), CognitiveFacts).ablation
    assert ablation is not None
    effect = ablation.functions["Recall"]
    assert (effect.n, effect.own, math.isnan(effect.p_random)) == (3, -0.5, True)
    stored["ablation"]["functions"]["Recall"]["p"] = "small"
    with pytest.raises(DataError, match=r"expected a number or null, got str.*functions"):
        read(SuiteResult("cognitive", facts=stored), CognitiveFacts)


GOOD = {"head": "L1H2", "value": 0.5, "low": 0.4, "high": 0.6, "n": 30}
OLD = ROOT / "site" / "runs" / "mini"


def upgraded(suite: str, measure: str, facts: Mapping[str, Any], *sets: HeadSet, **settings: object) -> SuiteResult:
    grid = np.full((2, 4), 0.5, np.float32)
    scores = HeadScores(f"{suite}/{measure}/capital", "S", grid, n=9, line=0.1, range=(0, 1))
    return suites.upgraded(SuiteResult(suite, (scores,), sets, facts=facts), settings)


@pytest.mark.parametrize(
    ("suite", "measure", "facts"),
    [
        ("mine", "share", {"held_out": {"mine/share/capital": GOOD}}),
        ("relations", "score", {"relations": {"capital": {"best": {"score": GOOD}}}}),
        ("circuits", "direct", {"tasks": {"capital": {"top_head": {**GOOD, "effect": 0.5}}}}),
    ],
)
def test_every_suite_is_read_from_where_it_said_it(suite: str, measure: str, facts: dict[str, Any]) -> None:
    held = upgraded(suite, measure, facts).scores[0].held_out
    assert held is not None
    assert (held.head, held.value, held.low, held.high, held.n) == ("L1H2", 0.5, 0.4, 0.6, 30)


@pytest.mark.parametrize(
    "broken", [{"head": "x"}, {"head": "L9H9"}, {"value": "a lot"}, {"n": None}, {"low": float("nan")}, {"value": None}]
)
def test_damaged_estimates_are_no_estimates(broken: dict[str, Any]) -> None:
    facts = {"held_out": {"mine/share/capital": {**GOOD, **broken}}}
    assert upgraded("mine", "share", facts).scores[0].held_out is None


@pytest.mark.parametrize("value", [True, "0.3", None, float("nan"), [0.3]])
def test_a_damaged_control_is_none(value: object) -> None:
    facts = {"relations": {"capital": {"copier": {"embedding": {"score": value}}}}}
    assert upgraded("relations", "score", facts).scores[0].controls == ()


def test_a_set_is_followed_by_the_score_it_was_picked_by() -> None:
    def score(suite: str, measure: str, key: str) -> str:
        heads = HeadSet(f"{suite}/{key}", "x", (), "x", "x", "x")
        return upgraded(suite, measure, {}, heads).head_sets[0].score

    assert score("relations", "score", "capital/score") == "relations/score/capital"
    assert score("circuits", "direct", "capital/movers") == "circuits/direct/capital"
    assert score("circuits", "direct", "capital/backups") == ""  # they act when others are gone
    assert score("cognitive", "importance_own", "capital/line") == "cognitive/importance_own/capital"
    assert score("attention", "induction", "capital/induction_heads") == "attention/induction/capital"
    for suite in ("relations", "circuits", "cognitive", "attention"):
        assert score(suite, "score", "") in ("", f"{suite}/importance_own/", f"{suite}//")  # damaged: no such score


def test_a_result_with_evidence_is_left_as_it_is() -> None:
    facts = {"relations": {"capital": {"copier": {"embedding": {"score": 0.5}}}}}
    found = upgraded("relations", "score", facts, tau=0.15)
    assert [(c.name, c.value) for c in found.scores[0].controls] == [("ideal copier", 0.5)]
    assert found.scores[0].threshold == 0.15
    own = dataclasses.replace(found.scores[0], controls=(Control("own", 0.1),), threshold=0.3)
    again = suites.upgraded(dataclasses.replace(found, scores=(own,)), {"tau": 0.15})
    assert (again.scores[0].controls, again.scores[0].threshold) == (own.controls, 0.3)


def test_the_stored_run_of_the_bundled_model_has_it_all() -> None:
    found = Run.open(OLD)
    names = found["relations/score/name_copying"]
    assert [c.name for c in names.controls] == ["ideal copier", "random twin"]
    held = [found[key].held_out for key in (names.key, "circuits/direct/ioi", "attention/induction")]
    assert all(one is not None for one in held)
    known = {score.key for result in found.results.values() for score in result.scores}
    followed = [heads.score for result in found.results.values() for heads in result.head_sets if heads.score]
    assert set(followed) <= known
    assert {"attention", "circuits", "relations", "cognitive", "weights"} == {key.split("/")[0] for key in followed}
    assert names.threshold == found.manifest.suites["relations"].settings["tau"]
