"""Which attention edges carry an answer: attribution by gradient, and the fewest that preserve it, by patching.

    m        logit(answer) - logit(foil) at the last position; without a foil, minus the mean logit
    E        E[l, h, q, k] = P[q, k] dm/dP[q, k], P the pattern that is used (closed gates: exactly 0)

Edge attribution is first-order and includes what an edge does through later layers. It is not a causal effect, and not
the head loading of Draye et al. (which needs cross-layer transcoders).
Shapes: L layers, H query heads, T positions; edges are [layer head query key]; a row is one patched copy of one prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Floats
from reportgen.models.model import HookFn, Model
from reportgen.suites.sparse.scoring.gates import Rule, hooks
from reportgen.suites.sparse.scoring.prompts import PromptGroup

ENOUGH = 0.9  # share of the clean-corrupted gap that counts as the whole circuit
LINK_SHARE = 0.8  # share of a link's attribution that H80 asks for


@dataclass(frozen=True, eq=False)
class ModelColumn:
    """A model with the rule that its attention follows: dense, thresholded or sparse."""

    name: str
    model: Model
    rule: Rule


@dataclass(frozen=True, eq=False)
class EdgeTrace:
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

    def attribution(self, source: EdgeTrace | None = None) -> Tensor:
        """E [prompt layer head query key]; with `source`, the first-order effect of sending its messages instead."""
        found = self.pattern * torch.einsum("nlqhd,nlkhd->nlhqk", self.pull, self.values)
        if source is None:
            return found
        return found - source.pattern * torch.einsum("nlqhd,nlkhd->nlhqk", self.pull, source.values)


def metric(last: Tensor, answers: Tensor, foils: Tensor | None) -> Tensor:
    """m [prompt] of logits at the last position [prompt vocab]."""
    own = last.gather(1, answers[:, None])[:, 0]
    return own - (last.mean(1) if foils is None else last.gather(1, foils[:, None])[:, 0])


def trace(column: ModelColumn, group: PromptGroup, *, corrupted: bool = False) -> EdgeTrace:
    """Run a group's prompts (or their corrupted twins, without gradient) and keep what patching needs."""
    if not corrupted:
        return _trace(column, group.ids, group)
    assert group.corrupted is not None
    return _trace(column, group.corrupted, None)


def trace_text(column: ModelColumn, ids: npt.NDArray[np.int64]) -> EdgeTrace:
    """Run other text [sequence pos], to resample messages from; it has no answer, so m and p_answer are empty."""
    return _trace(column, ids, None)


def _trace(column: ModelColumn, source: npt.NDArray[np.int64], targets: PromptGroup | None) -> EdgeTrace:
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
    return EdgeTrace(pattern, expanded.float(), pull, m, p_answer, logits.detach().argmax(-1))


def _keeper(kept: dict[int, Tensor], layer: int) -> HookFn:
    def keep(tensor: Tensor) -> None:
        kept[layer] = tensor

    return keep


def targets_of(group: PromptGroup, device: torch.device) -> tuple[Tensor, Tensor | None]:
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


# Counts by patching: the fewest edges or heads of the clean run that preserve the answer.
#
# A patched edge sends, instead of this run's message P[q, k] v[k], that of another run (of other text, or of the
# prompt's corrupted twin), or nothing. Everything else runs on: kept edges send what they compute in the patched run.
#
# A scan repeatedly requests the metric of some patched copies of its prompt; `run_scans` batches the requests of many
# scans of prompts of equal length into common forward passes.

TOKENS = 4096  # in one patched forward pass
_BLOCK = 24  # numbers tried before looking whether that was enough


@dataclass(frozen=True, eq=False)
class Patch:
    """What is done to some rows in one layer.

    kept  [row head query key] 1 where an edge sends its own message, else 0
    own   [row 1 head 1] 1 where a head keeps its own output, else 0
    sent  [row query head d_head] added to the heads' outputs
    """

    kept: Tensor
    own: Tensor
    sent: Tensor


