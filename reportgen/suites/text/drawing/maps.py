"""A layer x head map of every statistic."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from reportgen.figures import captions
from reportgen.figures.chart_data import table
from reportgen.figures.figure import Figure, Maker, View, later
from reportgen.figures.heatmap import heatmap
from reportgen.scores import HeadScores, SuiteResult
from reportgen.suites.text import classes
from reportgen.suites.text.drawing import caption_text as words
from reportgen.suites.text.facts import TextFacts
from reportgen.suites.text.suite import SUITE, TASK

# Roles whose heads a map marks.
ROLES = {
    "previous": ("previous_token",),
    "induction": ("induction",),
    "duplicate": ("duplicate_token",),
    "copy_next": ("mover", "negative", "induction"),
    "dla": ("mover", "negative", "backup"),
    "dla_abs": ("mover", "negative", "backup"),
}


def maps(result: SuiteResult, view: View, told: TextFacts) -> Iterator[Maker]:
    """In the suite's order, a class of tokens each for `excess`."""
    for measure in SUITE.measures:
        for scores in result.scores:
            if scores.measure == measure.name:
                yield partial(_map, view, scores, told)


def _map(view: View, scores: HeadScores, told: TextFacts) -> Figure:
    name = captions.model_name(view)
    sets = captions.choose(view, *ROLES.get(scores.measure, ()), tasks=("",))
    own = scores.label.partition(" (")[0]
    title = f"{name}: {own[:1].lower()}{own[1:]}" if not own.startswith("HONOR") else f"{name}: {own}"
    return Figure(
        id=f"text-{scores.measure}{'' if scores.task == TASK else f'-{scores.task}'}",
        suite=SUITE.name,
        title=title,
        caption=captions.join(
            f"{own}, in {captions.grid_words(view)}.",
            words.material(told),
            captions.beats_null(scores) if scores.p is not None else "",
            captions.best_head(scores, signed=scores.range[0] < 0),
            words.controls(scores),
            captions.synthetic(view),
        ),
        alt=f"Layer by head map of {own[:1].lower()}{own[1:]} in {name}.",
        chart=later(heatmap, scores, view, sets, title),
        data=table([(scores, sets)]),
        head_sets=tuple(sets),
        notes=captions.notes(
            f"Colour: {SUITE.measure(scores.measure).formula}, with first = {told.first}.",
            words.share_of_class(told, scores.task) if scores.measure == "excess" else "",
            words.counted(told, scores.measure),
            f"Null: {SUITE.measure(scores.measure).null}; {told.flips:,} draws." if scores.p is not None else
            f"No null: {scores.no_null}.",
            words.interval(told),
            words.control_notes(told, scores),
            captions.caveat([scores]),
            captions.missing(scores),
            captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
            *captions.rules(sets),
            captions.agreement(sets),
        ),
    )  # fmt: skip


def class_titles(told: TextFacts) -> list[str]:
    """The classes as figures print them, in their order."""
    return [classes.title(name) for name in told.classes]
