"""Effects of every head on each task, the circuits they make, and the heads that circuits share.

Facts: circuits/facts.py.
`arrays`, each under "<task>/":
    direct, dla, dla_answer, dla_foil, total, total_denoising, attribution [prompt layer head]   in units of m (dla:
                logits); total effects NaN for heads whose score is an estimate
    m_clean, m_corrupted, template [prompt]
    attention [role layer head]                           mean attention from END
    direct_knocked_out [prompt layer head]                direct effects with the movers ablated, NaN for
                heads that were not measured again
    random_kept, random_removed [set]                     faithfulness of random sets of the circuit's make-up
  and under "natural_text/": text_loss, text_loss_direct, *_attribution [window layer head], loss [window]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.errors import NotApplicable
from reportgen.models.selfcheck import require_finite, require_finite_logits
from reportgen.scores import Head, NamedArray, NotComputed, SuiteResult, head_name
from reportgen.stats import template_weights, units, wilson
from reportgen.suites import ov
from reportgen.suites.base import Context
from reportgen.suites.circuits.facts import CircuitFacts, KnockedOut, TaskFacts, TopHead, with_top_head
from reportgen.suites.circuits.scoring import (
    faithfulness,
    natural_text,
    path_patching,
    replication,
    results,
    roles,
    task_runs,
)
from reportgen.suites.circuits.scoring.circuit import Effects, ratio_of_means
from reportgen.suites.circuits.scoring.effects import Attributions, attributions, chosen_totals, direct_effects
from reportgen.suites.circuits.scoring.replication import reuse
from reportgen.suites.circuits.scoring.roles import HeadEvidence, writes
from reportgen.suites.circuits.scoring.task_runs import PerPrompt, Runs, TaskOutcome
from reportgen.suites.circuits.settings import TASKS, Settings
from reportgen.suites.circuits.suite import SUITE
from reportgen.suites.circuits.tasks import BUILDERS, user
from reportgen.suites.circuits.tasks.task import Task
from reportgen.suites.facts import encoded

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.tokens import Tokens


# One task on one model, from prompts to circuit: all results of score.py for it.

INTERVAL = (
    "95 %: Student's quantile for the number of templates times the bootstrap SD, templates "
    "first, then prompts within them; ratio of means. With one template, prompts count instead of templates"
)
NULL = SUITE.measure("direct").null
REMARK = "the null is a mean effect of zero, which many heads fail when there are many prompts"


def measure_task(model: Model, task: Task, settings: Settings, context: Context) -> TaskOutcome:
    """Everything for one task but its twins. Where it is not done, the outcome holds its performance and the reason."""
    out = TaskOutcome(TaskFacts(
        title=task.title, metric=task.metric, unit=task.unit, n=len(task.pairs), templates=list(task.templates),
        dropped=dict(task.dropped), roles=list(task.attended), mover=task.mover.one, form=task.form, user=task.user,
    ))  # fmt: skip
    if len(task.pairs) < settings.min_pairs:
        return _not_done(out, task, f"{len(task.pairs)} usable prompt pairs, at least {settings.min_pairs} are needed")
    measured = task_runs.start(model, task, settings, context)
    try:
        require_finite(model, "logits on these prompts", measured.clean.m, measured.corrupted.m)
    except NotApplicable as reason:
        return _not_done(out, task, str(reason))
    why = _performance(out, measured)
    out.tables.append(results.performance_table(task, out.facts))
    if why:
        return _not_done(out, task, why)
    try:
        _circuit(out, measured)
    except NotApplicable as reason:
        return _not_done(out, task, str(reason))
    return out


def _not_done(out: TaskOutcome, task: Task, why: str) -> TaskOutcome:
    out.facts.done, out.facts.why = False, why
    out.not_computed.append(NotComputed(f"circuit of {task.title}", why))
    return out


def _performance(out: TaskOutcome, of: Runs) -> str:
    """Fill in how well the model does the task; why it is taken not to do it, or ""."""
    clean, gap, least = of.clean, of.whole.gap, of.settings.min_accuracy
    count, right = len(gap), int((clean.m > 0).sum())
    low, high = wilson(right, count)
    gap_low, gap_high, _ = ratio_of_means(gap, np.ones(count), of.whole.weights, of.whole.units)
    facts = out.facts
    facts.accuracy, facts.accuracy_low, facts.accuracy_high = right / count, float(low), float(high)
    facts.top, facts.p_answer = int(clean.top.sum()) / count, float(clean.p_answer.mean())
    facts.m_clean, facts.m_corrupted = float(clean.m.mean()), float(of.corrupted.m.mean())
    facts.gap, facts.gap_low, facts.gap_high = float(gap.mean()), float(gap_low), float(gap_high)
    facts.done_rule = (
        f"the answer stands above its foil on >= {least:.0%} of the prompts (chance 50%) and the 95 % interval of the "
        "clean-corrupted gap lies above 0"
    )
    if right / count < least:
        return (
            f"the model does not do the task: the answer stands above its foil on {right} of {count} prompts "
            f"({right / count:.0%}), at least {least:.0%} are needed"
        )
    if not gap_low > 0:  # NaN: of one prompt nothing is known
        return (
            f"the model does not do the task: the clean-corrupted gap of {facts.gap:.3g} may be 0 "
            f"(95 % interval: {gap_low:.3g} to {gap_high:.3g})"
        )
    facts.done = True
    return ""


def _circuit(out: TaskOutcome, of: Runs) -> None:
    """The task's circuit stage by stage, how good it is, and how stable. Raises NotApplicable."""
    task, settings = of.task, of.settings
    attention = of.clean.attention.mean(0).cpu().numpy()
    parts = _attributions(out, of)
    found = direct_effects(of.model, task, of.clean, of.corrupted, of.context.progress)
    out.facts.frozen_error = found.frozen_error
    effects = of.summarise(found.effects)
    out.scores[:0] = results.head_scores(task, "direct", effects, len(task.pairs))
    out.effects["direct"] = effects.value
    total = chosen_totals(out, of, [*attention[:1], effects.value], of.circuit(effects).member)
    evidence = _evidence(out, of, effects, attention, parts)
    members = evidence.circuit.heads()
    out.stages["direct"] = members
    again = replication.rephrased(out, of, effects, members)
    shares = None if again is None else again.shares
    share = replication.combined({head: float(effects.stability[head]) for head in members}, shares)
    out.head_sets += results.direct_sets(evidence, share, settings)
    place = len(out.tables)
    out.arrays.update(_arrays(of, found.effects, attention))
    _add_circuit(out.facts, evidence, settings)
    out.facts.top_head = top = _top_head(effects, of, found.effects)
    if top is not None:
        out.scores = [with_top_head(scores, encoded(top)) for scores in out.scores]
    movers: tuple[Head, ...] = out.head_sets[1].heads
    path_patching.later_stages(out, of, evidence, movers)
    found_again = replication.by_family(out, of, total, again)
    out.tables.insert(place, results.heads_table(evidence, _beside(out, found_again), shares, settings))
    out.facts.members = {stage: [head_name(*head) for head in some] for stage, some in out.stages.items()}
    faithfulness.quality(out, of)
    _backups(out, of, effects, found.effects, movers)
    replication.rungs(out, of, found_again)


