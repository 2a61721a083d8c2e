"""One layer of a chart from its rows, mark and channels: the only place that talks to Altair's mark methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

alt.data_transformers.disable_max_rows()  # 80 x 64 heads are 5,120 rows, above Altair's limit for notebooks


def layer(
    name: str, values: Sequence[Mapping[str, Any]], mark: Mapping[str, Any], channels: Mapping[str, Any]
) -> alt.Chart:
    """The chart `name` of `values`, one mark per row; `mark` holds the mark's type and properties.

    The renderer's aria attributes are off: they double an SVG and repeat what the data table says better.
    """
    definition = alt.MarkDef.from_dict({"aria": False, **mark})
    with debug_mode(False):  # our own plain rows: checking 5,120 of them against the schema takes longer than drawing
        data = alt.InlineData(values=list(values))
        chart = alt.Chart(data, mark=definition, name=name)
    return chart.encode(**channels)
