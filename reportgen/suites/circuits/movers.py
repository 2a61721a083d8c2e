"""Named roles of the heads in a circuit, and the head sets that overlays draw.

After Wang et al. 2022 (arXiv 2211.00593), sections 3.1-3.4: a name mover attends to the answer's name and copies it, a
negative name mover attends to it and suppresses it, a backup takes over when the name movers are knocked out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.scores import Head, HeadSet, head_name
from reportgen.suites.circuits.circuit import Circuit, Effects, replicated
from reportgen.suites.circuits.suite import Settings
from reportgen.suites.circuits.tasks import Task

Floats = npt.NDArray[np.float32]

MOVER, NEGATIVE, SUPPRESSOR = "name mover", "negative name mover", "subject suppressor"
SUPPORTS, OPPOSES = "other, supports the answer", "other, opposes the answer"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of the heads of one circuit.

    attention     [role layer head] mean attention from END to the task's attended roles; role 0 is the answer's token
    copying       head -> share of names among the k largest logits of their own OV row
    suppression   head -> share among the k smallest
    on_foil       [layer head] mean direct logit attribution to the foil less the mean over the names, or None
    """

    effects: Effects
    circuit: Circuit
    attention: Floats
    copying: Mapping[Head, float]
    suppression: Mapping[Head, float]
    on_foil: Floats | None


def role_of(head: Head, found: Evidence, settings: Settings) -> str:
    """The role of a head of the circuit."""
    answer, *foils = (float(mass) for mass in found.attention[:, head[0], head[1]])
    on_answer = answer >= settings.mover_attention and answer > max(foils)
    on_foil = max(foils) >= settings.mover_attention and max(foils) > answer
    copies = found.copying[head] >= settings.copy_threshold
    suppresses = found.suppression[head] >= settings.copy_threshold
    if found.effects.value[head] > 0:
        if on_answer and copies:
            return MOVER
        lowers = found.on_foil is not None and bool(found.on_foil[head] < 0)
        return SUPPRESSOR if on_foil and lowers else SUPPORTS
    return NEGATIVE if on_answer and suppresses else OPPOSES


def rules(settings: Settings) -> dict[str, str]:
    """Role -> the rule in words."""
    where = f"mean attention from END to IO >= {settings.mover_attention:g} and above that to S1 and to S2"
    names = f">= {settings.copy_threshold:g} of the names stand among the {settings.copy_k}"
    member = (
        f"|direct effect| >= {settings.effect_share:.0%} of the clean-corrupted gap and adjusted p <= "
        f"{settings.alpha:g} (sign-flip max-T over prompts)"
    )
    return {
        "direct": member,
        MOVER: f"{member}; effect > 0; {where}; OV copying: {names} largest logits of their own OV row",
        NEGATIVE: f"{member}; effect < 0; {where}; OV suppression: {names} smallest logits of their own OV row",
        SUPPRESSOR: f"{member}; effect > 0; mean attention from END to S1 or S2 >= {settings.mover_attention:g} and "
        "above that to IO; direct logit attribution to S, less the mean over all names, below 0",
    }


def circuit_sets(task: Task, found: Evidence, settings: Settings) -> tuple[HeadSet, ...]:
    """The whole circuit and its named roles as head sets; a role nobody has is an empty set."""
    heads, words = found.circuit.heads(), rules(settings)
    roles = {head: role_of(head, found, settings) for head in heads}
    named = (
        ("direct", "Direct-Effect Heads", "direct", heads),
        ("name_movers", "Name-Mover Heads", MOVER, _having(roles, MOVER)),
        ("negative_movers", "(Negative) Name-Mover Heads", NEGATIVE, _having(roles, NEGATIVE)),
        ("subject_suppressors", "Subject-Suppressing Heads", SUPPRESSOR, _having(roles, SUPPRESSOR)),
    )
    same = replicated(found.effects, settings.effect_share)
    return tuple(
        HeadSet(
            key=f"circuits/{task.name}/{name}",
            label=label,
            heads=members,
            legend=legend(task),
            source=source(task),
            rule=words[role],
            weights={head_name(*h): float(found.effects.stability[h]) for h in members},
            evidence=ladder(members, same, static="passed" if role in (MOVER, NEGATIVE) else "not run"),
        )
        for name, label, role, members in named
    )


def _having(roles: Mapping[Head, str], role: str) -> tuple[Head, ...]:
    return tuple(head for head, its in roles.items() if its == role)


def legend(task: Task) -> str:
    """Title of the legend of sets computed on this task."""
    return f"Computed on this model ({task.title})"


def source(task: Task) -> str:
    """Who says so."""
    return f"computed: {task.title} on this model"


def ladder(heads: Sequence[Head], same: npt.NDArray[np.bool_], static: str) -> dict[str, str]:
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


def backup_set(task: Task, after: Effects, gain: Effects, movers: Iterable[Head], settings: Settings) -> HeadSet:
    """Heads that take over when the name movers are knocked out; `gain` is of after - before, all per intact gap."""
    member = (after.value >= settings.effect_share) & (gain.value >= settings.effect_share) & (gain.p <= settings.alpha)
    for head in movers:
        member[head] = False
    heads = tuple((layer, head) for layer, head in np.argwhere(member).tolist())
    percent = f"{settings.effect_share:.0%}"
    gone = ", ".join(head_name(*head) for head in movers)
    return HeadSet(
        key=f"circuits/{task.name}/backups",
        label="Backup Name-Mover Heads",
        heads=heads,
        legend=legend(task),
        source=source(task),
        rule=f"with the name movers ({gone}) mean-ablated at every position, direct effect >= {percent} of the intact "
        f"gap and larger than before by >= {percent} of it, adjusted p of the gain <= {settings.alpha:g} (sign-flip "
        "max-T over prompts); name movers excluded",
        weights={head_name(*h): float(gain.stability[h]) for h in heads},
        evidence=ladder(heads, replicated(gain, settings.effect_share), static="not run"),
    )
