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
- Only the last position differs from the clean run, so its keys and values of the positions before are kept and many
  variants run as one batch. The earlier blocks are run again in each: skipping them would save at most half.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Bools, Floats, Progress
from reportgen.models.prefix_cache import Past
from reportgen.scores import Cell, Column, Head, HeadScores, NamedArray, NotComputed, Table, head_name
from reportgen.stats import holm, two_way_wilson
from reportgen.suites.ov import RandomSets, output_norms, random_sets
from reportgen.suites.pairs import KeptPairs, pick, sample
from reportgen.suites.relations.scoring.dynamic import RelationPrompt, batch_rows, make_prompts
from reportgen.suites.relations.scoring.results import Pieces

if TYPE_CHECKING:
    from reportgen.models.model import Hooks, Model


# Which heads to remove: a relation's top heads, and how many at a time.

CAPS = ((300, 30), (500, 50), (1000, 100), (1500, 150))  # fewer heads than -> at most this many removed
MOST = 250


def most_removed(n_heads: int) -> int:
    """The paper's cap on the number of heads removed, by the number of heads of the model."""
    return next((cap for below, cap in CAPS if n_heads < below), MOST)


def removal_steps(most: int) -> tuple[int, ...]:
    """0, 1, 2, 3, 5, 8, 13, 21, ... below `most`, and `most`."""
    steps, a, b = [0], 1, 2
    while a < most:
        steps.append(a)
        a, b = b, a + b
    return (*steps, most) if most > 0 else (0,)


def top_heads(scores: npt.NDArray[np.float32], most: int) -> list[Head]:
    """Heads with a score above 0, largest first, equal scores by larger flat index first (the paper's order)."""
    flat = scores.reshape(-1)
    order = sorted((int(i) for i in np.flatnonzero(flat > 0)), key=lambda i: (-flat[i], -i))  # NaN is not above 0
    return [divmod(i, scores.shape[1]) for i in order][:most]


