"""Figures of retrieval: what the model answers, maps of the heads, copying against pointing, one head's table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from reportgen.figures.figure import Maker, OneByOne, View
from reportgen.scores import SuiteResult
from reportgen.suites import facts
from reportgen.suites.retrieval.drawing.clouds import clouds, elsewhere
from reportgen.suites.retrieval.drawing.maps import maps
from reportgen.suites.retrieval.drawing.patched import patched_figure
from reportgen.suites.retrieval.drawing.published import published_figure
from reportgen.suites.retrieval.drawing.recall import recall_figure, table_figure
from reportgen.suites.retrieval.drawing.removed import removed_figure
from reportgen.suites.retrieval.facts import RetrievalFacts


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """In the order of the section."""
    told = facts.read(result, RetrievalFacts)
    yield partial(recall_figure, result, view, told)
    yield from maps(result, view, told)
    for draw in (removed_figure, patched_figure, clouds, elsewhere, published_figure, table_figure):
        yield partial(draw, result, view, told)
