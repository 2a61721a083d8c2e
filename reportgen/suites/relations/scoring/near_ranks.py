"""Whether a target is among the first or last of its row: ranks up to a limit, of far more rows than can be ranked.

Controls, folded weights and scores on prompts need hits alone: whether a target has rank <= k from either end. Nearly
every target is far from both, and part of the vocabulary shows it: once `limit` columns are surely above the target and
`limit` surely below, its rank from either end is beyond `limit`, whatever the other columns hold. So

1. every pair of a layer is held against a sample of about SCREEN * limit columns, by the low-rank product z (W_O W_U);
2. those that are left, a few in a hundred, against ever more chunks of the vocabulary, by (z W_O) W_U of their own row;
3. those that are left at its end have been held against every column; what float32 does not settle is done again in
   float64.

Each step is a proof within the rounding bound of ranks.py, no estimate: ranks up to `limit` are those of float64. The
sample is evenly spaced columns, and the chunks come in a spread order; another choice would only leave more pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.suites.relations.scoring.ranks import (
    CPU_ROWS,
    LAMBDA,
    TINY,
    U32,
    U64,
    LayerRanks,
    PairIndex,
    Targets,
    exact_float32,
    midranks,
    unsure_by_counts,
)

SCREEN = 96  # columns of the sample per rank up to the limit
GPU_ROWS = 4096  # rows of one product where caches do not matter


@dataclass(frozen=True, eq=False)
class _Left:
    """Pairs that are not settled yet, [left] each.

    head, pair    which they are;  rows [left d_model] z W_O in float64
    above, below  columns seen so far above `targets.high` and above `targets.low`
    """

    head: Tensor
    pair: Tensor
    rows: Tensor
    targets: Targets
    above: Tensor
    below: Tensor

    def only(self, keep: Tensor) -> _Left:
        """Those of the mask `keep`."""
        at = torch.nonzero(keep)[:, 0]  # once: a mask as an index waits for the device in every part
        here = at.to(self.targets.high.device)
        old = self.targets
        t = Targets(old.logit[at], old.tolerance[at], old.high[here], old.low[here])
        return _Left(self.head[at], self.pair[at], self.rows[at], t, self.above[at], self.below[at])


class NearRanks:
    """Pairs (row, target) in the vocabulary of one W_U [d_model vocab], ranked up to `limit` from either end.

    row      [pair] place of each pair's row in what `heads` is given;  targets [pair] token ids
    sources  [pair] token ids of the rows, for LayerRanks.above; None: it stays 0
    pairs    the PairIndex that they were made from by `of`
    """

    pairs: PairIndex

    def __init__(
        self,
        W_U: Tensor,
        row: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
        sources: npt.NDArray[np.int64] | None = None,
        *,
        limit: int,
        chunk: int = 2048,
    ) -> None:
        self.W_U, self.limit, self.d_vocab = W_U, limit, int(W_U.shape[1])
        self.wide = torch.device("cpu") if W_U.device.type == "mps" else W_U.device  # MPS has no float64
        self.sample = W_U[:, :: max(1, self.d_vocab // (SCREEN * limit))].contiguous()  # [d_model sample]
        self.slabs = [W_U[:, a : a + chunk] for a in range(0, self.d_vocab, chunk)]
        self.stages = _stages(self.slabs)
        self.largest_column = float(torch.stack([slab.norm(dim=0).max() for slab in self.slabs]).max())
        self.row = torch.from_numpy(row).to(self.wide)
        named = targets if sources is None else np.concatenate([targets, sources])
        columns, places = np.unique(named, return_inverse=True)
        self.columns = W_U[:, torch.from_numpy(columns).to(W_U.device)].to(self.wide).double()  # [d_model column]
        self.target = torch.from_numpy(places[: len(targets)]).to(self.wide)
        self.source = None if sources is None else torch.from_numpy(places[len(targets) :]).to(self.wide)
        self.tile = CPU_ROWS if W_U.device.type == "cpu" else GPU_ROWS
        self._buffers = [W_U.new_empty(self.tile * max(chunk, self.sample.shape[1])) for _ in range(2)]

    @staticmethod
    def of(W_U: Tensor, pairs: PairIndex, *, limit: int, chunk: int = 2048) -> NearRanks:
        """The pairs of a PairIndex, a row being a source."""
        made = NearRanks(W_U, pairs.row, pairs.targets, pairs.sources[pairs.row], limit=limit, chunk=chunk)
        made.pairs = pairs
        return made

    def layer(self, x: Tensor, W_V: Tensor, W_O: Tensor, active: npt.NDArray[np.bool_]) -> LayerRanks:
        """As Ranker.layer: x [row d_model], W_V [n_kv d_model d_head], W_O [n_heads d_head d_model]."""
        x64, group = self._double(x), len(W_O) // len(W_V)
        values = [x64 @ self._double(V) for V in W_V]  # [row d_head], one per key-value head
        return self.heads([values[h // group] for h in range(len(W_O))], W_O, active)

    def copier(self, x: Tensor) -> LayerRanks:
        """As Ranker.copier: the identity map of x [row d_model]."""
        return self.heads([x], torch.eye(x.shape[1], dtype=x.dtype, device=x.device)[None])

    def heads(self, z: Sequence[Tensor], W_O: Tensor, active: npt.NDArray[np.bool_] | None = None) -> LayerRanks:
        """Ranks [pair head] of z W_O W_U: z[head] [row d_head], W_O [n_heads d_head d_model], active [n_heads].

        twice  exact up to 2 * limit from either end; for another pair a doubled rank beyond both limits; 0 as ever
               where the row is not finite or the head not active
        """
        chosen = [h for h in range(len(W_O)) if active is None or active[h]]
        found = [
            torch.zeros(len(W_O), len(self.row), dtype=kind, device=self.wide)
            for kind in (torch.long, torch.uint8, torch.bool)
        ]  # twice, above, broken [head pair]
        with exact_float32():
            left = self._screened(z, W_O, chosen, *found)
            seen = 0
            for stage in self.stages:
                if not len(left.pair):
                    break
                if seen:
                    left = left.only(torch.minimum(left.above, seen - left.below) < self.limit)
                above, below = self._counts(left.rows, stage, left.targets)
                left.above.add_(above), left.below.add_(below)
                seen += sum(slab.shape[1] for slab in stage)
            found[0][left.head, left.pair] = self._ranked(left)
        ranks, beats, not_finite = torch.stack([part.long() for part in found]).cpu().numpy().transpose(0, 2, 1)
        return LayerRanks(ranks.astype(np.uint32), beats.astype(np.uint8), not_finite.astype(np.bool_))

    def _screened(
        self, z: Sequence[Tensor], W_O: Tensor, chosen: Sequence[int], twice: Tensor, above: Tensor, broken: Tensor
    ) -> _Left:
        """Holds every pair against the sample, head by head; fills twice, above and broken [head pair]."""
        d_head, d_model = W_O.shape[1:]
        factor = (LAMBDA * (math.sqrt(d_model) + math.sqrt(d_head)) + 2) * self.largest_column
        stacked = W_O.reshape(-1, d_model)
        G = torch.mm(stacked, self.sample, out=W_O.new_empty(len(stacked), self.sample.shape[1]))
        G = G.view(len(W_O), d_head, -1)  # [head d_head sample]
        unsettled = torch.zeros_like(broken)
        logits = torch.zeros(2, *broken.shape, dtype=torch.float64, device=self.wide)  # targets', and their bounds
        for head in chosen:
            O64, z64 = self._double(W_O[head]), self._double(z[head])[self.row]  # [pair d_head]
            columns = (O64 @ self.columns).mT.contiguous()  # [column d_head]
            target = (z64 * columns[self.target]).sum(1)
            bound = z64.abs() @ O64.norm(dim=1) * factor  # in units of u
            t = self._targets(target, bound, bound)
            ahead, near = self._counts(z64, [G[head]], t)
            broken[head] = ~(torch.isfinite(bound) & torch.isfinite(target))
            twice[head] = torch.where(broken[head], 0, self.d_vocab + 1)  # the middle; a row of zeros is all ties
            is_open = torch.minimum(ahead, G.shape[2] - near) < self.limit
            unsettled[head] = is_open & ~broken[head] & (bound > 0)
            logits[0, head], logits[1, head] = target, bound
            if self.source is not None:
                gap = (z64 * columns[self.source]).sum(1) - target
                beats = (gap > t.tolerance).to(torch.uint8) * 2 + (gap.abs() <= t.tolerance).to(torch.uint8)
                above[head] = torch.where(broken[head] | (self.source == self.target), 0, beats)
        return self._left(z, W_O, torch.nonzero(unsettled), *logits)

    def _left(self, z: Sequence[Tensor], W_O: Tensor, at: Tensor, target: Tensor, bound: Tensor) -> _Left:
        """The pairs `at` [left 2], by head, with their rows of the residual stream; target, bound [head pair]."""
        head, pair = at.T
        sizes = torch.bincount(head, minlength=len(W_O)).tolist()
        parts = zip(z, W_O, pair.split(sizes), strict=True)
        rows = torch.cat([self._double(Z[self.row[some]]) @ self._double(O) for Z, O, some in parts])  # noqa: E741
        reach = rows.norm(dim=1) * ((LAMBDA * math.sqrt(W_O.shape[2]) + 2) * self.largest_column)
        t = self._targets(target[head, pair], reach, bound[head, pair])
        return _Left(head, pair, rows, t, torch.zeros_like(pair), torch.zeros_like(pair))

    def _targets(self, target: Tensor, bound: Tensor, exact: Tensor) -> Targets:
        """Target logits; float32's reach by `bound` and float64's by `exact`, both in units of u."""
        reach = (bound * U32).clamp_min(TINY)
        high, low = ((target + sign * reach).to(self.W_U.device, torch.float32) for sign in (1, -1))
        return Targets(target, exact * U64 * 2, high, low)

    def _ranked(self, left: _Left) -> Tensor:
        """Twice the ranks [left] of pairs that have been held against all columns."""
        twice = 1 + left.above + left.below  # the own column is among those above `low`
        some = torch.nonzero(unsure_by_counts(left.above, left.below, self.d_vocab, self.limit))[:, 0]
        if len(some):
            rows = left.rows[some]
            z = rows.to(self.W_U.device, torch.float32)
            twice[some] = midranks(z, rows, self.slabs, self.W_U, left.targets, some)
        return twice

    def _counts(self, rows: Tensor, slabs: Sequence[Tensor], t: Targets) -> tuple[Tensor, Tensor]:
        """Columns of the slabs above `high` and above `low` of every target [pair]."""
        x = rows.to(self.W_U.device, torch.float32)
        found = x.new_zeros(2, len(x))  # float32: whole up to 2^24
        for start in range(0, len(x), self.tile):
            part = slice(start, start + self.tile)
            for slab in slabs:
                n = min(self.tile, len(x) - start)
                logits, flags = (buffer[: n * slab.shape[1]].view(n, -1) for buffer in self._buffers)
                torch.mm(x[part], slab, out=logits)
                for line, count in zip((t.high, t.low), found, strict=True):
                    count[part] += torch.gt(logits, line[part, None], out=flags).sum(1)
        above, below = found.to(self.wide).long()
        return above, below

    def _double(self, x: Tensor) -> Tensor:
        return x.to(self.wide).double()  # in this order: MPS has no float64 to convert to


def _stages(slabs: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    """1, 2, 4, ... of the chunks, each time spread over the vocabulary: ordered by their numbers' reversed bits."""
    order = sorted(range(len(slabs)), key=lambda i: f"{i:032b}"[::-1])
    spread, stages = [slabs[i] for i in order], list[Sequence[Tensor]]()
    while spread:
        n = 2 ** len(stages)
        stages.append(spread[:n])
        spread = spread[n:]
    return stages
