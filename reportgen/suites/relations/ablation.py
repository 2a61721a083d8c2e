"""Causal ablation: does a relation's answer go away when its top heads are switched off, and only then?

After Elhelo and Geva (arXiv 2412.11965), section 4.2 and its code: heads are removed cumulatively in the order of their
static score, at the last position of the relation's prompt; accuracy is the share of pairs whose target is the most
likely next token. Notable decisions:

- A removed head's z becomes its mean over the relation's OWN prompts, every distinct target weighing the same: what
  all sources have in common stays and what tells them apart goes. The mean over other relations' prompts would also
  take the task's format away, which is not what the relation score claims. The paper's zero ablation is a setting.
- Controls: random heads that are none of the removed ones, layer by layer and of like output norm; and other tasks
  whose own top heads are others, with the same heads removed.
- Controls are run up to the number of heads that the table reports.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.scores import Head, HeadScores, NamedArray, NotComputed, head_name
from reportgen.suites.relations.ablation_run import Bools, Runner
from reportgen.suites.relations.ablation_sets import (
    RandomSets,
    masks,
    most_removed,
    random_sets,
    removal_steps,
    top_heads,
)
from reportgen.suites.relations.ablation_table import curve_table, summary_table
from reportgen.suites.relations.data import Kept
from reportgen.suites.relations.dynamic import pick, sample
from reportgen.suites.relations.pieces import Pieces
from reportgen.suites.relations.prompting import Prompt, make_prompts

if TYPE_CHECKING:
    from reportgen.models.model import Model

Progress = Callable[[int, int, str], None]
MIN_BASE = 0.1  # tasks that the model solves less often have nothing to lose
MAX_OVERLAP, MAX_BASE_GAP, MAX_CONTROLS = 0.15, 0.2, 5
MIN_P_SETS = 399


@dataclass(frozen=True)
class AblationOptions:
    """mode: "mean" or "zero";  n_random: random sets for the band;  p_sets: random sets for a p-value at the reported
    number of heads (0: none, else at least 399);  max_prompts: prompts per relation, drawn at random (0: all)"""

    mode: str = "mean"
    n_random: int = 20
    p_sets: int = 0
    max_prompts: int = 100
    min_prompts: int = 10

    def __post_init__(self) -> None:
        if self.mode not in ("mean", "zero"):
            raise ValueError(f"ablation mode {self.mode!r}: expected mean or zero")
        if 0 < self.p_sets < MIN_P_SETS:
            raise ValueError(f"p_sets={self.p_sets}: a p-value needs at least {MIN_P_SETS} random sets, or 0 for none")


@dataclass(eq=False)
class Trial:
    """One relation under ablation, filled stage by stage.

    order     its heads in the order of removal;  steps  numbers of heads removed, from 0
    correct   [step prompt] with its own heads removed;  removed  the reported number: the first with accuracy 0, or all
    random    accuracy of random sets [set step] up to `removed`, or as far as there are other heads
    p_random  accuracy of the random sets for the p-value, at `removed`
    controls  other task -> accuracy [step] up to `removed`, with this relation's heads removed
    """

    kept: Kept
    prompts: list[Prompt]
    order: list[Head]
    steps: tuple[int, ...]
    correct: Bools
    norms: npt.NDArray[np.float64]
    removed: int
    sets: RandomSets | None = None
    random: npt.NDArray[np.float64] | None = None
    p_random: npt.NDArray[np.float64] | None = None
    controls: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        return self.kept.relation.stem

    @property
    def accuracy(self) -> npt.NDArray[np.float64]:
        return np.asarray(self.correct.mean(1), dtype=np.float64)

    @property
    def tested(self) -> tuple[int, ...]:
        """The steps up to the reported number: those that the controls are run at."""
        return tuple(step for step in self.steps if step <= self.removed)


def ablation(
    model: Model,
    kept: Sequence[Kept],
    static: Mapping[str, HeadScores],
    options: AblationOptions,
    *,
    cached: bool,
    seed: int = 0,
    progress: Progress = lambda done, total, words: None,
) -> Pieces:
    """Accuracy of every relation that has a prompt, with its top heads removed one after the other, and the controls.

    static   relation -> static scores of measure `score`, which give the order of removal
    cached   `past.check_cache(model)`

    tables   ablation, ablation_curves
    arrays   ablation_correct/<relation> [step prompt] uint8; ablation_random/<relation> [set step] accuracy;
             ablation_random_heads/<relation> [set place] flat head index layer * n_heads + head
    facts    "ablation": see `_facts`
    """
    trials, missing = [], []
    without = [k.relation.stem for k in kept if not k.relation.prompt]
    if without:
        missing.append(NotComputed(f"causal ablation of {', '.join(without)}", "relations.toml has no prompt for it"))
    wanted = [k for k in kept if k.relation.prompt]
    for i, k in enumerate(wanted):
        made = first_stage(model, k, static[k.relation.stem], options, cached=cached, rng=_rng(seed, k, 1))
        if isinstance(made, Trial):
            trials.append(made)
        else:
            missing.append(made)
        progress(i + 1, 2 * len(wanted), "causal ablation, own heads")
    for trial in trials:
        chosen = control_tasks(trial, trials, _rng(seed, trial.kept, 2))
        trial.controls = {other.stem: np.full(len(trial.tested), np.nan) for other in chosen}
    for i, trial in enumerate(trials):
        active: Bools = np.isfinite(static[trial.stem].values)
        second_stage(model, trial, trials, active, options, cached=cached, rng=_rng(seed, trial.kept, 3))
        progress(len(wanted) + i + 1, 2 * len(wanted), "causal ablation, controls")
    if not trials:
        return Pieces(not_computed=tuple(missing))
    arrays = {name: array for trial in trials for name, array in _arrays(trial).items()}
    tables = (summary_table(trials, options), curve_table(trials, options))
    missing += [
        NotComputed(
            f"random heads beside more than {t.sets.heads.shape[1]} heads of {t.stem}",
            f"{t.removed} heads are removed, and fewer others are left",
        )
        for t in trials
        if t.sets is not None and t.sets.heads.shape[1] < t.removed
    ]
    return Pieces((), tables, arrays, {"ablation": _facts(trials, options)}, not_computed=tuple(missing))


def first_stage(
    model: Model, kept: Kept, static: HeadScores, options: AblationOptions, *, cached: bool, rng: np.random.Generator
) -> Trial | NotComputed:
    """The relation's own curve, or why there is none."""
    what = f"causal ablation of {kept.relation.stem}"
    r = model.record
    words = {s: source for (source, _), s in zip(kept.pairs, kept.sources, strict=True)}
    made = make_prompts(model.tokens, kept.relation.prompt, ((w, s) for s, w in words.items()), r.n_ctx)
    of = {s: prompt for s, prompt in zip(words, made, strict=True) if prompt is not None}
    usable = [i for i, s in enumerate(kept.sources) if s in of]
    if len(usable) < options.min_prompts:
        return NotComputed(what, f"the source stays one token in {len(usable)} of {len(kept.pairs)} prompts")
    kept = sample(pick(kept, usable), options.max_prompts, rng)
    prompts = [of[s] for s in kept.sources]
    runner = Runner(model, prompts, kept.targets, mode=options.mode, cached=cached)
    base = float(runner.base.mean())
    if base < MIN_BASE:
        return NotComputed(what, f"base accuracy is {base:.2f} on {len(prompts)} prompts, below {MIN_BASE}")
    order = top_heads(static.values, most_removed(r.n_layers * r.n_heads))
    if not order:
        return NotComputed(what, "no head has a score above 0")
    steps = removal_steps(len(order))
    off = masks(_flat([order], r.n_heads), steps[1:], (r.n_layers, r.n_heads))[0]
    correct = np.concatenate([runner.base[None], runner.correct(off)])
    zero = np.flatnonzero(~correct.any(1))
    removed = steps[int(zero[0])] if len(zero) else steps[-1]
    return Trial(kept, prompts, order, steps, correct, runner.norms, removed)


