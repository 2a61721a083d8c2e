"""The permuted-target null: targets are permuted over the pairs of a relation, the same permutations for every head.

It asks whether a head puts a source's own target above the other targets. It does not ask whether the head does more
than copy: that is what the ideal copier and the measure `adjusted` are for.

No further matrix product is needed. From each row's extreme values (engine.Tile) follows the logit above which a
token is a hit, and so a table of hits [source target] per relation, head and measure; a permuted score is a sum of
its cells. In the tables a token nearer to the boundary than the rounding bound counts as a hit: the null is never too
low for a tie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.suites.relations.engine import Ranker
from reportgen.suites.relations.pairs import PairIndex

MEASURES = ("score", "suppression", "strict", "adjusted")
SUPPRESSION, STRICT, ADJUSTED = 1, 2, 3  # places in MEASURES
MAX_CELLS = 4_000_000  # sources x targets of one relation; a larger one gets no null


@dataclass(frozen=True, eq=False)
class Cells:
    """One relation's sources x targets.

    rows     [source] row of each unique source in the PairIndex;  columns [target] its place in `Ranker.columns`
    source   [pair] place in rows;  target [pair] place in columns
    same     [source target] bool, the two are one token
    """

    stem: str
    k: int
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    same: npt.NDArray[np.bool_]

    @staticmethod
    def count(stem: str, pairs: PairIndex) -> int:
        """How many cells there would be."""
        members = pairs.members[stem]
        return len(np.unique(pairs.row[members])) * len(np.unique(pairs.targets[members]))

    @staticmethod
    def build(stem: str, k: int, pairs: PairIndex, columns: npt.NDArray[np.int64]) -> Cells:
        """The cells of one relation; `columns` are those of the Ranker."""
        members = pairs.members[stem]
        rows, source = np.unique(pairs.row[members], return_inverse=True)
        tokens, target = np.unique(pairs.targets[members], return_inverse=True)
        same = pairs.sources[rows][:, None] == tokens[None, :]
        return Cells(stem, k, rows, np.searchsorted(columns, tokens), source, target, same)


class HitTables:
    """Takes every head's thresholds from the engine (a `HeadSink`) and keeps one layer's hit tables.

    The hits of all relations and heads lie in one piece of memory on the device. A GPU's is copied once per layer.

    tables   stem -> [source target measure head] uint8 of the layer that was finished last
    copied   stem -> [source target] bool, cells that the ideal copier hits: they don't count for `adjusted`
    """

    def __init__(
        self, cells: Sequence[Cells], ranker: Ranker, n_heads: int, copied: Mapping[str, npt.NDArray[np.bool_]]
    ) -> None:
        self.cells, self.copied = cells, copied
        self.ks = sorted({c.k for c in cells})
        self.depth = max(self.ks, default=1) + 2
        wide = ranker.wide
        self.sources = torch.from_numpy(np.searchsorted(ranker.columns, ranker.pairs.sources)).to(wide)
        self.places = {c.stem: (torch.from_numpy(c.rows).to(wide), torch.from_numpy(c.columns).to(wide)) for c in cells}
        sizes = [c.same.size * len(MEASURES) * n_heads for c in cells]
        self.held = torch.zeros(sum(sizes), dtype=torch.uint8, device=wide)
        self.n_heads, self.sizes, self.is_finished = n_heads, sizes, False
        parts = zip(cells, torch.split(self.held, sizes), strict=True)
        self.hits = {c.stem: part.view(len(MEASURES), n_heads, *c.same.shape) for c, part in parts}
        self.tables: dict[str, npt.NDArray[np.uint8]] = {}

    def add(self, head: int, z: Tensor, g: Tensor, top: Tensor, bottom: Tensor, bound: Tensor) -> None:
        """One head's hits: see engine.HeadSink."""
        if self.is_finished:
            self.held.zero_()
            self.is_finished = False
        top, bottom = top.to(z.device), bottom.to(z.device)
        source = (z * g[:, self.sources].mT).sum(1)  # [row], the source's own logit
        ahead = top[:, :-1] > (source + bound)[:, None]
        others = torch.where(ahead, top[:, :-1], top[:, 1:])  # extreme values without the source's column
        lines = {k: (_line(top, k, bound), -_line(-bottom, k, bound), _line(others, k, bound)) for k in self.ks}
        first = _line(others, 1, bound)
        for c in self.cells:
            rows, columns = self.places[c.stem]
            logits = z[rows] @ g[:, columns]  # [source target]
            high, low, without = (line[rows, None] for line in lines[c.k])
            hits = (logits > high, logits < low, logits > first[rows, None], logits > without)
            for i, hit in enumerate(hits):
                self.hits[c.stem][i, head] = hit

    def finish(self) -> None:
        """The layer is done: its hits become `tables`."""
        found = np.split(self.held.cpu().numpy(), np.cumsum(self.sizes)[:-1]) if self.cells else []
        for c, part in zip(self.cells, found, strict=True):
            hits = part.reshape(len(MEASURES), self.n_heads, *c.same.shape)
            hits[[STRICT, ADJUSTED]] &= ~c.same
            if c.stem in self.copied:
                hits[ADJUSTED] &= ~self.copied[c.stem]
            self.tables[c.stem] = np.moveaxis(hits, (0, 1), (2, 3))
        self.is_finished = True


