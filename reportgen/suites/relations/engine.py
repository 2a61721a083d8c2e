"""Ranks of targets in the rows of every head's vocabulary map, all relations in one pass per layer.

A head maps source s to the logits x_s W_V W_O W_U over the vocabulary. Notable decisions:

- Low rank: Z = x W_V is [row d_head] per head and G = W_O W_U is [d_head vocab]; G is paid once per layer, and each
  further source costs d_head instead of d_model operations per column. Rows are the unique sources of all relations.
- The vocabulary is walked in chunks with preallocated buffers; nothing of the size rows x vocabulary is kept for long.
- Ranks are 1-based mid-ranks, 1 + #{above} + #{tied} / 2 over the other columns, stored doubled in uint32 so that a
  half is whole. 0 stands for 'not computed'. With the signs turned the doubled mid-rank is 2 (V + 1) minus this one.
- The target's own column never counts: it is found within the rounding bound of its own logit and taken off.
- A target's logit is computed in float64, the row in float32. Columns nearer than the rounding bound count as ties,
  and where that could touch a rank <= `limit` at either end the row is done again in float64: ranks up to `limit` are
  those of float64, and further ones are off by less than the columns within the bound.

Rounding bound: |error| <= u (LAMBDA (sqrt(d_model) + sqrt(d_head)) + 2) * sum_i |z_i| ||W_O[i]|| * max_v ||W_U[:,
v]||, the probabilistic bound of Higham and Mary (SIAM J. Sci. Comput. 41, 2019) with Cauchy-Schwarz for the inner
product; u = 2^-24.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.suites.relations.pairs import PairIndex
from reportgen.suites.relations.recheck import Targets, midranks, unsure_by_counts, unsure_by_extremes
from reportgen.suites.relations.tile import Tile

LAMBDA = 4.0
U32, U64 = 2.0**-24, 2.0**-53
PLAIN_ROWS = 512  # rows of one tile where no extreme values are wanted
CPU_ROWS = 256  # rows of any tile on a CPU: what a product writes should still be in its cache when it is read
TINY = 1e-37  # a bound below float32's normal range would round to 0 and lose the own column


@dataclass(frozen=True, eq=False)
class Stack:
    """The pairs of several heads side by side: row r of head h of n is row r * n + h, and pairs alike.

    row    [pair*head] its row;  slots  as in PairIndex, of [pair*head] per [row*head]
    """

    row: Tensor
    slots: list[Tensor]

    @staticmethod
    def build(pairs: PairIndex, n_heads: int, device: torch.device, wide: torch.device) -> Stack:
        """`row` on the device of float64, `slots` on that of float32."""
        row, *slots = ((at[:, None] * n_heads + np.arange(n_heads)).ravel() for at in (pairs.row, *pairs.slots))
        return Stack(torch.from_numpy(row).to(wide), [torch.from_numpy(slot).to(device) for slot in slots])


@dataclass(frozen=True, eq=False)
class LayerRanks:
    """What one layer's pass found; a pair is a unique pair of the PairIndex.

    twice   [pair head] uint32, twice the mid-rank of the target; 0 where not computed
    above   [pair head] uint8, 2 where the source's own column stands above the target, 1 tied, 0 below or target =
            source
    broken  [pair head] bool, the row is not finite
    """

    twice: npt.NDArray[np.uint32]
    above: npt.NDArray[np.uint8]
    broken: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Found:
    """LayerRanks on the device of float64, copied from there once per layer: [pair head] each."""

    twice: Tensor
    above: Tensor
    broken: Tensor

    @staticmethod
    def empty(pairs: int, n_heads: int, wide: torch.device) -> _Found:
        kinds = (torch.long, torch.uint8, torch.bool)
        return _Found(*(torch.zeros(pairs, n_heads, dtype=kind, device=wide) for kind in kinds))

    def on_host(self) -> LayerRanks:
        twice, above, broken = (part.cpu().numpy() for part in (self.twice, self.above, self.broken))
        return LayerRanks(twice.astype(np.uint32), above, broken)


@dataclass(frozen=True, eq=False)
class _Unsure:
    """Some heads' pairs [pair*head] that float32 did not settle: what `midranks` needs to look again."""

    heads: list[int]
    unsure: Tensor
    rows: Tensor
    O64: Tensor | None
    slabs: list[Tensor]
    targets: Targets


