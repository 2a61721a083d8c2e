"""What the effects come to: scores with intervals and nulls, head sets, tables, facts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reportgen import stats
from reportgen.aliases import Bools, Float32s, Floats
from reportgen.scores import (
    Cell,
    Column,
    Control,
    Head,
    HeadScores,
    HeadSet,
    HeldOut,
    NamedArray,
    NotComputed,
    SuiteResult,
    Table,
    head_name,
)
from reportgen.suites import facts
from reportgen.suites.icl.facts import IclFacts
from reportgen.suites.icl.scoring import effects, held_out, passes
from reportgen.suites.icl.scoring.effects import FALSE, KINDS, NEEDED, OTHER, OWN, RANDOM, Chosen, Effects, TaskRun
from reportgen.suites.icl.scoring.held_out import Ablated, Vectors
from reportgen.suites.icl.suite import PAPER, SUITE, TASK, Settings
from reportgen.suites.settings import switched_off

GOOD = 0.8  # rank correlation of screen and exact effect, from which the other heads show the screen's estimate
FEW_TASKS = 4  # below, tasks are no sample of tasks: intervals resample prompts within them
LEGEND = "In-context learning, computed on this model"
NATS, PROBABILITY = 0, 1
ESTIMATOR = "the gradient screen"
SHOWN = 20  # heads of the table
CONTROLS = {
    "deranged labels": (FALSE, "the mean over prompts with deranged examples, patched in instead"),
    "another task's mean": (OTHER, "the mean over intact prompts of other tasks, patched in instead"),
    "random vector": (RANDOM, "a vector in a random direction, as far from the head's output as the mean"),
}


def made(
    runs: Sequence[TaskRun], screen: Float32s, chosen: Chosen, found: Effects, copied: Effects | None,
    twin: Float32s | None, told: IclFacts, settings: Settings, seed: int, vectors: Vectors | None = None,
    ablated: Ablated | None = None, text: tuple[HeadScores, dict[str, NamedArray], tuple[Table, ...]] | str = "",
) -> SuiteResult:  # fmt: skip
    """The suite's result; the measures of `told` are filled in."""
    rng = np.random.default_rng([seed, 45])
    shape = (screen.shape[1], screen.shape[2])
    _tell(told, runs, screen, chosen, found, twin, settings, shape)
    units = _Units(found.tasks, settings)
    others = screen.mean(0) if told.screened else None
    controls = _controls(found, twin, shape)
    own, false = found.each[OWN], found.each[FALSE]
    scores = [
        _score("aie", own[NATS], own[NATS] - false[NATS], found, shape, units, rng, others, controls),
        _score("aie_prob", own[PROBABILITY], own[PROBABILITY] - false[PROBABILITY], found, shape, units, rng),
    ]
    missing = []
    if np.isfinite(found.each[OTHER]).any():
        beyond = own[NATS] - found.each[OTHER, NATS]
        scores.append(_score("specific", beyond, beyond, found, shape, units, rng))
    else:
        why = switched_off("icl", "other_tasks") if not settings.other_tasks else "a single task passes the gate"
        missing.append(NotComputed(SUITE.measure("specific").title, why))
    scores.append(_score("needed", found.each[NEEDED, NATS], found.each[NEEDED, NATS], found, shape, units, rng))
    if not settings.twins:
        missing.append(NotComputed("random twin", switched_off("icl", "twins")))
    sets = _sets(scores, found, told, settings)
    tables = [gate_table(told), _head_table(scores, found, copied, told)]
    arrays = _arrays(runs, screen, found, copied)
    told.held_prompts = settings.held_prompts
    if vectors is not None:
        tables.append(held_out.tell_vectors(vectors, told, settings.resamples, rng))
    if ablated is not None:
        tables.append(held_out.tell_ablated(ablated, told, settings.resamples, rng))
    arrays |= held_out.arrays(vectors, ablated)
    if isinstance(text, str):
        missing.append(NotComputed(SUITE.measure("icl_score").title, text))
    else:
        scores.append(text[0])
        arrays |= text[1]
        tables += text[2]
    missing += _not_held_out(vectors, ablated, settings, len(runs))
    return SuiteResult(
        suite="icl",
        scores=tuple(scores),
        head_sets=sets,
        tables=tuple(tables),
        arrays=arrays,
        facts=facts.encoded(told),
        notes=_notes(told),
        not_computed=tuple(missing),
    )


