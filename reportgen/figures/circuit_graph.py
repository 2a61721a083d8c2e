"""A circuit drawn: heads as boxes, a row per layer with layer 0 at the bottom, the logits on top, edges by effect.

Everything is placed in points on one pair of scales, sized for a column of text (3.25 inches); rows without a head are
left out. An edge's width is the size of its effect, its colour the sign, its letter the input that it ends in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reportgen.aliases import Rows
from reportgen.figures import theme
from reportgen.figures.chart_data import COLOUR, ENDS, axes_of, chart_layer, check_style, finished, rect, round6
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.theme import Style
from reportgen.scores import Head, head_name

# Where the boxes and edges of a drawn circuit stand, in points, y downwards.

COLUMN = 3.25 * POINTS_PER_INCH - 4
_BENDS = 8  # sweeps that order heads within rows
KEY = ("supports the answer", "opposes it")


@dataclass(frozen=True)
class Node:
    """A head: `group` decides its fill and its line in the key; `words` stand below its name."""

    head: Head
    group: str
    words: str = ""


@dataclass(frozen=True)
class CircuitEdge:
    """An edge from a head to another, or to the logits (None); `letter` is the input it ends in, or empty."""

    sender: Head
    receiver: Head | None
    effect: float
    letter: str = ""


@dataclass(frozen=True)
class CircuitFrame:
    """Where things stand, in points, y downwards: centres of boxes, the height of each row."""

    at: Mapping[Head, tuple[float, float]]
    rows: Mapping[int, float]
    logits: tuple[float, float]
    box: tuple[float, float]
    width: float
    height: float
    key: float


def place(
    nodes: Sequence[Node],
    links: Sequence[CircuitEdge],
    groups: Sequence[str],
    style: Style,
    key_words: tuple[str, str] = KEY,
    *,
    logits: bool = True,
) -> CircuitFrame:
    size = style.font_size
    width = COLUMN if style.width_in is None else style.width_in * POINTS_PER_INCH - 4
    left = theme.text_width("layer 00", 0.8 * size) + 0.6 * size
    labels = [head_name(*node.head) for node in nodes] + [node.words for node in nodes]
    box_w = max((theme.text_width(text, 0.8 * size) for text in labels), default=0.0) + 0.8 * size
    box_h = 2.3 * size
    room = width - left
    most = max(1, int(room // (box_w + 0.5 * size)))
    rows = _rows(nodes, links, most)
    step = box_h + 2.5 * size
    logits_y = 0.5 * box_h + 1 if logits else 0.5 * box_h + 1 - step
    at: dict[Head, tuple[float, float]] = {}
    heights: dict[int, float] = {}
    y = logits_y
    for number, row in enumerate(reversed(rows)):
        same = number > 0 and rows[-number][0][0] == row[0][0]  # a layer's second line stands closer
        y += box_h + 0.8 * size if same else step
        heights.setdefault(row[0][0], y)
        free = room - len(row) * box_w  # rows lean left and right in turn, so that no box hides an edge between others
        lean = 0.3 * free / len(row) * (1 if number % 2 else -1)
        for i, head in enumerate(row):
            at[head] = (left + room * (i + 0.5) / len(row) + lean, y)
    key = y + 0.5 * box_h + 1.2 * size
    lines = len(key_lines(groups, links, width, size, key_words))
    return CircuitFrame(at, heights, (left + room / 2, logits_y), (box_w, box_h), width, key + 1.5 * size * lines, key)


def _rows(nodes: Sequence[Node], links: Sequence[CircuitEdge], most: int) -> list[list[Head]]:
    """Heads by layer, lowest first, at most `most` in a row, ordered so that edges cross little (barycentres)."""
    layers = sorted({node.head[0] for node in nodes})
    order = {lay: sorted(node.head for node in nodes if node.head[0] == lay) for lay in layers}
    ends: dict[Head, list[Head]] = {node.head: [] for node in nodes}
    for link in links:
        if link.receiver is not None:
            ends[link.sender].append(link.receiver)
            ends[link.receiver].append(link.sender)
    for _ in range(_BENDS):
        place = {head: (i + 0.5) / len(row) for row in order.values() for i, head in enumerate(row)}
        for lay in layers:
            order[lay].sort(key=lambda head: (_middle(ends[head], place, place[head]), head))
    return [order[lay][i : i + most] for lay in layers for i in range(0, len(order[lay]), most)]


def _middle(ends: Sequence[Head], place: Mapping[Head, float], own: float) -> float:
    return sum(place[head] for head in ends) / len(ends) if ends else own


def _ends(link: CircuitEdge, frame: CircuitFrame) -> tuple[tuple[float, float], tuple[float, float]]:
    """From the top of the sender's box to the bottom of the receiver's."""
    x, y = frame.at[link.sender]
    to_x, to_y = frame.logits if link.receiver is None else frame.at[link.receiver]
    half = frame.box[1] / 2
    return (x, y - half), (to_x, to_y + half)


def point(link: CircuitEdge, frame: CircuitFrame, t: float) -> tuple[float, float]:
    """A point of the edge, 0 <= t <= 1: a cubic that leaves upwards and arrives upwards."""
    (x, y), (to_x, to_y) = _ends(link, frame)
    pull = 0.45 * (y - to_y)
    a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    return a * x + b * x + c * to_x + d * to_x, a * y + b * (y - pull) + c * (to_y + pull) + d * to_y


def free_point(link: CircuitEdge, frame: CircuitFrame, size: float) -> tuple[float, float]:
    """The point nearest to the edge's middle that no box covers (the middle, where every one is covered)."""
    (w, h), room = frame.box, 0.35 * size
    for t in (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.2, 0.8):
        x, y = point(link, frame, t)
        if all(abs(x - bx) > w / 2 + room or abs(y - by) > h / 2 + room for bx, by in frame.at.values()):
            return x, y
    return point(link, frame, 0.5)


