"""A made-up sweep whose emergence is known: in `train` the head L1H2 rises, and is above the line from step 4 on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reportgen.manifest import SuiteRecord
from reportgen.runfolder import RunWriter
from reportgen.scores import HeadScores, HeadSet, SuiteResult
from reportgen.sweep.stored import SCHEMA_VERSION, MemberRecord, Sweep, SweepRecord, now, save
from tests import fixtures

STEPS = (0, 4, 16, 64)
HEIGHT = {0: 0.02, 4: 0.2, 16: 0.5, 64: 0.9}  # of L1H2, by step
TAU = 0.15


def scores(task: str, height: float, layers: int = 3) -> HeadScores:
    """Everything at 0.02 but L1H2; L0H1 has no value. L1H2 beats its null wherever it is above 0.1."""
    values = np.full((layers, 4), 0.02, np.float32)
    values[1, 2], values[0, 1] = height, np.nan
    p = np.where(values > 0.1, 0.01, 1).astype(np.float32)
    p[0, 0] = 0.01  # beats the null, far below the threshold
    return HeadScores(f"relations/score/{task}", f"{task} <score>", values, n=40, p=p, range=(0.0, 1.0),
                      reasons={"L0H1": "inactive head"})  # fmt: skip


def result(height: float, layers: int = 3) -> SuiteResult:
    found = (scores("capital", height, layers), scores("antonym", 0.02, layers))
    sets = (
        HeadSet("relations/capital/score", "Capital heads", ((1, 2),), "Made up", "computed", "score"),
        HeadSet("relations/capital/suppression", "Other heads", ((2, 2),), "Made up", "computed", "suppression"),
    )
    return SuiteResult("relations", found, sets)


def write_run(path: Path, height: float, layers: int = 3) -> None:
    record = fixtures.model_record(layers, content_hash=f"{height:.3f}{layers}")
    with RunWriter(path, fixtures.manifest(record)) as writer:
        writer.store("relations", result(height, layers), SuiteRecord("done", 1, {"tau": TAU}, {}))


def made_up(home: Path, *, family: bool = False) -> Sweep:
    """The sweep, stored; with `family` a second model of another depth beside it."""
    records = []
    for step in STEPS:
        slug = f"train@step-{step}"
        write_run(home / slug, HEIGHT[step])
        records.append(MemberRecord(slug, "train", "", "train", f"step-{step}", step, "done", elapsed_s=1.5))
    records.append(MemberRecord("train@step-99", "train", "", "train", "step-99", 99, "failed", "no <weights>"))
    if family:
        write_run(home / "deep", 0.7, layers=6)
        records.append(MemberRecord("deep", "deep", "", "deep", "", None, "done"))
    record = SweepRecord(SCHEMA_VERSION, "made-up", now(), now(), ["reportgen", "sweep"], "local", ["relations"], [])
    save(home, record, records, 3.0)
    return Sweep.open(home)
