"""Category maps: one panel per category, one cell per head, a discrete key beside the first panel.

The paper's figure (Elhelo and Geva, arXiv 2412.11965) with a letter beside every hue, so that no class is told by its
colour alone. A cell of the background's colour has no mark of its own: a model of 80 x 64 heads stays a small file.
Everything stands in points on one pair of scales, for the panels differ in size on large grids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.aliases import Rows
from reportgen.figures import theme
from reportgen.figures.category_frame import (
    ABSENT,
    DOTTED,
    LETTER,
    CategoryPanel,
    Class,
    brackets,
    footer,
    footer_places,
    frames,
    ink,
    key_bars,
    layout,
    slanted,
    words_around,
)
from reportgen.figures.chart_data import COLOUR, ENDS, SIZED, Axes, axes_of, chart_layer, check_style, finished, rect
from reportgen.figures.export import LEAST_PT
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.theme import Style
from reportgen.scores import Head, head_name

UNCLASSIFIED, NOT_COMPUTED = "Unclassified", "not computed"
_MORE = ("#bcbd22", "#17becf", "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94", "#f7b6d2", "#dbdb8d")
_LETTER_FROM = 3.4  # points of a cell below which a letter would be dust
_PRINTED_FROM = LEAST_PT / 0.78  # the same in print


@dataclass(frozen=True, eq=False)
class CategoryMap:
    """One panel.

    classes  [layer head] index into the key, -1 = not computed; the key's last class is the background
    unsure   [layer head] marked with a dotted outline
    notes    head -> what a tooltip says beside the class
    """

    title: str
    subtitle: str
    classes: npt.NDArray[np.int64]
    unsure: npt.NDArray[np.bool_]
    notes: Mapping[Head, str] = field(default_factory=dict)


def key_of(categories: Sequence[str], palette: str) -> tuple[Class, ...]:
    """The classes top to bottom: `n categories` down to 2, the categories backwards, Unclassified.

    Only what the model can have: no more categories together than there are. Categories beyond the paper's four get
    hues of their own (of the safe palette first those that no category here has) and the first letter that is free.
    """
    hues = theme.CATEGORY_COLOURS[palette]
    own = dict(zip(("Algorithmic", "Knowledge", "Linguistic", "Translation"), hues, strict=False))
    spare = [hue for name, hue in own.items() if name not in categories] if palette == "safe" else []
    more = iter((*spare, *(_MORE * (1 + len(categories) // 5))))
    colours = {name: own.get(name) or next(more) for name in categories}
    letters = _letters(categories)
    many = [f"{n} categories" for n in range(len(categories), 1, -1)]
    several = {name: (hues[4:7] + _MORE)[min(int(name.split()[0]) - 2, 12)] for name in many}
    return (
        *(Class(name, name.split()[0], several[name]) for name in many),
        *(Class(name, letters[name], colours[name]) for name in reversed(categories)),
        Class(UNCLASSIFIED, "", hues[7]),
    )


def _letters(categories: Sequence[str]) -> dict[str, str]:
    taken: dict[str, str] = {}
    for name in categories:
        wanted = [c for c in name.upper() if c.isalpha()] + [chr(65 + i) for i in range(26)]
        taken[name] = next((c for c in wanted if c not in taken.values()), "*")
    return taken


def category_maps(
    rows: Sequence[tuple[str, Sequence[CategoryMap]]],
    key: Sequence[Class],
    style: Style,
    *,
    n_kv_heads: int = 0,
    unsure: str = "",
    synthetic: bool = False,
) -> alt.LayerChart:
    """Rows of panels, each row under its head line, with the key beside the first panel of every row.

    n_kv_heads  key-value heads per layer; where they are fewer than the heads, brackets beside the first panel
    unsure      what the dotted outline means, for the line below the maps
    """
    style = check_style(style)
    size, maps = style.font_size, [panel for _, panels in rows for panel in panels]
    shape = (maps[0].classes.shape[0], maps[0].classes.shape[1])
    group = shape[1] // n_kv_heads if 0 < n_kv_heads < shape[1] else 0
    signs = _signs(maps, unsure, group)
    place = layout(shape, len(rows[0][1]), len(rows), [c.name for c in key], style, foot=bool(signs))
    if signs:
        lower = footer_places(signs, place, size)[-1][1] - place.foot[1]
        place = replace(place, height=place.height + lower)
    panels, axes = [panel for row in place.panels for panel in row], axes_of(place)
    least = _LETTER_FROM if style.width_in is None else _PRINTED_FROM
    titles = [(words, [(m.title, m.subtitle) for m in of]) for words, of in rows]
    charts = (
        _cells(maps, panels, key, axes, least) + frames(panels, axes, size) + words_around(titles, place, axes, size)
    )
    charts += key_bars(place, key, axes, size)
    charts += brackets([row[0] for row in place.panels], n_kv_heads, axes) if group else []
    charts += footer(signs, place, axes, size)
    charts += _watermarks(panels, axes) if synthetic else []
    return finished(charts, place, style)


def _cells(
    maps: Sequence[CategoryMap], panels: Sequence[CategoryPanel], key: Sequence[Class], axes: Axes, least: float
) -> list[alt.Chart]:
    """Backgrounds, classified cells, cells without a value, grid lines, outlines and letters, in that order.

    least  points of a cell that has a letter
    """
    of = list(zip(maps, panels, strict=True))
    grounds = [{**rect(p.x, p.y, p.width, p.height), "colour": key[-1].colour} for p in panels]
    cells = [(row, key[i], panel) for shown, panel in of for i, row in _rows(shown, panel, key) if i >= 0]
    absent = [row for shown, panel in of for i, row in _rows(shown, panel, key) if i < 0]
    letters = [_letter(row, one, panel) for row, one, panel in cells if panel.cell >= least]
    outlines = [row for shown, panel in of for row in _outlines(shown, panel)]
    lines = [line for panel in panels for line in _grid_lines(panel)]
    coloured = [{**row, "colour": one.colour} for row, one, _ in cells]
    flat = {"type": "rect"}
    return [
        chart_layer("backgrounds", grounds, flat, {**axes, **ENDS, **COLOUR}),
        chart_layer("cells", coloured, flat, {**axes, **ENDS, **COLOUR, "tooltip": _TIPS}),
        *_absent(absent, axes),
        chart_layer("grid", lines, {"type": "rule", "stroke": "#ffffff", "strokeWidth": 0.3}, {**axes, **ENDS}),
        chart_layer("unsure", outlines, _OUTLINE, {**axes, **_PATH}),
        chart_layer("letters", letters, LETTER, {**axes, **SIZED, **COLOUR}),
    ]


def _rows(shown: CategoryMap, panel: CategoryPanel, key: Sequence[Class]) -> list[tuple[int, dict[str, Any]]]:
    """(class, row) of every cell that is not background."""
    found = []
    for layer_, head in np.argwhere(shown.classes != len(key) - 1):
        at, number = (int(layer_), int(head)), int(shown.classes[layer_, head])
        words = NOT_COMPUTED if number < 0 else key[number].name
        row = {"panel": shown.title, "name": head_name(*at), "class": words, "note": shown.notes.get(at, "")}
        found.append((number, {**row, **_cell(panel, at)}))
    return found


_PATH = {
    "shape": alt.Shape("path:N", scale=None, legend=None),
    "strokeWidth": alt.StrokeWidth("line:Q", scale=None, legend=None),
}
_OUTLINE = {  # a path in points
    "type": "point", "filled": False, "stroke": "#ffffff", "opacity": 1, "size": 4, "strokeDash": DOTTED,
}  # fmt: skip
_TIPS = [
    alt.Tooltip("name:N", title="head"), alt.Tooltip("class:N", title="class"), alt.Tooltip("note:N", title="relations")
]  # fmt: skip


def _cell(panel: CategoryPanel, head: Head) -> dict[str, Any]:
    """A cell, reaching under its right and lower neighbours: side by side they would show hairlines."""
    x, y = panel.x + head[0] * panel.cell_w, panel.y + head[1] * panel.cell_h
    under = min(0.4, panel.cell / 4)
    right, low = panel.x + panel.width, panel.y + panel.height
    return rect(x, y, min(panel.cell_w + under, right - x), min(panel.cell_h + under, low - y))


def _letter(row: Mapping[str, Any], of: Class, panel: CategoryPanel) -> dict[str, Any]:
    x, y = (row["x"] + row["x2"]) / 2, (row["y"] + row["y2"]) / 2
    size = min(0.78 * panel.cell, 0.85 * panel.size)
    return {"x": round(x, 2), "y": round(y, 2), "text": of.letter, "size": round(size, 2), "colour": ink(of.colour)}


def _outlines(shown: CategoryMap, panel: CategoryPanel) -> Rows:
    """Dotted outlines inside a panel's unsure cells, in one path: they leave the letter free."""
    line = round(max(0.5, min(1.0, panel.cell / 10)), 2)
    inset = min(1.3 * line + 0.15, panel.cell / 4)  # clear of the grid line
    across, down = panel.cell_w - 2 * inset, panel.cell_h - 2 * inset
    corners = [
        (layer_ * panel.cell_w + inset, head * panel.cell_h + inset)
        for layer_, head in np.argwhere(shown.unsure & (shown.classes >= 0))
    ]
    path = "".join(f"M{x:.2f},{y:.2f}h{across:.2f}v{down:.2f}h{-across:.2f}v{-down:.2f}" for x, y in corners)
    return [{"x": round(panel.x, 2), "y": round(panel.y, 2), "path": path, "line": line}] if path else []


