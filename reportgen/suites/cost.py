"""The cost of a suite, phase by phase, and the resulting seconds on a machine with measured speeds.

A suite's estimate is a list of phases, each with counts that follow from the model's shape and the settings. Seconds
are these counts divided by the machine's speeds; a phase with the same name as in the suite's progress can be compared
with its actual time. Counts that do not follow from the code (statistics between passes) were fitted to measured runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from reportgen.manifest import ModelRecord


@dataclass(frozen=True)
class Phase:
    """One phase of a suite's work.

    name      as in the suite's progress, without the leading task
    tokens    positions that go through the whole model (a pass from the middle on counts in part)
    logits    positions whose logits are made
    products  multiply-adds of other matrix products
    elements  elementwise operations: comparisons, sums, draws
    calls     calls of small tensor operations, whose cost is the call
    """

    name: str
    tokens: float = 0.0
    logits: float = 0.0
    products: float = 0.0
    elements: float = 0.0
    calls: float = 0.0


@dataclass(frozen=True)
class Speeds:
    """Of this machine, now: multiply-adds and numbers per second, and seconds per call of a small operation."""

    products: float
    elements: float
    call: float


CALLS = 60  # small operations of a layer in one forward pass with hooks
ROWS = 4096  # positions of a large forward pass
RENDER_CALLS = 170_000  # calls of small operations that take as long as a suite's part of page, PDF and figures


def body(record: ModelRecord) -> float:
    """Multiply-adds of one position in all blocks: the weights that are no embedding."""
    embedding = record.d_vocab * record.d_model
    return float(max(record.n_params - embedding, record.n_params // 10))


def passes(record: ModelRecord, count: float) -> float:
    """Calls of small operations in `count` forward passes through the whole model."""
    return count * record.n_layers * CALLS


def seconds(phase: Phase, record: ModelRecord, speeds: Speeds) -> float:
    """Seconds of a phase."""
    products = phase.tokens * body(record) + phase.logits * record.d_vocab * record.d_model + phase.products
    return products / speeds.products + phase.elements / speeds.elements + phase.calls * speeds.call


def rendering(suites: int, speeds: Speeds) -> float:
    """Seconds for page, PDF and figures of a run with this many suites."""
    return suites * RENDER_CALLS * speeds.call


ALPHA = 0.05


def family(record: ModelRecord, draws: int, examples: int, what: str) -> tuple[str, ...]:
    """The heads that p is adjusted over, the smallest p and the smallest effect that these many examples can show."""
    heads = record.n_layers * record.n_heads
    words = [f"family: {heads:,} heads"]
    if draws:
        least = max(1 / (draws + 1), 2.0 ** (1 - examples))
        words.append(f"smallest p: {least:.2g} ({draws:,} draws, {examples} {what})")
        words.append(
            f"smallest effect that passes: about {smallest_effect(heads, examples):.2g} sd of one of {examples} {what}"
            if least <= ALPHA
            else f"no head can pass: p can't reach {ALPHA:g}; raise the draws or the {what}"
        )
    return tuple(words)


def smallest_effect(heads: int, examples: int, alpha: float = ALPHA) -> float:
    """The mean effect, in standard deviations of one example, at which one head of many is just beyond its null.

    The mean of n examples of standard deviation 1 has standard error 1 / sqrt(n); family-wise, the largest of `heads`
    unrelated ones passes the normal distribution's 1 - alpha / heads. Heads that are alike need less; few examples,
    whose tails are heavier, more.
    """
    return NormalDist().inv_cdf(1 - alpha / max(1, heads)) / math.sqrt(max(1, examples))


def smallest_share(heads: int, n: int, chance: float, alpha: float = ALPHA) -> float:
    """The smallest share of n examples at which one head of many is just beyond its null, where each example is a hit
    by chance with probability `chance`: the binomial tail is at most alpha / heads. 1 where even all hits are not."""
    limit, tail = alpha / max(1, heads), 0.0
    for hits in range(n, 0, -1):
        tail += math.exp(
            math.lgamma(n + 1) - math.lgamma(hits + 1) - math.lgamma(n - hits + 1)
            + hits * math.log(chance) + (n - hits) * math.log1p(-chance)
        )  # fmt: skip
        if tail > limit:
            return min(1.0, (hits + 1) / n)
    return 1 / n


def smallest_mean(units: int) -> float:
    """The mean over units, in standard deviations of a unit, at which Student's 95 % interval just leaves 0 out."""
    from scipy.special import stdtrit

    return float(stdtrit(units - 1, 0.975)) / math.sqrt(units) if units > 1 else math.inf
