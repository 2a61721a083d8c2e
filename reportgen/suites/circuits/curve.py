"""Faithfulness against circuit size: what is left of a task when only some heads, or all but some, are kept.

- Every other head is ablated: its mean z over the corrupted prompts of the same template, by position (or zero, the
  papers' way, where the settings ask for it). MLPs stay.
- f = (m - m_none) / (m_clean - m_none), m_none with every head ablated: 1 is the whole model, 0 nothing. Heads join
  in order of |total effect| (as in the MIB benchmark, arXiv 2504.13151); CPR is the area under f, CMD the area of
  |1 - f|, both over the share of heads.
- `kept` keeps the first k heads; `removed` ablates them and keeps the others (the complement).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.scores import Head
from reportgen.suites.circuits import sides
from reportgen.suites.circuits.tasks import Pair, Task, batches
from reportgen.suites.circuits.traces import KnockOut, Metric, knock_out

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class Ablation:
    """A task's prompts with any heads replaced by their means."""

    def __init__(self, model: Model, task: Task, chosen: Sequence[int], batch: int, ablation: str = "mean") -> None:
        """`chosen` prompts are run; the means are over all the task's corrupted prompts."""
        self.model, self.task, self.chosen = model, task, chosen
        record = model.record
        everyone = [(layer, head) for layer in range(record.n_layers) for head in range(record.n_heads)]
        self.means: KnockOut = knock_out(model, task, everyone, batch, ablation)
        self.metric = Metric(task, model.device)

    def m(self, ablated: Bools, progress: Callable[[int, int, str], None] = lambda *_: None) -> Floats:
        """m [set prompt] with the heads of each set [set layer head] ablated, prompts in the order of `chosen`."""
        place = {index: row for row, index in enumerate(self.chosen)}
        out = np.empty((len(ablated), len(self.chosen)))
        longest = max(len(self.task.pairs[i].clean) for i in self.chosen)
        done = 0
        for indices in batches(self.task.pairs, self.chosen, max(1, sides.ROWS // longest)):
            pairs = [self.task.pairs[i] for i in indices]
            size = max(1, sides.ROWS // (len(pairs) * len(pairs[0].clean)))
            for start in range(0, len(ablated), size):
                progress(done, len(ablated) * len(self.chosen), f"{self.task.title}: faithfulness")
                some = ablated[start : start + size]
                out[start : start + size, [place[i] for i in indices]] = self._run(pairs, indices, some)
                done += len(some) * len(pairs)
        return out

    def _run(self, pairs: Sequence[Pair], indices: Sequence[int], ablated: Bools) -> Floats:
        device = self.model.device
        ids = torch.tensor([pair.clean for pair in pairs], device=device)
        hooks: dict[tuple[str, int], HookFn] = {}
        masks = torch.from_numpy(ablated).to(device)  # [set layer head]
        for layer in np.flatnonzero(ablated.any((0, 2))).tolist():
            mask = masks[:, layer].repeat_interleave(len(pairs), 0)
            hooks["z", layer] = _writer(mask, sides.repeat(self.means.of(layer, pairs), len(ablated)))
        logits = self.model.run(sides.repeat(ids, len(ablated)), hooks, last=True)[:, -1]
        m = self.metric(logits, torch.tensor(list(indices), device=device).repeat(len(ablated)))
        found: Floats = m.view(len(ablated), -1).cpu().double().numpy()
        return found

    def norms(self) -> Floats:
        """Root mean square over clean prompts and positions of ||(z - mean) W_O||, [layer head]."""
        record, total = self.model.record, 0
        sums = torch.zeros(record.n_layers, record.n_heads, device=self.model.device)
        for indices in batches(self.task.pairs, self.chosen, 16):
            pairs = [self.task.pairs[i] for i in indices]
            ids = torch.tensor([pair.clean for pair in pairs], device=self.model.device)
            total += ids.numel()
            hooks = {("z", layer): self._adder(sums, layer, pairs) for layer in range(record.n_layers)}
            self.model.run_until(ids, hooks, record.n_layers)
        found: Floats = (sums / total).sqrt().cpu().double().numpy()
        return found

    def _adder(self, sums: Tensor, layer: int, pairs: Sequence[Pair]) -> HookFn:
        means, W_O = self.means.of(layer, pairs), self.model.W_O(layer)

        def add(z: Tensor) -> None:
            lost = torch.einsum("rphe,hed->rphd", z.float() - means, W_O)
            sums[layer] += lost.square().sum(-1).sum((0, 1))

        return add


def _writer(mask: Tensor, means: Tensor) -> HookFn:
    """Replaces z [row pos head d_head] of the heads in `mask` [row head] by their means."""
    return lambda z: torch.where(mask[:, None, :, None], means.to(z.dtype), z)


def sizes(total: int, *more: int) -> npt.NDArray[np.int64]:
    """0, 1, 2, 3, 5, 8, 13, ... and all heads, and these more."""
    steps, a, b = {0, total, *more}, 1, 2
    while a < total:
        steps.add(a)
        a, b = b, a + b
    return np.array(sorted(step for step in steps if 0 <= step <= total), np.int64)


def first(order: Sequence[Head], counts: Sequence[int], shape: tuple[int, int]) -> Bools:
    """[size layer head]: the first k heads of the order, for every k."""
    out = np.zeros((len(counts), *shape), bool)
    for row, count in zip(out, counts, strict=True):
        for head in order[:count]:
            row[head] = True
    return out


def by_size(effects: npt.NDArray[np.floating]) -> list[Head]:
    """Heads [layer head] by |effect|, largest first; those without a value last, in order."""
    flat = np.nan_to_num(np.abs(effects).ravel(), nan=-1.0)
    return [divmod(int(i), effects.shape[1]) for i in np.argsort(-flat, kind="stable")]


def faithfulness(m: Floats, clean: float, none: float) -> Floats:
    """f [set] of m [set prompt]: a ratio of means."""
    found: Floats = (m.mean(1) - none) / (clean - none)
    return found


def area(counts: npt.NDArray[np.int64], values: Floats) -> float:
    """Trapezoid area of the values over the share of heads."""
    return float(np.trapezoid(values, counts / counts[-1]))
