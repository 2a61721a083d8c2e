"""Held-out queries: function vectors added to the residual stream, and sets of heads that lose the task.

Heads and layers are chosen on the screening queries; what is reported comes from queries that nothing was chosen on,
and, for ablation, from tasks that the heads were not ranked on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reportgen.aliases import Bools, Float32s
from reportgen.models.prefix_cache import beside_logits, last_logits, runs_beside
from reportgen.scores import Cell, Column, NamedArray, Table, head_name
from reportgen.stats import bootstrap_interval
from reportgen.suites import facts
from reportgen.suites.icl.facts import IclFacts, Outcome
from reportgen.suites.icl.scoring import everywhere, passes
from reportgen.suites.icl.scoring.effects import TaskRun, other_tasks, task_rng
from reportgen.suites.icl.scoring.passes import Side
from reportgen.suites.icl.suite import PAPER, Settings
from reportgen.suites.icl.tasks import Form, Prompt, prompts
from reportgen.suites.ranked import TOP

if TYPE_CHECKING:
    from reportgen.models.model import Model

CONDITIONS = ("zero-shot", "deranged examples")
VECTORS = ("none", "own task", "another task", "random vector", "random heads")
SHARES = (0.01, 0.02, 0.05, 0.10)  # of the heads that are ablated
RANKINGS = ("effect", "induction", "effect without induction", "induction without effect")
EACH = 3  # vectors of another task, random vectors and random sets of heads
_FIRST = [0, 1, 2, 2 + EACH, 2 + 2 * EACH]  # one of each: what is added behind every block
ALL_POSITIONS = "all positions"
LAYERS = 32  # above, every second layer is tried

Told = Callable[[int, int], None]


@dataclass(eq=False)
class Vectors:
    """What function vectors do.

    layers   the blocks behind which a vector was added;  heads: those that are summed
    curve    [condition vector layer] mean over tasks of log P on the screening queries
    chosen   [condition] the layer with the highest log P of the own task's vector there
    held     [condition vector prompt] log P on held-out queries at that layer;  right: the answer is first
    tasks    the held-out prompts' tasks
    """

    layers: tuple[int, ...]
    heads: tuple[tuple[int, int], ...]
    curve: Float32s
    chosen: tuple[int, ...] = ()
    held: Float32s = field(default_factory=lambda: np.zeros(0, np.float32))
    right: Float32s = field(default_factory=lambda: np.zeros(0, np.float32))
    tasks: tuple[str, ...] = ()


@dataclass(eq=False)
class Ablated:
    """Held-out prompts with intact examples and sets of heads at their mean over deranged prompts.

    log_p, right  [ranking share prompt], NaN for a ranking that the run has not;  random: the same, [set share prompt]
    whole         [2 prompt] log P and right of the whole model
    everywhere    [2 set prompt] the same at all positions, of few prompts whose tasks are `few_tasks`: the whole model,
                  `everywhere.RANKINGS`, random sets
    replaced      heads of random sets that were drawn from the nearest layer
    """

    log_p: Float32s
    right: Float32s
    random_log_p: Float32s
    random_right: Float32s
    whole: Float32s
    tasks: tuple[str, ...]
    replaced: int = 0
    everywhere: Float32s = field(default_factory=lambda: np.zeros((2, 0, 0), np.float32))
    few_tasks: tuple[str, ...] = ()


def held_prompts(model: Model, run: TaskRun, form: Form, settings: Settings, seed: int) -> list[Prompt]:
    """The task's prompts on held-out queries; no shot is one."""
    rng = task_rng(seed, run.task.name, 51)
    return prompts(
        run.task,
        form,
        model.tokens,
        run.splits.held,
        settings.held_prompts,
        settings.shots,
        run.splits.shots,
        rng,
        permuted=settings.preset == PAPER,
    )


def bare(model: Model, run: TaskRun, form: Form, some: Sequence[Prompt]) -> list[Prompt]:
    """The same queries without examples."""
    made = []
    for one in some:
        ids = tuple(model.tokens.prompt_ids(form.query(run.task.pairs[one.pair][0])))
        made.append(Prompt(ids, ids, one.answer, False, one.pair, (), ()))
    return made


# Function vectors.


