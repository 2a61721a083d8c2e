"""The head sets that one task's circuit hands to every figure of the run: who is in, by which rule, how stably."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from reportgen.scores import Head, HeadSet, head_name
from reportgen.suites.circuits import roles
from reportgen.suites.circuits.circuit import Effects, replicated
from reportgen.suites.circuits.roles import Evidence
from reportgen.suites.circuits.settings import ABLATED, Settings
from reportgen.suites.circuits.tasks import Task
from reportgen.suites.circuits.unseen import Way

Bools = npt.NDArray[np.bool_]
TEMPLATES = "replicated (templates)"  # the rung: the effect is there in both halves of the templates


def legend(task: Task) -> str:
    """Title of the legend of sets computed on this task."""
    return f"Computed on this model ({task.title})"


def source(task: Task) -> str:
    """Who says so."""
    return f"computed: {task.title} on this model"


def head_set(
    task: Task, key: str, label: str, heads: Iterable[Head], rule: str, stability: Mapping[Head, float], same: Bools,
    static: str = "not run", dynamic: str = "not run",
) -> HeadSet:  # fmt: skip
    """A set computed on this task by causal effect; `stability` becomes the markers' opacity.

    same             [layer head] whether the effect is there in both halves of the templates
    static, dynamic  "passed" where the rule asks each member for such a score, too
    """
    members = tuple(heads)
    found = HeadSet(
        key=f"circuits/{task.name}/{key}",
        label=label,
        heads=members,
        legend=legend(task),
        source=source(task),
        rule=rule,
        weights={head_name(*head): stability[head] for head in members},
    )
    if not members:
        return found
    rungs = {"static score": static, "dynamic score": dynamic, "causal effect": "passed", "natural text": "not run"}
    for rung, outcome in rungs.items():
        found = found.judged(rung, dict.fromkeys(members, outcome))
    found = found.judged(TEMPLATES, {head: "passed" if same[head] else "failed" for head in members})
    return replace(found, evidence={**found.evidence, "replicated (random twin)": "not run"})


def direct_sets(found: Evidence, stability: Mapping[Head, float], settings: Settings) -> tuple[HeadSet, ...]:
    """The heads with a direct effect and its named roles; a role nobody has is an empty set."""
    task, heads, words = found.task, found.circuit.heads(), roles.rules(found.task, settings)
    named = {head: roles.direct_role(head, found, settings) for head in heads}
    label = task.mover.label
    wanted = [
        ("direct", "Direct-Effect Heads", "direct", heads),
        (task.mover.key, label, roles.mover(task), having(named, roles.mover(task))),
        ("negative_movers", f"(Negative) {label}", roles.negative(task), having(named, roles.negative(task))),
    ]
    if task.foils:
        key, of_foil = ("subject", "Subject") if task.name == "ioi" else ("foil", "Foil")
        against = having(named, roles.suppressor(task))
        wanted.append((f"{key}_suppressors", f"{of_foil}-Suppressing Heads", roles.suppressor(task), against))
    same = replicated(found.effects, settings.effect_share)
    static = {roles.mover(task), roles.negative(task)}  # roles that need a score read from the weights
    dynamic = static | {roles.suppressor(task)}  # and roles that need attention on the prompts
    return tuple(
        head_set(task, key, words_, members, words[role], stability, same,
                 *("passed" if role in some else "not run" for some in (static, dynamic)))
        for key, words_, role, members in wanted
    )  # fmt: skip


def having(named: Mapping[Head, str], role: str) -> tuple[Head, ...]:
    """The heads with this role."""
    return tuple(head for head, its in named.items() if its == role)


def taking_over(after: Effects, gain: Effects, movers: Sequence[Head], settings: Settings) -> tuple[Head, ...]:
    """Heads that take over when the movers are knocked out; `gain` is of after - before, all per intact gap."""
    with np.errstate(invalid="ignore"):
        member = (after.value >= settings.effect_share) & (gain.value >= settings.effect_share)
        member &= gain.p <= settings.alpha
    for head in movers:
        member[head] = False
    return tuple((layer, head) for layer, head in np.argwhere(member).tolist())


def backup_sets(found: Evidence, gain: Effects, movers: Sequence[Head], settings: Settings) -> tuple[HeadSet, HeadSet]:
    """Those of the heads in `found` that do what a mover does, by attention and writing, and the others."""
    task, heads = found.task, tuple(found.writes)
    percent, gone = f"{settings.effect_share:.0%}", ", ".join(head_name(*head) for head in movers)
    how = ABLATED[settings.ablation]
    rule = (
        f"with the {task.mover.one}s ({gone}) {how} at every position, direct effect >= {percent} of the intact "
        f"gap and larger than before by >= {percent} of it, adjusted p of the gain <= {settings.alpha:g} (sign-flip "
        f"max-T over prompts); {task.mover.one}s excluded"
    )
    stability = {head: float(gain.stability[head]) for head in heads}
    same = replicated(gain, settings.effect_share)
    alike = tuple(head for head in heads if roles.direct_role(head, found, settings) == roles.mover(task))
    others = tuple(head for head in heads if head not in alike)
    as_mover = f"{rule}; with the movers gone {roles.looks_and_writes(task, settings)}"
    return (
        head_set(
            task, "backups", f"Backup {task.mover.label}", alike, as_mover, stability, same, "passed", "passed",
        ),
        head_set(
            task, "taking_over", "Other Heads Taking Over", others, f"{rule}; not the evidence of a {task.mover.one}",
            stability, same,
        ),
    )  # fmt: skip


def unseen_set(
    task: Task, found: tuple[Head, ...], ways: Sequence[Way], settings: Settings, shape: tuple[int, int]
) -> HeadSet:
    """Heads that a circuit lacks though patching gave no reason to take them in."""
    rule = (
        "outside the circuit by patching; added to it, brings the task's metric nearest to the whole model's, with all "
        f"other heads {ABLATED[settings.ablation]}; chosen on either half of the templates"
    )
    passed = all(abs(1 - way.kept[-1]) < abs(1 - way.kept[0]) for way in ways)
    label, everywhere = "Heads That Patching Misses", np.ones(shape, bool)
    its = head_set(task, "unseen", label, found, rule, dict.fromkeys(found, 1.0), everywhere)
    halves = {TEMPLATES: "passed" if passed else "failed"} if found else {}  # of the heads together, never of one
    own = {rung: outcomes for rung, outcomes in its.by_head.items() if rung != TEMPLATES}
    return replace(its, evidence={**its.evidence, **halves}, by_head=own)
