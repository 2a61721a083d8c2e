"""SIGKILL at random moments: the folder loads, nothing finished is lost, the next run ends as if nothing had been."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from reportgen.runfolder import MANIFEST, Run
from tests.faults.conftest import TOY, WAITING, Bench, Undisturbed

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
WITH_FIGURES, STATIC = ("attention", TOY, WAITING), (TOY, WAITING)


@pytest.mark.parametrize("seed", range(50 if SOAK else 5))
def test_a_kill_loses_nothing_that_is_finished(
    bench: Bench, request: pytest.FixtureRequest, tmp_path: Path, seed: int
) -> None:
    """All in soak draw figures, two otherwise: a run without them takes a fifth of the time."""
    suites = WITH_FIGURES if SOAK or seed < 2 else STATIC
    whole: Undisturbed = request.getfixturevalue("whole" if suites is WITH_FIGURES else "short")
    moment = random.Random(seed).uniform(0.0, whole.cpu_s)
    out = tmp_path / "runs"
    killed = bench.run(out, suites=suites)
    killed.wait_until(cpu_s=moment)
    killed.send(signal.SIGKILL)
    assert killed.end() in (-signal.SIGKILL, 0), killed.text  # 0: a run a little faster than the undisturbed one

    folder = out / "tiny-gpt2"
    before: list[str] = []
    if (folder / MANIFEST).exists():
        stored = Run.open(folder)
        before = stored.done()
        assert {name: len(stored.result(name).scores) > 0 for name in before} == dict.fromkeys(before, True)
    assert set(killed.ended()) <= set(before), "it said that a suite is done, and the folder does not have it"

    again = bench.run(out, suites=suites)
    assert again.end() == 0, again.text
    assert not again.complaints
    assert again.ended(kept=True) == before
    assert (folder / "report" / "scores.csv").read_bytes() == whole.csv
    assert not list(folder.glob("**/*.part"))
    assert {p.relative_to(folder) for p in folder.glob("**/*")} == {
        p.relative_to(whole.folder) for p in whole.folder.glob("**/*")
    }
