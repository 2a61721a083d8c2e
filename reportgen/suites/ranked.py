"""How well a score ranks the heads of a set: AUROC against sets drawn within the same layers; which heads are top.

Numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reportgen.aliases import Bools, Floats
from reportgen.scores import HeadScores, HeadSet
from reportgen.stats import mid_ranks, wilson

DRAWS = 4_999
TOP = 0.02  # share of the heads that is called top


def top(values: Floats, share: float = TOP) -> Bools:
    """[layer head] the highest `share` of the heads with a value, at least three and at most ten per cent."""
    known = int(np.isfinite(values).sum())
    count = max(1, min(max(3, math.ceil(share * known)), known // 10 or 1))
    order = np.argsort(-np.where(np.isfinite(values), values, -np.inf), axis=None, kind="stable")[:count]
    found = np.zeros(values.size, np.bool_)
    found[order] = True
    return found.reshape(values.shape)


@dataclass(frozen=True)
class Ranked:
    """One set of heads on one score.

    ranks      name -> rank from the top among the heads with a value, mid-ranks for ties
    hits       of the set's `listed` heads, those among the highest `listed` of all; low, high Wilson's interval of it
    auroc      over all heads with a value; NaN without listed or other heads
    null       2.5 % and 97.5 % of sets drawn within the same layers
    p          two-sided, (1 + #) / (B + 1): layer-matched sets whose AUROC is as far from their mean
    """

    ranks: dict[tuple[int, int], float]
    listed: int
    total: int
    hits: int
    low: float
    high: float
    auroc: float
    null: tuple[float, float]
    p: float


def ranked(scores: HeadScores, head_set: HeadSet) -> Ranked | None:
    """None where no head of the set, or no other head, has a value."""
    values = scores.exact_values.astype(np.float64)
    known = np.isfinite(values)
    member = np.zeros(values.shape, np.bool_)
    for layer, head in head_set.heads:
        if layer < values.shape[0] and head < values.shape[1]:
            member[layer, head] = known[layer, head]
    listed, total = int(member.sum()), int(known.sum())
    if not listed or listed == total:
        return None
    up = mid_ranks(values.ravel()).reshape(values.shape)  # ascending
    top = total + 1 - up
    hits = int((top[member] <= listed).sum())
    low, high = wilson(hits, listed)
    found, draws = _auroc(up[member], total), _drawn(up, member, known)
    far = np.abs(draws - draws.mean()) >= abs(found - draws.mean()) - 1e-12
    null = (float(np.quantile(draws, 0.025)), float(np.quantile(draws, 0.975)))
    ranks = {(int(a), int(b)): float(top[a, b]) for a, b in np.argwhere(member)}
    p = (1 + int(far.sum())) / (len(draws) + 1)
    return Ranked(ranks, listed, total, hits, float(low), float(high), found, null, p)


def _auroc(ranks: Floats, total: int) -> float:
    """Mann and Whitney 1947: the share of (listed, other) pairs in which the listed head is higher."""
    n = len(ranks)
    return float((ranks.sum() - n * (n + 1) / 2) / (n * (total - n)))


def _drawn(up: Floats, member: Bools, known: Bools) -> Floats:
    """AUROCs of sets with as many heads of each layer, drawn at random."""
    rng, total, n = np.random.default_rng(0), int(known.sum()), int(member.sum())
    sums = np.zeros(DRAWS)
    for layer in np.flatnonzero(member.any(1)).tolist():
        pool = up[layer][known[layer]]
        order = rng.permuted(np.tile(pool, (DRAWS, 1)), axis=1)
        sums += order[:, : int(member[layer].sum())].sum(1)
    return np.asarray((sums - n * (n + 1) / 2) / (n * (total - n)))
