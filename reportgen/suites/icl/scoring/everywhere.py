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
from reportgen.suites.icl.scoring.passes import PREFILL, read
from reportgen.suites.icl.suite import FEW
from reportgen.suites.icl.tasks import Prompt

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model

PROMPTS = FEW  # held-out prompts of a task, and deranged ones that a head's mean is over
SHARE = 0.02  # of the heads
RANKINGS = ("effect", "induction")


def mean_everywhere(
    model: Model, ids: Sequence[Tensor], seen: Callable[[Tensor, Tensor], None] | None = None
) -> list[Tensor]:
    """Per layer [head d_head]: mean z over all positions but the first of texts ids [row pos]; `seen` gets the logits
    of all positions, and the ids."""
    layers, record = range(model.record.n_layers), model.record
    sums = [torch.zeros(record.n_heads, record.d_head, device=model.device) for _ in layers]

    def add(layer: int, z: Tensor) -> None:
        sums[layer] += z[:, 1:].float().sum((0, 1))

    hooks: dict[tuple[str, int], HookFn] = {("z", i): partial(add, i) for i in layers}
    for some in ids:
        logits = model.run(some, hooks, last=seen is None)
        if seen is not None:
            seen(logits, some)
    count = sum(len(some) * (some.shape[1] - 1) for some in ids)
    return [total / count for total in sums]


def hooks_of(mask: Bools, mean: Sequence[Tensor]) -> dict[tuple[str, int], HookFn]:
    """Hooks that put the heads of a set [layer head] at their mean, at all positions but the first."""

    def write(layer: int, heads: list[int], z: Tensor) -> Tensor:
        out = z.clone()
        out[:, 1:, heads] = mean[layer][heads].to(z.dtype)
        return out

    found = {layer: np.flatnonzero(mask[layer]).tolist() for layer in range(len(mask)) if mask[layer].any()}
    return {("z", layer): partial(write, layer, heads) for layer, heads in found.items()}


def batches(model: Model, prompts: Sequence[Prompt], version: str) -> list[tuple[list[int], Tensor]]:
    """(numbers of the prompts, ids [row pos]) in batches of one length."""
    by_length: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        by_length.setdefault(len(getattr(prompt, version)), []).append(i)
    made = []
    for length, rows in sorted(by_length.items()):
        size = max(1, PREFILL // length)
        for some in (rows[at : at + size] for at in range(0, len(rows), size)):
            ids = [getattr(prompts[i], version) for i in some]
            made.append((some, torch.tensor(ids, device=model.device)))
    return made


def on_prompts(
    model: Model, run: TaskRun, queries: Sequence[Prompt], masks: Sequence[Bools]
) -> tuple[Float32s, Float32s]:
    """([set prompt] log P, the answer is first) of intact prompts, each set ablated at all positions."""
    false = [ids for _, ids in batches(model, run.prompts[:PROMPTS], "deranged")]
    mean = mean_everywhere(model, false)
    log_p, right = (np.zeros((len(masks), len(queries)), np.float32) for _ in range(2))
    for rows, ids in batches(model, queries, "clean"):
        answers = torch.tensor([queries[i].answer for i in rows], device=model.device)
        for number, mask in enumerate(masks):
            logits = model.run(ids, hooks_of(mask, mean), last=True)[:, -1]
            log_p[number, rows] = read(logits, answers)[0].cpu().numpy()
            right[number, rows] = (logits[:, : model.tokens.size].argmax(1) == answers).float().cpu().numpy()
    return log_p, right


def on_text(
    model: Model, rows: Sequence[Tensor], mean: Sequence[Tensor], sets: Mapping[str, Bools],
    score: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Float32s]:  # fmt: skip
    """Per set of heads [layer head] the change [window] of `score` (logits, ids) -> [row] of windows ids [1 pos]."""
    found = {name: np.zeros(len(rows), np.float32) for name in sets}
    first = {name: int(np.flatnonzero(mask.any(1))[0]) for name, mask in sets.items()}
    for number, row in enumerate(rows if sets else ()):
        residual: dict[int, Tensor] = {}

        def keep(layer: int, stream: Tensor, residual: dict[int, Tensor] = residual) -> None:
            residual[layer] = stream.detach().clone()

        keeping: dict[tuple[str, int], HookFn] = {
            ("resid_pre", i): partial(keep, i) for i in sorted(set(first.values()))
        }
        whole = float(score(model.run(row, keeping), row)[0])
        for name, mask in sets.items():
            start = (first[name], residual[first[name]])
            found[name][number] = float(score(model.run(row, hooks_of(mask, mean), start=start), row)[0]) - whole
    return found
