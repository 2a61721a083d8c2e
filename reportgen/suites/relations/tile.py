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
        self.spans, self.depth, self.rows = spans, depth, rows
        steps = [-(-(b - a) // BLOCK) for a, b in spans]  # blocks per chunk
        self.widths = [step * BLOCK for step in steps]
        self.first = [0, *np.cumsum(steps).tolist()]  # first block of each chunk, and their number
        held = self.widths if depth else [max(self.widths)]
        self.offsets = [0, *np.cumsum([rows * width for width in held]).tolist()]
        self.logits = like.new_empty(self.offsets[-1])
        self.flags = like.new_empty(rows, max(b - a for a, b in spans))
        self.top = like.new_full((total, depth), -math.inf)
        self.bottom = like.new_full((total, depth), math.inf)
        if depth:
            starts = [torch.arange(step) + off for step, off in zip(steps, self.offsets[:-1], strict=True)]
            apart = torch.repeat_interleave(torch.tensor(steps), torch.tensor(steps))  # [block]
            places = torch.cat(starts)[:, None] + torch.arange(BLOCK) * apart[:, None]
            self.places = places.to(like.device)  # [block column], in the first row of its chunk
            self.width = (BLOCK * apart).to(like.device)  # [block], of its chunk
            self.maxima, self.minima = like.new_empty(rows, len(apart)), like.new_empty(rows, len(apart))

    def _held(self, chunk: int, rows: int) -> Tensor:
        """A chunk's piece of memory [row column], as wide as its blocks."""
        start, width = self.offsets[chunk if self.depth else 0], self.widths[chunk]
        return self.logits[start : start + rows * width].view(rows, width)

    def buffer(self, chunk: int, rows: int) -> Tensor:
        """Where a chunk's logits go, [row column]."""
        a, b = self.spans[chunk]
        return self._held(chunk, rows)[:, : b - a]

    def note(self, chunk: int, rows: int) -> None:
        """The block maxima of a chunk that has just been computed."""
        if not self.depth:
            return
        blocks = slice(self.first[chunk], self.first[chunk + 1])
        end = self.spans[chunk][1] - self.spans[chunk][0]
        held = self._held(chunk, rows)
        grid = held.view(rows, BLOCK, -1)
        for fill, found, out in ((-math.inf, torch.amax, self.maxima), (math.inf, torch.amin, self.minima)):
            if end < held.shape[1]:
                held[:, end:] = fill  # columns beyond the chunk's last
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
        places = self.places[won]  # [row block column]
        places += (torch.arange(rows, device=won.device)[:, None] * self.width[won])[:, :, None]
        for chunk, (a, b) in enumerate(self.spans):
            if b - a < self.widths[chunk]:
                self._held(chunk, rows)[:, b - a :] = -math.inf if largest else math.inf
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
