"""The colour bar of a score map: right of the plot with its label along it, or lying under a flat plot.

The gradient is Vega's; ticks, numbers and label are marks, for a Vega legend has no ticks and sets its title flat.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from reportgen.figures import theme
from reportgen.figures.data import round6
from reportgen.figures.geometry import LINE, UNDER_AXIS, Bar, Grid, bar_offset, bar_thickness, bar_title_x
from reportgen.figures.marks import layer


def gradient(grid: Grid) -> alt.Legend:
    """The bar itself."""
    size = grid.font_size
    common: dict[str, Any] = {
        "title": None,
        "type": "gradient",
        "gradientThickness": round6(bar_thickness(size)),
        "values": [],
    }
    if grid.bar_below:
        return alt.Legend(
            **common, orient="none", direction="horizontal", legendX=0, gradientLength=round(grid.width, 2),
            legendY=round6(grid.height + UNDER_AXIS * size),
        )  # fmt: skip
    return alt.Legend(
        **common, orient="right", offset=bar_offset(size), direction="vertical", gradientLength=round(grid.height, 2)
    )


def words(grid: Grid, bar: Bar, axes: dict[str, Any]) -> list[alt.Chart]:
    """Ticks, numbers and label of the bar, all within its length."""
    ticks, numbers, label = (_lying if grid.bar_below else _upright)(grid, bar)
    line = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6}
    text = {"type": "text", "baseline": "middle", "color": theme.INK}
    small = {**text, "align": "center" if grid.bar_below else "left", "fontSize": round6(grid.label_size)}
    turned = {**text, "angle": 0 if grid.bar_below else 270, "fontSize": grid.font_size}
    channels = {**axes, "text": alt.Text("text:N")}
    ends = {"x2": alt.X2("layer_end:Q"), "y2": alt.Y2("head_end:Q")}
    return [
        layer("bar_ticks", ticks, line, {**axes, **ends}),
        layer("bar_numbers", numbers, small, channels),
        layer("bar_label", label, turned, channels),
    ]


Rows = list[dict[str, Any]]


def _at(grid: Grid, x: float, y: float) -> dict[str, Any]:
    return {"layer": round6(grid.x_at(x)), "head": round6(grid.y_at(y))}


def _tick(grid: Grid, start: tuple[float, float], end: tuple[float, float]) -> dict[str, Any]:
    last = _at(grid, *end)
    return {**_at(grid, *start), "layer_end": last["layer"], "head_end": last["head"]}


def _upright(grid: Grid, bar: Bar) -> tuple[Rows, Rows, Rows]:
    size = grid.font_size
    edge = grid.width + bar_offset(size) + bar_thickness(size)
    down = [grid.height * (bar.high - tick) / (bar.high - bar.low) for tick in bar.ticks]
    ticks = [_tick(grid, (edge, y), (edge + 0.35 * size, y)) for y in down]
    numbers = [{**_at(grid, edge + 0.6 * size, y), "text": word} for y, word in zip(down, bar.labels(), strict=True)]
    x = grid.width + bar_title_x(bar, size)
    label = [{**_at(grid, x + i * LINE * size, grid.height / 2), "text": line} for i, line in enumerate(grid.bar_label)]
    return ticks, numbers, label


def _lying(grid: Grid, bar: Bar) -> tuple[Rows, Rows, Rows]:
    size = grid.font_size
    edge = grid.height + UNDER_AXIS * size + bar_thickness(size)
    across = [grid.width * (tick - bar.low) / (bar.high - bar.low) for tick in bar.ticks]
    ticks = [_tick(grid, (x, edge), (x, edge + 0.35 * size)) for x in across]
    shown = _thinned(across, bar, grid)
    numbers = [{**_at(grid, x, edge + size), "text": word} for x, word in shown]
    label = [
        {**_at(grid, grid.width / 2, edge + (2.2 + i * LINE) * size), "text": line}
        for i, line in enumerate(grid.bar_label)
    ]
    return ticks, numbers, label


def _thinned(across: list[float], bar: Bar, grid: Grid) -> list[tuple[float, str]]:
    """Every number of a lying bar, or every second, third ... one where they would touch, counted from zero."""
    words_ = bar.labels()
    need = max(theme.text_width(word, grid.label_size) for word in words_) + 0.5 * grid.label_size
    apart = abs(across[1] - across[0]) if len(across) > 1 else need
    step, zero = max(1, -int(-need // apart)), min(range(len(words_)), key=lambda i: abs(bar.ticks[i]))
    return [(x, word) for i, (x, word) in enumerate(zip(across, words_, strict=True)) if (i - zero) % step == 0]
