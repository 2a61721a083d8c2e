"""Static relation scores: hits of one pass over a set of OV maps, and what they are read against.

permuted  the null: targets permuted over the pairs of a relation, the same permutations for every head. It asks whether
          a head puts a source's own target above the other targets, not whether it does more than copy: that is what
          the ideal copier and the measure `adjusted` are for
copier    the identity in place of the OV map: its row is the source's own vector times W_U
twin      the model with its configuration's random initialisation
matched   each head's OV map with its singular values kept and its singular directions drawn at random
folded    not a control: the same weights with the scales of the norms around the head applied

The null needs no further matrix product. From each row's extreme values (ranks.Tile) follows the logit above which a
token is a hit, and so a table of hits [source target] per relation, head and measure; a permuted score is a sum of its
cells. In the tables a token nearer to the boundary than the rounding bound counts as a hit: the null is never too low
for a tie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.errors import NotApplicable
from reportgen.scores import head_name
from reportgen.suites.relations.scoring.near_ranks import NearRanks
from reportgen.suites.relations.scoring.ranks import LayerRanks, PairIndex, Ranker

if TYPE_CHECKING:
    from reportgen.models.weights import Weights


# The permuted-target null.

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


# One pass over all layers of one set of OV maps: inputs, which heads are alive, ranks, and hits of a relation.

Maps = Callable[[int], tuple[Tensor, Tensor]]  # layer -> W_V [n_kv d_model d_head], W_O [n_heads d_head d_model]
INACTIVE = 1e-6  # of the median head's ||W_V W_O||


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the OV maps read for each unique source: layer 0 `first`, the others `later`, both [row d_model]."""

    first: Tensor
    later: Tensor
    mlp: bool  # whether `later` went through the first MLP
    note: str  # empty when the first MLP was used as asked

    def of(self, layer: int) -> Tensor:
        return self.first if layer == 0 else self.later


@dataclass(frozen=True, eq=False)
class RelationHits:
    """One relation's ranks and hits.

    twice, strict  [pair layer head] uint32, twice the mid-rank of the target, over all columns and without the
    source's; 0 where not computed (strict: also where target = source)
    hits           measure -> [pair layer head] bool
    counted        measure -> [pair] bool, the pairs that the measure is a share of
    reasons        head name -> why it was not computed
    """

    twice: npt.NDArray[np.uint32]
    strict: npt.NDArray[np.uint32]
    hits: Mapping[str, npt.NDArray[np.bool_]]
    counted: Mapping[str, npt.NDArray[np.bool_]]
    reasons: Mapping[str, str]

    def share(self, measure: str) -> tuple[npt.NDArray[np.float64], int]:
        """(hits per head [layer head], NaN where not computed; pairs counted)."""
        counted = self.counted[measure]
        hits = self.hits[measure][counted].sum(axis=0).astype(np.float64)
        hits[(self.twice == 0).any(axis=0)] = np.nan
        return (hits if counted.any() else np.full_like(hits, np.nan)), int(counted.sum())


