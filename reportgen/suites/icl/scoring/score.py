"""Heads that carry a task in context: prompts, gate, screen, exact effects, and what they come to.

`arrays` of the result (`facts`: see ../facts.py):
    effects      [measure unit prompt head] change of what the answer gets: own mean, mean with deranged labels, another
                 task's mean, random vectors; needed, the loss on intact prompts; heads: the exact ones, by name
    base         [version unit prompt] what the answer gets without a change
    screen       [prompt layer head] the gradient screen's estimate of the own mean's effect, nats
    prompt_task  [prompt] number of the task
    control_effects, control_task  the first two measures of `effects` on the control tasks, and the prompts' tasks
    icl_score    [window layer head] change of the fall of the loss, exact heads
    text_sets    [set window] the same with sets of heads, on the first windows
    vector_curve, vectors, ablation, ablation_random, everywhere  held-out queries: see held_out.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from reportgen.aliases import Float32s
from reportgen.errors import NotApplicable
from reportgen.models.selfcheck import require_finite
from reportgen.scores import NotComputed, SuiteResult
from reportgen.suites import facts
from reportgen.suites.base import Context
from reportgen.suites.icl.facts import Gate, IclFacts
from reportgen.suites.icl.scoring import effects, held_out, passes, results, text_loss
from reportgen.suites.icl.scoring.effects import Effects, TaskRun
from reportgen.suites.icl.scoring.held_out import Ablated, Vectors
from reportgen.suites.icl.suite import LEAST_SHOTS, OURS, PAPER, SUITE, Settings
from reportgen.suites.icl.tasks import FORMS, Form, Task, form_of, prepared
from reportgen.suites.twins import random_twins

if TYPE_CHECKING:
    from reportgen.models.model import Model

FEWER = (10, 5, LEAST_SHOTS)  # examples where the context is short
ROOM = 1.15  # a prompt may be so much longer than the mean
INDUCTION = "induction"  # the measure of an earlier suite whose highest heads are patched, too

Told = Callable[[int, int], None]


def score(model: Model, settings: Settings, context: Context) -> SuiteResult:
    """Score every head. NotApplicable where the tokenizer or the context has no room for a prompt."""
    form = form_of(model.tokens)
    if form is None:
        known = " or ".join(repr(one.query("x")) for one in FORMS)
        raise NotApplicable(f"its tokenizer knows none of the prompts that tasks are asked in: {known}")
    tasks, gates = _askable(model, settings, form)
    wanted, settings = settings.shots, _fitted(model, settings, tasks, form)
    every = _runs(model, settings, context, form, tasks, gates)
    runs, controls = ([run for run in every if run.task.control is control] for control in (False, True))
    told = IclFacts(
        form=form.name, preset=settings.preset, shots=settings.shots, shots_wanted=wanted,
        prompts=settings.prompts, gate=list(gates.values()),
        least_accuracy=facts.Number(settings.accuracy), least_gain=facts.Number(settings.gain),
        heads=model.record.n_layers * model.record.n_heads, flips=settings.flips, resamples=settings.resamples,
        vectors=settings.random_vectors, vector_prompts=min(settings.prompts, settings.vector_prompts),
    )  # fmt: skip
    if not runs:
        return _nothing(told)
    told.tokens = facts.Number(float(np.mean([len(p.clean) for run in runs for p in run.prompts])))
    for run in every:
        run.average()
    estimate = effects.screened(runs, lambda done, total: context.progress(done, total, "gradient screen"))
    names = [run.task.name for run in runs for _ in range(run.n)]
    induction = _induction(context, estimate.shape[1:])
    chosen = effects.choose(estimate, names, induction, settings, np.random.default_rng([context.seed, 44]))
    found = effects.exact(
        runs, chosen.exact, settings, context, lambda done, total: context.progress(done, total, "exact effects")
    )
    require_finite(model, "effects of every head", found.each[effects.OWN])
    copied = effects.of_controls(controls, found, chosen.exact, settings, context.seed)
    more = _held_out(model, runs, estimate, found, induction, form, settings, context)
    for run in every:
        run.free()
    twin = _twin(model, settings, context, form, [run.task for run in runs])
    best = found.grid(effects.OWN, 0, (estimate.shape[1], estimate.shape[2])).mean(0)
    text = text_loss.score(
        model, settings, context.seed, told, lambda done, total: context.progress(done, total, "text"),
        text_loss.text_sets(best, induction, settings, context.seed),
    )  # fmt: skip
    return results.made(runs, estimate, chosen, found, copied, twin, told, settings, context.seed, *more, text)


def _held_out(
    model: Model, runs: Sequence[TaskRun], estimate: Float32s, found: Effects, induction: Float32s | None, form: Form,
    settings: Settings, context: Context,
) -> tuple[Vectors | None, Ablated | None]:  # fmt: skip
    """Function vectors and ablation curves on held-out queries, where they are wanted."""
    if not settings.held_prompts:
        return None, None
    shape = (estimate.shape[1], estimate.shape[2])
    exact = found.grid(effects.OWN, 0, shape)
    vector = None
    if model.post_attn_scale(0) is None:  # else what a head writes is not added
        mean = np.nan_to_num(exact.mean(0), nan=-np.inf)
        ranking = [divmod(int(i), shape[1]) for i in np.argsort(-mean, axis=None, kind="stable")[: len(found.heads)]]
        vector = held_out.vectors(
            model, runs, ranking, form, settings, context.seed,
            lambda done, total: context.progress(done, total, "function vectors"),
        )  # fmt: skip
    if not settings.ablation_sets or len(runs) < 2:
        return vector, None
    names = np.asarray(found.tasks)
    best = np.where(np.isfinite(exact), exact, estimate)
    by_task = {run.task.name: best[names == run.task.name].mean(0) for run in runs}
    told = lambda done, total: context.progress(done, total, "ablation")  # noqa: E731
    return vector, held_out.ablated(model, runs, by_task, induction, form, settings, context.seed, told)


def _askable(model: Model, settings: Settings, form: Form) -> tuple[list[Task], dict[str, Gate]]:
    """The tasks that this tokenizer can be asked, and an entry of the gate for each."""
    tasks, gates = [], {}
    for task in settings.load():
        found = prepared(task, form, model.tokens)
        gates[task.name] = Gate(
            task=task.name, title=task.title, kind=task.kind, pairs=len(task.pairs), control=task.control
        )
        if isinstance(found, str):
            gates[task.name].why = found
        else:
            gates[task.name].pairs = len(found.pairs)
            tasks.append(found)
    if all(task.control for task in tasks):
        why = next((gate.why for gate in gates.values() if gate.why), "there is none")
        raise NotApplicable(f"no task can be asked with its tokenizer ({why})")
    return tasks, gates


def _fitted(model: Model, settings: Settings, tasks: Sequence[Task], form: Form) -> Settings:
    """Settings with as many examples as the context holds."""
    mean = [float(np.mean([len(model.tokens.encode(form.shot(*pair))) for pair in task.pairs])) for task in tasks]
    fewer = (n for n in FEWER if n < settings.shots) if settings.preset != PAPER else ()
    for shots in (settings.shots, *fewer):
        if ROOM * (shots + 1) * max(mean) + 1 <= model.record.n_ctx:
            return replace(settings, shots=shots)
    raise NotApplicable(f"its context of {model.record.n_ctx} tokens has no room for {shots} examples")


def _runs(
    model: Model, settings: Settings, context: Context, form: Form, tasks: Sequence[Task], gates: dict[str, Gate]
) -> list[TaskRun]:
    """The tasks that pass the gate, with their prompts run in both versions; keys and values kept while they fit."""
    runs: list[TaskRun] = []
    total, done, held = 2 * settings.prompts * len(tasks), 0, 0
    for number, task in enumerate(tasks):

        def told(count: int) -> None:
            nonlocal done
            done += count
            context.progress(min(done, total), total, "prompts")

        keep = held < passes.KEPT
        run = effects.run_task(model, task, form, settings, context.seed, keep, told)
        done = 2 * settings.prompts * (number + 1)
        if isinstance(run, str):
            gates[task.name].why = run
            continue
        _judge(run, gates[task.name], settings)
        if not gates[task.name].passed:
            run.free()
            continue
        runs.append(run)
        held += keep * sum(passes.numbers(model, side.ids.numel()) for side in run.deranged)
    context.progress(total, total, "prompts")
    return runs


def _judge(run: TaskRun, gate: Gate, settings: Settings) -> None:
    """Fill in what the gate says of a task that was asked."""
    clean, false = run.base(run.clean)[0], run.base(run.deranged)[0]
    among = np.asarray([p.among for p in run.prompts])
    number = facts.Number
    gate.queries, gate.prompts = len({p.pair for p in run.prompts}), run.n
    gate.accuracy, gate.deranged = number(run.accuracy(run.clean)), number(run.accuracy(run.deranged))
    gate.log_p, gate.log_p_deranged = number(clean.mean()), number(false.mean())
    gate.among = int(among.sum())
    if among.any() and not among.all():
        gate.log_p_among, gate.log_p_apart = number(false[among].mean()), number(false[~among].mean())
    gate.passed = run.passes(settings) and bool(np.isfinite(clean).all() and np.isfinite(false).all())


def _induction(context: Context, shape: tuple[int, ...]) -> Float32s | None:
    """Induction scores of this run, [layer head], where an earlier suite has them."""
    for name in SUITE.needs:
        for one in context.results[name].scores if name in context.results else ():
            if one.measure == INDUCTION and one.values.shape == shape:
                return one.values
    return None


def _twin(model: Model, settings: Settings, context: Context, form: Form, tasks: Sequence[Task]) -> Float32s | None:
    """The screen of a random twin on the same tasks, mean over prompts [layer head]; the largest of several."""
    few = replace(settings, preset=OURS, prompts=min(settings.prompts, settings.twin_prompts))
    found = []
    for index, twin in enumerate(random_twins(model, range(context.seed, context.seed + settings.twins))):
        runs = []
        for number, task in enumerate(tasks):
            context.progress(index * len(tasks) + number, settings.twins * len(tasks), "random twin")
            run = effects.run_task(twin, task, form, few, context.seed, True, lambda done: None)
            if not isinstance(run, str):
                run.average()
                runs.append(effects.screened([run], lambda done, total: None))
                run.free()
        found.append(np.concatenate(runs).mean(0))
    return np.max(found, 0) if found else None


def _nothing(told: IclFacts) -> SuiteResult:
    """The gate alone: the model learns none of the tasks from examples."""
    asked = [gate for gate in told.gate if not gate.why and not gate.control]
    best = max(asked, key=lambda gate: gate.accuracy - gate.deranged, default=None)
    words = (
        f" Best: {best.title}, {100 * best.accuracy:.0f} % right with intact and {100 * best.deranged:.0f} % with "
        "deranged examples." if best else ""
    )  # fmt: skip
    why = f"none of {len(asked)} tasks passes the gate: the model does not learn them from {told.shots} examples"
    return SuiteResult(
        suite="icl",
        tables=(results.gate_table(told),),
        facts=facts.encoded(told),
        notes=(f"No claim about heads: {why}.{words}",),
        not_computed=tuple(NotComputed(measure.title, why) for measure in SUITE.measures),
    )