def _attributions(out: TaskOutcome, of: Runs) -> Attributions | None:
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
        out.scores += results.head_scores(task, name, effects, len(task.pairs), raw_unit="logits")
        out.effects[name] = effects.value
        out.arrays[f"{task.name}/{name}"] = of.evidence(each)
    return parts


def _evidence(
    out: TaskOutcome, of: Runs, effects: Effects, attention: npt.NDArray[np.float32], parts: Attributions | None
) -> HeadEvidence:
    task = of.task
    members = of.circuit(effects)
    words = ov.sources(of.model, list(task.maps)) if task.maps else None
    out.facts.copy_note = words.note if words else "the task names no role that its answer is read from"
    if words is not None and words.note:
        out.notes.append(f"{task.title}, what OV circuits write: {words.note}")
    does, suppresses = _writing(of, members.heads())
    on_foil = None if parts is None else parts.foil.mean(0)
    return HeadEvidence(task, effects, members, attention, does, suppresses, on_foil)


def _writing(of: Runs, some: Sequence[Head]) -> tuple[dict[Head, float], dict[Head, float]]:
    """Shares of words for which these heads write the answer, and suppress it; NaN for a task without such words."""
    task = of.task
    if not task.maps:
        return ({head: float("nan") for head in some},) * 2
    words = ov.sources(of.model, list(task.maps))
    does, against = (writes(of.model, task.maps, words, some, of.settings.copy_k, sign) for sign in (1, -1))
    return does, against


def _beside(out: TaskOutcome, again: replication.Families | None) -> dict[str, npt.NDArray[np.float64]]:
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


def _add_circuit(facts: TaskFacts, found: HeadEvidence, settings: Settings) -> None:
    """The rule that the circuit's heads are selected by, and how many heads meet which part of it."""
    circuit = found.circuit
    facts.effect_share, facts.alpha = settings.effect_share, settings.alpha
    facts.flips, facts.resamples = settings.flips, settings.resamples
    facts.copy_k, facts.copy_threshold = settings.copy_k, settings.copy_threshold
    facts.mover_attention = settings.mover_attention
    facts.interval, facts.null, facts.remark = INTERVAL, NULL, REMARK
    facts.rules = roles.rules(found.task, settings)
    facts.rule = facts.rules["direct"]
    facts.n_large, facts.n_beyond = int(circuit.large.sum()), int(circuit.beyond.sum())
    facts.n_both, facts.n_first = int((circuit.large & circuit.beyond).sum()), int(circuit.first.sum())
    facts.n_circuit = int(circuit.member.sum())
    facts.sum_direct = float(found.effects.value.sum())