def _not_held_out(
    vectors: Vectors | None, ablated: Ablated | None, settings: Settings, tasks: int
) -> list[NotComputed]:
    """What was not done on held-out queries, and why."""
    off = "held_prompts" if not settings.held_prompts else "ablation_sets" if not settings.ablation_sets else ""
    found = []
    if vectors is None:
        why = (
            switched_off("icl", off) if off == "held_prompts" else "a norm follows W_O: what a head writes does not add"
        )
        found.append(NotComputed("the function-vector test", why))
    if ablated is None:
        why = switched_off("icl", off) if off else f"{tasks} task passes the gate: none is left to rank heads on"
        found.append(NotComputed("ablation curves", why))
    return found


# Scores.


class _Units:
    """What intervals resample: tasks and prompts within them; with few tasks the prompts within each task alone."""

    def __init__(self, tasks: Sequence[str], settings: Settings) -> None:
        self.tasks, self.settings = np.asarray(tasks), settings
        self.names = list(dict.fromkeys(tasks))

    @property
    def over_tasks(self) -> bool:
        return len(self.names) >= FEW_TASKS

    def interval(
        self, values: Floats, bounds: tuple[float, float], rng: np.random.Generator, some: Bools | None = None
    ) -> tuple[Floats, Floats]:
        """Of the mean over tasks; values [prompt head], of the prompts `some`."""
        kept = np.ones(len(values), np.bool_) if some is None else some
        if self.over_tasks:
            labels = self.tasks[kept].tolist()
            return stats.bootstrap_interval(values[kept], labels, rng, draws=self.settings.resamples, bounds=bounds)
        draws, counts = [], []
        for name in self.names:
            own = values[kept & (self.tasks == name)]
            weights = rng.multinomial(len(own), [1 / len(own)] * len(own), size=self.settings.resamples)
            draws.append(weights @ own / len(own))
            counts.append(len(own))
        low, high = stats.interval_of(values[kept].mean(0), np.mean(draws, 0), min(counts))
        return np.clip(low, *bounds), np.clip(high, *bounds)

    def p(self, values: Floats, rng: np.random.Generator) -> Floats | None:
        """Adjusted over the heads; values [prompt head]. None where the flips are switched off."""
        if not self.settings.flips:
            return None
        null = stats.sign_flip_null(values, self.settings.flips, rng)
        return stats.step_down_max_t(values.mean(0), null)


def _score(
    name: str, values: Floats, tested: Floats, found: Effects, shape: tuple[int, int], units: _Units,
    rng: np.random.Generator, others: Float32s | None = None, controls: Sequence[Control] = (),
) -> HeadScores:  # fmt: skip
    """values, tested [prompt head]; others [layer head] estimates of the heads that are not exact."""
    measure = SUITE.measure(name)
    each, test = values.astype(np.float64), tested.astype(np.float64)
    low, high = units.interval(each, measure.range, rng)
    p = units.p(test, rng)
    mean = np.full(shape, np.nan, np.float32) if others is None else others.astype(np.float32)
    exact = np.zeros(shape, np.bool_)
    exact[tuple(np.array(found.heads).T)] = True
    unit = f" ({measure.unit})"

    def grid(given: Floats) -> Float32s:
        out = np.full(shape, np.nan, np.float32)
        out[tuple(np.array(found.heads).T)] = given
        return out

    return HeadScores(
        key=f"icl/{name}/{TASK}",
        label=f"{measure.title}{unit}",
        values=np.where(exact, grid(each.mean(0)), mean).astype(np.float32),
        n=len(each),
        low=grid(low),
        high=grid(high),
        p=None if p is None else grid(p),
        no_null="" if p is not None else switched_off("icl", "flips"),
        range=measure.range,
        reasons={} if exact.all() else {"*": f"not among the {int(exact.sum())} heads that are computed exactly"},
        estimated=None if others is None or exact.all() else ~exact,
        estimator="" if others is None or exact.all() else ESTIMATOR,
        held_out=_held_out(each, found, units, measure.range, rng),
        controls=tuple(controls),
    )