def control_tasks(trial: Trial, trials: Sequence[Trial], rng: np.random.Generator) -> list[Trial]:
    """At most MAX_CONTROLS other tasks, at random among those of like base accuracy whose top heads are others."""
    mine = set(trial.order[: trial.removed])
    fit = [
        other
        for other in trials
        if abs(other.accuracy[0] - trial.accuracy[0]) < MAX_BASE_GAP
        and len(mine & set(other.order[: trial.removed])) < MAX_OVERLAP * trial.removed
    ]
    picked = np.sort(rng.permutation(len(fit))[:MAX_CONTROLS])
    return [fit[i] for i in picked]


def second_stage(
    model: Model,
    task: Trial,
    trials: Sequence[Trial],
    active: Bools,
    options: AblationOptions,
    *,
    cached: bool,
    rng: np.random.Generator,
) -> None:
    """Everything that is run on this task's prompts but its own heads: random heads, and other relations' heads."""
    r = model.record
    shape = (r.n_layers, r.n_heads)
    like = task.order[: task.removed]
    task.sets = random_sets(like, active, task.norms, options.n_random, rng) if options.n_random else None
    p_sets = random_sets(like, active, task.norms, options.p_sets, rng) if options.p_sets else None
    guests = [other for other in trials if task.stem in other.controls]
    jobs = []
    if p_sets is not None and p_sets.heads.shape[1] < task.removed:
        p_sets = None
    if task.sets is not None:
        steps = [step for step in task.tested[1:] if step <= task.sets.heads.shape[1]]
        jobs.append(masks(task.sets.heads, steps, shape).reshape(-1, *shape))
    if p_sets is not None:
        jobs.append(masks(p_sets.heads, (task.removed,), shape)[:, 0])
    jobs += [masks(_flat([other.order], r.n_heads), other.tested[1:], shape)[0] for other in guests]
    if not jobs:
        return
    runner = Runner(model, task.prompts, task.kept.targets, mode=options.mode, cached=cached)
    correct = runner.correct(np.concatenate(jobs))  # [variant prompt]
    shares = [part.mean(1) for part in np.split(correct, np.cumsum([len(job) for job in jobs])[:-1])]
    base = task.accuracy[0]
    if task.sets is not None:
        random = shares.pop(0).reshape(options.n_random, -1)  # [set step]
        task.random = np.concatenate([np.full((len(random), 1), base), random], axis=1)
    if p_sets is not None:
        task.p_random = shares.pop(0)
    for other, share in zip(guests, shares, strict=True):
        other.controls[task.stem] = np.concatenate([[base], share])