def vectors(
    model: Model, runs: Sequence[TaskRun], ranking: Sequence[tuple[int, int]], form: Form, settings: Settings,
    seed: int, told: Told,
) -> Vectors:  # fmt: skip
    """Add each task's vector behind every block; the block is chosen on screening queries and tested on others."""
    n_layers = model.record.n_layers
    layers = tuple(range(0, n_layers - 1, 1 if n_layers <= LAYERS else 2))
    out = Vectors(layers, tuple(ranking[: settings.vector_heads]), np.zeros((2, len(VECTORS), len(layers)), np.float32))
    made = [_task_vectors(model, run, runs, out.heads, settings, seed) for run in runs]
    for number, (run, given) in enumerate(zip(runs, made, strict=True)):
        told(number, 2 * len(runs))
        zero = passes.sides(model, bare(model, run, form, run.prompts), "clean", True)
        for condition, some in enumerate((zero, run.deranged)):
            for side in some:
                with side.opened():
                    for at, layer in enumerate(layers):
                        total = _added(side, layer, given[_FIRST])[0].sum(1)
                        out.curve[condition, :, at] += passes.as_floats(total) / run.n / len(runs)
    out.chosen = tuple(layers[int(out.curve[condition, 1].argmax())] for condition in range(2))
    held, right, names = [], [], []
    for number, (run, given) in enumerate(zip(runs, made, strict=True)):
        told(len(runs) + number, 2 * len(runs))
        queries = held_prompts(model, run, form, settings, seed)
        zero = passes.sides(model, bare(model, run, form, queries), "clean", False)
        both = (zero, passes.sides(model, queries, "deranged", False))
        values = np.zeros((2, 2, len(VECTORS), len(queries)), np.float32)
        for condition, some in enumerate(both):
            for side in some:
                log_p, first = _added(side, out.chosen[condition], given)
                values[0, condition][:, side.rows] = passes.as_floats(_grouped(log_p))
                values[1, condition][:, side.rows] = passes.as_floats(_grouped(first.float()))
        held.append(values[0])
        right.append(values[1])
        names += [run.task.name] * len(queries)
    told(2 * len(runs), 2 * len(runs))
    out.held, out.right, out.tasks = np.concatenate(held, -1), np.concatenate(right, -1), tuple(names)
    return out


def _task_vectors(
    model: Model, run: TaskRun, runs: Sequence[TaskRun], heads: Sequence[tuple[int, int]], settings: Settings, seed: int
) -> Tensor:
    """[1 + 1 + 3 EACH, d_model]: zero, the own vector, and EACH of the controls."""
    rng = task_rng(seed, run.task.name, 52)
    own = summed(model, run.whole, heads)
    others = other_tasks(run, runs, EACH, rng)
    elsewhere = [summed(model, one.whole, heads) for one in others] or [torch.zeros_like(own)]
    given = [torch.zeros_like(own), own, *(elsewhere[i % len(elsewhere)] for i in range(EACH))]
    for _ in range(EACH):
        u = torch.from_numpy(rng.standard_normal(len(own)).astype(np.float32)).to(own)
        given.append(u / u.norm() * own.norm())
    mask = np.zeros(run.whole.shape[:2], np.bool_)
    mask[tuple(np.array(heads).T)] = True
    for _ in range(EACH):
        drawn, _moved = matched(mask, rng)
        given.append(summed(model, run.whole, [(int(a), int(b)) for a, b in np.argwhere(drawn)]))
    return torch.stack(given)


def summed(model: Model, mean: Tensor, heads: Sequence[tuple[int, int]]) -> Tensor:
    """[d_model] sum of what the heads write at their mean z [layer head d_head]; without the projection's bias."""
    total = torch.zeros(model.record.d_model, device=mean.device)
    for layer, head in heads:
        total += mean[layer, head] @ model.W_O(layer)[head].float()
    return total


def _grouped(values: Tensor) -> Tensor:
    """[vector ...] from [given ...]: the mean over the EACH of a control."""
    return torch.cat([values[:2], values[2:].reshape(3, EACH, *values.shape[1:]).mean(1)])


def _added(side: Side, layer: int, given: Tensor) -> tuple[Tensor, Tensor]:
    """([given row] log P, right) with each vector [given d_model] added behind block `layer` at the last position."""
    start = layer + 1
    count, n = len(given), len(side.rows)
    residual = side.residual[start]
    moved = residual[:, None] + given[None].to(residual.dtype)  # [row given d_model]
    if runs_beside(side.model, side.ids.shape[1] + count):
        logits = beside_logits(side.past, side.ids[:, -1:], count, start=(start, moved)).flatten(0, 1)
        answers = side.answers.repeat_interleave(count)
        order = torch.arange(n * count).view(n, count).T.flatten().to(answers.device)
        logits, answers = logits[order], answers[order]
    else:
        answers, rows = side.answers.repeat(count), moved.transpose(0, 1).flatten(0, 1)[:, None]

        def write(stream: Tensor) -> Tensor:
            return rows.to(stream.dtype)

        logits = last_logits(side.past, side.ids[:, -1:].repeat(count, 1), {("resid_pre", start): write})
    first = logits[:, : side.model.tokens.size].argmax(1) == answers
    return passes.read(logits, answers)[0].view(count, n), first.view(count, n)


