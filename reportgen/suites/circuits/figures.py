"""Figures of the task circuits: per task the map of every head's direct effect on the logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reportgen.figures import captions
from reportgen.figures.data import table
from reportgen.figures.figure import Figure, View
from reportgen.figures.heatmap import heatmap
from reportgen.scores import HeadScores, HeadSet, SuiteResult

_SHORT = {"ioi": "IOI"}
_PAPERS = {"ioi": ("wang2022ioi", "merullo2023reuse"), "colored_objects": ("merullo2023reuse",)}
_ROLES = ("mover", "negative", "backup")


def figures(result: SuiteResult, view: View) -> list[Figure]:
    """One map per task that has direct effects, in the order measured."""
    return [_figure(result, view, task) for task in result.tasks("direct")]


def _figure(result: SuiteResult, view: View, task: str) -> Figure:
    short = _SHORT.get(task, task.replace("_", " "))
    scores = replace(result[f"direct/{task}"], label=f"Direct effect on the logits ({short})")
    sets = captions.choose(view, *_ROLES, tasks=(f"circuits/{task}/",), papers=_PAPERS.get(task, ()))
    name = captions.model_name(view)
    title = f"{name}: direct effect on {short}"
    return Figure(
        id=f"circuits-{task}",
        suite=result.suite,
        title=title,
        caption=_caption(_facts(result, task), view, scores, sets),
        alt=f"Layer by head map of the direct effects on {short} in {name}, both signs.",
        chart=heatmap(scores, view, sets, title),
        data=table([(scores, sets)], title),
        head_sets=tuple(sets),
    )


def _facts(result: SuiteResult, task: str) -> Mapping[str, Any]:
    tasks = result.facts.get("tasks")
    found = tasks.get(task) if isinstance(tasks, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _caption(facts: Mapping[str, Any], view: View, scores: HeadScores, sets: list[HeadSet]) -> str:
    return captions.join(
        f"Direct effect of every head of {captions.grid_words(view)} on {facts.get('title', scores.task)}.",
        _meaning(facts, scores),
        captions.beats_null(scores),
        _circuit(facts),
        captions.best_head(scores, signed=True),
        _estimated(facts),
        captions.caveat([scores]),
        _knock_out(facts),
        captions.missing(scores),
        captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
        captions.agreement(sets),
        captions.synthetic(view),
    )


def _meaning(facts: Mapping[str, Any], scores: HeadScores) -> str:
    gap = facts.get("gap")
    words = f" of {captions.number(float(gap))} logits" if isinstance(gap, int | float) else ""
    return (
        f"Colour: share of the gap{words} between clean and corrupted prompts that is lost when this head alone gives "
        f"its corrupted output and every other head its clean one; above zero the head supports the answer "
        f"(n = {scores.n} prompts)."
    )


def _circuit(facts: Mapping[str, Any]) -> str:
    count, share, alpha = facts.get("n_circuit"), facts.get("effect_share"), facts.get("alpha")
    if not (isinstance(count, int) and isinstance(share, int | float) and isinstance(alpha, int | float)):
        return ""
    heads, least = captions.plural(count, "head"), captions.percent(float(share))
    return f"{heads} with |effect| ≥ {least} of the gap and p ≤ {alpha:g}."


def _estimated(facts: Mapping[str, Any]) -> str:
    """The largest effect, chosen on one half of the templates and estimated on the other."""
    top = facts.get("top_head")
    if not isinstance(top, Mapping) or not {"head", "effect", "low", "high"} <= set(top):
        return ""
    effect, low, high = (captions.number(float(top[key])) for key in ("effect", "low", "high"))
    return f"Chosen on half of the templates and measured on the other half: {top['head']} at {effect} [{low}, {high}]."


def _knock_out(facts: Mapping[str, Any]) -> str:
    out = facts.get("knock_out")
    if not isinstance(out, Mapping) or not {"heads", "accuracy_before", "accuracy_after"} <= set(out):
        return ""
    before, after = (captions.percent(float(out[key])) for key in ("accuracy_before", "accuracy_after"))
    heads = out["heads"] if isinstance(out["heads"], str) else ", ".join(str(head) for head in out["heads"])
    return f"Without the name movers ({heads}) accuracy goes from {before} to {after}."
