"""Do a circuit's effects replicate: on rephrased prompts, in random twins of the model, in the circuits of other tasks.

Reuse across tasks follows Merullo et al. 2023 (arXiv 2310.08744); what is shared by chance: as many heads per layer as
each circuit has there, drawn within the layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from reportgen.aliases import Bools
from reportgen.errors import NotApplicable
from reportgen.scores import Cell, Column, Head, HeadSet, NotComputed, Table, head_name
from reportgen.stats import holm, overlap_by_chance
from reportgen.suites.base import Context
from reportgen.suites.circuits.facts import Estimate, GroupFacts, PairFacts, Rephrased, ReuseFacts
from reportgen.suites.circuits.facts import Families as FamilyFacts
from reportgen.suites.circuits.facts import Twin as TwinFacts
from reportgen.suites.circuits.scoring import results
from reportgen.suites.circuits.scoring import task_runs as runs_
from reportgen.suites.circuits.scoring.circuit import Effects, replicated
from reportgen.suites.circuits.scoring.effects import direct_effects, total_effects
from reportgen.suites.circuits.scoring.faithfulness import by_size
from reportgen.suites.circuits.scoring.results import GAP
from reportgen.suites.circuits.scoring.task_runs import Runs, TaskOutcome
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks import BUILDERS
from reportgen.suites.circuits.tasks.task import Task
from reportgen.suites.twins import random_twins

if TYPE_CHECKING:
    from reportgen.models.model import Model


# Total effects by family of templates: the task's own, and rephrased ones that no head was selected on.
#
# An interval over one's own templates says nothing of others: it resamples what was written in one style. So the total
# effects of the circuit's heads, and of those with the largest ones, are measured on the rephrased prompts too. A head
# whose effect only its own templates have is named as such, and no set that holds it is a claim. Where the other
# prompts are too few to tell, that is said instead.

TOP = 10  # heads of largest total effect that are tried beside the circuit's
FAMILY_RUNG = "replicated (other words)"
BOTH, HERE, THERE = "both families", "these templates only", "other words only"
UNSETTLED, NEITHER = "these templates, the others too few to tell", "neither"


@dataclass(frozen=True, eq=False)
class Families:
    """Total effects on the task's own and on rephrased templates; the latter NaN for heads that were not tried.

    tried  heads, the largest own effect first
    """

    own: Effects
    other: Effects
    tried: tuple[Head, ...]
    n_other: int

    def where(self, head: Head, settings: Settings) -> str:
        """Which family has the head's effect: of the rule's size, beyond the null, with the same sign when rephrased.

        Only the own templates have it if it is smaller when rephrased than here, beyond both intervals.
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


def by_family(out: TaskOutcome, runs: Runs, own: Effects, again: Again | None) -> Families | None:
    """Measure the second family: facts, table, `out.one_family`.

    own  exact total effects, NaN where only estimated. None, with the reason in `not_computed`, without other words.
    """
    task, settings = runs.task, runs.settings
    if again is None:
        what = f"total effects of {task.title}, rephrased"
        out.not_computed.append(NotComputed(what, "the task was not measured on rephrased prompts"))
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
    out.facts.families = FamilyFacts(
        n=found.n_other, templates=len(again.runs.task.templates), tried=len(tried),
        both=[head_name(*head) for head, its in where.items() if its == BOTH],
        unsettled=[head_name(*head) for head, its in where.items() if its == UNSETTLED],
        one_only={head_name(*head): _pair(found, head) for head in out.one_family},
    )  # fmt: skip
    out.tables.append(_table(task, found, where, out.members(), settings))
    return found


def rungs(out: TaskOutcome, runs: Runs, found: Families | None) -> None:
    """The rung of every set of the task, and a set of the heads that one family alone has."""
    if found is None:
        return
    where = {head: found.where(head, runs.settings) for head in found.tried}
    out.head_sets = [_with_family_rung(s, where) for s in out.head_sets]
    if out.one_family:
        out.head_sets.append(_one_family(runs.task, out.one_family, found.own, runs.settings))


def _pair(found: Families, head: Head) -> list[Estimate]:
    """(value, low, high) on the task's templates, and in other words."""
    return [(float(e.value[head]), float(e.low[head]), float(e.high[head])) for e in (found.own, found.other)]


def _with_family_rung(heads_: HeadSet, where: dict[Head, str]) -> HeadSet:
    """The set with its rung: failed with a head that one family alone has, passed where both have all of them."""
    if not heads_.evidence:
        return heads_
    said = {HERE: "failed", BOTH: "passed"}
    return heads_.judged(FAMILY_RUNG, {head: said.get(where.get(head, ""), "not run") for head in heads_.heads})


