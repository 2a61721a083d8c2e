"""One task on one model, from prompts to circuit: everything that score.py hands over for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.errors import NotApplicable
from reportgen.scores import Head, HeadScores, HeadSet, NamedArray, NotComputed, Table, head_name
from reportgen.stats import template_weights, wilson
from reportgen.suites import ov
from reportgen.suites.base import Context
from reportgen.suites.circuits import movers, tables
from reportgen.suites.circuits.circuit import Effects, circuit, ratio_of_means, summarise
from reportgen.suites.circuits.effects import Attributions, attributions, direct_effects
from reportgen.suites.circuits.suite import Settings
from reportgen.suites.circuits.tasks import Task
from reportgen.suites.circuits.traces import Trace, knock_out, trace

if TYPE_CHECKING:
    from reportgen.models.model import Model

Floats = npt.NDArray[np.float64]
Effects32 = npt.NDArray[np.float32]  # [prompt layer head]

INTERVAL = "95 % percentile bootstrap, templates first, then prompts within them; ratio of means"
NULL = "clean and corrupted swapped per prompt (sign flip), effects standardised per head, step-down max-T; two-sided"
REMARK = "the null is a mean effect of zero, which many heads fail when there are many prompts"


@dataclass
class Outcome:
    """What one task adds to the result, filled in step by step."""

    facts: dict[str, object] = field(default_factory=dict)
    scores: list[HeadScores] = field(default_factory=list)
    head_sets: list[HeadSet] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    arrays: dict[str, NamedArray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    not_computed: list[NotComputed] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Runs:
    """A task's clean and corrupted runs, and what every statistic over its prompts needs.

    gap        [prompt] m_clean - m_corrupted
    templates  [prompt] template index
    weights    [draw prompt] bootstrap draws
    """

    model: Model
    task: Task
    settings: Settings
    context: Context
    clean: Trace
    corrupted: Trace
    gap: Floats
    templates: npt.NDArray[np.int64]
    weights: Floats
    rng: np.random.Generator

    def summarise(self, effects: Effects32) -> Effects:
        """Effects as shares of the gap, with interval and adjusted p."""
        share, flips = self.settings.effect_share, self.settings.flips
        return summarise(effects, self.gap, self.templates, self.weights, share, flips, self.rng)


def measure_task(model: Model, task: Task, settings: Settings, context: Context) -> Outcome:
    """Everything for one task. Where it is not done, the outcome holds its performance and the reason."""
    out = Outcome()
    out.facts.update(
        title=task.title, metric=task.metric, n=len(task.pairs), templates=list(task.templates),
        dropped=dict(task.dropped), roles=list(task.attended), done=False,
    )  # fmt: skip
    if len(task.pairs) < settings.min_pairs:
        return _not_done(out, task, f"{len(task.pairs)} usable prompt pairs, at least {settings.min_pairs} are needed")
    runs = _run(model, task, settings, context)
    why = _performance(out, runs)
    out.tables.append(tables.performance(task, out.facts))
    if why:
        return _not_done(out, task, why)
    try:
        effects = direct_effects(model, task, runs.clean, runs.corrupted, settings.batch, context.progress)
    except NotApplicable as reason:
        return _not_done(out, task, str(reason))
    out.facts["frozen_error"] = effects.frozen_error
    _circuit(out, runs, effects.effects)
    return out


def _not_done(out: Outcome, task: Task, why: str) -> Outcome:
    out.facts["why"] = why
    out.not_computed.append(NotComputed(f"circuit of {task.title}", why))
    return out


def _run(model: Model, task: Task, settings: Settings, context: Context) -> Runs:
    clean = trace(model, task, settings.batch)
    corrupted = trace(model, task, settings.batch, corrupted=True)
    rng = np.random.default_rng([context.seed, 2])
    templates = np.array([pair.template for pair in task.pairs], np.int64)
    gap = (clean.m - corrupted.m).cpu().double().numpy()
    weights = template_weights(templates.tolist(), settings.resamples, rng)
    return Runs(model, task, settings, context, clean, corrupted, gap, templates, weights, rng)


def _performance(out: Outcome, runs: Runs) -> str:
    """Fill in how well the model does the task; why it is taken not to do it, or ""."""
    clean, least = runs.clean, runs.settings.min_accuracy
    count, right = len(runs.gap), int((clean.m > 0).sum())
    low, high = wilson(right, count)
    gap_low, gap_high, _ = ratio_of_means(runs.gap, np.ones(count), runs.weights)
    out.facts.update(
        accuracy=right / count, accuracy_low=float(low), accuracy_high=float(high),
        top=int(clean.top.sum()) / count, p_answer=float(clean.p_answer.mean()),
        m_clean=float(clean.m.mean()), m_corrupted=float(runs.corrupted.m.mean()),
        gap=float(runs.gap.mean()), gap_low=float(gap_low), gap_high=float(gap_high),
        done_rule=f"the answer stands above its foil on >= {least:.0%} of the prompts (chance 50%) and the 95 % "
        "interval of the clean-corrupted gap lies above 0",
    )  # fmt: skip
    if right / count < least:
        return (
            f"the model does not do the task: the answer stands above its foil on {right} of {count} prompts "
            f"({right / count:.0%}), at least {least:.0%} are needed"
        )
    if gap_low <= 0:
        return f"the model does not do the task: the clean-corrupted gap of {out.facts['gap']:.3g} may be 0"
    out.facts.update(done=True, why="")
    return ""


def _circuit(out: Outcome, runs: Runs, each: Effects32) -> None:
    """The circuit of these direct effects, attribution beside it, its roles and its backups."""
    task, settings = runs.task, runs.settings
    effects = runs.summarise(each)
    out.scores += tables.head_scores(task, "direct", effects, len(task.pairs))
    parts = _attributions(out, runs)
    attributed = None if parts is None else runs.summarise(parts.metric)
    if parts is not None and attributed is not None:
        out.scores += tables.head_scores(task, "dla", attributed, len(task.pairs))
        out.arrays[f"{task.name}/dla"] = NamedArray(("prompt", "layer", "head"), parts.metric)
    members = circuit(effects, settings.effect_share, settings.alpha)
    names = ov.sources(runs.model, task.words)
    found = movers.Evidence(
        effects,
        members,
        runs.clean.attention.mean(0).cpu().numpy(),
        ov.copying_top_k(runs.model, names, members.heads(), settings.copy_k),
        ov.copying_top_k(runs.model, names, members.heads(), settings.copy_k, sign=-1),
        None if parts is None else parts.foil.mean(0),
    )
    out.head_sets += movers.circuit_sets(task, found, settings)
    out.tables.append(tables.heads(task, found, attributed, settings))
    out.arrays |= _arrays(runs, each)
    out.facts.update(_circuit_facts(found, settings), copy_words=len(task.words), copy_note=names.note)
    top = _top_head(effects, runs, each)
    if top:
        out.facts["top_head"] = top
    if names.note:
        out.notes.append(f"{task.title}, copying: {names.note}")
    _backups(out, runs, effects, each)


def _attributions(out: Outcome, runs: Runs) -> Attributions | None:
    """Direct logit attribution, or its reason in `not_computed`."""
    try:
        return attributions(runs.model, runs.task, runs.clean, runs.corrupted)
    except NotApplicable as reason:
        what = f"direct logit attribution of {runs.task.title}"
        out.not_computed.append(NotComputed(what, f"{reason}; subject-suppressing heads need it too"))
        return None


def _arrays(runs: Runs, each: Effects32) -> dict[str, NamedArray]:
    task = runs.task
    texts = {"prompt": tuple(pair.text for pair in task.pairs)}
    attention = runs.clean.attention.mean(0).cpu().numpy()
    return {
        f"{task.name}/direct": NamedArray(("prompt", "layer", "head"), each, texts),
        f"{task.name}/m_clean": NamedArray(("prompt",), runs.clean.m.cpu().numpy()),
        f"{task.name}/m_corrupted": NamedArray(("prompt",), runs.corrupted.m.cpu().numpy()),
        f"{task.name}/template": NamedArray(("prompt",), runs.templates.astype(np.int32)),
        f"{task.name}/attention": NamedArray(("role", "layer", "head"), attention, {"role": task.attended}),
    }


def _circuit_facts(found: movers.Evidence, settings: Settings) -> dict[str, object]:
    return {
        "effect_share": settings.effect_share,
        "alpha": settings.alpha,
        "flips": settings.flips,
        "resamples": settings.resamples,
        "interval": INTERVAL,
        "null": NULL,
        "rule": movers.rules(settings)["direct"],
        "n_large": int(found.circuit.large.sum()),
        "n_beyond": int(found.circuit.beyond.sum()),
        "n_circuit": int(found.circuit.member.sum()),
        "remark": REMARK,
        "sum_direct": float(found.effects.value.sum()),
        "copy_k": settings.copy_k,
        "copy_threshold": settings.copy_threshold,
        "mover_attention": settings.mover_attention,
    }


def _top_head(effects: Effects, runs: Runs, each: Effects32) -> dict[str, object]:
    """The head with the largest |effect| on even templates, estimated on the odd ones.

    On the templates that chose it, its effect and interval would be too large.
    """
    if not np.isfinite(effects.halves).all():
        return {}
    chosen, measured = effects.halves
    layer, head = (int(i) for i in np.unravel_index(int(np.abs(chosen).argmax()), chosen.shape))
    rows = runs.templates % 2 == 1
    weights = template_weights(runs.templates[rows].tolist(), runs.settings.resamples, runs.rng)
    low, high, _ = ratio_of_means(each[rows, layer, head], runs.gap[rows], weights)
    return {
        "head": head_name(layer, head),
        "chosen_on": "templates of even index",
        "measured_on": "templates of odd index",
        "effect": float(measured[layer, head]),
        "low": float(low),
        "high": float(high),
        "n": int(rows.sum()),
    }


def _backups(out: Outcome, runs: Runs, before: Effects, each: Effects32) -> None:
    """Knock the name movers out, measure every head again, and name those that take over."""
    model, task, settings = runs.model, runs.task, runs.settings
    gone: tuple[Head, ...] = next(s.heads for s in out.head_sets if s.key.endswith("/name_movers"))
    if not settings.backups or not gone:
        why = "no head met the rule of a name mover" if settings.backups else "switched off (circuits.backups)"
        out.not_computed.append(NotComputed(f"backups of {task.title}", why))
        return
    knocked = knock_out(model, task, gone, settings.batch)
    clean = trace(model, task, settings.batch, knock_out=knocked)
    corrupted = trace(model, task, settings.batch, corrupted=True, knock_out=knocked)
    again = direct_effects(model, task, clean, corrupted, settings.batch, runs.context.progress).effects
    after, gain = runs.summarise(again), runs.summarise(again - each)
    found = movers.backup_set(task, after, gain, gone, settings)
    out.head_sets.append(found)
    out.tables.append(tables.backups(task, before, after, gain, found))
    out.arrays[f"{task.name}/direct_knocked_out"] = NamedArray(("prompt", "layer", "head"), again)
    out.facts["knock_out"] = {
        "heads": [head_name(*head) for head in gone],
        "m_before": float(runs.clean.m.mean()),
        "m_after": float(clean.m.mean()),
        "accuracy_before": float((runs.clean.m > 0).float().mean()),
        "accuracy_after": float((clean.m > 0).float().mean()),
        "n_backups": len(found.heads),
    }
