"""Where heads look from words of the prompt that have stood in it before: for telling duplicate-token, induction and
previous-token heads apart by evidence (Wang et al. 2022, section 3.3; Olsson et al. 2022).

Per role whose token stands earlier in the prompt, from role position p and its last earlier copy c:
    duplicate  attention p -> c        induction  p -> c + 1        previous  c + 1 -> c
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.suites.circuits.tasks import Pair, Task, batches
from reportgen.suites.circuits.tasks.task import END

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model

Floats = npt.NDArray[np.float32]
KINDS = ("duplicate", "induction", "previous")
COMMON = 0.5  # share of the prompts in which a role's token must have an earlier copy


def repeated(pair: Pair, role: str) -> int | None:
    """The last earlier position of the token of this role, at least two before it."""
    at = pair.roles[role]
    return next((pos for pos in range(at - 2, -1, -1) if pair.clean[pos] == pair.clean[at]), None)


def roles(task: Task, chosen: Sequence[int]) -> tuple[str, ...]:
    """Roles whose token has an earlier copy in most of these prompts; END only where no other has one."""
    pairs = [task.pairs[i] for i in chosen]
    names = dict.fromkeys(role for pair in pairs for role in pair.roles)
    common = [
        role
        for role in names
        if sum(role in pair.roles and repeated(pair, role) is not None for pair in pairs) >= COMMON * len(pairs)
    ]
    return tuple(role for role in common if role != END) or tuple(common)


def looks(model: Model, task: Task, chosen: Sequence[int], batch: int) -> dict[str, Floats]:
    """kind -> [layer head], the largest over roles of the mean attention on clean prompts; {} without a repeat."""
    found = roles(task, chosen)
    if not found:
        return {}
    record = model.record
    sums = torch.zeros(len(found), len(KINDS), record.n_layers, record.n_heads, device=model.device)
    counts = [0] * len(found)
    for indices in batches(task.pairs, chosen, batch):
        cells = [_cells(task, indices, role) for role in found]
        for number, some in enumerate(cells):
            counts[number] += len(some)
        at = [torch.tensor(some, device=model.device).T if some else None for some in cells]
        hooks: dict[tuple[str, int], HookFn] = {
            ("pattern", layer): _adder(sums, layer, at) for layer in range(record.n_layers)
        }
        ids = torch.tensor([task.pairs[i].clean for i in indices], device=model.device)
        model.run_until(ids, hooks, record.n_layers)
    means = sums / torch.tensor(counts, device=sums.device).view(-1, 1, 1, 1)
    best = means.amax(0).cpu().numpy()
    return {kind: best[number] for number, kind in enumerate(KINDS)}


def _cells(task: Task, indices: Sequence[int], role: str) -> list[tuple[int, int, int]]:
    """(row of the batch, role position, its last earlier copy) of the prompts that have one."""
    out = []
    for row, index in enumerate(indices):
        pair = task.pairs[index]
        copy = repeated(pair, role) if role in pair.roles else None
        if copy is not None:
            out.append((row, pair.roles[role], copy))
    return out


def _adder(sums: Tensor, layer: int, cells: Sequence[Tensor | None]) -> HookFn:
    """`cells`: per role [3 cell], see `_cells`; None where no prompt has one."""

    def add(pattern: Tensor) -> None:  # [prompt head query key]
        for number, some in enumerate(cells):
            if some is None:
                continue
            row, at, copy = some
            for kind, (query, key) in enumerate(((at, copy), (at, copy + 1), (copy + 1, copy))):
                sums[number, kind, layer] += pattern[row, :, query, key].float().sum(0)

    return add
