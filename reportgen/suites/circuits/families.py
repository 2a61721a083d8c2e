"""Total effects by family of templates: the task's own, and those in other words that no head was picked on.

An interval over one's own templates says nothing of others: it resamples what was written in one style. So the total
effects of the circuit's heads, and of those with the largest ones, are measured on the rephrased prompts too. A head
whose effect only its own templates have is named as such, and no set that holds it is a claim. Where the other prompts
are too few to tell, that is said instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.scores import Cell, Column, Head, HeadSet, NotComputed, Table, head_name
from reportgen.suites.circuits import heads
from reportgen.suites.circuits.circuit import Effects, replicated
from reportgen.suites.circuits.curve import by_size
from reportgen.suites.circuits.runs import Outcome, Runs
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.stability import Again
from reportgen.suites.circuits.tables import GAP
from reportgen.suites.circuits.tasks import Task
from reportgen.suites.circuits.totals import total_effects

Bools = npt.NDArray[np.bool_]
TOP = 10  # heads of largest total effect that are tried beside the circuit's
RUNG = "replicated (other words)"
BOTH, HERE, THERE = "both families", "these templates only", "other words only"
UNSETTLED, NEITHER = "these templates, the others too few to tell", "neither"


@dataclass(frozen=True, eq=False)
class Families:
    """Total effects on the task's own templates and in other words; the latter NaN for heads that were not tried.

    tried  heads, the largest own effect first
    """

    own: Effects
    other: Effects
    tried: tuple[Head, ...]
    n_other: int

    def where(self, head: Head, settings: Settings) -> str:
        """Which family has the head's effect: of the rule's size, beyond the null, in other words with the own sign.

        The own templates alone have it only where it is smaller in other words than here, beyond both intervals.
        """
        here, there = _has(self.own, head, settings), _has(self.other, head, settings)
        there = there and np.sign(self.own.value[head]) == np.sign(self.other.value[head])
        if here and not there:
            return HERE if self._smaller_there(head) else UNSETTLED
        return {(True, True): BOTH, (False, True): THERE}.get((here, there), NEITHER)

    def _smaller_there(self, head: Head) -> bool:
        """Whether the difference of the two effects, towards the own sign, has a 95 % interval above 0 (MOVER; Zou and
        Donner 2008): the two families share no prompt."""
        a, b = self.own, self.other
        up = a.value[head] > 0
        near = a.value[head] - a.low[head] if up else a.high[head] - a.value[head]
        far = b.high[head] - b.value[head] if up else b.value[head] - b.low[head]
        apart = abs(a.value[head]) - b.value[head] * np.sign(a.value[head])
        return bool(apart > np.hypot(near, far))


def _has(effects: Effects, head: Head, settings: Settings) -> bool:
    return bool(abs(effects.value[head]) >= settings.effect_share and effects.p[head] <= settings.alpha)


def families(out: Outcome, runs: Runs, own: Effects, again: Again | None) -> Families | None:
    """Measure the second family: facts, table, `out.one_family`.

    own  exact total effects, NaN where only estimated. None, with the reason in `not_computed`, without other words.
    """
    task, settings = runs.task, runs.settings
    if again is None:
        what = f"total effects of {task.title} in other words"
        out.not_computed.append(NotComputed(what, "the task was not measured in other words"))
        return None
    top = [head for head in by_size(own.value)[:TOP] if np.isfinite(own.value[head])]
    wanted = np.zeros(runs.shape, bool)
    for head in (*top, *out.members()):
        wanted[head] = np.isfinite(own.value[head])
    tried = tuple(head for head in by_size(own.value) if wanted[head])
    of = again.runs.sample(settings.patch_prompts)
    raw = total_effects(again.runs.batches(of), wanted, denoising=False, progress=runs.context.progress).noising
    found = Families(own, again.runs.summarise(raw, of, family=len(tried)), tried, len(of.rows))
    where = {head: found.where(head, settings) for head in tried}
    out.one_family = tuple(sorted(head for head, its in where.items() if its == HERE))
    out.facts["families"] = {
        "n": found.n_other, "templates": len(again.runs.task.templates), "tried": len(tried),
        "both": [head_name(*head) for head, its in where.items() if its == BOTH],
        "unsettled": [head_name(*head) for head, its in where.items() if its == UNSETTLED],
        "one_only": {head_name(*head): _pair(found, head) for head in out.one_family},
    }  # fmt: skip
    out.tables.append(_table(task, found, where, out.members(), settings))
    return found


def rungs(out: Outcome, runs: Runs, found: Families | None) -> None:
    """The rung of every set of the task, and a set of the heads that one family alone has."""
    if found is None:
        return
    where = {head: found.where(head, runs.settings) for head in found.tried}
    out.head_sets = [_with_rung(s, where) for s in out.head_sets]
    if out.one_family:
        out.head_sets.append(_one_family(runs.task, out.one_family, found.own, runs.settings))


def _pair(found: Families, head: Head) -> list[list[float]]:
    """[value, low, high] on the task's templates, and in other words."""
    return [[float(grid[head]) for grid in (e.value, e.low, e.high)] for e in (found.own, found.other)]


def _with_rung(heads_: HeadSet, where: dict[Head, str]) -> HeadSet:
    """The set with its rung: failed with a head that one family alone has, passed where both have all of them."""
    if not heads_.evidence:
        return heads_
    said = {HERE: "failed", BOTH: "passed"}
    return heads_.judged(RUNG, {head: said.get(where.get(head, ""), "not run") for head in heads_.heads})


def _one_family(task: Task, some: Sequence[Head], own: Effects, settings: Settings) -> HeadSet:
    rule = (
        f"|total effect| >= {settings.effect_share:.0%} of the gap and adjusted p <= {settings.alpha:g} on the task's "
        "own templates, not on those in other words, and smaller there (95 % interval of the difference above 0)"
    )
    share, same = {head: float(own.stability[head]) for head in some}, replicated(own, settings.effect_share)
    return heads.head_set(task, "one_family", "On These Templates Only", some, rule, share, same).judged(
        RUNG, dict.fromkeys(some, "failed")
    )


def _table(task: Task, found: Families, where: dict[Head, str], members: Sequence[Head], settings: Settings) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            head_name(*head), head in members,
            *(float(grid[head]) for e in (found.own, found.other) for grid in (e.value, e.low, e.high, e.p)),
            its,
        )
        for head, its in where.items()
    )  # fmt: skip
    columns = [Column("head"), Column("in the circuit")]
    for family in ("total effect", "in other words"):
        columns += [Column(family, GAP), Column("low"), Column("high"), Column("p", "adjusted", 4)]
    return Table(
        key=f"circuits/{task.name}/families",
        title=f"{task.title}: total effects on two families of templates",
        columns=(*columns, Column("effect in")),
        rows=rows,
        caption=f"The circuit's heads and the {TOP} of largest total effect. In other words: {found.n_other} prompts "
        "of templates that no head was picked on; p is adjusted over the heads of this table. Effect in: |effect| >= "
        f"{settings.effect_share:.0%} of the gap, adjusted p <= {settings.alpha:g}, in other words with the same sign; "
        "these templates only: smaller in other words, the 95 % interval of the difference above 0.",
    )
