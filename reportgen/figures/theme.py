"""The style of all figures: fonts, sizes, colours, and the resulting Vega-Lite configuration.

- One unit of a chart is one point (1/72 inch) of the printed figure and one pixel of the page.
- Text and lines are `currentColor`: black on paper, and whatever colour the page gives its text in the dark.
- Every font list ends in sans-serif: a font that is not installed would silently drop all text from PDF and PNG.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import typst

from reportgen.errors import FontWarning

# Letters that the shipped fonts lack: set in a font of the system that has them, else written out as `\u{4e2d}`.
#
# Never a box. The page needs none of this: a browser has its own fonts.

# What Liberation Sans, Libertinus Serif and Typst's own fonts hold together; a test sets every one of these.
LACKING = re.compile(
    "[^\n\t\u0020-\u007e\u00a0-\u00ac\u00ae-\u017f\u0384-\u038a\u038c\u038e-\u03a1\u03a3-\u03ce\u0400-\u045f"
    "\u1e80-\u1e85\u2010-\u2015\u2018-\u201e\u2020-\u2022\u2026\u2030\u2032\u2033\u2039\u203a\u20ac\u2122"
    "\u2190-\u2195\u2202\u2206\u220f\u2211\u2212\u221a\u221e\u222b\u2248\u2260\u2264\u2265\u25a0\u25a1\u25cb\u25cf]"
)
_PROBE = b'#set document(title: "probe")\n#set text(lang: "en", font: "Liberation Sans")\n#sys.inputs.letter'


def printable(text: str) -> str:
    r"""`text` with every character that the report's fonts lack written out, e.g. `\u{4e2d}`."""
    return LACKING.sub(lambda match: written(match[0]), text)


def written(char: str) -> str:
    r"""A character as its number: `\u{4e2d}`."""
    return f"\\u{{{ord(char):x}}}"


def settable(text: str) -> tuple[str, bool]:
    """`text` as it can be set, and whether the system's fonts are needed for it.

    Warns (FontWarning) of the characters that no font has, which are written out.
    """
    asked = dict.fromkeys(LACKING.findall(text))
    missing = [char for char in asked if not on_system(char)]
    if missing:
        shown = ", ".join(written(char) for char in missing[:5]) + (", ..." if len(missing) > 5 else "")
        warnings.warn(
            f"No font here has {shown}: written so in PDF and PNG. Install one, e.g. Noto Sans.",
            FontWarning,
            stacklevel=2,
        )
    kept = LACKING.sub(lambda match: written(match[0]) if match[0] in missing else match[0], text)
    return kept, len(asked) > len(missing)


@cache
def on_system(char: str) -> bool:
    """Whether some installed font has this character: Typst refuses to make PDF/UA of one that none has."""
    source: Any = {"main.typ": _PROBE}  # a file in memory: typst's stubs lag
    words = {"letter": char}
    try:
        typst.compile(source, format="pdf", pdf_standards=["ua-1"], font_paths=shipped(), sys_inputs=words)
    except typst.TypstError:
        return False
    return True


@cache
def shipped() -> list[str]:
    """The folder with the fonts that ship with the package."""
    return [str(Path(str(files("reportgen.templates"))) / "fonts")]


FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
INK = "currentColor"
PAPER_INK = "#111111"  # text on the legend's own white box, light in either theme
NOT_COMPUTED = "#d4d4d4"
NOT_COMPUTED_LINE = "#7d7d7d"
SCHEMES_SIGNED = {"published": "redblue", "safe": "purpleorange"}  # both end in red or orange above zero once reversed
CATEGORY_COLOURS = {
    "published": ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f"),  # tab10
    "safe": ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#999999"),  # Okabe and Ito
}

# Advance widths of Liberation Sans (Arial's metrics) and its bold for ASCII 32..126, in thousandths of the font size.
_ADVANCE = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556,
    556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278,
    500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469,
    556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500,
    278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)  # fmt: skip
_BOLD = (
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556,
    556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611, 975, 722, 722, 722, 722, 667, 611, 778, 722, 278,
    556, 722, 611, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 333, 278, 333, 584,
    556, 333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611, 611, 611, 389, 556,
    333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,
)  # fmt: skip
MOST_LINES = 8
_KEPT = frozenset("\n\t\u00a0\u2009\u202f\u200c\u200d")  # unprintable to Python, harmless on a page


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width of `text` in points at `size` points; other letters count as capitals, wide ones as squares."""
    advance, other = (_BOLD, 722) if bold else (_ADVANCE, 667)
    thousandths = 0
    for char in text:
        code = ord(char)
        if 32 <= code < 127:
            thousandths += advance[code - 32]
        else:
            thousandths += 1000 if code >= 0x1100 else other
    return thousandths * size / 1000


def wrap(text: str, size: float, room: float, most: int = MOST_LINES) -> tuple[str, ...]:
    """`text` in lines no wider than `room` points, at most `most` of them: the rest is left out with an ellipsis."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and text_width(f"{lines[-1]} {word}", size) <= room:
            lines[-1] += f" {word}"
            continue
        while text_width(word, size) > room and len(lines) <= most and len(word) > 1:
            start = fitting(word, size, room)
            lines.append(start)
            word = word[len(start) :]
        lines.append(word)
        if len(lines) > most:
            break
    return tuple(lines) if len(lines) <= most else (*lines[: most - 1], f"{lines[most - 1][:-1]}…")


