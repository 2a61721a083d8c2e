"""What a suite costs, phase by phase, and what that means in seconds on a machine whose speeds were measured.

A suite's estimate is a list of phases, each with counts that follow from the model's shape and the settings. Seconds
are these counts over the machine's speeds; a phase that is named as the suite's progress names it can be compared with
what it took. Counts that the code does not show (statistics between passes) were fitted to measured runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from reportgen.manifest import ModelRecord


@dataclass(frozen=True)
class Phase:
    """One phase of a suite's work.

    name      as the suite's progress calls it, without the task before it
    tokens    positions that go through the whole model (a pass from the middle on counts in part)
    logits    positions whose logits are made
    products  multiply-adds of other matrix products
    elements  numbers read or written one by one: comparisons, sums, draws
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
    """What a phase takes."""
    products = phase.tokens * body(record) + phase.logits * record.d_vocab * record.d_model + phase.products
    return products / speeds.products + phase.elements / speeds.elements + phase.calls * speeds.call


def rendering(suites: int, speeds: Speeds) -> float:
    """Seconds that page, PDF and figures of a run of so many suites take."""
    return suites * RENDER_CALLS * speeds.call


def family(record: ModelRecord, draws: int, examples: int, what: str) -> tuple[str, ...]:
    """The heads that p is adjusted over, and the smallest p: of the draws, and of the sign flips of few examples."""
    words = [f"family: {record.n_layers * record.n_heads:,} heads"]
    if draws:
        words.append(
            f"smallest p: {max(1 / (draws + 1), 2.0 ** (1 - examples)):.2g} ({draws:,} draws, {examples} {what})"
        )
    return tuple(words)