class HeadSink(Protocol):
    """Who wants the thresholds of each head's rows, too (the null's hit tables)."""

    depth: int  # least number of extreme values wanted per row and sign

    def add(self, head: int, z: Tensor, g: Tensor, top: Tensor, bottom: Tensor, bound: Tensor) -> None:
        """z [row d_head] and g [d_head column] of `Ranker.columns`: z @ g are logits. top, bottom [row depth] extreme
        values, in buffers that the next head overwrites. bound [row] of the rounding. All float32."""

    def finish(self) -> None:
        """All heads of the layer were added."""


@contextmanager
def exact_float32() -> Iterator[None]:
    """Float32 products in full float32 (no TF32, no bfloat16), and as it was afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Ranker:
    """Ranks the pairs of one PairIndex in the vocabulary of one W_U; buffers are made once and shared by all layers.

    limit  ranks up to this one are exact to float64, at both ends
    """

    def __init__(self, W_U: Tensor, pairs: PairIndex, *, limit: int, chunk: int = 2048, tile_mib: int = 64) -> None:
        self.W_U, self.pairs, self.limit = W_U, pairs, limit
        self.d_vocab = int(W_U.shape[1])
        device = W_U.device
        self.wide = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
        self.spans = [(a, min(a + chunk, self.d_vocab)) for a in range(0, self.d_vocab, chunk)]
        self.largest_column = float(torch.stack([W_U[:, a:b].norm(dim=0).max() for a, b in self.spans]).max())
        # Columns whose logits are wanted exactly: every target and every source.
        self.columns, places = np.unique(np.concatenate([pairs.targets, pairs.sources]), return_inverse=True)
        self.target_place = torch.from_numpy(places[: len(pairs.targets)]).to(self.wide)
        self.source_place = torch.from_numpy(places[len(pairs.targets) :][pairs.row]).to(self.wide)
        self.same = torch.from_numpy(pairs.targets == pairs.sources[pairs.row]).to(self.wide)
        self.W_U64 = self._double(W_U[:, torch.from_numpy(self.columns).to(device)])  # [d_model column]
        self._slab_buffers: list[Tensor] | None = None
        self._tiles: dict[int, Tile] = {}  # by depth
        self._stacks: dict[int, Stack] = {}  # by number of heads
        self.most_rows = CPU_ROWS if device.type == "cpu" else self.d_vocab
        self.tile = max(16, min(self.most_rows, tile_mib * 2**20 // (4 * self.d_vocab)))  # rows held at once

    def layer(
        self, x: Tensor, W_V: Tensor, W_O: Tensor, active: npt.NDArray[np.bool_], sink: HeadSink | None = None
    ) -> LayerRanks:
        """Ranks of every pair for every head of a layer.

        x [row d_model], W_V [n_kv d_model d_head], W_O [n_heads d_head d_model], active [n_heads] (others are left
        out).
        """
        n_heads, d_head, d_model = W_O.shape
        group = n_heads // W_V.shape[0]
        x64 = self._double(x)
        values = [x64 @ self._double(V) for V in W_V]  # [row d_head], one per key-value head
        result = _Found.empty(len(self.pairs.targets), n_heads, self.wide)
        if len(x) * (d_model - d_head) < d_head * d_model:  # so few rows that W_O W_U would not pay
            heads = np.flatnonzero(active[:n_heads]).tolist()
            at_once = max(1, self.tile // max(1, len(x)))
            for some in (heads[i : i + at_once] for i in range(0, len(heads), at_once)):
                y64 = torch.stack([values[h // group] @ self._double(W_O[h]) for h in some], dim=1)
                self._whole(result, some, y64, sink)  # [row head d_model]
            return self._finished(result, sink)
        factor = LAMBDA * (math.sqrt(d_model) + math.sqrt(d_head)) + 2
        with exact_float32():
            for first, slabs in self._slabs(W_O):
                waiting = []
                for head in range(first, first + slabs[0].shape[0] // d_head):
                    if not active[head]:
                        continue
                    z64, O64 = values[head // group], self._double(W_O[head])
                    mine = [slab[(head - first) * d_head : (head - first + 1) * d_head] for slab in slabs]
                    scale = z64.abs() @ O64.norm(dim=1)  # [row]
                    waiting.append(self._heads(result, [head], z64[:, None], O64, mine, scale[:, None] * factor, sink))
                self._again(result, waiting)
        return self._finished(result, sink)

    def copier(self, x: Tensor, sink: HeadSink | None = None) -> LayerRanks:
        """Ranks under the identity map: the ideal copier, whose row is x W_U. One 'head'."""
        result = _Found.empty(len(self.pairs.targets), 1, self.wide)
        self._whole(result, [0], self._double(x)[:, None], sink)
        return self._finished(result, sink)

    def _finished(self, result: _Found, sink: HeadSink | None) -> LayerRanks:
        if sink is not None:
            sink.finish()
        return result.on_host()

    def _whole(self, result: _Found, heads: list[int], y64: Tensor, sink: HeadSink | None) -> None:
        """Heads whose rows y64 [row head d_model] are multiplied with W_U as it stands."""
        scale = y64.norm(dim=2) * (LAMBDA * math.sqrt(y64.shape[2]) + 2)
        with exact_float32():
            slabs = [self.W_U[:, a:b] for a, b in self.spans]
            self._again(result, [self._heads(result, heads, y64, None, slabs, scale, sink)])

    def _double(self, x: Tensor) -> Tensor:
        return x.to(self.wide).double()  # in this order: MPS has no float64 to convert to

    def _slabs(self, W_O: Tensor) -> Iterator[tuple[int, list[Tensor]]]:
        """(first head, G of some heads [heads*d_head chunk] per chunk); as many heads at once as four tiles hold."""
        n_heads, d_head, d_model = W_O.shape
        at_once = min(n_heads, max(1, 4 * self.tile // d_head))
        if self._slab_buffers is None or len(self._slab_buffers[0]) != at_once * d_head:
            self._slab_buffers = [W_O.new_empty(at_once * d_head, b - a) for a, b in self.spans]
        for first in range(0, n_heads, at_once):
            stacked = W_O[first : first + at_once].reshape(-1, d_model)
            slabs = [buffer[: len(stacked)] for buffer in self._slab_buffers]
            for (a, b), slab in zip(self.spans, slabs, strict=True):
                torch.mm(stacked, self.W_U[:, a:b], out=slab)
            yield first, slabs

    def _heads(
        self,
        result: _Found,
        heads: list[int],
        z64: Tensor,
        O64: Tensor | None,
        slabs: list[Tensor],
        scale: Tensor,
        sink: HeadSink | None,
    ) -> _Unsure:
        """Some heads: exact target logits and counts in float32; what the bound could change is left for `_again`.

        z64 [row head d_head]: their rows times the slabs are logits. scale [row head] of the rounding bound.
        """
        g64 = self.W_U64 if O64 is None else O64 @ self.W_U64  # [d_head column]
        stack = self._stack(len(heads))
        z64 = z64.flatten(0, 1)  # [row*head d_head], and pairs are [pair*head] from here on
        rows = z64[stack.row]
        target = (rows.view(-1, len(heads), rows.shape[1]) * g64[:, self.target_place].mT[:, None]).sum(2).flatten()
        source = (rows.view(-1, len(heads), rows.shape[1]) * g64[:, self.source_place].mT[:, None]).sum(2).flatten()
        bound = scale * self.largest_column  # [row head], in units of u
        reach = (bound * U32).clamp_min(TINY)
        bound, around = bound.flatten()[stack.row], reach.flatten()[stack.row]
        device, tolerance = self.W_U.device, bound * U64 * 2
        t = Targets(target, tolerance, *((target + s * around).to(device, torch.float32) for s in (1, -1)))
        z = z64.to(device, torch.float32)
        twice, unsure, tile = self._counts(z, slabs, t, stack, 0 if sink is None else sink.depth)
        broken = ~(torch.isfinite(bound) & torch.isfinite(target))
        twice[bound == 0] = self.d_vocab + 1  # a row of zeros: all columns tie
        gap = source - target
        beats = (gap > tolerance).int() * 2 + (gap.abs() <= tolerance).int()
        beats[broken], twice[broken] = 0, 0
        beats.view(-1, len(heads))[self.same] = 0
        for i, head in enumerate(heads):
            mine = slice(i, None, len(heads))
            result.twice[:, head], result.above[:, head] = twice[mine], beats[mine]
            result.broken[:, head] = broken[mine]
            if sink is not None:
                own = slice(i, len(z64), len(heads))  # rows; the tile is as long as the largest group of heads was
                sink.add(head, z64[own].float(), g64.float(), tile.top[own], tile.bottom[own], reach[:, i].float())
        return _Unsure(heads, unsure & ~broken & (bound > 0), rows, O64, slabs, t)

    def _again(self, result: _Found, waiting: Sequence[_Unsure]) -> None:
        """Float64 for the pairs that need it. Which heads have any is asked once, since a GPU must be waited for."""
        if not waiting:
            return
        any_left = torch.stack([w.unsure.any() for w in waiting]).tolist()
        for w in (w for w, left in zip(waiting, any_left, strict=True) if left):
            some = torch.nonzero(w.unsure)[:, 0]
            exact = w.rows[some] if w.O64 is None else w.rows[some] @ w.O64  # [some d_model]
            z = w.rows[some].to(self.W_U.device, torch.float32)
            found = midranks(z, exact, w.slabs, self.W_U, w.targets, some)
            names = torch.tensor(w.heads, device=self.wide)
            result.twice[some // len(w.heads), names[some % len(w.heads)]] = found

    def _counts(
        self, z: Tensor, slabs: list[Tensor], t: Targets, stack: Stack, depth: int
    ) -> tuple[Tensor, Tensor, Tile]:
        """(twice the rank [pair], whether float64 must look again [pair], the tile with every row's extreme values).

        Without extreme values columns are counted at both ends of the bound, with them at one.
        """
        tile = self._tile_of(depth, z)
        lines = [t.low] if depth else [t.low, t.high]
        counts = [torch.zeros_like(line) for line in lines]  # float32: whole up to 2^24
        rows = tile.rows
        for start in range(0, len(z), rows):
            stop = min(start + rows, len(z))
            parts = [slot[start:stop] for slot in stack.slots if len(slot) > start]  # [row], of its j-th target
            pieces = zip(lines, counts, strict=True)
            known = [(part, line[part, None], count) for line, count in pieces for part in parts]
            sums = [torch.zeros(len(part), device=z.device) for part, _, _ in known]
            for c, slab in enumerate(slabs):
                logits = torch.mm(z[start:stop], slab, out=tile.buffer(c, stop - start))
                for (part, line, _), total in zip(known, sums, strict=True):
                    flags = tile.flags[: len(part), : slab.shape[1]]
                    total += torch.gt(logits[: len(part)], line, out=flags).sum(-1)
                tile.note(c, stop - start)
            tile.finish(start, stop)
            for (part, _, count), total in zip(known, sums, strict=True):
                count[part] = total
        below = counts[0].to(self.wide).long()  # the own column is among them
        if depth:
            row = stack.row.to(z.device)
            unsure = unsure_by_extremes(tile.top[row], tile.bottom[row], t.high, t.low, self.limit)
            return 2 * below, unsure.to(self.wide), tile
        above = counts[1].to(self.wide).long()
        return 1 + above + below, unsure_by_counts(above, below, self.d_vocab, self.limit), tile

    def _stack(self, n_heads: int) -> Stack:
        if n_heads not in self._stacks:
            self._stacks[n_heads] = Stack.build(self.pairs, n_heads, self.W_U.device, self.wide)
        return self._stacks[n_heads]

    def _tile_of(self, depth: int, z: Tensor) -> Tile:
        """Buffers for that many rows; more extreme values than a sink wants where `limit` needs them."""
        depth = max(depth, self.limit + 1) if depth else 0
        tile = self._tiles.get(depth)
        if tile is None or len(tile.top) < len(z):
            rows = min(self.tile if depth else PLAIN_ROWS, self.most_rows, len(z))
            tile = self._tiles[depth] = Tile(rows, len(z), depth, self.spans, z)
        return tile
