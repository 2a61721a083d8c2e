"""What heads write for a token, in vocabulary space, and how much; for suites that test if a head copies or matters.

- Raw weights, no norm before W_V or W_U, no b_V, b_O or b_U.
- Layers >= 1 see MLP_0(LN2_0(e)) instead of the embedding e, layer 0 sees e (Elhelo and Geva, arXiv 2412.11965;
  Wang et al., arXiv 2211.00593, section 3.1). If the model has no such MLP every layer sees e.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Bools, Floats
from reportgen.errors import NotApplicable
from reportgen.scores import Head

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.weights import Weights


FloatGrid = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sources:
    """Token vectors that the OV circuits read.

    first   [token d_model] for layer 0
    later   [token d_model] for layers >= 1
    note    why `later` is the embedding itself, if so; else empty
    """

    ids: torch.Tensor
    first: torch.Tensor
    later: torch.Tensor
    note: str = ""

    def at(self, layer: int) -> torch.Tensor:
        """The vectors [token d_model] that heads of this layer read."""
        return self.first if layer == 0 else self.later


def sources(model: Weights, ids: Sequence[int]) -> Sources:
    """The vectors of these tokens, with the first-MLP replacement where the model has one."""
    tokens = torch.as_tensor(list(ids), device=model.device)
    embedded = model.embed(tokens)  # [token d_model]
    try:
        return Sources(tokens, embedded, model.first_mlp(tokens))
    except NotApplicable as reason:
        return Sources(tokens, embedded, embedded, str(reason))


def head_outputs(model: Weights, layer: int, vectors: torch.Tensor) -> torch.Tensor:
    """What each query head of a layer writes for each vector, x W_V W_O: [head token d_model]."""
    W_V, W_O = model.W_V(layer), model.W_O(layer)  # [kv d_model d_head], [head d_head d_model]
    values = torch.einsum("td,kdh->kth", vectors, W_V)
    values = values.repeat_interleave(W_O.shape[0] // W_V.shape[0], dim=0)  # [head token d_head]
    return torch.einsum("nth,nhd->ntd", values, W_O)


@torch.inference_mode()
def copying_among(model: Weights, words: Sources) -> FloatGrid:
    """Share of the words for which a head raises that word's logit above every other word's: [layer head] in 0..1.

    Rank 1 among the words given, not the vocabulary; chance is 1 / number of words. A tie is not a copy, so a head
    that writes nothing scores 0. NaN where a logit is not finite.
    """
    columns = model.W_U()[:, words.ids]  # [d_model token]
    shares = []
    for layer in range(model.record.n_layers):
        logits = head_outputs(model, layer, words.at(layer)) @ columns  # [head token token]
        own = logits.diagonal(dim1=-2, dim2=-1).clone()  # [head token]
        known = logits.isfinite().all((-2, -1))  # [head]
        logits.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf)
        copied = (own > logits.amax(dim=-1)).float().mean(dim=-1)
        shares.append(torch.where(known, copied, torch.nan))
    found: FloatGrid = torch.stack(shares).cpu().numpy()
    return found


@torch.inference_mode()
def copying_top_k(
    model: Weights, words: Sources, heads: Sequence[tuple[int, int]], k: int, sign: int = 1
) -> dict[tuple[int, int], float]:
    """Share of the words that stand among the k largest logits of their own OV row, over the whole vocabulary.

    sign = -1 asks for the k smallest instead: suppression. Rank is 1 + number above + half the number of ties.
    Wang et al. (arXiv 2211.00593, section 3.2 and appendix) call it the copy score, with k = 5. NaN where a logit is
    not finite.
    """
    W_U = model.W_U()  # [d_model vocab]
    shares: dict[tuple[int, int], torch.Tensor] = {}
    for layer in sorted({layer for layer, _ in heads}):
        outputs = head_outputs(model, layer, words.at(layer))  # [head token d_model]
        for head in sorted(h for lay, h in heads if lay == layer):
            logits = sign * (outputs[head] @ W_U)  # [token vocab]
            own = logits.gather(1, words.ids[:, None])
            above = (logits > own).sum(dim=1)
            ties = (logits == own).sum(dim=1) - 1
            known = logits.isfinite().all()  # a NaN stands above nothing: it would pass for the first of all
            shares[layer, head] = torch.where(known, (1 + above + ties / 2 <= k).float().mean(), torch.nan)
    return on_host(shares)


def on_host(values: Mapping[tuple[int, int], torch.Tensor]) -> dict[tuple[int, int], float]:
    """A number per head, copied from the device at once."""
    return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True)) if values else {}


# What switching a head off takes away, and random sets of heads like a given one as a control.

ALIKE = 2.0  # output norms within this factor count as matched
NEAREST = 3  # else one of the layer's nearest in norm


def output_norms(model: Model, z: Tensor, fill: Tensor | None = None) -> Floats:
    """Root mean square over rows of ||(z - fill) W_O|| per head [layer head].

    z [row layer head d_head]; fill [layer head d_head] what z becomes, None: the mean over rows.
    """
    norms = []
    for layer in range(z.shape[1]):
        at = z[:, layer].to(model.device).float()
        lost = at - (at.mean(0) if fill is None else fill[layer])
        out = torch.einsum("rhe,hed->rhd", lost, model.W_O(layer))
        norms.append(out.square().sum(-1).mean(0).sqrt())
    return np.asarray(torch.stack(norms).cpu().double().numpy())


@dataclass(frozen=True, eq=False)
class RandomSets:
    """Draws of heads like those of a list, place by place.

    heads            [set place] flat index layer * n_heads + head
    layer_fallbacks  draws from the nearest other layer, since the layer had no head left
    norm_fallbacks   draws outside the factor ALIKE in norm, since no head left was within it
    """

    heads: npt.NDArray[np.int64]
    layer_fallbacks: int
    norm_fallbacks: int


def random_sets(
    like: Sequence[Head], allowed: Bools, norms: Floats, count: int, rng: np.random.Generator
) -> RandomSets:
    """`count` sets, each disjoint from `like`: for every head one of its layer, its norm within a factor of two.

    allowed [layer head] heads that may be drawn; norms [layer head] sizes of what removing a head takes away.
    Where fewer heads are left than there are places, the sets end early.
    """
    pool = allowed.copy()
    for layer, head in like:
        pool[layer, head] = False
    places = min(len(like), int(pool.sum()))
    sizes = np.log(np.maximum(norms, 1e-30))
    sets = np.empty((count, places), np.int64)
    other_layer = other_norm = 0
    for row in sets:
        free = pool.copy()
        for place, (layer, head) in enumerate(like[:places]):
            near = min(np.flatnonzero(free.any(1)), key=lambda at: (abs(at - layer), at))
            heads = np.flatnonzero(free[near])
            far = np.abs(sizes[near, heads] - sizes[layer, head])
            alike = heads[far <= np.log(ALIKE)]
            other_layer += int(near != layer)
            other_norm += int(not len(alike))
            choice = int(rng.choice(alike if len(alike) else heads[np.argsort(far, kind="stable")[:NEAREST]]))
            free[near, choice] = False
            row[place] = near * allowed.shape[1] + choice
    return RandomSets(sets, other_layer, other_norm)
