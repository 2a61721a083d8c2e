"""One layer of a chart from its rows, mark and channels, and the colour schemes that Altair knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from reportgen.errors import SettingsError, nearest
from reportgen.figures.figure import Style
from reportgen.figures.theme import SCHEMES_SIGNED

LEGENDS = ("outside", "inside")
alt.data_transformers.disable_max_rows()  # 80 x 64 heads are 5,120 rows, above Altair's limit for notebooks


class _Rows(alt.InlineData):
    """Inline data that a copied chart shares: Altair copies it row by row whenever charts are put together."""

    def __deepcopy__(self, memo: object) -> _Rows:
        return self


def layer(
    name: str, values: Sequence[Mapping[str, Any]], mark: Mapping[str, Any], channels: Mapping[str, Any]
) -> alt.Chart:
    """The chart `name` of `values`, one mark per row; `mark` holds the mark's type and properties.

    The renderer's aria attributes are off: they double an SVG and repeat what the data table says better.
    """
    with debug_mode(False):  # our own plain rows: checking 5,120 of them against the schema takes longer than drawing
        definition = alt.MarkDef(**{"aria": False, **mark})
        data = _Rows(values=list(values))
        chart = alt.Chart(data, mark=definition, name=name)
    return chart.encode(**channels)


def check_style(style: Style) -> Style:
    """`style` when its colours and sizes exist, else SettingsError with the names there are."""
    known = {name for kind in ("SequentialSingleHue", "SequentialMultiHue") for name in _schemes(kind)}
    if style.cmap not in known:
        raise SettingsError(f"No colour map {style.cmap!r}.", nearest(style.cmap, known))
    if style.palette not in SCHEMES_SIGNED:
        raise SettingsError(f"No palette {style.palette!r}.", nearest(style.palette, SCHEMES_SIGNED))
    if style.legend not in LEGENDS:
        raise SettingsError(f"No place {style.legend!r} for legends.", nearest(style.legend, LEGENDS))
    if not 4 <= style.font_size <= 30:
        raise SettingsError(f"Font size {style.font_size:g} pt: expected 4 to 30.")
    if style.width_in is not None and not 1 <= style.width_in <= 40:
        raise SettingsError(f"Width {style.width_in:g} in: expected 1 to 40 inches.")
    return style


def _schemes(kind: str) -> list[str]:
    """Names of one kind of colour scheme; the variants with a fixed number of colours left out."""
    names: list[str] = getattr(alt, kind).resolve_references()["enum"]
    return [name for name in names if "-" not in name]