def _held_out(
    each: Floats, found: Effects, units: _Units, bounds: tuple[float, float], rng: np.random.Generator
) -> HeldOut | None:
    """The head that is highest on every other prompt of each task, measured on the other prompts."""
    first = np.zeros(len(each), np.bool_)
    for name in units.names:
        first[np.flatnonzero(units.tasks == name)[::2]] = True
    at = int(each[first].mean(0).argmax())
    value = float(each[~first, at].mean())
    low, high = units.interval(each[:, [at]], bounds, rng, ~first)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return None
    return HeldOut(
        head_name(*found.heads[at]), value, float(low[0]), float(high[0]), int((~first).sum()),
        "half of each task's prompts", "the other half",
    )  # fmt: skip


def _controls(found: Effects, twin: Float32s | None, shape: tuple[int, int]) -> list[Control]:
    """On the scale of aie: what else was patched in, and the random twin's screen."""
    made = []
    for name, (kind, meaning) in CONTROLS.items():
        values = found.each[kind, NATS].mean(0)
        if np.isfinite(values).all():
            grid = found.grid(kind, NATS, shape).mean(0).astype(np.float32)
            made.append(Control(name, float(values.max()), grid, meaning=meaning))
    if twin is not None and np.isfinite(twin).all():
        meaning = "the gradient screen of the model at random initialisation, on the same tasks"
        made.append(Control("random twin", float(twin.max()), twin.astype(np.float32), meaning=meaning))
    return made


# Head sets.


def _sets(scores: Sequence[HeadScores], found: Effects, told: IclFacts, settings: Settings) -> tuple[HeadSet, ...]:
    """Function-vector heads, and those of them that carry more than another task's mean."""
    by_name = {one.measure: one for one in scores}
    if settings.preset == PAPER:
        return (_as_published(by_name["aie_prob"], found, settings),)
    aie, specific = by_name["aie"], by_name.get("specific")
    if aie.p is None:
        return ()
    shape = (aie.values.shape[0], aie.values.shape[1])
    beyond = (found.grid(OWN, NATS, shape) - found.grid(FALSE, NATS, shape)).mean(0)
    member = aie.exact & (np.nan_to_num(aie.p, nan=1.0) <= settings.alpha) & (np.nan_to_num(beyond) >= told.threshold)
    heads = _by_value(member, aie)
    rule = (
        f"average indirect effect above that of the mean over deranged prompts by {told.threshold:.3g} nats or more "
        f"({settings.effect_share:g} of the gap between intact and deranged examples), with family-wise adjusted "
        f"p <= {settings.alpha:g}"
    )
    source = f"computed: {len(dict.fromkeys(found.tasks))} tasks in context on this model"
    shares = _shares(found)
    evidence = {
        "static score": "not run", "dynamic score": "not run", "causal effect": "passed" if heads else "failed",
        "natural text": "not run",
    }  # fmt: skip
    own = {rung: {head_name(*head): outcome for head in heads} for rung, outcome in evidence.items()}
    made = HeadSet(
        f"icl/{TASK}/function_vector_heads", "Function Vector heads", heads, LEGEND, source, rule,
        weights={head_name(*head): shares[head] for head in heads}, evidence=evidence, by_head=own, score=aie.key,
    )  # fmt: skip
    most = {head: "passed" if shares[head] > 0.5 else "failed" for head in heads}
    made = made.judged("replicated (tasks)", most) if heads else made
    if specific is None or specific.p is None:
        return (made,)
    one = member & (np.nan_to_num(specific.p, nan=1.0) <= settings.alpha) & (np.nan_to_num(specific.values) > 0)
    narrow = _by_value(one, aie)
    other = HeadSet(
        f"icl/{TASK}/task_specific_heads", "Task-specific function-vector heads", narrow, LEGEND, source,
        f"function-vector heads whose own task's mean does more than another task's, family-wise adjusted "
        f"p <= {settings.alpha:g}", score=specific.key,
    )  # fmt: skip
    return (made, other)


def _as_published(scores: HeadScores, found: Effects, settings: Settings) -> HeadSet:
    """The paper's list: so many heads of highest effect on the probability, whatever that is."""
    heads = tuple(head for head in scores.ranking() if scores.exact[head])[: settings.vector_heads]
    return HeadSet(
        f"icl/{TASK}/function_vector_heads", "Function Vector heads (as Todd et al. 2023)", heads, LEGEND,
        f"computed: {len(dict.fromkeys(found.tasks))} tasks in context on this model",
        f"the {settings.vector_heads} heads of highest average indirect effect on the probability, as in Todd et al. "
        "2023; no null, and as many heads in a model without any", score=scores.key,
    )  # fmt: skip