def key_lines(
    groups: Sequence[str],
    links: Sequence[CircuitEdge],
    width: float,
    size: float,
    words: tuple[str, str] = KEY,
) -> list[list[tuple[str, str, float]]]:
    """The key's entries in lines no wider than the figure: (kind, words, width)."""
    small = 0.8 * size
    entries = [("group", group) for group in groups]
    entries += [("above", words[0])] if any(link.effect >= 0 for link in links) else []
    entries += [("below", words[1])] if any(link.effect < 0 for link in links) else []
    lines: list[list[tuple[str, str, float]]] = [[]]
    used = 0.0
    for kind, text in entries:
        wide = 1.9 * size + theme.text_width(text, small) + 1.0 * size
        if lines[-1] and used + wide > width:
            lines.append([])
            used = 0.0
        lines[-1].append((kind, text, wide))
        used += wide
    return lines


LOGITS = "logits"
SUPPORTS, OPPOSES = ("#b2182b", "#2166ac"), ("#b35806", "#542788")  # (above, below zero) by palette: as the maps' ends
FILLS = ("#f4d9a6", "#bfe0d0", "#cdd6ee", "#e6e6e6")  # one per group of nodes, then the first again
_THINNEST, _WIDEST = 0.5, 5.0
_STEPS = 20  # points along a curve