def _absent(rows: Rows, axes: Axes) -> list[alt.Chart]:
    """Cells without a value, struck through as in score maps."""
    if not rows:
        return []
    ends = [{k: row[k] for k in ("x", "y", "x2", "y2")} for row in rows]
    box = {"type": "rect", "fill": ABSENT[0], "stroke": ABSENT[1], "strokeWidth": 0.3}
    stroke = {"type": "rule", "stroke": ABSENT[1], "strokeWidth": 0.6}
    return [
        chart_layer("absent", rows, box, {**axes, **ENDS, "tooltip": _TIPS}),
        chart_layer("absent_strokes", slanted(ends), stroke, {**axes, **ENDS}),
    ]


def _grid_lines(panel: CategoryPanel) -> Rows:
    """Thin white lines between cells that are large enough to be told apart."""
    if panel.cell < 4:
        return []
    across = [rect(panel.x + i * panel.cell_w, panel.y, 0, panel.height) for i in range(1, panel.layers)]
    return across + [rect(panel.x, panel.y + i * panel.cell_h, panel.width, 0) for i in range(1, panel.heads)]


def _watermarks(panels: Sequence[CategoryPanel], axes: Axes) -> list[alt.Chart]:
    rows = [
        {"x": round(p.x + p.width / 2, 2), "y": round(p.y + p.height / 2, 2), "text": WATERMARK,
         "size": round(min(p.width, p.height) / 6.2, 1)}
        for p in panels
    ]  # fmt: skip
    mark = {
        "type": "text", "angle": 330, "fontWeight": "bold", "color": "#ffffff", "fillOpacity": 0.38,
        "stroke": "#000000", "strokeWidth": 0.4, "strokeOpacity": 0.38, "baseline": "middle",
    }  # fmt: skip
    return [chart_layer("watermark", rows, mark, {**axes, **SIZED})]


def _signs(maps: Sequence[CategoryMap], unsure: str, group: int) -> list[tuple[str, str]]:
    """(sign, words) of the line below the maps, for the signs that occur."""
    found = [("unsure", unsure)] if unsure and any(m.unsure.any() for m in maps) else []
    if any((m.classes < 0).any() for m in maps):
        found.append(("absent", NOT_COMPUTED))
    if group:
        found.append(("group", f"{group} heads of one key-value group"))
    return found
