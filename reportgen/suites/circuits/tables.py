"""Scores and tables of one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.scores import Cell, Column, Head, HeadScores, HeadSet, Table, head_name
from reportgen.suites.circuits.circuit import Circuit, Effects, replicated
from reportgen.suites.circuits.looks import KINDS
from reportgen.suites.circuits.roles import Evidence, direct_role, mover, rules
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks import Task

if TYPE_CHECKING:
    from reportgen.suites.circuits.stages import Stage

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
                no_null=no_null,
                reasons=dict(reasons or {}),
                estimated=told,
                estimator="" if told is None else "attribution",
            )
        )
    return made


def performance(task: Task, facts: Mapping[str, object]) -> Table:
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
    values = [facts[name] for name, _ in names]
    return Table(
        key=f"circuits/{task.name}/performance",
        title=f"{task.title}: what the model does on it",
        columns=(Column("task"), *(column for _, column in names), Column("templates"), Column("done")),
        rows=(
            (task.title, *(v for v in values if isinstance(v, int | float)), len(task.templates), bool(facts["done"])),
        ),
        caption=f"{task.form} Done means: {facts['done_rule']}. Intervals: Wilson (share), bootstrap by template "
        f"(gap).".strip(),
    )


def heads(
    found: Evidence, others: Mapping[str, npt.NDArray[np.float64]], rephrased: Mapping[Head, float] | None,
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


def backups(found: Evidence, before: Effects, gain: Effects, sets: Sequence[HeadSet]) -> Table:
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


def stage(
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