# Ablation.


def matched(mask: Bools, rng: np.random.Generator) -> tuple[Bools, int]:
    """A random set with as many heads of each layer, none of them in `mask` [layer head]; of a layer with too few left
    the rest comes from the nearest layers, and is counted."""
    out, moved = np.zeros_like(mask), 0
    for layer in np.flatnonzero(mask.any(1)).tolist():
        wanted = int(mask[layer].sum())
        for near in sorted(range(len(mask)), key=lambda i: (abs(i - layer), i)):
            pool = np.flatnonzero(~mask[near] & ~out[near])
            some = rng.permutation(pool)[:wanted]
            out[near, some] = True
            moved += len(some) * (near != layer)
            wanted -= len(some)
            if not wanted:
                break
    return out, moved


def ranked_sets(effect: Float32s, induction: Float32s | None) -> dict[str, list[Bools]]:
    """Ranking -> a set [layer head] per share of SHARES; those with the other's highest left out, too."""
    total = effect.size

    def highest(values: Float32s, count: int, without: Bools | None = None) -> Bools:
        flat = np.where(np.isfinite(values), values, -np.inf).ravel().copy()
        if without is not None:
            flat[without.ravel()] = -np.inf
        member = np.zeros(total, np.bool_)
        member[np.argsort(-flat, kind="stable")[:count]] = True
        return member.reshape(values.shape)

    counts = [max(1, round(share * total)) for share in SHARES]
    found = {RANKINGS[0]: [highest(effect, n) for n in counts]}
    if induction is not None:
        best = max(1, round(TOP * total))
        found[RANKINGS[1]] = [highest(induction, n) for n in counts]
        found[RANKINGS[2]] = [highest(effect, n, highest(induction, best)) for n in counts]
        found[RANKINGS[3]] = [highest(induction, n, highest(effect, best)) for n in counts]
    return found


def ablated(
    model: Model, runs: Sequence[TaskRun], effects_by_task: Mapping[str, Float32s], induction: Float32s | None,
    form: Form, settings: Settings, seed: int, told: Told,
) -> Ablated:  # fmt: skip
    """Two folds over tasks: the sets of one fold come from the effects [layer head] on the other's tasks."""
    parts: list[Ablated] = []
    for number, run in enumerate(runs):
        told(number, len(runs))
        others = [effects_by_task[one.task.name] for i, one in enumerate(runs) if i % 2 != number % 2]
        sets = ranked_sets(np.mean(others, 0), induction)
        rng = task_rng(seed, run.task.name, 53)
        drawn = [[matched(mask, rng) for mask in sets[RANKINGS[0]]] for _ in range(settings.ablation_sets)]
        masks = [mask for name in sets for mask in sets[name]] + [mask for some in drawn for mask, _ in some]
        queries = held_prompts(model, run, form, settings, seed)
        false = passes.stacked(run.deranged, run.n).mean(0)
        values = np.zeros((2, len(masks) + 1, len(queries)), np.float32)
        for side in passes.sides(model, queries, "clean", False):
            given = false.expand(len(side.rows), *false.shape)
            with side.opened():
                got, first = passes.sets_replaced(side, np.stack(masks), given)
            values[0][:, side.rows] = np.vstack([passes.as_floats(got[0]), passes.as_floats(side.base[0])])
            values[1][:, side.rows] = np.vstack([passes.as_floats(first), passes.as_floats(side.first)])
        part = _part(values, list(sets), run.task.name, sum(moved for some in drawn for _, moved in some))
        if settings.everywhere_sets:
            part.everywhere = _everywhere(model, run, queries, sets, drawn[: settings.everywhere_sets])
            part.few_tasks = (run.task.name,) * part.everywhere.shape[-1]
        parts.append(part)
    told(len(runs), len(runs))
    return Ablated(
        log_p=np.concatenate([part.log_p for part in parts], -1),
        right=np.concatenate([part.right for part in parts], -1),
        random_log_p=np.concatenate([part.random_log_p for part in parts], -1),
        random_right=np.concatenate([part.random_right for part in parts], -1),
        whole=np.concatenate([part.whole for part in parts], -1),
        tasks=tuple(name for part in parts for name in part.tasks),
        replaced=sum(part.replaced for part in parts),
        everywhere=np.concatenate([part.everywhere for part in parts], -1),
        few_tasks=tuple(name for part in parts for name in part.few_tasks),
    )


