"""A task's clean and corrupted runs, and the statistics over all its prompts or some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Bools, Floats
from reportgen.scores import Head, HeadScores, HeadSet, NamedArray, NotComputed, Table
from reportgen.stats import template_weights, units
from reportgen.suites.base import Context
from reportgen.suites.circuits.facts import ReuseFacts, TaskFacts, TextFacts
from reportgen.suites.circuits.scoring import passes
from reportgen.suites.circuits.scoring.circuit import Circuit, Effects, circuit, summarise
from reportgen.suites.circuits.scoring.passes import Batch, Batches, Metric, Side, alike, numbers, side_of, whole_run
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks.task import Pair, Task

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model


# Running a task's prompts: what is kept of a run, and runs with heads knocked out.


@dataclass(frozen=True, eq=False)
class Trace:
    """What one run of all prompts leaves, at the position read.

    z           [prompt layer head d_head]
    residual    [prompt layer d_model] input of each block
    final       [prompt d_model] input of the final norm
    m           [prompt] the task's metric
    logit_diff  [prompt] mean logit of the answers minus that of the foils: m itself, where that is the metric
    p_answer    [prompt] probability of the answer
    top         [prompt] whether the answer is the most likely next token
    attention   [prompt role layer head] attention from the position read to each of the task's attended roles
    """

    z: Tensor
    residual: Tensor
    final: Tensor
    m: Tensor
    logit_diff: Tensor
    p_answer: Tensor
    top: Tensor
    attention: Tensor


class Means:
    """Mean z over the corrupted prompts of one template and length, by position; zero for zero ablation.

    `trace` fills it in: no pass of its own.
    """

    def __init__(self, model: Model, ablation: str = "mean") -> None:
        record = model.record
        self.shape, self.device, self.zero = (record.n_layers, record.n_heads, record.d_head), model.device, False
        self.zero = ablation == "zero"
        self._sums: dict[tuple[int, int], Tensor] = {}  # (template, length) -> [layer pos head d_head]
        self._counts: dict[tuple[int, int], int] = {}
        self._common: dict[tuple[int, int], Sequence[int]] = {}  # first tokens that all of them share

    def hooks(self, pairs: Sequence[Pair]) -> dict[tuple[str, int], HookFn]:
        """Hooks that add a batch of these prompts."""
        keys = [(pair.template, len(pair.clean)) for pair in pairs]
        layers, heads, width = self.shape
        for key, pair in zip(keys, pairs, strict=True):
            common = self._common.get(key, pair.corrupted)
            self._common[key] = common[: alike(common, pair.corrupted)]
        places = {key: torch.tensor([i for i, own in enumerate(keys) if own == key]) for key in dict.fromkeys(keys)}
        for key, rows in places.items():
            empty = torch.zeros(layers, key[1], heads, width, device=self.device)
            self._sums.setdefault(key, empty)
            self._counts[key] = self._counts.get(key, 0) + len(rows)

        def add(layer: int) -> HookFn:
            def keep(z: Tensor) -> None:
                for key, rows in places.items():
                    self._sums[key][layer] += z[rows.to(z.device)].float().sum(0)

            return keep

        return {("z", layer): add(layer) for layer in range(layers)}

    def same(self, pairs: Sequence[Pair]) -> int:
        """First positions at which the means are the z of each of these clean prompts."""
        keys = [(pair.template, len(pair.clean)) for pair in pairs]
        both = zip(keys, pairs, strict=True)
        return 0 if self.zero else min(alike(self._common[key], pair.clean) for key, pair in both)

    def of(self, layer: int, pairs: Sequence[Pair]) -> Tensor:
        """The means of a layer for a batch of prompts of one length: [prompt pos head d_head]."""
        keys = [(pair.template, len(pair.clean)) for pair in pairs]
        found = torch.stack([self._sums[key][layer] / self._counts[key] for key in keys])
        return torch.zeros_like(found) if self.zero else found


@dataclass(frozen=True, eq=False)
class KnockOut:
    """Heads [layer head] whose z is replaced by their mean at every position."""

    heads: Bools
    means: Means

    @property
    def first(self) -> int:
        """The lowest layer that has such a head."""
        return int(np.flatnonzero(self.heads.any(1))[0])

    def hooks(self, pairs: Sequence[Pair]) -> dict[tuple[str, int], HookFn]:
        """Hooks that write the means into a batch of these prompts."""
        return {("z", layer): self._writer(layer, pairs) for layer in np.flatnonzero(self.heads.any(1)).tolist()}

    def _writer(self, layer: int, pairs: Sequence[Pair]) -> HookFn:
        means, mask = self.means.of(layer, pairs), torch.from_numpy(self.heads[layer]).to(self.means.device)
        return lambda z: torch.where(mask[:, None], means.to(z.dtype), z)


def knock_out(means: Means, heads: Sequence[Head]) -> KnockOut:
    """Ablation of these heads: their mean z over the corrupted prompts of the same template, by position, or zero."""
    grid = np.zeros(means.shape[:2], bool)
    for head in heads:
        grid[head] = True
    return KnockOut(grid, means)


@dataclass(frozen=True, eq=False)
class Below:
    """What a run shares with one made before: all below the first layer where it differs.

    trace  of the run before;  sides  its batches, in the order of the task's
    """

    trace: Trace
    sides: Sequence[Side]
    layer: int


def trace(
    model: Model,
    task: Task,
    batch: int,
    *,
    corrupted: bool = False,
    knock_out: KnockOut | None = None,
    means: Means | None = None,
    each: Callable[[list[int], Side], None] | None = None,
    below: Below | None = None,
) -> Trace:
    """Run every prompt once, clean or corrupted, with heads knocked out where asked.

    means  to be filled in;  each  gets every batch's whole run;  below  a run to start from, in the middle
    """
    metric, kept = Metric(task, model.device), _empty(model, task, below)
    first = below.layer if below else 0
    for number, indices in enumerate(task.batches(batch)):
        pairs = [task.pairs[i] for i in indices]
        rows = torch.tensor(indices, device=model.device)
        ids = torch.tensor([pair.corrupted if corrupted else pair.clean for pair in pairs], device=model.device)
        whole, seen = whole_run(model) if each else ({}, {})
        hooks = _joined(  # what is written first is kept by the others
            knock_out.hooks(pairs) if knock_out else {},
            _keepers(kept, task, pairs, rows),
            means.hooks(pairs) if means else {},
            whole,
        )
        start = (first, below.sides[number].residual[first]) if below else None
        logits = model.run(ids, hooks, last=True, start=start)[:, -1]  # [prompt vocab]
        kept.m[rows] = metric(logits, rows)
        kept.logit_diff[rows] = metric.logit_diff(logits, rows)
        kept.p_answer[rows] = metric.answers.sum(logits.softmax(-1), rows)
        best = logits.argmax(-1, keepdim=True)
        kept.top[rows] = ((metric.answers.ids[rows] == best) & metric.answers.member[rows]).any(1)
        if each:
            each(indices, side_of(model, seen, ids, kept.m[rows]))
    return kept


def _empty(model: Model, task: Task, below: Below | None) -> Trace:
    """A Trace to fill in; below the layer where a run starts as in the run before."""
    record, count = model.record, len(task.pairs)
    if below is not None:
        return Trace(*(getattr(below.trace, f.name).clone() for f in fields(Trace)))
    return Trace(
        z=torch.empty(count, record.n_layers, record.n_heads, record.d_head, device=model.device),
        residual=torch.empty(count, record.n_layers, record.d_model, device=model.device),
        final=torch.empty(count, record.d_model, device=model.device),
        m=torch.empty(count, device=model.device),
        logit_diff=torch.empty(count, device=model.device),
        p_answer=torch.empty(count, device=model.device),
        top=torch.empty(count, dtype=torch.bool, device=model.device),
        attention=torch.empty(count, len(task.attended), record.n_layers, record.n_heads, device=model.device),
    )


def _keepers(kept: Trace, task: Task, pairs: Sequence[Pair], rows: Tensor) -> dict[tuple[str, int], HookFn]:
    """Hooks that copy what a Trace keeps of a batch into its rows."""
    each = torch.arange(len(pairs), device=rows.device)
    at = torch.tensor([[pair.roles[role] for role in task.attended] for pair in pairs], device=rows.device)
    layers = kept.z.shape[1]

    def keep_z(layer: int) -> HookFn:
        def keep(z: Tensor) -> None:
            kept.z[rows, layer] = z[:, -1].float()

        return keep

    def keep_attention(layer: int) -> HookFn:
        def keep(pattern: Tensor) -> None:
            for role in range(at.shape[1]):
                kept.attention[rows, role, layer] = pattern[each, :, -1, at[:, role]].float()

        return keep

    def keep_residual(into: Tensor) -> HookFn:
        def keep(residual: Tensor) -> None:
            into[rows] = residual[:, -1].float()

        return keep

    hooks: dict[tuple[str, int], HookFn] = {}
    for layer in range(layers):
        hooks["resid_pre", layer] = keep_residual(kept.residual[:, layer])
        hooks["z", layer] = keep_z(layer)
        if task.attended:
            hooks["pattern", layer] = keep_attention(layer)
    hooks["resid_post", layers - 1] = keep_residual(kept.final)
    return hooks


def _joined(*some: Mapping[tuple[str, int], HookFn]) -> dict[tuple[str, int], HookFn]:
    """One hook of each place: those of `some` in order, each shown what the ones before wrote."""
    places = dict.fromkeys(place for hooks in some for place in hooks)
    return {place: _in_turn([hooks[place] for hooks in some if place in hooks]) for place in places}


def _in_turn(fns: Sequence[HookFn]) -> HookFn:
    def hook(tensor: Tensor) -> Tensor | None:
        shown, wrote = tensor, False
        for fn in fns:
            written = fn(shown)
            if written is not None:
                shown, wrote = written, True
        return shown if wrote else None

    return hook


Grid = npt.NDArray[np.float64]  # [layer head]
FEWEST = 16  # prompts that long ones are never cut below
PerPrompt = npt.NDArray[np.float32]  # [prompt layer head]


@dataclass
class TaskOutcome:
    """What one task adds to the result, filled in step by step.

    effects  measure -> mean effect over mean gap [layer head], for comparing tasks
    stages   stage -> its heads: "direct", "through_movers", "through_those"
    one_family  heads whose total effect the task's own templates have and the rephrased ones have not; None: not tried
    """

    facts: TaskFacts = field(default_factory=TaskFacts)
    scores: list[HeadScores] = field(default_factory=list)
    head_sets: list[HeadSet] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    arrays: dict[str, NamedArray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    not_computed: list[NotComputed] = field(default_factory=list)
    effects: dict[str, Grid] = field(default_factory=dict)
    stages: dict[str, tuple[Head, ...]] = field(default_factory=dict)
    one_family: tuple[Head, ...] | None = None
    reuse: ReuseFacts | None = None
    natural_text: TextFacts | None = None

    def members(self) -> tuple[Head, ...]:
        """All heads of the circuit, whatever their stage."""
        return tuple(sorted({head for heads in self.stages.values() for head in heads}))


@dataclass(frozen=True, eq=False)
class PromptSample:
    """Some of a task's prompts.

    rows       indices into the task's pairs
    gap        [prompt] m_clean - m_corrupted
    templates  [prompt] template index
    weights    [draw prompt] bootstrap draws: templates first, then prompts within them
    """

    rows: tuple[int, ...]
    gap: Floats
    templates: npt.NDArray[np.int64]
    weights: Floats

    @property
    def units(self) -> int:
        """How many templates there are; prompts, where they are of one."""
        return units(self.templates.tolist())


@dataclass(frozen=True, eq=False)
class Runs:
    """A task's clean and corrupted runs.

    means  of the corrupted prompts, for ablation;  whole  the sample of all prompts;  kept  their batches, where they
    fit in memory
    """

    model: Model
    task: Task
    settings: Settings
    context: Context
    clean: Trace
    corrupted: Trace
    means: Means
    whole: PromptSample
    kept: Batches | None
    rng: np.random.Generator
    _batches: dict[tuple[int, ...], Batches] = field(default_factory=dict)
    _samples: dict[int, PromptSample] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        return self.model.record.n_layers, self.model.record.n_heads

    def sample(self, count: int) -> PromptSample:
        """The first `count` prompts, fewer where prompts are long: templates come in turn, so they are spread evenly.

        Of a user's prompts, whose order may mean something, as many are drawn.
        """
        total, limit = len(self.task.pairs), self.settings.positions
        if limit:
            longest = max(len(pair.clean) for pair in self.task.pairs)
            count = min(count, max(FEWEST, limit // longest))
        if count >= total:
            return self.whole
        if count not in self._samples:
            rows: Sequence[int] = range(count)
            if self.task.user:
                rows = sorted(int(i) for i in self.rng.choice(total, size=count, replace=False))
            self._samples[count] = _sample(self.task, rows, self.whole.gap, self.settings.resamples, self.rng)
        return self._samples[count]

    def batches(self, of: PromptSample) -> Batches:
        """The sample's prompts run clean and corrupted, for patching at all positions."""
        if of.rows not in self._batches:
            first = self.kept is not None and of.rows == tuple(range(len(of.rows)))
            given = self.kept.first(len(of.rows)) if self.kept is not None and first else ()
            self._batches[of.rows] = Batches(self.model, self.task, of.rows, given)
        return self._batches[of.rows]

    def knocked_out(self, heads: Sequence[Head]) -> tuple[Trace, Trace]:
        """Clean and corrupted runs with these heads knocked out, from the lowest of their layers on."""
        gone, batch = knock_out(self.means, heads), self.settings.batch
        sides = [(b.clean, b.corrupted) for b in self.kept] if self.kept else []
        found = []
        for i, before in enumerate((self.clean, self.corrupted)):
            below = Below(before, [both[i] for both in sides], gone.first) if sides else None
            found.append(trace(self.model, self.task, batch, corrupted=bool(i), knock_out=gone, below=below))
        return found[0], found[1]

    def summarise(
        self, effects: PerPrompt, of: PromptSample | None = None, *, gap: Floats | None = None, family: int = 0
    ) -> Effects:
        """Effects [prompt layer head] of a sample as shares of its gap, with interval and adjusted p."""
        of, s = of or self.whole, self.settings
        gaps = of.gap if gap is None else gap
        return summarise(effects, gaps, of.templates, of.weights, s.effect_share, s.flips, self.rng, family)

    def circuit(self, effects: Effects) -> Circuit:
        """The heads that the settings' rule selects."""
        s = self.settings
        return circuit(effects, s.effect_share, s.alpha, merullo=s.rule == "merullo")

    def evidence(self, effects: PerPrompt, of: PromptSample | None = None) -> NamedArray:
        """Per-prompt effects [prompt layer head] as stored, with the prompts' words."""
        rows = (of or self.whole).rows
        return NamedArray(
            ("prompt", "layer", "head"), effects, {"prompt": tuple(self.task.pairs[i].text for i in rows)}
        )


