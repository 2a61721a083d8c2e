"""What stands around the cells of a category map: frames, ticks, words, the key, and the line below.

Everything in points from the upper left corner: rows of data hold x, y and, where a mark has two ends, x2 and y2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reportgen.figures import theme
from reportgen.figures.category_layout import Layout, Panel
from reportgen.figures.data import round6
from reportgen.figures.marks import layer

Rows = list[dict[str, Any]]
Axes = Mapping[str, Any]
ABSENT = ("#fafafa", "#9a9a9a")  # fill and cross of a cell without a value
ENDS = {"x2": alt.X2("x2:Q"), "y2": alt.Y2("y2:Q")}
COLOUR = {"color": alt.Color("colour:N", scale=None, legend=None)}
TEXT = {"text": alt.Text("text:N"), "size": alt.Size("size:Q", scale=None, legend=None)}
LETTER = {"type": "text", "align": "center", "baseline": "middle", "fontWeight": "bold"}


@dataclass(frozen=True)
class Class:
    """One entry of the key."""

    name: str
    letter: str
    colour: str


def scales(place: Layout) -> dict[str, Any]:
    """x and y in points, y downwards, without axes of their own."""
    return {
        "x": alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, round6(place.width)], nice=False, zero=False)),
        "y": alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[round6(place.height), 0], nice=False, zero=False)),
    }


def rect(x: float, y: float, width: float, height: float) -> dict[str, Any]:
    return {"x": round(x, 2), "y": round(y, 2), "x2": round(x + width, 2), "y2": round(y + height, 2)}


def slanted(rects: Rows) -> Rows:
    """The diagonals of rectangles, from lower left to upper right."""
    return [{**row, "y": row["y2"], "y2": row["y"]} for row in rects]


def ink(colour: str) -> str:
    """Black or white, whichever stands out more on `colour` (WCAG's contrast ratio)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def frames(panels: Sequence[Panel], axes: Axes, size: float) -> list[alt.Chart]:
    """Frame, ticks and their numbers of every panel."""
    boxes = [rect(p.x, p.y, p.width, p.height) for p in panels]
    ticks: Rows = []
    below: Rows = []
    left: Rows = []
    for p in panels:
        for index in p.layer_ticks():
            x, y = p.x + (index + 0.5) * p.cell_w, p.y + p.height
            ticks.append(rect(x, y, 0, 0.35 * size))
            below += [{"x": round(x, 2), "y": round(y + 0.55 * size, 2), "text": str(index)}] if p.labels_below else []
        for index in p.head_ticks():
            x, y = p.x, p.y + (index + 0.5) * p.cell_h
            ticks.append(rect(x - 0.35 * size, y, 0.35 * size, 0))
            left += [{"x": round(x - 0.55 * size, 2), "y": round(y, 2), "text": str(index)}] if p.labels_left else []
    text = {"type": "text", "color": theme.INK, "fontSize": round6(0.88 * size)}
    line = {"stroke": theme.INK, "strokeWidth": 0.6}
    channels = {**axes, "text": alt.Text("text:N")}
    return [
        layer("frames", boxes, {"type": "rect", "fill": "transparent", **line}, {**axes, **ENDS}),
        layer("ticks", ticks, {"type": "rule", **line}, {**axes, **ENDS}),
        layer("layer_labels", below, {**text, "align": "center", "baseline": "top"}, channels),
        layer("head_labels", left, {**text, "align": "right", "baseline": "middle"}, channels),
    ]


def words_around(
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]], place: Layout, axes: Axes, size: float
) -> list[alt.Chart]:
    """Head lines of rows, (title, subtitle) of panels, and the axes' words."""
    heads: Rows = []
    titles: Rows = []
    subtitles: Rows = []
    below: Rows = []
    left: Rows = []
    for (words, named), panels in zip(rows, place.panels, strict=True):
        first = panels[0]
        room = place.width - first.x - 1
        fitted = 1.08 * size * min(1.0, room / max(1.0, theme.text_width(words, 1.08 * size)))
        heads.append({"x": round(first.x, 2), "y": round(first.y - 3.3 * size, 2), "text": words, "size": fitted})
        left.append({"x": round(0.5 * size, 2), "y": round(first.y + first.height / 2, 2), "text": "head"})
        for (title, subtitle), p in zip(named, panels, strict=True):
            middle = round(p.x + p.width / 2, 2)
            titles.append({"x": middle, "y": round(p.y - 1.55 * size, 2), **_fitted(title, size, p)})
            subtitles.append({"x": middle, "y": round(p.y - 0.6 * size, 2), **_fitted(subtitle, 0.8 * size, p)})
            if p.labels_below:
                below.append({"x": middle, "y": round(p.y + p.height + 1.95 * size, 2), "text": "layer"})
    text = {"type": "text", "color": theme.INK, "baseline": "middle"}
    channels = {**axes, "text": alt.Text("text:N")}
    middle_text = {**text, "align": "center"}
    return [
        layer("row_titles", heads, {**text, "align": "left"}, {**axes, **TEXT}),
        layer("panel_titles", titles, middle_text, {**axes, **TEXT}),
        layer("panel_subtitles", subtitles, middle_text, {**axes, **TEXT}),
        layer("layer_title", below, {**middle_text, "fontSize": size}, channels),
        layer("head_title", left, {**middle_text, "fontSize": size, "angle": 270}, channels),
    ]


