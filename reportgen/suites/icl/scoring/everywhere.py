"""Sets of heads ablated at all positions: of prompts in context, and of running text.

At the last position alone (held_out.py) a head may have told later blocks of the task from the examples on. Here z
becomes its mean over positions, at all positions but the first, which other positions rest on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reportgen.aliases import Bools, Float32s
from reportgen.suites.icl.scoring.effects import TaskRun
from reportgen.suites.icl.scoring.passes import batches, read
from reportgen.suites.icl.suite import FEW
from reportgen.suites.icl.tasks import Prompt

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Hooks, Model, Start

PROMPTS = FEW  # held-out prompts of a task, and deranged ones that a head's mean is over
SHARE = 0.02  # of the heads
RANKINGS = ("effect", "induction")


def mean_everywhere(
    model: Model, ids: Sequence[Tensor], run: Callable[[Tensor, Hooks], object] | None = None
) -> list[Tensor]:
    """Per layer [head d_head]: mean z over all positions but the first of texts ids [row pos]; `run` runs them."""
    layers, record = range(model.record.n_layers), model.record
    sums = [torch.zeros(record.n_heads, record.d_head, device=model.device) for _ in layers]

    def add(layer: int, z: Tensor) -> None:
        sums[layer] += z[:, 1:].float().sum((0, 1))

    hooks: dict[tuple[str, int], HookFn] = {("z", i): partial(add, i) for i in layers}
    for some in ids:
        run(some, hooks) if run is not None else model.run(some, hooks, last=True)
    count = sum(len(some) * (some.shape[1] - 1) for some in ids)
    return [total / count for total in sums]


def hooks_of(mask: Bools, mean: Sequence[Tensor]) -> dict[tuple[str, int], HookFn]:
    """Hooks that put the heads of a set [layer head] at their mean, at all positions but the first."""

    def write(layer: int, own: Tensor, z: Tensor) -> Tensor:
        out = torch.where(own[:, None], mean[layer].to(z.dtype), z)
        out[:, 0] = z[:, 0]
        return out

    members = torch.from_numpy(mask).to(mean[0].device)
    return {("z", layer): partial(write, layer, members[layer]) for layer in np.flatnonzero(mask.any(1)).tolist()}


def on_prompts(
    model: Model, run: TaskRun, queries: Sequence[Prompt], masks: Sequence[Bools]
) -> tuple[Float32s, Float32s]:
    """([set prompt] log P, the answer is first) of intact prompts, each set ablated at all positions."""
    false = [ids for _, ids in batches(model, run.prompts[:PROMPTS], "deranged")]
    mean = mean_everywhere(model, false)
    log_p, right = (np.zeros((len(masks), len(queries)), np.float32) for _ in range(2))
    edits = [hooks_of(mask, mean) for mask in masks]
    for rows, ids in batches(model, queries, "clean"):
        answers = torch.tensor([queries[i].answer for i in rows], device=model.device)
        found = []
        for edit in edits:
            logits = model.run(ids, edit, last=True)[:, -1]
            first = logits[:, : model.tokens.size].argmax(1) == answers
            found.append(torch.stack([read(logits, answers)[0], first.float()]))
        log_p[:, rows], right[:, rows] = torch.stack(found, 1).cpu().numpy()
    return log_p, right


def on_text(
    rows: Sequence[Tensor], mean: Sequence[Tensor], sets: Mapping[str, Bools],
    score: Callable[[Tensor, Hooks, Start | None], Tensor],
) -> dict[str, Float32s]:  # fmt: skip
    """Per set of heads [layer head] the change [window] of `score`(ids, hooks, start) -> [row] on windows [1 pos]."""
    found = {name: np.zeros(len(rows), np.float32) for name in sets}
    first = {name: int(np.flatnonzero(mask.any(1))[0]) for name, mask in sets.items()}
    edits = {name: hooks_of(mask, mean) for name, mask in sets.items()}
    for number, row in enumerate(rows if sets else ()):
        residual: dict[int, Tensor] = {}

        def keep(layer: int, stream: Tensor, residual: dict[int, Tensor] = residual) -> None:
            residual[layer] = stream.detach().clone()

        got = [score(row, {("resid_pre", i): partial(keep, i) for i in set(first.values())}, None)[0]]
        got += [score(row, edit, (first[name], residual[first[name]]))[0] for name, edit in edits.items()]
        whole, *changed = torch.stack(got).tolist()
        for name, value in zip(sets, changed, strict=True):
            found[name][number] = value - whole
    return found
