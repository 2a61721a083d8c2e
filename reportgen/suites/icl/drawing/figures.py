"""Figures of heads in context: the gate, maps, induction against function vectors, depth, tasks by heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import altair as alt

from reportgen.figures import captions, theme
from reportgen.figures.chart_data import table
from reportgen.figures.curves import Axis, Curve, CurvePanel, Points, even, line_chart
from reportgen.figures.figure import Figure, Maker, OneByOne, View, later, supplementary
from reportgen.figures.head_points import CROSS
from reportgen.figures.heatmap import heatmap
from reportgen.figures.theme import Style
from reportgen.scores import HeadScores, SuiteResult
from reportgen.suites.icl.drawing import held_out, points, tasks, words
from reportgen.suites.icl.facts import Gate
from reportgen.suites.icl.suite import SUITE

PRINTED = ("aie", "specific")  # maps in the PDF; the others are on the page


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """What a run has no numbers for is left out."""
    yield partial(_gate, result, view)
    for scores in result.scores:
        make = partial(_map, result, view, scores)
        yield make if scores.measure in PRINTED else supplementary(make)
    yield partial(points.scatter_figure, result, view)
    yield partial(points.depth_figure, result, view)
    yield partial(tasks.matrix_figure, result, view)
    yield partial(held_out.vectors_figure, result, view)
    yield partial(held_out.ablation_figure, result, view)


_DOTS = ("circle", CROSS)


def _gate(result: SuiteResult, view: View) -> Figure | None:
    told = words.facts_of(result)
    asked = sorted(
        (g for g in told.gate if not g.why), key=lambda g: (not g.control, g.passed, g.accuracy - g.deranged)
    )
    tasks = [g for g in asked if not g.control]
    if not tasks:
        return None
    name, passed = captions.model_name(view), [g for g in tasks if g.passed]
    best = tasks[-1]
    columns = next(t for t in result.tables if t.key == "icl/gate")
    verdict = (
        f"{len(passed)} of {len(tasks)} tasks are scored; best: {words.lower(best.title)}." if passed else
        "It learns none of them: no claim about heads is made."
    )  # fmt: skip
    return Figure(
        id="icl-gate",
        suite=SUITE.name,
        title=f"{name}: what it learns from examples",
        caption=captions.join(
            f"Share of queries that {name} answers rightly after {told.shots} examples, intact and deranged.",
            f"n = {told.prompts} prompts a task.", verdict, captions.synthetic(view),
        ),
        alt=f"Accuracy of {name} on each task with intact and with deranged examples.",
        chart=later(_gate_chart, asked, view.style, synthetic=bool(captions.synthetic(view))),
        data=replace(columns, key="icl/gate_figure"),
        notes=captions.notes(
            "Deranged: the same examples, their outputs moved so that none stands at its own input; the query is "
            "intact.",
            f"Scored: accuracy at least {told.least_accuracy:g}, and {told.least_gain:g} above that with deranged "
            "examples (filled line); the others are not learnt from the examples (dotted).",
            "Right: the first token of the answer has the highest logit.",
            "Controls: copying does them; they are shown beside the others and never part of a mean over tasks."
            if len(asked) > len(tasks) else "",
            *(f"{gate.title}, not asked: {gate.why}." for gate in told.gate if gate.why),
            *_leaks(asked),
        ),
    )  # fmt: skip


def _leaks(asked: list[Gate]) -> list[str]:
    """Tasks with few outputs: what the answer's standing among the examples does."""
    found = [g for g in asked if g.log_p_among == g.log_p_among]
    parts = [
        f"{words.lower(g.title)} {captions.number(g.log_p_among)} against {captions.number(g.log_p_apart)}"
        for g in found
    ]
    where = (
        "Where outputs repeat, log P of the answer on deranged prompts that hold it among the examples, and on others"
    )
    return [f"{where}: {'; '.join(parts)}."] if parts else []


def _gate_chart(asked: list[Gate], style: Style, *, synthetic: bool) -> alt.LayerChart:
    colours = [theme.CATEGORY_COLOURS[style.palette][i] for i in (0, 3)]
    lines = [
        Curve("", (g.deranged, g.accuracy), (i, i), "#7f7f7f", dash=() if g.passed else (1.5, 2.0), width=1.0)
        for i, g in enumerate(asked)
    ]
    spots = [
        Points(name, [(float(getattr(g, field)), i, 1) for i, g in enumerate(asked)], colour, shape)
        for name, field, colour, shape in zip(
            ("intact examples", "deranged examples"), ("accuracy", "deranged"), colours, _DOTS, strict=True
        )
    ]
    x = Axis("Accuracy", -0.03, 1.03, even(0.0, 1.0, 0.2))
    y = Axis("", -0.6, len(asked) - 0.4, [(i, g.title + " (control)" * g.control) for i, g in enumerate(asked)])
    aspect = min(1.2, max(0.25, 0.055 * len(asked)))
    panel = CurvePanel("", "", lines, points=spots)
    return line_chart([panel], [(x, y)], style, synthetic=synthetic, aspect=aspect, widest=40.0)


def _map(result: SuiteResult, view: View, scores: HeadScores) -> Figure:
    told, sets, name = words.facts_of(result), words.sets(view), captions.model_name(view)
    on_text = scores.measure == "icl_score"
    measure = SUITE.measure(scores.measure)
    title = f"{name}: {words.lower(measure.title)}"
    return Figure(
        id=f"icl-{scores.measure}",
        suite=SUITE.name,
        title=title,
        caption=captions.join(
            f"{measure.title}, in {captions.grid_words(view)}.",
            f"n = {scores.n} windows of text." if on_text else words.material(told, scores.n),
            captions.beats_null(scores), captions.best_head(scores, signed=True), captions.synthetic(view),
        ),
        alt=f"Layer by head map of {words.lower(measure.title)} in {name}.",
        chart=later(heatmap, scores, view, sets, title),
        data=table([(scores, sets)]),
        head_sets=tuple(sets),
        notes=captions.notes(
            f"Colour: {measure.formula}.",
            *words.text(told) if on_text else (words.tasks(told), words.exact(told)),
            words.null(told, scores),
            words.controls(scores),
            words.control_notes(scores),
            words.vectors(told) if scores.controls else "",
            "" if on_text else words.interval(told),
            words.published(scores, sets),
            captions.caveat([scores]),
            captions.missing(scores),
            captions.estimates(scores),
            captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
            *captions.rules(sets),
            captions.agreement(sets),
        ),
    )  # fmt: skip
