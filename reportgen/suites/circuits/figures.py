"""Figures of the task circuits: maps of direct and total effects, the circuit drawn, its faithfulness, and reuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from reportgen.figures import captions
from reportgen.figures.alone import Maker, OneByOne
from reportgen.figures.data import table
from reportgen.figures.figure import Figure, View
from reportgen.figures.heatmap import heatmap, pair
from reportgen.scores import HeadScores, HeadSet, SuiteResult
from reportgen.suites.circuits import figures_circuit, figures_reuse, figures_text
from reportgen.suites.circuits.facts import number, part, short, strings, task_facts
from reportgen.suites.circuits.sentences import HELD_OUT, best_of, held_out

_PAPERS = {"ioi": ("wang2022ioi", "merullo2023reuse"), "colored_objects": ("merullo2023reuse",),
           "greater_than": ("hanna2023greaterthan",)}  # fmt: skip
_DIRECT = ("mover", "negative", "backup", "taking_over", "unseen")
_TOTAL = (*_DIRECT, "inhibition", "one_family")  # these act through other heads, or on these templates alone


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """Per task its map, its circuit and its total effects; then faithfulness, reuse and natural text."""
    for task in result.tasks("direct"):
        yield from (partial(make, result, view, task) for make in (_direct, figures_circuit.graph, _total))
    whole = (figures_circuit.faithfulness, figures_reuse.matrix, figures_reuse.difference, figures_text.figure)
    yield from (partial(make, result, view) for make in whole)


def _sets(view: View, task: str, roles: tuple[str, ...]) -> list[HeadSet]:
    return captions.choose(view, *roles, tasks=(f"circuits/{task}/",), papers=_PAPERS.get(task, ()))


def _direct(result: SuiteResult, view: View, task: str) -> Figure:
    facts, words = task_facts(result, task), short(result, task)
    scores = replace(result[f"direct/{task}"], label=f"Direct effect on the logits ({words})")
    sets = _sets(view, task, _DIRECT)
    name = captions.model_name(view)
    title = f"{name}: direct effect on {words}"
    return Figure(
        id=f"circuits-{task}",
        suite=result.suite,
        title=title,
        caption=_caption(facts, view, scores),
        alt=f"Layer by head map of the direct effects on {words} in {name}, both signs.",
        chart=heatmap(scores, view, sets, title),
        data=table([(scores, sets)], title),
        head_sets=tuple(sets),
        notes=_notes(facts, view, scores, sets),
    )


def _caption(facts: Mapping[str, Any], view: View, scores: HeadScores) -> str:
    return captions.join(
        f"Direct effect of every head of {captions.grid_words(view)} on {facts.get('title', scores.task)} (share of "
        f"the clean-corrupted gap; n = {scores.n} prompts).",
        captions.beats_null(scores),
        held_out(facts) or captions.best_head(scores, signed=True),
        captions.synthetic(view),
    )


def _notes(facts: Mapping[str, Any], view: View, scores: HeadScores, sets: list[HeadSet]) -> tuple[str, ...]:
    title = str(facts.get("title", scores.task))
    return captions.notes(
        str(facts.get("form", "")),
        "Colour of direct effects: share of the gap between clean and corrupted prompts that is lost when this head "
        "alone gives its corrupted output and every other head its clean one; above zero the head supports the answer.",
        _gap(title, facts),
        _circuit(title, facts),
        HELD_OUT if held_out(facts) else "",
        captions.best_head(scores, signed=True) if held_out(facts) else "",
        captions.caveat([scores]),
        _twin(title, facts),
        _knock_out(facts),
        captions.missing(scores),
        captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
        *captions.rules(sets),
        _opacity(facts, sets),
        captions.agreement(sets),
    )


def _gap(title: str, facts: Mapping[str, Any]) -> str:
    """Names the task: the PDF prints what two figures say once, away from both."""
    gap = number(facts, "gap")
    unit = "in probability" if facts.get("unit") == "probability" else "logits"
    return "" if gap is None else f"The gap of {title} is {captions.number(gap)} {unit}."


def _circuit(title: str, facts: Mapping[str, Any]) -> str:
    count, share, alpha = facts.get("n_circuit"), number(facts, "effect_share"), number(facts, "alpha")
    if not isinstance(count, int) or share is None or alpha is None:
        return ""
    heads = captions.plural(count, "head")
    return f"{title}: {heads} with |effect| ≥ {captions.percent(share)} of the gap and p ≤ {alpha:g}."


def _twin(title: str, facts: Mapping[str, Any]) -> str:
    """What the same prompts do where nothing was learnt."""
    twin = part(facts, "twin")
    accuracy, largest = number(twin, "accuracy"), number(twin, "largest")
    if accuracy is None or largest is None:
        return ""
    size = captions.number(largest) if largest >= 0.001 else "below 0.001"
    return (
        f"{title}: a randomly initialised twin puts the answer above its foil on {captions.percent(accuracy)} of the "
        f"prompts; the largest |effect| of any of its heads is {size} of this model's gap."
    )


def _knock_out(facts: Mapping[str, Any]) -> str:
    out = part(facts, "knock_out")
    if not {"heads", "accuracy_before", "accuracy_after"} <= set(out):
        return ""
    before, after = (captions.percent(float(out[key])) for key in ("accuracy_before", "accuracy_after"))
    heads = out["heads"] if isinstance(out["heads"], str) else ", ".join(str(head) for head in out["heads"])
    return f"Without the {facts.get('mover', 'mover')}s ({heads}) accuracy goes from {before} to {after}."


def _opacity(facts: Mapping[str, Any], sets: list[HeadSet]) -> str:
    if not any(s.weights for s in sets if s.kind == "computed"):
        return ""
    words = "templates and prompts" if "again" not in part(facts, "rephrased") else "templates, prompts and other words"
    return f"Opacity of computed markers: share of resamplings of {words} in which the head is selected."


def _total(result: SuiteResult, view: View, task: str) -> Figure | None:
    """Total effects beside what attribution makes of them, or beside denoising where it was measured."""
    total, other = result.get("total", task), result.get("total_denoising", task) or result.get("attribution", task)
    if total is None or other is None:
        return None
    facts, words, name = task_facts(result, task), short(result, task), captions.model_name(view)
    right = "denoising" if other.measure == "total_denoising" else "attribution"
    reach = figures_reuse.reach(total, other)  # one scale for both
    total = replace(total, label=f"Total effect ({words})", range=reach)
    other = replace(other, label=f"Total effect, {right} ({words})", range=reach)
    sets = _sets(view, task, _TOTAL)
    panels = ((total, sets, f"{name}: total effect on {words}"), (other, sets, f"{name}: {right}"))
    return Figure(
        id=f"circuits-{task}-total",
        suite=result.suite,
        title=f"{name}: total effects on {words}, patched and by {right}",
        caption=_total_caption(facts, view, total, other),
        alt=f"Two layer by head maps of {name} on {words}: total effects by noising, and by {right}.",
        chart=pair(*panels, view),
        data=table([(total, sets), (other, sets)]),
        head_sets=tuple(sets),
        notes=_total_notes(facts, view, total, other, sets),
    )


def _total_caption(facts: Mapping[str, Any], view: View, total: HeadScores, other: HeadScores) -> str:
    """Estimates on the right are not named: how far to trust them is said instead."""
    rho = number(part(facts, "attribution"), "spearman")
    right = "denoising right" if other.measure == "total_denoising" else "attribution right"
    if other.measure != "total_denoising" and rho is not None:
        right += f" (Spearman {rho:.2f})"
    return captions.join(
        f"Total effects on {facts.get('title', total.task)} in {captions.grid_words(view)}, n = {total.n} prompts: "
        f"noising left, {right}.",
        captions.beats_null(total),
        best_of(total, other) if other.measure == "total_denoising" else captions.best_head(total, signed=True),
        "Filled corner: exact." if total.estimated is not None else "",
        captions.synthetic(view),
    )


def _total_notes(
    facts: Mapping[str, Any], view: View, total: HeadScores, other: HeadScores, sets: list[HeadSet]
) -> tuple[str, ...]:
    title = str(facts.get("title", total.task))
    return captions.notes(
        "Total effect, left: share of the gap between clean and corrupted prompts that is lost when the clean prompt "
        "gets this head's corrupted output and everything downstream recomputes (noising).",
        _gap(title, facts),
        captions.estimates(total),
        "Total effect, right: share that comes back when the corrupted prompt gets its clean output (denoising)."
        if other.measure == "total_denoising"
        else "Total effect, right: the first-order estimate for all heads from one backward pass.",
        _agreement(title, part(facts, "attribution"), number(part(facts, "attribution_denoising"), "spearman")),
        captions.best_head(total, signed=True).replace("Highest:", "On the left, highest:")
        if other.measure == "total_denoising"
        else "",
        _families(title, part(facts, "families")),
        captions.caveat([total]),
        captions.missing(total),
        captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
        *captions.rules(sets),
    )


def _agreement(title: str, facts: Mapping[str, Any], denoising: float | None) -> str:
    rho = number(facts, "spearman")
    if rho is None:
        return ""
    steps = facts.get("steps", 1)
    words = "one gradient" if steps == 1 else f"gradients averaged over {steps} inputs"
    verdict = " Below 0.8: use the exact values." if facts.get("poor") else ""
    back = "" if denoising is None else f" and {denoising:.2f} against exact denoising"
    return (
        f"{title}: attribution patching ({words}) ranks heads with Spearman {rho:.2f} against exact noising{back} over "
        f"{facts.get('over', 'all heads')} ({facts.get('n_heads')} heads).{verdict}"
    )


def _families(title: str, facts: Mapping[str, Any]) -> str:
    """Which of the heads have their total effect on other templates, too."""
    tried, both, only = facts.get("tried"), strings(facts, "both"), part(facts, "one_only")
    if not isinstance(tried, int):
        return ""
    lost = []
    for head, ends in only.items():
        here, there = (
            f"{captions.number(v)} [{captions.number(low)}, {captions.number(high)}]" for v, low, high in ends
        )
        lost.append(f"{head} ({here} here, {there} there)")
    words = f" On these templates only, and so no claim: {', '.join(lost)}." if lost else ""
    open_ = len(strings(facts, "unsettled"))
    words += f" For {open_} more the other prompts are too few to tell." if open_ else ""
    return (
        f"{title} in other words ({facts.get('templates')} templates, n = {facts.get('n')}): {len(both)} of the "
        f"{captions.plural(tried, 'head')} tried have their total effect, too.{words}"
    )
