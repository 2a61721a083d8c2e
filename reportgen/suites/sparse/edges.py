"""Which attention edges carry an answer: attribution by gradient. Counts by patching are in scans.py.

    m        logit(answer) - logit(foil) at the last position; without a foil, minus the mean logit
    E        E[l, h, q, k] = P[q, k] dm/dP[q, k], P the pattern that is used (closed gates: exactly 0)

Edge attribution is first-order and includes what an edge does through later layers. It is not a causal effect, and not
the head loading of Draye et al. (which needs cross-layer transcoders).
Shapes: L layers, H query heads, T positions; edges are [layer head query key].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.models.model import HookFn, Model
from reportgen.suites.sparse.gates import Rule, hooks
from reportgen.suites.sparse.prompts import Group

Floats = npt.NDArray[np.float64]
ENOUGH = 0.9  # share of the clean-corrupted gap that counts as the whole circuit
LINK_SHARE = 0.8  # share of a link's attribution that H80 asks for


@dataclass(frozen=True, eq=False)
class Column:
    """A model with the rule that its attention follows: dense, thresholded or sparse."""

    name: str
    model: Model
    rule: Rule


@dataclass(frozen=True, eq=False)
class Trace:
    """One run over prompts of equal length.

    pattern   [prompt layer head query key] as used
    values    [prompt layer key head d_head] v, one per query head
    pull      [prompt layer query head d_head] dm/dz; empty without gradient
    m, p_answer [prompt], empty without answers;  top [prompt] the first guess's id
    """

    pattern: Tensor
    values: Tensor
    pull: Tensor
    m: Tensor
    p_answer: Tensor
    top: Tensor

    def attribution(self, source: Trace | None = None) -> Tensor:
        """E [prompt layer head query key]; with `source`, the first-order effect of sending its messages instead."""
        found = self.pattern * torch.einsum("nlqhd,nlkhd->nlhqk", self.pull, self.values)
        if source is None:
            return found
        return found - source.pattern * torch.einsum("nlqhd,nlkhd->nlhqk", self.pull, source.values)


def metric(last: Tensor, answers: Tensor, foils: Tensor | None) -> Tensor:
    """m [prompt] of logits at the last position [prompt vocab]."""
    own = last.gather(1, answers[:, None])[:, 0]
    return own - (last.mean(1) if foils is None else last.gather(1, foils[:, None])[:, 0])


def trace(column: Column, group: Group, *, corrupted: bool = False) -> Trace:
    """Run a group's prompts (or their corrupted twins, without gradient) and keep what patching needs."""
    if not corrupted:
        return _trace(column, group.ids, group)
    assert group.corrupted is not None
    return _trace(column, group.corrupted, None)


def trace_text(column: Column, ids: npt.NDArray[np.int64]) -> Trace:
    """Run other text [sequence pos], to resample messages from; it has no answer, so m and p_answer are empty."""
    return _trace(column, ids, None)


def _trace(column: Column, source: npt.NDArray[np.int64], targets: Group | None) -> Trace:
    model, order = column.model, range(column.model.record.n_layers)
    patterns: dict[int, Tensor] = {}
    values: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}

    def keep(layer: int, used: Tensor) -> None:
        patterns[layer] = used.detach()

    all_hooks = hooks(model, column.rule, keep)
    for layer in order:
        all_hooks["v", layer] = _keeper(values, layer)
        all_hooks["z", layer] = _keeper(outputs, layer)
    ids = torch.as_tensor(source, device=model.device)
    logits = model.run(ids, all_hooks, last=True, grad=targets is not None)[:, -1]
    pull = m = p_answer = torch.empty(0)
    if targets is not None:
        answers, foils = targets_of(targets, model.device)
        m = metric(logits, answers, foils)
        grads = torch.autograd.grad(m.sum(), [outputs[layer] for layer in order])
        pull, m = torch.stack(grads, 1).float(), m.detach()
        p_answer = logits.detach().softmax(-1).gather(1, answers[:, None])[:, 0]
    group_size = model.record.n_heads // model.record.n_kv_heads
    expanded = torch.stack([values[layer].detach() for layer in order], 1).repeat_interleave(group_size, 3)
    pattern = torch.stack([patterns[layer] for layer in order], 1).float()
    return Trace(pattern, expanded.float(), pull, m, p_answer, logits.detach().argmax(-1))


def _keeper(kept: dict[int, Tensor], layer: int) -> HookFn:
    def keep(tensor: Tensor) -> None:
        kept[layer] = tensor

    return keep


def targets_of(group: Group, device: torch.device) -> tuple[Tensor, Tensor | None]:
    foils = None if group.foils is None else torch.as_tensor(group.foils, device=device)
    return torch.as_tensor(group.answers, device=device), foils


def heads_for_link(attribution: Floats, query: int, key: int, share: float = LINK_SHARE) -> list[tuple[int, int]]:
    """Fewest heads whose positive attribution on the link key -> query holds `share` of all of it; [] without any.

    attribution [layer head query key]; largest first.
    """
    link = np.maximum(attribution[:, :, query, key], 0.0)  # [layer head]
    order = np.argsort(-link, axis=None, kind="stable")
    sums = np.cumsum(link.reshape(-1)[order])
    if sums[-1] <= 0:
        return []
    count = int(np.searchsorted(sums, share * sums[-1] * (1 - 1e-9)) + 1)
    return [(int(i) // link.shape[1], int(i) % link.shape[1]) for i in order[:count]]


def edges_holding(attribution: Floats, share: float) -> float:
    """Fewest edges that hold `share` of sum |E|; NaN where nothing is attributed."""
    sizes = np.sort(np.abs(attribution), axis=None)[::-1]
    sums = np.cumsum(sizes)
    if sums[-1] <= 0:
        return float("nan")
    return float(np.searchsorted(sums, share * sums[-1] * (1 - 1e-9)) + 1)


def main_link(attributions: list[Floats]) -> tuple[int, int]:
    """(key, query) of the link between two positions with the most attribution, summed over models as shares.

    Position 0 is left out: dense models rest there.
    """
    total = np.zeros(attributions[0].shape[-2:])  # [query key]
    for attribution in attributions:
        sizes = np.abs(attribution).sum((0, 1))
        total += sizes / max(float(sizes.sum()), 1e-30)
    total[:, 0] = 0.0
    np.fill_diagonal(total, 0.0)
    query, key = np.unravel_index(int(total.argmax()), total.shape)
    return int(key), int(query)
