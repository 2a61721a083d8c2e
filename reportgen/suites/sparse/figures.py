"""Figures of the sparse suite: the circuit of a prompt, edges per head, training, thresholds, faithfulness."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from reportgen.figures import captions
from reportgen.figures.alone import Maker, OneByOne
from reportgen.figures.data import table
from reportgen.figures.figure import Figure, View
from reportgen.figures.heatmap import pair
from reportgen.scores import HeadScores, SuiteResult
from reportgen.suites.sparse import circuit, lines, sentences


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """Those that the result has the numbers for, the circuit first."""
    made: list[Callable[[SuiteResult, View], Figure | None]] = [
        circuit.figure,
        lines.faithfulness,
        _edges,
        lines.training,
        lines.thresholds,
    ]
    yield from (partial(make, result, view) for make in made)


def _edges(result: SuiteResult, view: View) -> Figure | None:
    """Edges per token of every head, dense (thresholded) and sparse."""
    dense, sparse = result.get("edges_per_token", "dense"), result.get("edges_per_token", "sparse")
    if dense is None or sparse is None:
        return None
    name = captions.model_name(view)
    facts = result.facts
    return Figure(
        id="sparse-edges",
        suite=result.suite,
        title=f"{name}: attention edges per token",
        caption=captions.join(
            f"Edges per token of every head of {captions.grid_words(view)}, left, and of its sparse partner "
            f"{facts.get('sparse_model', '')}, right (n = {sparse.n} sequences).",
            _open(facts),
            captions.best_head(dense).replace("Highest:", "Highest left:"),
            captions.best_head(sparse).replace("Highest:", "Highest right:"),
            captions.synthetic(view),
        ),
        alt=f"Layer by head maps of attention edges per token, {name} on the left, sparse partner on the right.",
        chart=pair((_free(dense), [], f"{name}: dense"), (_free(sparse), [], f"{name}: sparse"), view),
        data=table([(dense, []), (sparse, [])], "Attention edges per token"),
        notes=captions.notes(
            _rule(facts),
            "Each map has a colour scale of its own.",
            sentences.edges(facts),
            captions.caveat([dense, sparse]),
            sentences.gate(facts),
        ),
    )


def _open(facts: Mapping[str, Any]) -> str:
    """Share of the causal pairs that are edges, on the left and on the right."""
    percent = facts.get("edges_percent")
    if not isinstance(percent, Mapping):
        return ""
    left = f"left {percent['thresholded']:.1f} %, " if "thresholded" in percent else ""
    return f"Open: {left}right {percent['sparse']:.2f} %."


def _free(scores: HeadScores) -> HeadScores:
    """With a colour scale that ends at the data: of (T + 1) / 2 possible edges a sparse head has hardly any."""
    return replace(scores, range=(0.0, math.inf))


def _rule(facts: Mapping[str, Any]) -> str:
    """What counts as an edge on the left."""
    threshold = facts.get("threshold")
    if not isinstance(threshold, int | float):
        return "Left: every key that the causal mask allows."
    return (
        f"Left: pattern ≥ {threshold:.3g}, the highest threshold at which dropping the rest costs no more loss than "
        "the sparse model may; right: open gates."
    )
