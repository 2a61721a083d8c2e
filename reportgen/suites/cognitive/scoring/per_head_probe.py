"""Each head alone: a logistic regression per head that sees this head's output and nothing else.

It says what could be read from a head, whether the joint probe reads it there or not, and no layer mean is in it.

- All heads are fitted at once, since their losses are separate sums; features are those of the joint probe.
- The penalty is the one of `PENALTIES` with the least mean loss on the validation rows, the same for all heads.
- Score: the area under the ROC curve of one function against the others on the test rows, which no head can raise by
  always giving the same answer.
- The classifiers are fixed before the test rows are looked at, so that the null permutes the test rows' labels only,
  within strata. Family: all heads and functions, by the maximum of values standardised by their own null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import cross_entropy

from reportgen.aliases import Floats, Ints
from reportgen.stats import wilson
from reportgen.suites.cognitive.scoring.null import adjusted_p, permuted

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
_STEPS = 60  # of L-BFGS; the losses are convex


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
    penalty, weights, bias = _chosen(own, torch.from_numpy(labels).to(own.device), at, classes)
    test, truth = at["test"], labels[at["test"]]
    logprob = logits(own[torch.from_numpy(test).to(own.device)], weights, bias).log_softmax(-1).cpu().numpy()
    ranks = rankdata(logprob, axis=0)  # [row head function]
    area = areas(ranks, truth[None], classes)[0]
    low, high = intervals(ranks, area, truth, [chains[i] for i in test], classes)
    p = None
    if permutations:
        drawn = areas(ranks, permuted(truth, strata[test], permutations, rng), classes)  # [permutation function head]
        p = family_p(area, drawn, active)
    return Alone(area, low, high, p, penalty, logprob.astype(np.float32))


def logits(own: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """[n head function] of own [n head d], weights [head d function], bias [head function]."""
    return torch.einsum("nhd,hdc->nhc", own, weights) + bias


def fit(own: Tensor, labels: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights [head d function] and bias [head function] of one penalised logistic regression per head."""
    heads, width = own.shape[1:]
    weights = torch.zeros(heads, width, classes, device=own.device, requires_grad=True)
    bias = torch.zeros(heads, classes, device=own.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = losses(own, labels, weights, bias).sum() + penalty / 2 * weights.square().sum()
        torch.autograd.backward(value)
        return value

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach(), bias.detach()


def losses(own: Tensor, labels: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """[head] mean cross-entropy in nats on own [n head d]."""
    given = logits(own, weights, bias).movedim(1, 2)  # [n function head]
    return cross_entropy(given, labels[:, None].expand(-1, given.shape[2]), reduction="none").mean(0)


def _chosen(own: Tensor, labels: Tensor, at: dict[str, Ints], classes: int) -> tuple[float, Tensor, Tensor]:
    train, validation = (torch.from_numpy(at[part]).to(own.device) for part in ("train", "validation"))
    found = []
    for penalty in PENALTIES:
        weights, bias = fit(own[train], labels[train], classes, penalty)
        found.append((float(losses(own[validation], labels[validation], weights, bias).mean()), penalty, weights, bias))
    _, penalty, weights, bias = min(found, key=lambda one: one[0])
    return penalty, weights, bias


def areas(ranks: Floats, labels: Ints, classes: int) -> Floats:
    """Areas under the ROC curve [labelling function head], ranks [row head function] with mid-ranks, labels [L row]."""
    is_it = np.eye(classes)[labels]  # [labelling row function]
    n = is_it.sum(1)  # [labelling function]
    above = np.einsum("lrc,rhc->lch", is_it, ranks, optimize=True) - (n * (n + 1) / 2)[:, :, None]
    return np.asarray(above / np.maximum(n * (labels.shape[1] - n), 1)[:, :, None])


def intervals(
    ranks: Floats, area: Floats, truth: Ints, chains: Sequence[str], classes: int
) -> tuple[Floats, Floats]:  # fmt: skip
    """95 % intervals [function head]: Wilson's, with as many rows as give the area's variance over chains.

    The variance is that of DeLong's placements summed by chain (Obuchowski 1997). Where a head separates a function
    without error it is zero, and the number of the function's rows is taken.
    """
    _, member = np.unique(np.asarray(chains), return_inverse=True)
    k = int(member.max()) + 1
    low, high = np.empty_like(area), np.empty_like(area)
    for c in range(classes):
        mine = truth == c
        m, rest = int(mine.sum()), int((~mine).sum())
        share = np.empty(ranks.shape[:2])  # [row head] share of the other side that this row stands rightly to
        share[mine] = (ranks[mine, :, c] - rankdata(ranks[mine, :, c], axis=0)) / rest
        share[~mine] = 1 - (ranks[~mine, :, c] - rankdata(ranks[~mine, :, c], axis=0)) / m
        influence = (share - area[c]) / np.where(mine, m, rest)[:, None]
        by_chain = np.zeros((k, ranks.shape[1]))
        np.add.at(by_chain, member, influence)
        variance = np.square(by_chain).sum(0) * k / max(k - 1, 1)
        spread = area[c] * (1 - area[c])
        effective = np.where(variance > 0, spread / np.maximum(variance, 1e-30), m)
        effective = np.clip(effective, 1, len(truth))
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
