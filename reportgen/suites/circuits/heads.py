"""The head sets that one task's circuit hands to every figure of the run: who is in, by which rule, how stably."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from reportgen.scores import Head, HeadSet, head_name
from reportgen.suites.circuits import roles
from reportgen.suites.circuits.circuit import Effects, replicated
from reportgen.suites.circuits.roles import Evidence
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks import Task

Bools = npt.NDArray[np.bool_]


def legend(task: Task) -> str:
    """Title of the legend of sets computed on this task."""
    return f"Computed on this model ({task.title})"


def source(task: Task) -> str:
    """Who says so."""
    return f"computed: {task.title} on this model"


def head_set(
    task: Task, key: str, label: str, heads: Iterable[Head], rule: str, stability: Mapping[Head, float],
    evidence: Mapping[str, str],
) -> HeadSet:  # fmt: skip
    """A set computed on this task; `stability` becomes the markers' opacity."""
    members = tuple(heads)
    return HeadSet(
        key=f"circuits/{task.name}/{key}",
        label=label,
        heads=members,
        legend=legend(task),
        source=source(task),
        rule=rule,
        weights={head_name(*head): stability[head] for head in members},
        evidence=evidence if members else {},
    )


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
    return tuple(
        head_set(task, key, words_, members, words[role], stability,
                 ladder(members, same, static="passed" if role in static else "not run"))
        for key, words_, role, members in wanted
    )  # fmt: skip


def having(named: Mapping[Head, str], role: str) -> tuple[Head, ...]:
    """The heads with this role."""
    return tuple(head for head, its in named.items() if its == role)


def ladder(heads: Sequence[Head], same: Bools, static: str = "not run") -> dict[str, str]:
    """The rungs of the evidence ladder for a set picked by causal effect."""
    if not heads:
        return {}
    return {
        "static score": static,
        "dynamic score": "not run",
        "causal effect": "passed",
        "natural text": "not run",
        "replicated (templates)": "passed" if all(bool(same[head]) for head in heads) else "failed",
        "replicated (random twin)": "not run",
    }


def backup_set(task: Task, after: Effects, gain: Effects, movers: Sequence[Head], settings: Settings) -> HeadSet:
    """Heads that take over when the movers are knocked out; `gain` is of after - before, all per intact gap."""
    with np.errstate(invalid="ignore"):
        member = (after.value >= settings.effect_share) & (gain.value >= settings.effect_share)
        member &= gain.p <= settings.alpha
    for head in movers:
        member[head] = False
    heads = tuple((layer, head) for layer, head in np.argwhere(member).tolist())
    percent, gone = f"{settings.effect_share:.0%}", ", ".join(head_name(*head) for head in movers)
    rule = (
        f"with the {task.mover.one}s ({gone}) mean-ablated at every position, direct effect >= {percent} of the intact "
        f"gap and larger than before by >= {percent} of it, adjusted p of the gain <= {settings.alpha:g} (sign-flip "
        f"max-T over prompts); {task.mover.one}s excluded"
    )
    stability = {head: float(gain.stability[head]) for head in heads}
    evidence = ladder(heads, replicated(gain, settings.effect_share))
    return head_set(task, "backups", f"Backup {task.mover.label}", heads, rule, stability, evidence)
