"""A suite's figures, drawn one by one: anything that one raises becomes a reason in its place on the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from altair.utils.schemapi import debug_mode

from reportgen.figures import export
from reportgen.figures.alone import Maker, OneByOne, attempt, made
from reportgen.figures.checked import checked, size
from reportgen.figures.export import Spec
from reportgen.figures.figure import Figure, Kept, Style, View
from reportgen.report.text import clean
from reportgen.scores import SuiteResult
from reportgen.suites.base import Suite

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,150}")


@dataclass(frozen=True)
class Drawing:
    """A figure, its Vega-Lite specification (empty: kept as drawn) and its SVG, `width` x `height` px."""

    figure: Figure
    spec: Spec
    svg: str
    width: int
    height: int


def draw(suite: Suite, result: SuiteResult, view: View, style: Style) -> list[Drawing | str]:
    """The suite's figures with their SVGs, in order, and in the place of each that can't be drawn why. Never raises."""
    drawn: list[Drawing | str] = []
    with debug_mode(False):  # without the checks against Vega-Lite's schema, which the tests make
        for figure in each(suite, result, view):
            if isinstance(figure, str):
                drawn.append(figure)
                continue
            drawing, problem = attempt(partial(_one, figure, style))
            drawn.append(drawing or f"Figure {clean(str(figure.id))} could not be drawn: {problem}")
    return drawn


def each(suite: Suite, result: SuiteResult, view: View) -> Iterator[Figure | str]:
    """The suite's figures as specifications, each alone; in the place of one that fails the reason. Never raises."""
    figures, problem = attempt(suite.load_figures)
    if figures is None:
        yield f"The figures of this suite could not be drawn: {problem}"
    elif isinstance(figures, OneByOne):
        yield from made(figures.plan(result, view))
    else:
        yield from made(_whole(figures, result, view))


def _whole(
    figures: Callable[[SuiteResult, View], Iterable[Figure]], result: SuiteResult, view: View
) -> Iterator[Maker]:
    """Figures that a suite makes in one go; a generator's before it fails are kept."""
    for figure in figures(result, view):
        yield partial(_same, figure)


def _same(figure: Figure) -> Figure:
    return figure


def figures_of(suite: Suite, result: SuiteResult, view: View) -> tuple[list[Figure], list[str]]:
    """The suite's figures as specifications, and a sentence for each that there is not. Never raises."""
    with debug_mode(False):
        found = list(each(suite, result, view))
    return [f for f in found if not isinstance(f, str)], [f for f in found if isinstance(f, str)]


def _one(figure: Figure, style: Style) -> Drawing:
    if not _ID.fullmatch(figure.id):
        raise ValueError(f"figure id {figure.id!r} is not a plain file name")
    spec = {} if isinstance(figure.chart, Kept) else export.spec(figure, style)
    svg = export.svg(figure, style, spec)
    width, height = size(checked(svg, figure.id))
    return Drawing(figure, spec, svg, round(width), round(height))


def unique(drawings: Sequence[Drawing | str], taken: set[str]) -> list[Drawing | str]:
    """A sentence in the place of every drawing whose id an earlier figure has (file names may ignore case)."""
    kept: list[Drawing | str] = []
    for drawing in drawings:
        if isinstance(drawing, str):
            kept.append(drawing)
            continue
        key = drawing.figure.id.lower()
        double = f"Figure {drawing.figure.id} is left out: another figure has this id."
        kept.append(double if key in taken else drawing)
        taken.add(key)
    return kept