def start(model: Model, task: Task, settings: Settings, context: Context, *, keep: bool = True) -> Runs:
    """Run every prompt of the task, clean and corrupted; `keep`: for patching and ablation at all positions."""
    fits = keep and numbers(model) * sum(len(pair.clean) for pair in task.pairs) <= passes.KEPT
    sides: tuple[list[Side], list[Side]] = ([], [])
    rows, means = list[list[int]](), Means(model, settings.ablation)

    def into(side: list[Side]) -> Callable[[list[int], Side], None] | None:
        return (lambda _, whole: side.append(whole)) if fits else None

    clean = trace(model, task, settings.batch, each=into(sides[0]))
    corrupted = trace(
        model, task, settings.batch, corrupted=True, means=means if keep else None, each=into(sides[1])
    )  # fmt: skip
    rows = list(task.batches(settings.batch))
    kept = [
        Batch(torch.tensor(at, device=model.device), tuple(task.pairs[i] for i in at), *both)
        for at, *both in zip(rows, *sides, strict=False)
    ]
    rng = np.random.default_rng([context.seed, 2])
    gap = (clean.m - corrupted.m).cpu().double().numpy()
    whole = _sample(task, range(len(task.pairs)), gap, settings.resamples, rng)
    held = Batches(model, task, range(len(task.pairs)), kept) if kept else None
    return Runs(model, task, settings, context, clean, corrupted, means, whole, held, rng)


def _sample(task: Task, rows: Sequence[int], gap: Floats, resamples: int, rng: np.random.Generator) -> PromptSample:
    templates = np.array([task.pairs[i].template for i in rows], np.int64)
    weights = template_weights(templates.tolist(), resamples, rng)
    return PromptSample(tuple(rows), gap[list(rows)], templates, weights)
