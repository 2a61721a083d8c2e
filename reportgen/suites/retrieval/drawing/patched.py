"""What single heads copy by patching, against their attention; heads drawn at random beside the highest."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np

from reportgen.figures import captions, theme
from reportgen.figures.curves import GREY, SEVERAL, Curve, CurvePanel, Points, axis_of, line_chart, spots
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.head_points import CROSS, named, zero_lines
from reportgen.figures.theme import Style
from reportgen.scores import Cell, Column, HeadScores, SuiteResult, Table, head_name, parse_head
from reportgen.suites.retrieval.drawing import words
from reportgen.suites.retrieval.facts import PatchedFacts, RetrievalFacts
from reportgen.suites.retrieval.suite import SUITE

_NAMED = 4  # heads named in each panel, by either axis
Pair = tuple[PatchedFacts, HeadScores, HeadScores]  # attention, effect


def patched_figure(result: SuiteResult, view: View, told: RetrievalFacts) -> Figure | None:
    """None where no head was patched."""
    pairs = [pair for one in told.patched if (pair := _pair(result, one)) is not None]
    if not pairs:
        return None
    name, synthetic = captions.model_name(view), captions.synthetic(view)
    return Figure(
        id="retrieval-patched",
        suite=SUITE.name,
        title=f"{name}: copying by patching",
        caption=captions.join(
            f"What patching one head of {name} changes, against its attention.",
            *(_verdict(*pair) for pair in pairs),
            synthetic,
        ),
        alt=f"Scatter of effects of single patched heads of {name} against their attention.",
        chart=later(_chart, pairs, view.style, synthetic=bool(synthetic)),
        data=_table(pairs),
        notes=captions.notes(
            *(f"{effect.label}: {SUITE.measure(effect.measure).formula}." for _, _, effect in pairs),
            *(words.patched(told, effect.measure) for _, _, effect in pairs),
            "Dashed: the highest of the heads drawn at random. Crosses: these heads. Named: the "
            f"{_NAMED} highest by either axis.",
            words.short(pairs[0][2]),
            *(words.null(told, effect, SUITE.measure(effect.measure).null) for _, _, effect in pairs),
        ),
    )


def _pair(result: SuiteResult, one: PatchedFacts) -> Pair | None:
    found = {s.measure: s for s in result.scores}
    both = found.get(one.of), found.get(f"{one.of}_effect")
    return (one, both[0], both[1]) if both[0] is not None and both[1] is not None else None


def _verdict(one: PatchedFacts, _: HeadScores, effect: HeadScores) -> str:
    """`Concept: n = 48, best L23H2 0.1, 3 of 64 beat their null, random heads reach 0.01.`"""
    best = effect.ranking()[0]
    parts = [f"n = {effect.n}", f"best {head_name(*best)} {captions.number(effect.values[best])}"]
    if effect.p is not None:
        beating = int((np.nan_to_num(effect.p, nan=1.0) <= 0.05).sum())
        parts.append(f"{beating} of {int(effect.exact.sum())} beat their null")
    parts += [f"{c.name} reach {captions.number(c.value)}" for c in effect.controls]
    return f"{one.of.capitalize()}: {', '.join(parts)}."


def _unit(effect: HeadScores) -> str:
    """Nats, or the paper's probability."""
    return effect.label.rpartition("(")[2].rstrip(")")


def _chart(pairs: Sequence[Pair], style: Style, *, synthetic: bool) -> alt.LayerChart:
    colours = [theme.CATEGORY_COLOURS[style.palette][i] for i in (3, 0)]
    panels, axes = [], []
    for one, attention, effect in pairs:
        x, y = attention.values.astype(float), effect.values.astype(float)
        known = np.isfinite(x) & np.isfinite(y)
        random = np.zeros(x.shape, np.bool_)
        for head in one.random:
            random[parse_head(head)] = True
        ends = axis_of(attention.label, x[known]), axis_of(f"Change by the patch ({_unit(effect)})", y[known])
        axes.append(ends)
        kinds = (("highest in attention", known & ~random, "circle"), ("random heads", known & random, CROSS))
        points = [Points(kind, spots(x, y, some), colour, shape)
                  for (kind, some, shape), colour in zip(kinds, colours, strict=True) if some.any()]  # fmt: skip
        lines = zero_lines(x[known], y[known], *ends)
        lines += [Curve("", (ends[0].low, ends[0].high), (c.value, c.value), GREY, dash=(3, 2), width=0.7)
                  for c in effect.controls]  # fmt: skip
        best = [h for h in attention.ranking() if known[h]][:_NAMED]
        labels = named([*effect.ranking()[:_NAMED], *best], x, y, ends, style)
        panels.append(CurvePanel("", "", lines, points=points, labels=labels))
    return line_chart(panels, axes, style, synthetic=synthetic, aspect=0.78, **SEVERAL)


def _table(pairs: Sequence[Pair]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one, attention, effect in pairs:
        for head in sorted(effect.ranking()):
            p = None if effect.p is None else float(effect.p[head])
            low, high = (None if end is None else float(end[head]) for end in (effect.low, effect.high))
            at_random = head_name(*head) in one.random
            rows.append(
                (one.of, head_name(*head), float(attention.values[head]), float(effect.values[head]), low, high, p,
                 at_random)
            )  # fmt: skip
    columns = (
        Column("copying"), Column("head"), Column("attention", digits=4), Column("effect", digits=5),
        Column("95 % from", digits=5), Column("95 % to", digits=5), Column("p", digits=4), Column("at random"),
    )  # fmt: skip
    return Table("retrieval/patched", "Copying by patching", columns, tuple(rows), folded=True)
