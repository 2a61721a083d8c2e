"""A user's suite in one file that waits for a file to appear, so that a test can stop it in the middle."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from reportgen.suites.base import Context, Measure, Suite

HERE = __name__


@dataclass(frozen=True)
class Settings:
    gate: str = field(default="", metadata={"help": "file that is waited for"})


def score(model, settings, context: Context):  # type: ignore[no-untyped-def]
    import numpy as np

    from reportgen.scores import HeadScores, SuiteResult

    context.progress(0, 1, "waiting")
    while settings.gate and not Path(settings.gate).exists():
        time.sleep(0.01)
    values = np.stack([model.W_O(layer).norm(dim=(1, 2)).cpu().numpy() for layer in range(model.record.n_layers)])
    norm = HeadScores("waiting/norm/all", "O norm", values, n=1, no_null="a norm has no null", range=(0, float("inf")))
    return SuiteResult("waiting", (norm,))


def figures(result, view):  # type: ignore[no-untyped-def]
    return []


SUITE = Suite(
    name="waiting",
    title="O norms",
    summary="The Frobenius norm of W_O.",
    version=1,
    settings=Settings,
    score=f"{HERE}:score",
    figures=f"{HERE}:figures",
    measures=(Measure("norm", "O norm", "|| W_O ||", "How much a head can write."),),
)
