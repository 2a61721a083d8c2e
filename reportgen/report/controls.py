"""What an ideal copier and a randomly initialised twin score where the model's heads are drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reportgen.report.text import number
from reportgen.scores import FloatGrid, HeadScores, SuiteResult

COPIER, TWIN = "ideal copier", "random twin"


@dataclass(frozen=True, eq=False)
class Control:
    """A control on the scale of one score: one value for every cell, or a value per head.

    values  [layer head], None where the run kept no grid
    value   the copier's score (it has no heads), or the twin's highest head where that is all there is
    bound   `value` is an upper bound of every cell
    """

    name: str
    value: float
    values: FloatGrid | None = None
    bound: bool = False

    @property
    def words(self) -> str:
        """`ideal copier 0.089`, `random twin ≤ 0.036`."""
        if self.values is not None:
            return f"{self.name}, highest {number(self.value)}"
        return f"{self.name} {'≤ ' if self.bound else ''}{number(self.value)}"


def controls(result: SuiteResult, scores: HeadScores) -> tuple[Control, ...]:
    """The controls of one score, those of them that the run has.

    Read from `facts["relations"][task]["copier"]["embedding"][measure]`, from the array `twin/<task>` [measure layer
    head] with the measures as labels, else from `facts["relations"][task]["twin"]["measures"][measure]["max"]`.
    """
    facts = _part(_part(result.facts, "relations"), scores.task)
    found = []
    copied = _number(_part(_part(facts, "copier"), "embedding").get(scores.measure))
    if copied is not None:
        found.append(Control(COPIER, copied))
    grid = _twin_grid(result, scores)
    highest = _number(_part(_part(_part(facts, "twin"), "measures"), scores.measure).get("max"))
    if grid is not None:
        found.append(Control(TWIN, float(np.nanmax(grid)), grid))
    elif highest is not None:
        found.append(Control(TWIN, highest, bound=True))
    return tuple(found)


def _twin_grid(result: SuiteResult, scores: HeadScores) -> FloatGrid | None:
    stored = result.arrays.get(f"twin/{scores.task}")
    if stored is None or stored.dims != ("measure", "layer", "head"):
        return None
    names = stored.labels.get("measure", ())
    if scores.measure not in names or stored.values.shape[1:] != scores.values.shape:
        return None
    grid = stored.values[names.index(scores.measure)].astype(np.float32)
    return grid if np.isfinite(grid).any() else None


def _part(value: object, name: str) -> Mapping[str, Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
