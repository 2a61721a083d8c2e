"""The results of one task: scores, head sets and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Bools
from reportgen.scores import Cell, Column, Head, HeadScores, HeadSet, Table, head_name
from reportgen.suites.circuits.facts import TaskFacts, score_of
from reportgen.suites.circuits.scoring import roles
from reportgen.suites.circuits.scoring.circuit import Circuit, Effects, replicated
from reportgen.suites.circuits.scoring.roles import KINDS, HeadEvidence, direct_role, mover, rules
from reportgen.suites.circuits.settings import ABLATED, Settings
from reportgen.suites.circuits.tasks.task import Task

if TYPE_CHECKING:
    from reportgen.suites.circuits.scoring.path_patching import Stage


# The head sets that one task's circuit hands to every figure of the run: who is in, by which rule, how stably.

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
        score=score_of(f"circuits/{task.name}/{key}"),
    )
    if not members:
        return found
    rungs = {"static score": static, "dynamic score": dynamic, "causal effect": "passed", "natural text": "not run"}
    for rung, outcome in rungs.items():
        found = found.judged(rung, dict.fromkeys(members, outcome))
    found = found.judged(TEMPLATES, {head: "passed" if same[head] else "failed" for head in members})
    return replace(found, evidence={**found.evidence, "replicated (random twin)": "not run"})


def direct_sets(found: HeadEvidence, stability: Mapping[Head, float], settings: Settings) -> tuple[HeadSet, ...]:
    """The heads with a direct effect and its named roles; a role nobody has is an empty set."""
    task, heads, words = found.task, found.circuit.heads(), roles.rules(found.task, settings)
    named = {head: roles.direct_role(head, found, settings) for head in heads}
    label = task.mover.label
    wanted = [
        ("direct", "Direct-Effect Heads", "direct", heads),
        (task.mover.key, label, roles.mover(task), having_role(named, roles.mover(task))),
        ("negative_movers", f"(Negative) {label}", roles.negative(task), having_role(named, roles.negative(task))),
    ]
    if task.foils:
        key, of_foil = ("subject", "Subject") if task.name == "ioi" else ("foil", "Foil")
        against = having_role(named, roles.suppressor(task))
        wanted.append((f"{key}_suppressors", f"{of_foil}-Suppressing Heads", roles.suppressor(task), against))
    same = replicated(found.effects, settings.effect_share)
    static = {roles.mover(task), roles.negative(task)}  # roles that need a score read from the weights
    dynamic = static | {roles.suppressor(task)}  # and roles that need attention on the prompts
    return tuple(
        head_set(task, key, words_, members, words[role], stability, same,
                 *("passed" if role in some else "not run" for some in (static, dynamic)))
        for key, words_, role, members in wanted
    )  # fmt: skip


def having_role(named: Mapping[Head, str], role: str) -> tuple[Head, ...]:
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


def backup_sets(
    found: HeadEvidence, gain: Effects, movers: Sequence[Head], settings: Settings
) -> tuple[HeadSet, HeadSet]:
    """Those of the heads in `found` that do what a mover does, by attention and writing, and the others."""
    task, heads = found.task, tuple(found.writes)
    percent, gone = f"{settings.effect_share:.0%}", ", ".join(head_name(*head) for head in movers)
    how, tried = ABLATED[settings.ablation], int(np.isfinite(gain.value).sum())
    all_heads = gain.value.size
    some = f", times {all_heads}/{tried}: measured are the {tried} heads that gradients rank first by both"
    rule = (
        f"with the {task.mover.one}s ({gone}) {how} at every position, direct effect >= {percent} of the intact "
        f"gap and larger than before by >= {percent} of it, adjusted p of the gain <= {settings.alpha:g} (sign-flip "
        f"max-T over prompts{'' if tried == all_heads else some}); {task.mover.one}s excluded"
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
            task, "taking_over", "Other Heads Taking Over", others, f"{rule}; without evidence of a {task.mover.one}",
            stability, same,
        ),
    )  # fmt: skip


# Scores and tables of one task.

GAP = "share of the gap"
_LOOKS = (
    "Attention: from a repeated word to its last earlier copy (duplicate), to the token after that (induction), and "
    "from there back (previous)."
)
STABILITY = Column("stability", "share of draws")


def head_scores(
    task: Task, measure: str, effects: Effects, n: int, reasons: Mapping[str, str] | None = None, *, no_null: str = "",
    raw_unit: str = "", estimate: Effects | None = None,
) -> list[HeadScores]:  # fmt: skip
    """The measure normalised by the gap, and `*_raw` in units of the metric.

    estimate  stands in, marked, for heads without an exact value
    """
    from reportgen.suites.circuits.suite import SUITE

    title, unit = SUITE.measure(measure).title, raw_unit or task.unit
    absent = np.isnan(effects.value)
    told = absent if estimate is not None and absent.any() else None
    stand_ins = (None, None) if estimate is None else (estimate.value, estimate.raw)
    made = []
    for name, words, (value, low, high), stand_in in (
        (measure, GAP, (effects.value, effects.low, effects.high), stand_ins[0]),
        (f"{measure}_raw", unit, (effects.raw, effects.raw_low, effects.raw_high), stand_ins[1]),
    ):
        if name.endswith("_raw") and not any(m.name == name for m in SUITE.measures):
            continue
        made.append(
            HeadScores(
                key=f"circuits/{name}/{task.name}",
                label=f"{title} ({words})",
                values=(value if stand_in is None else np.where(absent, stand_in, value)).astype(np.float32),
                n=n,
                low=low.astype(np.float32),
                high=high.astype(np.float32),
                p=None if no_null else effects.p.astype(np.float32),
                p_each=None if no_null or effects.p_each is None else effects.p_each.astype(np.float32),
                no_null=no_null,
                reasons=dict(reasons or {}),
                estimated=told,
                estimator="" if told is None else "attribution",
            )
        )
    return made


def performance_table(task: Task, facts: TaskFacts) -> Table:
    """How well the model does the task."""
    names = (
        ("n", Column("prompts")),
        ("accuracy", Column("answer above foil", "share of prompts")),
        ("accuracy_low", Column("low")),
        ("accuracy_high", Column("high")),
        ("top", Column("answer is the top token", "share of prompts")),
        ("p_answer", Column("p(answer)", "mean")),
        ("m_clean", Column("m on clean prompts", task.unit)),
        ("m_corrupted", Column("m on corrupted prompts", task.unit)),
        ("gap", Column("gap", task.unit)),
        ("gap_low", Column("gap, low")),
        ("gap_high", Column("gap, high")),
    )
    return Table(
        key=f"circuits/{task.name}/performance",
        title=f"{task.title}: the model's performance",
        columns=(Column("task"), *(column for _, column in names), Column("templates"), Column("done")),
        rows=((task.title, *(getattr(facts, name) for name, _ in names), len(task.templates), facts.done),),
        caption=f"{task.form} Done means: {facts.done_rule}. Intervals: Wilson (share), bootstrap by template "
        f"(gap).".strip(),
    )


def heads_table(
    found: HeadEvidence, others: Mapping[str, npt.NDArray[np.float64]], rephrased: Mapping[Head, float] | None,
    settings: Settings,
) -> Table:  # fmt: skip
    """The heads with a direct effect, largest first; `others` are more measures [layer head], by column."""
    task, effects, named = found.task, found.effects, rules(found.task, settings)
    same = replicated(effects, settings.effect_share)
    ordered = sorted(found.circuit.heads(), key=lambda lh: (-abs(float(effects.value[lh])), lh))
    rows = tuple(
        (
            head_name(*lh), direct_role(lh, found, settings),
            *(float(grid[lh]) for grid in (effects.value, effects.low, effects.high, effects.p)),
            *(_cell(grid[lh]) for grid in others.values()),
            *(float(mass) for mass in found.attention[:, lh[0], lh[1]]),
            _cell(found.writes[lh]), _cell(found.suppresses[lh]),
            float(effects.stability[lh]), None if rephrased is None else rephrased[lh], bool(same[lh]),
        )
        for lh in ordered
    )  # fmt: skip
    return Table(
        key=f"circuits/{task.name}/heads",
        title=f"{task.title}: heads with a direct effect on the answer",
        columns=(
            Column("head"), Column("role"), Column("direct effect", GAP), Column("low"), Column("high"),
            Column("p", "adjusted", 4), *(Column(name, GAP) for name in others),
            *(Column(f"attention END to {role}") for role in task.attended),
            Column("OV writes the answer", "share of words"), Column("OV suppresses it", "share of words"),
            STABILITY, Column("in other words", "share of draws"), Column("both template halves"),
        ),
        rows=rows,
        caption=f"{_counts(found.circuit, len(rows), settings)} Called {mover(task)}: {named[mover(task)]}.",
    )  # fmt: skip


def _counts(found: Circuit, selected: int, settings: Settings) -> str:
    both = int((found.large & found.beyond).sum())
    return (
        f"{selected} heads. {int(found.large.sum())} reach {settings.effect_share:.0%} of the gap, "
        f"{int(found.beyond.sum())} have an adjusted p of at most {settings.alpha:g}, {both} have both; the first 2 % "
        f"by size, at least three, are {int(found.first.sum())}. Stability: bootstrap draws in which the head keeps "
        "its sign and that size; in other words: the same on rephrased templates."
    )


def _cell(value: float | np.floating) -> Cell:
    return None if np.isnan(value) else float(value)


def backups_table(found: HeadEvidence, before: Effects, gain: Effects, sets: Sequence[HeadSet]) -> Table:
    """Heads that take over when the movers are knocked out; `found` is of the model without them."""
    task, after = found.task, found.effects
    named = {head: s.label for s in sets for head in s.heads}
    ordered = sorted(named, key=lambda lh: (-float(gain.value[lh]), lh))
    rows = tuple(
        (
            head_name(*lh),
            float(before.value[lh]),
            float(after.value[lh]),
            float(gain.value[lh]),
            float(gain.low[lh]),
            float(gain.high[lh]),
            float(gain.p[lh]),
            *(float(mass) for mass in found.attention[:, lh[0], lh[1]]),
            _cell(found.writes[lh]),
            named[lh],
        )
        for lh in ordered
    )
    return Table(
        key=f"circuits/{task.name}/backups",
        title=f"{task.title}: heads that take over without the {task.mover.one}s",
        columns=(
            Column("head"),
            Column("direct effect before", GAP),
            Column("direct effect after", GAP),
            Column("gain", GAP),
            Column("gain, low"),
            Column("gain, high"),
            Column("p of the gain", "adjusted", 4),
            *(Column(f"attention END to {role}, after") for role in task.attended),
            Column("OV writes the answer", "share of words"),
            Column("called"),
        ),
        rows=rows,
        caption=" ".join(f"{s.label}: {s.rule}." for s in sets),
    )


def stage_table(
    task: Task, found: Stage, named: Mapping[Head, tuple[str, Mapping[str, float]]], stability: Mapping[Head, float],
    words: str, settings: Settings,
) -> Table:  # fmt: skip
    """The heads of a later stage, largest effect first, a row per input that they act through."""
    rows: list[tuple[Cell, ...]] = []
    for head in sorted(found.members, key=lambda lh: (-abs(found.strongest(lh)[1]), lh)):
        role, seen = named[head]
        for kind in found.members[head]:
            e = found.effects[kind]
            numbers = (float(grid[head]) for grid in (e.value, e.low, e.high, e.p))
            rows.append((head_name(*head), role, kind, *numbers, *(seen.get(k) for k in KINDS), stability[head]))
    return Table(
        key=f"circuits/{task.name}/{found.name}",
        title=f"{task.title}: {words}",
        columns=(
            Column("head"), Column("role"), Column("through"), Column("effect", GAP), Column("low"), Column("high"),
            Column("p", "adjusted", 4), *(Column(f"attention, {kind}") for kind in KINDS), STABILITY,
        ),
        rows=tuple(rows),
        caption=f"Receivers: {_names(found.receivers)}. Members: {rules(task, settings)[found.name]}. {_LOOKS}",
    )  # fmt: skip


def _names(some: Sequence[Head]) -> str:
    return ", ".join(head_name(*head) for head in some)
