"""Each head alone: a logistic regression per head that sees this head's output and nothing else.

It says what could be read from a head, whether the joint probe reads it there or not, and no layer mean is in it.

- All heads are fitted to the minimum of their own losses (logistic.py); features are those of the joint probe.
- The penalty is the same for all heads: from the strongest of `PENALTIES` down, as long as the mean loss on the
  validation rows falls.
- Score: the area under the ROC curve of one function against the others on the test rows, which no head can raise by
  always giving the same answer. Two rows less than `NEAR` apart count as a tie in part: what the last digits of a
  float32 decide is no order, and one pair of rows in the other order would move the area by .0006.
- The classifiers are fixed before the test rows are looked at, so that the null permutes the test rows' labels only,
  within strata. Family: all heads and functions, by the maximum of values standardised by their own null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from reportgen.aliases import Floats, Ints
from reportgen.stats import wilson
from reportgen.suites.cognitive.scoring import logistic
from reportgen.suites.cognitive.scoring.null import adjusted_p, permuted

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
NEAR = 1e-3  # nats of log-probability


@dataclass(frozen=True)
class Alone:
    """area, low, high [function head]; p the same, or None without permutations; penalty chosen.

    logprob [test row, head, function] what each head's classifier says
    """

    area: Floats
    low: Floats
    high: Floats
    p: Floats | None
    penalty: float
    logprob: npt.NDArray[np.float32]


def measure(
    own: Tensor, labels: Ints, at: dict[str, Ints], chains: Sequence[str], strata: Ints, classes: int,
    permutations: int, active: npt.NDArray[np.bool_], rng: np.random.Generator,
) -> Alone:  # fmt: skip
    """Fit on the train rows of own [N head d], choose on the validation rows, measure on the test rows."""
    own = own.cpu()  # float64 there on every device, and the same on every device
    penalty, weights, bias = _chosen(own, torch.from_numpy(labels), at, classes)
    test, truth = at["test"], labels[at["test"]]
    logprob = logistic.logits(own[torch.from_numpy(test)], weights, bias).log_softmax(-1).numpy()
    ranks = soft_ranks(logprob)
    area = areas(ranks, truth[None], classes)[0]
    low, high = intervals(logprob, area, truth, [chains[i] for i in test], classes)
    p = None
    if permutations:
        drawn = areas(ranks, permuted(truth, strata[test], permutations, rng), classes)  # [permutation function head]
        p = family_p(area, drawn, active)
    return Alone(area, low, high, p, penalty, logprob.astype(np.float32))


def _chosen(own: Tensor, labels: Tensor, at: dict[str, Ints], classes: int) -> tuple[float, Tensor, Tensor]:
    """The penalty, and every head's weights and bias under it."""
    train, validation = (torch.from_numpy(at[part]) for part in ("train", "validation"))
    best, least = PENALTIES[0], float("inf")
    for penalty in PENALTIES:
        fitted = logistic.fit(own[train], labels[train], classes, penalty, logistic.ROUGHLY)
        loss = float(losses(own[validation], labels[validation], *fitted).mean())
        if loss > least:
            break
        best, least = penalty, loss
    return best, *logistic.fit(own[train], labels[train], classes, best)


def losses(own: Tensor, labels: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """[head] mean cross-entropy in nats on own [n head d]."""
    given = logistic.logits(own, weights, bias).movedim(1, 2)  # [n function head]
    return cross_entropy(given, labels[:, None].expand(-1, given.shape[2]), reduction="none").mean(0)


def soft_ranks(scores: Floats) -> Floats:
    """Ranks along the first axis of scores [row ...]: 1/2 + the sum over rows of how far this row stands above each.

    A row stands above another by 1 if it is at least NEAR higher, by 0 if it is as much lower, and by
    1/2 + difference / (2 NEAR) in between: equal rows have the mean of their ranks.
    """
    columns = scores.reshape(len(scores), -1)
    found = np.empty(columns.shape)
    for column, values in enumerate(columns.T):
        ordered = np.sort(values)
        sums = np.concatenate([[0.0], np.cumsum(ordered)])
        first = np.searchsorted(ordered, values - NEAR, "left")
        last = np.searchsorted(ordered, values + NEAR, "right")
        near = last - first
        found[:, column] = 0.5 + first + near / 2 + (near * values - sums[last] + sums[first]) / (2 * NEAR)
    return found.round(6).reshape(scores.shape)  # the sums leave digits behind, where a perfect order is exact


def areas(ranks: Floats, labels: Ints, classes: int) -> Floats:
    """Areas under the ROC curve [labelling function head] from ranks [row head function], labels [labelling row]."""
    is_it = np.eye(classes)[labels]  # [labelling row function]
    n = is_it.sum(1)  # [labelling function]
    above = np.einsum("lrc,rhc->lch", is_it, ranks, optimize=True) - (n * (n + 1) / 2)[:, :, None]
    return np.asarray(above / np.maximum(n * (labels.shape[1] - n), 1)[:, :, None])


def intervals(
    scores: Floats, area: Floats, truth: Ints, chains: Sequence[str], classes: int
) -> tuple[Floats, Floats]:  # fmt: skip
    """95 % intervals [function head], scores [row head function]: Wilson's, with rows as the area's variance asks.

    The variance is that of DeLong's placements summed by chain (Obuchowski 1997). Where a head separates a function
    without error it is zero, and the number of the function's rows is taken: half a pair of rows with that variance is
    added to what was seen, so that the interval does not jump with the first pair in the wrong order.
    """
    _, member = np.unique(np.asarray(chains), return_inverse=True)
    k = int(member.max()) + 1
    low, high = np.empty_like(area), np.empty_like(area)
    for c in range(classes):
        mine = truth == c
        m, rest = int(mine.sum()), int((~mine).sum())
        share = np.empty(scores.shape[:2])  # [row head] share of the other side that this row stands rightly to
        ranks = soft_ranks(scores[:, :, c])
        share[mine] = (ranks[mine] - soft_ranks(scores[mine, :, c])) / rest
        share[~mine] = 1 - (ranks[~mine] - soft_ranks(scores[~mine, :, c])) / m
        influence = (share - area[c]) / np.where(mine, m, rest)[:, None]
        by_chain = np.zeros((k, scores.shape[1]))
        np.add.at(by_chain, member, influence)
        variance = np.square(by_chain).sum(0) * k / max(k - 1, 1)
        spread = area[c] * (1 - area[c])
        added = 1 / (2 * m * rest)
        effective = np.clip((spread + added) / (variance + added / m), 1, len(truth))
        low[c], high[c] = wilson(np.minimum(area[c], 1) * effective, effective)
    return low, high


def family_p(area: Floats, drawn: Floats, active: npt.NDArray[np.bool_]) -> Floats:
    """Adjusted p [function head] of areas above chance; drawn [permutation function head], active [head]."""
    centre, spread = drawn.mean(0), drawn.std(0)
    usable = (spread > 0) & active
    with np.errstate(invalid="ignore", divide="ignore"):
        standard = np.where(usable, (area - centre) / spread, -np.inf)
        maxima = np.where(usable, (drawn - centre) / spread, -np.inf).max((1, 2))
    return adjusted_p(standard, maxima)
