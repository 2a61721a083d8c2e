"""Copy suppression, after McDougall et al. 2023: does a head lower the token it reads, and look for the one predicted?

OV: row i of W_EE W_V W_O U over the vocabulary; the token's own place from the bottom. QK: the query is the unembedding
of a predicted token T, the keys are the effective embeddings W_EE of sampled tokens; the own key's place from the top.
W_EE is the residual after block 0 where a token attends to itself alone. Norms are applied to rows, with their scales.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Floats
from reportgen.suites.weights.scoring.heads import LayerHeads, normalised
from reportgen.suites.weights.scoring.successor import counted

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens
    from reportgen.models.weights import Weights

_PLAIN_WORD = re.compile(r"[A-Za-z]{3,}")
BLOCK = 64  # columns whose smallest is kept while the k smallest are looked for
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
    """Takes the layers' heads; the logits of one head are held at a time, [word token] float32."""

    def __init__(self, words: Words, U: Tensor, k: int) -> None:
        """U: folded unembedding [d_model token]."""
        self.words, self.U, self.k = words, U, min(k, U.shape[1])
        steps = -(-U.shape[1] // BLOCK)
        self.logits = torch.full((len(words.ids), steps * BLOCK), torch.inf, device=U.device)

    def layer(
        self, heads: LayerHeads, b_Q: Tensor | None, see: Callable[[int, Tensor], None] = lambda *_: None
    ) -> Places:
        """Every head's ranks and hits; `see` gets each head and W_O U [d_head token], which are made but once."""
        n, count = len(self.words.ids), len(heads.O)
        values = self.words.read @ heads.V  # [n_kv word d_head]
        keys = self.words.keys @ heads.K
        ov, qk = (np.zeros((n, count), np.uint32) for _ in range(2))
        hits = np.zeros((2, n, n, count), np.bool_)
        for head in range(count):
            g = head // heads.group
            columns = heads.O[head] @ self.U
            see(head, columns)
            row = values[g] @ columns  # [word token]
            ov[:, head], hits[0, :, :, head] = self._bottom(row)
            query = self.words.queries @ heads.Q[head]
            query = query if b_Q is None else query + b_Q[head]
            qk[:, head], hits[1, :, :, head] = _top(query @ keys[g].T, self.k)
        return Places(ov, qk, hits)

    def _bottom(self, row: Tensor) -> tuple[Ranks, npt.NDArray[np.bool_]]:
        """Ranks from the bottom of own columns, and the words' columns among the k lowest; row [word token]."""
        own = row.gather(1, self.words.ids[:, None])
        below, same = (row < own).sum(1), (row == own).sum(1)
        self.logits[:, : row.shape[1]] = row
        blocks = self.logits.view(len(row), BLOCK, -1)
        at = blocks.amin(1).topk(min(self.k, blocks.shape[2]), largest=False).indices  # [word k] blocks of the k lowest
        few = blocks.gather(2, at[:, None].expand(-1, BLOCK, -1)).flatten(1)
        line = few.topk(self.k, largest=False).values[:, -1:]
        hits = row[:, self.words.ids] <= line
        return _twice(below, same), hits.cpu().numpy()


def _top(scores: Tensor, k: int) -> tuple[Ranks, npt.NDArray[np.bool_]]:
    """Ranks from the top of the own keys, and the words' keys among the k highest; scores [word key]."""
    own = scores.diagonal()[:, None]
    line = scores.topk(min(k, scores.shape[1])).values[:, -1:]
    ranks = _twice((scores > own).sum(1), (scores == own).sum(1))
    return ranks, (scores[:, : len(scores)] >= line).cpu().numpy()


def _twice(ahead: Tensor, same: Tensor) -> Ranks:
    """Twice 1 + #ahead + #tied / 2; `same` counts the own column too."""
    return (2 + 2 * ahead + same - 1).cpu().numpy().astype(np.uint32)


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
