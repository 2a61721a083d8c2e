"""One SVG text per figure: the same bytes in every process, safe to stand beside others on one page.

- Ids of gradients and clips come from a counter of the renderer: they get the figure's id and a number of their own.
- The root gets role, title and description; the renderer's aria attributes on hundreds of marks go.
- Numbers and colours are written short: a map of 80 x 64 heads takes 0.3 MB.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import IO, Any

from reportgen.figures.theme import clean

# SVG that is allowed on a page and for download: drawings, and nothing that runs, loads, or refers outside itself.
#
# Only listed elements and attributes pass, for output of the renderer and for
# drawings from a run folder alike.

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
    """A drawing from a run folder, rewritten from its checked parts, at its natural size.

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


SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
_URL = re.compile(r"url\(#([^)]+)\)")
_RGB = re.compile(r"rgb\((\d+), (\d+), (\d+)\)")
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]")
_NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")
_GEOMETRY = ("d", "transform", "x1", "x2", "y1", "y2")
ET.register_namespace("", SVG)
ET.register_namespace("xlink", XLINK)


class Renderer:
    """The process of vega_worker.py: started when the first chart is drawn, and anew where it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # one chart at a time
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def svg(self, spec: str) -> str:
        """The renderer's SVG of a specification. ValueError: refused, in its words; RuntimeError: it ended."""
        with self._lock:
            specs, answers = self._pipes()
            try:
                specs.write(spec.encode() + b"\n")
                specs.flush()
                line = answers.readline()
            except BrokenPipeError:
                line = b""
            except BaseException:  # Ctrl-C while it draws: its answer would be taken for the next chart's
                self.end()
                raise
            if not line.endswith(b"\n"):
                raise RuntimeError(f"the renderer ended with exit code {self.end()}")
        said = json.loads(line)
        if "error" in said:
            raise ValueError(said["error"])
        return str(said["svg"])

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self.end()
            words = [sys.executable, "-P", str(Path(__file__).with_name("vega_worker.py"))]
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._owner = os.getpid()
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a renderer without pipes")
        return self._process.stdin, self._process.stdout

    def end(self) -> int | None:
        """End the process; its exit code, None where there is none. A fork lets go of its parent's, which goes on."""
        process, self._process = self._process, None
        if process is None:
            return None
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        if self._owner != os.getpid():
            process.returncode = 0  # not this one's to wait for
            return None
        try:
            return process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


RENDERER = Renderer()
atexit.register(RENDERER.end)


def render(spec: dict[str, Any]) -> str:
    """The renderer's own SVG of a Vega-Lite `spec`; nothing is fetched from anywhere.

    Every string is cleaned first: the renderer ends its process on a control character. It also reads what was
    written out in titles and field names as its expressions' escapes: what comes back is cleaned again.

    Raises ValueError: a specification that the renderer refuses, or a number that is not finite.
    """
    drawn = RENDERER.svg(json.dumps(_cleaned(spec), allow_nan=False))
    return _UNSEEN.sub(lambda found: clean(found[0]), drawn)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def normalise(svg: str, figure_id: str, title: str, description: str, width_in: float | None = None) -> str:
    """`svg` with its own ids, accessible names and, with `width_in`, the printed width in inches on the root."""
    root = ET.fromstring(svg)  # the renderer's output, not a file from outside
    _strip_aria(root)
    _renumber(root, figure_id)
    _shorten(root)
    _share_font(root)
    _name(root, figure_id, clean(title), clean(description))
    if width_in is not None:
        _resize(root, width_in)
    return ET.tostring(root, encoding="unicode", short_empty_elements=True) + "\n"


def size_of(svg: str) -> tuple[float, float]:
    """Width and height in points of a normalised SVG, from its viewBox."""
    match = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    if match is None:
        raise ValueError("an SVG without a viewBox")
    return float(match[1]), float(match[2])


def _strip_aria(root: ET.Element) -> None:
    for element in root.iter():
        for name in [n for n in element.attrib if n == "role" or n.startswith("aria-")]:
            del element.attrib[name]


def _renumber(root: ET.Element, figure_id: str) -> None:
    new: dict[str, str] = {}
    for element in root.iter():
        if old := element.attrib.get("id"):
            new[old] = f"{figure_id}-{len(new) + 1}"
            element.set("id", new[old])
    for element in root.iter():
        for name, value in element.attrib.items():
            if value.startswith("#") and value[1:] in new:
                element.set(name, f"#{new[value[1:]]}")
            elif "url(#" in value:
                element.set(name, _URL.sub(lambda m: f"url(#{new.get(m[1], m[1])})", value))


def _shorten(root: ET.Element) -> None:
    """Fewer bytes, the same drawing: two decimals, colours as `#440154`, no `opacity="1"`."""
    for element in root.iter():
        for name in _GEOMETRY:
            if name in element.attrib:
                element.set(name, _NUMBER.sub(_shorter, element.attrib[name]))
        if element.attrib.get("opacity") == "1":
            del element.attrib["opacity"]
        for name in ("fill", "stroke", "stop-color"):
            if match := _RGB.fullmatch(element.attrib.get(name, "")):
                element.set(name, "#" + "".join(f"{int(part):02x}" for part in match.groups()))


def _share_font(root: ET.Element) -> None:
    """The font family that all texts name goes to the root, once."""
    texts = [element for element in root.iter() if "font-family" in element.attrib]
    if len({element.attrib["font-family"] for element in texts}) == 1:
        root.set("font-family", texts[0].attrib["font-family"])
        for element in texts:
            del element.attrib["font-family"]


def _shorter(number: re.Match[str]) -> str:
    short = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def _name(root: ET.Element, figure_id: str, title: str, description: str) -> None:
    for name in ("class", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{figure_id}-title {figure_id}-desc")
    for i, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(f"{{{SVG}}}{tag}", {"id": f"{figure_id}-{tag}"})
        element.text = text
        root.insert(i, element)


def _resize(root: ET.Element, width_in: float) -> None:
    """The printed size. A drawing that is narrower than the width stands in its middle: text is never made larger."""
    _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
    spare = 72 * width_in - width
    if spare > 1:
        inner = ET.Element(f"{{{SVG}}}g", {"transform": f"translate({spare / 2:.2f},0)"})
        for element in [e for e in root if e.tag not in (f"{{{SVG}}}title", f"{{{SVG}}}desc", f"{{{SVG}}}defs")]:
            root.remove(element)
            inner.append(element)
        root.append(inner)
        width += spare
        root.set("viewBox", f"0 0 {width:g} {height:g}")
    root.set("width", f"{width_in:g}in")
    root.set("height", f"{width_in * height / width:.4g}in")
