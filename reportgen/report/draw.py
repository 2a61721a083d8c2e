"""A suite's figures, drawn one by one: anything that one raises becomes a reason in its place on the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from xml.etree import ElementTree

from altair.utils.schemapi import debug_mode

from reportgen.figures import export
from reportgen.figures.alone import Maker, OneByOne, attempt, made
from reportgen.figures.export import Spec
from reportgen.figures.figure import Figure, Style, View
from reportgen.report.text import clean
from reportgen.scores import SuiteResult
from reportgen.suites.base import Suite

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,150}")
_SVG = "{http://www.w3.org/2000/svg}"
_FOREIGN = {"script", "style", "foreignObject", "iframe", "a", "image", "animate", "set"}
_URL = re.compile(r"url\((?!#)")


@dataclass(frozen=True)
class Drawing:
    """A figure, its Vega-Lite specification and its SVG, `width` x `height` px."""

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
    spec = export.spec(figure, style)
    svg = export.svg(figure, style, spec)
    width, height = _checked(svg)
    return Drawing(figure, spec, svg, width, height)


def _checked(svg: str) -> tuple[int, int]:
    """Width and height in px of a well-formed SVG that neither runs nor loads anything; ValueError otherwise."""
    root = ElementTree.fromstring(svg)
    if root.tag != f"{_SVG}svg" or "<!" in svg.replace("<![CDATA[", ""):
        raise ValueError("not a plain SVG document")
    for element in root.iter():
        name = str(element.tag).removeprefix(_SVG)
        if name in _FOREIGN:
            raise ValueError(f"SVG with a <{name}> element")
        for attribute, value in element.attrib.items():
            local = attribute.rsplit("}", 1)[-1]
            outside = (local == "href" and not value.startswith("#")) or _URL.search(value)
            if local.startswith("on") or local == "style" or outside:
                raise ValueError(f"SVG with the attribute {local}")
    view_box = [float(v) for v in root.get("viewBox", "").replace(",", " ").split()]
    if len(view_box) != 4:
        raise ValueError("SVG without a viewBox")
    return round(view_box[2]), round(view_box[3])


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
