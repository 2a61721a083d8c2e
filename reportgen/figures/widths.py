"""Printed widths: inches, centimetres, or the name of a column; and text that stays large enough to read there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from reportgen.errors import SettingsError, nearest
from reportgen.figures import export
from reportgen.figures.figure import Figure, Style
from reportgen.figures.svg import size_of

LEAST_PT = 6.0  # the smallest text that journals take
COLUMNS = {  # inches: a column, and the whole width of the text, by the venue's style file
    "acl": 3.03, "acl-wide": 6.3, "icml": 3.25, "icml-wide": 6.75, "ieee": 3.5, "ieee-wide": 7.16, "neurips": 5.5,
    "iclr": 5.5,
}  # fmt: skip
_UNITS = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27, "": 1.0}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(in|cm|mm|pt|)")
_TEXT = re.compile(r'font-size="([\d.]+)(?:px|pt)?"')


def inches(text: str) -> float | None:
    """The width in inches that `text` says: `3.25in`, `8.3cm`, `icml`. None where it is empty. Raises SettingsError."""
    if not text:
        return None
    if text in COLUMNS:
        return COLUMNS[text]
    match = _LENGTH.fullmatch(text.strip())
    value = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 1 <= value <= 40:
        hint = "For example --width 3.25in, or a column: " + nearest("", COLUMNS).removeprefix("Known: ")
        raise SettingsError(f"--width {text!r} is not a width from 1 to 40 inches.", hint)
    return value


def smallest_text(svg: str) -> float:
    """The smallest text of a normalised SVG in points as it is printed; infinity where there is none."""
    natural, _ = size_of(svg)
    width = re.search(r'<svg[^>]* width="([\d.]+)in"', svg)
    scale = 72 * float(width[1]) / natural if width else 1.0
    return min((scale * float(size) for size in _TEXT.findall(svg)), default=float("inf"))


def legible(make: Callable[[Style], Figure], style: Style) -> tuple[Figure, Style]:
    """The figure that `make` draws at `style.width_in`, and the style with text enlarged until none is below 6 pt.

    Raises SettingsError where that takes text larger than the figure can hold.
    """
    figure = make(style)
    if style.width_in is None:
        return figure, style
    for _ in range(4):
        found = smallest_text(export.svg(figure, style))
        if found >= LEAST_PT - 0.005:
            return figure, style
        size = style.font_size * LEAST_PT / found * 1.01
        if size > 30:
            break
        style = replace(style, font_size=round(size, 2))
        figure = make(style)
    raise SettingsError(
        f"{figure.id} at {style.width_in:g} in: its smallest text would be {found:.1f} pt, below {LEAST_PT:g} pt.",
        "Choose a wider column, e.g. --width icml-wide.",
    )
