"""Loss and open edges of a model on text, under any rule for its attention pattern."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from reportgen.models.model import Model
from reportgen.stats import bootstrap_interval
from reportgen.suites.sparse.gates import EPSILON, Gate, Rule, above, every_edge, hooks, renormalised, straight_through
from reportgen.suites.sparse.texts import Ids
from reportgen.suites.sparse.trainees import divergence

Floats = npt.NDArray[np.float64]
BATCH = 16  # sequences per forward pass
_GRID = (0.5, 0.3, 0.2, 0.14, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002)  # thresholds of the control curve
_BISECTIONS = 6


@dataclass(frozen=True, eq=False)
class OnText:
    """loss [sequence] in nats; edges [sequence layer head] non-zero edges per token; length: tokens a sequence."""

    loss: Floats
    edges: Floats
    length: int

    @property
    def loss_nats(self) -> float:
        return float(self.loss.mean())

    def first(self, count: int) -> dict[str, float]:
        """Loss and edges on the first `count` sequences alone, to stand beside what was measured on those."""
        part = OnText(self.loss[:count], self.edges[:count], self.length)
        return {"loss_nats": part.loss_nats, "edges_percent": part.edges_percent}

    @property
    def edges_per_token(self) -> float:
        """All heads together."""
        return float(self.edges.mean(0).sum())

    @property
    def edges_percent(self) -> float:
        """Of all causal pairs of positions of all heads. It depends on `length`: never compare across lengths."""
        return float(100 * self.edges_per_token / (self.edges[0].size * (self.length + 1) / 2))


def excess(sparse: OnText, dense: OnText, seed: int, draws: int = 5000) -> tuple[float, float, float]:
    """Mean of sparse minus dense loss in nats over the same sequences, and its 95 % bootstrap interval."""
    differences = sparse.loss - dense.loss
    rng = np.random.default_rng([seed, 85])
    low, high = bootstrap_interval(differences, [0] * len(differences), rng, draws=draws)
    return float(differences.mean()), float(low), float(high)


def sampled(gate: Gate, seed: int, device: torch.device) -> Rule:
    """The gates of training: drawn at random."""
    generator = torch.Generator(device).manual_seed(seed)

    def rule(scores: Tensor, pattern: Tensor) -> Tensor:
        uniform = torch.rand(scores.shape, generator=generator, device=device).clamp(EPSILON, 1 - EPSILON)
        return pattern * straight_through(scores, gate.bias, uniform)[0]

    return rule


def on_text(model: Model, rule: Rule, ids: Ids) -> OnText:
    """Run `ids` [sequence pos] under `rule`."""
    edges = np.zeros((len(ids), model.record.n_layers, model.record.n_heads))
    losses = []
    for start in range(0, len(ids), BATCH):
        rows = torch.as_tensor(ids[start : start + BATCH], device=model.device)
        logits = model.run(rows, hooks(model, rule, _counter(edges[start : start + BATCH])))
        losses.append(_losses(logits, rows))
    return OnText(np.concatenate(losses), edges, ids.shape[1])


def _counter(edges: Floats) -> Callable[[int, Tensor], None]:
    def count(layer: int, used: Tensor) -> None:
        edges[:, layer] = (used > 0).sum((2, 3)).cpu().numpy() / used.shape[2]

    return count


def _losses(logits: Tensor, ids: Tensor) -> Floats:
    """[sequence] mean next-token loss."""
    found = functional.cross_entropy(logits[:, :-1].mT, ids[:, 1:], reduction="none").mean(1)
    return found.cpu().double().numpy()


@dataclass(frozen=True, eq=False)
class Agreement:
    """Two models on the same text: kl [sequence] in nats, top1 [sequence] share of equal first guesses."""

    kl: Floats
    top1: Floats


def agreement(dense: Model, sparse: Model, gate: Gate, ids: Ids) -> Agreement:
    """KL(dense || sparse with hard gates) and how often both put the same token first."""
    kl, top1 = [], []
    for start in range(0, len(ids), BATCH):
        rows = torch.as_tensor(ids[start : start + BATCH], device=dense.device)
        one, other = dense.logits(rows), sparse.run(rows, hooks(sparse, gate))
        kl.append(divergence(one, other).mean(1).cpu().double().numpy())
        top1.append((one.argmax(-1) == other.argmax(-1)).cpu().double().mean(1).numpy())
    return Agreement(np.concatenate(kl), np.concatenate(top1))


@dataclass(frozen=True)
class Cut:
    """One threshold of the control: edges below `threshold` dropped from a dense model's pattern, no training."""

    threshold: float
    edges_percent: float
    edges_per_token: float
    loss_nats: float
    loss_renormalised_nats: float


def cut(model: Model, threshold: float, ids: Ids) -> Cut:
    """The dense model with its pattern cut at `threshold`."""
    found, scaled = on_text(model, above(threshold), ids), on_text(model, renormalised(threshold), ids)
    return Cut(threshold, found.edges_percent, found.edges_per_token, found.loss_nats, scaled.loss_nats)


def threshold_curve(model: Model, ids: Ids, progress: Callable[[int, int, str], None]) -> tuple[Cut, ...]:
    """The control over a grid of thresholds, from the fewest edges to the most."""
    cuts = []
    for i, threshold in enumerate(_GRID):
        progress(i, len(_GRID), "cutting the dense pattern")
        cuts.append(cut(model, threshold, ids))
    return tuple(cuts)


def highest_within(model: Model, ids: Ids, curve: tuple[Cut, ...], limit_nats: float) -> Cut:
    """The sparsest cut whose loss is at most `limit_nats`, between two thresholds of the curve.

    Found by bisection of the logarithm; the curve's smallest threshold where even that costs more.
    """
    good = [c.threshold for c in curve if c.loss_nats <= limit_nats]
    if not good:
        return curve[-1]
    low = max(good)
    worse = [c.threshold for c in curve if c.threshold > low]
    high = min(worse, default=1.0)
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        if on_text(model, above(middle), ids).loss_nats <= limit_nats:
            low = middle
        else:
            high = middle
    return cut(model, low, ids)


def dense_on_text(model: Model, ids: Ids) -> OnText:
    """The dense model, every edge there."""
    return on_text(model, every_edge, ids)
