"""A suite's figures, drawn. The one place of rendering where anything a suite raises becomes a reason on the page."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from xml.etree import ElementTree

from altair.utils.schemapi import debug_mode

from reportgen.errors import one_line
from reportgen.figures import export
from reportgen.figures.export import Spec
from reportgen.figures.figure import Figure, Style, View
from reportgen.report.text import clean
from reportgen.scores import SuiteResult
from reportgen.suites.base import Suite

T = TypeVar("T")

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


def draw(suite: Suite, result: SuiteResult, view: View, style: Style) -> tuple[list[Drawing], list[str]]:
    """The suite's figures with their SVGs, and a sentence for each that could not be drawn. Never raises."""
    figures, problems = figures_of(suite, result, view)
    drawings = []
    for figure in figures:
        drawing, problem = _attempt(partial(_one, figure, style))
        if drawing is None:
            problems.append(f"Figure {clean(str(figure.id))} could not be drawn: {problem}")
        else:
            drawings.append(drawing)
    return drawings, problems


def figures_of(suite: Suite, result: SuiteResult, view: View) -> tuple[list[Figure], list[str]]:
    """The suite's figures as specifications, or the sentence that says why there are none. Never raises."""
    with debug_mode(False):  # without the checks against Vega-Lite's schema, which the tests make
        figures, problem = _attempt(lambda: list(suite.load_figures()(result, view)))
    if figures is None:
        return [], [f"The figures of this suite could not be drawn: {problem}"]
    return figures, []


def _attempt(make: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return make(), ""
    except Exception as error:  # noqa: BLE001  the boundary: a suite's drawing bug must not lose the other sections
        if sys.flags.dev_mode:  # python -X dev shows where it broke
            traceback.print_exc()
        return None, clean(one_line(f"{type(error).__name__}: {error}"))


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


def unique(drawings: Sequence[Drawing], taken: set[str]) -> tuple[list[Drawing], list[str]]:
    """The drawings whose id no earlier figure has (file names may ignore case), and a sentence for each other one."""
    kept, problems = [], []
    for drawing in drawings:
        key = drawing.figure.id.lower()
        if key in taken:
            problems.append(f"Figure {drawing.figure.id} is left out: another figure has this id.")
            continue
        taken.add(key)
        kept.append(drawing)
    return kept, problems