def fitting(text: str, size: float, room: float) -> str:
    """The start of `text` that is no wider than `room` points, one character at least."""
    width = 0.0
    for i, char in enumerate(text):
        width += text_width(char, size)
        if width > room:
            return text[: max(1, i)]
    return text


def clean(text: str) -> str:
    r"""`text` with control, direction-changing, unassigned and surrogate characters written out, e.g. `\u{202e}`.

    Newlines, tabs and the spaces and joiners of `_KEPT` stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _KEPT else f"\\u{{{ord(c):x}}}" for c in text)


def config(style: Style) -> dict[str, Any]:
    """The `config` block of a Vega-Lite specification in the given style."""
    size = style.font_size
    axis = {
        "domain": False, "grid": False, "labelOverlap": False, "ticks": True, "tickSize": 0.35 * size,
        "tickColor": INK, "tickWidth": 0.6, "labelColor": INK, "titleColor": INK, "labelPadding": 0.2 * size,
        "labelFontSize": 0.88 * size, "titleFontSize": size, "titleFontWeight": "normal", "titlePadding": 0.4 * size,
    }  # fmt: skip
    legend = {"labelColor": INK, "titleColor": INK, "labelFontSize": 0.88 * size, "titleFontSize": size}
    return {
        "font": FONT,
        "background": "transparent",
        "padding": 2,
        "view": {"stroke": INK, "strokeWidth": 0.6, "fill": "transparent"},
        "axis": axis,
        "legend": {**legend, "titleFontWeight": "normal", "gradientStrokeWidth": 0, "labelOffset": 0.3 * size},
        "title": {
            "color": INK,
            "subtitleColor": INK,
            "fontSize": 1.08 * size,
            "fontWeight": "normal",
            "offset": 0.35 * size,
        },
        "concat": {"spacing": 1.6 * size},
    }


def nice_step(span: float, parts: int = 5) -> float:
    """A step of 1, 2, 2.5 or 5 times a power of ten that cuts `span` (> 0) into about `parts` pieces."""
    raw = span / parts
    power = 10.0 ** math.floor(math.log10(raw))
    return min((m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0)), key=lambda s: abs(s - raw))


def exact(value: float) -> float:
    """`value` without what binary steps add to it, at any scale; minus zero is zero."""
    return float(f"{value:.12g}") + 0.0


def decimals(step: float, least: int = 0) -> int:
    """Decimals that tell ticks `step` apart, at most 9: 1.0 and 0.25, never 1 and 0.2."""
    return next((d for d in range(least, 9) if abs(round(step, d) - step) < 1e-9 * step), 9)


def tick_labels(ticks: Sequence[float], digits: int) -> list[str]:
    """The numbers of evenly spaced ticks, all different, with a true minus sign.

    Fixed decimals, or where those would be more than five, or seven figures before the point, multiples of one power of
    ten: 0, 0.5e\u22129, 1.0e\u22129.
    """
    largest = max((abs(tick) for tick in ticks), default=0.0)
    if largest == 0 or (digits <= 5 and largest < 1e6):
        return [f"{tick + 0.0:.{digits}f}".replace("-", "\u2212") for tick in ticks]
    power = math.floor(math.log10(largest))
    shares = [tick / 10.0**power for tick in ticks]
    step = min((exact(b - a) for a, b in pairwise(shares)), default=1.0)
    digits = decimals(step)
    return [f"{share:.{digits}f}e{power}".replace("-", "\u2212") if share else "0" for share in shares]


def index_step(count: int) -> int:
    """Distance of the ticks on an axis of `count` indices: 1 up to 16, 2 up to 24, then about five steps."""
    if count <= 16:
        return 1
    return 2 if count <= 24 else count // 5


def index_ticks(count: int, cell: float, label_size: float, along_x: bool) -> list[int]:
    """Tick values for indices 0..count-1 with `cell` points between them, the last always among them.

    Thinned only where labels would touch; the tick before the last gives way where it stands too close to it.
    """
    need = text_width(str(max(count - 1, 0)), label_size) + 0.45 * label_size if along_x else 1.05 * label_size
    step = index_step(count)
    while step * cell < need and step < count:
        step += 1
    last = count - 1
    ticks = [i for i in range(0, count, step) if i == 0 or last - i >= max(0.75 * step, need / cell) or i == last]
    if ticks[-1] != last and last * cell >= need:
        ticks.append(last)
    return ticks


@dataclass(frozen=True)
class Style:
    """How figures look; every field is a choice of the user.

    cmap       Vega colour scheme of sequential score maps
    palette    "published" (the paper's hues) or "safe" (colour-blind safe); letters stand beside the hue in both
    font_size  points, at the printed width
    width_in   printed width in inches; None = the figure's own
    legend     of score maps: "outside", below the map, or "inside", a half-transparent box in the quiet corner as
               published; it stays outside where it would cover a marked cell or one above the line
    """

    cmap: str = "viridis"
    palette: str = "published"
    font_size: float = 10.0
    width_in: float | None = None
    legend: str = "outside"
