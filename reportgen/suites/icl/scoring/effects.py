"""What every head does at the last position of a prompt: gate, means, gradient screen, exact effects and controls."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Bools, Float32s
from reportgen.suites.icl.scoring import passes
from reportgen.suites.icl.scoring.passes import Side, Variant
from reportgen.suites.icl.suite import PAPER, Settings
from reportgen.suites.icl.tasks import Form, Prompt, Splits, Task, prompts, split

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.suites.base import Context

# Measures of an exact effect, in the order of the arrays.
OWN, FALSE, OTHER, RANDOM, NEEDED = range(5)
KINDS = ("own mean", "mean with deranged labels", "another task's mean", "random vector", "needed")


@dataclass(eq=False)
class TaskRun:
    """A task's prompts, run in both versions.

    mean, false_mean  [row layer head d_head] of the other clean, and of the other deranged prompts
    whole             [layer head d_head] mean over all clean prompts
    """

    task: Task
    splits: Splits
    prompts: list[Prompt]
    clean: list[Side]
    deranged: list[Side]
    mean: Tensor = field(default_factory=lambda: torch.empty(0))
    false_mean: Tensor = field(default_factory=lambda: torch.empty(0))
    whole: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def n(self) -> int:
        return len(self.prompts)

    def accuracy(self, which: Sequence[Side]) -> float:
        """Share of the prompts whose answer's first token has the highest logit."""
        return float(torch.cat([side.first for side in which]).float().mean())

    def base(self, which: Sequence[Side]) -> Float32s:
        """[unit row]."""
        return passes.as_floats(passes.of_rows(which, self.n))

    def average(self) -> None:
        """Fill in the means."""
        clean, false = (passes.stacked(which, self.n) for which in (self.clean, self.deranged))
        self.mean, self.false_mean, self.whole = passes.without_own(clean), passes.without_own(false), clean.mean(0)

    def passes(self, settings: Settings) -> bool:
        """Whether the model learns the task from the shots."""
        right, false = self.accuracy(self.clean), self.accuracy(self.deranged)
        return right >= settings.accuracy and right - false >= settings.gain

    def free(self) -> None:
        for side in self.deranged:
            side.free()


def task_rng(seed: int, task: str, part: int) -> np.random.Generator:
    """The noise of one task, whatever other tasks there are."""
    return np.random.default_rng([seed, part, zlib.crc32(task.encode())])


def run_task(
    model: Model, task: Task, form: Form, settings: Settings, seed: int, keep: bool, told: Callable[[int], None]
) -> TaskRun | str:
    """The task's screening prompts in both versions, or why there are too few.

    keep  the keys and values of deranged prompts, which are continued three times; intact ones are continued once more
    """
    found = split(task, seed)
    made = prompts(
        task, form, model.tokens, found.queries, settings.prompts, settings.shots, found.shots,
        task_rng(seed, task.name, 41), permuted=settings.preset == PAPER,
    )  # fmt: skip
    if len(made) < settings.prompts:
        return f"{len(made)} of {settings.prompts} prompts with {settings.shots} shots can be drawn"
    if any(len(p.clean) > model.record.n_ctx for p in made):
        return f"a prompt is longer than the context of {model.record.n_ctx} tokens"
    clean = passes.sides(model, made, "clean", False, told)
    deranged = passes.sides(model, made, "deranged", keep, told)
    return TaskRun(task, found, made, clean, deranged)


def screened(runs: Sequence[TaskRun], told: Callable[[int, int], None]) -> Float32s:
    """[prompt layer head] of all tasks, one after the other: the first-order estimate of the effect of the own mean."""
    found = []
    for number, run in enumerate(runs):
        told(number, len(runs))
        out = torch.empty(run.n, *run.whole.shape[:2])
        for side in run.deranged:
            with side.opened():
                out[side.rows] = passes.screen(side, run.mean[side.rows]).cpu()
        found.append(out)
    return passes.as_floats(torch.cat(found))


# Which heads are computed exactly.


@dataclass(frozen=True, eq=False)
class Chosen:
    """Heads [layer head] with exact effects; of these, those drawn at random (all, where all are exact)."""

    exact: Bools
    random: Bools