def _fitted(words: str, size: float, panel: Panel) -> dict[str, Any]:
    """The words at `size`, or smaller where the panel with its gap is narrower than they are."""
    wide = theme.text_width(words, size)
    room = max(panel.width, panel.room) + 0.6 * panel.size
    return {"text": words, "size": round(size * min(1.0, room / wide), 2) if wide else size}


def key_bars(place: Layout, key: Sequence[Class], axes: Axes, size: float) -> list[alt.Chart]:
    """The bar of classes with letters inside and names beside it, as high as the first panel, one per row."""
    blocks: Rows = []
    letters: Rows = []
    names: Rows = []
    for x, top, height in place.keys:
        step = height / len(key)
        for i, one in enumerate(key):
            block = rect(x, top + i * step, 1.3 * size, step)
            middle = round(top + (i + 0.5) * step, 2)
            blocks.append({**block, "colour": one.colour})
            small = round(min(0.85 * size, 0.85 * step), 2)
            ink_ = {"colour": ink(one.colour), "size": small}
            letters.append({"x": round(x + 0.65 * size, 2), "y": middle, "text": one.letter, **ink_})
            names.append({"x": round(x + 1.6 * size, 2), "y": middle, "text": one.name,
                          "size": round(min(0.88 * size, 0.95 * step), 2)})  # fmt: skip
    text = {"type": "text", "align": "left", "baseline": "middle", "color": theme.INK}
    return [
        layer("key", blocks, {"type": "rect", "strokeWidth": 0}, {**axes, **ENDS, **COLOUR}),
        layer("key_letters", letters, LETTER, {**axes, **TEXT, **COLOUR}),
        layer("key_names", names, text, {**axes, **TEXT}),
    ]


def brackets(firsts: Sequence[Panel], n_kv_heads: int, axes: Axes) -> list[alt.Chart]:
    """Right of the first panels: one bracket per key-value group."""
    lines: Rows = []
    for p in firsts:
        step, reach = p.height / n_kv_heads, min(0.32 * p.size, 4.0)
        inset = min(0.12 * step, 1.2)
        x = p.x + p.width + 0.25 * p.size
        for group in range(n_kv_heads):
            top, low = p.y + group * step + inset, p.y + (group + 1) * step - inset
            lines += [rect(x + reach, top, 0, low - top), rect(x, top, reach, 0), rect(x, low, reach, 0)]
    return [layer("kv_groups", lines, {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6}, {**axes, **ENDS})]


def footer_places(signs: Sequence[tuple[str, str]], place: Layout, size: float) -> list[tuple[float, float]]:
    """Where each sign of the footer starts: in one line, or in more where the drawing is narrower."""
    (start, y), found = place.foot, list[tuple[float, float]]()
    x = start
    for _, said in signs:
        wide = 1.4 * size + theme.text_width(said, 0.88 * size)
        if x > start and x + wide > place.width:
            x, y = start, y + 1.35 * size
        found.append((x, y))
        x += wide + 1.6 * size
    return found


def footer(signs: Sequence[tuple[str, str]], place: Layout, axes: Axes, size: float) -> list[alt.Chart]:
    """The signs that are no classes, explained below the maps."""
    if not signs:
        return []
    side = 0.95 * size
    words: Rows = []
    lines: Rows = []
    boxes: Rows = []
    for (sign, said), (x, y) in zip(signs, footer_places(signs, place, size), strict=True):
        square = rect(x, y - side / 2, side, side)
        words.append({"x": round(x + 1.4 * size, 2), "y": round(y, 2), "text": said})
        if sign == "group":
            lines += [rect(x + 0.7 * side, y - side / 2, 0, side), rect(x + 0.3 * side, y - side / 2, 0.4 * side, 0),
                      rect(x + 0.3 * side, y + side / 2, 0.4 * side, 0)]  # fmt: skip
        else:
            boxes.append({**square, "colour": "#7f7f7f" if sign == "unsure" else ABSENT[0]})
            lines += [{**line, "colour": ABSENT[1] if sign == "absent" else "#ffffff"} for line in slanted([square])]
            lines += [{**square, "colour": ABSENT[1]}] if sign == "absent" else []
    lines = [{"colour": theme.INK, **line} for line in lines]
    text = {"type": "text", "align": "left", "baseline": "middle", "color": theme.INK, "fontSize": round6(0.88 * size)}
    box = {"type": "rect", "stroke": ABSENT[1], "strokeWidth": 0.3}
    return [
        layer("signs", boxes, box, {**axes, **ENDS, "fill": alt.Fill("colour:N", scale=None, legend=None)}),
        layer("sign_lines", lines, {"type": "rule", "strokeWidth": 0.8}, {**axes, **ENDS, **COLOUR}),
        layer("sign_words", words, text, {**axes, "text": alt.Text("text:N")}),
    ]
