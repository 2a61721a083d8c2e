"""Which heads lie beyond the null of a score, and where its line is. Numpy only.

The null's line of a score: its family-wise line; of a score with p alone, the largest size below the cut that parts
heads with p <= 0.05 from the others with the fewest errors (of several such cuts the lowest; 0 with none below it).
"""

from __future__ import annotations

import numpy as np

from reportgen.aliases import Bools, Floats
from reportgen.scores import FloatGrid, HeadScores

ALPHA = 0.05


def is_signed(scores: HeadScores) -> bool:
    """Whether a value below zero is a finding of its own."""
    return scores.range[0] < 0


def sizes(scores: HeadScores) -> Floats:
    """[layer head] the exact values, or their sizes where they are signed; NaN for the others."""
    values = scores.exact_values.astype(np.float64)
    return np.abs(values) if is_signed(scores) else values


def beyond_null(scores: HeadScores) -> Bools | None:
    """[layer head] whether a head is beyond the family-wise null; None where there is none."""
    if scores.p is not None:
        found: Bools = scores.p <= ALPHA
        return found
    return None if scores.line is None else sizes(scores) > scores.line


def null_line(scores: HeadScores) -> float | None:
    """The null's line in score units; None without a null, and where no head is beyond one that has p alone."""
    if scores.line is not None:
        return scores.line
    beyond = beyond_null(scores)
    if beyond is None or not beyond.any():
        return None
    size, known = sizes(scores), np.isfinite(scores.exact_values)
    order = np.argsort(size[known], kind="stable")
    ordered, is_beyond = size[known][order], beyond[known][order]
    missed = np.concatenate([[0], np.cumsum(is_beyond)[:-1]])  # heads beyond the null below this size
    wrong = np.cumsum((~is_beyond)[::-1])[::-1]  # heads not beyond it from this size on
    errors = np.where(is_beyond, missed + wrong, len(ordered) + 1)
    first = int(errors.argmin())  # the smallest head above the cut
    return float(ordered[first - 1]) if first else 0.0


def above_line(scores: HeadScores) -> FloatGrid | None:
    """[layer head] 1 beyond the null and, where the score has a threshold, as large as it; None without a null."""
    beyond = beyond_null(scores)
    if beyond is None:
        return None
    reached = beyond if scores.threshold is None else beyond & (np.nan_to_num(sizes(scores)) >= scores.threshold)
    return np.where(np.isfinite(scores.exact_values), reached, np.nan).astype(np.float32)
