"""Scores and tables of one task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reportgen.scores import Column, HeadScores, HeadSet, Table, head_name
from reportgen.suites.circuits.circuit import Effects, replicated
from reportgen.suites.circuits.movers import Evidence, role_of
from reportgen.suites.circuits.suite import SUITE, Settings
from reportgen.suites.circuits.tasks import Task

GAP = "share of the gap"
_UNITS = {"logit_diff": "logits", "prob_diff": "probability"}


def head_scores(task: Task, measure: str, effects: Effects, n: int) -> list[HeadScores]:
    """The measure normalised by the gap, and `*_raw` in units of the metric."""

    def grid(
        values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return values.astype(np.float32)

    title = SUITE.measure(measure).title
    return [
        HeadScores(
            key=f"circuits/{measure}/{task.name}",
            label=f"{title} ({GAP})",
            values=grid(effects.value),
            n=n,
            low=grid(effects.low),
            high=grid(effects.high),
            p=grid(effects.p),
        ),
        HeadScores(
            key=f"circuits/{measure}_raw/{task.name}",
            label=f"{title} ({_UNITS[task.metric]})",
            values=grid(effects.raw),
            n=n,
            low=grid(effects.raw_low),
            high=grid(effects.raw_high),
            p=grid(effects.p),
        ),
    ]


def performance(task: Task, facts: Mapping[str, object]) -> Table:
    """How well the model does the task."""
    names = (
        ("n", Column("prompts")),
        ("accuracy", Column("answer above foil", "share of prompts")),
        ("accuracy_low", Column("low")),
        ("accuracy_high", Column("high")),
        ("top", Column("answer is the top token", "share of prompts")),
        ("p_answer", Column("p(answer)", "mean")),
        ("m_clean", Column("m on clean prompts", _UNITS[task.metric])),
        ("m_corrupted", Column("m on corrupted prompts", _UNITS[task.metric])),
        ("gap", Column("gap", _UNITS[task.metric])),
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
        caption=f"Done means: {facts['done_rule']}. Intervals: Wilson (share), bootstrap by template (gap).",
    )


def heads(task: Task, found: Evidence, attributed: Effects | None, settings: Settings) -> Table:
    """The heads of the circuit, largest |effect| first."""
    effects, same = found.effects, replicated(found.effects, settings.effect_share)
    ordered = sorted(found.circuit.heads(), key=lambda lh: (-abs(float(effects.value[lh])), lh))
    rows = tuple(
        (
            head_name(*lh),
            role_of(lh, found, settings),
            float(effects.value[lh]),
            float(effects.low[lh]),
            float(effects.high[lh]),
            float(effects.p[lh]),
            None if attributed is None else float(attributed.value[lh]),
            *(float(mass) for mass in found.attention[:, lh[0], lh[1]]),
            found.copying[lh],
            found.suppression[lh],
            float(effects.stability[lh]),
            bool(same[lh]),
        )
        for lh in ordered
    )
    return Table(
        key=f"circuits/{task.name}/heads",
        title=f"{task.title}: heads with a direct effect on the answer",
        columns=(
            Column("head"),
            Column("role"),
            Column("direct effect", GAP),
            Column("low"),
            Column("high"),
            Column("p", "adjusted", 4),
            Column("direct logit attribution", GAP),
            *(Column(f"attention END to {role}") for role in task.attended),
            Column(f"copying, top {settings.copy_k}", "share of names"),
            Column(f"suppression, bottom {settings.copy_k}", "share of names"),
            Column("stability", "share of bootstrap draws"),
            Column("both template halves"),
        ),
        rows=rows,
        caption=f"{len(rows)} heads: {int(found.circuit.large.sum())} reach {settings.effect_share:.0%} of the gap, "
        f"{int(found.circuit.beyond.sum())} have an adjusted p of at most {settings.alpha:g}, these have both.",
    )


def backups(task: Task, before: Effects, after: Effects, gain: Effects, found: HeadSet) -> Table:
    """Heads that take over when the name movers are knocked out."""
    ordered = sorted(found.heads, key=lambda lh: (-float(gain.value[lh]), lh))
    rows = tuple(
        (
            head_name(*lh),
            float(before.value[lh]),
            float(after.value[lh]),
            float(gain.value[lh]),
            float(gain.low[lh]),
            float(gain.high[lh]),
            float(gain.p[lh]),
        )
        for lh in ordered
    )
    return Table(
        key=f"circuits/{task.name}/backups",
        title=f"{task.title}: heads that take over without the name movers",
        columns=(
            Column("head"),
            Column("direct effect before", GAP),
            Column("direct effect after", GAP),
            Column("gain", GAP),
            Column("gain, low"),
            Column("gain, high"),
            Column("p of the gain", "adjusted", 4),
        ),
        rows=rows,
        caption=f"{found.rule[0].upper()}{found.rule[1:]}.",
    )