@dataclass(frozen=True, eq=False)
class RankPass:
    """Ranks of every unique pair under every head, from NearRanks up to its limit; active, norms [layer head]."""

    ranker: Ranker | NearRanks
    layers: Sequence[LayerRanks]
    active: npt.NDArray[np.bool_]
    norms: npt.NDArray[np.float64]

    def relation(self, stem: str, k: int, copied: npt.NDArray[np.bool_] | None = None) -> RelationHits:
        """Ranks and hits of one relation; `copied` [pair]: what the ideal copier hits without the source."""
        pairs = self.ranker.pairs
        members = pairs.members[stem]
        twice = np.stack([layer.twice[members] for layer in self.layers], axis=1)  # [pair layer head]
        above = np.stack([layer.above[members] for layer in self.layers], axis=1)
        broken = np.stack([layer.broken[members] for layer in self.layers], axis=1).sum(axis=0)
        twice[:, ~self.active | (broken > 0)] = 0
        known = twice > 0
        apart = pairs.targets[members] != pairs.sources[pairs.row[members]]
        strict = np.where(known & apart[:, None, None], np.maximum(twice, above + np.uint32(2)) - above, 0)
        strict = strict.astype(np.uint32)
        flipped = mirrored(twice, self.ranker.d_vocab)
        fresh = apart if copied is None else apart & ~copied
        near = (strict > 0) & (strict <= 2 * k)
        hits = {
            "score": known & (twice <= 2 * k),
            "suppression": known & (flipped <= 2 * k),
            "strict": strict == 2,
            "adjusted": near & fresh[:, None, None],
        }
        every = np.ones(len(members), dtype=bool)
        counted = {"score": every, "suppression": every, "strict": apart, "adjusted": apart}
        return RelationHits(twice, strict, hits, counted, self._reasons(broken, len(members)))

    def _reasons(self, broken: npt.NDArray[np.int64], n: int) -> dict[str, str]:
        reasons = {}
        for layer, head in np.argwhere(~self.active | (broken > 0)):
            if not np.isfinite(self.norms[layer, head]):
                why = "weights are not finite"
            elif not self.active[layer, head]:
                why = "inactive: ||W_V W_O|| is below 1e-6 of the median head's"
            else:
                why = f"logits are not finite on {broken[layer, head]} of {n} pairs"
            reasons[head_name(int(layer), int(head))] = why
        return reasons


def mirrored(twice: npt.NDArray[np.uint32], d_vocab: int) -> npt.NDArray[np.uint32]:
    """Twice the mid-rank with the signs turned: over the same columns the two sum to 2 (V + 1). 0 stays 0."""
    return np.where(twice == 0, 0, 2 * (d_vocab + 1) - twice.astype(np.int64)).astype(np.uint32)


def read_inputs(weights: Weights, sources: npt.NDArray[np.int64], *, first_mlp: bool) -> Inputs:
    """Embeddings of the sources, and MLP_0(LN2_0(e)) for layers >= 1 where it is asked for and there is one."""
    ids = torch.from_numpy(sources).to(weights.device)
    first = weights.embed(ids).float()
    if not first_mlp:
        return Inputs(first, first, False, "Every layer reads the token's embedding: first_mlp is off.")
    try:
        return Inputs(first, weights.first_mlp(ids).float(), True, "")
    except NotApplicable as reason:
        return Inputs(first, first, False, f"Every layer reads the token's embedding. {reason}")


