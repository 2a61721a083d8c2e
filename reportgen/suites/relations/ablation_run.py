"""One relation's prompts, answered with heads switched off at the last position.

Only the last position differs from the clean run, so its keys and values of the positions before are kept and many
variants run as one batch. The earlier blocks are run again in each: skipping them would save at most half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.models.past import Past
from reportgen.suites.relations.prompting import Prompt, batch_rows

if TYPE_CHECKING:
    from reportgen.models.model import Hooks, Model

Bools = npt.NDArray[np.bool_]


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
        self, model: Model, prompts: Sequence[Prompt], targets: Sequence[int], *, mode: str, cached: bool
    ) -> None:
        """`mode`: "mean" (of z over these prompts, every distinct target weighing the same) or "zero"."""
        self.model, self.cached = model, cached
        self.targets = torch.tensor(targets, device=model.device)
        self.groups = self._groups(prompts)
        self.base, z = self._clean(len(prompts))
        self.fill = torch.zeros_like(z[0]) if mode == "zero" else balanced_mean(z, self.targets)
        self.norms = output_norms(model, z - self.fill)

    def _groups(self, prompts: Sequence[Prompt]) -> list[_Group]:
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
        logits = group.past.run(ids, hooks)[:, -1]  # [variant*row vocab]
        found = logits.argmax(-1).view(-1, len(group.rows))
        right: Bools = (found == self.targets[group.rows]).cpu().numpy()
        return right


def balanced_mean(z: Tensor, targets: Tensor) -> Tensor:
    """Mean of z [row ...] in which every distinct target weighs the same."""
    kinds = torch.unique(targets)
    return torch.stack([z[targets == kind].mean(0) for kind in kinds]).mean(0)


def output_norms(model: Model, z: Tensor) -> npt.NDArray[np.float64]:
    """Root mean square over rows of ||z W_O|| per head [layer head]; z [row layer head d_head]."""
    norms = []
    for layer in range(z.shape[1]):
        out = torch.einsum("rhe,hed->rhd", z[:, layer], model.W_O(layer))
        norms.append(out.square().sum(-1).mean(0).sqrt())
    return np.asarray(torch.stack(norms).cpu().double().numpy())


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
