"""How wide the columns of a printed table are: text sizes and widths that keep every table on its page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reportgen.figures.theme import text_width

PORTRAIT_PT = 470.0  # A4 less its margins
LANDSCAPE_PT = 717.0
SIZES_PT = (7.6, 7.0, 6.4)
INSET_PT = 8.6  # left and right of a cell, and a little for rounding
_BREAKS = re.compile(r"[\s\u200b]+|(?<=-)(?=[^\W\d])")  # where Typst breaks lines: no number is split
LONGEST = 24  # characters; longer words get places to break at


@dataclass(frozen=True)
class Part:
    """Some columns of a table, by index, and their widths in points."""

    columns: tuple[int, ...]
    widths: tuple[float, ...]


@dataclass(frozen=True)
class Layout:
    """Text size and the parts that stand below each other; `landscape` where no size fits an upright page."""

    size: float
    parts: tuple[Part, ...]
    landscape: bool


def fit(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> Layout:
    """The largest text at which no number wraps and no word is cut; upright where possible.

    A table too wide for a page on its side is cut into parts that repeat its first column.
    """
    every = tuple(range(len(columns)))
    for width, landscape in ((PORTRAIT_PT, False), (LANDSCAPE_PT, True)):
        for size in SIZES_PT:
            least, natural = _needs(columns, rows, numeric, size)
            if sum(least) <= width:
                return Layout(size, (Part(every, _share(least, natural, width)),), landscape)
    return Layout(SIZES_PT[-1], tuple(_cut(least, natural)), True)


def _cut(least: Sequence[float], natural: Sequence[float]) -> list[Part]:
    """The columns in order, as many to a part as fit beside the first one."""
    groups: list[list[int]] = [[0]]
    for i in range(1, len(least)):
        if sum(least[j] for j in groups[-1]) + least[i] > LANDSCAPE_PT and len(groups[-1]) > 1:
            groups.append([0])
        groups[-1].append(i)
    parts = []
    for group in groups:
        narrow = [min(least[i], LANDSCAPE_PT / 2) for i in group]
        parts.append(Part(tuple(group), _share(narrow, [max(natural[i], least[i]) for i in group], LANDSCAPE_PT)))
    return parts


def _needs(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], size: float
) -> tuple[list[float], list[float]]:
    """Per column the width below which a word or number would be cut, and the width at which nothing wraps."""
    least, natural = [], []
    for i, name in enumerate(columns):
        cells = [row[i] for row in rows]
        whole = [text_width(cell, size) for cell in cells]
        parts = whole if numeric[i] else [longest(cell, size) for cell in cells]
        least.append(max([*parts, longest(name, size, bold=True)]) + INSET_PT)
        wish = max([*whole, text_width(name, size, bold=True)]) + INSET_PT
        natural.append(max(least[-1], min(wish, PORTRAIT_PT / 2)))  # one long text must not starve the others
    return least, natural


def longest(text: str, size: float, bold: bool = False) -> float:
    """Width of the widest piece of `text` that no line break can go through."""
    words = [word[:LONGEST] for word in _BREAKS.split(text)]
    return max(text_width(word, size, bold) for word in words)


def _share(least: Sequence[float], natural: Sequence[float], width: float) -> tuple[float, ...]:
    """Natural widths where they fit, else the least ones and a fair share of what is left."""
    room = max(width - sum(least), 0.0)
    wish = sum(natural) - sum(least)
    part = 1.0 if wish <= room else room / wish
    return tuple(round(a + part * (b - a), 2) for a, b in zip(least, natural, strict=True))
