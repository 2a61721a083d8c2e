"""A layer x head map of every measure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from reportgen.figures import captions
from reportgen.figures.chart_data import table
from reportgen.figures.figure import Figure, Maker, View, later, supplementary
from reportgen.figures.heatmap import Hatch, heatmap
from reportgen.scores import HeadScores, SuiteResult, head_name
from reportgen.suites.retrieval.drawing import words
from reportgen.suites.retrieval.facts import RetrievalFacts
from reportgen.suites.retrieval.suite import FORMULAS, SUITE, TASK

RESTING = 0.9  # mass on position 0 above which a head's copy of 0 says little
SIGNED = ("write", "concept_effect", "token_effect")
_MOST = 12  # resting heads named
PRINTED = ("copy", "point", "write", "concept")  # maps in the PDF; the others are on the page


def maps(result: SuiteResult, view: View, told: RetrievalFacts) -> Iterator[Maker]:
    """In the suite's order."""
    for measure in SUITE.measures:
        for scores in result.scores:
            if scores.measure == measure.name:
                make = partial(_map, result, view, scores, told)
                yield make if measure.name in PRINTED else supplementary(make)


def _map(result: SuiteResult, view: View, scores: HeadScores, told: RetrievalFacts) -> Figure | None:
    """None where no head has a value: the section's notes say why."""
    if not np.isfinite(scores.values).any():
        return None
    name, measure = captions.model_name(view), SUITE.measure(scores.measure)
    sets = words.sets(view, scores.measure)
    own = scores.label.partition(" (")[0]
    title = f"{name}: {words.lower(scores.label)}"
    short = scores.task != TASK
    return Figure(
        id=f"retrieval-{scores.measure}",
        suite=SUITE.name,
        title=title,
        caption=captions.join(
            f"{own}, in {captions.grid_words(view)}.",
            f"n = {scores.n} sequences." if short else words.counted(told, scores),
            captions.beats_null(scores) if scores.p is not None else "",
            captions.best_head(scores, signed=scores.measure in SIGNED),
            words.controls(scores),
            captions.synthetic(view),
        ),
        alt=f"Layer by head map of {words.lower(scores.label)} in {name}.",
        chart=later(heatmap, scores, view, sets, title, hatch=_hatch(result) if scores.measure == "copy" else None),
        data=table([(scores, sets)]),
        head_sets=tuple(sets),
        notes=captions.notes(
            f"Colour: {FORMULAS.get((told.preset, scores.measure), measure.formula)}.",
            *((words.right(told), words.forcing()) if not short else ()),
            f"A head that looks at a token of a random answer copies {captions.number(told.copy_base)}."
            if scores.measure == "copy" else "",
            _resting(result) if scores.measure == "copy" else "",
            words.text(told) if not short else words.short(scores),
            words.patched(told, scores.measure),
            words.null(told, scores, measure.null),
            words.interval(told) if not short else "95 % intervals: bootstrap over sequences.",
            words.control_notes(scores),
            words.reached(told) if not short else "",
            captions.caveat([scores]),
            captions.missing(scores),
            captions.markers(sets, words.shape(view)),
            *captions.rules(sets),
        ),
    )  # fmt: skip


def _hatch(result: SuiteResult) -> Hatch | None:
    """Heads that rest on position 0, whose copy of 0 says little."""
    sink = result.get("sink", TASK)
    if sink is None:
        return None
    return Hatch(np.nan_to_num(sink.values) > RESTING, f"more than {RESTING:g} of attention on position 0")


def _resting(result: SuiteResult) -> str:
    """Heads on position 0 while the model answers."""
    sink = next((s for s in result.scores if s.measure == "sink"), None)
    heads = [h for h in sink.ranking() if float(sink.values[h]) > RESTING] if sink is not None else []
    if not heads:
        return ""
    names = ", ".join(head_name(*h) for h in heads[:_MOST])
    more = f" and {len(heads) - _MOST} more" if len(heads) > _MOST else ""
    return f"On position 0 with more than {RESTING:g} of their attention while answering: {names}{more}."
