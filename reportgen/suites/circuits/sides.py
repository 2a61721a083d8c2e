"""Batches of prompts run clean and corrupted once, with everything kept that patching at all positions needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reportgen.suites.circuits.tasks import Pair, Task, batches
from reportgen.suites.circuits.traces import Metric

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model

KEPT = 2**27  # float32 numbers kept of one batch: 512 MB
ROWS = 4096  # positions in one forward pass; on a small model larger passes are no faster


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


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts of one length, `rows` of the task, and their two runs."""

    rows: Tensor
    pairs: tuple[Pair, ...]
    clean: Side
    corrupted: Side

    @property
    def pos(self) -> int:
        return self.clean.ids.shape[1]

    def variants(self) -> int:
        """How many variants of the whole batch one forward pass takes."""
        return max(1, ROWS // (len(self.pairs) * self.pos))


class Batches:
    """The chosen prompts of a task in batches of one length, run clean and corrupted; kept where they fit in memory.

    chosen  indices into the task's pairs;  metric  of the task
    """

    def __init__(self, model: Model, task: Task, chosen: Sequence[int]) -> None:
        self.model, self.task, self.chosen = model, task, tuple(chosen)
        self.metric = Metric(task, model.device)
        self._place = {index: row for row, index in enumerate(self.chosen)}
        self._kept: list[Batch] | None = None

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[Batch]:
        if self._kept is not None:
            return iter(self._kept)
        if self._numbers() * sum(len(self.task.pairs[i].clean) for i in self.chosen) <= KEPT:
            self._kept = list(self._run())
            return iter(self._kept)
        return self._run()

    def places(self, batch: Batch) -> list[int]:
        """Which of the chosen prompts a batch holds."""
        return [self._place[i] for i in batch.rows.tolist()]

    def _numbers(self) -> int:
        """Numbers kept per position."""
        record = self.model.record
        return 2 * record.n_layers * (record.d_model + record.n_heads * record.d_head)

    def _run(self) -> Iterator[Batch]:
        longest = max((len(self.task.pairs[i].clean) for i in self.chosen), default=1)
        size = max(1, min(ROWS // longest, KEPT // (self._numbers() * longest)))
        for indices in batches(self.task.pairs, self.chosen, size):
            pairs = tuple(self.task.pairs[i] for i in indices)
            rows = torch.tensor(indices, device=self.model.device)
            clean, corrupted = (
                _side(self.model, torch.tensor(ids, device=self.model.device), rows, self.metric)
                for ids in ([pair.clean for pair in pairs], [pair.corrupted for pair in pairs])
            )
            yield Batch(rows, pairs, clean, corrupted)


def _side(model: Model, ids: Tensor, rows: Tensor, metric: Metric) -> Side:
    layers = range(model.record.n_layers)
    kept: dict[tuple[str, int], Tensor] = {}

    def keep(at: tuple[str, int]) -> HookFn:
        def hook(tensor: Tensor) -> None:
            kept[at] = tensor.clone()

        return hook

    hooks = {(kind, layer): keep((kind, layer)) for kind in ("z", "resid_pre") for layer in layers}
    m = metric(model.run(ids, hooks, last=True)[:, -1], rows)
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