def _one_family(task: Task, some: Sequence[Head], own: Effects, settings: Settings) -> HeadSet:
    rule = (
        f"|total effect| >= {settings.effect_share:.0%} of the gap and adjusted p <= {settings.alpha:g} on the task's "
        "own templates, not on rephrased ones, and smaller there (95 % interval of the difference above 0)"
    )
    share, same = {head: float(own.stability[head]) for head in some}, replicated(own, settings.effect_share)
    return results.head_set(task, "one_family", "On These Templates Only", some, rule, share, same).judged(
        FAMILY_RUNG, dict.fromkeys(some, "failed")
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
        "of templates that no head was selected on; p is adjusted over the heads of this table. Effect in: |effect| >= "
        f"{settings.effect_share:.0%} of the gap, adjusted p <= {settings.alpha:g}, in other words with the same sign; "
        "these templates only: smaller in other words, the 95 % interval of the difference above 0.",
    )


# Are the same heads selected on rephrased prompts? Templates that no other measurement uses.


@dataclass(frozen=True, eq=False)
class Again:
    """The rephrased task: its runs, and member -> share of bootstrap draws over them in which it is selected with
    the same sign."""

    runs: Runs
    shares: Mapping[Head, float]


def rephrased(out: TaskOutcome, runs: Runs, effects: Effects, members: tuple[Head, ...]) -> Again | None:
    """Direct effects on the rephrased task.

    None, with the reason in `not_computed`, where the task has no other words or the model does not do it in them.
    """
    measured = _measure(out, runs, members)
    if isinstance(measured, str):
        out.not_computed.append(NotComputed(f"heads selected on {runs.task.title}, rephrased", measured))
        return None
    again, found = measured
    share = runs.settings.effect_share
    shares = {
        head: float(found.stability[head]) if np.sign(found.value[head]) == np.sign(effects.value[head]) else 0.0
        for head in members
    }
    facts, sizes = out.facts.rephrased or Rephrased(), np.abs(found.value)
    facts.again = [head_name(*head) for head in members if sizes[head] >= share and shares[head] > 0.5]
    facts.new = [
        head_name(int(layer), int(head))
        for layer, head in np.argwhere((sizes >= share) & (found.p <= runs.settings.alpha))
        if (int(layer), int(head)) not in members
    ]
    return Again(again, shares)


def _measure(out: TaskOutcome, runs: Runs, members: tuple[Head, ...]) -> tuple[Runs, Effects] | str:
    """Runs and direct effects of the rephrased prompts, or why there are none."""
    task, settings = runs.task, runs.settings
    if settings.rephrased == 0:
        return "switched off (circuits.rephrased)"
    if task.user:
        return "the tasks file has no rephrased prompts"
    other = BUILDERS[task.name](runs.model.tokens, settings.rephrased, runs.context.seed, rephrased=True)
    if len(other.pairs) < settings.min_pairs:
        return f"{len(other.pairs)} usable prompt pairs, at least {settings.min_pairs} are needed"
    again = runs_.start(runs.model, other, settings, runs.context)
    accuracy = float((again.clean.m > 0).float().mean())
    out.facts.rephrased = told = Rephrased(n=len(other.pairs), templates=list(other.templates), accuracy=accuracy)
    if accuracy < settings.min_accuracy or again.whole.gap.mean() <= 0:
        return f"the model does not solve it rephrased: the answer is above its foil on {accuracy:.0%}"
    progress, most = runs.context.progress, settings.direct_again
    own = grid(members, runs.shape)
    try:
        each = direct_effects(runs.model, other, again.clean, again.corrupted, progress, most, also=own).effects
    except NotApplicable as reason:
        return str(reason)
    told.tried = int(np.isfinite(each[0]).sum())
    return again, again.summarise(each)


def combined(draws: Mapping[Head, float], other_words: Mapping[Head, float] | None) -> dict[Head, float]:
    """Opacity of markers: the share of resamples, averaged with that on rephrased prompts if there is one."""
    return {h: share if other_words is None else (share + other_words[h]) / 2 for h, share in draws.items()}


# The same prompts on randomly initialised twins of the model: what effects are where nothing was learnt.

TWIN_RUNG = "replicated (random twin)"


