from __future__ import annotations

from dataclasses import replace

import numpy as np

from reportgen.report.labels import score_names
from reportgen.report.verdicts import FIRST, ladder, on_first_screen, ranked, verdicts
from reportgen.scores import Control, HeadScores, HeadSet, HeldOut, SuiteResult
from tests.report import sample


def effects(task: str, best: float | None = None) -> HeadScores:
    held = None if best is None else HeldOut("L1H2", best, 0.3, 0.5, 20, "even", "odd")
    return HeadScores(f"alpha/direct/{task}", "Effect", sample.grid(1), n=50, line=0.9, held_out=held)


def claim(task: str, name: str, **evidence: str) -> HeadSet:
    rungs = {"causal effect": "passed", "replicated (templates)": "passed", **evidence}
    return HeadSet(f"alpha/{task}/{name}", name, ((1, 2),), "Sets", "computed", "a rule", evidence=rungs)


def result(*sets: HeadSet, **best: float) -> SuiteResult:
    tasks = {task: {"title": task.upper()} for task in best}
    scores = tuple(effects(task, best.get(task)) for task in ("one", "two", "three"))
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
    assert lines[1].how.endswith(" on even and measured on odd")
    assert all(line.anchor == "suite-alpha" for line in lines)


def test_a_number_that_was_said_before_makes_room_for_others_on_the_first_screen() -> None:
    found = result(claim("one", "Movers"), claim("one", "All", **{"natural text": "failed"}), claim("two", "Other"),
                   claim("three", "Without a number", **{"static score": "passed"}), one=0.1, two=0.5)  # fmt: skip
    lines = ranked(verdicts(None, found, ""))
    assert [line.label for line in lines[:2]] == ["TWO: Other", "ONE: Movers"]
    assert on_first_screen(lines) == 2
    many = [replace(lines[0], estimate=str(i)) for i in range(9)]
    assert on_first_screen(many) == FIRST == 6
    assert on_first_screen([replace(line, estimate="") for line in lines]) == 4


def test_a_count_of_heads_beyond_a_null_is_no_line() -> None:
    counted = SuiteResult("alpha", (effects("one"),))
    assert (effects("one").values > 0.9).any()
    assert verdicts(None, counted, "") == []


def test_score_lines_are_the_farthest_beyond_their_nulls_one_per_head_and_name_the_line() -> None:
    def scores(name: str, values: list[float], line: float, head: str, at: float, *of: Control) -> HeadScores:
        held, grid = HeldOut(head, at, at - 0.1, at + 0.1, 16), np.array([values], np.float32)
        return HeadScores(f"alpha/{name}/all", name, grid, 32, line=line, range=(0, 1), held_out=held, controls=of)

    rare = [0.5, 0.0, 0.0, 0.01]
    wide = scores("common", [0.9, 0.1, 0.8, 0.2], 0.05, "L0H2", 0.8)
    narrow = scores("rare", rare, 0.02, "L0H0", 0.5, Control("ideal copier", 0.25), Control("twin", 0.3, bound=True))
    within = scores("within", rare, 0.6, "L0H1", 0.5)
    lines = verdicts(None, SuiteResult("alpha", (wide, narrow, within)), "suite-alpha")
    assert [(line.label, line.heads, line.line) for line in lines] == [
        ("rare", ("L0H0",), "≤ 0.020"), ("common", ("L0H2",), "≤ 0.050")
    ]  # fmt: skip
    assert lines[0].text == (
        "rare: L0H0, highest on one half of the examples, has 0.500 [0.400, 0.600] on the other half "
        "(n = 16; null ≤ 0.020); an ideal copier 0.250."
    )


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
