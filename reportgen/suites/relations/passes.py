"""One pass over all layers of one set of OV maps: inputs, which heads are alive, ranks, and hits of a relation."""

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
from reportgen.suites.relations.engine import LayerRanks, Ranker
from reportgen.suites.relations.null import HitTables, Permutations

if TYPE_CHECKING:
    from reportgen.models.model import Weights

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
class Pass:
    """Ranks of every unique pair under every head; active, norms [layer head]."""

    ranker: Ranker
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
    ranker: Ranker,
    maps: Maps,
    inputs: Inputs,
    n_layers: int,
    progress: Callable[[], None],
    tables: HitTables | None = None,
    permutations: Sequence[Permutations] = (),
    norms_of: Callable[[int], npt.NDArray[np.float64]] | None = None,
) -> Pass:
    """Every layer's ranks, and its permuted scores where there are tables to fill.

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
        layers.append(ranker.layer(inputs.of(layer), W_V, W_O, active[layer], tables))
        for null in permutations:
            null.fill(layer, tables.tables[null.cells.stem]) if tables is not None else None
        progress()
    return Pass(ranker, layers, active, norms)
