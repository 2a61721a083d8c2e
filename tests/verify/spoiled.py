"""Stored runs changed as a forger, another version or another machine would have them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np

from reportgen.manifest import SuiteRecord
from reportgen.runfolder import Run, RunWriter
from reportgen.scores import SuiteResult

SUITE = "attention"


def edited(run: Run, change: Callable[[SuiteResult], SuiteResult]) -> Run:
    """The run with another result, stored as a forger would: digests and all."""
    record = run.manifest.suites[SUITE]
    with RunWriter(run.path, run.manifest) as writer:
        writer.store(SUITE, change(run.result(SUITE)), record)
    return Run.open(run.path)


def rewritten(run: Run, **changes: object) -> Run:
    """The run with another manifest."""
    with RunWriter(run.path, run.manifest) as writer:
        writer.save(msgspec.structs.replace(run.manifest, **changes))
    return Run.open(run.path)


def with_record(run: Run, **changes: object) -> Run:
    record: SuiteRecord = msgspec.structs.replace(run.manifest.suites[SUITE], **changes)
    return rewritten(run, suites={SUITE: record})


def one_higher(result: SuiteResult) -> SuiteResult:
    """The first score's L2H3 a thousandth higher."""
    score = result.scores[0]
    values = score.values.copy()
    values[2, 3] += np.float32(0.001)
    return replace(result, scores=(replace(score, values=values), *result.scores[1:]))


def raised(by: float) -> Callable[[SuiteResult], SuiteResult]:
    """L2H3 of the first score higher by a share of its largest value."""

    def change(result: SuiteResult) -> SuiteResult:
        score = result.scores[0]
        values = score.values.copy()
        values[2, 3] += np.float32(by * np.abs(score.values).max())
        return replace(result, scores=(replace(score, values=values), *result.scores[1:]))

    return change
