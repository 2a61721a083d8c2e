"""What a head of a circuit is called, by evidence, and the rule in words.

After Wang et al. 2022 (arXiv 2211.00593), sections 3.1-3.4: a name mover attends to the answer's name and copies it, a
negative name mover attends to it and suppresses it, an S-inhibition head attends to the subject and acts through the
movers' queries; duplicate-token, induction and previous-token heads feed those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.scores import Head
from reportgen.suites.circuits.circuit import Circuit, Effects
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks import Task
from reportgen.suites.circuits.writing import words_for

Floats = npt.NDArray[np.float32]

SUPPORTS, OPPOSES = "other, supports the answer", "other, opposes the answer"
INHIBITION, OTHER_PATH = "S-inhibition head", "other"
LOOKS = {"duplicate": "duplicate-token head", "induction": "induction head", "previous": "previous-token head"}
_WHERE = {
    "duplicate": "a repeated word to its last earlier copy",
    "induction": "a repeated word to the token after its last earlier copy",
    "previous": "the token after the first copy of a repeated word back to that copy",
}


def mover(task: Task) -> str:
    """The task's word for a head that writes the answer."""
    return task.mover.one


def negative(task: Task) -> str:
    """The task's word for a head that writes against the answer."""
    return f"negative {task.mover.one}"


def suppressor(task: Task) -> str:
    """The task's word for a head that writes against the foil."""
    return "subject suppressor" if task.name == "ioi" else "foil suppressor"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of the heads with a direct effect.

    attention    [role layer head] mean attention from END to the task's attended roles; role 0 is the answer's token
    writes       head -> share of source tokens for which its OV circuit writes the answer
    suppresses   head -> the same with the signs turned
    on_foil      [layer head] mean direct logit attribution to the foil less the mean over the task's words, or None
    """

    task: Task
    effects: Effects
    circuit: Circuit
    attention: Floats
    writes: Mapping[Head, float]
    suppresses: Mapping[Head, float]
    on_foil: npt.NDArray[np.floating] | None

    def looks(self, head: Head, settings: Settings) -> tuple[bool, bool]:
        """Whether the head attends from END to the answer's token above all, and to a foil's above all."""
        mass = {role: float(self.attention[i, head[0], head[1]]) for i, role in enumerate(self.task.attended)}
        if not mass:
            return False, False
        first = max(mass, key=lambda role: mass[role])
        enough = mass[first] >= settings.mover_attention
        return enough and first == self.task.attended[0], enough and first in self.task.foils


def direct_role(head: Head, found: Evidence, settings: Settings) -> str:
    """The role of a head with a direct effect."""
    on_answer, on_foil = found.looks(head, settings)
    if found.effects.value[head] > 0:
        if on_answer and found.writes[head] >= settings.copy_threshold:
            return mover(found.task)
        lowers = found.on_foil is not None and bool(found.on_foil[head] < 0)
        return suppressor(found.task) if on_foil and lowers else SUPPORTS
    suppresses = on_answer and found.suppresses[head] >= settings.copy_threshold
    return negative(found.task) if suppresses else OPPOSES


def query_role(head: Head, found: Evidence, settings: Settings) -> str:
    """The role of a head that acts through the movers' queries."""
    on_foil = found.looks(head, settings)[1]
    return INHIBITION if found.task.name == "ioi" and on_foil else OTHER_PATH


def feeding_role(head: Head, looks: Mapping[str, Floats], writes: float, settings: Settings) -> str:
    """The role of a head that acts through the inputs of those: where it looks most, from 0.2 of its attention on.

    An induction head by attention alone is prefix matching: it must write what it reads, too (`writes`).
    """
    mass = {kind: float(grid[head]) for kind, grid in looks.items()}
    if writes < settings.copy_threshold:
        mass.pop("induction", None)
    kind = max(mass, key=lambda name: mass[name], default="")
    return LOOKS[kind] if kind and mass[kind] >= settings.mover_attention else OTHER_PATH


def looks_and_writes(task: Task, settings: Settings) -> str:
    """What a mover does beside its effect, in words."""
    return f"{_where(task, settings)}; {_what(task, settings)}"


def _where(task: Task, settings: Settings) -> str:
    answer = task.attended[0] if task.attended else "the answer's token"
    return f"mean attention from END to {answer} >= {settings.mover_attention:g} and above that to any other role"


def _what(task: Task, settings: Settings) -> str:
    ov_rule = words_for(task.maps, settings.copy_k)
    return f"for >= {settings.copy_threshold:g} of the tokens that can stand there, {ov_rule}"


def rules(task: Task, settings: Settings) -> dict[str, str]:
    """Role, or stage, -> the rule in words."""
    share, least = f"{settings.effect_share:.0%}", f"{settings.mover_attention:g}"
    size = f">= {share} of the clean-corrupted gap and adjusted p <= {settings.alpha:g} (sign-flip max-T over prompts)"
    if settings.rule == "merullo":
        size = "among the largest 2 % of all heads, at least three"
    member = f"|direct effect| {size}"
    where, writes = _where(task, settings), _what(task, settings)
    found = {
        "direct": member,
        mover(task): f"{member}; effect > 0; {where}; {writes}",
        negative(task): f"{member}; effect < 0; {where}; the same of the OV row with its sign turned",
        suppressor(
            task
        ): f"{member}; effect > 0; mean attention from END to {_or(task.foils)} >= {least} and above that "
        "to any other role; direct logit attribution to the foil, less the mean over all words, below 0",
        "through_movers": f"|effect through the movers' inputs| {size}; path patching in two runs",
        "through_those": f"|effect through the inputs of the heads that act on the movers| {size}; path patching in "
        "two runs",
        INHIBITION: f"|effect through the movers' queries| {size}; mean attention from END to {_or(task.foils)} >= "
        f"{least} and above that to any other role",
    }
    for kind, role in LOOKS.items():
        copies = f"; OV copying >= {settings.copy_threshold:g}" if kind == "induction" else ""
        found[role] = f"acts through later heads' inputs; mean attention from {_WHERE[kind]} >= {least}{copies}"
    return found


def _or(names: tuple[str, ...]) -> str:
    return " or ".join(names) if names else "a foil's token"
