"""Losses, open edges and agreement of the dense, thresholded and sparse model on text, and the two maps of edges."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.scores import HeadScores, NamedArray
from reportgen.stats import bootstrap_interval
from reportgen.suites import finite
from reportgen.suites.base import Context
from reportgen.suites.sparse import measure
from reportgen.suites.sparse.gates import Rule, above, every_edge
from reportgen.suites.sparse.measure import Cut, OnText
from reportgen.suites.sparse.partner import Partner, Sample
from reportgen.suites.sparse.suite import Settings

if TYPE_CHECKING:
    from reportgen.models.model import Model

Floats = npt.NDArray[np.float64]
CUT_FIELDS = ("threshold", "edges_percent", "edges_per_token", "loss_nats", "loss_renormalised_nats")
CURVE_SEQUENCES = 32  # behind each point of the threshold curve
DEAD = 0.01  # edges per token below which a head counts as unused


@dataclass(frozen=True, eq=False)
class Losses:
    """What text says: `rule` is the thresholded dense model's, None without text to choose it by."""

    rule: Rule | None
    scores: tuple[HeadScores, ...]
    facts: Mapping[str, object]
    arrays: Mapping[str, NamedArray] = field(default_factory=dict)


def losses(dense: Model, found: Partner, sample: Sample, settings: Settings, context: Context) -> Losses:
    """Measure all three on `sample`; without text only edges under the gates and agreement."""
    rng = np.random.default_rng([context.seed, 83])
    context.progress(0, 1, "losses on text")
    whole = measure.on_text(dense, every_edge, sample.ids)
    finite.require(dense, "losses on this text", whole.loss)
    sparse = measure.on_text(found.model, found.gate, sample.ids)
    finite.require(found.model, "the sparse model's losses on this text", sparse.loss)
    facts: dict[str, object] = {
        "text": {"name": sample.name, "sequences": len(sample.ids), "length": sample.ids.shape[1],
                 "is_text": sample.is_text},
        "agreement": _agreement(dense, found, sample, settings, rng),
        "dead_heads": int((sparse.edges.mean(0) < DEAD).sum()),
    }  # fmt: skip
    shown, arrays, rule = {"dense": whole, "sparse": sparse}, {}, None
    if sample.is_text:
        limit = whole.loss_nats + found.gate.slack_nats
        few = sample.ids[:CURVE_SEQUENCES]
        curve = measure.threshold_curve(dense, few, context.progress)
        spent = max(found.gate.slack_nats, sparse.loss_nats - whole.loss_nats)  # what the sparse model may or does cost
        chosen = measure.highest_within(dense, few, curve, float(whole.loss[: len(few)].mean()) + spent)
        rule = above(chosen.threshold)
        shown["thresholded"] = measure.on_text(dense, rule, sample.ids)
        facts |= _loss_facts(found, sample, shown, limit, context.seed) | {"threshold": chosen.threshold}
        facts["excess_nats"] = list(measure.excess(sparse, whole, context.seed, settings.resamples))
        facts["curve_sequences"] = len(few)
        facts["on_curve"] = {name: shown[name].first(len(few)) for name in ("dense", "sparse")}
        arrays["thresholds"] = _cuts(curve)
    facts["edges_percent"] = {name: one.edges_percent for name, one in shown.items()}
    facts["edges_per_token"] = {name: one.edges_per_token for name, one in shown.items()}
    grids = {"dense": shown.get("thresholded", whole), "sparse": sparse}
    scores = tuple(_scores(task, one, settings, rng) for task, one in grids.items())
    for task, one in grids.items():
        arrays[f"edges/{task}"] = NamedArray(("sequence", "layer", "head"), one.edges.astype(np.float32))
    return Losses(rule, scores, facts, arrays)


def _agreement(
    dense: Model, found: Partner, sample: Sample, settings: Settings, rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    both = measure.agreement(dense, found.model, found.gate, sample.ids)
    return {"kl_nats": _mean(both.kl, settings, rng), "top1": _mean(both.top1, settings, rng)}


def _mean(values: Floats, settings: Settings, rng: np.random.Generator) -> dict[str, float]:
    low, high = bootstrap_interval(values, [0] * len(values), rng, draws=settings.resamples)
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def _loss_facts(
    found: Partner, sample: Sample, shown: Mapping[str, OnText], limit: float, seed: int
) -> dict[str, object]:
    drawn = measure.on_text(found.model, measure.sampled(found.gate, seed, found.model.device), sample.ids)
    nats = {name: one.loss_nats for name, one in shown.items()}
    nats |= {
        "sparse_sampled": drawn.loss_nats,
        "gates_off": measure.on_text(found.model, every_edge, sample.ids).loss_nats,
    }
    return {"loss_nats": nats, "limit_nats": limit}


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
