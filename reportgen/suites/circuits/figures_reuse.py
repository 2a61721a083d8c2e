"""Which heads several tasks' circuits share: a matrix with counts, and the difference of two tasks' effects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from reportgen.figures import captions
from reportgen.figures.data import table
from reportgen.figures.figure import Figure, View
from reportgen.figures.heatmap import pair
from reportgen.figures.overlap import Cell as Pair
from reportgen.figures.overlap import Group, overlap
from reportgen.figures.theme import exact, nice_step
from reportgen.scores import Cell, Column, HeadScores, HeadSet, SuiteResult, Table
from reportgen.suites.circuits.facts import part, short, strings
from reportgen.suites.circuits.sentences import best_of

_PAIR = ("ioi", "colored_objects")  # whose reuse Merullo et al. report


def matrix(result: SuiteResult, view: View) -> Figure | None:
    """The overlap matrix; None with fewer than two circuits."""
    facts, pairs = _pairs(result)
    return _matrix(result, view, facts, pairs) if pairs else None


def difference(result: SuiteResult, view: View) -> Figure | None:
    """The map of the pair of tasks that share most; None with fewer than two circuits."""
    facts, pairs = _pairs(result)
    return _difference(result, view, facts, pairs) if pairs else None


def _pairs(result: SuiteResult) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    facts = part(result.facts, "reuse")
    pairs = facts.get("pairs")
    return facts, list(pairs) if isinstance(pairs, list | tuple) else []


def _matrix(result: SuiteResult, view: View, facts: Mapping[str, Any], pairs: list[Mapping[str, Any]]) -> Figure:
    tasks = strings(facts, "tasks")
    titles = [str(part(facts, "titles").get(task, task)) for task in tasks]
    sizes = [int(part(facts, "sizes").get(task, 0)) for task in tasks]
    at = {task: i for i, task in enumerate(tasks)}
    cells = [
        Pair(at[str(p["a"])], at[str(p["b"])], int(p["both"]), int(p["smaller"]), float(p["expected"]), _p(p["p_holm"]))
        for p in pairs
    ]
    groups = [Group(tuple(at[t] for t in strings(g, "tasks")), len(strings(g, "heads"))) for g in _groups(facts)]
    name = captions.model_name(view)
    title = f"{name}: components reused across tasks"
    return Figure(
        id="circuits-reuse",
        suite=result.suite,
        title=title,
        caption=_caption(view, facts, pairs, tasks, titles),
        alt=f"Matrix of the heads that the circuits of {len(tasks)} tasks share in {name}, and heads counted by tasks.",
        chart=overlap(titles, sizes, cells, groups, view.style, synthetic=view.synthetic or view.model.synthetic),
        data=_pair_table(title, pairs),
        notes=_notes(facts, pairs),
    )


def _groups(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = facts.get("groups")
    return [g for g in found if isinstance(g, Mapping)] if isinstance(found, list | tuple) else []


def _p(value: object) -> str:
    p = float(value) if isinstance(value, int | float) else float("nan")
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _caption(
    view: View, facts: Mapping[str, Any], pairs: list[Mapping[str, Any]], tasks: list[str], titles: list[str]
) -> str:
    best = _best(pairs)
    names = dict(zip(tasks, titles, strict=True))
    shared = f"{best['both']} of the {best['smaller']} heads of the smaller circuit"
    reused = len(strings(facts, "reused"))
    return captions.join(
        f"Heads that the circuits of {len(tasks)} tasks share in {captions.grid_words(view)}.",
        f"Largest share: {names[str(best['a'])]} and {names[str(best['b'])]} with {shared} "
        f"(expected {float(best['expected']):.1f}, p {_p(best['p_holm'])}).",
        f"In at least two circuits: {captions.plural(reused, 'head') if reused else 'no head'}.",
        captions.synthetic(view),
    )


def _best(pairs: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The pair that shares most of its smaller circuit."""
    return max(pairs, key=lambda p: float(p["both"]) / max(1, int(p["smaller"])))


