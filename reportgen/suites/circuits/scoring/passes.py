"""Forward passes over a task's prompts: the metric, prompts run once and kept, and runs with some heads' z replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Bools
from reportgen.models.prefix_cache import Past
from reportgen.suites.circuits.tasks.task import Pair, Task, batches

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model, Start


# The metric.


class Metric:
    """m of a batch of next-token logits, for the prompts of a task."""

    def __init__(self, task: Task, device: torch.device) -> None:
        self.task = task
        self.answers = _PromptTokenSets([pair.answer_ids for pair in task.pairs], device)
        self.foils = _PromptTokenSets([pair.foil_ids for pair in task.pairs], device)
        wanted = sorted({token for pair in task.pairs for token in (*pair.answer_ids, *pair.foil_ids)})
        self.vocab = None if task.metric == "prob_diff" else torch.tensor(wanted, device=device)

    def __call__(self, logits: Tensor, prompts: Tensor) -> Tensor:
        """m [row] of logits [row vocab], whose row i belongs to prompt `prompts[i]`."""
        if self.task.metric == "prob_diff":
            parts = torch.split(logits, 16)  # small parts are faster
            total = torch.cat([some.logsumexp(-1, keepdim=True) for some in parts])
            return self.answers.probability(logits, total, prompts) - self.foils.probability(logits, total, prompts)
        return self.logit_diff(logits, prompts)

    def logit_diff(self, logits: Tensor, prompts: Tensor, vocab: Tensor | None = None) -> Tensor:
        """Mean logit of the answers minus mean logit of the foils, [row]; logits of the ids `vocab` alone if given."""
        answers, foils = (s if vocab is None else s.among(vocab) for s in (self.answers, self.foils))
        return answers.mean(logits, prompts) - foils.mean(logits, prompts)

    def run(
        self, model: Model, ids: Tensor, prompts: Tensor, hooks: Mapping[tuple[str, int], HookFn], *,
        start: Start | None = None, attention: Mapping[int, Tensor] | None = None, grad: bool = False,
        past: Past | None = None,
    ) -> Tensor:  # fmt: skip
        """m [row] of a pass over ids [row pos], arguments as of Model.run. A difference of logits needs those of the
        task's answers and foils alone: no other column of W_U is multiplied."""
        logits = model.run(
            ids, hooks, last=True, start=start, attention=attention, grad=grad, vocab=self.vocab, past=past
        )[:, -1]
        return self(logits, prompts) if self.vocab is None else self.logit_diff(logits, prompts, self.vocab)


class _PromptTokenSets:
    """One set of token ids per prompt, padded."""

    def __init__(self, sets: Sequence[Sequence[int]], device: torch.device) -> None:
        widest = max(map(len, sets))
        self.ids = torch.tensor([[*ids, *[ids[0]] * (widest - len(ids))] for ids in sets], device=device)
        sizes = torch.tensor([len(ids) for ids in sets], device=device)
        self.member = torch.arange(widest, device=device) < sizes[:, None]  # [prompt member]

    def among(self, vocab: Tensor) -> _PromptTokenSets:
        """The same sets as places in the sorted ids `vocab`, which hold them all."""
        out: _PromptTokenSets = object.__new__(_PromptTokenSets)
        out.ids, out.member = torch.searchsorted(vocab, self.ids), self.member
        return out

    def sum(self, values: Tensor, prompts: Tensor) -> Tensor:
        return (values.gather(1, self.ids[prompts]) * self.member[prompts]).sum(1)

    def probability(self, logits: Tensor, total: Tensor, prompts: Tensor) -> Tensor:
        """Probability [row] of each row's set; total [row 1] the log of the summed exponentials."""
        return ((logits.gather(1, self.ids[prompts]) - total).exp() * self.member[prompts]).sum(1)

    def mean(self, values: Tensor, prompts: Tensor) -> Tensor:
        return self.sum(values, prompts) / self.member[prompts].sum(1)


# Batches of prompts run clean and corrupted once, with everything kept that patching at all positions needs.