def _everywhere(
    model: Model, run: TaskRun, queries: Sequence[Prompt], sets: Mapping[str, Sequence[Bools]],
    drawn: Sequence[Sequence[tuple[Bools, int]]],
) -> Float32s:  # fmt: skip
    """[log P or right, set prompt] on few of the queries: the whole model, each ranking (NaN where it has none), random
    sets."""
    at = SHARES.index(everywhere.SHARE)
    named = [name for name in everywhere.RANKINGS if name in sets]
    masks = [
        np.zeros_like(sets[RANKINGS[0]][at]),
        *(sets[name][at] for name in named),
        *(some[at][0] for some in drawn),
    ]
    got = np.stack(everywhere.on_prompts(model, run, queries[: everywhere.PROMPTS], masks))
    for place, name in enumerate(everywhere.RANKINGS, 1):
        if name not in sets:
            got = np.insert(got, place, np.nan, axis=1)
    return got


def _part(values: Float32s, names: Sequence[str], task: str, replaced: int) -> Ablated:
    """The values [log P or right, set prompt] of one task by ranking and share; the last set is the whole model."""
    n, shares = values.shape[-1], len(SHARES)
    own = np.full((2, len(RANKINGS), shares, n), np.nan, np.float32)
    for i, name in enumerate(names):
        own[:, RANKINGS.index(name)] = values[:, i * shares : (i + 1) * shares]
    random = values[:, len(names) * shares : -1].reshape(2, -1, shares, n)
    return Ablated(own[0], own[1], random[0], random[1], values[:, -1], (task,) * n, replaced)


# What is stored and said of them.


def _outcome(
    name: str, log_p: Float32s, right: Float32s, tasks: Sequence[str], resamples: int, rng: np.random.Generator,
    **more: object,
) -> Outcome:  # fmt: skip
    """Means over prompts [prompt] with intervals over tasks and prompts within them."""
    both = np.stack([log_p, right], 1).astype(np.float64)
    low, high = bootstrap_interval(both, tasks, rng, draws=resamples)
    number = facts.Number
    return Outcome(
        name=name, log_p=number(both[:, 0].mean()), low=number(low[0]), high=number(min(0.0, high[0])),
        accuracy=number(both[:, 1].mean()), accuracy_low=number(max(0.0, low[1])),
        accuracy_high=number(min(1.0, high[1])), **more,  # type: ignore[arg-type]
    )  # fmt: skip


def tell_vectors(found: Vectors, told: IclFacts, resamples: int, rng: np.random.Generator) -> Table:
    """Fill in the facts of function vectors; their table."""
    told.vector_heads = [head_name(*head) for head in found.heads]
    told.vector_layers = list(found.chosen)
    for c, condition in enumerate(CONDITIONS):
        for v, name in enumerate(VECTORS):
            log_p, right = found.held[c, v], found.right[c, v]
            told.vector_outcomes.append(_outcome(name, log_p, right, found.tasks, resamples, rng, condition=condition))
    return _table(
        "vectors", "Function vectors on held-out queries", told.vector_outcomes, "vector",
        f"Sum of what {len(found.heads)} heads write at their mean over intact prompts of a task, added behind block "
        f"{found.chosen[0]} (zero-shot) and {found.chosen[1]} (deranged examples), chosen on other queries. Controls: "
        f"means of {EACH} vectors each.",
    )  # fmt: skip


def tell_ablated(found: Ablated, told: IclFacts, resamples: int, rng: np.random.Generator) -> Table:
    """Fill in the facts of ablation; its table."""
    number = facts.Number
    told.ablation_sets, told.ablation_moved = len(found.random_log_p), found.replaced
    told.ablation.append(
        _outcome("whole model", found.whole[0], found.whole[1], found.tasks, resamples, rng, share=number(0.0))
    )
    for r, name in enumerate(RANKINGS):
        for s, share in enumerate(SHARES):
            log_p, right = found.log_p[r, s], found.right[r, s]
            if np.isfinite(log_p).all():
                told.ablation.append(_outcome(name, log_p, right, found.tasks, resamples, rng, share=number(share)))
    for s, share in enumerate(SHARES):
        told.ablation.append(_random(found.random_log_p[:, s], found.random_right[:, s], share=number(share)))
    told.everywhere = _told_everywhere(found, resamples, rng)
    few = (
        f" All positions: the mean over positions of {everywhere.PROMPTS} deranged prompts, at all positions but the "
        f"first; {found.everywhere.shape[-1]} prompts; random: {_count(found)} sets and their range."
        if told.everywhere else ""
    )  # fmt: skip
    return _table(
        "ablation", "Heads ablated on held-out queries of held-out tasks", [*told.ablation, *told.everywhere], "heads",
        "z at the last position becomes its mean over deranged prompts. Heads are ranked on the other half of the "
        f"tasks. Random: {told.ablation_sets} sets with as many heads of each layer as the ranking by effect; its "
        f"interval is their middle 95 %. {told.ablation_moved} of their heads come from the nearest layer.{few}",
    )  # fmt: skip


