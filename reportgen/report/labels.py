"""How far a head stands beyond the null of each score, on one scale, and the one score that leads each head.

- The null's line of a score: its family-wise line; of a score with p alone, the largest size below the cut that parts
  heads with p <= 0.05 from the others with the fewest errors (of several such cuts the lowest; 0 with none below it).
- The margin of a head beyond its null: (size - line, or - the median head's size where that is larger) / standard
  deviation of the score over all heads. A score that is high for most heads so separates none but the highest.
- The leading label of a head is the score with the largest margin above 0; others within TIE of that margin are ties.
  Scores that are multiples of an earlier one of the same task (an effect and the effect not normalised) count once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.scores import Head, HeadScores

ALPHA = 0.05
TIE = 0.05  # of the largest margin
_SAME = 1e-3  # standard deviations by which multiples of one score may differ
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Label:
    """The score (by key) that leads a head, its margin in standard deviations over heads, and the keys of ties."""

    key: str
    margin: float
    ties: tuple[str, ...] = ()


def is_signed(scores: HeadScores) -> bool:
    """Whether a value below zero is a finding of its own."""
    return scores.range[0] < 0


def beyond_null(scores: HeadScores) -> Bools | None:
    """[layer head] whether a head is beyond the family-wise null; None where there is none."""
    if scores.p is not None:
        found: Bools = scores.p <= ALPHA
        return found
    return None if scores.line is None else _size(scores) > scores.line


def null_line(scores: HeadScores) -> float | None:
    """The null's line in score units; None without a null, and where no head is beyond one that has p alone."""
    if scores.line is not None:
        return scores.line
    beyond = beyond_null(scores)
    if beyond is None or not beyond.any():
        return None
    size, known = _size(scores), np.isfinite(scores.exact_values)
    order = np.argsort(size[known], kind="stable")
    ordered, is_beyond = size[known][order], beyond[known][order]
    missed = np.concatenate([[0], np.cumsum(is_beyond)[:-1]])  # heads beyond the null below this size
    wrong = np.cumsum((~is_beyond)[::-1])[::-1]  # heads not beyond it from this size on
    errors = np.where(is_beyond, missed + wrong, len(ordered) + 1)
    first = int(errors.argmin())  # the smallest head above the cut
    return float(ordered[first - 1]) if first else 0.0


def margin(scores: HeadScores, value: float) -> float | None:
    """How far `value` lies beyond the null and the median head, in standard deviations; None without line or spread."""
    start, spread = _start(scores), _spread(scores)
    if start is None or not spread > 0:
        return None
    return ((abs(value) if is_signed(scores) else value) - start) / spread


def margins(scores: HeadScores) -> Floats:
    """[layer head] margin of every head that is beyond its null and above the median head, NaN of the others."""
    start, spread, beyond = _start(scores), _spread(scores), beyond_null(scores)
    if start is None or beyond is None or not spread > 0:
        return np.full(scores.exact_values.shape, np.nan)
    above = _size(scores) - start
    found: Floats = np.where(beyond & (above > 0), above / spread, np.nan)
    return found


def _start(scores: HeadScores) -> float | None:
    """What margins are counted from: the null's line or the median head, whichever is larger."""
    line = null_line(scores)
    return None if line is None else max(line, float(np.nanmedian(_size(scores))))


def leading_labels(every: Sequence[HeadScores]) -> dict[Head, Label]:
    """The leading label of every head that is beyond the null of some score; scores of one grid."""
    kept = _once([s for s in every if s.values.shape == every[0].values.shape and null_line(s) is not None])
    if not kept:
        return {}
    grids = np.stack([margins(scores) for scores in kept])  # [score layer head]
    found: dict[Head, Label] = {}
    for layer, head in np.argwhere(np.isfinite(grids).any(0)).tolist():
        own = np.nan_to_num(grids[:, layer, head], nan=-np.inf)
        order = np.argsort(-own, kind="stable")
        best = float(own[order[0]])
        ties = [int(i) for i in order[1:] if own[i] >= best - TIE * abs(best)]
        found[layer, head] = Label(kept[int(order[0])].key, best, tuple(kept[i].key for i in ties))
    return found


def count_led(labels: Mapping[Head, Label]) -> dict[str, int]:
    """Score key -> heads that it leads, ties included."""
    counts: dict[str, int] = {}
    for label in labels.values():
        for key in (label.key, *label.ties):
            counts[key] = counts.get(key, 0) + 1
    return counts


def _once(every: Sequence[HeadScores]) -> list[HeadScores]:
    kept: dict[tuple[str, str], list[Floats]] = {}
    found = []
    for scores in every:
        values = scores.exact_values.astype(np.float64)
        spread = _spread(scores)
        shape = (values - np.nanmean(values)) / (spread if spread > 0 else 1.0)
        before = kept.setdefault((scores.suite, scores.task), [])
        if not any(np.allclose(shape, other, atol=_SAME, equal_nan=True) for other in before):
            before.append(shape)
            found.append(scores)
    return found


def _size(scores: HeadScores) -> Floats:
    values = scores.exact_values.astype(np.float64)
    return np.abs(values) if is_signed(scores) else values


def _spread(scores: HeadScores) -> float:
    known = scores.exact_values[np.isfinite(scores.exact_values)]
    return float(known.std(dtype=np.float64)) if known.size else 0.0