def on_twins(model: Model, done: Sequence[tuple[Task, TaskOutcome]], settings: Settings, context: Context) -> None:
    """`facts.twin` of every task (how well twins do it, the largest direct effect of their heads) and the sets' rung.

    One twin at a time, in memory beside the model alone.
    """
    if not settings.twins:
        for task, out in done:
            out.not_computed.append(NotComputed(f"{task.title} on a random twin", "switched off (circuits.twins)"))
        return
    found: dict[str, list[tuple[float, float]]] = {task.name: [] for task, _ in done}
    failed: dict[str, str] = {}
    for twin in random_twins(model, range(context.seed, context.seed + settings.twins) if done else ()):
        for task, _ in done:
            try:
                found[task.name].append(_on_twin(twin, task, settings, context))
            except NotApplicable as reason:
                failed[task.name] = str(reason)
    for task, out in done:
        if task.name in failed:
            out.not_computed.append(NotComputed(f"{task.title} on a random twin", failed[task.name]))
            continue
        accuracy, largest = zip(*found[task.name], strict=True)
        made = TwinFacts(
            count=settings.twins, accuracy=float(np.mean(accuracy)), does_it=max(accuracy) >= settings.min_accuracy,
            largest=max(largest) / out.facts.gap,
        )  # fmt: skip
        out.facts.twin = made
        out.head_sets = [_with_twin_rung(one, out, made) for one in out.head_sets]


def _on_twin(twin: Model, task: Task, settings: Settings, context: Context) -> tuple[float, float]:
    """How often a twin does the task, and the largest |direct effect| of its heads in units of the metric."""
    its = runs_.start(twin, task, settings, context, keep=False)
    found = direct_effects(twin, task, its.clean, its.corrupted, context.progress, settings.verified)
    return float((its.clean.m > 0).float().mean()), float(np.nanmax(np.abs(found.effects.mean(0))))


def _with_twin_rung(found: HeadSet, out: TaskOutcome, twin: TwinFacts) -> HeadSet:
    """The set with its rung: the twins do not do the task, and each of its heads with a direct effect has a larger one
    than any head of theirs. Heads of later stages act on such heads, which a twin that fails the task does not have."""
    if not found.evidence:
        return found
    direct, effect = set(out.stages["direct"]), out.effects["direct"]
    beyond = {head: head not in direct or abs(effect[head]) > twin.largest for head in found.heads}
    return found.judged(
        TWIN_RUNG, {h: "passed" if is_so and not twin.does_it else "failed" for h, is_so in beyond.items()}
    )


LEGEND = "'Circuits Components Reused' classifications"


def grid(heads: tuple[Head, ...], shape: tuple[int, int]) -> Bools:
    """The set as [layer head]."""
    out = np.zeros(shape, bool)
    for head in heads:
        out[head] = True
    return out


def overlaps(circuits: Mapping[str, TaskOutcome], shape: tuple[int, int]) -> list[PairFacts]:
    """Every pair of tasks that have a circuit."""
    pairs = list(itertools.combinations(circuits, 2))
    sets = {task: grid(out.members(), shape) for task, out in circuits.items()}
    by_chance = [overlap_by_chance(sets[a], sets[b]) for a, b in pairs]
    corrected = holm([p for _, p in by_chance])
    return [
        PairFacts(
            a=a, b=b,
            both=int((sets[a] & sets[b]).sum()),
            either=int((sets[a] | sets[b]).sum()),
            smaller=int(min(sets[a].sum(), sets[b].sum())),
            expected=expected,
            p=p,
            p_holm=float(by_holm),
            spearman_direct=_correlation(circuits[a], circuits[b], "direct"),
            spearman_total=_correlation(circuits[a], circuits[b], "total"),
        )
        for (a, b), (expected, p), by_holm in zip(pairs, by_chance, corrected, strict=True)
    ]  # fmt: skip


def _correlation(a: TaskOutcome, b: TaskOutcome, measure: str) -> float | None:
    """Spearman's rho of two tasks' normalised effects over the heads both have."""
    if measure not in a.effects or measure not in b.effects:
        return None
    x, y = a.effects[measure].ravel(), b.effects[measure].ravel()
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3 or np.ptp(x[both]) == 0 or np.ptp(y[both]) == 0:
        return None
    return float(spearmanr(x[both], y[both]).statistic)


def combinations(circuits: Mapping[str, TaskOutcome]) -> dict[tuple[str, ...], tuple[Head, ...]]:
    """Every exact combination of tasks -> the heads whose circuits are these and no others, largest first."""
    tasks_of: dict[Head, tuple[str, ...]] = {}
    for task, out in circuits.items():
        for head in out.members():
            tasks_of[head] = (*tasks_of.get(head, ()), task)
    groups: dict[tuple[str, ...], tuple[Head, ...]] = {}
    for head, tasks in sorted(tasks_of.items()):
        groups[tasks] = (*groups.get(tasks, ()), head)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), -len(item[0]), item[0])))


