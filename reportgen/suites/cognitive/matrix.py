"""A square matrix of functions with the numbers written in, for the ablation figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.figures import theme
from reportgen.figures.figure import Style
from reportgen.figures.head_maps import SLOPE, signed_scheme
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.marks import check_style, layer
from reportgen.figures.small_multiples import (
    ENDS,
    NATURAL_WIDTH,
    Page,
    Rows,
    finished,
    rect,
    shortened,
    words,
)

_NUMBERS_UP_TO = 14  # functions; more are told by colour and tooltip only


def matrix(
    values: npt.NDArray[np.float64], labels: Sequence[str], counts: Sequence[int], style: Style, *, synthetic: bool
) -> alt.LayerChart:
    """values [questions of, heads of] on a diverging scale about zero, the diagonal framed; counts: n per row."""
    style = check_style(style)
    size, n = style.font_size, len(labels)
    labels = [shortened(label) for label in labels]
    rows = [f"{label} ({count})" for label, count in zip(labels, counts, strict=True)]
    left = max(theme.text_width(text, 0.88 * size) for text in rows) + 2.4 * size
    given = NATURAL_WIDTH if style.width_in is None else style.width_in * 72 - 4
    cell = min(4.2 * size, max(1.2 * size, (max(given, 40 * size) - left - 9 * size) / n))
    up = max(theme.text_width(label, 0.88 * size) for label in labels) * 0.71 + 2.4 * size
    bar_x = left + n * cell + 3.2 * size
    page = Page((), max(bar_x + 6.5 * size, left + n * cell + up), up + n * cell + 1, size, (bar_x, up, n * cell))
    axes, reach = page.axes(), max(float(np.nanmax(np.abs(values), initial=0.0)), 0.01)
    colour = alt.Color(
        "value:Q", legend=None, scale=alt.Scale(domain=[-reach, reach], clamp=True, **signed_scheme(style)),
    )  # fmt: skip
    charts = _cells(values, labels, (left, up, cell), axes, colour)
    if n <= _NUMBERS_UP_TO:
        charts += _numbers(values, reach, (left, up, cell), size, axes)
    charts += _names(rows, labels, (left, up, cell), size, axes)
    charts += _bar(reach, page, size, axes, colour)
    if synthetic:
        at = [(left + n * cell / 2, up + n * cell / 2, WATERMARK, n * cell / 6.2)]
        charts.append(words("watermark", at, axes, angle=330, fontWeight="bold", fillOpacity=0.3))
    return finished(charts, page, style)


Place = tuple[float, float, float]  # left, up, cell


def _cells(
    values: npt.NDArray[np.float64], labels: Sequence[str], place: Place, axes: dict[str, Any], colour: alt.Color
) -> list[alt.Chart]:
    left, up, cell = place
    boxes: Rows = []
    for (q, h), value in np.ndenumerate(values):
        if np.isfinite(value):
            told = {"value": float(f"{value:.6g}"), "questions": labels[q], "heads": labels[h]}
            boxes.append({**rect(left + h * cell, up + q * cell, cell, cell), **told})
    own = [rect(left + i * cell + 0.6, up + i * cell + 0.6, cell - 1.2, cell - 1.2) for i in range(len(labels))]
    tips = [alt.Tooltip("questions:N", title="questions of"), alt.Tooltip("heads:N", title="heads of"),
            alt.Tooltip("value:Q", title="nats", format="+.3f")]  # fmt: skip
    line = {"type": "rect", "fill": "transparent", "stroke": "#111111", "strokeWidth": 1.1}
    return [
        layer("pairs", boxes, {"type": "rect", "stroke": "#ffffff", "strokeWidth": 0.5},
              {**axes, **ENDS, "color": colour, "tooltip": tips}),
        layer("diagonal", own, line, {**axes, **ENDS}),
    ]  # fmt: skip


def _numbers(
    values: npt.NDArray[np.float64], reach: float, place: Place, size: float, axes: dict[str, Any]
) -> list[alt.Chart]:
    """The numbers, white on dark cells."""
    left, up, cell = place
    made: dict[str, list[tuple[float, float, str, float]]] = {"#111111": [], "#ffffff": []}
    for (q, h), value in np.ndenumerate(values):
        if np.isfinite(value):
            text = f"{value:+.2f}".replace("-", "\u2212") if abs(value) >= 0.005 else "0.00"
            room = 0.86 * cell / max(theme.text_width(text, 1.0), 1e-9)
            ink = "#ffffff" if abs(value) > 0.62 * reach else "#111111"
            made[ink].append((left + (h + 0.5) * cell, up + (q + 0.5) * cell, text, min(0.85 * size, room)))
    return [words(f"numbers_{i}", some, axes, color=ink) for i, (ink, some) in enumerate(made.items()) if some]


def _names(
    rows: Sequence[str], labels: Sequence[str], place: Place, size: float, axes: dict[str, Any]
) -> list[alt.Chart]:
    left, up, cell = place
    n, small = len(labels), 0.88 * size
    beside = [(left - 0.5 * size, up + (i + 0.5) * cell, text, small) for i, text in enumerate(rows)]
    above = [(left + (i + 0.5) * cell, up - 0.5 * size, t, small) for i, t in enumerate(labels)]
    return [
        words("questions_of", beside, axes, "right"),
        words("heads_of", above, axes, "left", angle=315),
        words("title_left", [(0.6 * size, up + n * cell / 2, "Questions of", size)], axes, angle=270),
        words("title_above", [(left - 0.5 * size, up - 1.0 * size, "Heads of", size)], axes, "right"),
    ]


def _bar(reach: float, page: Page, size: float, axes: dict[str, Any], colour: alt.Color) -> list[alt.Chart]:
    x, y, height = page.bar
    steps = SLOPE
    boxes = [
        {**rect(x, y + height * (1 - (i + 1) / steps), 1.1 * size, height / steps + (0.6 if i else 0)),
         "value": reach * (2 * (i + 0.5) / steps - 1)}
        for i in range(steps)
    ]  # fmt: skip
    step = theme.nice_step(2 * reach, 8)
    count = int(reach / step + 1e-9)
    ticks = [theme.exact(i * step) for i in range(-count, count + 1)]
    edge, at = x + 1.1 * size, [y + height * (reach - tick) / (2 * reach) for tick in ticks]
    texts = theme.tick_labels(ticks, theme.decimals(step))
    numbers = [(edge + 0.5 * size, place, text, 0.88 * size) for place, text in zip(at, texts, strict=True)]
    title = [(edge + 4.6 * size, y + height / 2, "Change of log-probability (nats)", size)]
    line = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6}
    return [
        layer("bar", boxes, {"type": "rect"}, {**axes, **ENDS, "color": colour}),
        layer("bar_ticks", [rect(edge, place, 0.3 * size, 0) for place in at], line, {**axes, **ENDS}),
        words("bar_numbers", numbers, axes, "left"),
        words("bar_title", title, axes, angle=270),
    ]
