"""Held-out queries: function vectors by layer, and accuracy against the share of heads that are ablated."""

from __future__ import annotations

import math

import altair as alt
import numpy as np

from reportgen.figures import captions, theme
from reportgen.figures.curves import GREY, Axis, Band, Curve, CurvePanel, Points, even, line_chart
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.head_points import CROSS, DIAMOND
from reportgen.figures.theme import Style
from reportgen.scores import Column, NamedArray, SuiteResult, Table
from reportgen.suites.icl.drawing import words
from reportgen.suites.icl.facts import IclFacts, Outcome
from reportgen.suites.icl.suite import SUITE

_MARKS = (CROSS, "circle", DIAMOND)
_DASHES: tuple[tuple[float, ...], ...] = ((1.5, 1.5), (), (3, 2), (5, 2), (1, 2))


def vectors_figure(result: SuiteResult, view: View) -> Figure | None:
    """Log P by the block behind which a vector is added; None where the run has none."""
    told, curve = words.facts_of(result), result.arrays.get("vector_curve")
    table = next((t for t in result.tables if t.key == "icl/vectors"), None)
    if curve is None or table is None or len(told.vector_layers) != len(curve.values):
        return None
    name = captions.model_name(view)
    parts = [_gain(told, condition) for condition in curve.labels["condition"]]
    return Figure(
        id="icl-vectors",
        suite=SUITE.name,
        title=f"{name}: function vectors",
        caption=captions.join(
            f"Log P of the answer with a task's function vector added behind each block of {name}, without examples "
            "and with deranged ones.",
            *parts, captions.synthetic(view),
        ),
        alt=f"Log P of the answer against the layer behind which vectors are added in {name}.",
        chart=later(_curves, curve, told, view.style, synthetic=bool(captions.synthetic(view))),
        data=_vector_rows(curve),
        notes=captions.notes(
            f"Vector: the sum of what {', '.join(told.vector_heads)} write at their mean over the task's intact "
            "prompts, without the projection's bias, added at the last position.",
            "Curves: screening queries, mean over tasks; dashed line: the block chosen there. Numbers: held-out "
            f"queries at that block, n = {told.held_prompts} a task; brackets: 95 % intervals.",
            "Controls: vectors of other tasks, random vectors of the same norm, and as many random heads of the same "
            "layers; one of each in the curves, the mean of three on held-out queries.",
            words.tasks(told),
        ),
    )  # fmt: skip


def _gain(told: IclFacts, condition: str) -> str:
    """`Zero-shot, held out: accuracy 0.02 without, 0.61 [0.4, 0.8] with it, 0.05 with another task's.`"""
    found = {o.name: o for o in told.vector_outcomes if o.condition == condition}
    if not {"none", "own task", "another task"} <= set(found):
        return ""
    own, number = found["own task"], captions.number
    start = f"{condition[:1].upper()}{condition[1:]}, held out: accuracy {number(found['none'].accuracy)}, with it"
    spread = f"[{number(own.accuracy_low)}, {number(own.accuracy_high)}]"
    return f"{start} {number(own.accuracy)} {spread}, another task's {number(found['another task'].accuracy)}."


def _curves(curve: NamedArray, told: IclFacts, style: Style, *, synthetic: bool) -> alt.LayerChart:
    colours = theme.CATEGORY_COLOURS[style.palette]
    layers = [int(name) for name in curve.labels["layer"]]
    low = float(np.nanmin(curve.values))
    step = theme.nice_step(-low or 1.0, 5)
    y = Axis("log P of the answer (nats)", theme.exact(math.floor(low / step) * step), 0.0,
             even(math.floor(low / step) * step, 0.0, step))  # fmt: skip
    gap = next((s for s in (1.0, 2.0, 5.0, 10.0) if len(layers) <= 8 * s), 20.0)
    x = Axis("Block", 0.0, float(max(layers[-1], 1)), [(v, f"{v:g}") for v, _ in even(0.0, layers[-1], gap)])
    panels = []
    for c, condition in enumerate(curve.labels["condition"]):
        lines = [
            Curve(vector, layers, curve.values[c, v].astype(float).tolist(), colours[v % len(colours)], dash=_DASHES[v])
            for v, vector in enumerate(curve.labels["vector"])
        ]
        at = float(told.vector_layers[c])
        chosen = Curve("", (at, at), (y.low, y.high), GREY, dash=(3, 2), width=0.7)
        panels.append(CurvePanel(f"{condition[:1].upper()}{condition[1:]}", "", [*lines, chosen]))
    return line_chart(panels, [(x, y)], style, synthetic=synthetic, aspect=0.7, widest=26.0)


def _vector_rows(curve: NamedArray) -> Table:
    columns = (Column("condition"), Column("vector"), Column("block"), Column("log P", "nats", 4))
    names = curve.labels
    rows = tuple(
        (condition, vector, int(layer), float(curve.values[c, v, at]))
        for c, condition in enumerate(names["condition"]) for v, vector in enumerate(names["vector"])
        for at, layer in enumerate(names["layer"])
    )  # fmt: skip
    return Table("icl/vector_curve", "Function vectors by block", columns, rows, folded=True)


