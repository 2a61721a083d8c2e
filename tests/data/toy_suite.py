"""A whole suite in one file: the norm of each head's W_V W_O. Settings make it fail or refuse on purpose."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from reportgen.errors import NotApplicable
from reportgen.suites.base import Context, Measure, Suite

HERE = __name__


@dataclass(frozen=True)
class Settings:
    scale: float = field(default=1.0, metadata={"help": "multiplies the norm"})
    mood: str = field(default="fine", metadata={"help": "fine, broken or unwilling"})
    log: str = field(default="", metadata={"help": "file that gets one line each time the suite really runs"})


def score(model, settings, context: Context):  # type: ignore[no-untyped-def]
    import numpy as np

    from reportgen.scores import HeadScores, SuiteResult

    if settings.log:
        with Path(settings.log).open("a") as file:
            file.write(f"{os.getpid()}\n")
    if settings.mood == "broken":
        raise ZeroDivisionError("the suite's own bug\nover two lines")
    if settings.mood == "unwilling":
        raise NotApplicable("this model has no such thing")
    rows = []
    for layer in range(model.record.n_layers):
        W_O = model.W_O(layer)  # [head d_head d_model]
        W_V = model.W_V(layer)  # [n_kv d_model d_head]
        ov = W_V.repeat_interleave(len(W_O) // len(W_V), dim=0) @ W_O  # [head d_model d_model]
        rows.append((ov.norm(dim=(1, 2)) * settings.scale).cpu().numpy())
        context.progress(layer + 1, model.record.n_layers, "layers")
    values = np.stack(rows).astype(np.float32)
    norm = HeadScores("toy/norm/all", "OV norm", values, n=1, no_null="a norm has no null", range=(0, float("inf")))
    return SuiteResult("toy", (norm,))


def figures(result, view):  # type: ignore[no-untyped-def]
    return []


SUITE = Suite(
    name="toy",
    title="OV norms",
    summary="The Frobenius norm of W_V W_O.",
    version=1,
    settings=Settings,
    score=f"{HERE}:score",
    figures=f"{HERE}:figures",
    measures=(Measure("norm", "OV norm", "|| W_V W_O ||", "How much a head can write."),),
)
