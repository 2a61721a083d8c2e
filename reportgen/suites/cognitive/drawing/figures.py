"""Figures of the heads for cognitive functions: importance maps, decay curves, masked-heads curves, ablation matrix.

The maps follow Cognitive Mirrors (arXiv 2512.10978): layers downwards, one viridis bar `Heads Importance`, its top
tick with \u2265 where cells lie beyond. Default is the head's own part; the published quantity stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.aliases import Rows
from reportgen.figures import captions, theme
from reportgen.figures.chart_data import ENDS, chart_layer, check_style, finished, rect, table, words
from reportgen.figures.curves import BLUE, GREY, RED, Curve, CurvePanel, curves
from reportgen.figures.figure import Figure, Maker, OneByOne, View, later, supplementary
from reportgen.figures.head_maps import SLOPE, HeadMap, maps, signed_scheme
from reportgen.figures.heatmap import WATERMARK
from reportgen.figures.small_multiples import NATURAL_WIDTH, Page, shortened
from reportgen.figures.theme import Style
from reportgen.scores import Cell, Column, HeadScores, SuiteResult, Table
from reportgen.suites.cognitive.drawing import caption_text
from reportgen.suites.cognitive.facts import AblationFacts, CognitiveFacts
from reportgen.suites.facts import read

# A square matrix of functions with the numbers written in, for the ablation figure.

_NUMBERS_UP_TO = 14  # functions; more are told by colour and tooltip only


def matrix(
    values: npt.NDArray[np.float64], labels: Sequence[str], counts: Sequence[int], style: Style, *, synthetic: bool
) -> alt.LayerChart:
    """values [questions of, heads of] on a diverging scale about zero, the diagonal framed; counts: n per row."""
    style = check_style(style)
    size, n = style.font_size, len(labels)
    labels = [shortened(label) for label in labels]
    rows = [f"{label} ({count})" for label, count in zip(labels, counts, strict=True)]
    left = max(theme.text_width(text, 0.88 * size) for text in rows) + 2.4 * size
    given = NATURAL_WIDTH if style.width_in is None else style.width_in * 72 - 4
    cell = min(4.2 * size, max(1.2 * size, (max(given, 40 * size) - left - 9 * size) / n))
    up = max(theme.text_width(label, 0.88 * size) for label in labels) * 0.71 + 2.4 * size
    bar_x = left + n * cell + 3.2 * size
    page = Page((), max(bar_x + 6.5 * size, left + n * cell + up), up + n * cell + 1, size, (bar_x, up, n * cell))
    axes, reach = page.axes(), max(float(np.nanmax(np.abs(values), initial=0.0)), 0.01)
    colour = alt.Color(
        "value:Q", legend=None, scale=alt.Scale(domain=[-reach, reach], clamp=True, **signed_scheme(style)),
    )  # fmt: skip
    charts = _cells(values, labels, (left, up, cell), axes, colour)
    if n <= _NUMBERS_UP_TO:
        charts += _numbers(values, reach, (left, up, cell), size, axes)
    charts += _names(rows, labels, (left, up, cell), size, axes)
    charts += _bar(reach, page, size, axes, colour)
    if synthetic:
        at = [(left + n * cell / 2, up + n * cell / 2, WATERMARK, n * cell / 6.2)]
        charts.append(words("watermark", at, axes, angle=330, fontWeight="bold", fillOpacity=0.3))
    return finished(charts, page, style)


Place = tuple[float, float, float]  # left, up, cell


def _cells(
    values: npt.NDArray[np.float64], labels: Sequence[str], place: Place, axes: dict[str, Any], colour: alt.Color
) -> list[alt.Chart]:
    left, up, cell = place
    boxes: Rows = []
    for (q, h), value in np.ndenumerate(values):
        if np.isfinite(value):
            told = {"value": float(f"{value:.6g}"), "questions": labels[q], "heads": labels[h]}
            boxes.append({**rect(left + h * cell, up + q * cell, cell, cell), **told})
    own = [rect(left + i * cell + 0.6, up + i * cell + 0.6, cell - 1.2, cell - 1.2) for i in range(len(labels))]
    tips = [alt.Tooltip("questions:N", title="questions of"), alt.Tooltip("heads:N", title="heads of"),
            alt.Tooltip("value:Q", title="nats", format="+.3f")]  # fmt: skip
    line = {"type": "rect", "fill": "transparent", "stroke": "#111111", "strokeWidth": 1.1}
    return [
        chart_layer("pairs", boxes, {"type": "rect", "stroke": "#ffffff", "strokeWidth": 0.5},
              {**axes, **ENDS, "color": colour, "tooltip": tips}),
        chart_layer("diagonal", own, line, {**axes, **ENDS}),
    ]  # fmt: skip


def _numbers(
    values: npt.NDArray[np.float64], reach: float, place: Place, size: float, axes: dict[str, Any]
) -> list[alt.Chart]:
    """The numbers, white on dark cells."""
    left, up, cell = place
    made: dict[str, list[tuple[float, float, str, float]]] = {"#111111": [], "#ffffff": []}
    for (q, h), value in np.ndenumerate(values):
        if np.isfinite(value):
            text = f"{value:+.2f}".replace("-", "\u2212") if abs(value) >= 0.005 else "0.00"
            room = 0.86 * cell / max(theme.text_width(text, 1.0), 1e-9)
            ink = "#ffffff" if abs(value) > 0.62 * reach else "#111111"
            made[ink].append((left + (h + 0.5) * cell, up + (q + 0.5) * cell, text, min(0.85 * size, room)))
    return [words(f"numbers_{i}", some, axes, color=ink) for i, (ink, some) in enumerate(made.items()) if some]


def _names(
    rows: Sequence[str], labels: Sequence[str], place: Place, size: float, axes: dict[str, Any]
) -> list[alt.Chart]:
    left, up, cell = place
    n, small = len(labels), 0.88 * size
    beside = [(left - 0.5 * size, up + (i + 0.5) * cell, text, small) for i, text in enumerate(rows)]
    above = [(left + (i + 0.5) * cell, up - 0.5 * size, t, small) for i, t in enumerate(labels)]
    return [
        words("questions_of", beside, axes, "right"),
        words("heads_of", above, axes, "left", angle=315),
        words("title_left", [(0.6 * size, up + n * cell / 2, "Questions of", size)], axes, angle=270),
        words("title_above", [(left - 0.5 * size, up - 1.0 * size, "Heads of", size)], axes, "right"),
    ]


def _bar(reach: float, page: Page, size: float, axes: dict[str, Any], colour: alt.Color) -> list[alt.Chart]:
    x, y, height = page.bar
    steps = SLOPE
    boxes = [
        {**rect(x, y + height * (1 - (i + 1) / steps), 1.1 * size, height / steps + (0.6 if i else 0)),
         "value": reach * (2 * (i + 0.5) / steps - 1)}
        for i in range(steps)
    ]  # fmt: skip
    step = theme.nice_step(2 * reach, 8)
    count = int(reach / step + 1e-9)
    ticks = [theme.exact(i * step) for i in range(-count, count + 1)]
    edge, at = x + 1.1 * size, [y + height * (reach - tick) / (2 * reach) for tick in ticks]
    texts = theme.tick_labels(ticks, theme.decimals(step))
    numbers = [(edge + 0.5 * size, place, text, 0.88 * size) for place, text in zip(at, texts, strict=True)]
    title = [(edge + 4.6 * size, y + height / 2, "Change of log-probability (nats)", size)]
    line = {"type": "rule", "stroke": theme.INK, "strokeWidth": 0.6}
    return [
        chart_layer("bar", boxes, {"type": "rect"}, {**axes, **ENDS, "color": colour}),
        chart_layer("bar_ticks", [rect(edge, place, 0.3 * size, 0) for place in at], line, {**axes, **ENDS}),
        words("bar_numbers", numbers, axes, "left"),
        words("bar_title", title, axes, angle=270),
    ]


BAR = "Heads Importance"
CHANCE = 0.5  # of the area under an ROC curve
_KINDS = {
    "importance_own": ("cognitive-importance", "own importance", "Own importance |I_own|"),
    "importance": ("cognitive-importance-published", "importance", "Importance as published, |I|,"),
}


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """Importance maps (own, published, signed), heads alone, decay, masked heads, ablation matrix."""
    if not result.tasks("importance_own"):
        return
    facts = read(result, CognitiveFacts)
    yield from (partial(_maps, result, view, facts, measure) for measure in _KINDS)
    yield supplementary(partial(_signed, result, view, facts))
    rest = [*([_alone] if result.tasks("alone") else []), _decay]
    rest += [*([_masked] if "ablation/curve/right" in result.arrays else []), _matrix]
    yield from (partial(make, result, view, facts) for make in rest)


def _panels(result: SuiteResult, measure: str) -> list[HeadScores]:
    return [result[f"{measure}/{task}"] for task in result.tasks(measure)]


def _maps(result: SuiteResult, view: View, facts: CognitiveFacts, measure: str) -> Figure:
    name, (figure_id, short, meaning) = captions.model_name(view), _KINDS[measure]
    scores = _panels(result, measure)
    shown = [
        HeadMap(
            facts.label(s.task),
            caption_text.subtitle(facts, facts.label(s.task)),
            s,
            caption_text.beyond(s),
        )
        for s in scores
    ]
    sizes = [_sized(s) for s in scores]
    return Figure(
        id=figure_id,
        suite=result.suite,
        title=f"{name}: {short} of every head for each function",
        caption=captions.join(
            f"{meaning} of every head of {captions.grid_words(view)} "
            f"for {caption_text.count(scores)} (n = {caption_text.n(scores)} "
            "rows each).",
            caption_text.dots(scores),
            caption_text.largest(facts, scores),
            caption_text.probe_accuracy(facts),
            captions.synthetic(view),
        ),
        alt=f"{len(scores)} layer by head maps of {short} in {name}, one per function.",
        chart=later(maps, shown, BAR, view.style, down=True, synthetic=_synthetic(view)),
        data=table([(s, ()) for s in scores], f"{short} of every head"),
        notes=captions.notes(
            caption_text.ON_TOP,
            f"Importance is a mean over the held-out rows of the function (n = {caption_text.n(scores)}) and "
            f"{facts.probe and facts.probe.seeds} probes.",
            caption_text.meaning(measure),
            caption_text.published_note(measure),
            caption_text.probe(facts),
            caption_text.clipped(scores, measure, signed=False),
            caption_text.line(facts, scores),
            caption_text.leading(sizes, measure),
            caption_text.accuracy(facts),
            caption_text.causal(facts),
            captions.missing(scores[0]),
        ),
    )


def _signed(result: SuiteResult, view: View, facts: CognitiveFacts) -> Figure:
    name, scores = captions.model_name(view), _panels(result, "importance_own")
    shown = [HeadMap(facts.label(s.task), "", s, caption_text.beyond(s)) for s in scores]
    return Figure(
        id="cognitive-importance-signed",
        suite=result.suite,
        title=f"{name}: own importance with its sign",
        caption=captions.join(
            f"Own importance, with its sign, of every head of {captions.grid_words(view)} "
            f"for {caption_text.count(scores)} "
            f"(n = {caption_text.n(scores)} rows each): above zero for the function, below against it.",
            caption_text.dots(scores),
            caption_text.largest(facts, scores, signed=True),
            captions.synthetic(view),
        ),
        alt=f"{len(scores)} layer by head maps of signed own importance in {name}.",
        chart=later(maps, shown, BAR, view.style, signed=True, down=True, synthetic=_synthetic(view)),
        data=table([(s, ()) for s in scores], "own importance with its sign"),
        notes=captions.notes(
            caption_text.ON_TOP,
            f"Importance is a mean over the held-out rows of the function (n = {caption_text.n(scores)}) and "
            f"{facts.probe and facts.probe.seeds} probes.",
            "Sign of own importance: above zero the head's output speaks for the function in the probe, below zero "
            "against it.",
            caption_text.clipped(scores, "signed", signed=True),
            caption_text.line(facts, scores),
            captions.missing(scores[0]),
        ),
    )


def _alone(result: SuiteResult, view: View, facts: CognitiveFacts) -> Figure:
    name, scores = captions.model_name(view), _panels(result, "alone")
    shown = [HeadMap(facts.label(s.task), caption_text.highest(s), s, caption_text.beyond(s)) for s in scores]
    low = sum(int((s.values < CHANCE).sum()) for s in scores)
    return Figure(
        id="cognitive-alone",
        suite=result.suite,
        title=f"{name}: what each head alone tells of the function",
        caption=captions.join(
            f"How well each head of {captions.grid_words(view)} "
            f"alone predicts {caption_text.count(scores)}: AUC of a logistic "
            f"regression (n = {caption_text.n(scores)} test rows each; chance 0.5).",
            caption_text.alone_dots(scores),
            caption_text.largest(facts, scores),
            captions.synthetic(view),
        ),
        alt=f"{len(scores)} layer by head maps of how well each head of {name} alone predicts, one per function.",
        chart=later(
            maps, shown, "AUC of the head alone", view.style, start=CHANCE, down=True, synthetic=_synthetic(view)
        ),
        data=table([(s, ()) for s in scores], "what each head alone tells"),
        notes=captions.notes(
            caption_text.ON_TOP,
            "AUC, area under the ROC curve: the function against the others, for a logistic regression on only this "
            f"head's output, on the test rows (n = {caption_text.n(scores)} of the function).",
            "0.5 is chance"
            + (f"; {captions.plural(low, 'cell')} below it take the bar's lowest colour." if low else "."),
            "In the titles: the largest value, which is too good as an estimate, since it is picked.",
            caption_text.alone_null(facts, scores),
            captions.missing(scores[0]),
        ),
    )


def _decay(result: SuiteResult, view: View, facts: CognitiveFacts) -> Figure:
    name = captions.model_name(view)
    scores, published = _panels(result, "importance_own"), _panels(result, "importance")
    line = scores[0].line
    panels, rows = [], list[tuple[Cell, ...]]()
    for own, whole in zip(scores, published, strict=True):
        label = facts.label(own.task)
        kept = facts.elbow.get(label, 0)
        sizes = {kind: _falling(s) for kind, s in (("importance", whole), ("own part", own))}
        drawn = [
            Curve(
                kind,
                tuple(map(float, range(len(y)))),
                tuple(y),
                BLUE if kind == "importance" else GREY,
                kind != "importance",
            )
            for kind, y in sizes.items()
        ]
        at = min(kept, len(sizes["importance"]) - 1)
        dot = ((float(at), sizes["importance"][at], f"{kept}"),) if kept else ()
        levels = ((line, "family-wise line of the own part"),) if line is not None else ()
        panels.append(CurvePanel(label, "", tuple(drawn), dot, levels))
        rows += [(own.key, kind, i + 1, y) for kind, ys in sizes.items() for i, y in enumerate(ys)]
    return Figure(
        id="cognitive-decay",
        suite=result.suite,
        title=f"{name}: decay of importance over heads",
        caption=captions.join(
            f"Heads of {captions.grid_words(view)} "
            f"by falling importance, per function (n = {caption_text.n(scores)} rows "
            "each): |I| as published (solid), its own part (dashed).",
            f"Red dot: the published elbow and the heads before it{caption_text.noise_short(facts)}.",
            f"Dotted: the own part's family-wise line, {captions.number(line)}." if line is not None else "",
            captions.synthetic(view),
        ),
        alt=f"{len(panels)} curves of falling importance with the elbow marked.",
        chart=later(curves, panels, "Heads", "Importance", view.style, synthetic=_synthetic(view)),
        data=Table(
            "cognitive/decay", "Importance in falling order",
            (Column("key"), Column("part"), Column("rank"), Column("size", digits=5)), tuple(rows),
        ),
        notes=captions.notes(
            "Elbow: the point of |I| farthest below the chord between its ends.",
            caption_text.noise(facts),
            caption_text.line(facts, scores),
        ),
    )  # fmt: skip


def _masked(result: SuiteResult, view: View, facts: CognitiveFacts) -> Figure:
    name, said = captions.model_name(view), facts.ablation or AblationFacts()
    label_of = np.asarray(result.arrays["ablation/function"].values)
    right = np.asarray(result.arrays["ablation/intact_right"].values, dtype=bool)
    sizes = tuple(said.sizes)
    panels, rows = [], list[tuple[Cell, ...]]()
    for i, task in enumerate(result.tasks("importance_own")):
        label, drawn = facts.label(task), []
        for kind, colour, used in (("right", BLUE, right), ("unchanged", RED, np.ones_like(right))):
            mine = used & (label_of == i)
            outcome = "still right" if kind == "right" else "unchanged"
            if not mine.any():
                continue
            own = np.asarray(result.arrays[f"ablation/curve/{kind}"].values)[mine].mean(0)
            random = np.asarray(result.arrays[f"ablation/curve_random/{kind}"].values)[mine].mean(0)  # [set size]
            drawn.append(Curve(f"{outcome}, leading heads", sizes, tuple(map(float, own)), colour))
            spread = np.quantile(random, [0.05, 0.5, 0.95], axis=0) if len(random) else np.empty((3, 0))
            mean = random.mean(0) if len(random) else np.empty(0)
            band = tuple((float(a), float(b)) for a, b in zip(spread[0], spread[2], strict=True))
            if len(random):
                drawn.append(Curve(f"{outcome}, random heads", sizes, tuple(map(float, mean)), colour, True, band))
            rows += [
                (label, outcome, int(n), float(own[k]), *_random_cells(mean, spread, k)) for k, n in enumerate(sizes)
            ]
        n = int((right & (label_of == i)).sum())
        panels.append(CurvePanel(label, f"{n} of {int((label_of == i).sum())} right", tuple(drawn)))
    return Figure(
        id="cognitive-masked",
        suite=result.suite,
        title=f"{name}: answers as more heads are removed",
        caption=captions.join(
            f"Answers of {captions.grid_words(view)} while heads are removed in the order of own importance (solid), "
            f"against {said.curve_sets} sets of random heads (dashed).",
            "Blue: share still right of the questions answered rightly before (n in the titles); red: share of all "
            "answers unchanged.",
            captions.synthetic(view),
        ),
        alt=f"{len(panels)} plots of right and unchanged answers against the number of removed heads.",
        chart=later(
            curves, panels, "# Masked Heads", "Score", view.style, top=1.0, ticks=sizes, synthetic=_synthetic(view)
        ),
        data=Table(
            "cognitive/masked", "Answers while heads are removed",
            (Column("function"), Column("outcome"), Column("heads removed"), Column("leading heads"),
             Column("random heads, mean"), Column("random, 5 %"), Column("random, 95 %")), tuple(rows),
        ),
        notes=captions.notes(
            "Heads are removed in order of their own importance for a function, on the function's own test "
            "questions.",
            "Random heads: matched in layer and output norm; dashed, mean; band, 5 to 95 % of the sets.",
            caption_text.removed(said),
            "Blue: share still correct of the questions that the intact model answers correctly (their number in the "
            "titles).",
            "Red: share of all questions whose answer does not change, right or wrong; it covers the blue if all "
            "questions were right.",
        ),
    )  # fmt: skip


def _random_cells(mean: npt.NDArray[Any], spread: npt.NDArray[Any], k: int) -> tuple[Cell, Cell, Cell]:
    return (float(mean[k]), float(spread[0][k]), float(spread[2][k])) if len(mean) else (None, None, None)


def _matrix(result: SuiteResult, view: View, facts: CognitiveFacts) -> Figure:
    name, said = captions.model_name(view), facts.ablation or AblationFacts()
    labels = [facts.label(task) for task in result.tasks("importance_own")]
    label_of = np.asarray(result.arrays["ablation/function"].values)
    used = np.asarray(result.arrays["ablation/intact_right"].values, dtype=bool)
    used = used if said.right_only else np.ones_like(used)
    change = np.asarray(result.arrays[f"ablation/{said.how}/logprob"].values, dtype=float)
    change = change - np.asarray(result.arrays["ablation/intact"].values, dtype=float)[:, None]
    values = np.array([change[used & (label_of == i)].mean(0) for i in range(len(labels))])  # [questions of, heads of]
    counts = [said.functions[label].used if label in said.functions else 0 for label in labels]
    rows = [
        (labels[q], labels[h], float(values[q, h]), counts[q]) for q in range(len(labels)) for h in range(len(labels))
    ]
    which = "that the intact model answers rightly" if said.right_only else "of the test split"
    return Figure(
        id="cognitive-ablation",
        suite=result.suite,
        title=f"{name}: each function's heads ablated, on each function's questions",
        caption=captions.join(
            f"Change in the right answer's log-probability (nats) in {captions.grid_words(view)} without the column's "
            "heads (n in brackets).",
            f"Own minus other functions' heads: {caption_text.signed_number(said.contrast)} "
            f"[{caption_text.signed_number(said.low)}, {caption_text.signed_number(said.high)}], p = "
            f"{caption_text.p(said.p)}.",
            caption_text.specific(said.functions),
            captions.synthetic(view),
        ),
        alt=f"Matrix of {len(labels)} by {len(labels)} functions: change in the answer's log-probability.",
        chart=later(matrix, values, labels, counts, view.style, synthetic=_synthetic(view)),
        data=Table(
            "cognitive/ablation_matrix", "Change of the answer's log-probability",
            (Column("questions of"), Column("heads of"), Column("change", "nats"), Column("n")), tuple(rows),
        ),
        notes=captions.notes(
            f"Change: the mean over the questions {which}.",
            caption_text.removed(said),
            caption_text.sets_words(said),
            "Own minus other functions' heads: over all questions, with p from sign flips over chains.",
        ),
    )  # fmt: skip


def _synthetic(view: View) -> bool:
    return view.synthetic or view.model.synthetic


def _sized(scores: HeadScores) -> npt.NDArray[np.float32]:
    return np.abs(scores.values)


def _falling(scores: HeadScores) -> list[float]:
    size = np.abs(scores.values[np.isfinite(scores.values)]).astype(float)
    return [float(f"{y:.6g}") for y in np.sort(size)[::-1]]
