"""Successors, predecessors and repeats within classes of words, after Gould et al. 2023.

For each word of a class the head's OV map gives a logit to every word of the class; the largest decides. What is kept
is how far on the winner stands, so that every shift of the class's order can be counted from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Floats
from reportgen.suites.weights.classes import KeptClass
from reportgen.suites.weights.scoring.heads import LayerHeads
from reportgen.suites.weights.scoring.vocabulary import Lowest, Span

SUCCESSOR, PREDECESSOR, REPEAT = 1, -1, 0
FIRST_SHIFT = 2


@dataclass(frozen=True, eq=False)
class Winners:
    """Of one class: winner[word layer head] is the index of the word with the largest logit; -1: two share it.

    among  [word word layer head] in the first word's row the second is among the k highest of the whole vocabulary
    """

    of: KeptClass
    winner: npt.NDArray[np.int16]
    among: npt.NDArray[np.bool_]

    def hits(self, steps: int) -> npt.NDArray[np.bool_]:
        """[pair layer head] whether the word `steps` places on wins, over the words that have one."""
        pairs = {i: i for i in range(len(self.of.ids))} if steps == 0 else self.of.after(steps)
        source, target = np.array(list(pairs), np.int64), np.array(list(pairs.values()), np.int64)
        return np.asarray(self.winner[source] == target[:, None, None])

    @property
    def shifts(self) -> list[int]:
        """The shifts of the null, forwards and backwards: 2 to half the class, where most words have a target."""
        most = len(self.of.of.words) // 2
        both = [s for step in range(FIRST_SHIFT, most + 1) for s in (step, -step)]
        size = len(self.of.of.words)
        both = [s for s in both if not (self.of.of.cyclic and 2 * s == -size)]  # half a turn is the same either way
        return [s for s in both if 2 * len(self.of.after(s)) >= len(self.of.ids)]


class Successors:
    """Takes the layers' heads. Cost: a row over the vocabulary for each head and word of a class.

    Layer by layer: `begin`, `see` each head's span of the vocabulary, `end`.
    """

    def __init__(self, classes: Sequence[KeptClass], U: Tensor, n_layers: int, n_heads: int, k: int) -> None:
        """U: folded unembedding [d_model token]; k: how many tokens of the vocabulary are the highest."""
        self.classes, words = classes, sum(len(one.ids) for one in classes)
        self.lowest = Lowest(n_heads, words, k, U)
        self.ids = torch.tensor([i for one in classes for i in one.ids], dtype=torch.long, device=U.device)
        self.columns = U[:, self.ids]
        ends = np.cumsum([0] + [len(one.ids) for one in classes])
        self.spans = [slice(a, b) for a, b in pairwise(ends)]
        self.winners = [np.zeros((len(one.ids), n_layers, n_heads), np.int16) for one in classes]
        self.among = [np.zeros((len(one.ids), len(one.ids), n_layers, n_heads), np.bool_) for one in classes]

    def begin(self, heads: LayerHeads, x: Tensor) -> None:
        """A layer that reads x [word d_model], the words of all classes in order."""
        self.values = heads.per_head(x @ heads.V)
        self.turned = -self.values
        self.lowest.kept.fill_(torch.inf)

    def see(self, head: int, span: Span) -> None:
        """The k highest logits of each word's row, as the lowest of their negatives."""
        for place, columns in enumerate(span.columns):
            self.lowest.product(place, self.turned[head], columns[head])
            self.lowest.seen(place)
        self.lowest.end(head, len(span.starts))

    def end(self, layer: int, heads: LayerHeads) -> None:
        """What the layer's words have their largest logits on."""
        columns = heads.O @ self.columns  # [head d_head word]
        line = -self.lowest.line
        limit = line - 1e-6 * line.abs()  # less rounding
        for span, into, among in zip(self.spans, self.winners, self.among, strict=True):
            logits = self.values[:, span] @ columns[:, :, span]  # [head word word]
            top = logits.topk(2, dim=-1)
            tied = top.values[..., 0] == top.values[..., 1]
            best = torch.where(tied, -1, top.indices[..., 0])
            into[:, layer] = best.T.cpu().numpy().astype(np.int16)
            among[:, :, layer] = (logits >= limit[:, span, None]).permute(1, 2, 0).cpu().numpy()

    def results(self) -> list[Winners]:
        return [Winners(*each) for each in zip(self.classes, self.winners, self.among, strict=True)]


def macro(classes: Sequence[Winners], steps: int) -> Floats:
    """Mean over classes of the share of words whose winner stands `steps` places on, [layer head]."""
    return np.asarray(np.mean([one.hits(steps).mean(0) for one in classes], axis=0))


def in_vocabulary(one: Winners) -> npt.NDArray[np.bool_]:
    """[pair layer head] whether the next word is among the k highest tokens, over the words that have a next one."""
    pairs = one.of.after(SUCCESSOR)
    return one.among[list(pairs), list(pairs.values())]


def effective_n(shares: Floats, counts: npt.NDArray[np.int64]) -> Floats:
    """The n of a plain share with the macro mean's variance, [layer head]; shares [class layer head], counts [class].

    p (1 - p) / V with V = sum_c p_c (1 - p_c) / n_c over the square of the number of classes.
    """
    counts = counts[:, None, None]
    p, variance = shares.mean(0), (shares * (1 - shares) / counts).sum(0) / len(shares) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(variance > 0, np.clip(p * (1 - p) / variance, 1, counts.sum()), counts.sum()))


def permuted(
    classes: Sequence[Winners], steps: int, draws: int, rng: np.random.Generator, *, strict: bool = False
) -> Floats:
    """Macro means [draw layer*head] with the targets of each class permuted over its words.

    strict  hits are words among the k highest of the vocabulary
    """
    total = np.zeros((draws, classes[0].winner[0].size))
    for one in classes:
        pairs = {i: i for i in range(len(one.of.ids))} if steps == 0 else one.of.after(steps)
        source, target = np.array(list(pairs), np.int64), np.array(list(pairs.values()), np.int64)
        won = one.winner[source][:, None] == target[None, :, None, None]  # [word target layer head]
        hits = one.among[source][:, target] if strict else won
        order = rng.permuted(np.tile(np.arange(len(target)), (draws, 1)), axis=1)
        total += counted(hits.reshape(len(source), len(target), -1), order) / len(source)
    return np.asarray(total / len(classes))


def counted(hits: npt.NDArray[np.bool_], order: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """[draw head] hits of words whose targets stand in another order [draw word]; hits [word target head]."""
    table = hits.astype(np.uint16)
    total = np.zeros((len(order), hits.shape[2]), np.uint16)
    for word in range(len(hits)):
        total += table[word][order[:, word]]
    return total


def shifted(classes: Sequence[Winners]) -> Floats:
    """Macro mean [layer head] of the share of words whose winner stands 2 or more places on or back, mean over shifts.

    Classes that are too short to be shifted by two count as chance.
    """
    means = [
        np.mean([one.hits(step).mean(0) for step in one.shifts], axis=0) if one.shifts
        else np.full(one.winner.shape[1:], 1 / len(one.of.ids)) for one in classes
    ]  # fmt: skip
    return np.asarray(np.mean(means, axis=0))


def chance(classes: Sequence[Winners]) -> float:
    """What a head scores whose winners are uniform."""
    return float(np.mean([1 / len(one.of.ids) for one in classes]))
