"""The tables of the causal ablation: one line per relation, and the curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.scores import Cell, Column, Table
from reportgen.suites.relations.clustered import two_way_wilson

if TYPE_CHECKING:
    from reportgen.suites.relations.ablation import AblationOptions, Trial

Floats = npt.NDArray[np.float64]


def summary_table(trials: Sequence[Trial], options: AblationOptions) -> Table:
    """`ablation`: one line per relation at the first number of heads with accuracy 0, else with all removed."""
    columns = (
        Column("Category"), Column("Relation"), Column("Prompts"), Column("Commonest target"), Column("Base accuracy"),
        Column("low"), Column("high"), Column("Heads removed"), Column("Accuracy without them"), Column("low"),
        Column("high"), Column("Random heads"), Column("5 %"), Column("95 %"), Column("p", digits=4),
        Column("Control tasks"), Column("Controls, base"), Column("Controls, same heads removed"),
    )  # fmt: skip
    adjusted = holm([_p(t) for t in trials])
    rows = []
    for trial, p in zip(trials, adjusted, strict=True):
        low, high = _interval(trial)
        at = trial.steps.index(trial.removed)
        accuracy = trial.accuracy
        outside = (_controls(trial, 0), _controls(trial, at))
        numbers = (accuracy[at], low[at], high[at], *_band(trial, at), p)
        relation, n = trial.kept.relation, len(trial.prompts)
        common = max(Counter(trial.kept.targets).values()) / n
        before = _cells((common, accuracy[0], low[0], high[0]))
        after = (*_cells(numbers), len(trial.controls), *_cells(outside))
        row: tuple[Cell, ...] = (relation.category, relation.title, n, *before, trial.removed, *after)
        rows.append(row)
    return Table("ablation", "Causal ablation of relation heads", columns, tuple(rows), _caption(options))


def curve_table(trials: Sequence[Trial], options: AblationOptions) -> Table:
    """`ablation_curves`: one line per relation and number of heads removed."""
    columns = (
        Column("Relation"), Column("Heads removed"), Column("Accuracy"), Column("low"), Column("high"),
        Column("Random heads"), Column("5 %"), Column("95 %"), Column("Controls"),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for trial in trials:
        low, high = _interval(trial)
        for at, step in enumerate(trial.steps):
            numbers = (trial.accuracy[at], low[at], high[at], *_band(trial, at), _controls(trial, at))
            rows.append((trial.kept.relation.stem, step, *_cells(numbers)))
    return Table("ablation_curves", "Accuracy against heads removed", columns, tuple(rows), _caption(options))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values; NaN takes no part."""
    known = [i for i in range(len(p)) if np.isfinite(p[i])]
    out, running = [float("nan")] * len(p), 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: p[i])):
        running = max(running, min(1.0, (len(known) - rank) * p[i]))
        out[i] = running
    return out


def _p(trial: Trial) -> float:
    """Share of random sets that hurt at least as much, (1 + #) / (1 + B); NaN without enough sets."""
    if trial.p_random is None:
        return float("nan")
    accuracy = trial.accuracy[trial.steps.index(trial.removed)]
    return float((1 + (trial.p_random <= accuracy).sum()) / (1 + len(trial.p_random)))


def _interval(trial: Trial) -> tuple[Floats, Floats]:
    """95 % interval of the accuracy at every step [step]; prompts with one target are one cluster."""
    return two_way_wilson(trial.correct.T[None], trial.kept.targets)


def _band(trial: Trial, at: int) -> tuple[float, float, float]:
    """Mean, 5 % and 95 % of the random sets' accuracy at a step; NaN where they were not run."""
    if trial.random is None or at >= trial.random.shape[1]:
        return np.nan, np.nan, np.nan
    here = trial.random[:, at]
    low, high = np.percentile(here, (5, 95))
    return float(here.mean()), float(low), float(high)


def _controls(trial: Trial, at: int) -> float:
    """Mean accuracy of the control tasks at a step with this relation's heads removed; NaN where there are none."""
    found = [curve[at] for curve in trial.controls.values() if at < len(curve)]
    return float(np.mean(found)) if found else np.nan


def _cells(numbers: Sequence[float]) -> tuple[Cell, ...]:
    return tuple(float(x) if np.isfinite(x) else None for x in numbers)


def _caption(options: AblationOptions) -> str:
    how = "their mean over the relation's prompts" if options.mode == "mean" else "zero"
    return (
        "Share of prompts whose most likely next token is the target, with the relation's top heads set to "
        f"{how} at the last position; 95 % Wilson intervals clustered by target. Random heads: {options.n_random} "
        "sets of as many other heads, of the same layers and like output norms where possible. Controls: the same "
        "heads removed on other tasks. p: share of random sets that hurt as much, Holm over relations. Commonest "
        "target: the accuracy of always giving one answer; a base accuracy near it has little that heads could lose."
    )
