"""Which SVG may stand on a page and be handed out: drawings, and nothing that runs, loads, or reaches outside itself.

Only what is listed here passes, element by element and attribute by attribute, for what the renderer made and for what
a run folder brings alike.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

from reportgen.figures.svg import SVG

MOST_DEEP = 60  # elements within each other
MOST_POINTS = 3_000  # of a side of a drawing from a run folder, and
MOST_AREA = 3_000_000  # square points of it: a PNG of 300 pixels an inch must fit into memory
_ELEMENTS = frozenset(
    "svg title desc defs g path rect circle ellipse line polyline polygon text tspan clipPath linearGradient "
    "radialGradient stop".split()
)
_ATTRIBUTES = frozenset(
    "id class role aria-labelledby viewBox width height x y x1 x2 y1 y2 cx cy r rx ry fx fy dx dy d points transform "
    "fill fill-opacity fill-rule stroke stroke-width stroke-opacity stroke-dasharray stroke-dashoffset stroke-linecap "
    "stroke-linejoin stroke-miterlimit opacity color display visibility pointer-events clip-path clip-rule "
    "clipPathUnits font-family font-size font-weight font-style font-variant text-anchor dominant-baseline "
    "letter-spacing offset stop-color stop-opacity gradientUnits gradientTransform spreadMethod".split()
)
_CALLED = frozenset("url rgb rgba hsl hsla translate rotate scale matrix skewX skewY".split())
_CALL = re.compile(r"([^\s,(]*)\(")


def checked(svg: str, figure_id: str) -> ET.Element:
    """The root of a drawing whose ids all begin with `figure_id`; ValueError names what does not belong in one."""
    if "<!" in svg or "<?" in svg:  # before it is parsed: entities, and what other programs would act on
        raise ValueError("not a plain SVG document")
    try:
        root = ET.fromstring(svg)
    except ET.ParseError as error:
        raise ValueError(f"not well-formed SVG ({error})") from error
    if root.tag != f"{{{SVG}}}svg":
        raise ValueError("not a plain SVG document")
    stack = [(root, 1, False)]
    while stack:
        element, depth, is_shared = stack.pop()
        name = str(element.tag).removeprefix(f"{{{SVG}}}")
        if name not in _ELEMENTS or (name == "svg" and element is not root):
            raise ValueError(f"SVG with a <{name.rsplit('}', 1)[-1]}> element")
        if depth > MOST_DEEP:
            raise ValueError(f"SVG nested more than {MOST_DEEP} deep")
        for attribute, value in element.attrib.items():
            _check(attribute, value, figure_id, is_shared)
        stack += [(child, depth + 1, is_shared or name in ("defs", "clipPath")) for child in element]
    return root


def _check(attribute: str, value: str, figure_id: str, is_shared: bool) -> None:
    """One attribute; what others refer to refers to nothing itself, or a drawing could grow without end."""
    if attribute not in _ATTRIBUTES:
        raise ValueError(f"SVG with the attribute {attribute.rsplit('}', 1)[-1]}")
    called = _CALL.findall(value) if attribute != "class" else []
    within = value.count("url(") == len(re.findall(rf"url\(#{re.escape(figure_id)}-[\w-]+\)", value))
    if "\\" in value or not set(called) <= _CALLED or not within or (is_shared and "url(" in value):
        raise ValueError(f"SVG with {attribute}={value[:60]!r}")
    if attribute == "id" and not re.fullmatch(rf"{re.escape(figure_id)}-[\w-]+", value):
        raise ValueError(f"SVG with the id {value[:60]!r}")


def size(root: ET.Element) -> tuple[float, float]:
    """Width and height in points of a checked drawing, from its viewBox; ValueError where it has none."""
    try:
        box = [float(part) for part in root.get("viewBox", "").replace(",", " ").split()]
    except ValueError:
        box = []
    if len(box) != 4 or not all(math.isfinite(side) and side > 0 for side in box[2:]):
        raise ValueError("SVG without a viewBox")
    return box[2], box[3]


def from_outside(svg: str, figure_id: str) -> str:
    """A drawing that a run folder brings, written anew from what was checked, at its natural size.

    Raises ValueError for what does not belong in a drawing, and for one too large to be printed.
    """
    root = checked(svg, figure_id)
    wide, high = size(root)
    if root.get("viewBox", "").split()[:2] != ["0", "0"] or max(wide, high) > MOST_POINTS or wide * high > MOST_AREA:
        raise ValueError(f"SVG of {wide:g} by {high:g} points from {root.get('viewBox', '')[:20]!r}")
    root.set("viewBox", f"0 0 {wide:g} {high:g}")
    root.set("width", f"{wide:g}")
    root.set("height", f"{high:g}")
    return ET.tostring(root, encoding="unicode", short_empty_elements=True) + "\n"
