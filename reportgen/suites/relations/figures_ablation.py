"""Causal ablation: a relation's accuracy as its top heads are removed one after the other, beside the controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reportgen.figures import captions
from reportgen.figures.ablation_curves import Curve, Step, ablation_curves
from reportgen.figures.figure import Figure, View
from reportgen.scores import Cell, SuiteResult, Table
from reportgen.suites.relations.categories import part, span, title_of

# Columns of the table ablation_curves, in the order of Step's fields; the column before them is the relation.
_COLUMNS = ("Relation", "Heads removed", "Accuracy", "low", "high", "Random heads", "5 %", "95 %", "Controls")


def ablation_figure(result: SuiteResult, view: View) -> Figure | None:
    """A panel per relation that was ablated, in the order scored; None for a run without the curves."""
    table = next((t for t in result.tables if t.key == "ablation_curves"), None)
    if table is None or tuple(c.name for c in table.columns) != _COLUMNS or not table.rows:
        return None
    curves = {stem: _curve(result, table, stem) for stem in dict.fromkeys(str(row[0]) for row in table.rows)}
    name = captions.model_name(view)
    title = f"{name}: accuracy without a relation's heads"
    return Figure(
        id="relations-ablation",
        suite=result.suite,
        title=title,
        caption=_caption(_facts(result), view, curves),
        alt=f"Accuracy of {name} on {len(curves)} relations against the number of heads ablated, with controls.",
        chart=ablation_curves(
            list(curves.values()), view.style, "random heads, 5 to 95 %",
            synthetic=view.synthetic or view.model.synthetic,
        ),
        data=Table("relations-ablation", title, table.columns, table.rows),
        notes=_notes(_facts(result), curves),
    )  # fmt: skip


def _curve(result: SuiteResult, table: Table, stem: str) -> Curve:
    steps = tuple(_step(row) for row in table.rows if row[0] == stem)
    reported = _about(result, stem).get("removed")
    at = next((step for step in steps if step.removed == reported), None)
    return Curve(title_of(result, stem), steps, at.removed if at else None, _line(at, steps) if at else "")


def _step(row: Sequence[Cell]) -> Step:
    numbers = [float(cell) if isinstance(cell, int | float) else math.nan for cell in row[2:]]
    return Step(int(row[1]) if isinstance(row[1], int | float) else 0, *numbers)


def _line(at: Step, steps: Sequence[Step]) -> str:
    """`13 heads: 0.02, random 0.61 [0.40, 0.75]`; `30: 0.03, 13 random 0.84 [...]` where fewer others are left."""
    banded = [step for step in steps if not math.isnan(step.random) and 0 < step.removed <= at.removed]
    last = banded[-1] if banded else None
    if last is None:
        return f"{captions.plural(at.removed, 'head')}: {at.accuracy:.2f}"
    band = f"{last.random:.2f} [{last.random_low:.2f}, {last.random_high:.2f}]"
    if last is at:
        return f"{captions.plural(at.removed, 'head')}: {at.accuracy:.2f}, random {band}"
    return f"{at.removed}: {at.accuracy:.2f}, {last.removed} random {band}"


def _caption(facts: Mapping[str, Any], view: View, curves: Mapping[str, Curve]) -> str:
    found = [about["n_prompts"] for about in part(facts, "relations").values() if "n_prompts" in about]
    n = f" (n = {span(found)} prompts each)" if found else ""
    at = [step for curve in curves.values() for step in curve.steps if step.removed == curve.reported]
    banded = [step for step in at if not math.isnan(step.random_low)]
    below = sum(1 for step in banded if step.accuracy < step.random_low)
    return captions.join(
        f"Accuracy of {captions.grid_words(view)} on {captions.plural(len(curves), 'relation')}{n} while heads are "
        "removed: those of the highest static score (blue), random ones (grey).",
        "At the dotted line accuracy is below the band of random heads on "
        f"{below} of {captions.plural(len(banded), 'relation')}." if banded else "",
        captions.synthetic(view),
    )  # fmt: skip


def _notes(facts: Mapping[str, Any], curves: Mapping[str, Curve]) -> tuple[str, ...]:
    return captions.notes(
        "Accuracy: the share of prompts whose most likely next token is the target.",
        "Blue: the relation's heads removed cumulatively, highest static score first, at the last position of the "
        f"prompt{_how(facts)}; shaded, 95 % interval clustered by target.",
        _random(facts),
        "Dashed: the mean accuracy of other tasks with the same heads removed." if _has_controls(curves)
        else "No other task was alike in accuracy and other in its heads, as a control would be.",
        "Dotted: the reported number of heads, the first without a right answer, else all.",
        _fallbacks(facts),
    )  # fmt: skip


def _how(facts: Mapping[str, Any]) -> str:
    mode = facts.get("mode")
    if mode == "mean":
        return " (output set to its mean over the relation's prompts)"
    return " (output set to zero)" if mode == "zero" else ""


def _random(facts: Mapping[str, Any]) -> str:
    n = facts.get("n_random")
    if not isinstance(n, int) or n <= 0:
        return ""
    return (
        f"Grey: as many other heads, of the same layers and like output norms where possible: mean and 5 to 95 % of "
        f"{captions.plural(n, 'random set')}, as far as there are others."
    )


def _fallbacks(facts: Mapping[str, Any]) -> str:
    """How often a random head came from another layer or had another norm."""
    relations = [r for r in part(facts, "relations").values() if isinstance(r, Mapping)]
    draws = sum(r["draws"] for r in relations if isinstance(r.get("draws"), int))
    layers, norms = (
        sum(r[name] for r in relations if isinstance(r.get(name), int))
        for name in ("layer_fallbacks", "norm_fallbacks")
    )
    if not draws or not (layers or norms):
        return ""
    return (
        f"Of {draws:,} random heads, {captions.percent(layers / draws)} came from the nearest layer with heads left "
        f"and {captions.percent(norms / draws)} were not within a factor of two of the norm."
    )


def _has_controls(curves: Mapping[str, Curve]) -> bool:
    return any(not math.isnan(step.controls) for curve in curves.values() for step in curve.steps)


def _facts(result: SuiteResult) -> Mapping[str, Any]:
    return part(result.facts, "ablation")


def _about(result: SuiteResult, stem: str) -> Mapping[str, Any]:
    return part(part(_facts(result), "relations"), stem)
