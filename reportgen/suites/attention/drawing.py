"""Figures of the attention patterns: one layer x head map per measure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from reportgen.figures import captions
from reportgen.figures.chart_data import table
from reportgen.figures.figure import Figure, Maker, OneByOne, View, later
from reportgen.figures.heatmap import heatmap
from reportgen.figures.markers import role
from reportgen.scores import Head, HeadScores, HeadSet, SuiteResult, head_name
from reportgen.suites.attention.suite import SUITE, TASK

_MOST = 6  # brighter heads named one by one
_NAMED = ("induction", "previous_token", "duplicate_token")  # measures that papers name heads after


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """One map per measure on repeated random tokens, in the suite's order."""
    found = [result.get(measure.name, TASK) for measure in SUITE.measures]
    yield from (partial(_figure, result, view, scores) for scores in found if scores is not None)


def _figure(result: SuiteResult, view: View, scores: HeadScores) -> Figure:
    sets = _sets(view, scores.measure)
    name = captions.model_name(view)
    title = f"{name}: {scores.label}"
    return Figure(
        id=f"attention-{scores.measure}",
        suite=result.suite,
        title=title,
        caption=_caption(result, view, scores),
        alt=f"Layer by head map of {scores.label.lower()} in {name} on repeated random tokens.",
        chart=later(heatmap, scores, view, sets, title),
        data=table([(scores, sets)]),
        head_sets=tuple(sets),
        notes=_notes(result, view, scores, sets),
    )


def _sets(view: View, measure: str) -> list[HeadSet]:
    """Heads named after the measure, published and computed; the user's own on every map."""
    roles = (measure,) if measure in _NAMED else ()
    return captions.choose(view, *roles, tasks=("attention/",))


def _caption(result: SuiteResult, view: View, scores: HeadScores) -> str:
    return captions.join(
        f"{scores.label} of every head of {captions.grid_words(view)}.",
        f"n = {scores.n} sequences of repeated random tokens.",
        captions.beats_null(scores),
        captions.best_head(scores),
        "Brighter heads without a mark fail the rule (notes)." if _unmarked(result, view, scores) else "",
        captions.synthetic(view),
    )


def _notes(result: SuiteResult, view: View, scores: HeadScores, sets: list[HeadSet]) -> tuple[str, ...]:
    facts = result.facts
    return captions.notes(
        f"Colour: {SUITE.measure(scores.measure).formula}.",
        _material(facts, scores),
        _base_rate(facts, scores.measure),
        _null(facts, scores.measure),
        captions.caveat([scores]),
        captions.missing(scores),
        captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
        *captions.rules(sets),
        _unmarked(result, view, scores),
        captions.agreement(sets),
    )


def _unmarked(result: SuiteResult, view: View, scores: HeadScores) -> str:
    """Heads brighter than one that the suite names, and the condition that each of them fails."""
    named = {h for s in view.sets("attention/") if role(s) == scores.measure for h in s.heads}
    least = min((float(scores.values[head]) for head in named), default=math.inf)
    brighter = [h for h in scores.ranking() if h not in named and float(scores.values[h]) > least]
    words = [f"{head_name(*head)} {captions.number(float(scores.values[head]))} ({why})"
             for head in brighter[:_MOST] if (why := _fails(result, view, scores, head))]  # fmt: skip
    more = f" and {len(brighter) - _MOST} more" if len(brighter) > _MOST else ""
    return (
        f"Brighter than a head of the set that the suite names, but not in it: {', '.join(words)}{more}."
        if words
        else ""
    )


def _fails(result: SuiteResult, view: View, scores: HeadScores, head: Head) -> str:
    """The first condition of the suite's rule that a head fails."""
    settings, copying = view.settings, result.arrays.get("copying")
    if float(scores.values[head]) < float(settings.get("threshold", 0)):
        return f"below {settings['threshold']:g}"
    if scores.p is not None and not scores.p[head] <= float(settings.get("alpha", 1)):
        return f"p = {captions.number(float(scores.p[head]))}"
    if scores.measure == "induction" and copying is not None:
        share, least = float(copying.values[head]), float(settings.get("copy_threshold", 0))
        return f"OV copying share {share:.2f}, below {least:g}" if not share >= least else ""
    return ""


def _material(facts: Mapping[str, Any], scores: HeadScores) -> str:
    words = f"Mean over n = {scores.n} sequences of random tokens, each block repeated once"
    lags = facts.get("lags")
    if isinstance(lags, list | tuple) and lags:
        words += f" (blocks of {', '.join(str(lag) for lag in lags)} tokens)"
    return f"{words}."


def _base_rate(facts: Mapping[str, Any], measure: str) -> str:
    rates = facts.get("base_rates")
    rate = rates.get(measure) if isinstance(rates, Mapping) else None
    return f"Uniform causal attention scores {captions.number(float(rate))}." if isinstance(rate, int | float) else ""


def _null(facts: Mapping[str, Any], measure: str) -> str:
    nulls = facts.get("null")
    words = nulls.get(measure) if isinstance(nulls, Mapping) else None
    return f"Null: {words}." if words else ""
