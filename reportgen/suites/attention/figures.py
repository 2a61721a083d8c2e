"""Figures of the attention patterns: one layer x head map per measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from reportgen.figures import captions
from reportgen.figures.alone import Maker, OneByOne
from reportgen.figures.data import table
from reportgen.figures.figure import Figure, View
from reportgen.figures.heatmap import heatmap
from reportgen.scores import HeadScores, HeadSet, SuiteResult
from reportgen.suites.attention.suite import SUITE, TASK

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
        caption=_caption(view, scores),
        alt=f"Layer by head map of {scores.label.lower()} in {name} on repeated random tokens.",
        chart=heatmap(scores, view, sets, title),
        data=table([(scores, sets)]),
        head_sets=tuple(sets),
        notes=_notes(result, view, scores, sets),
    )


def _sets(view: View, measure: str) -> list[HeadSet]:
    """Heads named after the measure, published and computed; the user's own on every map."""
    roles = (measure,) if measure in _NAMED else ()
    return captions.choose(view, *roles, tasks=("attention/",))


def _caption(view: View, scores: HeadScores) -> str:
    return captions.join(
        f"{scores.label} of every head of {captions.grid_words(view)}.",
        f"n = {scores.n} sequences of repeated random tokens.",
        captions.beats_null(scores),
        captions.best_head(scores),
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
        captions.agreement(sets),
    )


def _material(facts: Mapping[str, Any], scores: HeadScores) -> str:
    words = f"Mean over n = {scores.n} sequences of random tokens, each block repeated once"
    lags = facts.get("lags")
    if isinstance(lags, list | tuple) and lags:
        words += f" (blocks of {', '.join(str(lag) for lag in lags)} tokens)"
    return f"{words}."


def _base_rate(facts: Mapping[str, Any], measure: str) -> str:
    rates = facts.get("base_rates")
    rate = rates.get(measure) if isinstance(rates, Mapping) else None
    return f"A uniform causal row scores {captions.number(float(rate))}." if isinstance(rate, int | float) else ""


def _null(facts: Mapping[str, Any], measure: str) -> str:
    nulls = facts.get("null")
    words = nulls.get(measure) if isinstance(nulls, Mapping) else None
    return f"Null: {words}." if words else ""