@dataclass(frozen=True, eq=False)
class Ask:
    """The metric of `count` patched copies of a prompt; make(layer, rows) gives the patch of those rows."""

    count: int
    make: Callable[[int, Tensor], Patch]


@dataclass(frozen=True, eq=False)
class Scan:
    """`share` of the gap for each number `kept`; `reached`: the smallest number that is enough, NaN: not reached."""

    kept: np.ndarray[tuple[int], np.dtype[np.int64]]
    share: Floats
    reached: float


Scanning = Generator[Ask, Floats, Scan]  # asks, is told m [row], and returns what was found


def grid(total: int) -> list[int]:
    """Numbers of edges that are tried: each up to 24, then every tenth more, and all."""
    found = list(range(1, 25))
    while found[-1] < total:
        found.append(max(found[-1] + 1, round(1.1 * found[-1])))
    return [*(n for n in found if n < total), total]


def fewest_edges(clean: EdgeTrace, source: EdgeTrace | None, *, whole: bool = False) -> Scanning:
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

    def ask(sizes: list[int]) -> Ask:
        limits = torch.tensor(sizes, device=rank.device).repeat_interleave(draws)  # [row]: every size, every draw

        def make(layer: int, rows: Tensor) -> Patch:
            kept = (rank[layer] < limits[rows, None, None, None]) | ~alive[layer]
            return without(layer, kept, source, rows % draws, clean)

        return Ask(len(limits), make)

    return scan([0, *grid(int(alive.sum()))], ask, float(clean.m[0]), source is not None, whole=whole)


def without(layer: int, kept: Tensor, source: EdgeTrace | None, draw: Tensor, clean: EdgeTrace) -> Patch:
    """Edges that are not `kept` [row head query key] send the messages of `source`'s rows `draw`, or nothing."""
    n_heads, d_head = clean.values.shape[3:]
    own = clean.values.new_ones(len(kept), 1, n_heads, 1)
    if source is None:
        return Patch(kept, own, clean.values.new_zeros(len(kept), kept.shape[2], n_heads, d_head))
    pattern, values = source.pattern[draw, layer], source.values[draw, layer]  # [row head q k], [row key head d_head]
    return Patch(kept, own, torch.einsum("rhqk,rkhd->rqhd", torch.where(kept, 0.0, pattern), values))


def fewest_heads(clean: EdgeTrace, corrupted: EdgeTrace, exact_heads: int = 256) -> Scanning:
    """Keep the k heads with the largest single-head effect, give all others their corrupted output; one prompt.

    A model with more than `exact_heads` heads would take a row for each: its heads are ranked by their first-order
    effect, and k is tried over `grid`.
    """
    layers, count = clean.pattern.shape[1], clean.pattern.shape[1] * clean.pattern.shape[2]
    z = torch.einsum("lhqk,lkhd->lqhd", corrupted.pattern[0], corrupted.values[0])  # [layer query head d_head]

    def ask(kept: Tensor) -> Ask:
        """kept [row head], heads of all layers one after the other"""
        by_layer = kept.view(len(kept), layers, -1)

        def make(layer: int, rows: Tensor) -> Patch:
            own = by_layer[rows, layer][:, None, :, None]
            every = torch.ones(len(rows), 1, 1, 1, dtype=torch.bool, device=z.device)
            return Patch(every.expand(-1, *clean.pattern.shape[2:]), own, torch.where(own, 0.0, z[layer]))

        return Ask(len(kept), make)

    sizes = list(range(count + 1))
    if count > exact_heads:
        effect = clean.attribution(corrupted)[0].sum((-2, -1)).flatten().cpu().double().numpy()  # [head]
        sizes = [0, *grid(count)]
    else:
        alone = yield ask(~torch.eye(count, dtype=torch.bool, device=z.device))  # [head]
        effect = float(clean.m[0]) - alone
    rank = torch.as_tensor((-effect).argsort(kind="stable").argsort(kind="stable"), device=z.device)

    def some(sizes: list[int]) -> Ask:
        return ask(rank[None] < torch.tensor(sizes, device=z.device)[:, None])

    return (yield from scan(sizes, some, float(clean.m[0]), resampled=True, whole=False))