def _notes(facts: Mapping[str, Any], pairs: list[Mapping[str, Any]]) -> tuple[str, ...]:
    rho = _best(pairs).get("spearman_total")
    reused = strings(facts, "reused")
    return captions.notes(
        "A circuit is the heads of all its stages.",
        "Expected: as many heads per layer as each circuit has, drawn within the layer; p: at least as many shared by "
        "such chance, exact, corrected for the number of pairs (Holm).",
        f"Spearman of all heads' total effects in the two tasks of the largest share: {rho:.2f}."
        if isinstance(rho, float)
        else "",
        f"In at least two circuits: {', '.join(reused)}." if reused else "",
    )


def _pair_table(title: str, pairs: list[Mapping[str, Any]]) -> Table:
    names = ("a", "b", "both", "either", "smaller", "expected", "p", "p_holm", "spearman_direct", "spearman_total")
    rows: tuple[tuple[Cell, ...], ...] = tuple(tuple(p.get(name) for name in names) for p in pairs)
    return Table("circuits/reuse", title, tuple(Column(name, digits=4) for name in names), rows)


def _difference(result: SuiteResult, view: View, facts: Mapping[str, Any], pairs: list[Mapping[str, Any]]) -> Figure:
    """Total effects of one task, and how much larger they are than the other's."""
    ordered = sorted(pairs, key=lambda p: ((str(p["a"]), str(p["b"])) != _PAIR, -int(p["both"])))
    a, b = str(ordered[0]["a"]), str(ordered[0]["b"])
    one, other = result[f"total/{a}"], result[f"total/{b}"]
    words, against = short(result, a), short(result, b)
    left = replace(one, label=f"Total effect ({words})")
    values = (one.values - other.values).astype(np.float32)
    told = None if one.estimated is None and other.estimated is None else ~(one.exact & other.exact)
    right = HeadScores(
        key=f"circuits/total_difference/{a}-{b}",
        label=f"Total effect, {words} − {against}",
        values=values,
        n=min(one.n, other.n),
        no_null="a difference of two tasks' effects",
        reasons={**other.reasons, **one.reasons},
        estimated=None if told is None else told & np.isfinite(values),
        estimator="attribution, in one task or both" if told is not None else "",
    )
    sets = [s for s in view.overlays if s.key == "circuits/reuse/reused" and s.heads] + _users(view)
    name = captions.model_name(view)
    return Figure(
        id="circuits-reuse-difference",
        suite=result.suite,
        title=f"{name}: {words} and {against}, head by head",
        caption=captions.join(
            f"Total effect of every head of {captions.grid_words(view)} on {words} (left; n = {one.n} prompts) and how "
            f"far it exceeds that on {against} (right; n = {other.n}).",
            best_of(left, right, signed=True),
            "Filled corner: exact." if told is not None else "",
            captions.synthetic(view),
        ),
        alt=f"Two layer by head maps of {name}: total effects on {words}, and their difference from {against}.",
        chart=pair((left, sets, f"{name}: {words}"), (right, sets, f"{name}: {words} − {against}"), view),
        data=table([(left, sets), (right, sets)]),
        head_sets=tuple(sets),
        notes=captions.notes(
            "Left: share of the first task's clean-corrupted gap.",
            "Right: near zero where both tasks use a head alike, red where the first needs it more.",
            captions.estimates(right),
            captions.caveat([left]),
            captions.missing(right),
            captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
            *captions.rules(sets),
            "Opacity: share of the tasks with a circuit that have the head." if sets else "",
        ),
    )


def reach(*panels: HeadScores) -> tuple[float, float]:
    """A range symmetric about zero that holds all panels, for one colour scale."""
    largest = max((float(np.abs(s.values[np.isfinite(s.values)]).max(initial=0.0)) for s in panels), default=0.0)
    step = nice_step(2 * largest or 1.0)
    top = exact(math.ceil(largest / step - 1e-6) * step) or 1.0
    return -top, top


def _users(view: View) -> list[HeadSet]:
    return [s for s in view.overlays if s.kind == "user"]
