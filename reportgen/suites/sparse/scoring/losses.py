"""Losses, open edges and agreement of the dense, thresholded and sparse model on text, and the two maps of edges."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reportgen.aliases import Floats
from reportgen.models.model import Model
from reportgen.models.selfcheck import require_finite
from reportgen.scores import HeadScores, NamedArray
from reportgen.stats import bootstrap_interval
from reportgen.suites.base import Context
from reportgen.suites.sparse.facts import Agreement, CurvePoint, Interval, SparseFacts, TextFacts
from reportgen.suites.sparse.scoring.checkpoint import Partner, TextSample
from reportgen.suites.sparse.scoring.gates import (
    EPSILON,
    Gate,
    Rule,
    above,
    every_edge,
    hooks,
    renormalised,
    straight_through,
)
from reportgen.suites.sparse.suite import Settings
from reportgen.suites.sparse.training.networks import divergence
from reportgen.suites.sparse.training.texts import Ids

# Loss and open edges of a model on text, under any rule for its attention pattern.

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

    def first(self, count: int) -> CurvePoint:
        """Loss and edges on the first `count` sequences alone, to stand beside what was measured on those."""
        part = OnText(self.loss[:count], self.edges[:count], self.length)
        return CurvePoint(loss_nats=part.loss_nats, edges_percent=part.edges_percent)

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
class ModelAgreement:
    """Two models on the same text: kl [sequence] in nats, top1 [sequence] share of equal first guesses."""

    kl: Floats
    top1: Floats


def agreement(dense: Model, sparse: Model, gate: Gate, ids: Ids) -> ModelAgreement:
    """KL(dense || sparse with hard gates) and how often both put the same token first."""
    kl, top1 = [], []
    for start in range(0, len(ids), BATCH):
        rows = torch.as_tensor(ids[start : start + BATCH], device=dense.device)
        one, other = dense.logits(rows), sparse.run(rows, hooks(sparse, gate))
        kl.append(divergence(one, other).mean(1).cpu().double().numpy())
        top1.append((one.argmax(-1) == other.argmax(-1)).cpu().double().mean(1).numpy())
    return ModelAgreement(np.concatenate(kl), np.concatenate(top1))


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


CUT_FIELDS = ("threshold", "edges_percent", "edges_per_token", "loss_nats", "loss_renormalised_nats")
CURVE_SEQUENCES = 32  # behind each point of the threshold curve
DEAD = 0.01  # edges per token below which a head counts as unused


@dataclass(frozen=True, eq=False)
class TextLosses:
    """What text says: `rule` is the thresholded dense model's, None without text to choose it by."""

    rule: Rule | None
    scores: tuple[HeadScores, ...]
    facts: SparseFacts
    arrays: Mapping[str, NamedArray] = field(default_factory=dict)


def losses(dense: Model, found: Partner, sample: TextSample, settings: Settings, context: Context) -> TextLosses:
    """Measure all three on `sample`; without text only edges under the gates and agreement."""
    rng = np.random.default_rng([context.seed, 83])
    context.progress(0, 1, "losses on text")
    whole = on_text(dense, every_edge, sample.ids)
    require_finite(dense, "losses on this text", whole.loss)
    sparse = on_text(found.model, found.gate, sample.ids)
    require_finite(found.model, "the sparse model's losses on this text", sparse.loss)
    facts = SparseFacts(
        text=TextFacts(name=sample.name, sequences=len(sample.ids), length=sample.ids.shape[1], is_text=sample.is_text),
        agreement=_agreement(dense, found, sample, settings, rng),
        dead_heads=int((sparse.edges.mean(0) < DEAD).sum()),
    )
    shown, arrays, rule = {"dense": whole, "sparse": sparse}, {}, None
    if sample.is_text:
        limit = whole.loss_nats + found.gate.slack_nats
        few = sample.ids[:CURVE_SEQUENCES]
        curve = threshold_curve(dense, few, context.progress)
        spent = max(found.gate.slack_nats, sparse.loss_nats - whole.loss_nats)  # what the sparse model may or does cost
        chosen = highest_within(dense, few, curve, float(whole.loss[: len(few)].mean()) + spent)
        rule = above(chosen.threshold)
        shown["thresholded"] = on_text(dense, rule, sample.ids)
        facts.loss_nats = _losses_of(found, sample, shown, context.seed)
        facts.limit_nats, facts.threshold, facts.curve_sequences = limit, chosen.threshold, len(few)
        facts.excess_nats = list(excess(sparse, whole, context.seed, settings.resamples))
        facts.on_curve = {name: shown[name].first(len(few)) for name in ("dense", "sparse")}
        arrays["thresholds"] = _cuts(curve)
    facts.edges_percent = {name: one.edges_percent for name, one in shown.items()}
    facts.edges_per_token = {name: one.edges_per_token for name, one in shown.items()}
    grids = {"dense": shown.get("thresholded", whole), "sparse": sparse}
    scores = tuple(_scores(task, one, settings, rng) for task, one in grids.items())
    for task, one in grids.items():
        arrays[f"edges/{task}"] = NamedArray(("sequence", "layer", "head"), one.edges.astype(np.float32))
    return TextLosses(rule, scores, facts, arrays)


def _agreement(
    dense: Model, found: Partner, sample: TextSample, settings: Settings, rng: np.random.Generator
) -> Agreement:
    both = agreement(dense, found.model, found.gate, sample.ids)
    return Agreement(kl_nats=_mean(both.kl, settings, rng), top1=_mean(both.top1, settings, rng))


def _mean(values: Floats, settings: Settings, rng: np.random.Generator) -> Interval:
    low, high = bootstrap_interval(values, [0] * len(values), rng, draws=settings.resamples)
    return Interval(mean=float(values.mean()), low=float(low), high=float(high))


def _losses_of(found: Partner, sample: TextSample, shown: Mapping[str, OnText], seed: int) -> dict[str, float]:
    drawn = on_text(found.model, sampled(found.gate, seed, found.model.device), sample.ids)
    return {name: one.loss_nats for name, one in shown.items()} | {
        "sparse_sampled": drawn.loss_nats,
        "gates_off": on_text(found.model, every_edge, sample.ids).loss_nats,
    }


def _cuts(curve: tuple[Cut, ...]) -> NamedArray:
    rows = [[float(value) for value in dataclasses.astuple(cut)] for cut in curve]
    return NamedArray(("cut", "field"), np.array(rows), {"field": CUT_FIELDS})


def _scores(task: str, one: OnText, settings: Settings, rng: np.random.Generator) -> HeadScores:
    most = (one.length + 1) / 2  # keys a query sees, on average
    low, high = bootstrap_interval(one.edges, [0] * len(one.edges), rng, draws=settings.resamples, bounds=(0.0, most))
    return HeadScores(
        key=f"sparse/edges_per_token/{task}",
        label=f"Edges per token ({task})",
        values=one.edges.mean(0).astype(np.float32),
        n=len(one.edges),
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        no_null="edges are counted; there is no claim to test",
        range=(0.0, most),
    )
