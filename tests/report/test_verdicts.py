from __future__ import annotations

from dataclasses import replace

from reportgen.report.evidence import ladder
from reportgen.report.names import score_names
from reportgen.report.verdicts import ranked, verdicts
from reportgen.scores import HeadScores, HeadSet, SuiteResult
from tests.report import sample

BEST = {"head": "L1H2", "effect": 0.4, "low": 0.3, "high": 0.5, "n": 20, "chosen_on": "even", "measured_on": "odd"}


def effects(task: str) -> HeadScores:
    return HeadScores(f"alpha/direct/{task}", "Effect", sample.grid(1), n=50, line=0.9)


def claim(task: str, name: str, **evidence: str) -> HeadSet:
    rungs = {"causal effect": "passed", "replicated (templates)": "passed", **evidence}
    return HeadSet(f"alpha/{task}/{name}", name, ((1, 2),), "Sets", "computed", "a rule", evidence=rungs)


def result(*sets: HeadSet, **best: float) -> SuiteResult:
    tasks = {task: {"title": task.upper(), "top_head": {**BEST, "effect": value}} for task, value in best.items()}
    scores = (effects("one"), effects("two"), effects("three"))
    return SuiteResult("alpha", scores, sets, facts={"tasks": tasks})


def test_claims_with_a_held_out_number_come_first_then_the_better_evidence_then_the_larger_effect() -> None:
    found = result(
        claim("three", "Without a number"),
        claim("one", "Small"),
        claim("two", "Large"),
        claim("two", "Failed on text", **{"natural text": "failed"}),
        claim("one", "With weights too", **{"static score": "passed"}),
        one=0.1,
        two=-0.5,
    )
    lines = ranked(verdicts(None, found, "suite-alpha"))
    labels = [line.label for line in lines]
    assert labels == [
        "ONE: With weights too", "TWO: Large", "ONE: Small", "TWO: Failed on text", "Three: Without a number"
    ]  # fmt: skip
    assert lines[1].estimate == "L1H2 \u22120.500 [0.300, 0.500]"
    assert lines[1].how == "Effect: the head is picked on even and measured on odd"
    assert all(line.anchor == "suite-alpha" for line in lines)


def test_scores_follow_claims() -> None:
    found = result(claim("one", "Small"), one=0.1)
    score = replace(verdicts(None, found, "")[0], causal=False, order=())
    assert [line.causal for line in ranked([score, *verdicts(None, found, "")])] == [True, False]


def test_one_failed_test_fails_its_rung() -> None:
    found = dict(ladder({"replicated (templates)": "passed", "replicated (twin)": "failed", "static score": "passed"}))
    assert (found["replicated"], found["static score"], found["natural text"]) == ("failed", "passed", "not run")


def test_scores_of_one_label_are_told_apart_by_their_task() -> None:
    found = result(one=0.1)
    assert score_names([found])["alpha/direct/one"] == "ONE: Effect"
    assert score_names([found])["alpha/direct/two"] == "Two: Effect"
    assert score_names([SuiteResult("alpha", (effects("one"),))]) == {"alpha/direct/one": "Effect"}
