"""What the model answers without its highest heads, without random heads like them, and with the fact said again."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np

from reportgen.figures import captions, theme
from reportgen.figures.curves import SEVERAL, Axis, Band, Curve, CurvePanel, Points, even, line_chart
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.theme import Style
from reportgen.scores import Cell, Column, SuiteResult, Table
from reportgen.suites.retrieval.drawing import words
from reportgen.suites.retrieval.facts import Ablated, RetrievalFacts
from reportgen.suites.retrieval.suite import SUITE

TITLES = {"copy": "By copying", "write": "By writing"}
_Y = Axis("Questions answered right", -0.03, 1.04, [(i / 10, "" if i % 2 else f"{i / 10:.1f}") for i in range(11)])


def removed_figure(result: SuiteResult, view: View, told: RetrievalFacts) -> Figure | None:
    """None where no heads were removed."""
    if not told.ablated:
        return None
    name = captions.model_name(view)
    return Figure(
        id="retrieval-removed",
        suite=SUITE.name,
        title=f"{name}: answers without the highest heads",
        caption=captions.join(
            f"Share of questions that {captions.grid_words(view)} answers right without its highest heads, removed "
            "while question and answer are read.",
            f"n = {captions.plural(told.removed_on, 'document')} of the half on which heads were not picked.",
            _strongest(told),
            captions.synthetic(view),
        ),
        alt=f"Curves of the share of right answers of {name} against heads removed, with random sets for comparison.",
        chart=later(_chart, told, view.style, synthetic=bool(captions.synthetic(view))),
        data=_table(told),
        notes=captions.notes(
            "Removed: at the positions of question and answer alone, z is the head's mean at such positions of the "
            "document's other questions; the document's keys and values stay.",
            "Random sets: for each head one of the same layer whose output norm is within a factor of two, none of the "
            f"highest 10 %; {sum(one.other_layer for one in told.ablated)} draws of another layer, "
            f"{sum(one.other_norm for one in told.ablated)} of another norm.",
            "Dashed: the same questions with the fact said again right before them, at short range.",
            f"Removed at every position, of the document too, the {told.everywhere} highest in copying leave "
            f"{captions.number(told.everywhere_recall)}."
            if told.everywhere
            else "",
            *(_verdict(one) for one in told.ablated if one.random),
            words.text(told),
        ),
    )


def _verdict(one: Ablated) -> str:
    floor = captions.number(1 / (len(one.random) + 1))
    return (
        f"{TITLES[one.by]}, {captions.plural(one.heads, 'head')}: log p of an answer is {captions.number(one.drop)} "
        f"nats [{captions.number(one.low)}, {captions.number(one.high)}] below the mean of {len(one.random)} random "
        f"sets; rank p {captions.number(one.p)}, which can't be below {floor}: a band, no test."
    )


def _strongest(told: RetrievalFacts) -> str:
    compared = [one for one in told.ablated if one.random and one.by == "copy"] or [
        one for one in told.ablated if one.random
    ]
    if not compared:
        return ""
    one, rest = compared[-1], float(np.mean(compared[-1].random_recall))
    return (
        f"Without the {one.heads} highest in {TITLES[one.by][3:]}: {captions.number(one.recall)} of "
        f"{captions.number(told.whole_recall)}; without random heads: {captions.number(rest)}."
    )


def _chart(told: RetrievalFacts, style: Style, *, synthetic: bool) -> alt.LayerChart:
    own, other = (theme.CATEGORY_COLOURS[style.palette][i] for i in (0, 3))
    panels, axes = [], []
    for by in dict.fromkeys(one.by for one in told.ablated):
        steps = sorted((one for one in told.ablated if one.by == by), key=lambda one: one.heads)
        x = [0, *(one.heads for one in steps)]
        lines = [
            Curve("fact said again", x, [told.whole_near, *(one.near for one in steps)], other, dash=(4, 2)),
            Curve("highest heads removed", x, [told.whole_recall, *(one.recall for one in steps)], own, width=1.6),
        ]
        drawn = [one for one in steps if one.random]
        spots = [(float(one.heads), float(value), 1) for one in drawn for value in one.random_recall]
        points = [Points("random heads removed", spots, "#6f6f6f", "circle")] if spots else []
        panels.append(CurvePanel(TITLES.get(by, by), "", lines, bands=_bands(drawn), points=points))
        last = float(max(x))
        ticks = even(0.0, last, max(1.0, float(round(theme.nice_step(last, 4)))))
        axes.append((Axis("Heads removed", -0.02 * last, 1.04 * last, ticks), _Y))
    return line_chart(panels, axes, style, synthetic=synthetic, aspect=0.72, **SEVERAL)


def _bands(drawn: Sequence[Ablated]) -> list[Band]:
    """From the lowest to the highest random set, where two sizes have some."""
    if len(drawn) < 2:
        return []
    ends = [(min(one.random_recall), max(one.random_recall)) for one in drawn]
    return [Band("", [one.heads for one in drawn], [a for a, _ in ends], [b for _, b in ends], 0.5, "#c4c4c4")]


def _table(told: RetrievalFacts) -> Table:
    rows: list[tuple[Cell, ...]] = [("none", 0, told.whole_recall, told.whole_logp, told.whole_near, *[None] * 6)]
    if told.everywhere:
        found = (told.everywhere_recall, told.everywhere_logp)
        rows.append(("By copying, at every position", told.everywhere, *found, *[None] * 7))
    for one in told.ablated:
        mean = float(np.mean(one.random_recall)) if one.random_recall else None
        numbers = (one.drop, one.low, one.high, one.p) if one.random else (None,) * 4
        rows.append(
            (TITLES[one.by], one.heads, one.recall, one.logp, one.near, mean, len(one.random) or None, *numbers)
        )
    columns = (
        Column("ranked"), Column("heads"), Column("right"), Column("log p", "nats"), Column("right, fact said again"),
        Column("right, random sets"), Column("random sets"), Column("log p below random", "nats"), Column("95 % from"),
        Column("95 % to"), Column("rank p"),
    )  # fmt: skip
    return Table("retrieval/removed", "Answers without the highest heads", columns, tuple(rows), folded=True)
