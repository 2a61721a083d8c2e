"""Which attention edges carry an answer: attribution by gradient, and counts by patching.

    m        logit(answer) - logit(foil) at the last position; without a foil, minus the mean logit
    E        E[l, h, q, k] = P[q, k] dm/dP[q, k], P the pattern that is used (closed gates: exactly 0)

Edge attribution is first-order and includes what an edge does through later layers. It is not a causal effect, and not
the head loading of Draye et al. (which needs cross-layer transcoders).

A patched edge does not send its message P[q, k] v[k] of this run but that of another run (of other text, or of the
prompt's corrupted twin), or nothing. Everything else runs on: kept edges send what they compute in the patched run.
Shapes: L layers, H query heads, T positions; edges are [layer head query key].
"""

from __future__ import annotations

from collections.abc import Callable
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
_TOKENS = 4096  # in one patched forward pass
_BLOCK = 24  # numbers tried before looking whether that was enough


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
        answers, foils = _targets(targets, model.device)
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


def _targets(group: Group, device: torch.device) -> tuple[Tensor, Tensor | None]:
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


def grid(total: int) -> list[int]:
    """Numbers of edges that are tried: each up to 24, then every tenth more, and all."""
    found = list(range(1, 25))
    while found[-1] < total:
        found.append(max(found[-1] + 1, round(1.1 * found[-1])))
    return [*(n for n in found if n < total), total]


@dataclass(frozen=True, eq=False)
class Scan:
    """`share` of the gap for each number `kept`; `reached`: the smallest number that is enough, NaN: not reached."""

    kept: npt.NDArray[np.int64]
    share: Floats
    reached: float


def scan_edges(column: Column, group: Group, clean: Trace, source: Trace | None, *, whole: bool = False) -> Scan:
    """Keep the n edges with the largest first-order effect and patch the other ones, for n over `grid`; one prompt.

    Only edges that are there in the clean run (P > 0) are patched: where the gate is closed there is none to remove.
    With `source` the others send its messages (m_n is the mean over its rows), share = (m_n - m_0) / (m_clean - m_0);
    without they send nothing, share = m_n / m_clean. Not monotone in n: scanned upwards, never bisected, to the first
    n that is enough (`whole`: to the end). Where the gap is not positive nothing is reached.
    """
    draws = 1 if source is None else len(source.pattern)
    effect = clean.attribution(source).mean(0)  # [layer head query key]
    alive = clean.pattern[0] > 0
    order = torch.where(alive, effect.abs(), -1.0).flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    rank = rank.view(effect.shape)

    def measure(sizes: list[int]) -> Floats:
        limits = torch.tensor(sizes, device=rank.device).repeat_interleave(draws)  # [row]: every size, every draw

        def make(layer: int, rows: Tensor) -> _Two:
            kept = (rank[layer] < limits[rows, None, None, None]) | ~alive[layer]
            return _edge_hooks(layer, kept, source, rows % draws)

        found: Floats = _patched(column, group, len(limits), make).reshape(len(sizes), draws).mean(1)
        return found

    return _scan([0, *grid(int(alive.sum()))], measure, float(clean.m[0]), source is not None, whole=whole)


def _scan(
    sizes: list[int], measure: Callable[[list[int]], Floats], clean: float, resampled: bool, *, whole: bool
) -> Scan:
    """Measure m at `sizes` (the first is 0) block by block, up to the first that is enough or to the end."""
    m = np.empty(0)
    while len(m) < len(sizes):
        m = np.concatenate([m, measure(sizes[len(m) : len(m) + _BLOCK])])
        base = float(m[0]) if resampled else 0.0
        if not clean > base:
            return Scan(np.array(sizes[: len(m)]), np.full(len(m), np.nan), float("nan"))
        share = (m - base) / (clean - base)
        enough = np.flatnonzero(share >= ENOUGH)
        if len(enough) and not whole:
            break
    reached = float(sizes[enough[0]]) if len(enough) else float("nan")
    return Scan(np.array(sizes[: len(m)]), share, reached)


_Two = tuple[HookFn | None, HookFn | None]  # (on the used pattern, on z)


def _edge_hooks(layer: int, kept: Tensor, source: Trace | None, draw: Tensor) -> _Two:
    """Hooks that keep the edges `kept` [row head query key]; the others send the messages of `source`'s row `draw`."""

    def on_pattern(used: Tensor) -> Tensor:
        return used * kept

    if source is None:
        return on_pattern, None
    pattern, values = source.pattern[draw, layer], source.values[draw, layer]  # [row head q k], [row key head d_head]
    sent = torch.einsum("rhqk,rkhd->rqhd", torch.where(kept, 0.0, pattern), values)
    return on_pattern, lambda z: z + sent.to(z.dtype)


def _patched(column: Column, group: Group, count: int, make: Callable[[int, Tensor], _Two]) -> Floats:
    """m [count] of one prompt under `count` patches; make(layer, rows) gives the hooks of those rows."""
    model = column.model
    answers, foils = _targets(group, model.device)
    size = max(1, _TOKENS // group.ids.shape[1])
    found = []
    for start in range(0, count, size):
        rows = torch.arange(start, min(start + size, count), device=model.device)
        made = [make(layer, rows) for layer in range(model.record.n_layers)]
        all_hooks = hooks(model, column.rule, _editor(made))
        all_hooks |= {("z", layer): on_z for layer, (_, on_z) in enumerate(made) if on_z is not None}
        ids = torch.as_tensor(group.ids, device=model.device).expand(len(rows), -1)
        last = model.run(ids, all_hooks, last=True)[:, -1]
        wrong = None if foils is None else foils.expand(len(rows))
        found.append(metric(last, answers.expand(len(rows)), wrong).double().cpu().numpy())
    return np.concatenate(found)


def _editor(made: list[_Two]) -> Callable[[int, Tensor], Tensor | None]:
    def edit(layer: int, used: Tensor) -> Tensor | None:
        on_pattern = made[layer][0]
        return None if on_pattern is None else on_pattern(used)

    return edit


def scan_heads(column: Column, group: Group, clean: Trace, corrupted: Trace) -> Scan:
    """Keep the k heads with the largest single-head effect, give all others their corrupted output; one prompt."""
    layers, heads = clean.pattern.shape[1:3]
    count = layers * heads
    z = torch.einsum("lhqk,lkhd->lqhd", corrupted.pattern[0], corrupted.values[0])  # [layer query head d_head]

    def hooks_for(kept: Tensor) -> Callable[[int, Tensor], _Two]:
        """kept [row layer head]"""

        def make(layer: int, rows: Tensor) -> _Two:
            mine = kept[rows, layer][:, None, :, None]
            return None, lambda out: torch.where(mine, out, z[layer].to(out.dtype))

        return make

    alone = ~torch.eye(count, dtype=torch.bool, device=z.device).view(count, layers, heads)
    effect = float(clean.m[0]) - _patched(column, group, count, hooks_for(alone))  # [head]
    rank = torch.as_tensor((-effect).argsort(kind="stable").argsort(kind="stable"), device=z.device)

    def measure(sizes: list[int]) -> Floats:
        kept = rank[None] < torch.tensor(sizes, device=z.device)[:, None]
        return _patched(column, group, len(sizes), hooks_for(kept.view(len(sizes), layers, heads)))

    return _scan(list(range(count + 1)), measure, float(clean.m[0]), True, whole=False)
