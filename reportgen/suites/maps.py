"""The figures of a suite that brings none: a layer x head map of every score, whose caption says what it was made from.

Altair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from reportgen.figures import captions
from reportgen.figures.alone import Maker, OneByOne
from reportgen.figures.data import table
from reportgen.figures.figure import Figure, View
from reportgen.figures.heatmap import heatmap
from reportgen.scores import HeadScores, SuiteResult
from reportgen.suites.base import Suite
from reportgen.suites.samples import ALL, MADE, RESAMPLES

NO_NULL = "no null"


def figures(suite: Suite) -> OneByOne:
    """The maps of `suite`, in the order of its scores."""
    return OneByOne(partial(_plan, suite))


def _plan(suite: Suite, result: SuiteResult, view: View) -> Iterator[Maker]:
    yield from (partial(_map, suite, result, view, scores) for scores in result.scores)


def _map(suite: Suite, result: SuiteResult, view: View, scores: HeadScores) -> Figure:
    measure = next((m for m in suite.measures if m.name == scores.measure), None)
    task = "" if scores.task == ALL else f", {scores.task.replace('_', ' ')}"
    name = f"{measure.title if measure else scores.measure}{task}"
    sets, title = view.sets("user/"), f"{captions.model_name(view)}: {name}"
    has_null = scores.p is not None or scores.line is not None
    shown = scores if has_null else replace(scores, label=f"{scores.label}, {NO_NULL}")
    made = result.facts.get(MADE)
    return Figure(
        id=f"{suite.name}-{scores.measure}{'' if scores.task == ALL else f'-{scores.task}'}",
        suite=suite.name,
        title=title,
        caption=captions.join(
            f"{name}, in {captions.grid_words(view)}.",
            f"n = {scores.n:,}." if scores.n else "",
            captions.beats_null(scores) if has_null else f"{NO_NULL.capitalize()}: {scores.no_null}.",
            captions.best_head(scores, signed=scores.range[0] < 0),
            _held_out(result, scores),
            captions.synthetic(view),
        ),
        alt=f"Layer by head map of {name} in {captions.model_name(view)}.",
        chart=heatmap(shown, view, sets, title),
        data=table([(scores, sets)]),
        head_sets=tuple(sets),
        notes=captions.notes(
            f"Each cell: {measure.formula.rstrip('.')}." if measure and measure.formula else "",
            _computed(scores, made.get(scores.key) if isinstance(made, Mapping) else None),
            f"Null: {measure.null.rstrip('.')}." if has_null and measure and measure.null else "",
            captions.caveat([scores]),
            captions.missing(scores),
            captions.estimates(scores),
            captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
        ),
    )


def _held_out(result: SuiteResult, scores: HeadScores) -> str:
    """The head picked on one half of the samples, estimated on the other; run folders come from anywhere."""
    held = result.facts.get("held_out")
    found = held.get(scores.key) if isinstance(held, Mapping) else None
    if not isinstance(found, Mapping) or not {"head", "value", "low", "high"} <= set(found):
        return ""
    value, low, high = (captions.number(float(found[name])) for name in ("value", "low", "high"))
    return f"Held out: {found['head']} at {value} [{low}, {high}]."


def _computed(scores: HeadScores, made: Any) -> str:
    """From what the values and their intervals were computed; run folders come from anywhere."""
    if not isinstance(made, Mapping):
        return ""
    if scores.n == 1:
        return "One number per head: no samples, no interval."
    of, groups = str(made.get("of", "samples")), made.get("groups")
    first = f" in {groups:,} groups, drawn first" if isinstance(groups, int) and groups > 1 else ""
    words = f"95 % intervals: bootstrap over them{first}, {RESAMPLES:,} draws"
    draws = made.get("draws")
    chance = f"; null: {draws:,} draws given by the suite" if isinstance(draws, int) and draws else ""
    return f"Mean over n = {scores.n:,} {of}; {words}{chance}."
