"""Everything that was measured, before it becomes scores, sets, tables and facts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.suites.cognitive import null
from reportgen.suites.cognitive.ablation import Effects
from reportgen.suites.cognitive.alone import Alone
from reportgen.suites.cognitive.fit import Fit, Rows
from reportgen.suites.cognitive.prepare import Prepared
from reportgen.suites.cognitive.recipe import Recipe
from reportgen.suites.cognitive.suite import Settings

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Everything that was measured."""

    prepared: Prepared
    rows: Rows
    fit: Fit
    alone: Alone
    effects: Effects
    norms: Floats
    active: npt.NDArray[np.bool_]
    settings: Settings
    recipe: Recipe
    seed: int
    bytes_each: int

    @property
    def functions(self) -> tuple[str, ...]:
        return self.prepared.data.functions


@dataclass(frozen=True)
class Lines:
    """The family-wise lines of the own part and of the whole, with p [function head]; None without a null."""

    own: float
    total: float
    p: Mapping[str, Floats]


def slugs(functions: tuple[str, ...]) -> tuple[str, ...]:
    """Task names of the functions: letters, digits and _ only, each once."""
    made: list[str] = []
    for i, label in enumerate(functions):
        name = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_") or f"function_{i + 1}"
        made.append(name if name not in made else f"{name}_{i + 1}")
    return tuple(made)


def family_lines(found: Scored) -> Lines | None:
    """Lines and adjusted p; a head is tested by its size, and the family is all heads and functions."""
    if found.fit.null is None:
        return None
    maxima = {part: found.fit.null.maxima(part) for part in ("own", "total")}
    alpha = found.settings.alpha
    p = {part: null.adjusted_p(np.abs(found.fit.mean(part)), maxima[part]) for part in maxima}
    return Lines(null.line(maxima["own"], alpha), null.line(maxima["total"], alpha), p)


def why_no_null(found: Scored) -> str:
    return f"preset {found.settings.preset}" if not found.recipe.null else "permutations = 0"


def number(value: object) -> object:
    """JSON has no NaN: None says that there is no such number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
