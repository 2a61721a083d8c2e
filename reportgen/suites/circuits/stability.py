"""Are the same heads selected on the task in other words? Templates that no other measurement sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reportgen.errors import NotApplicable
from reportgen.scores import Head, NotComputed, head_name
from reportgen.suites.circuits import runs as runs_
from reportgen.suites.circuits.circuit import Effects
from reportgen.suites.circuits.effects import direct_effects
from reportgen.suites.circuits.runs import Outcome, Runs
from reportgen.suites.circuits.tasks import BUILDERS


@dataclass(frozen=True, eq=False)
class Again:
    """The task in other words: its runs, and member -> share of bootstrap draws over them in which it is selected with
    the same sign."""

    runs: Runs
    shares: Mapping[Head, float]


def rephrased(out: Outcome, runs: Runs, effects: Effects, members: tuple[Head, ...]) -> Again | None:
    """Direct effects on the task in other words.

    None, with the reason in `not_computed`, where the task has no other words or the model does not do it in them.
    """
    measured = _measure(out, runs)
    if isinstance(measured, str):
        out.not_computed.append(NotComputed(f"heads selected on {runs.task.title} in other words", measured))
        return None
    again, found = measured
    share = runs.settings.effect_share
    shares = {
        head: float(found.stability[head]) if np.sign(found.value[head]) == np.sign(effects.value[head]) else 0.0
        for head in members
    }
    facts = out.facts["rephrased"]
    assert isinstance(facts, dict)
    sizes = np.abs(found.value)
    facts["again"] = [head_name(*head) for head in members if sizes[head] >= share and shares[head] > 0.5]
    facts["new"] = [
        head_name(int(layer), int(head))
        for layer, head in np.argwhere((sizes >= share) & (found.p <= runs.settings.alpha))
        if (int(layer), int(head)) not in members
    ]
    return Again(again, shares)


def _measure(out: Outcome, runs: Runs) -> tuple[Runs, Effects] | str:
    """Runs and direct effects of the rephrased prompts, or why there are none."""
    task, settings = runs.task, runs.settings
    if settings.rephrased == 0:
        return "switched off (circuits.rephrased)"
    if task.user:
        return "the tasks file has no second wording"
    other = BUILDERS[task.name](runs.model.tokens, settings.rephrased, runs.context.seed, rephrased=True)
    if len(other.pairs) < settings.min_pairs:
        return f"{len(other.pairs)} usable prompt pairs, at least {settings.min_pairs} are needed"
    again = runs_.start(runs.model, other, settings, runs.context)
    accuracy = float((again.clean.m > 0).float().mean())
    out.facts["rephrased"] = {"n": len(other.pairs), "templates": list(other.templates), "accuracy": accuracy}
    if accuracy < settings.min_accuracy or again.whole.gap.mean() <= 0:
        return f"in other words the model does not do it: the answer stands above its foil on {accuracy:.0%}"
    progress = runs.context.progress
    try:
        each = direct_effects(runs.model, other, again.clean, again.corrupted, settings.batch, progress).effects
    except NotApplicable as reason:
        return str(reason)
    return again, again.summarise(each)


def combined(draws: Mapping[Head, float], other_words: Mapping[Head, float] | None) -> dict[Head, float]:
    """What markers show as opacity: the share of resamplings, averaged with that in other words where there is one."""
    return {h: share if other_words is None else (share + other_words[h]) / 2 for h, share in draws.items()}
