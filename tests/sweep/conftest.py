"""A training run of three tiny random checkpoints, and a listener that remembers."""

from __future__ import annotations

from pathlib import Path

import pytest

from reportgen.config import Options
from reportgen.runner import Silent
from reportgen.sweep.spec import ModelSpec, RayOptions, SweepSpec
from reportgen.sweep.stored import MemberRecord, SweepTally
from tests.tiny import tiny_folder

TOY = str(Path(__file__).parent.parent / "data" / "toy_suite.py")
STEPS = (1, 4, 16)


class Ledger(Silent):
    """What a sweep told."""

    def __init__(self) -> None:
        self.plans: list[SweepTally] = []
        self.ended: list[tuple[str, str]] = []
        self.tallies: list[SweepTally] = []
        self.words: list[str] = []

    def stage(self, words: str) -> None:
        self.words.append(words)

    def planned(self, name: str, engine: str, tally: SweepTally) -> None:
        self.plans.append(tally)

    def member_started(self, slug: str) -> None: ...

    def member_ended(self, member: MemberRecord, tally: SweepTally) -> None:
        self.ended.append((member.slug, member.status))
        self.tallies.append(tally)


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/step-1, step-4, step-16: three random checkpoints of one shape."""
    folder = tmp_path_factory.mktemp("sweep") / "train"
    for seed, step in enumerate(STEPS):
        tiny_folder("gpt2", folder / f"step-{step}", seed=seed)
    return folder


def toy_spec(training: Path, out: Path, ray: RayOptions | None = None, **settings: object) -> SweepSpec:
    """A sweep of the training run with the toy suite; `settings` are the suite's."""
    given = {"toy": settings} if settings else {}
    options = Options(suites=(TOY,), selftest=False, out=str(out), threads=1, settings=given)
    engine = "local" if ray is None else "ray"
    return SweepSpec((ModelSpec(str(training)),), "three", engine, options, ray or RayOptions())


def scores_of(home: Path) -> dict[str, bytes]:
    """Every member's scores.csv by member."""
    return {path.parent.parent.name: path.read_bytes() for path in sorted(home.glob("*/report/scores.csv"))}