def circuit_graph(
    nodes: Sequence[Node],
    links: Sequence[CircuitEdge],
    style: Style,
    *,
    synthetic: bool = False,
    key: tuple[str, str] = KEY,
    logits: bool = True,
) -> alt.LayerChart:
    """The graph of `nodes` and `links`; links whose ends are no nodes are left out.

    key     what edges above and below zero are called
    logits  whether the logits stand on top, for edges that end there
    """
    style = check_style(style)
    size = style.font_size
    known = {node.head for node in nodes}
    drawn = [link for link in links if link.sender in known and (link.receiver is None or link.receiver in known)]
    groups = list(dict.fromkeys(node.group for node in nodes))
    frame = place(nodes, drawn, groups, style, key, logits=logits)
    axes = axes_of(frame)
    charts = _lines(frame, axes, size) + _edges(drawn, frame, axes, style)
    charts += _boxes(nodes, groups, frame, axes, size, logits=logits) + _letters(drawn, frame, axes, size)
    charts += _key(groups, drawn, frame, axes, style, key)
    if synthetic:
        mark = {"type": "text", "fontWeight": "bold", "fontSize": round6(frame.width / 7), "color": "#8c8c8c",
                "fillOpacity": 0.4, "angle": 330}  # fmt: skip
        at = [{"x": frame.width / 2, "y": frame.height / 2, "text": WATERMARK}]
        charts.append(chart_layer("watermark", at, mark, {**axes, "text": alt.Text("text:N")}))
    return finished(charts, frame, style)


def _lines(frame: CircuitFrame, axes: Mapping[str, Any], size: float) -> list[alt.Chart]:
    """A faint line and a name per row."""
    left = theme.text_width("layer 00", 0.8 * size) + 0.3 * size
    across = [{"x": left, "x2": round6(frame.width), "y": round6(y)} for y in frame.rows.values()]
    names = [{"x": 0, "y": round6(y), "text": f"layer {lay}"} for lay, y in frame.rows.items()]
    rule = {"type": "rule", "stroke": theme.INK, "strokeOpacity": 0.15, "strokeWidth": 0.6}
    text = {"type": "text", "align": "left", "baseline": "middle", "color": theme.INK, "fontSize": round6(0.8 * size)}
    return [
        chart_layer("row_lines", across, rule, {**axes, "x2": ENDS["x2"]}),
        chart_layer("row_names", names, text, {**axes, "text": alt.Text("text:N")}),
    ]


def _width(effect: float, largest: float) -> float:
    return max(_THINNEST, _WIDEST * abs(effect) / largest)


def _edges(links: Sequence[CircuitEdge], frame: CircuitFrame, axes: Mapping[str, Any], style: Style) -> list[alt.Chart]:
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
        "color": COLOUR["color"],
        "strokeWidth": alt.StrokeWidth("width:Q", scale=None, legend=None),
        "tooltip": [alt.Tooltip(f"{name}:N") for name in ("from", "to", "through", "effect")],
    }  # fmt: skip
    return [chart_layer("edges", values, mark, channels)] if values else []


def _colours(style: Style) -> tuple[str, str]:
    return OPPOSES if style.palette == "safe" else SUPPORTS


def _boxes(
    nodes: Sequence[Node],
    groups: Sequence[str],
    frame: CircuitFrame,
    axes: Mapping[str, Any],
    size: float,
    *,
    logits: bool = True,
) -> list[alt.Chart]:
    (w, h), small = frame.box, 0.8 * size
    fills = {group: FILLS[i % len(FILLS)] for i, group in enumerate(groups)}
    boxes = [{**_centred(*frame.at[n.head], w, h), "fill": fills[n.group], "name": head_name(*n.head), "is": n.group,
              "words": n.words} for n in nodes]  # fmt: skip
    texts: Rows = []
    if logits:
        boxes.append(
            {**_centred(*frame.logits, 5 * size, 1.7 * size), "fill": "#ffffff", "name": LOGITS, "is": "", "words": ""}
        )
        texts.append({"x": round(frame.logits[0], 2), "y": round(frame.logits[1], 2), "text": LOGITS})
    below: Rows = []
    for node in nodes:
        x, y = frame.at[node.head]
        texts.append(
            {"x": round(x, 2), "y": round(y - (0.48 * size if node.words else 0), 2), "text": head_name(*node.head)}
        )
        below += [{"x": round(x, 2), "y": round(y + 0.52 * size, 2), "text": node.words}] if node.words else []
    box = {"type": "rect", "stroke": "#333333", "strokeWidth": 0.6, "cornerRadius": 3, "opacity": 1}
    text = {"type": "text", "baseline": "middle", "color": theme.PAPER_INK, "fontSize": round6(small)}
    words = {**axes, "text": alt.Text("text:N")}
    tips = [alt.Tooltip("name:N", title="head"), alt.Tooltip("is:N"), alt.Tooltip("words:N", title="direct effect")]
    return [
        chart_layer(
            "boxes", boxes, box, {**axes, **ENDS, "fill": alt.Fill("fill:N", scale=None, legend=None), "tooltip": tips}
        ),
        chart_layer("names", texts, {**text, "fontWeight": "bold"}, words),
        chart_layer("node_words", below, text, words),
    ]


