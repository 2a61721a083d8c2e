"""Copy suppression, after McDougall et al. 2023: does a head lower the token it reads, and look for the one predicted?

OV: row i of W_EE W_V W_O U over the vocabulary; the token's own place from the bottom. QK: the query is the unembedding
of a predicted token T, the keys are the effective embeddings W_EE of sampled tokens; the own key's place from the top.
W_EE is the residual after block 0 where a token attends to itself alone. Norms are applied to rows, with their scales.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Floats
from reportgen.suites.weights.scoring.heads import LayerHeads, normalised
from reportgen.suites.weights.scoring.successor import counted
from reportgen.suites.weights.scoring.vocabulary import CHUNK, Lowest, Span, count

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens
    from reportgen.models.weights import Weights

_PLAIN_WORD = re.compile(r"[A-Za-z]{3,}")
DECILES = 10
LEAST_GROUP = 20  # words; fewer words have fewer groups
Ranks = npt.NDArray[np.uint32]


def plain_words(tokens: Tokens, size: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """Up to `wanted` ids in random order of tokens that are a whole word of three letters or more."""
    found: list[int] = []
    for token in rng.permutation(size).tolist():
        word = tokens.text(token).strip()
        if _PLAIN_WORD.fullmatch(word) and tokens.word_id(word) == token:
            found.append(token)
            if len(found) == wanted:
                break
    return found


@dataclass(frozen=True, eq=False)
class Words:
    """What the two halves read.

    ids      the words [word], which are also the first keys
    read     [word d_model] normalised W_EE of the words
    keys     [key d_model] normalised W_EE of all keys
    queries  [word d_model] normalised columns of the unembedding
    """

    ids: Tensor
    read: Tensor
    keys: Tensor
    queries: Tensor

    @staticmethod
    def build(weights: Weights, U: Tensor, words: Sequence[int], others: Sequence[int]) -> Words:
        """`U` raw [d_model token]; `others`: more keys."""
        ids = torch.tensor([*words, *others], device=weights.device)
        keys = normalised(weights, weights.first_block(ids).float())
        n = len(words)
        return Words(ids[:n], keys[:n], keys, normalised(weights, U[:, ids[:n]].T))


@dataclass(frozen=True, eq=False)
class Places:
    """One layer: twice the mid-rank of each word's own column or key, and which words' columns count as hits.

    ov     [word head] from the bottom of the vocabulary;  qk  from the top of the keys
    hits   [2 word target head] bool: target's column (OV), target's key (QK), within the first k of the word's row
    """

    ov: Ranks
    qk: Ranks
    hits: npt.NDArray[np.bool_]


class Suppression:
    """Takes the layers' heads: `begin` a layer, `see` each head's span of the vocabulary, `end` it."""

    def __init__(self, words: Words, U: Tensor, k: int, n_heads: int) -> None:
        """U: folded unembedding [d_model token]."""
        self.words, self.k, n = words, k, len(words.ids)
        self.columns = U[:, words.ids]
        self.lowest = Lowest(n_heads, n, k, U)
        self.flags = U.new_empty(n * max(CHUNK, len(words.keys)))
        self.below, self.same = (U.new_zeros(n_heads, n) for _ in range(2))
        self.own: dict[int, tuple[Tensor, Tensor]] = {}  # first column of a chunk -> words' columns in it, and words
        for start in range(0, U.shape[1], CHUNK):
            there = torch.nonzero((words.ids >= start) & (words.ids < start + CHUNK))[:, 0]
            self.own[start] = words.ids[there] - start, there

    def begin(self, heads: LayerHeads, b_Q: Tensor | None) -> None:
        """The words' own columns first: their logits are compared with all others."""
        self.heads, self.b_Q = heads, b_Q
        self.values = heads.per_head(self.words.read @ heads.V)  # [n_heads word d_head]
        self.table = self.values @ (heads.O @ self.columns)  # [n_heads word word]
        self.target = self.table.diagonal(dim1=1, dim2=2).contiguous()  # [n_heads word]
        for held, empty in ((self.below, 0), (self.same, 0), (self.lowest.kept, torch.inf)):
            held.fill_(empty)

    def see(self, head: int, span: Span) -> None:
        """One head's logits of a span, with the words' own columns as `begin` rounded them."""
        own = self.target[head]
        for place, (start, columns) in enumerate(zip(span.starts, span.columns, strict=True)):
            logits = self.lowest.product(place, self.values[head], columns[head])
            at, word = self.own[start]
            logits[:, at] = self.table[head][:, word]  # not index_copy_, which MPS has no kernel for
            self.below[head] += count("lt", logits, own, self.flags)
            self.same[head] += count("eq", logits, own, self.flags)
            self.lowest.seen(place)
        self.lowest.end(head, len(span.starts))

    def end(self) -> Places:
        """Every head's ranks and hits."""
        n, n_heads = len(self.words.ids), len(self.heads.O)
        ov = _twice(self.below, self.same).T
        qk, hits = np.zeros((n, n_heads), np.uint32), np.zeros((2, n, n, n_heads), np.bool_)
        hits[0] = (self.table <= self.lowest.line[..., None]).permute(1, 2, 0).cpu().numpy()
        keys = self.words.keys @ self.heads.K
        for head, Q in enumerate(self.heads.Q):
            query = self.words.queries @ Q
            query = query if self.b_Q is None else query + self.b_Q[head]
            qk[:, head], hits[1, :, :, head] = self._top(query @ keys[head // self.heads.group].T)
        return Places(ov, qk, hits)

    def _top(self, scores: Tensor) -> tuple[Ranks, npt.NDArray[np.bool_]]:
        """Ranks from the top of the own keys, and the words' keys among the k highest; scores [word key]."""
        own = scores.diagonal().contiguous()
        line = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        ranks = _twice(*(count(which, scores, own, self.flags) for which in ("gt", "eq")))
        return ranks, (scores[:, : len(scores)] >= line).cpu().numpy()


def _twice(ahead: Tensor, same: Tensor) -> Ranks:
    """Twice 1 + #ahead + #tied / 2; `same` counts the own column too."""
    return (1 + 2 * ahead.long() + same.long()).cpu().numpy().astype(np.uint32)


def shares(ranks: Ranks, k: int) -> Floats:
    """[layer head] share of words whose rank is k at most; ranks [word layer head]."""
    return np.asarray((ranks <= 2 * k).mean(0), np.float64)


class PermutedWords:
    """The words' targets permuted within deciles of embedding norm: columns of rare tokens are extreme for every head.

    counts  [2 draw layer head] hits under each permutation, the same for every head
    """

    def __init__(self, norms: Floats, draws: int, n_layers: int, n_heads: int, rng: np.random.Generator) -> None:
        n = len(norms)
        self.n = n
        decile = (
            np.argsort(np.argsort(norms, kind="stable"), kind="stable") * min(DECILES, max(1, n // LEAST_GROUP)) // n
        )
        self.targets = np.tile(np.arange(n), (draws, 1))
        for group in np.unique(decile):
            members = np.flatnonzero(decile == group)
            self.targets[:, members] = rng.permuted(np.tile(members, (draws, 1)), axis=1)
        self.counts = np.zeros((2, draws, n_layers, n_heads), np.uint32)

    def fill(self, layer: int, hits: npt.NDArray[np.bool_]) -> None:
        """One layer's permuted hits, from [2 word target head]."""
        for part in range(2):
            self.counts[part, :, layer] = counted(hits[part], self.targets)

    def shares(self) -> Floats:
        """[2 draw layer*head], of OV and QK."""
        return self.counts.reshape(2, len(self.targets), -1) / self.n