def _random(log_p: Float32s, right: Float32s, ends: tuple[float, float] = (0.025, 0.975), **more: object) -> Outcome:
    """Of random sets [set prompt]: the mean of their means, and these ends of them."""
    (low, high), (least, most) = (np.quantile(some.mean(-1), ends) for some in (log_p, right))
    number = facts.Number
    return Outcome(
        name="random", log_p=number(log_p.mean()), low=number(low), high=number(high), accuracy=number(right.mean()),
        accuracy_low=number(least), accuracy_high=number(most), **more,  # type: ignore[arg-type]
    )  # fmt: skip


def _count(found: Ablated) -> int:
    """Random sets that were ablated at all positions."""
    return int(found.everywhere.shape[1]) - 1 - len(everywhere.RANKINGS)


def _told_everywhere(found: Ablated, resamples: int, rng: np.random.Generator) -> list[Outcome]:
    """Outcomes at all positions: the whole model on the same prompts, each ranking, random sets with their range."""
    if not found.everywhere.size:
        return []
    log_p, right = found.everywhere
    number, made = facts.Number, []
    for place, name in enumerate(("whole model", *everywhere.RANKINGS)):
        share = number(everywhere.SHARE if place else 0.0)
        if np.isfinite(log_p[place]).all():
            values = (log_p[place], right[place], found.few_tasks, resamples, rng)
            made.append(_outcome(name, *values, share=share, condition=ALL_POSITIONS))
    rest = slice(1 + len(everywhere.RANKINGS), None)
    share = number(everywhere.SHARE)
    return [*made, _random(log_p[rest], right[rest], (0.0, 1.0), share=share, condition=ALL_POSITIONS)]


def _table(key: str, title: str, outcomes: Sequence[Outcome], first: str, caption: str) -> Table:
    def cell(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    of_sets = key == "ablation"
    rows: list[tuple[Cell, ...]] = [
        (o.name, *((cell(o.share), o.condition or "last position") if of_sets else (o.condition,)), *(cell(x) for x in (
            o.log_p, o.low, o.high, o.accuracy, o.accuracy_low, o.accuracy_high))) for o in outcomes
    ]  # fmt: skip
    where = (Column("share of heads", digits=2), Column("at")) if of_sets else (Column("condition"),)
    columns = (Column(first), *where, Column("log P", "nats"), Column("low"), Column("high"),
               Column("accuracy"), Column("low, accuracy"), Column("high, accuracy"))  # fmt: skip
    return Table(f"icl/{key}", title, columns, tuple(rows), caption, folded=True)


def arrays(vector: Vectors | None, ablation: Ablated | None) -> dict[str, NamedArray]:
    """What the figures draw."""
    found = {}
    if vector is not None:
        names = {"condition": CONDITIONS, "vector": VECTORS}
        layers = {"layer": tuple(map(str, vector.layers))}
        found["vector_curve"] = NamedArray(("condition", "vector", "layer"), vector.curve, {**names, **layers})
        both = np.stack([vector.held, vector.right])
        found["vectors"] = NamedArray(
            ("unit", "condition", "vector", "prompt"), both, {"unit": ("nats", "right"), **names}
        )
    if ablation is not None:
        names = {"ranking": RANKINGS, "share": tuple(f"{share:g}" for share in SHARES)}
        both = np.stack([ablation.log_p, ablation.right])
        found["ablation"] = NamedArray(
            ("unit", "ranking", "share", "prompt"), both, {"unit": ("nats", "right"), **names}
        )
        random = np.stack([ablation.random_log_p, ablation.random_right]).mean(-1)
        found["ablation_random"] = NamedArray(
            ("unit", "set", "share"), random, {"unit": ("nats", "right"), "share": names["share"]}
        )
        if ablation.everywhere.size:
            labels = ("whole model", *everywhere.RANKINGS, *(f"random {i}" for i in range(_count(ablation))))
            found["everywhere"] = NamedArray(
                ("unit", "set", "prompt"), ablation.everywhere, {"unit": ("nats", "right"), "set": labels}
            )
    return found
