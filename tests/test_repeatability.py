"""The same seed gives the same scores.csv, byte for byte; other numbers of threads, within docs/repeatability.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.runfolder import Run
from reportgen.scores import HeadScores, HeadSet, SuiteResult
from reportgen.verify.tolerances import beyond, measured
from tests.soak import threads
from tests.soak.threads import csv_of, difference, few_questions

SUITES = ("relations", "attention", "circuits", "cognitive")  # sparse: tests/suites/sparse/test_score.py


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """Mini through four suites: on one thread, on one thread again, on two."""
    folder = tmp_path_factory.mktemp("threads")
    small = {name: dict(threads.SMALL[name]) for name in SUITES}
    small["cognitive"]["data"] = str(few_questions(folder))
    before = torch.get_num_threads()
    made = {name: threads.score("mini", folder / name, n, small, *SUITES) for name, n in (("a", 1), ("b", 1), ("c", 2))}
    assert torch.get_num_threads() == 2
    yield made
    torch.set_num_threads(before)


def test_the_same_threads_give_the_same_bytes(runs: dict[str, Run]) -> None:
    assert runs["a"].done() == sorted(SUITES, key=runs["a"].done().index)
    assert len(runs["a"].done()) == len(SUITES)
    assert csv_of(runs["a"]) == csv_of(runs["b"])
    for suite in SUITES:
        found = difference(runs["a"].result(suite), runs["b"].result(suite)).apart
        assert beyond(found, measured().same) == []  # tables, arrays and facts, too


@pytest.mark.parametrize("suite", SUITES)
def test_other_threads_stay_within_the_tolerance(runs: dict[str, Run], suite: str) -> None:
    found = difference(runs["a"].result(suite), runs["c"].result(suite)).apart
    assert len(found.scores) > 1
    assert beyond(found, measured().threads[suite]) == []
    assert found.labels == ()


def test_a_difference_is_seen() -> None:
    grid = np.array([[0.5, np.nan], [0.25, 1.0]], np.float32)

    def result(values: np.ndarray, p: float, *heads: tuple[int, int]) -> SuiteResult:
        p_values = np.full((2, 2), p, np.float32)
        ends = {"low": values - 0.1, "high": values + 0.1, "p": p_values}
        scores = HeadScores("s/m/t", "S", values, n=9, **ends, range=(0, 2), reasons={"L0H1": "x"})
        return SuiteResult("s", (scores,), head_sets=(HeadSet("s/a", "A", heads, "A", "computed", "rule"),))

    same = difference(result(grid, 0.04, (0, 0)), result(grid.copy(), 0.04, (0, 0)))
    assert (same.identical, same.apart.labels, same.apart.crossed) == (True, (), 0)
    assert [same.apart.most(name) for name in ("values", "ends", "p")] == [0, 0, 0]
    other = difference(result(grid, 0.04, (0, 0)), result(grid + np.float32(0.125), 0.06, (1, 1)))
    assert (other.identical, other.apart.most("values"), len(other.apart.labels), other.apart.crossed) == (
        False,
        0.125,
        2,
        4,
    )
    assert other.apart.most("p") == pytest.approx(0.02, abs=1e-6)


def test_the_page_says_the_tolerance() -> None:
    page = (Path(__file__).parent.parent / "docs" / "repeatability.md").read_text("utf-8")
    for suite, limits in measured().threads.items():
        assert f"| {suite} | {limits.values:g} | {limits.intervals:g} | {limits.p:g} | {limits.rest:g} |" in page
    code = measured().code
    assert f"| any, other sources | {code.values:g} | {code.intervals:g} | {code.p:g} | {code.rest:g} |" in page
    torch = measured().torch
    limits = torch.limits
    numbers = f"{limits.values:g} | {limits.intervals:g} | {limits.p:g} | {limits.rest:g}"
    assert f"| torch {torch.oldest} to {torch.newest} | {numbers} |" in page
    for suite in torch.suites:
        assert f"| torch 2.6.0 and 2.13.0, mini | {suite} |" in page
    assert set(SUITES) < set(measured().threads)
