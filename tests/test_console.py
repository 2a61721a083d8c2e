"""What the terminal says of a run: the share of the whole, the time left, and where the time went."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from reportgen import runner
from reportgen.config import Options
from reportgen.console import Reporter
from reportgen.manifest import SuiteRecord
from tests import fixtures
from tests.report import sample

DONE = SuiteRecord("done", 1, {}, {}, elapsed_s=10.0, estimate_s=12.0, phases={"probes": 8.0, "other": 2.0})


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_step_is_said_with_the_share_of_the_run_and_the_time_left(
    json_lines: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter(json_lines)
    reporter.console.width = 200
    reporter.overall(0.345, 125.0)
    reporter.suite_progress(sample.suite(), 3, 8, "probes")
    reporter.suite_ended(sample.suite(), DONE, kept=False)
    said = capsys.readouterr()
    if json_lines:
        step, end = (json.loads(line) for line in said.out.splitlines())
        assert (step["share"], step["left_s"], step["done"], step["words"]) == (0.345, 125, 3, "probes")
        assert (end["estimate_s"], end["phases"]) == (12.0, {"probes": 8.0, "other": 2.0})
    else:
        step, end = said.err.splitlines()
        assert step == "  probes (3/8) [34% of the run, 2 min left]"
        assert end.startswith("  alpha: done in 10.0 s (estimated 12 s)")


def test_at_the_end_stands_where_the_time_went(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = SuiteRecord("skipped", 1, {}, {}, error="no partner")
    manifest = msgspec.structs.replace(
        fixtures.manifest(fixtures.model_record(2, 2)), suites={"alpha": DONE, "beta": skipped}
    )
    reporter = Reporter()
    reporter.console.width = 200
    reporter.times(manifest)
    said = capsys.readouterr().err
    assert "alpha  10.0 s (estimated 12 s)  probes 8.0 s (80%), other 2.0 s (20%); more than half: probes" in said
    assert "beta" not in said


class Shares(runner.Silent):
    """Keeps what it is told of the whole run."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, float]] = []

    def overall(self, share: float, left_s: float) -> None:
        self.heard.append((share, left_s))


def test_a_run_tells_its_share_which_only_grows(tmp_path: Path) -> None:
    given: dict[str, dict[str, object]] = {"attention": {"sequences": 8, "resamples": 50, "permutations": 99}}
    listener = Shares()
    runner.run(Options(suites=("attention",), settings=given, out=str(tmp_path), selftest=False, threads=1), listener)
    shares = [share for share, _ in listener.heard]
    assert len(shares) > 4
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] < 1  # the report is still to come
    assert all(left > 0 for _, left in listener.heard)