def _flat(orders: Sequence[Sequence[Head]], n_heads: int) -> npt.NDArray[np.int32]:
    return np.array([[layer * n_heads + head for layer, head in order] for order in orders], dtype=np.int32)


def _rng(seed: int, kept: Kept, stage: int) -> np.random.Generator:
    """One generator per relation and stage, so that leaving a relation out changes no other's draws."""
    return np.random.default_rng([seed, zlib.crc32(kept.relation.stem.encode()), stage])


def _arrays(trial: Trial) -> dict[str, NamedArray]:
    stem = trial.stem
    steps = tuple(str(step) for step in trial.steps)
    labels = {"step": steps, "prompt": trial.kept.labels}
    arrays = {f"ablation_correct/{stem}": NamedArray(("step", "prompt"), trial.correct.astype(np.uint8), labels)}
    if trial.sets is not None and trial.random is not None:
        tested = {"step": steps[: trial.random.shape[1]]}
        arrays[f"ablation_random/{stem}"] = NamedArray(("set", "step"), trial.random.astype(np.float32), tested)
        arrays[f"ablation_random_heads/{stem}"] = NamedArray(("set", "place"), trial.sets.heads)
    return arrays


def _facts(trials: Sequence[Trial], options: AblationOptions) -> dict[str, object]:
    return {
        "mode": options.mode,
        "mean_over": "the relation's own prompts, every distinct target weighing the same",
        "n_random": options.n_random,
        "p_sets": options.p_sets,
        "relations": {
            t.stem: {
                "n_prompts": len(t.prompts),
                "heads": [head_name(*head) for head in t.order],
                "removed": t.removed,
                "reached_zero": bool(t.accuracy[t.steps.index(t.removed)] == 0),
                "controls": sorted(t.controls),
                "layer_fallbacks": t.sets.layer_fallbacks if t.sets else None,
                "norm_fallbacks": t.sets.norm_fallbacks if t.sets else None,
                "draws": int(t.sets.heads.size) if t.sets else 0,
            }
            for t in trials
        },
    }
