"""Two scores of a suite and of one that it needs, followed together along a made-up training run."""

from __future__ import annotations

import numpy as np
import pytest

from reportgen.figures.figure import Figure, KeptDrawing
from reportgen.figures.theme import Style
from reportgen.manifest import SuiteRecord
from reportgen.runfolder import RunWriter
from reportgen.scores import HeadScores, SuiteResult
from reportgen.suites import known
from reportgen.sweep.figures import figures, highest
from reportgen.sweep.stored import SCHEMA_VERSION, MemberRecord, Sweep, SweepRecord, now, save, story
from tests import fixtures

STEPS = (0, 8, 64, 512)
# [step] of two heads: L1H2 begins as an induction head and ends as one of the task; L0H3 stays what it is
INDUCTION = {(1, 2): (0.0, 0.9, 0.4, 0.1), (0, 3): (0.0, 0.5, 0.8, 0.9)}
EFFECT = {(1, 2): (0.0, 0.1, 1.0, 2.0), (0, 3): (0.0, -0.1, 0.1, 0.2)}


def scores(key: str, of: dict[tuple[int, int], tuple[float, ...]], at: int, lowest: float) -> HeadScores:
    values = 0.01 * np.arange(12, dtype=np.float32).reshape(3, 4)
    for head, way in of.items():
        values[head] = way[at]
    return HeadScores(key, key.split("/")[1].title(), values, 8, values - 0.05, values + 0.05, no_null="made up",
                      range=(lowest, 4.0))  # fmt: skip


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The first checkpoint lacks the effect."""
    home = tmp_path_factory.mktemp("together")
    members = []
    for at, step in enumerate(STEPS):
        slug = f"train@step-{step}"
        model = fixtures.model_record(3, content_hash=f"{step}")
        with RunWriter(home / slug, fixtures.manifest(model)) as writer:
            first = SuiteResult("attention", (scores("attention/induction/random", INDUCTION, at, 0.0),))
            writer.store("attention", first, SuiteRecord("done", 1, {}, {}))
            if at:
                second = SuiteResult("icl", (scores("icl/aie/all_tasks", EFFECT, at, -4.0),))
                writer.store("icl", second, SuiteRecord("done", 1, {}, {}))
        members.append(MemberRecord(slug, "train", "", "train", f"step-{step}", step, "done"))
    record = SweepRecord(SCHEMA_VERSION, "x", now(), now(), [], "local", ["attention", "icl"], [])
    save(home, record, members, 1.0)
    return Sweep.open(home)


@pytest.fixture(scope="module")
def drawn(sweep: Sweep) -> dict[str, Figure]:
    return {figure.id: figure for _, found in figures(story(sweep), Style()) for make in found if (figure := make())}


def test_both_scores_of_the_final_highest_heads_at_every_step_that_has_both(drawn: dict[str, Figure]) -> None:
    figure = drawn["sweep-train-icl-together"]
    names = [column.name for column in figure.data.columns]
    rows = [dict(zip(names, row, strict=True)) for row in figure.data.rows]
    assert {row["step"] for row in rows} == set(STEPS[1:])
    for head, ways in (((1, 2), (INDUCTION, EFFECT)), ((0, 3), (INDUCTION, EFFECT))):
        for key, way in zip(("attention/induction/random", "icl/aie/all_tasks"), ways, strict=True):
            mine = [row for row in rows if row["head"] == f"L{head[0]}H{head[1]}" and row["key"] == key]
            assert {row["highest by"] for row in mine} == {"attention/induction/random", "icl/aie/all_tasks"}
            got = {row["step"]: float(str(row["value"])) for row in mine}
            assert got == pytest.approx(dict(zip(STEPS[1:], way[head][1:], strict=True)))
            assert all(float(str(row["low"])) < float(str(row["value"])) < float(str(row["high"])) for row in mine)
    assert not isinstance(figure.chart, KeptDrawing)
    assert figure.chart.to_dict()["layer"]
    assert "L1H2" in figure.caption
    assert len(figure.caption.split()) <= 90  # of a sweep
    assert "sweep-train-attention-together" not in drawn


def test_three_heads_at_least_are_followed_and_the_highest_first(sweep: Sweep) -> None:
    first, second = story(sweep).trainings[0].together["icl"]
    assert highest(first.points[-1])[:2] == [(0, 3), (2, 3)]
    assert highest(second.points[-1])[:2] == [(1, 2), (0, 3)]
    assert len(highest(first.points[-1])) == 3


def test_the_scores_that_a_suite_names_are_its_own_or_of_one_that_it_needs() -> None:
    for suite in known().values():
        for key in suite.together:
            name, measure = key.split("/")[:2]
            assert name in (suite.name, *suite.needs)
            assert known()[name].measure(measure)
