"""Retrieval and copying scores without one document, or on half of the examples, from stored tables."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reportgen.scores import HeadScores, NamedArray, SuiteResult
from reportgen.suites.retrieval.tables import sums
from reportgen.suites.variants import Variant, over_line


def variants(result: SuiteResult) -> tuple[Variant, ...]:
    """For every score with a threshold, the ratio without each document in turn; on short sequences, on each half."""
    found: list[Variant] = []
    for scores in result.scores:
        if scores.threshold is not None:
            found += _documents(result, scores, scores.threshold)
            found += _examples(result.arrays.get(f"copies/{scores.measure}"), scores, scores.threshold)
    return tuple(found)


def _documents(result: SuiteResult, scores: HeadScores, line: float) -> Iterator[Variant]:
    tables, kept, right = (result.arrays.get(name) for name in ("tables", "kept", "right"))
    if tables is None or kept is None or right is None or scores.measure not in tables.labels["measure"]:
        return
    table = tables.values[tables.labels["measure"].index(scores.measure)]
    parts = [sums(*one, scores.measure) for one in zip(table, kept.values == 1, right.values, strict=True)]
    top, below = (np.stack(part) for part in zip(*parts, strict=True))  # [document layer head]
    for left_out in range(len(top) if len(top) > 1 else 0):
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.delete(top, left_out, 0).sum(0) / np.delete(below, left_out, 0).sum(0)
        grid = over_line(ratio, line, scores.exact_values)
        yield Variant(scores.key, "document left out", f"document {left_out + 1}", grid)


def _examples(each: NamedArray | None, scores: HeadScores, line: float) -> Iterator[Variant]:
    if each is None or len(each.values) < 4:
        return
    half = np.arange(len(each.values)) // 2 % 2  # as the suite's own halves: pairs of examples stay together
    for i in range(2):
        mean = each.values[half == i].astype(np.float64).mean(0)
        yield Variant(scores.key, "half of the examples", f"half {i + 1}", over_line(mean, line, scores.exact_values))
