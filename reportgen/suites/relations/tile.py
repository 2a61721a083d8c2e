"""A tile of logits: some rows, all columns in chunks, and the extreme values of every row."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

BLOCK = 32  # columns per block of maxima


class Tile:
    """The logits of some rows, and the largest and smallest values of every row.

    With depth 0 one chunk's buffer is used again and again. Otherwise the whole tile is held, each block of BLOCK
    columns leaves its maximum and minimum, and the extreme values are looked for in the winning blocks only: the k
    largest values of a row lie in the k blocks with the largest maxima. A block's columns stand `step` apart, so that
    maxima are taken along whole vectors.
    """

    def __init__(self, rows: int, total: int, depth: int, spans: list[tuple[int, int]], like: Tensor) -> None:
        self.spans, self.depth = spans, depth
        steps = [-(-(b - a) // BLOCK) for a, b in spans]  # blocks per chunk
        ends = np.cumsum([step * BLOCK for step in steps]).tolist()
        self.offsets = [0, *ends[:-1]] if depth else [0] * len(spans)
        self.first = [0, *np.cumsum(steps).tolist()]  # first block of each chunk, and their number
        width = ends[-1] + BLOCK if depth else max(steps) * BLOCK
        self.logits = like.new_empty(rows, width)
        self.flags = like.new_empty(rows, max(b - a for a, b in spans))
        self.top = like.new_full((total, depth), -math.inf)
        self.bottom = like.new_full((total, depth), math.inf)
        if depth:
            starts = [torch.arange(step) + off for step, off in zip(steps, self.offsets, strict=True)]
            self.start = torch.cat(starts).to(like.device)  # [block]
            self.step = torch.repeat_interleave(torch.tensor(steps), torch.tensor(steps)).to(like.device)
            self.maxima, self.minima = like.new_empty(rows, len(self.start)), like.new_empty(rows, len(self.start))

    def buffer(self, chunk: int, rows: int) -> Tensor:
        """Where a chunk's logits go, [row column]."""
        (a, b), offset = self.spans[chunk], self.offsets[chunk]
        return self.logits[:rows, offset : offset + b - a]

    def note(self, chunk: int, rows: int) -> None:
        """The block maxima of a chunk that has just been computed."""
        if not self.depth:
            return
        blocks = slice(self.first[chunk], self.first[chunk + 1])
        n = blocks.stop - blocks.start
        a, offset = self.offsets[chunk], self.spans[chunk][1] - self.spans[chunk][0]
        held = self.logits[:rows, a : a + n * BLOCK]
        grid = held.view(rows, BLOCK, n)
        for fill, found, out in ((-math.inf, torch.amax, self.maxima), (math.inf, torch.amin, self.minima)):
            if offset < n * BLOCK:
                held[:, offset:] = fill  # columns beyond the chunk's last
            found(grid, dim=1, out=out[:rows, blocks])

    def finish(self, start: int, stop: int) -> None:
        """The extreme values of rows start..stop, from the winning blocks."""
        if not self.depth:
            return
        rows = stop - start
        self.top[start:stop] = self._extreme(self.maxima[:rows], rows, largest=True)
        self.bottom[start:stop] = self._extreme(self.minima[:rows], rows, largest=False)

    def _extreme(self, marks: Tensor, rows: int, *, largest: bool) -> Tensor:
        won = marks.topk(min(self.depth, marks.shape[1]), dim=1, largest=largest).indices  # [row block]
        inside = torch.arange(BLOCK, device=won.device)
        places = self.start[won, None] + inside * self.step[won, None]  # [row block column]
        a, b = self.spans[-1]
        self.logits[:rows, self.offsets[-1] + b - a :] = -math.inf if largest else math.inf
        found = self.logits[:rows].gather(1, places.view(rows, -1))
        best = _ordered(found, min(self.depth, found.shape[1]), largest=largest)
        spare = best.new_full((rows, self.depth - best.shape[1]), -math.inf if largest else math.inf)
        return torch.cat([best, spare], dim=1)  # [row depth]


def _ordered(values: Tensor, n: int, *, largest: bool) -> Tensor:
    """The n extreme values of each row [row n], most extreme first. On a CPU numpy's sort beats torch's top k by 10."""
    if values.device.type != "cpu":
        return values.topk(n, dim=1, largest=largest).values
    ascending = np.sort(values.numpy(), axis=1)
    return torch.from_numpy((ascending[:, ::-1] if largest else ascending)[:, :n].copy())