def scan(sizes: list[int], ask: Callable[[list[int]], Ask], clean: float, resampled: bool, *, whole: bool) -> Scanning:
    """Measure m at `sizes` (the first is 0) block by block, up to the first that is enough or to the end."""
    m = np.empty(0)
    while len(m) < len(sizes):
        block = sizes[len(m) : len(m) + _BLOCK]
        told = yield ask(block)  # [row], as many rows for each size
        m = np.concatenate([m, told.reshape(len(block), -1).mean(1)])
        base = float(m[0]) if resampled else 0.0
        if not clean > base:
            return Scan(np.array(sizes[: len(m)]), np.full(len(m), np.nan), float("nan"))
        share = (m - base) / (clean - base)
        enough = np.flatnonzero(share >= ENOUGH)
        if len(enough) and not whole:
            break
    reached = float(sizes[enough[0]]) if len(enough) else float("nan")
    return Scan(np.array(sizes[: len(m)]), share, reached)


def run_scans(column: ModelColumn, group: PromptGroup, scannings: Sequence[tuple[int, Scanning]]) -> list[Scan]:
    """Go through scans, each of the prompt whose number in `group` stands before it, to the end of all of them."""
    found: dict[int, Scan] = {}
    asked = {number: next(scanning) for number, (_, scanning) in enumerate(scannings)}
    while asked:
        told = _told(column, group, [(scannings[number][0], ask) for number, ask in asked.items()])
        for number, m in zip(list(asked), told, strict=True):
            try:
                asked[number] = scannings[number][1].send(m)
            except StopIteration as done:
                found[number] = done.value
                del asked[number]
    return [found[number] for number in range(len(scannings))]


def _told(column: ModelColumn, group: PromptGroup, asks: Sequence[tuple[int, Ask]]) -> list[Floats]:
    """m [row] for each (prompt, ask), rows of several in one forward pass."""
    rows = [(number, row) for number, (_, ask) in enumerate(asks) for row in range(ask.count)]
    size = max(1, TOKENS // group.ids.shape[1])
    m = np.concatenate([_pass(column, group, asks, rows[i : i + size]) for i in range(0, len(rows), size)])
    return np.split(m, np.cumsum([ask.count for _, ask in asks])[:-1])


def _pass(
    column: ModelColumn, group: PromptGroup, asks: Sequence[tuple[int, Ask]], rows: Sequence[tuple[int, int]]
) -> Floats:
    """m of `rows`, each (number in `asks`, row of that ask), in one forward pass."""
    model, device = column.model, column.model.device
    counts = {number: len(list(some)) for number, some in groupby(rows, key=lambda row: row[0])}
    places = torch.split(torch.tensor([row for _, row in rows], device=device), list(counts.values()))
    parts = [(asks[number][1], own) for number, own in zip(counts, places, strict=True)]
    made: dict[int, Patch] = {}  # one layer's at a time

    def on_pattern(layer: int, used: Tensor) -> Tensor:
        of = [ask.make(layer, own) for ask, own in parts]
        made[layer] = Patch(*(torch.cat([getattr(p, name) for p in of]) for name in ("kept", "own", "sent")))
        return used * made[layer].kept

    def on_z(layer: int, z: Tensor) -> Tensor:
        patch = made.pop(layer)
        return torch.where(patch.own > 0, z, 0.0) + patch.sent.to(z.dtype)

    all_hooks = hooks(model, column.rule, on_pattern)
    all_hooks |= {("z", layer): partial(on_z, layer) for layer in range(model.record.n_layers)}
    prompts = [asks[number][0] for number, _ in rows]
    last = model.run(torch.as_tensor(group.ids[prompts], device=device), all_hooks, last=True)[:, -1]
    answers, foils = targets_of(group, device)
    m: Floats = metric(last, answers[prompts], None if foils is None else foils[prompts]).cpu().double().numpy()
    return m
