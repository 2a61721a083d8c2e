"""One task on one model, from prompts to circuit: everything that score.py hands over for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.errors import NotApplicable
from reportgen.scores import Head, NamedArray, NotComputed, head_name
from reportgen.stats import template_weights, units, wilson
from reportgen.suites import finite, ov
from reportgen.suites.base import Context
from reportgen.suites.circuits import estimates, families, heads, quality, roles, runs, stability, stages, tables
from reportgen.suites.circuits import twins as twin
from reportgen.suites.circuits.circuit import Effects, ratio_of_means
from reportgen.suites.circuits.effects import Attributions, attributions, direct_effects
from reportgen.suites.circuits.roles import Evidence
from reportgen.suites.circuits.runs import Outcome, PerPrompt, Runs
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.suite import SUITE
from reportgen.suites.circuits.tasks import Task
from reportgen.suites.circuits.traces import knock_out, trace
from reportgen.suites.circuits.writing import writes

if TYPE_CHECKING:
    from reportgen.models.model import Model

INTERVAL = (
    "95 %: Student's quantile for the number of templates times the spread of a bootstrap, templates first, then "
    "prompts within them; ratio of means. Prompts count in place of templates where there is one template"
)
NULL = SUITE.measure("direct").null
REMARK = "the null is a mean effect of zero, which many heads fail when there are many prompts"


def measure_task(
    model: Model, task: Task, settings: Settings, context: Context, twins: Sequence[Model] = ()
) -> Outcome:
    """Everything for one task. Where it is not done, the outcome holds its performance and the reason.

    twins  randomly initialised models that get the same prompts
    """
    out = Outcome()
    out.facts.update(
        title=task.title, metric=task.metric, unit=task.unit, n=len(task.pairs), templates=list(task.templates),
        dropped=dict(task.dropped), roles=list(task.attended), mover=task.mover.one, form=task.form,
        user=task.user, done=False,
    )  # fmt: skip
    if len(task.pairs) < settings.min_pairs:
        return _not_done(out, task, f"{len(task.pairs)} usable prompt pairs, at least {settings.min_pairs} are needed")
    measured = runs.start(model, task, settings, context)
    try:
        finite.require(model, "logits on these prompts", measured.clean.m, measured.corrupted.m)
    except NotApplicable as reason:
        return _not_done(out, task, str(reason))
    why = _performance(out, measured)
    out.tables.append(tables.performance(task, out.facts))
    if why:
        return _not_done(out, task, why)
    try:
        _circuit(out, measured)
        twin.twins(out, measured, twins)
    except NotApplicable as reason:
        return _not_done(out, task, str(reason))
    return out


def _not_done(out: Outcome, task: Task, why: str) -> Outcome:
    out.facts.update(done=False, why=why)
    out.not_computed.append(NotComputed(f"circuit of {task.title}", why))
    return out


def _performance(out: Outcome, of: Runs) -> str:
    """Fill in how well the model does the task; why it is taken not to do it, or ""."""
    clean, gap, least = of.clean, of.whole.gap, of.settings.min_accuracy
    count, right = len(gap), int((clean.m > 0).sum())
    low, high = wilson(right, count)
    gap_low, gap_high, _ = ratio_of_means(gap, np.ones(count), of.whole.weights, of.whole.units)
    out.facts.update(
        accuracy=right / count, accuracy_low=float(low), accuracy_high=float(high),
        top=int(clean.top.sum()) / count, p_answer=float(clean.p_answer.mean()),
        m_clean=float(clean.m.mean()), m_corrupted=float(of.corrupted.m.mean()),
        gap=float(gap.mean()), gap_low=float(gap_low), gap_high=float(gap_high),
        done_rule=f"the answer stands above its foil on >= {least:.0%} of the prompts (chance 50%) and the 95 % "
        "interval of the clean-corrupted gap lies above 0",
    )  # fmt: skip
    if right / count < least:
        return (
            f"the model does not do the task: the answer stands above its foil on {right} of {count} prompts "
            f"({right / count:.0%}), at least {least:.0%} are needed"
        )
    if not gap_low > 0:  # NaN: of one prompt nothing is known
        return (
            f"the model does not do the task: the clean-corrupted gap of {out.facts['gap']:.3g} may be 0 "
            f"(95 % interval: {gap_low:.3g} to {gap_high:.3g})"
        )
    out.facts.update(done=True, why="")
    return ""


def _circuit(out: Outcome, of: Runs) -> None:
    """The task's circuit stage by stage, how good it is, and how stable. Raises NotApplicable."""
    task, settings = of.task, of.settings
    attention = of.clean.attention.mean(0).cpu().numpy()
    parts = _attributions(out, of)
    found = direct_effects(of.model, task, of.clean, of.corrupted, settings.batch, of.context.progress)
    out.facts["frozen_error"] = found.frozen_error
    effects = of.summarise(found.effects)
    out.scores[:0] = tables.head_scores(task, "direct", effects, len(task.pairs))
    out.effects["direct"] = effects.value
    total = estimates.totals(out, of, [*attention[:1], effects.value], of.circuit(effects).member)
    evidence = _evidence(out, of, effects, attention, parts)
    members = evidence.circuit.heads()
    out.stages["direct"] = members
    again = stability.rephrased(out, of, effects, members)
    shares = None if again is None else again.shares
    share = stability.combined({head: float(effects.stability[head]) for head in members}, shares)
    out.head_sets += heads.direct_sets(evidence, share, settings)
    place = len(out.tables)
    out.arrays.update(_arrays(of, found.effects, attention))
    out.facts.update(_circuit_facts(evidence, settings), **_top_head(effects, of, found.effects))
    movers: tuple[Head, ...] = out.head_sets[1].heads
    stages.later_stages(out, of, evidence, movers)
    found_again = families.families(out, of, total, again)
    out.tables.insert(place, tables.heads(evidence, _beside(out, found_again), shares, settings))
    out.facts["members"] = {stage: [head_name(*head) for head in some] for stage, some in out.stages.items()}
    quality.quality(out, of)
    _backups(out, of, effects, found.effects, movers)
    families.rungs(out, of, found_again)


