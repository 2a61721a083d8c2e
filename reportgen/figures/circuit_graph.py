"""A circuit drawn: heads as boxes, a row per layer with layer 0 at the bottom, the logits on top, edges by effect.

Everything stands in points on one pair of scales, sized for a column of text (3.25 inches); rows without a head are
left out. An edge's width is the size of its effect, its colour the sign, its letter the input that it ends in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from reportgen.figures import theme
from reportgen.figures.circuit_layout import Frame, Link, Node, free_point, key_lines, place, point
from reportgen.figures.data import round6
from reportgen.figures.figure import Style
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.marks import check_style, layer
from reportgen.scores import head_name

LOGITS = "logits"
SUPPORTS, OPPOSES = ("#b2182b", "#2166ac"), ("#b35806", "#542788")  # (above, below zero) by palette: as the maps' ends
FILLS = ("#f4d9a6", "#bfe0d0", "#cdd6ee", "#e6e6e6")  # one per group of nodes, then the first again
_THINNEST, _WIDEST = 0.5, 5.0
_STEPS = 20  # points along a curve
Rows = list[dict[str, Any]]


def circuit_graph(
    nodes: Sequence[Node], links: Sequence[Link], style: Style, *, synthetic: bool = False
) -> alt.LayerChart:
    """The graph of `nodes` and `links`; links whose ends are no nodes are left out."""
    style = check_style(style)
    size = style.font_size
    known = {node.head for node in nodes}
    drawn = [link for link in links if link.sender in known and (link.receiver is None or link.receiver in known)]
    groups = list(dict.fromkeys(node.group for node in nodes))
    frame = place(nodes, drawn, groups, style)
    axes = {
        "x": alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, round6(frame.width)], nice=False, zero=False)),
        "y": alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[round6(frame.height), 0], nice=False, zero=False)),
    }
    charts = _lines(frame, axes, size) + _edges(drawn, frame, axes, style)
    charts += _boxes(nodes, groups, frame, axes, size) + _letters(drawn, frame, axes, size)
    charts += _key(groups, drawn, frame, axes, style)
    if synthetic:
        mark = {"type": "text", "fontWeight": "bold", "fontSize": round6(frame.width / 7), "color": "#8c8c8c",
                "fillOpacity": 0.4, "angle": 330}  # fmt: skip
        at = [{"x": frame.width / 2, "y": frame.height / 2, "text": WATERMARK}]
        charts.append(layer("watermark", at, mark, {**axes, "text": alt.Text("text:N")}))
    chart = alt.LayerChart(layer=charts, width=round6(frame.width), height=round6(frame.height))
    chart.view = alt.ViewBackground(stroke=None)
    chart.config = alt.Config(**theme.config(style))
    return chart


def _lines(frame: Frame, axes: Mapping[str, Any], size: float) -> list[alt.Chart]:
    """A faint line and a name per row."""
    left = theme.text_width("layer 00", 0.8 * size) + 0.3 * size
    across = [{"x": left, "x2": round6(frame.width), "y": round6(y)} for y in frame.rows.values()]
    names = [{"x": 0, "y": round6(y), "text": f"layer {lay}"} for lay, y in frame.rows.items()]
    rule = {"type": "rule", "stroke": theme.INK, "strokeOpacity": 0.15, "strokeWidth": 0.6}
    text = {"type": "text", "align": "left", "baseline": "middle", "color": theme.INK, "fontSize": round6(0.8 * size)}
    return [
        layer("row_lines", across, rule, {**axes, "x2": alt.X2("x2:Q")}),
        layer("row_names", names, text, {**axes, "text": alt.Text("text:N")}),
    ]


def _width(effect: float, largest: float) -> float:
    return max(_THINNEST, _WIDEST * abs(effect) / largest)


def _edges(links: Sequence[Link], frame: Frame, axes: Mapping[str, Any], style: Style) -> list[alt.Chart]:
    largest = max((abs(link.effect) for link in links), default=1.0) or 1.0
    colours = _colours(style)
    values: Rows = []
    for number, link in enumerate(sorted(links, key=lambda one: -abs(one.effect))):
        base = {
            "edge": number, "width": round(_width(link.effect, largest), 2), "colour": colours[link.effect < 0],
            "from": head_name(*link.sender), "to": LOGITS if link.receiver is None else head_name(*link.receiver),
            "through": link.letter, "effect": round6(link.effect),
        }  # fmt: skip
        for step in range(_STEPS + 1):
            x, y = point(link, frame, step / _STEPS)
            values.append({**base, "order": step, "x": round(x, 2), "y": round(y, 2)})
    mark = {"type": "line", "strokeCap": "round", "strokeOpacity": 0.6}
    channels = {
        **axes, "detail": "edge:N", "order": alt.Order("order:Q"),
        "color": alt.Color("colour:N", scale=None, legend=None),
        "strokeWidth": alt.StrokeWidth("width:Q", scale=None, legend=None),
        "tooltip": [alt.Tooltip(f"{name}:N") for name in ("from", "to", "through", "effect")],
    }  # fmt: skip
    return [layer("edges", values, mark, channels)] if values else []


def _colours(style: Style) -> tuple[str, str]:
    return OPPOSES if style.palette == "safe" else SUPPORTS


def _boxes(
    nodes: Sequence[Node], groups: Sequence[str], frame: Frame, axes: Mapping[str, Any], size: float
) -> list[alt.Chart]:
    (w, h), small = frame.box, 0.8 * size
    fills = {group: FILLS[i % len(FILLS)] for i, group in enumerate(groups)}
    boxes = [{**_rect(*frame.at[n.head], w, h), "fill": fills[n.group], "name": head_name(*n.head), "is": n.group,
              "words": n.words} for n in nodes]  # fmt: skip
    boxes.append(
        {**_rect(*frame.logits, 5 * size, 1.7 * size), "fill": "#ffffff", "name": LOGITS, "is": "", "words": ""}
    )
    texts = [{"x": round(frame.logits[0], 2), "y": round(frame.logits[1], 2), "text": LOGITS}]
    below: Rows = []
    for node in nodes:
        x, y = frame.at[node.head]
        texts.append(
            {"x": round(x, 2), "y": round(y - (0.48 * size if node.words else 0), 2), "text": head_name(*node.head)}
        )
        below += [{"x": round(x, 2), "y": round(y + 0.52 * size, 2), "text": node.words}] if node.words else []
    ends = {"x2": alt.X2("x2:Q"), "y2": alt.Y2("y2:Q")}
    box = {"type": "rect", "stroke": "#333333", "strokeWidth": 0.6, "cornerRadius": 3, "opacity": 1}
    text = {"type": "text", "baseline": "middle", "color": theme.PAPER_INK, "fontSize": round6(small)}
    words = {**axes, "text": alt.Text("text:N")}
    tips = [alt.Tooltip("name:N", title="head"), alt.Tooltip("is:N"), alt.Tooltip("words:N", title="direct effect")]
    return [
        layer(
            "boxes", boxes, box, {**axes, **ends, "fill": alt.Fill("fill:N", scale=None, legend=None), "tooltip": tips}
        ),
        layer("names", texts, {**text, "fontWeight": "bold"}, words),
        *([layer("node_words", below, text, words)] if below else []),
    ]


def _rect(x: float, y: float, w: float, h: float) -> dict[str, float]:
    return {"x": round(x - w / 2, 2), "y": round(y - h / 2, 2), "x2": round(x + w / 2, 2), "y2": round(y + h / 2, 2)}


def _letters(links: Sequence[Link], frame: Frame, axes: Mapping[str, Any], size: float) -> list[alt.Chart]:
    """The input's letter on each edge between heads, on a light halo."""
    values = []
    for link in links:
        if link.letter and link.receiver is not None:
            x, y = free_point(link, frame, size)
            values.append({"x": round(x, 2), "y": round(y, 2), "text": link.letter})
    if not values:
        return []
    text = {"type": "text", "baseline": "middle", "fontSize": round6(0.75 * size), "fontStyle": "italic"}
    words = {**axes, "text": alt.Text("text:N")}
    halo = {**text, "stroke": "#ffffff", "strokeWidth": 2.4, "strokeOpacity": 0.9, "color": "#ffffff"}
    return [
        layer("letters_halo", values, halo, words),
        layer("letters", values, {**text, "color": theme.PAPER_INK}, words),
    ]