def ov_norm(W_V: Tensor, W_O: Tensor) -> npt.NDArray[np.float64]:
    """||W_V W_O|| (Frobenius) per head: the root of tr((W_V' W_V)(W_O W_O')), in float64."""
    V, O = W_V.cpu().double(), W_O.cpu().double()  # noqa: E741
    gram = (V.mT @ V).repeat_interleave(len(O) // len(V), dim=0)  # [head d_head d_head]
    norms: npt.NDArray[np.float64] = (gram * (O @ O.mT)).sum((1, 2)).clamp_min(0).sqrt().numpy()
    return norms


def rank_all(
    ranker: Ranker | NearRanks,
    maps: Maps,
    inputs: Inputs,
    n_layers: int,
    progress: Callable[[], None],
    tables: HitTables | None = None,
    permutations: Sequence[Permutations] = (),
    norms_of: Callable[[int], npt.NDArray[np.float64]] | None = None,
) -> RankPass:
    """Every layer's ranks, and its permuted scores where there are tables to fill, which takes a Ranker.

    norms_of  layer -> ||W_V W_O|| [head], where the maps need not be made to know it
    """
    norms_of = norms_of or (lambda layer: ov_norm(*maps(layer)))
    norms = np.stack([norms_of(layer) for layer in range(n_layers)])
    finite = np.isfinite(norms)
    median = float(np.median(norms[finite])) if finite.any() else 0.0
    active = finite & (norms > INACTIVE * median)
    layers = []
    for layer in range(n_layers):
        W_V, W_O = maps(layer)
        given = (inputs.of(layer), W_V, W_O, active[layer])
        layers.append(ranker.layer(*given, tables) if isinstance(ranker, Ranker) else ranker.layer(*given))
        for null in permutations:
            null.fill(layer, tables.tables[null.cells.stem]) if tables is not None else None
        progress()
    return RankPass(ranker, layers, active, norms)


class MatchedSpectra:
    """Random OV maps [one per query head] with the singular values of the model's own.

    W_V W_O = A diag(s) B' becomes Q diag(s) R' with Q, R uniform with orthonormal columns: spectrum and norms are kept.
    """

    def __init__(self, weights: Weights, seed: int) -> None:
        self.weights, self.seed = weights, seed
        self._spectra: dict[int, Tensor] = {}

    def spectrum(self, layer: int) -> Tensor:
        """Singular values [n_heads d_head] of a layer's OV maps on the CPU, computed once."""
        if layer not in self._spectra:
            self._spectra[layer] = singular_values(self.weights.W_V(layer), self.weights.W_O(layer))
        return self._spectra[layer]

    def norms(self, layer: int) -> npt.NDArray[np.float64]:
        """||W_V W_O|| of a layer's heads [n_heads]: that of their singular values."""
        found: npt.NDArray[np.float64] = self.spectrum(layer).double().norm(dim=1).numpy()
        return found

    def maps(self, layer: int) -> tuple[Tensor, Tensor]:
        """W_V [n_heads d_model d_head] and W_O [n_heads d_head d_model] of a layer, redrawn identically each time."""
        spectrum, W_O = self.spectrum(layer), self.weights.W_O(layer)
        draw = torch.Generator().manual_seed(self.seed * 100_003 + layer)
        shape = (len(W_O), W_O.shape[2], W_O.shape[1])
        left, right = (torch.linalg.qr(torch.randn(shape, generator=draw)).Q for _ in range(2))
        device = W_O.device
        return (left * spectrum[:, None, :]).to(device), right.mT.contiguous().to(device)


class Folded:
    """Weights with diag(w_ln1) before W_V and diag(w_post) diag(w_final) after W_O; the norms' divisions left out."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    @property
    def changes(self) -> bool:
        """Whether there is any scale to apply."""
        w = self.weights
        return w.final_scale() is not None or any(
            w.ln1_scale(layer) is not None or w.post_attn_scale(layer) is not None for layer in range(w.record.n_layers)
        )

    def maps(self, layer: int) -> tuple[Tensor, Tensor]:
        """W_V [n_kv d_model d_head] and W_O [n_heads d_head d_model] of a layer."""
        W_V, W_O = self.weights.W_V(layer), self.weights.W_O(layer)
        before = self.weights.ln1_scale(layer)
        W_V = W_V if before is None else W_V * before[:, None]
        for after in (self.weights.post_attn_scale(layer), self.weights.final_scale()):
            W_O = W_O if after is None else W_O * after
        return W_V, W_O


def singular_values(W_V: Tensor, W_O: Tensor) -> Tensor:
    """Singular values of each head's W_V W_O [n_heads d_head], float32 on the CPU; NaN for weights that aren't finite.

    Without forming the product: with W_V = Q R and W_O' = P S they are those of R S'.
    """
    R = torch.linalg.qr(W_V.cpu().double()).R.repeat_interleave(len(W_O) // len(W_V), dim=0)  # [head d_head d_head]
    S = torch.linalg.qr(W_O.cpu().double().mT).R
    inner = R @ S.mT
    finite = torch.isfinite(inner).flatten(1).all(1)
    values: Tensor = torch.linalg.svdvals(torch.where(finite[:, None, None], inner, 0.0)).float()
    values[~finite] = torch.nan
    return values
