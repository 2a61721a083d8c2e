"""A user's suite has controls, a held-out head and a line along training, as those that come with reportgen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from reportgen.figures.theme import Style
from reportgen.manifest import ModelRecord, SuiteRecord
from reportgen.report.build import build
from reportgen.report.tiles import wall
from reportgen.runfolder import Run, RunWriter
from reportgen.scores import HeadSet, SuiteResult
from reportgen.suites.base import Context, Measure, Suite
from reportgen.suites.samples import Samples
from reportgen.sweep.figures import figures
from reportgen.sweep.stored import SCHEMA_VERSION, MemberRecord, Sweep, SweepRecord, now, save, story
from tests import fixtures

SHAPE = (3, 4)
CHANCE = np.full(SHAPE, 0.05, np.float32)
HEIGHT = {1: 0.1, 4: 0.4, 16: 0.9}  # of L1H2, by step; the null's draws stay below 0.1


@dataclass(frozen=True)
class Settings:
    least: float = field(default=0.3, metadata={"help": "share from which a head counts"})


@dataclass(frozen=True)
class Grown:
    """All that the made-up score function needs of a model."""

    height: float
    record: ModelRecord = field(default_factory=lambda: fixtures.model_record(*SHAPE))


def score(model: Grown) -> Samples:
    rng = np.random.default_rng(0)
    each = rng.uniform(0, 0.02, (40, *SHAPE))
    each[:, 1, 2] += model.height
    return Samples(
        each, null=rng.uniform(0, 0.08, (99, *SHAPE)), of="prompts", controls={"random twin": CHANCE, "coin toss": 0.05}
    )


MEASURE = Measure("share", "Share", "mean of x", "High: much of it.", range=(0.0, 1.0))
MINE = Suite("mine", score=score, measures=(MEASURE,), settings=Settings, threshold="least")


def scored(height: float) -> SuiteResult:
    result: SuiteResult = MINE.load_score()(Grown(height), Settings(), Context(seed=0, threads=1))
    return result


def write(path: Path, height: float) -> Run:
    found = scored(height)
    top = HeadSet("mine/all/top", "Top heads", ((1, 2),), "Made up", "computed", "the highest", score="mine/share/all")
    found = SuiteResult("mine", found.scores, (top,), facts=found.facts)
    with RunWriter(path, fixtures.manifest(fixtures.model_record(*SHAPE, content_hash=f"{height}"))) as writer:
        writer.store("mine", found, SuiteRecord("done", 1, {"least": 0.3}, {}))
    return Run.open(path)


def test_the_page_shows_its_control_and_its_held_out_head(tmp_path: Path) -> None:
    report = build(write(tmp_path / "run", 0.9), suites={"mine": MINE})
    (tile,) = wall(report).tiles
    assert list(tile.controls) == ["random twin", "coin toss"]
    (line,) = report.verdicts
    assert line.heads == ("L1H2",)
    assert "highest on one half of the prompts" in line.text
    assert line.text.endswith("; a coin toss 0.050.")
    assert line.n == 20


def test_its_heads_are_above_the_line_from_its_own_threshold_on(tmp_path: Path) -> None:
    """Also where the suite's file is not: the scores keep their threshold, the set its score."""
    members = []
    for step, height in HEIGHT.items():
        write(tmp_path / f"step-{step}", height)
        members.append(MemberRecord(f"step-{step}", "m", "", "m", f"step-{step}", step, "done"))
    save(tmp_path, SweepRecord(SCHEMA_VERSION, "s", now(), now(), [], "local", ["mine"], []), members, 1.0)
    made = [m() for _, found in figures(story(Sweep.open(tmp_path)), Style()) for m in found]
    drawn = {figure.id: figure for figure in made if figure}
    assert "score ≥ 0.3" in drawn["sweep-m-mine-count"].caption
    (row,) = drawn["sweep-m-mine-appearance"].data.rows
    assert row[2:5] == ("L1H2", "mine/share/all", 4)  # at step 1 it beats the null and is below the threshold


@pytest.mark.parametrize("height", [0.1])
def test_at_the_first_step_the_head_beats_its_null(height: float) -> None:
    (found,) = scored(height).scores
    assert found.p is not None
    assert found.p[1, 2] <= 0.05
    assert found.threshold == 0.3