def choose(
    screen: Float32s, tasks: Sequence[str], induction: Float32s | None, settings: Settings, rng: np.random.Generator
) -> Chosen:
    """Every head of a model of at most `exact_heads`; else the first by the screen's mean over tasks and of each task,
    the first by induction, and a random sample.

    screen  [prompt layer head];  tasks: the prompts' tasks
    """
    shape = screen.shape[1:]
    everyone = np.ones(shape, np.bool_)
    if everyone.size <= settings.exact_heads:
        return Chosen(everyone, everyone)
    exact, random = (np.zeros(everyone.size, np.bool_) for _ in range(2))
    names = np.asarray(tasks)
    rankings = [(screen.mean(0), settings.verified)]
    rankings += [(screen[names == name].mean(0), settings.verified_task) for name in dict.fromkeys(tasks)]
    if induction is not None:
        rankings.append((np.nan_to_num(induction, nan=0.0), settings.verified // 2))
    for ranking, count in rankings:
        exact[np.argsort(-np.abs(ranking).ravel(), kind="stable")[:count]] = True
    random[rng.choice(everyone.size, size=min(settings.sampled, everyone.size), replace=False)] = True
    return Chosen((exact | random).reshape(shape), random.reshape(shape))


# Exact effects.


@dataclass(frozen=True, eq=False)
class Effects:
    """Change of what the answer gets, for the exact heads.

    each    [kind unit prompt head];  draws: [draw head] mean over prompts of the random vectors' effects, nats
    heads   (layer, head) of the last axis;  tasks: the prompts' tasks
    others  task -> the tasks whose means stand for another task's
    """

    each: Float32s
    draws: Float32s
    heads: tuple[tuple[int, int], ...]
    tasks: tuple[str, ...]
    others: dict[str, tuple[str, ...]]

    def grid(self, kind: int, unit: int, shape: tuple[int, int]) -> Float32s:
        """[prompt layer head], NaN for other heads."""
        out = np.full((self.each.shape[2], *shape), np.nan, np.float32)
        for at, (layer, head) in enumerate(self.heads):
            out[:, layer, head] = self.each[kind, unit, :, at]
        return out


def other_tasks(run: TaskRun, runs: Sequence[TaskRun], most: int, rng: np.random.Generator) -> list[TaskRun]:
    """At most so many tasks whose mean stands for another one's: of the same type of answer, any without one."""
    others = [one for one in runs if one is not run]
    same = [one for one in others if one.task.answer_type == run.task.answer_type]
    pool = same or others
    if len(pool) <= most:
        return pool
    return [pool[i] for i in sorted(rng.choice(len(pool), most, replace=False).tolist())]


def exact(
    runs: Sequence[TaskRun], heads: Bools, settings: Settings, context: Context, told: Callable[[int, int], None]
) -> Effects:
    """Effects of the chosen heads on every prompt, with what else is patched in."""
    order = [(layer, head) for layer, some in passes.layers_of(heads) for head in some]
    found, drawn, others = [], [], {}
    total = len(runs)
    for number, run in enumerate(runs):
        told(number, total)
        pool = other_tasks(run, runs, settings.other_tasks, task_rng(context.seed, run.task.name, 42))
        others[run.task.name] = tuple(one.task.name for one in pool)
        each, draws = _of_task(run, [one.whole for one in pool], heads, settings, context.seed)
        found.append(each)
        drawn.append(draws)
    told(total, total)
    names = tuple(run.task.name for run in runs for _ in range(run.n))
    return Effects(np.concatenate(found, 2), np.mean(drawn, 0), tuple(order), names, others)


def of_controls(runs: Sequence[TaskRun], like: Effects, heads: Bools, settings: Settings, seed: int) -> Effects | None:
    """Own and false mean of the same heads on the control tasks; the other kinds are NaN. None without such a task."""
    few = replace(settings, random_vectors=0)
    found = [_of_task(run, (), heads, few, seed, needed=False)[0] for run in runs]
    names = tuple(run.task.name for run in runs for _ in range(run.n))
    return replace(like, each=np.concatenate(found, 2), tasks=names, others={}) if found else None


def _of_task(
    run: TaskRun, others: Sequence[Tensor], heads: Bools, settings: Settings, seed: int, *, needed: bool = True
) -> tuple[Float32s, Float32s]:
    """([kind unit row head], [draw head]) of one task; `needed`: intact prompts, too."""
    count = int(heads.sum())
    each = np.full((len(KINDS), len(passes.UNITS), run.n, count), np.nan, np.float32)
    draws = np.zeros((settings.random_vectors, count), np.float32)
    for side in run.deranged:
        with side.opened():
            _restored(run, side, others, heads, settings, seed, each, draws)
    if settings.random_vectors:
        draws /= np.bincount(directions(run.n, settings).ravel(), minlength=len(draws))[:, None]
    for side in run.clean if needed else ():
        base, at = passes.as_floats(side.base), 0
        with side.opened():
            for layer, own in passes.layers_of(heads):
                made = [Variant(head, run.false_mean[side.rows, layer, head]) for head in own]
                loss = base[:, None] - passes.as_floats(passes.replaced(side, layer, made))  # [unit head row]
                each[NEEDED][:, side.rows, at : at + len(own)] = loss.transpose(0, 2, 1)
                at += len(own)
    return each, draws


def _restored(
    run: TaskRun, side: Side, others: Sequence[Tensor], heads: Bools, settings: Settings, seed: int, each: Float32s,
    draws: Float32s,
) -> None:  # fmt: skip
    """Fill in what patches into deranged prompts change: `each` [kind unit row head] and `draws` [draw head]."""
    base, at, k = passes.as_floats(side.base), 0, 2 + len(others)
    which = directions(run.n, settings)
    for layer, own in passes.layers_of(heads):
        made = [v for head in own for v in _variants(run, side, layer, head, others, settings, seed, which)]
        change = passes.as_floats(passes.replaced(side, layer, made)) - base[:, None]
        per_head = change.reshape(len(passes.UNITS), len(own), -1, len(side.rows))
        for i in range(len(own)):
            got = per_head[:, i]  # [unit variant row]
            each[OWN][:, side.rows, at + i], each[FALSE][:, side.rows, at + i] = got[:, 0], got[:, 1]
            if others:
                each[OTHER][:, side.rows, at + i] = got[:, 2:k].mean(1)
            if settings.random_vectors:
                each[RANDOM][:, side.rows, at + i] = got[:, k:].mean(1)
                np.add.at(draws[:, at + i], which[side.rows].T, got[0, k:])
        at += len(own)


def directions(prompts: int, settings: Settings) -> npt.NDArray[np.int64]:
    """[prompt place] which random vectors a prompt of a task gets: in turn, so that each is patched into at least
    `vector_prompts` of them."""
    count = settings.random_vectors
    each = min(count, -(-count * settings.vector_prompts // prompts))
    return np.arange(prompts * each).reshape(prompts, each) % max(1, count)


def _variants(
    run: TaskRun, side: Side, layer: int, head: int, others: Sequence[Tensor], settings: Settings, seed: int,
    which: npt.NDArray[np.int64],
) -> list[Variant]:  # fmt: skip
    """What a head's z becomes: own mean, deranged prompts' mean, other tasks' means, random vectors as far away."""
    rows, z = side.rows, side.z[layer][:, head].float()
    own = run.mean[rows, layer, head]
    given = [own, run.false_mean[rows, layer, head]]
    given += [mean[layer, head].expand(len(rows), -1) for mean in others]
    if settings.random_vectors:
        rng = np.random.default_rng([seed, 43, layer, head])  # the same directions for every prompt
        u = rng.standard_normal((settings.random_vectors, z.shape[1]))
        units = torch.from_numpy((u / np.linalg.norm(u, axis=1, keepdims=True)).astype(np.float32)).to(z.device)
        far = (own - z).norm(dim=1, keepdim=True)
        given += [z + far * units[some] for some in torch.from_numpy(which[rows].T).to(z.device)]
    return [Variant(head, one) for one in given]


def spearman(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    """Rank correlation; NaN for fewer than three or where either does not vary."""
    from scipy.stats import spearmanr

    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)