def _line(values: Tensor, k: int, bound: Tensor) -> Tensor:
    """The logit above which a token is among the k largest [row], from the extreme values [row depth]."""
    inside, outside = values[:, k - 1], values[:, k]
    apart = inside - outside > 2 * bound
    return torch.where(apart, (inside + outside) / 2, outside - bound)


class Permutations:
    """Permuted scores of one relation, filled layer by layer.

    counts    [draw measure layer head] hits under each permutation
    eligible  [draw] pairs with t != s, what strict and adjusted are a share of
    """

    def __init__(self, cells: Cells, draws: int, n_layers: int, n_heads: int, rng: np.random.Generator) -> None:
        n = len(cells.target)
        self.cells, self.n = cells, n
        order = rng.permuted(np.tile(np.arange(n, dtype=np.int32), (draws, 1)), axis=1)  # [draw pair]
        self.targets = np.ascontiguousarray(cells.target[order].T.astype(np.int32))  # [pair draw]
        same = cells.same[cells.source[:, None], self.targets]
        self.eligible = n - same.sum(axis=0)
        kind = np.uint8 if n <= 255 else np.uint16 if n < 2**16 else np.uint32
        self.counts = np.zeros((draws, len(MEASURES), n_layers, n_heads), dtype=kind)

    def fill(self, layer: int, table: npt.NDArray[np.uint8]) -> None:
        """One layer's permuted hits, from its table [source target measure head]."""
        draws = self.targets.shape[1]
        flat = np.ascontiguousarray(table.reshape(*table.shape[:2], -1))  # [source target measure*head]
        total = np.zeros((draws, flat.shape[2]), dtype=np.uint32)
        part, buffer = np.zeros((draws, flat.shape[2]), np.uint8), np.empty((draws, flat.shape[2]), np.uint8)
        for i, source in enumerate(self.cells.source, start=1):
            np.take(flat[source], self.targets[i - 1], axis=0, out=buffer, mode="clip")
            part += buffer
            if i % 255 == 0 or i == self.n:  # bytes are added as bytes, and carried over before they are full
                total += part
                part[:] = 0
        self.counts[:, :, layer] = total.reshape(draws, len(MEASURES), -1)

    def shares(self, measure: str) -> npt.NDArray[np.float32]:
        """Permuted scores [draw layer*head] of a measure."""
        i = MEASURES.index(measure)
        of = np.maximum(self.eligible, 1)[:, None] if i in (STRICT, ADJUSTED) else self.n
        return (self.counts[:, i].reshape(len(self.counts), -1) / of).astype(np.float32)