def _centred(x: float, y: float, w: float, h: float) -> dict[str, Any]:
    return rect(x - w / 2, y - h / 2, w, h)


def _letters(
    links: Sequence[CircuitEdge], frame: CircuitFrame, axes: Mapping[str, Any], size: float
) -> list[alt.Chart]:
    """The input's letter on each edge between heads, on a light halo."""
    values = []
    for link in links:
        if link.letter and link.receiver is not None:
            x, y = free_point(link, frame, size)
            values.append({"x": round(x, 2), "y": round(y, 2), "text": link.letter})
    text = {"type": "text", "baseline": "middle", "fontSize": round6(0.75 * size), "fontStyle": "italic"}
    words = {**axes, "text": alt.Text("text:N")}
    halo = {**text, "stroke": "#ffffff", "strokeWidth": 2.4, "strokeOpacity": 0.9, "color": "#ffffff"}
    return [
        chart_layer("letters_halo", values, halo, words),
        chart_layer("letters", values, {**text, "color": theme.PAPER_INK}, words),
    ]


def _key(
    groups: Sequence[str],
    links: Sequence[CircuitEdge],
    frame: CircuitFrame,
    axes: Mapping[str, Any],
    style: Style,
    words: tuple[str, str] = KEY,
) -> list[alt.Chart]:
    size, colours = style.font_size, _colours(style)
    fills = {group: FILLS[i % len(FILLS)] for i, group in enumerate(groups)}
    boxes: Rows = []
    strokes: Rows = []
    texts: Rows = []
    for number, line in enumerate(key_lines(groups, links, frame.width, size, words)):
        x, y = 0.0, frame.key + 1.5 * size * number
        for kind, text, wide in line:
            if kind == "group":
                boxes.append({**_centred(x + 0.7 * size, y, 1.4 * size, size), "fill": fills[text]})
            else:
                strokes.append({"x": round(x, 2), "x2": round(x + 1.5 * size, 2), "y": round(y, 2),
                                "colour": colours[kind == "below"]})  # fmt: skip
            texts.append({"x": round(x + 1.9 * size, 2), "y": round(y, 2), "text": theme.clean(text)})
            x += wide
    box = {"type": "rect", "stroke": "#333333", "strokeWidth": 0.6, "cornerRadius": 2, "opacity": 1}
    text_mark = {
        "type": "text",
        "align": "left",
        "baseline": "middle",
        "color": theme.INK,
        "fontSize": round6(0.8 * size),
    }
    return [
        chart_layer("key_boxes", boxes, box, {**axes, **ENDS, "fill": alt.Fill("fill:N", scale=None, legend=None)}),
        chart_layer("key_edges", strokes, {"type": "rule", "strokeWidth": 3, "strokeOpacity": 0.6},
              {**axes, "x2": ENDS["x2"], "color": COLOUR["color"]}),
        chart_layer("key_words", texts, text_mark, {**axes, "text": alt.Text("text:N")}),
    ]  # fmt: skip


def largest(links: Sequence[CircuitEdge]) -> float:
    """The effect that the widest edge stands for."""
    return max((abs(link.effect) for link in links), default=math.nan)