def _attributions(out: Outcome, of: Runs) -> Attributions | None:
    """Direct logit attribution, scores and evidence; or its reason in `not_computed`."""
    task = of.task
    try:
        parts = attributions(of.model, task, of.clean, of.corrupted)
    except NotApplicable as reason:
        what = f"direct logit attribution of {task.title}"
        out.not_computed.append(NotComputed(what, f"{reason}; heads that suppress the foil need it too"))
        return None
    gap = (of.clean.logit_diff - of.corrupted.logit_diff).cpu().double().numpy()
    for name, each in (("dla", parts.metric), ("dla_answer", parts.answer), ("dla_foil", parts.foil)):
        effects = of.summarise(each, gap=gap)
        out.scores += tables.head_scores(task, name, effects, len(task.pairs), raw_unit="logits")
        out.effects[name] = effects.value
        out.arrays[f"{task.name}/{name}"] = of.evidence(each)
    return parts


def _evidence(
    out: Outcome, of: Runs, effects: Effects, attention: npt.NDArray[np.float32], parts: Attributions | None
) -> Evidence:
    task = of.task
    members = of.circuit(effects)
    words = ov.sources(of.model, list(task.maps)) if task.maps else None
    out.facts["copy_note"] = words.note if words else "the task names no role that its answer is read from"
    if words is not None and words.note:
        out.notes.append(f"{task.title}, what OV circuits write: {words.note}")
    does, suppresses = _writing(of, members.heads())
    on_foil = None if parts is None else parts.foil.mean(0)
    return Evidence(task, effects, members, attention, does, suppresses, on_foil)


def _writing(of: Runs, some: Sequence[Head]) -> tuple[dict[Head, float], dict[Head, float]]:
    """Shares of words for which these heads write the answer, and suppress it; NaN for a task without such words."""
    task = of.task
    if not task.maps:
        return ({head: float("nan") for head in some},) * 2
    words = ov.sources(of.model, list(task.maps))
    does, against = (writes(of.model, task.maps, words, some, of.settings.copy_k, sign) for sign in (1, -1))
    return does, against


def _beside(out: Outcome, again: families.Families | None) -> dict[str, npt.NDArray[np.float64]]:
    """Other measures of the heads in the table."""
    named = {
        "dla": "direct logit attribution", "dla_answer": "of it on the answer", "dla_foil": "of it on the foil",
        "total": "total effect", "attribution": "attribution patching",
    }  # fmt: skip
    other = {} if again is None else {"total effect, in other words": again.other.value}
    return {words: out.effects[name] for name, words in named.items() if name in out.effects} | other