def _by_value(member: Bools, scores: HeadScores) -> tuple[Head, ...]:
    return tuple(head for head in scores.ranking() if member[head])


def _shares(found: Effects) -> dict[Head, float]:
    """Head -> share of tasks in which its own mean does more than the mean over deranged prompts."""
    tasks = np.asarray(found.tasks)
    more = found.each[OWN, NATS] - found.each[FALSE, NATS]
    by_task = np.stack([more[tasks == name].mean(0) for name in dict.fromkeys(found.tasks)])  # [task head]
    return dict(zip(found.heads, (by_task > 0).mean(0).tolist(), strict=True))


# Tables.

_USE = {False: "scored", True: "control"}  # of a task that passes the gate


def gate_table(told: IclFacts) -> Table:
    """What the model learns from examples: the tasks asked, accuracy with intact and with deranged examples."""
    rows: list[tuple[Cell, ...]] = []
    for gate in sorted(told.gate, key=lambda g: (g.control, bool(g.why), not g.passed, -_or(g.accuracy - g.deranged))):
        low, high = stats.wilson(_or(gate.accuracy) * gate.prompts, gate.prompts)
        numbers = (gate.accuracy, float(low), float(high), gate.deranged, gate.log_p, gate.log_p_deranged)
        rows.append((
            gate.title, gate.kind, gate.pairs, gate.prompts,
            *(None if gate.why or not np.isfinite(x) else float(x) for x in numbers),
            gate.why or ("not learnt from the examples" if not gate.passed else _USE[gate.control]),
        ))  # fmt: skip
    return Table(
        key="icl/gate",
        title="What the model learns from examples",
        columns=(
            Column("task"), Column("class"), Column("pairs"), Column("prompts"), Column("accuracy", "intact", 2),
            Column("low", digits=2), Column("high", digits=2), Column("accuracy", "deranged", 2),
            Column("log P", "intact", 2), Column("log P", "deranged", 2), Column("outcome"),
        ),
        rows=tuple(rows),
        caption=f"{told.shots} examples, then a query; the first token of the answer. A task is scored where accuracy "
        f"is at least {told.least_accuracy:g} and {told.least_gain:g} above that with deranged examples, in which "
        "outputs are moved so that none stands at its input.",
    )  # fmt: skip


def _or(value: float) -> float:
    return value if np.isfinite(value) else 0.0


def _head_table(scores: Sequence[HeadScores], found: Effects, copied: Effects | None, told: IclFacts) -> Table:
    """The heads with the largest effect: controls, spread over tasks, and the task that most of it comes from."""
    copying = [(gate.title, np.asarray(copied.tasks) == gate.task) for gate in told.controls] if copied else []
    by_name = {one.measure: one for one in scores}
    aie, at = by_name["aie"], {head: i for i, head in enumerate(found.heads)}
    tasks = np.asarray(found.tasks)
    names = list(dict.fromkeys(found.tasks))
    rows: list[tuple[Cell, ...]] = []
    for head in aie.ranking()[:SHOWN]:
        each = found.each[:, NATS, :, at[head]]  # [kind prompt]
        own = np.array([each[OWN, tasks == name].mean() for name in names])
        within = np.sqrt(np.mean([each[OWN, tasks == name].var(ddof=1) for name in names]))
        positive = np.maximum(own, 0)
        share = float(positive.max() / positive.sum()) if positive.sum() > 0 else float("nan")
        assert aie.low is not None
        assert aie.high is not None
        rows.append((
            head_name(*head), float(aie.values[head]), float(aie.low[head]), float(aie.high[head]),
            None if aie.p is None else float(aie.p[head]),
            *(_mean(each[kind]) for kind in (FALSE, OTHER, RANDOM, NEEDED)),
            float(own.std(ddof=1)) if len(own) > 1 else None, float(within),
            names[int(own.argmax())], None if not np.isfinite(share) else share,
            *(_mean(copied.each[OWN, NATS, some, at[head]]) for _, some in copying if copied),
        ))  # fmt: skip
    return Table(
        key="icl/heads",
        title="Heads with the largest average indirect effect",
        columns=(
            Column("head"), Column("aie", "nats"), Column("low"), Column("high"), Column("p", "adjusted", 4),
            Column("deranged labels", "nats"), Column("another task", "nats"), Column("random vector", "nats"),
            Column("needed", "nats"), Column("sd", "between tasks"), Column("sd", "within tasks"),
            Column("largest task"), Column("its share", digits=2), *(Column(title, "nats") for title, _ in copying),
        ),
        rows=tuple(rows),
        caption="What else was patched in place of the head's own mean, in the same units. A share above 0.5: most of "
        "the effect comes from one task. Columns of control tasks: the effect there, where copying does it; it is not "
        "part of the mean.",
        folded=True,
    )  # fmt: skip


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if np.isfinite(values).all() else None