def ablation_figure(result: SuiteResult, view: View) -> Figure | None:
    """Accuracy and log P against the share of heads ablated; None where the run has none."""
    told = words.facts_of(result)
    table = next((t for t in result.tables if t.key == "icl/ablation"), None)
    if not told.ablation or table is None:
        return None
    name = captions.model_name(view)
    whole = next(o for o in told.ablation if o.name == "whole model")
    last = {o.name: o for o in told.ablation}  # the largest share of each
    parts = [f"{label} {captions.number(last[key].accuracy)}" for key, label in (
        ("effect", "by effect"), ("induction", "by induction"), ("random", "at random")) if key in last]  # fmt: skip
    return Figure(
        id="icl-ablation",
        suite=SUITE.name,
        title=f"{name}: heads ablated in context",
        caption=captions.join(
            f"Accuracy and log P of {name} after {told.shots} intact examples with a share of its heads ablated.",
            f"Held-out tasks, n = {told.held_prompts} prompts each; whole model {captions.number(whole.accuracy)}.",
            f"At {100 * last['random'].share:.0f} % of the heads: {', '.join(parts)}.", captions.synthetic(view),
        ),
        alt=f"Accuracy and log P of {name} against the share of heads ablated, by ranking and at random.",
        chart=later(_ablation, told, view.style, synthetic=bool(captions.synthetic(view))),
        data=table,
        notes=captions.notes(
            table.caption, _everywhere(told), words.text_sets(told),
            "Dashed: without the top 2 % of the heads by the other ranking, as in Yin and Steinhardt "
            "2025; they ablate at every generated token and score the text, here the answer's first token is scored.",
            words.tasks(told),
        ),
    )  # fmt: skip


def _everywhere(told: IclFacts) -> str:
    """What the marks are, and what they say."""
    if not told.everywhere:
        return ""
    number = captions.number
    parts = [
        f"{_SAID.get(o.name, o.name)} {number(o.accuracy)} [{number(o.accuracy_low)}, {number(o.accuracy_high)}]"
        for o in told.everywhere
    ]
    return f"Marks: {100 * told.everywhere[-1].share:.0f} % of the heads at all positions; accuracy {', '.join(parts)}."


_SAID = {"effect": "by effect", "induction": "by induction", "random": "at random"}


def _ablation(told: IclFacts, style: Style, *, synthetic: bool) -> alt.LayerChart:
    colours = theme.CATEGORY_COLOURS[style.palette]
    whole = next(o for o in told.ablation if o.name == "whole model")
    looks = {
        "effect": (colours[3], ()), "induction": (colours[0], ()), "effect without induction": (colours[3], (3.0, 2.0)),
        "induction without effect": (colours[0], (3.0, 2.0)),
    }  # fmt: skip
    random = [whole, *(o for o in told.ablation if o.name == "random")]
    every = [*told.ablation, *told.everywhere]
    low = min(min(o.log_p, o.low) if o.name == "random" else o.log_p for o in every)
    step = theme.nice_step(-low or 1.0, 5)
    most = 100 * max(o.share for o in told.ablation)
    x = Axis("Heads ablated (%)", 0.0, most, [(v, f"{v:g}") for v in (0.0, 1.0, 2.0, 5.0, 10.0) if v <= most])
    axes = [
        (x, Axis("Accuracy", 0.0, 1.0, even(0.0, 1.0, 0.2))),
        (x, Axis("log P (nats)", math.floor(low / step) * step, 0.0, even(math.floor(low / step) * step, 0.0, step))),
    ]
    panels = []
    for field, title in (("accuracy", "Accuracy"), ("log_p", "Log P of the answer")):
        lines = []
        for name, (colour, dash) in looks.items():
            some = [whole, *(o for o in told.ablation if o.name == name)]
            if len(some) > 1:
                shares = [100 * float(o.share) for o in some]
                lines.append(Curve(name, shares, [float(getattr(o, field)) for o in some], colour, dash=dash))
        marks = [
            Points(f"{_SAID[name]}, all positions", [(100 * float(o.share), float(getattr(o, field)), 1)], colour, mark,
                   around=1.4)
            for name, colour, mark in zip(_SAID, (colours[3], colours[0], GREY), _MARKS, strict=True)
            for o in told.everywhere if o.name == name
        ]  # fmt: skip
        panels.append(CurvePanel(title, "", lines, bands=[_band(random, field)], points=marks))
    return line_chart(panels, axes, style, synthetic=synthetic, aspect=0.72, widest=26.0)


def _band(random: list[Outcome], field: str) -> Band:
    """The middle 95 % of random sets, from the whole model on."""
    low, high = ("low", "high") if field == "log_p" else ("accuracy_low", "accuracy_high")
    below, above = ([float(getattr(o, field if i == 0 else end)) for i, o in enumerate(random)] for end in (low, high))
    return Band("random heads of the same layers", [100 * float(o.share) for o in random], below, above, 0.25, GREY)
