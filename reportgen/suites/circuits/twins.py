"""The same prompts on randomly initialised twins of the model: what effects are where nothing was learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from reportgen.errors import NotApplicable
from reportgen.scores import HeadSet, NotComputed
from reportgen.suites.circuits import runs as runs_
from reportgen.suites.circuits.effects import direct_effects
from reportgen.suites.circuits.runs import Outcome, Runs

if TYPE_CHECKING:
    from reportgen.models.model import Model

RUNG = "replicated (random twin)"


def make(model: Model, count: int, seed: int) -> list[Model]:
    """`count` twins, of this seed and those after it."""
    from reportgen.models.load import random_twin  # the model room is heavy, and only this control needs it

    return [random_twin(model, seed + i) for i in range(count)]


def twins(out: Outcome, runs: Runs, models: Sequence[Model]) -> None:
    """`facts["twin"]`: how well the twins do the task, and the largest direct effect of any of their heads."""
    task, settings = runs.task, runs.settings
    if not models:
        out.not_computed.append(NotComputed(f"{task.title} on a random twin", "switched off (circuits.twins)"))
        return
    gap, accuracy, largest = float(runs.whole.gap.mean()), list[float](), 0.0
    for twin in models:
        its = runs_.start(twin, task, settings, runs.context)
        accuracy.append(float((its.clean.m > 0).float().mean()))
        try:
            each = direct_effects(twin, task, its.clean, its.corrupted, settings.batch, runs.context.progress).effects
        except NotApplicable as reason:
            out.not_computed.append(NotComputed(f"{task.title} on a random twin", str(reason)))
            return
        largest = max(largest, float(np.abs(each.mean(0)).max()) / gap)
    out.facts["twin"] = {
        "count": len(models), "accuracy": float(np.mean(accuracy)), "does_it": max(accuracy) >= settings.min_accuracy,
        "largest": largest,
    }  # fmt: skip
    out.head_sets = [_with_rung(found, out) for found in out.head_sets]


def _with_rung(found: HeadSet, out: Outcome) -> HeadSet:
    """The set with its rung: the twins do not do the task, and each of its heads with a direct effect has a larger one
    than any head of theirs. Heads of later stages act on such heads, which a twin that fails the task does not have."""
    if not found.evidence:
        return found
    twin = out.facts["twin"]
    assert isinstance(twin, dict)
    direct, effect = set(out.stages["direct"]), out.effects["direct"]
    beyond = {head: head not in direct or abs(effect[head]) > float(twin["largest"]) for head in found.heads}
    return found.judged(
        RUNG, {h: "passed" if is_so and not twin["does_it"] else "failed" for h, is_so in beyond.items()}
    )
