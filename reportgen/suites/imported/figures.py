"""Imported scores drawn: one layer x head map per column of the table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from reportgen.figures import captions
from reportgen.figures.alone import Maker, OneByOne
from reportgen.figures.data import table
from reportgen.figures.figure import Figure, View
from reportgen.figures.heatmap import heatmap
from reportgen.figures.markers import MARKERS
from reportgen.scores import HeadScores, HeadSet, SuiteResult

_ROLES = {  # words in a column's name -> the role whose published heads its map marks
    "induction": "induction", "previous": "previous_token", "prev": "previous_token", "duplicate": "duplicate_token",
    "mover": "mover", "copying": "mover", "inhibition": "inhibition",
}  # fmt: skip


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """One map per score, in the table's order."""
    yield from (partial(_figure, result, view, scores) for scores in result.scores)


def _figure(result: SuiteResult, view: View, scores: HeadScores) -> Figure:
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
        chart=heatmap(scores, view, sets, title),
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
    return f"How heads were told: {reading}." if reading else ""


def _sets(view: View, column: str) -> list[HeadSet]:
    """Published heads of the role that the column's name speaks of, else one paper's; the user's own always."""
    words = re.findall(r"[a-z]+", column.lower())
    roles = [_ROLES[word] for word in words if word in _ROLES]
    if roles:
        return captions.choose(view, *roles)
    published = view.sets("published/")
    first = [s for s in published if s.source == published[0].source and s.heads][: len(MARKERS)]
    return first + [s for s in view.overlays if s.kind == "user"]
