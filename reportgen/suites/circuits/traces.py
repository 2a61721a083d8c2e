"""Running a task's prompts: the metric, what is kept of a run, and runs with heads knocked out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reportgen.suites.circuits.tasks import Pair, Task

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model


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


@dataclass(frozen=True, eq=False)
class KnockOut:
    """Heads whose z is replaced by a mean at every position, and that mean.

    heads   layer -> heads
    means   (template, length) -> layer -> [pos head d_head], mean over the corrupted prompts of that template
    """

    heads: Mapping[int, tuple[int, ...]]
    means: Mapping[tuple[int, int], Mapping[int, Tensor]]

    def hooks(self, pairs: Sequence[Pair]) -> dict[tuple[str, int], HookFn]:
        """Hooks that write the means into a batch of these prompts."""
        return {("z", layer): self._writer(layer, pairs) for layer in self.heads}

    def _writer(self, layer: int, pairs: Sequence[Pair]) -> HookFn:
        means = self.of(layer, pairs)  # [prompt pos head d_head]
        heads = torch.tensor(self.heads[layer], device=means.device)

        def write(z: Tensor) -> Tensor:
            z = z.clone()
            z[:, :, heads] = means.to(z.dtype)
            return z

        return write

    def of(self, layer: int, pairs: Sequence[Pair]) -> Tensor:
        """The means of a layer's heads for a batch of prompts of one length: [prompt pos head d_head]."""
        return torch.stack([self.means[pair.template, len(pair.clean)][layer] for pair in pairs])


class Metric:
    """m of a batch of next-token logits, for the prompts of a task."""

    def __init__(self, task: Task, device: torch.device) -> None:
        self.task = task
        self.answers = _Sets([pair.answer_ids for pair in task.pairs], device)
        self.foils = _Sets([pair.foil_ids for pair in task.pairs], device)

    def __call__(self, logits: Tensor, prompts: Tensor) -> Tensor:
        """m [row] of logits [row vocab], whose row i belongs to prompt `prompts[i]`."""
        if self.task.metric == "prob_diff":
            p = logits.softmax(-1)
            return self.answers.sum(p, prompts) - self.foils.sum(p, prompts)
        return self.logit_diff(logits, prompts)

    def logit_diff(self, logits: Tensor, prompts: Tensor) -> Tensor:
        """Mean logit of the answers minus mean logit of the foils, [row]."""
        return self.answers.mean(logits, prompts) - self.foils.mean(logits, prompts)


class _Sets:
    """One set of token ids per prompt, padded."""

    def __init__(self, sets: Sequence[Sequence[int]], device: torch.device) -> None:
        widest = max(map(len, sets))
        self.ids = torch.tensor([[*ids, *[ids[0]] * (widest - len(ids))] for ids in sets], device=device)
        sizes = torch.tensor([len(ids) for ids in sets], device=device)
        self.member = torch.arange(widest, device=device) < sizes[:, None]  # [prompt member]

    def sum(self, values: Tensor, prompts: Tensor) -> Tensor:
        return (values.gather(1, self.ids[prompts]) * self.member[prompts]).sum(1)

    def mean(self, values: Tensor, prompts: Tensor) -> Tensor:
        return self.sum(values, prompts) / self.member[prompts].sum(1)


def trace(model: Model, task: Task, batch: int, *, corrupted: bool = False, knock_out: KnockOut | None = None) -> Trace:
    """Run every prompt once, clean or corrupted, with heads knocked out where asked."""
    record, count = model.record, len(task.pairs)
    metric = Metric(task, model.device)
    kept = Trace(
        z=torch.empty(count, record.n_layers, record.n_heads, record.d_head, device=model.device),
        residual=torch.empty(count, record.n_layers, record.d_model, device=model.device),
        final=torch.empty(count, record.d_model, device=model.device),
        m=torch.empty(count, device=model.device),
        logit_diff=torch.empty(count, device=model.device),
        p_answer=torch.empty(count, device=model.device),
        top=torch.empty(count, dtype=torch.bool, device=model.device),
        attention=torch.empty(count, len(task.attended), record.n_layers, record.n_heads, device=model.device),
    )
    for indices in task.batches(batch):
        pairs = [task.pairs[i] for i in indices]
        rows = torch.tensor(indices, device=model.device)
        ids = torch.tensor([pair.corrupted if corrupted else pair.clean for pair in pairs], device=model.device)
        hooks = _keepers(kept, task, pairs, rows)
        if knock_out is not None:  # write first, then keep what was written
            for key, write in knock_out.hooks(pairs).items():
                hooks[key] = _both(write, hooks[key])
        logits = model.run(ids, hooks, last=True)[:, -1]  # [prompt vocab]
        kept.m[rows] = metric(logits, rows)
        kept.logit_diff[rows] = metric.logit_diff(logits, rows)
        kept.p_answer[rows] = metric.answers.sum(logits.softmax(-1), rows)
        best = logits.argmax(-1, keepdim=True)
        kept.top[rows] = ((metric.answers.ids[rows] == best) & metric.answers.member[rows]).any(1)
    return kept


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


def _both(write: HookFn, keep: HookFn) -> HookFn:
    """A hook that writes, and shows what it wrote to another."""

    def hook(tensor: Tensor) -> Tensor | None:
        written = write(tensor)
        keep(tensor if written is None else written)
        return written

    return hook


def knock_out(
    model: Model, task: Task, heads: Sequence[tuple[int, int]], batch: int, ablation: str = "mean"
) -> KnockOut:
    """Ablation of these heads: their mean z over the corrupted prompts of the same template, by position, or zero."""
    by_layer: dict[int, tuple[int, ...]] = {}
    for layer, head in sorted(heads):
        by_layer[layer] = (*by_layer.get(layer, ()), head)
    places = {layer: torch.tensor(some, device=model.device) for layer, some in by_layer.items()}
    totals: dict[tuple[int, int], dict[int, Tensor]] = {}
    counts: dict[tuple[int, int], int] = {}
    for indices in task.batches(batch):
        pairs = [task.pairs[i] for i in indices]
        keys = [(pair.template, len(pair.clean)) for pair in pairs]
        for key in keys:
            counts[key] = counts.get(key, 0) + 1

        def add(layer: int, keys: Sequence[tuple[int, int]] = tuple(keys)) -> HookFn:
            def keep(z: Tensor) -> None:
                for key, part in zip(keys, z[:, :, places[layer]].float(), strict=True):  # [pos head d_head]
                    sums = totals.setdefault(key, {})
                    sums[layer] = sums[layer] + part if layer in sums else part.clone()

            return keep

        ids = torch.tensor([pair.corrupted for pair in pairs], device=model.device)
        model.run_until(ids, {("z", layer): add(layer) for layer in by_layer}, max(by_layer) + 1)
    share = {key: 0.0 if ablation == "zero" else 1 / count for key, count in counts.items()}
    means = {key: {layer: part * share[key] for layer, part in sums.items()} for key, sums in totals.items()}
    return KnockOut(by_layer, means)
