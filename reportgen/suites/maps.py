"""Figures for a suite without its own: a layer x head map of every score, with a caption that says how it was made.

Altair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from reportgen.figures import captions
from reportgen.figures.chart_data import table
from reportgen.figures.figure import Figure, Maker, OneByOne, View, later
from reportgen.figures.heatmap import heatmap
from reportgen.figures.markers import MARKERS
from reportgen.scores import HeadScores, HeadSet, HeldOut, SuiteResult
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
            _held_out(scores.held_out),
            captions.synthetic(view),
        ),
        alt=f"Layer by head map of {name} in {captions.model_name(view)}.",
        chart=later(heatmap, shown, view, sets, title),
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


def _held_out(held: HeldOut | None) -> str:
    """The head picked on one half of the samples, measured on the other."""
    if held is None:
        return ""
    value, low, high = (captions.number(x) for x in (held.value, held.low, held.high))
    return f"Held out: {held.head} at {value} [{low}, {high}]."


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


_ROLES = {  # words in a column's name -> the role whose published heads its map marks
    "induction": "induction", "previous": "previous_token", "prev": "previous_token", "duplicate": "duplicate_token",
    "mover": "mover", "copying": "mover", "inhibition": "inhibition",
}  # fmt: skip


@OneByOne
def imported_figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """One map per score, in the table's order."""
    yield from (partial(_imported_map, result, view, scores) for scores in result.scores)


def _imported_map(result: SuiteResult, view: View, scores: HeadScores) -> Figure:
    sets, name = _sets(view, scores.label), captions.model_name(view)
    title = f"{name}: {scores.label}"
    return Figure(
        id=f"imported-{scores.measure}",
        suite=result.suite,
        title=title,
        caption=captions.join(
            f"{scores.label} of every head of {captions.grid_words(view)}, computed elsewhere and imported from "
            f"{result.facts.get('table', 'a table')}.",
            "Interval, null and n: not given.",
            captions.best_head(scores, signed=scores.range[0] < 0),
            captions.synthetic(view),
        ),
        alt=f"Layer by head map of the imported score {scores.label} in {name}.",
        chart=later(heatmap, scores, view, sets, title),
        data=table([(scores, sets)]),
        head_sets=tuple(sets),
        notes=captions.notes(
            _reading(result),
            captions.missing(scores),
            captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
        ),
    )


def _reading(result: SuiteResult) -> str:
    """How the table's heads were told, where the run says so."""
    reading = str(result.facts.get("reading", ""))
    return f"How values were assigned to heads: {reading}." if reading else ""


def _sets(view: View, column: str) -> list[HeadSet]:
    """Published heads of the role that the column's name speaks of, else one paper's; the user's own always."""
    words = re.findall(r"[a-z]+", column.lower())
    roles = [_ROLES[word] for word in words if word in _ROLES]
    if roles:
        return captions.choose(view, *roles)
    published = view.sets("published/")
    first = [s for s in published if s.source == published[0].source and s.heads][: len(MARKERS)]
    return first + [s for s in view.overlays if s.kind == "user"]
