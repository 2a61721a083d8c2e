"""Counts by patching: with how few edges or heads of the clean run the answer stays.

A patched edge does not send its message P[q, k] v[k] of this run but that of another run (of other text, or of the
prompt's corrupted twin), or nothing. Everything else runs on: kept edges send what they compute in the patched run.

A scan asks for the metric of some patched copies of its prompt at a time and is told; `run` puts what many scans of
prompts of equal length ask for into common forward passes.
Shapes: L layers, H query heads, T positions; a row is one patched copy of one prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from reportgen.suites.sparse.edges import ENOUGH, Column, Floats, Trace, metric, targets_of
from reportgen.suites.sparse.gates import hooks
from reportgen.suites.sparse.prompts import Group

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


def edges(clean: Trace, source: Trace | None, *, whole: bool = False) -> Scanning:
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


def without(layer: int, kept: Tensor, source: Trace | None, draw: Tensor, clean: Trace) -> Patch:
    """Edges that are not `kept` [row head query key] send the messages of `source`'s rows `draw`, or nothing."""
    n_heads, d_head = clean.values.shape[3:]
    own = clean.values.new_ones(len(kept), 1, n_heads, 1)
    if source is None:
        return Patch(kept, own, clean.values.new_zeros(len(kept), kept.shape[2], n_heads, d_head))
    pattern, values = source.pattern[draw, layer], source.values[draw, layer]  # [row head q k], [row key head d_head]
    return Patch(kept, own, torch.einsum("rhqk,rkhd->rqhd", torch.where(kept, 0.0, pattern), values))


def heads(clean: Trace, corrupted: Trace, exact_heads: int = 256) -> Scanning:
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


def run(column: Column, group: Group, scannings: Sequence[tuple[int, Scanning]]) -> list[Scan]:
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


def _told(column: Column, group: Group, asks: Sequence[tuple[int, Ask]]) -> list[Floats]:
    """m [row] for each (prompt, ask), rows of several in one forward pass."""
    rows = [(number, row) for number, (_, ask) in enumerate(asks) for row in range(ask.count)]
    size = max(1, TOKENS // group.ids.shape[1])
    m = np.concatenate([_pass(column, group, asks, rows[i : i + size]) for i in range(0, len(rows), size)])
    return np.split(m, np.cumsum([ask.count for _, ask in asks])[:-1])


def _pass(column: Column, group: Group, asks: Sequence[tuple[int, Ask]], rows: Sequence[tuple[int, int]]) -> Floats:
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