def _top_head(effects: Effects, of: Runs, each: PerPrompt) -> TopHead | None:
    """The head with the largest |effect| on even templates, estimated on the odd ones.

    On the templates that chose it, its effect and interval would be too large.
    """
    chosen, measured = effects.halves
    if not np.isfinite(effects.halves).all():
        return None
    layer, head = (int(i) for i in np.unravel_index(int(np.abs(chosen).argmax()), chosen.shape))
    rows = of.whole.templates % 2 == 1
    weights = template_weights(of.whole.templates[rows].tolist(), of.settings.resamples, of.rng)
    count = units(of.whole.templates[rows].tolist())
    low, high, _ = ratio_of_means(each[rows, layer, head], of.whole.gap[rows], weights, count)
    return TopHead(
        head=head_name(layer, head),
        chosen_on="templates of even index",
        measured_on="templates of odd index",
        effect=float(measured[layer, head]),
        low=float(low),
        high=float(high),
        n=int(rows.sum()),
    )


def _backups(out: TaskOutcome, of: Runs, before: Effects, each: PerPrompt, gone: tuple[Head, ...]) -> None:
    """Knock the movers out, measure every head again, and name those that take over."""
    model, task, settings = of.model, of.task, of.settings
    if not settings.backups or not gone:
        why = f"no head met the rule of a {task.mover.one}" if settings.backups else "switched off (circuits.backups)"
        out.not_computed.append(NotComputed(f"backups of {task.title}", why))
        return
    clean, corrupted = of.knocked_out(gone)
    again = direct_effects(
        model, task, clean, corrupted, of.context.progress, settings.direct_again,
        rank=lambda estimate: np.minimum(estimate, estimate - each.mean(0)),  # to take over is an effect and a gain
    ).effects  # fmt: skip
    after, gain = of.summarise(again), of.summarise(again - each)
    some = results.taking_over(after, gain, gone, settings)
    attention = clean.attention.mean(0).cpu().numpy()  # with the movers gone
    does, suppresses = _writing(of, some)
    found = HeadEvidence(task, after, of.circuit(after), attention, does, suppresses, None)
    sets = results.backup_sets(found, gain, gone, settings)
    out.head_sets += sets
    out.tables.append(results.backups_table(found, before, gain, sets))
    out.arrays[f"{task.name}/direct_knocked_out"] = of.evidence(again)
    out.facts.knock_out = KnockedOut(
        heads=[head_name(*head) for head in gone],
        m_before=float(of.clean.m.mean()),
        m_after=float(clean.m.mean()),
        accuracy_before=float((of.clean.m > 0).float().mean()),
        accuracy_after=float((clean.m > 0).float().mean()),
        tried=int(np.isfinite(again[0]).sum()),
        n_backups=len(sets[0].heads),
        n_taking_over=len(some),
    )


def score(model: Model, settings: Settings, context: Context) -> SuiteResult:
    """Measure every task asked for. A task that the model or its tokenizer cannot do is left out with its reason.

    Raises NotApplicable where the model's logits are not finite.
    """
    require_finite_logits(model)
    outcomes: dict[str, TaskOutcome] = {}
    done: list[tuple[Task, TaskOutcome]] = []
    for task in tasks(model.tokens, settings, context.seed):
        outcomes[task.name] = out = measure_task(model, task, settings, context)
        if out.facts.done:
            done.append((task, out))
    text = natural_text.natural_text(model, settings, context)
    replication.on_twins(model, done, settings, context)  # last, when nothing else is in memory
    shared = reuse(outcomes, (model.record.n_layers, model.record.n_heads))
    parts = [*outcomes.values(), shared, text]
    facts = CircuitFacts(
        tasks={name: out.facts for name, out in outcomes.items()}, reuse=shared.reuse, natural_text=text.natural_text
    )
    return SuiteResult(
        suite="circuits",
        scores=tuple(score for part in parts for score in part.scores),
        head_sets=tuple(natural_text.with_rung([s for part in parts for s in part.head_sets], text, settings.alpha)),
        tables=tuple(table for part in parts for table in part.tables),
        arrays={name: array for part in parts for name, array in part.arrays.items()},
        facts=encoded(facts),
        notes=tuple(note for part in parts for note in part.notes),
        not_computed=tuple(missing for part in parts for missing in part.not_computed),
    )


def tasks(tokens: Tokens, settings: Settings, seed: int) -> Iterator[Task]:
    """The tasks asked for, then the user's, built on this tokenizer one by one."""
    lines = user.read(settings.tasks_file, TASKS) if settings.tasks_file else {}
    for name in dict.fromkeys(settings.tasks):
        yield BUILDERS[name](tokens, settings.prompts, seed)
    for name, of in lines.items():
        yield user.build(tokens, name, of, settings.prompts)