def reuse(outcomes: Mapping[str, TaskOutcome], shape: tuple[int, int]) -> TaskOutcome:
    """Facts, tables and the reused set of the tasks that have a circuit."""
    out = TaskOutcome()
    circuits = {task: found for task, found in outcomes.items() if found.members()}
    if len(circuits) < 2:
        why = f"{len(circuits)} of {len(outcomes)} tasks have a circuit, two are needed"
        out.not_computed.append(NotComputed("components reused across tasks", why))
        return out
    pairs, groups = overlaps(circuits, shape), combinations(circuits)
    titles = {task: found.facts.title for task, found in circuits.items()}
    reused = sorted({head for tasks, heads in groups.items() if len(tasks) > 1 for head in heads})
    of = {head: sum(head in found.members() for found in circuits.values()) for head in reused}
    out.head_sets.append(_reused(tuple(reused), of, titles, _twin(circuits), _words(circuits, reused)))
    out.tables.append(_pairs(pairs, titles, circuits))
    if len(circuits) > 2:
        out.tables.append(_counts(groups, titles))
    out.reuse = ReuseFacts(
        tasks=list(circuits),
        titles=titles,
        sizes={task: len(found.members()) for task, found in circuits.items()},
        pairs=pairs,
        groups=[GroupFacts(tasks=list(tasks), heads=[head_name(*h) for h in some]) for tasks, some in groups.items()],
        reused=[head_name(*head) for head in reused],
        null="random circuits with the same number of heads per layer; exact; Holm over pairs",
    )
    return out


def _words(circuits: Mapping[str, TaskOutcome], reused: Sequence[Head]) -> dict[Head, str]:
    """In other words: failed where one family of a task's templates alone has the head."""
    tried = [out.one_family for out in circuits.values() if out.one_family is not None]
    rest = "passed" if len(tried) == len(circuits) else "not run"
    return {head: "failed" if any(head in heads for heads in tried) else rest for head in reused}


def _twin(circuits: Mapping[str, TaskOutcome]) -> str:
    """Passed where every circuit's heads passed, failed where any failed."""
    found = {
        s.evidence.get(TWIN_RUNG, "not run")
        for out in circuits.values()
        for s in out.head_sets
        if s.heads and s.key.endswith("/direct")
    }
    return "failed" if "failed" in found else "passed" if found == {"passed"} else "not run"


def _reused(
    heads: tuple[Head, ...], of: Mapping[Head, int], titles: Mapping[str, str], twin: str, words: Mapping[Head, str]
) -> HeadSet:
    names = ", ".join(titles.values())
    found = HeadSet(
        key="circuits/reuse/reused",
        label="Reused Heads",
        heads=heads,
        legend=LEGEND,
        source=f"computed: circuits of {names} on this model",
        rule=f"in the circuits of at least two of: {names} (all stages); opacity: share of these tasks",
        weights={head_name(*head): of[head] / len(titles) for head in heads},
    )
    if not heads:
        return found
    each = dict.fromkeys(heads, "passed")
    unseen = dict.fromkeys(("static score", "dynamic score", "causal effect", "natural text"), "not run")
    found = replace(found, evidence=unseen).judged("causal effect", each).judged("replicated (tasks)", each)
    return replace(found, evidence={**found.evidence, TWIN_RUNG: twin}).judged(FAMILY_RUNG, words)


def _pairs(pairs: list[PairFacts], titles: Mapping[str, str], circuits: Mapping[str, TaskOutcome]) -> Table:
    sizes = {task: len(found.members()) for task, found in circuits.items()}
    return Table(
        key="circuits/reuse/pairs",
        title="Components reused between two tasks",
        columns=(
            Column("task"), Column("other task"), Column("heads"), Column("heads of the other"), Column("shared"),
            Column("expected"), Column("p"), Column("p", "Holm"), Column("shared / either"), Column("shared / smaller"),
            Column("Spearman, direct effects"), Column("Spearman, total effects"),
        ),
        rows=tuple(
            (
                titles[o.a], titles[o.b], sizes[o.a], sizes[o.b], o.both, o.expected, o.p, o.p_holm,
                o.both / o.either, o.both / o.smaller, o.spearman_direct, o.spearman_total,
            )
            for o in pairs
        ),
        caption="Circuits are the heads of all stages. Expected and p: random circuits with the same number of heads "
        "per layer. Spearman: over all heads, effects as shares of each task's gap.",
    )  # fmt: skip


def _counts(groups: Mapping[tuple[str, ...], tuple[Head, ...]], titles: Mapping[str, str]) -> Table:
    rows = tuple(
        (len(tasks), ", ".join(titles[t] for t in tasks), len(heads), ", ".join(head_name(*h) for h in heads))
        for tasks, heads in groups.items()
    )
    return Table(
        key="circuits/reuse/groups",
        title="Heads by the tasks whose circuits they are in",
        columns=(Column("tasks"), Column("in the circuits of exactly"), Column("heads"), Column("which")),
        rows=rows,
    )
