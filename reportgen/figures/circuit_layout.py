"""Where the boxes and edges of a drawn circuit stand, in points, y downwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reportgen.figures import theme
from reportgen.figures.figure import Style
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.scores import Head, head_name

COLUMN = 3.25 * POINTS_PER_INCH - 4
_BENDS = 8  # sweeps that order heads within rows


@dataclass(frozen=True)
class Node:
    """A head: `group` decides its fill and its line in the key; `words` stand below its name."""

    head: Head
    group: str
    words: str = ""


@dataclass(frozen=True)
class Link:
    """An edge from a head to another, or to the logits (None); `letter` is the input it ends in, or empty."""

    sender: Head
    receiver: Head | None
    effect: float
    letter: str = ""


@dataclass(frozen=True)
class Frame:
    """Where things stand, in points, y downwards: centres of boxes, the height of each row."""

    at: Mapping[Head, tuple[float, float]]
    rows: Mapping[int, float]
    logits: tuple[float, float]
    box: tuple[float, float]
    width: float
    height: float
    key: float


def place(nodes: Sequence[Node], links: Sequence[Link], groups: Sequence[str], style: Style) -> Frame:
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
    logits_y = 0.5 * box_h + 1
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
    lines = len(key_lines(groups, links, width, size))
    return Frame(at, heights, (left + room / 2, logits_y), (box_w, box_h), width, key + 1.5 * size * lines, key)


def _rows(nodes: Sequence[Node], links: Sequence[Link], most: int) -> list[list[Head]]:
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


def _ends(link: Link, frame: Frame) -> tuple[tuple[float, float], tuple[float, float]]:
    """From the top of the sender's box to the bottom of the receiver's."""
    x, y = frame.at[link.sender]
    to_x, to_y = frame.logits if link.receiver is None else frame.at[link.receiver]
    half = frame.box[1] / 2
    return (x, y - half), (to_x, to_y + half)


def point(link: Link, frame: Frame, t: float) -> tuple[float, float]:
    """A point of the edge, 0 <= t <= 1: a cubic that leaves upwards and arrives upwards."""
    (x, y), (to_x, to_y) = _ends(link, frame)
    pull = 0.45 * (y - to_y)
    a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    return a * x + b * x + c * to_x + d * to_x, a * y + b * (y - pull) + c * (to_y + pull) + d * to_y


def free_point(link: Link, frame: Frame, size: float) -> tuple[float, float]:
    """The point nearest to the edge's middle that no box covers (the middle, where every one is covered)."""
    (w, h), room = frame.box, 0.35 * size
    for t in (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.2, 0.8):
        x, y = point(link, frame, t)
        if all(abs(x - bx) > w / 2 + room or abs(y - by) > h / 2 + room for bx, by in frame.at.values()):
            return x, y
    return point(link, frame, 0.5)


def key_lines(
    groups: Sequence[str], links: Sequence[Link], width: float, size: float
) -> list[list[tuple[str, str, float]]]:
    """The key's entries in lines no wider than the figure: (kind, words, width)."""
    small = 0.8 * size
    entries = [("group", group) for group in groups]
    entries += [("above", "supports the answer")] if any(link.effect >= 0 for link in links) else []
    entries += [("below", "opposes it")] if any(link.effect < 0 for link in links) else []
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