def _key(
    groups: Sequence[str], links: Sequence[Link], frame: Frame, axes: Mapping[str, Any], style: Style
) -> list[alt.Chart]:
    size, colours = style.font_size, _colours(style)
    fills = {group: FILLS[i % len(FILLS)] for i, group in enumerate(groups)}
    boxes: Rows = []
    strokes: Rows = []
    texts: Rows = []
    for number, line in enumerate(key_lines(groups, links, frame.width, size)):
        x, y = 0.0, frame.key + 1.5 * size * number
        for kind, text, wide in line:
            if kind == "group":
                boxes.append({**_rect(x + 0.7 * size, y, 1.4 * size, size), "fill": fills[text]})
            else:
                strokes.append({"x": round(x, 2), "x2": round(x + 1.5 * size, 2), "y": round(y, 2),
                                "colour": colours[kind == "below"]})  # fmt: skip
            texts.append({"x": round(x + 1.9 * size, 2), "y": round(y, 2), "text": theme.clean(text)})
            x += wide
    ends = {"x2": alt.X2("x2:Q"), "y2": alt.Y2("y2:Q")}
    box = {"type": "rect", "stroke": "#333333", "strokeWidth": 0.6, "cornerRadius": 2, "opacity": 1}
    text_mark = {
        "type": "text",
        "align": "left",
        "baseline": "middle",
        "color": theme.INK,
        "fontSize": round6(0.8 * size),
    }
    charts = [
        layer("key_boxes", boxes, box, {**axes, **ends, "fill": alt.Fill("fill:N", scale=None, legend=None)}),
        layer("key_edges", strokes, {"type": "rule", "strokeWidth": 3, "strokeOpacity": 0.6},
              {**axes, "x2": ends["x2"], "color": alt.Color("colour:N", scale=None, legend=None)}),
        layer("key_words", texts, text_mark, {**axes, "text": alt.Text("text:N")}),
    ]  # fmt: skip
    return [chart for chart in charts if chart.data.values]


def largest(links: Sequence[Link]) -> float:
    """The effect that the widest edge stands for."""
    return max((abs(link.effect) for link in links), default=math.nan)
