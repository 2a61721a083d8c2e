"""Figures of heads on text: maps, clouds of heads, shares, examples, and what a narrow role is of all a head does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from reportgen.figures.figure import Maker, OneByOne, View, supplementary
from reportgen.scores import SuiteResult
from reportgen.suites import facts
from reportgen.suites.text.drawing.clouds import clouds, shuffled
from reportgen.suites.text.drawing.maps import maps
from reportgen.suites.text.drawing.narrow_wide import narrow_wide
from reportgen.suites.text.drawing.shares import bars
from reportgen.suites.text.drawing.strips import strips
from reportgen.suites.text.facts import TextFacts


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """In the order of the section."""
    told = facts.read(result, TextFacts)
    yield from (partial(draw, result, view, told) for draw in (narrow_wide, strips, clouds, shuffled, bars))
    yield from map(supplementary, maps(result, view, told))