def masks(sets: npt.NDArray[np.integer], sizes: Sequence[int], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """[set size layer head] True for the first `size` heads of every set, for every size."""
    out = np.zeros((len(sets), len(sizes), shape[0] * shape[1]), dtype=bool)
    for i, row in enumerate(sets):
        for j, size in enumerate(sizes):
            out[i, j, row[:size]] = True
    return out.reshape(len(sets), len(sizes), *shape)


@dataclass(frozen=True, eq=False)
class _Group:
    """Prompts of one length: their places, the positions before the last, the last position's ids [row 1]."""

    rows: Tensor
    past: Past
    last: Tensor


class Runner:
    """Prompts with one answer token each; `correct` says which are answered, whatever is switched off.

    fill   [layer head d_head] what a head's z becomes when it is switched off
    norms  [layer head] root mean square over prompts of ||(z - fill) W_O||: how much switching off takes away
    """

    def __init__(
        self, model: Model, prompts: Sequence[RelationPrompt], targets: Sequence[int], *, mode: str, cached: bool
    ) -> None:
        """`mode`: "mean" (of z over these prompts, every distinct target weighing the same) or "zero"."""
        self.model, self.cached = model, cached
        self.targets = torch.tensor(targets, device=model.device)
        self.groups = self._groups(prompts)
        self.base, z = self._clean(len(prompts))
        self.fill = torch.zeros_like(z[0]) if mode == "zero" else balanced_mean(z, self.targets)
        self.norms = output_norms(model, z, self.fill)

    def _groups(self, prompts: Sequence[RelationPrompt]) -> list[_Group]:
        lengths: dict[int, list[int]] = {}
        for i, prompt in enumerate(prompts):
            lengths.setdefault(len(prompt.ids), []).append(i)
        groups = []
        for length, places in lengths.items():
            size = batch_rows(self.model, 1 if self.cached else length)
            for start in range(0, len(places), size):
                some = places[start : start + size]
                ids = torch.tensor([prompts[i].ids for i in some])
                past = Past(self.model, ids[:, :-1], cached=self.cached)
                groups.append(_Group(torch.tensor(some, device=self.model.device), past, ids[:, -1:]))
        return groups

    def _clean(self, n: int) -> tuple[Bools, Tensor]:
        r = self.model.record
        z = torch.empty(n, r.n_layers, r.n_heads, r.d_head, device=self.model.device)
        correct = np.zeros(n, dtype=bool)
        for group in self.groups:
            hooks = {("z", layer): _keep(z, layer, group.rows) for layer in range(r.n_layers)}
            correct[group.rows.cpu().numpy()] = self._answers(group, group.last, hooks)[0]
        return correct, z

    def correct(self, off: Bools) -> Bools:
        """[variant prompt] whether the most likely token is the target with the heads off [variant layer head]."""
        out = np.zeros((len(off), len(self.targets)), dtype=bool)
        for group in self.groups:
            length = group.past.ids.shape[1] + 1
            step = max(1, batch_rows(self.model, 1 if self.cached else length) // len(group.rows))
            for start in range(0, len(off), step):
                some = off[start : start + step]
                ids = group.last.repeat(len(some), 1)  # [variant*row 1]
                columns = group.rows.cpu().numpy()
                out[start : start + step, columns] = self._answers(group, ids, self._hooks(some, len(group.rows)))
        return out

    def _hooks(self, off: Bools, rows: int) -> Hooks:
        hooks = {}
        for layer in np.flatnonzero(off.any((0, 2))):
            mask = torch.from_numpy(off[:, layer]).to(self.model.device).repeat_interleave(rows, dim=0)
            hooks["z", int(layer)] = _switch_off(mask, self.fill[layer])
        return hooks

    def _answers(self, group: _Group, ids: Tensor, hooks: Hooks) -> Bools:
        logits = group.past.run(ids, hooks, last=True)[:, -1]  # [variant*row vocab]
        found = logits.argmax(-1).view(-1, len(group.rows))
        right: Bools = (found == self.targets[group.rows]).cpu().numpy()
        return right


def balanced_mean(z: Tensor, targets: Tensor) -> Tensor:
    """Mean of z [row ...] in which every distinct target weighs the same."""
    kinds = torch.unique(targets)
    return torch.stack([z[targets == kind].mean(0) for kind in kinds]).mean(0)


def _keep(into: Tensor, layer: int, rows: Tensor) -> Callable[[Tensor], None]:
    def hook(z: Tensor) -> None:
        into[rows, layer] = z[:, -1].float()

    return hook


def _switch_off(mask: Tensor, fill: Tensor) -> Callable[[Tensor], Tensor]:
    """Replaces the last position's z of the heads in mask [row head] by fill [head d_head]."""

    def hook(z: Tensor) -> Tensor:
        out = z.clone()  # [row pos head d_head]
        out[:, -1] = torch.where(mask[:, :, None], fill.to(z.dtype), z[:, -1])
        return out

    return hook


# The tables of the causal ablation: one line per relation, and the curves.


def summary_table(trials: Sequence[AblationTrial], options: AblationOptions) -> Table:
    """`ablation`: one line per relation at the first number of heads with accuracy 0, else with all removed."""
    columns = (
        Column("Category"), Column("Relation"), Column("Prompts"), Column("Commonest target"), Column("Base accuracy"),
        Column("low"), Column("high"), Column("Heads removed"), Column("Accuracy without them"), Column("low"),
        Column("high"), Column("Random heads"), Column("5 %"), Column("95 %"), Column("p", digits=4),
        Column("Control tasks"), Column("Controls, base"), Column("Controls, same heads removed"),
    )  # fmt: skip
    adjusted = holm([_p(t) for t in trials])
    rows = []
    for trial, p in zip(trials, adjusted, strict=True):
        low, high = _interval(trial)
        at = trial.steps.index(trial.removed)
        accuracy = trial.accuracy
        outside = (_controls(trial, 0), _controls(trial, at))
        numbers = (accuracy[at], low[at], high[at], *_band(trial, at), p)
        relation, n = trial.kept.relation, len(trial.prompts)
        common = max(Counter(trial.kept.targets).values()) / n
        before = _cells((common, accuracy[0], low[0], high[0]))
        after = (*_cells(numbers), len(trial.controls), *_cells(outside))
        row: tuple[Cell, ...] = (relation.category, relation.title, n, *before, trial.removed, *after)
        rows.append(row)
    return Table("ablation", "Causal ablation of relation heads", columns, tuple(rows), _caption(options))


def curve_table(trials: Sequence[AblationTrial], options: AblationOptions) -> Table:
    """`ablation_curves`: one line per relation and number of heads removed."""
    columns = (
        Column("Relation"), Column("Heads removed"), Column("Accuracy"), Column("low"), Column("high"),
        Column("Random heads"), Column("5 %"), Column("95 %"), Column("Controls"),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for trial in trials:
        low, high = _interval(trial)
        for at, step in enumerate(trial.steps):
            numbers = (trial.accuracy[at], low[at], high[at], *_band(trial, at), _controls(trial, at))
            rows.append((trial.kept.relation.stem, step, *_cells(numbers)))
    return Table("ablation_curves", "Accuracy against heads removed", columns, tuple(rows), _caption(options))


def _p(trial: AblationTrial) -> float:
    """Share of random sets that hurt at least as much, (1 + #) / (1 + B); NaN without enough sets."""
    if trial.p_random is None:
        return float("nan")
    accuracy = trial.accuracy[trial.steps.index(trial.removed)]
    return float((1 + (trial.p_random <= accuracy).sum()) / (1 + len(trial.p_random)))


def _interval(trial: AblationTrial) -> tuple[Floats, Floats]:
    """95 % interval of the accuracy at every step [step]; prompts with one target are one cluster."""
    return two_way_wilson(trial.correct.T[None], trial.kept.targets)


def _band(trial: AblationTrial, at: int) -> tuple[float, float, float]:
    """Mean, 5 % and 95 % of the random sets' accuracy at a step; NaN where they were not run."""
    if trial.random is None or at >= trial.random.shape[1]:
        return np.nan, np.nan, np.nan
    here = trial.random[:, at]
    low, high = np.percentile(here, (5, 95))
    return float(here.mean()), float(low), float(high)


def _controls(trial: AblationTrial, at: int) -> float:
    """Mean accuracy of the control tasks at a step with this relation's heads removed; NaN where there are none."""
    found = [curve[at] for curve in trial.controls.values() if at < len(curve)]
    return float(np.mean(found)) if found else np.nan


def _cells(numbers: Sequence[float]) -> tuple[Cell, ...]:
    return tuple(float(x) if np.isfinite(x) else None for x in numbers)


def _caption(options: AblationOptions) -> str:
    how = "their mean over the relation's prompts" if options.mode == "mean" else "zero"
    return (
        "Share of prompts whose most likely next token is the target, with the relation's top heads set to "
        f"{how} at the last position; 95 % Wilson intervals clustered by target. Random heads: {options.n_random} "
        "sets of the same number of other heads, matched in layer and output norm if possible. Controls: the same "
        "heads removed on other tasks. p: share of random sets that hurt as much, Holm over relations. Commonest "
        "target: the accuracy of always giving one answer; a base accuracy near it leaves little to lose."
    )


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
class AblationTrial:
    """One relation under ablation, filled stage by stage.

    order     its heads in the order of removal;  steps  numbers of heads removed, from 0
    correct   [step prompt] with its own heads removed;  removed  the reported number: the first with accuracy 0, or all
    random    accuracy of random sets [set step] up to `removed`, or as far as there are other heads
    p_random  accuracy of the random sets for the p-value, at `removed`
    controls  other task -> accuracy [step] up to `removed`, with this relation's heads removed
    """

    kept: KeptPairs
    prompts: list[RelationPrompt]
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
    kept: Sequence[KeptPairs],
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
        if isinstance(made, AblationTrial):
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
    model: Model,
    kept: KeptPairs,
    static: HeadScores,
    options: AblationOptions,
    *,
    cached: bool,
    rng: np.random.Generator,
) -> AblationTrial | NotComputed:
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
    return AblationTrial(kept, prompts, order, steps, correct, runner.norms, removed)


def control_tasks(
    trial: AblationTrial, trials: Sequence[AblationTrial], rng: np.random.Generator
) -> list[AblationTrial]:
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
    task: AblationTrial,
    trials: Sequence[AblationTrial],
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


def _rng(seed: int, kept: KeptPairs, stage: int) -> np.random.Generator:
    """One generator per relation and stage, so that leaving a relation out changes no other's draws."""
    return np.random.default_rng([seed, zlib.crc32(kept.relation.stem.encode()), stage])


def _arrays(trial: AblationTrial) -> dict[str, NamedArray]:
    stem = trial.stem
    steps = tuple(str(step) for step in trial.steps)
    labels = {"step": steps, "prompt": trial.kept.labels}
    arrays = {f"ablation_correct/{stem}": NamedArray(("step", "prompt"), trial.correct.astype(np.uint8), labels)}
    if trial.sets is not None and trial.random is not None:
        tested = {"step": steps[: trial.random.shape[1]]}
        arrays[f"ablation_random/{stem}"] = NamedArray(("set", "step"), trial.random.astype(np.float32), tested)
        arrays[f"ablation_random_heads/{stem}"] = NamedArray(("set", "place"), trial.sets.heads)
    return arrays


def _facts(trials: Sequence[AblationTrial], options: AblationOptions) -> dict[str, object]:
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
