"""How wide the columns of a printed table are: text sizes and widths that keep every table on its page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reportgen.figures.theme import text_width

PORTRAIT_PT = 470.0  # A4 less its margins
LANDSCAPE_PT = 717.0
SIZES_PT = (7.6, 7.0, 6.4, 5.8)
INSET_PT = 8.6  # left and right of a cell, and a little for rounding
_BREAKS = re.compile(r"[\s\u200b]+|(?<=[-/])")
_LONGEST = 24  # characters; longer words get places to break at


@dataclass(frozen=True)
class Layout:
    """Text size and column widths in points; `landscape` where no size fits an upright page."""

    size: float
    widths: tuple[float, ...]
    landscape: bool


def fit(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> Layout:
    """The largest text at which no number wraps and no word is cut; upright where possible."""
    for width, landscape in ((PORTRAIT_PT, False), (LANDSCAPE_PT, True)):
        for size in SIZES_PT:
            least, natural = _needs(columns, rows, numeric, size)
            if sum(least) <= width:
                return Layout(size, _share(least, natural, width), landscape)
    squeezed = LANDSCAPE_PT / sum(least)
    return Layout(SIZES_PT[-1], tuple(round(w * squeezed, 2) for w in least), True)


def _needs(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], size: float
) -> tuple[list[float], list[float]]:
    """Per column the width below which a word or number would be cut, and the width at which nothing wraps."""
    least, natural = [], []
    for i, name in enumerate(columns):
        cells = [row[i] for row in rows]
        whole = [text_width(cell, size) for cell in cells]
        parts = whole if numeric[i] else [_longest(cell, size) for cell in cells]
        least.append(max([*parts, _longest(name, size, bold=True)]) + INSET_PT)
        wish = max([*whole, text_width(name, size, bold=True)]) + INSET_PT
        natural.append(max(least[-1], min(wish, PORTRAIT_PT / 2)))  # one long text must not starve the others
    return least, natural


def _longest(text: str, size: float, bold: bool = False) -> float:
    words = [word[:_LONGEST] for word in _BREAKS.split(text)]
    return max(text_width(word, size, bold) for word in words)


def _share(least: Sequence[float], natural: Sequence[float], width: float) -> tuple[float, ...]:
    """Natural widths where they fit, else the least ones and a fair share of what is left."""
    room = width - sum(least)
    wish = sum(natural) - sum(least)
    part = 1.0 if wish <= room else room / wish
    return tuple(round(a + part * (b - a), 2) for a, b in zip(least, natural, strict=True))
