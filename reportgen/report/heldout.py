"""The best head of a score, picked on one half of the examples and measured on the other.

At face value the best of many heads is always too good: a line that names one takes its number from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from reportgen.report.labels import is_signed
from reportgen.scores import HeadScores, NamedArray, SuiteResult, head_name, parse_head

LEAST = 4  # examples a half needs


@dataclass(frozen=True)
class Held:
    """`value` [low, high] of `head` on `n` examples of the half `measured`, picked as the highest on `chosen`."""

    head: str
    value: float
    low: float
    high: float
    n: int
    chosen: str
    measured: str


def held_out(result: SuiteResult, scores: HeadScores) -> Held | None:
    """The held-out best head of `scores`, None where the run has no two halves of it.

    A suite says it in `facts["held_out"][key]` = {head, value, low, high, n, chosen_on, measured_on}; the relation and
    circuit suites have it under names of their own; per-sequence values are split here.
    """
    facts = result.facts
    stored = _part(_part(facts, "held_out"), scores.key)
    relation = _part(_part(_part(_part(facts, "relations"), scores.task), "best"), scores.measure)
    task = _part(_part(_part(facts, "tasks"), scores.task), "top_head") if scores.measure == "direct" else {}
    for found, unit in ((stored, "examples"), (relation, "pairs"), (task, "prompts")):
        held = _read(found, unit)
        if held is not None:
            return held
    return _split(result, scores)


def _part(value: object, name: str) -> Mapping[str, Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _read(found: Mapping[str, Any], unit: str) -> Held | None:
    """A stored estimate, None where it lacks a number: run folders come from anywhere."""
    try:
        head = head_name(*parse_head(str(found["head"])))
        value, low, high = (float(found[name]) for name in ("value" if "value" in found else "effect", "low", "high"))
        n = int(found["n"])
    except (KeyError, TypeError, ValueError):
        return None
    if not all(math.isfinite(x) for x in (value, low, high)):
        return None
    chosen = str(found.get("chosen_on") or f"one half of the {unit}")
    return Held(head, value, low, high, n, chosen, str(found.get("measured_on") or "the other half"))


def _split(result: SuiteResult, scores: HeadScores) -> Held | None:
    """Half of the sequences pick the head, the others measure it, with Student's interval of the mean.

    Every other sequence of each block length (array `lag`), so that both halves have all of them alike.
    """
    stored = result.arrays.get("per_sequence")
    if stored is None or stored.dims != ("measure", "sequence", "layer", "head"):
        return None
    names = stored.labels.get("measure", ())
    if scores.measure not in names:
        return None
    values = stored.values[names.index(scores.measure)].astype(np.float64)  # [sequence layer head]
    second = _second_half(result.arrays.get("lag"), len(values))
    even, odd = values[~second], values[second]
    if values.shape[1:] != scores.values.shape or len(odd) < LEAST or not np.isfinite(values).all():
        return None
    if not np.allclose(values.mean(0), scores.values, atol=1e-4):  # the score is something else than their mean
        return None
    size = np.abs(even.mean(0)) if is_signed(scores) else even.mean(0)
    layer, head = np.unravel_index(int(size.argmax()), size.shape)
    sample = odd[:, layer, head]
    half = float(stdtrit(len(sample) - 1, 0.975) * sample.std(ddof=1) / math.sqrt(len(sample)))
    mean = float(sample.mean())
    name = head_name(int(layer), int(head))
    return Held(name, mean, mean - half, mean + half, len(sample), "half of the sequences", "the other half")


def _second_half(lag: NamedArray | None, count: int) -> npt.NDArray[np.bool_]:
    """[sequence] whether it measures: every other one of those that share a value of `lag`, or of all."""
    kinds = np.zeros(count) if lag is None or lag.values.shape != (count,) else lag.values
    second = np.zeros(count, bool)
    for kind in np.unique(kinds):
        second[np.flatnonzero(kinds == kind)[1::2]] = True
    return second
