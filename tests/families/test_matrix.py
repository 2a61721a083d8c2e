"""Every suite on every family runs or refuses in one line, and docs/models.md says which."""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.models.weights import LAYOUTS
from reportgen.report.build import build
from reportgen.report.html import page
from tests.families import made, matrix
from tests.families.traits import TRAITS
from tests.tiny import FAMILIES


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        torch.set_num_threads(1)
        yield


@pytest.mark.parametrize("family", FAMILIES)
def test_every_suite_runs_or_refuses_in_one_line_and_the_page_says_which(family: str) -> None:
    run = matrix.run_of(family)
    check = run.manifest.model.self_check
    assert check is not None
    assert check.passed  # Hugging Face's own forward of the same weights
    assert check.logit_std > 0.1
    assert set(run.manifest.suites) == set(matrix.SUITES)
    for name, record in run.manifest.suites.items():
        assert record.status in ("done", "skipped"), f"{name}: {record.error}"
        if record.status == "skipped":
            assert record.error
            assert "\n" not in record.error
            continue
        result = run.result(name)
        assert result.scores
        for score in result.scores:  # HeadScores itself demands a reason of every NaN
            assert score.values.shape == (run.manifest.model.n_layers, 4)
            known = np.isfinite(score.values)
            for interval in (score.low, score.high, score.p):
                assert interval is None or np.isfinite(interval[known]).all() or score.measure == "alone", score.key
            assert known.any() or score.reasons
    assert run.result("circuits").get("direct", "own") is not None  # the task is done: every stage has run
    lines = matrix.PAGE.read_text("utf-8").splitlines()
    said = [line for line in lines if line.startswith(f"| {family} |")]
    assert said == [matrix.row(family), *matrix.left_out(family)]


def test_the_page_has_a_row_for_every_layout() -> None:
    text = matrix.PAGE.read_text("utf-8")
    assert text.startswith(matrix.HEAD)
    assert text.endswith(matrix.NOT_FINITE)
    assert FAMILIES.keys() == LAYOUTS.keys()


def test_every_trait_is_met_in_some_family_and_absent_in_another() -> None:
    holds = {trait: {family for family in FAMILIES if trait in matrix.traits_of(family)} for trait in TRAITS}
    assert not [trait for trait, families in holds.items() if not families or families == FAMILIES.keys()]


def test_a_refusal_stands_on_the_page(tmp_path: Path) -> None:
    folder = made.spoken_folder("gptj", tmp_path / "gptj")
    report = build(made.small_run(folder, tmp_path, ("attention", "sparse")))
    section = next(s for s in report.sections if s.name == "sparse")
    assert section.status == "skipped"
    assert "scores are hidden" in section.reason
    assert section.reason in unescape(page(report))
    assert not any(s.undrawn for s in report.sections)