# Arrays, facts, notes.


def _arrays(runs: Sequence[TaskRun], screen: Float32s, found: Effects, copied: Effects | None) -> dict[str, NamedArray]:
    names = tuple(head_name(*head) for head in found.heads)
    tasks = list(dict.fromkeys(found.tasks))
    base = np.concatenate([np.stack([run.base(which) for which in (run.clean, run.deranged)]) for run in runs], -1)
    more = {}
    if copied is not None:
        own = list(dict.fromkeys(copied.tasks))
        some = copied.each[[OWN, FALSE]]
        labels = {"measure": (KINDS[OWN], KINDS[FALSE]), "unit": passes.UNITS, "head": names}
        more["control_effects"] = NamedArray(("measure", "unit", "prompt", "head"), some, labels)
        more["control_task"] = NamedArray(("prompt",), np.asarray([own.index(name) for name in copied.tasks], np.int32))
    return more | {
        "effects": NamedArray(
            ("measure", "unit", "prompt", "head"), found.each,
            {"measure": KINDS, "unit": passes.UNITS, "head": names},
        ),
        "base": NamedArray(
            ("version", "unit", "prompt"), base, {"version": ("intact", "deranged"), "unit": passes.UNITS}
        ),
        "screen": NamedArray(("prompt", "layer", "head"), screen),
        "prompt_task": NamedArray(("prompt",), np.asarray([tasks.index(name) for name in found.tasks], np.int32)),
    }  # fmt: skip


def _tell(
    told: IclFacts, runs: Sequence[TaskRun], screen: Float32s, chosen: Chosen, found: Effects, twin: Float32s | None,
    settings: Settings, shape: tuple[int, int],
) -> None:  # fmt: skip
    number = facts.Number
    exact = found.grid(OWN, NATS, shape).mean(0)
    estimate = screen.mean(0)
    told.exact, told.random_heads = int(chosen.exact.sum()), int(chosen.random.sum())
    told.spearman_random = number(effects.spearman(estimate[chosen.random], exact[chosen.random]))
    told.spearman_all = number(effects.spearman(estimate[chosen.exact], exact[chosen.exact]))
    told.screened = not chosen.exact.all() and min(told.spearman_random, told.spearman_all) >= GOOD
    gaps = [float((run.base(run.clean) - run.base(run.deranged))[NATS].mean()) for run in runs]
    told.gap = number(float(np.mean(gaps)))
    told.threshold = number(max(0.0, settings.effect_share * float(told.gap)))
    told.others = {name: list(names) for name, names in found.others.items()}
    told.over_tasks = len(runs) >= FEW_TASKS
    told.twins = settings.twins if twin is not None else 0
    told.twin_prompts = min(settings.prompts, settings.twin_prompts) if told.twins else 0
    if len(found.draws) > 1:
        low, high = np.quantile(found.draws, (0.025, 0.975), axis=0)
        names = [head_name(*head) for head in found.heads]
        told.random_low = {name: number(x) for name, x in zip(names, low.tolist(), strict=True)}
        told.random_high = {name: number(x) for name, x in zip(names, high.tolist(), strict=True)}


def _notes(told: IclFacts) -> tuple[str, ...]:
    notes = []
    if told.shots < told.shots_wanted:
        notes.append(f"The context is short: prompts have {told.shots} examples, not {told.shots_wanted}.")
    if not told.over_tasks:
        names = ", ".join(gate.title for gate in told.tasks)
        notes.append(f"Few tasks pass the gate: intervals are over prompts of these tasks ({names}), not over tasks.")
    if told.exact < told.heads and not told.screened:
        notes.append(
            f"The gradient screen ranks heads too poorly here (Spearman {told.spearman_random:.2f} on "
            f"{told.random_heads} random heads, {told.spearman_all:.2f} on all exact ones): only exact values are "
            "shown."
        )
    return tuple(notes)