KEPT = 2**27  # float32 numbers kept of a task's prompts: 512 MB
ROWS = 4096  # positions in one forward pass; on a small model larger passes are no faster
GRADIENT_ROWS = 256  # positions of a backward pass, which keeps the activations of all layers
WORTH = 4  # keys and values are kept where at least one position of so many is the same
STATES = 2**25  # float32 numbers of residual streams between the passes of `patched`: 128 MB


@dataclass(frozen=True, eq=False)
class Side:
    """One run of a batch.

    ids       [prompt pos]
    z         per layer [prompt pos head d_head]
    residual  per layer [prompt pos d_model], the block's input
    m         [prompt]
    """

    ids: Tensor
    z: list[Tensor]
    residual: list[Tensor]
    m: Tensor

    def since(self, position: int) -> Side:
        """Its positions from this one on; nothing is copied."""
        if not position:
            return self
        z, residual = ([each[:, position:] for each in some] for some in (self.z, self.residual))
        return Side(self.ids[:, position:], z, residual, self.m)

    def first(self, count: int) -> Side:
        """Its first prompts; nothing is copied."""
        return Side(self.ids[:count], [z[:count] for z in self.z], [r[:count] for r in self.residual], self.m[:count])


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts of one length, `rows` of the task, and their two runs."""

    rows: Tensor
    pairs: tuple[Pair, ...]
    clean: Side
    corrupted: Side

    @property
    def same(self) -> int:
        """First positions at which no prompt's clean and corrupted tokens differ."""
        return min(alike(pair.clean, pair.corrupted) for pair in self.pairs)

    @property
    def pos(self) -> int:
        return self.clean.ids.shape[1]

    def variants(self) -> int:
        """How many variants of the whole batch one forward pass takes."""
        return max(1, ROWS // (len(self.pairs) * self.pos))


def alike(a: Sequence[int], b: Sequence[int]) -> int:
    """How many first tokens are the same."""
    return next((i for i, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))


def few(batch: Batch) -> tuple[Tensor, ...]:
    """The batch's prompts in parts whose graphs of activations fit in memory."""
    size = max(1, GRADIENT_ROWS // batch.pos)
    return torch.split(torch.arange(len(batch.rows), device=batch.rows.device), size)


def numbers(model: Model) -> int:
    """Numbers kept per position of a prompt run clean and corrupted."""
    record = model.record
    return 2 * record.n_layers * (record.d_model + record.n_heads * record.d_head)


class Batches:
    """The chosen prompts of a task in batches of one length, run clean and corrupted; kept where they fit in memory.

    chosen  indices into the task's pairs;  metric  of the task
    """

    def __init__(self, model: Model, task: Task, chosen: Sequence[int], given: Sequence[Batch] = ()) -> None:
        """`given`: batches of these prompts that were run before."""
        self.model, self.task, self.chosen = model, task, tuple(chosen)
        self.metric = Metric(task, model.device)
        self._place = {index: row for row, index in enumerate(self.chosen)}
        self._kept: list[Batch] | None = list(given) or None

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[Batch]:
        if self._kept is not None:
            return iter(self._kept)
        if numbers(self.model) * sum(len(self.task.pairs[i].clean) for i in self.chosen) <= KEPT:
            self._kept = list(self._run())
            return iter(self._kept)
        return self._run()

    def places(self, batch: Batch) -> list[int]:
        """Which of the chosen prompts a batch holds."""
        return [self._place[i] for i in batch.rows.tolist()]

    def first(self, count: int) -> list[Batch]:
        """Batches of those kept that hold the task's first `count` prompts alone; [] where none are kept."""
        found = []
        for batch in self._kept or []:
            own = int((batch.rows < count).sum())  # a batch's rows ascend
            if own:
                sides = batch.clean.first(own), batch.corrupted.first(own)
                found.append(Batch(batch.rows[:own], batch.pairs[:own], *sides))
        return found

    def _run(self) -> Iterator[Batch]:
        longest = max((len(self.task.pairs[i].clean) for i in self.chosen), default=1)
        size = max(1, min(ROWS // longest, KEPT // (numbers(self.model) * longest)))
        for indices in batches(self.task.pairs, self.chosen, size):
            pairs = tuple(self.task.pairs[i] for i in indices)
            rows = torch.tensor(indices, device=self.model.device)
            clean, corrupted = (
                _side(self.model, torch.tensor(ids, device=self.model.device), rows, self.metric)
                for ids in ([pair.clean for pair in pairs], [pair.corrupted for pair in pairs])
            )
            yield Batch(rows, pairs, clean, corrupted)


def _side(model: Model, ids: Tensor, rows: Tensor, metric: Metric) -> Side:
    hooks, kept = whole_run(model)
    m = metric.run(model, ids, rows, hooks)
    return side_of(model, kept, ids, m)


def whole_run(model: Model) -> tuple[dict[tuple[str, int], HookFn], dict[tuple[str, int], Tensor]]:
    """Hooks that keep z and residual of every layer at every position, and where they keep them."""
    kept: dict[tuple[str, int], Tensor] = {}

    def keep(at: tuple[str, int]) -> HookFn:
        def hook(tensor: Tensor) -> None:
            kept[at] = tensor.clone()

        return hook

    return {(kind, i): keep((kind, i)) for kind in ("z", "resid_pre") for i in range(model.record.n_layers)}, kept


def side_of(model: Model, kept: Mapping[tuple[str, int], Tensor], ids: Tensor, m: Tensor) -> Side:
    """What the hooks of `whole_run` kept, as a Side."""
    layers = range(model.record.n_layers)
    return Side(ids, [kept["z", i] for i in layers], [kept["resid_pre", i] for i in layers], m)


def swap(heads: Sequence[int], donor: Tensor) -> HookFn:
    """A hook on z [variant*prompt pos head d_head], variants outermost: variant i takes head `heads[i]` of the donor.

    donor  [prompt pos head d_head]
    """
    which = torch.tensor(list(heads), device=donor.device)
    each = torch.arange(len(which), device=donor.device)
    given = donor[:, :, which].permute(2, 0, 1, 3)  # [variant prompt pos d_head]

    def write(z: Tensor) -> Tensor:
        out = z.clone()
        out.view(len(which), -1, *z.shape[1:])[each, :, :, which] = given.to(z.dtype)
        return out

    return write


def repeat(tensor: Tensor, times: int) -> Tensor:
    """`tensor` [prompt ...] as [variant*prompt ...], variants outermost."""
    return tensor.repeat(times, *[1] * (tensor.ndim - 1))


# Runs in which the heads of a set take their z from elsewhere, for many sets at once.
#
# The residual stream below a layer depends on the set's heads below that layer alone. So sets are grown layer by layer
# like a tree: those that agree on all layers so far share one state, and a set is not run at all below its first head,
# where the stream is that of the kept run. Sets that differ late cost their last layers; the cost of any number of
# sets is at most that of so many passes.


@dataclass(frozen=True, eq=False)
class _Span:
    """Blocks first <= layer < stop, in which no state divides.

    parents  per state the one before the span that it continues; -1: the kept run
    masks    [state layer head], layers of the span
    """

    first: int
    stop: int
    parents: list[int]
    masks: Bools


def patched(
    model: Model, base: Side, rows: Tensor, donor: Sequence[Tensor], sets: Bools, metric: Metric, same: int = 0
) -> Tensor:
    """m [set prompt] of `base` run again with the heads of each set [set layer head] at the donor's z, all positions.

    donor  per layer [prompt pos head d_head];  rows  the prompts' indices in the task
    same   so many first positions, where the donor's z is that of `base`: their keys and values are made once
    """
    same = min(same, base.ids.shape[1] - 1)
    same = same if same * WORTH >= base.ids.shape[1] and model.keeps_past else 0
    past = Past(model, base.ids[:, :same]) if same else None
    grown = _Grown(model, base.since(same), rows, [z[:, same:] for z in donor], metric, past)
    flat, back = np.unique(sets.reshape(len(sets), -1), axis=0, return_inverse=True)  # neighbours share most layers
    size = max(1, STATES // grown.base.residual[0].numel())
    parts = [flat[at : at + size].reshape(-1, *sets.shape[1:]) for at in range(0, len(flat), size)]
    found = torch.cat([grown.m(part) for part in parts])
    return found[torch.from_numpy(back.reshape(-1)).to(found.device)]


@dataclass(frozen=True, eq=False)
class _Grown:
    """What `patched` runs, from the position on where donor and base differ; `past`: the positions before."""

    model: Model
    base: Side
    rows: Tensor
    donor: Sequence[Tensor]
    metric: Metric
    past: Past | None

    def m(self, sets: Bools) -> Tensor:
        """m [set prompt] of different sets in lexical order; all states of a layer are held at once."""
        spans, leaves = _spans(sets)
        states = list[Tensor]()  # residual stream before the span [prompt pos d_model], or m [prompt] after the last
        for span in spans:
            size = max(1, ROWS // self.base.ids.numel())
            after = list[Tensor]()
            for at in range(0, len(span.parents), size):
                some = span.parents[at : at + size]
                start = torch.cat([self.base.residual[span.first] if i < 0 else states[i] for i in some])
                masks = torch.from_numpy(span.masks[at : at + size]).to(start.device)
                after += self._through(span, masks, start).chunk(len(some))
            states = after
        return torch.stack([self.base.m if i < 0 else states[i] for i in leaves])

    def _through(self, span: _Span, masks: Tensor, residual: Tensor) -> Tensor:
        """The residual stream [state*prompt pos d_model] after a span; m [state*prompt] after the last."""
        model, hooks, start = self.model, _writers(span, masks, self.donor), (span.first, residual)
        ids = repeat(self.base.ids, len(masks))
        if span.stop == model.record.n_layers:
            return self.metric.run(model, ids, self.rows.repeat(len(masks)), hooks, start=start, past=self.past)
        kept: list[Tensor] = []
        hooks["resid_post", span.stop - 1] = lambda after: kept.append(after.clone())
        model.run_until(ids, hooks, span.stop, start=start, past=self.past)
        return kept[0]


def _writers(span: _Span, masks: Tensor, donor: Sequence[Tensor]) -> dict[tuple[str, int], HookFn]:
    """Hooks that write the donor's z into the heads of each state, masks [state layer head]."""

    def writer(layer: int) -> HookFn:
        given, mask = donor[layer], masks[:, layer - span.first, None, None, :, None]

        def write(z: Tensor) -> Tensor:
            by_state = z.view(len(masks), -1, *z.shape[1:])
            return torch.where(mask, given.to(z.dtype), by_state).view_as(z)

        return write

    layers = range(span.first, span.stop)
    return {("z", layer): writer(layer) for layer in layers if span.masks[:, layer - span.first].any()}


def _spans(sets: Bools) -> tuple[list[_Span], list[int]]:
    """How different sets [set layer head], in lexical order, divide; and the state each ends in, -1: the kept run."""
    spans, layers = list[_Span](), sets.shape[1]
    before: npt.NDArray[np.int64] = np.full(len(sets), -1)  # the state of each set
    first = 0
    while first < layers:
        after = _states(sets, first)
        stop = first + 1
        while stop < layers and np.array_equal(_states(sets, stop), after):
            stop += 1
        if after.max() >= 0:
            places = [int(np.flatnonzero(after == state)[0]) for state in range(after.max() + 1)]
            parents = [int(before[place]) for place in places]
            spans.append(_Span(first, stop, parents, sets[places, first:stop]))
        before, first = after, stop
    return spans, before.tolist()


def _states(sets: Bools, layer: int) -> npt.NDArray[np.int64]:
    """Per set the number of the state that it shares up to this layer; -1: as in the kept run."""
    flat = sets[:, : layer + 1].reshape(len(sets), -1)
    new = np.concatenate([[False], (flat[1:] != flat[:-1]).any(axis=1)])
    changed = np.asarray(flat.any(axis=1))
    return np.where(changed, np.cumsum(new) - int(not changed[0]), -1)
