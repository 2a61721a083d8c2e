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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# The unique (source, target) pairs of all relations of a run.


@dataclass(frozen=True, eq=False)
class PairIndex:
    """The unique (source, target) pairs of all relations, laid out so that counting needs no gather.

    sources  [row]   unique source ids, those with most targets first
    row      [pair]  row of each unique pair's source
    targets  [pair]  token id of its target
    slots    slots[j][i] is the unique pair of row i's j-th target; rows with more than j targets come first
    members  relation -> [its pairs] unique pair of each, duplicates kept
    """

    sources: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    slots: tuple[npt.NDArray[np.int64], ...]
    members: Mapping[str, npt.NDArray[np.int64]]

    @staticmethod
    def build(relations: Mapping[str, tuple[Sequence[int], Sequence[int]]]) -> PairIndex:
        """From relation -> (source ids, target ids), aligned."""
        unique: dict[int, dict[int, int]] = {}  # source -> target -> place among its targets
        for sources, targets in relations.values():
            for s, t in zip(sources, targets, strict=True):
                places = unique.setdefault(s, {})
                places.setdefault(t, len(places))
        order = sorted(unique, key=lambda s: -len(unique[s]))
        start = dict(zip(order, np.cumsum([0] + [len(unique[s]) for s in order])[:-1].tolist(), strict=True))
        width = max((len(places) for places in unique.values()), default=0)
        slots = tuple(
            np.array([start[s] + j for s in order if len(unique[s]) > j], dtype=np.int64) for j in range(width)
        )
        members = {
            name: np.array([start[s] + unique[s][t] for s, t in zip(ss, ts, strict=True)], dtype=np.int64)
            for name, (ss, ts) in relations.items()
        }
        return PairIndex(
            sources=np.array(order, dtype=np.int64),
            row=np.repeat(np.arange(len(order)), [len(unique[s]) for s in order]),
            targets=np.array([t for s in order for t in unique[s]], dtype=np.int64),
            slots=slots,
            members=members,
        )


# A tile of logits: some rows, all columns in chunks, and the extreme values of every row.

BLOCK = 32  # columns per block of maxima


