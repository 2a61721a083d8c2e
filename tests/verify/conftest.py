"""A scored run of mini, and a copy of it to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reportgen import runner
from reportgen.config import Options
from reportgen.manifest import SelfTest
from reportgen.runfolder import Run
from reportgen.selftest.record import sources
from tests.soak.threads import SMALL
from tests.verify.spoiled import SUITE, rewritten


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Mini through one suite in a second."""
    out = tmp_path_factory.mktemp("verify")
    given = {SUITE: dict(SMALL[SUITE])}
    made = runner.run(Options(model="mini", suites=(SUITE,), settings=given, threads=1, out=str(out), selftest=False))
    return rewritten(made, self_test=SelfTest("2026-01-01", sources(), {}, 1, []))


@pytest.fixture
def run(scored: Run, tmp_path: Path) -> Run:
    """A copy to spoil."""
    shutil.copytree(scored.path, tmp_path / "mini")
    return Run.open(tmp_path / "mini")


@pytest.fixture
def no_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> Run:
        raise AssertionError("scored again")

    monkeypatch.setattr(runner, "run", refuse)