def _arrays(of: Runs, each: PerPrompt, attention: npt.NDArray[np.float32]) -> dict[str, NamedArray]:
    task = of.task
    arrays = {
        f"{task.name}/direct": of.evidence(each),
        f"{task.name}/m_clean": NamedArray(("prompt",), of.clean.m.cpu().numpy()),
        f"{task.name}/m_corrupted": NamedArray(("prompt",), of.corrupted.m.cpu().numpy()),
        f"{task.name}/template": NamedArray(("prompt",), of.whole.templates.astype(np.int32)),
    }
    if task.attended:
        arrays[f"{task.name}/attention"] = NamedArray(("role", "layer", "head"), attention, {"role": task.attended})
    return arrays


def _circuit_facts(found: Evidence, settings: Settings) -> dict[str, object]:
    return {
        "effect_share": settings.effect_share,
        "alpha": settings.alpha,
        "flips": settings.flips,
        "resamples": settings.resamples,
        "interval": INTERVAL,
        "null": NULL,
        "rule": roles.rules(found.task, settings)["direct"],
        "rules": roles.rules(found.task, settings),
        "n_large": int(found.circuit.large.sum()),
        "n_beyond": int(found.circuit.beyond.sum()),
        "n_both": int((found.circuit.large & found.circuit.beyond).sum()),
        "n_first": int(found.circuit.first.sum()),
        "n_circuit": int(found.circuit.member.sum()),
        "remark": REMARK,
        "sum_direct": float(found.effects.value.sum()),
        "copy_k": settings.copy_k,
        "copy_threshold": settings.copy_threshold,
        "mover_attention": settings.mover_attention,
    }


def _top_head(effects: Effects, of: Runs, each: PerPrompt) -> dict[str, object]:
    """The head with the largest |effect| on even templates, estimated on the odd ones.

    On the templates that chose it, its effect and interval would be too large.
    """
    chosen, measured = effects.halves
    if not np.isfinite(effects.halves).all():
        return {}
    layer, head = (int(i) for i in np.unravel_index(int(np.abs(chosen).argmax()), chosen.shape))
    rows = of.whole.templates % 2 == 1
    weights = template_weights(of.whole.templates[rows].tolist(), of.settings.resamples, of.rng)
    count = units(of.whole.templates[rows].tolist())
    low, high, _ = ratio_of_means(each[rows, layer, head], of.whole.gap[rows], weights, count)
    found = {
        "head": head_name(layer, head),
        "chosen_on": "templates of even index",
        "measured_on": "templates of odd index",
        "effect": float(measured[layer, head]),
        "low": float(low),
        "high": float(high),
        "n": int(rows.sum()),
    }
    return {"top_head": found}


def _backups(out: Outcome, of: Runs, before: Effects, each: PerPrompt, gone: tuple[Head, ...]) -> None:
    """Knock the movers out, measure every head again, and name those that take over."""
    model, task, settings = of.model, of.task, of.settings
    if not settings.backups or not gone:
        why = f"no head met the rule of a {task.mover.one}" if settings.backups else "switched off (circuits.backups)"
        out.not_computed.append(NotComputed(f"backups of {task.title}", why))
        return
    knocked = knock_out(model, task, gone, settings.batch, settings.ablation)
    clean = trace(model, task, settings.batch, knock_out=knocked)
    corrupted = trace(model, task, settings.batch, corrupted=True, knock_out=knocked)
    again = direct_effects(model, task, clean, corrupted, settings.batch, of.context.progress).effects
    after, gain = of.summarise(again), of.summarise(again - each)
    some = heads.taking_over(after, gain, gone, settings)
    attention = clean.attention.mean(0).cpu().numpy()  # with the movers gone
    does, suppresses = _writing(of, some)
    found = Evidence(task, after, of.circuit(after), attention, does, suppresses, None)
    sets = heads.backup_sets(found, gain, gone, settings)
    out.head_sets += sets
    out.tables.append(tables.backups(found, before, gain, sets))
    out.arrays[f"{task.name}/direct_knocked_out"] = of.evidence(again)
    out.facts["knock_out"] = {
        "heads": [head_name(*head) for head in gone],
        "m_before": float(of.clean.m.mean()),
        "m_after": float(clean.m.mean()),
        "accuracy_before": float((of.clean.m > 0).float().mean()),
        "accuracy_after": float((clean.m > 0).float().mean()),
        "n_backups": len(sets[0].heads),
        "n_taking_over": len(some),
    }
