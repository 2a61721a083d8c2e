"""Examples of named heads from four deciles of their output norm, a line each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

from reportgen.figures import captions, theme
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.geometry import POINTS_PER_INCH
from reportgen.figures.patterns import Canvas
from reportgen.figures.theme import Style
from reportgen.head_examples import Example, HeadExamples
from reportgen.scores import Cell, Column, Head, SuiteResult, Table, head_name
from reportgen.suites.text.drawing import caption_text as words
from reportgen.suites.text.facts import TextFacts
from reportgen.suites.text.suite import SUITE, TASK

WIDTH = 640.0
DECILES = ("d10", "d7", "d4", "d1")
MOST_HEADS = 6
BEFORE = 22  # tokens before the query
WEIGHTS = ("#f3f7fb", "#cfe1f2", "#93c4df", "#4a97c9", "#1764ab")  # value-weighted attention, 0 to 1
WORD = 14  # characters of a token shown


@dataclass(frozen=True)
class Strip:
    """A head with why it is shown, and its examples."""

    head: Head
    why: str
    examples: tuple[Example, ...]


def strips(result: SuiteResult, view: View, told: TextFacts) -> Figure | None:
    """None where no text or no examples were stored."""
    found = HeadExamples.of(result)
    if found is None or not found.has_text:
        return None
    shown = [strip for head, why in _heads(result, view) if (strip := _strip(found, head, why)).examples]
    if not shown:
        return None
    name = captions.model_name(view)
    return Figure(
        id="text-examples",
        suite=SUITE.name,
        title=f"{name}: what heads do where they write much and where they write little",
        caption=captions.join(
            f"Examples of {captions.plural(len(shown), 'head')} of {name}, drawn by hash from four deciles of output "
            "norm (d10: the highest).",
            "Boxed: the query; shaded: value-weighted attention; below: tokens that the output raises (+) and lowers "
            "(\u2212) most.",
            words.material(told),
            captions.synthetic(view),
        ),
        alt=f"Lines of text with the tokens that {len(shown)} heads of {name} attend to, by decile of output norm.",
        chart=later(_chart, shown, view.style),
        data=_table(shown),
        notes=captions.notes(
            "Value-weighted attention: pattern[q, k] ||v_k W_O|| over its sum over keys; position 0 is not shaded.",
            "Raised and lowered: the direct path through the frozen final norm. What early heads write is mostly read "
            "by later layers, not by the logits.",
            "An event's priority is BLAKE2b of seed, document, window, query and head: neither batch size nor file "
            "order changes what is drawn.",
            f"Deciles from {captions.plural(told.edge_windows, 'window')}.",
            words.source(told),
        ),
    )


def _heads(result: SuiteResult, view: View) -> list[tuple[Head, str]]:
    """Heads that sets with a ladder name, one of each set first; then the highest of what is tested on text."""
    sets = [s for s in view.overlays if s.kind == "computed" and s.evidence and s.heads]
    judged = {j.key for j in result.judged}
    sets.sort(key=lambda s: s.key not in judged)
    found: dict[Head, str] = {}
    for heads in sets:
        head = next((h for h in heads.heads if h not in found), None)
        if head is not None:
            found[head] = heads.label
    for measure in ("induction", "duplicate", "copy_next", "dla"):
        scores = result.get(measure, TASK)
        order = scores.ranking() if scores is not None else []
        if scores is not None and order:
            found.setdefault(order[0], f"highest: {scores.label.partition(' (')[0].lower()}")
    return list(found.items())[:MOST_HEADS]


def _strip(found: HeadExamples, head: Head, why: str) -> Strip:
    layers, heads = found.shape
    if head[0] >= layers or head[1] >= heads:
        return Strip(head, why, ())
    every = found.of_head(head, BEFORE)
    picked = [next((e for e in every if e.place == decile), None) for decile in DECILES]
    return Strip(head, why, tuple(e for e in picked if e is not None))


def shown_word(token: str) -> str:
    """A token in a line of text: line ends as a sign, long ones cut."""
    text = token.replace("\\n", "\u21b5").replace("\n", "\u21b5")
    return text if len(text) <= WORD else f"{text[: WORD - 1]}\u2026"


def _chart(shown: Sequence[Strip], style: Style) -> alt.LayerChart:
    total = WIDTH if style.width_in is None else max(420.0, style.width_in * POINTS_PER_INCH)
    size = 0.82 * style.font_size
    canvas = Canvas(total)
    y = 0.2 * size
    for strip in shown:
        canvas.text(0, y + 0.8 * size, f"{head_name(*strip.head)}  {strip.why}", 1.1 * size, weight="bold")
        y += 2.0 * size
        for example in strip.examples:
            y = _line(canvas, example, y, size, total)
        y += 0.5 * size
    y = _key(canvas, y, size)
    chart = canvas.chart()
    chart.config = alt.Config.from_dict(theme.config(style))
    return chart


def _line(canvas: Canvas, example: Example, y: float, size: float, total: float) -> float:
    """Decile, text up to the query and the token after it, and below what the output raises and lowers."""
    canvas.text(0, y + 0.7 * size, example.place, size, weight="bold")
    canvas.text(0, y + 2.1 * size, f"norm {example.norm:.3g}", 0.9 * size)
    left = 5.2 * size
    weights = {key.position: key.weight if math.isfinite(key.weight) else key.mass for key in example.keys}
    pieces = [(p, shown_word(t)) for p, t in example.before]
    after = shown_word(example.after)
    room = total - left - theme.text_width(after, size) - 2.4 * size
    while len(pieces) > 1 and sum(_wide(t, size) for _, t in pieces) > room:
        pieces.pop(0)
    x = left
    for position, text in pieces:
        wide = _wide(text, size)
        if (weight := weights.get(position, 0.0)) > 0:
            canvas.rect(x, y, wide, 1.45 * size, _shade(weight))
        if position == example.query:
            canvas.rect(x, y, wide, 1.45 * size, "transparent", theme.INK, 0.9)
        dark = weights.get(position, 0.0) > 0.6
        canvas.text(x + 0.1 * size, y + 0.75 * size, text.replace(" ", "\u00a0"), size,
                    colour="#ffffff" if dark else theme.PAPER_INK)  # fmt: skip
        x += wide
    canvas.text(x + 0.4 * size, y + 0.75 * size, after.replace(" ", "\u00a0"), size, colour="#8c8c8c")
    outside = [k for k in example.keys if k.position not in {p for p, _ in pieces}]
    far = (
        f"  \u2190 {', '.join(f'{shown_word(k.token).strip()} {k.weight:.2f}' for k in outside[:3])}" if outside else ""
    )
    said = f"+ {_listed(example.raised)}   \u2212 {_listed(example.lowered)}   position 0: {example.sink:.2f}{far}"
    for line in theme.wrap(said, 0.9 * size, total - left, most=2):
        canvas.text(left, y + 2.15 * size, line, 0.9 * size)
        y += 1.3 * size
    return y + 2.1 * size


def _wide(text: str, size: float) -> float:
    return theme.text_width(text, size) + 0.2 * size


def _listed(tokens: Sequence[str], most: int = 4) -> str:
    return " ".join(f"\u2039{shown_word(token).strip() or shown_word(token)}\u203a" for token in tokens[:most])


def _shade(weight: float) -> str:
    return WEIGHTS[min(len(WEIGHTS) - 1, int(weight * len(WEIGHTS)))]


def _key(canvas: Canvas, y: float, size: float) -> float:
    canvas.text(0, y + 0.6 * size, "share of value-weighted attention: 0", 0.9 * size)
    x = theme.text_width("share of value-weighted attention: 0", 0.9 * size) + 0.5 * size
    for colour in WEIGHTS:
        canvas.rect(x, y, 1.2 * size, 1.2 * size, colour, "#c9c9c9", 0.4)
        x += 1.2 * size
    canvas.text(x + 0.4 * size, y + 0.6 * size, "1", 0.9 * size)
    return y + 1.6 * size


def _table(shown: Sequence[Strip]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for strip in shown:
        for e in strip.examples:
            text = "".join(token for _, token in e.before)
            keys = "; ".join(f"{k.position}{k.token} {k.mass:.2f}" for k in e.keys)
            numbers = (e.norm, e.sink, e.dla, e.top_share)
            rows.append((
                head_name(*strip.head), e.place, text, e.after, keys,
                *(float(x) if math.isfinite(x) else None for x in numbers), " ".join(e.raised), " ".join(e.lowered),
            ))  # fmt: skip
    columns = (
        Column("head"), Column("place"), Column("text up to the query"), Column("next"), Column("keys"),
        Column("norm"), Column("position 0"), Column("direct effect", "logits"), Column("explained by the top key"),
        Column("raised"), Column("lowered"),
    )  # fmt: skip
    return Table("text/examples", "Examples by decile of output norm", columns, tuple(rows), folded=True)