class LogitTile:
    """The logits of some rows, and the largest and smallest values of every row.

    Each block of BLOCK columns leaves its maximum and minimum, and the extreme values are looked for in the winning
    blocks only: the k largest values of a row lie in the k blocks with the largest maxima. A block's columns stand
    `step` apart, so that maxima are taken along whole vectors.
    """

    def __init__(self, rows: int, total: int, depth: int, spans: list[tuple[int, int]], like: Tensor) -> None:
        self.spans, self.depth, self.rows = spans, depth, rows
        steps = [-(-(b - a) // BLOCK) for a, b in spans]  # blocks per chunk
        self.widths = [step * BLOCK for step in steps]
        self.offsets = [0, *np.cumsum([rows * width for width in self.widths]).tolist()]
        self.logits = like.new_empty(self.offsets[-1])
        self.flags = like.new_empty(rows, max(b - a for a, b in spans))
        self.top = like.new_full((total, depth), -math.inf)
        self.bottom = like.new_full((total, depth), math.inf)
        starts = [torch.arange(step) + off for step, off in zip(steps, self.offsets[:-1], strict=True)]
        apart = torch.repeat_interleave(torch.tensor(steps), torch.tensor(steps))  # [block]
        places = torch.cat(starts)[:, None] + torch.arange(BLOCK) * apart[:, None]
        self.places = places.to(like.device)  # [block column], in the first row of its chunk
        self.width = (BLOCK * apart).to(like.device)  # [block], of its chunk
        self.maxima, self.minima = like.new_empty(rows, len(apart)), like.new_empty(rows, len(apart))
        sizes = [rows * width for width in self.widths]
        self.held = [
            part.view(rows, -1) for part in torch.split(self.logits, sizes)
        ]  # [row column], as wide as its blocks
        self.grids = [part.view(rows, BLOCK, -1) for part in self.held]
        self.marks = list(
            zip(torch.split(self.maxima, steps, dim=1), torch.split(self.minima, steps, dim=1), strict=True)
        )

    def buffer(self, chunk: int, rows: int) -> Tensor:
        """Where a chunk's logits go, [row column]."""
        a, b = self.spans[chunk]
        held: Tensor = self.held[chunk]
        return held[:rows, : b - a]

    def note(self, chunk: int, rows: int) -> None:
        """The block maxima and minima of a chunk that has just been computed."""
        grid, marks = self.grids[chunk][:rows], self.marks[chunk]
        for fill, found, out in ((-math.inf, torch.amax, marks[0]), (math.inf, torch.amin, marks[1])):
            self._fill(chunk, rows, fill)
            found(grid, dim=1, out=out[:rows])

    def _fill(self, chunk: int, rows: int, value: float) -> None:
        """Columns beyond the chunk's last."""
        end = self.spans[chunk][1] - self.spans[chunk][0]
        if end < self.widths[chunk]:
            self.held[chunk][:rows, end:] = value

    def finish(self, start: int, stop: int) -> None:
        """The extreme values of rows start..stop, from the winning blocks."""
        rows = stop - start
        self.top[start:stop] = self._extreme(self.maxima[:rows], rows, largest=True)
        self.bottom[start:stop] = self._extreme(self.minima[:rows], rows, largest=False)

    def _extreme(self, marks: Tensor, rows: int, *, largest: bool) -> Tensor:
        won = marks.topk(min(self.depth, marks.shape[1]), dim=1, largest=largest).indices  # [row block]
        places = self.places[won]  # [row block column]
        places += (torch.arange(rows, device=won.device)[:, None] * self.width[won])[:, :, None]
        for chunk in range(len(self.spans)):
            self._fill(chunk, rows, -math.inf if largest else math.inf)
        found = self.logits.index_select(0, places.flatten()).view(rows, -1)
        best = _ordered(found, min(self.depth, found.shape[1]), largest=largest)
        spare = best.new_full((rows, self.depth - best.shape[1]), -math.inf if largest else math.inf)
        return torch.cat([best, spare], dim=1)  # [row depth]


def _ordered(values: Tensor, n: int, *, largest: bool) -> Tensor:
    """The n extreme values of each row [row n], most extreme first. On a CPU numpy's sort beats torch's top k by 10."""
    if values.device.type != "cpu":
        return values.topk(n, dim=1, largest=largest).values
    ascending = np.sort(values.numpy(), axis=1)
    return torch.from_numpy((ascending[:, ::-1] if largest else ascending)[:, :n].copy())


# Ranks to the last decision: which ones float32 cannot settle, and those again in float64.
#
# A float32 logit is off by at most `reach`; so a column is surely above the target, surely below, or within the bound.
# The target's own column always is within. Where another one is, and a rank <= limit could change, float64 decides.

ROWS = 64  # rows looked at again at once
COLUMNS = 1024  # logits done again in float64 at once


@dataclass(frozen=True, eq=False)
class Targets:
    """One head's target logits and what rounding may do to them, [pair] each.

    logit, tolerance  float64, and the bound of its own rounding
    high, low         float32, logit + reach and logit - reach: columns between the two are within the bound
    """

    logit: Tensor
    tolerance: Tensor
    high: Tensor
    low: Tensor


def unsure_by_counts(above: Tensor, below: Tensor, d_vocab: int, limit: int) -> Tensor:
    """[pair] bool from the columns above `high` and above `low`: neither end of the row is settled."""
    nearer = torch.minimum(above, d_vocab - below)  # columns surely ahead, at the nearer end
    return (below - above > 1) & (nearer < limit)


def unsure_by_extremes(top: Tensor, bottom: Tensor, high: Tensor, low: Tensor, limit: int) -> Tensor:
    """The same from the row's extreme values [pair depth], more than `limit` of them, by size.

    With fewer than `limit` columns surely ahead, and only the target's own within the bound, all of them are extreme.
    """
    high, low = high[:, None], low[:, None]
    ahead, ahead_or_near = (top > high).sum(1), (top > low).sum(1)
    behind, behind_or_near = (bottom <= low).sum(1), (bottom <= high).sum(1)
    at_top = (ahead < limit) & (ahead_or_near - ahead > 1)
    return at_top | ((behind < limit) & (behind_or_near - behind > 1))


def midranks(z: Tensor, rows: Tensor, slabs: Sequence[Tensor], W_U: Tensor, t: Targets, some: Tensor) -> Tensor:
    """Twice the mid-ranks of float64 for the pairs `some`; nearer than float64's own rounding is a tie.

    z [some d_head] float32 and slabs [d_head chunk] give all logits once more, rows [some d_model] float64 and the
    columns of W_U the few within the bound.
    """
    wide = rows.device
    out = torch.empty(len(some), dtype=torch.long, device=wide)
    for start in range(0, len(some), ROWS):
        these = slice(start, start + ROWS)
        pick = some[these]
        high, low = t.high[pick, None], t.low[pick, None]
        logit, near = t.logit[pick], t.tolerance[pick]
        tied = torch.full_like(pick, -1)  # the own column ties with itself
        ahead, within = [], []
        for slab in slabs:
            logits = z[these] @ slab  # [pair column]
            ahead.append((logits > high).sum(1))
            within.append((logits > low) & (logits <= high))
        above = torch.stack(ahead).sum(0).to(wide)
        pair, column = torch.nonzero(torch.cat(within, 1), as_tuple=True)  # the one wait for a GPU here
        for i in range(0, len(pair), COLUMNS):
            p, c = pair[i : i + COLUMNS].to(wide), column[i : i + COLUMNS]
            gap = (rows[these][p] * W_U[:, c].to(wide).double().mT).sum(1) - logit[p]
            above.index_add_(0, p, (gap > near[p]).long())
            tied.index_add_(0, p, (gap.abs() <= near[p]).long())
        out[these] = 2 + 2 * above + tied
    return out


LAMBDA = 4.0
U32, U64 = 2.0**-24, 2.0**-53
CPU_ROWS, CPU_COLUMNS = 128, 1024  # at most, of one product on a CPU: what it writes should be in cache when read
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
        chunk = min(chunk, CPU_COLUMNS) if device.type == "cpu" else chunk
        self.spans = [(a, min(a + chunk, self.d_vocab)) for a in range(0, self.d_vocab, chunk)]
        self.largest_column = float(torch.stack([W_U[:, a:b].norm(dim=0).max() for a, b in self.spans]).max())
        # Columns whose logits are wanted exactly: every target and every source.
        self.columns, places = np.unique(np.concatenate([pairs.targets, pairs.sources]), return_inverse=True)
        self.target_place = torch.from_numpy(places[: len(pairs.targets)]).to(self.wide)
        self.source_place = torch.from_numpy(places[len(pairs.targets) :][pairs.row]).to(self.wide)
        self.same = torch.from_numpy(pairs.targets == pairs.sources[pairs.row]).to(self.wide)
        self.W_U64 = self._double(W_U[:, torch.from_numpy(self.columns).to(device)])  # [d_model column]
        self._slab_buffers: list[Tensor] | None = None
        self._tiles: dict[int, LogitTile] = {}  # by depth
        self._stacks: dict[int, Stack] = {}  # by number of heads
        most = CPU_ROWS if device.type == "cpu" else self.d_vocab
        self.tile = max(16, min(most, tile_mib * 2**20 // (4 * self.d_vocab)))  # rows held at once

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
        tile = self._tile_of(0 if sink is None else sink.depth, z)
        twice, unsure = self._counts(z, slabs, t, stack, tile)
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
        self, z: Tensor, slabs: list[Tensor], t: Targets, stack: Stack, tile: LogitTile
    ) -> tuple[Tensor, Tensor]:
        """(twice the rank [pair], whether float64 must look again [pair]); the tile has every row's extreme values."""
        below = torch.zeros_like(t.low)  # columns above `low`, in float32: whole up to 2^24
        rows = tile.rows
        for start in range(0, len(z), rows):
            stop = min(start + rows, len(z))
            parts = [slot[start:stop] for slot in stack.slots if len(slot) > start]  # [row], of its j-th target
            lines = [t.low[part, None] for part in parts]
            sums = [z.new_empty(len(slabs), len(part)) for part in parts]  # [chunk row]
            for c, slab in enumerate(slabs):
                logits = torch.mm(z[start:stop], slab, out=tile.buffer(c, stop - start))
                for line, total in zip(lines, sums, strict=True):
                    flags = tile.flags[: len(line), : slab.shape[1]]
                    torch.sum(torch.gt(logits[: len(line)], line, out=flags), dim=1, out=total[c])
                tile.note(c, stop - start)
            tile.finish(start, stop)
            for part, total in zip(parts, sums, strict=True):
                below[part] = total.sum(0)
        row = stack.row.to(z.device)
        unsure = unsure_by_extremes(tile.top[row], tile.bottom[row], t.high, t.low, self.limit)
        return 2 * below.to(self.wide).long(), unsure.to(self.wide)  # the own column is among those above `low`

    def _stack(self, n_heads: int) -> Stack:
        if n_heads not in self._stacks:
            self._stacks[n_heads] = Stack.build(self.pairs, n_heads, self.W_U.device, self.wide)
        return self._stacks[n_heads]

    def _tile_of(self, depth: int, z: Tensor) -> LogitTile:
        """Buffers for that many rows; more extreme values than a sink wants where `limit` needs them."""
        depth = max(depth, self.limit + 1)
        tile = self._tiles.get(depth)
        if tile is None or len(tile.top) < len(z):
            rows = min(self.tile, len(z))
            tile = self._tiles[depth] = LogitTile(rows, len(z), depth, self.spans, z)
        return tile
