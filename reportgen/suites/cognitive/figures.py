"""Figures of the heads for cognitive functions: importance maps, decay curves, masked-heads curves, ablation matrix.

The maps follow Cognitive Mirrors (arXiv 2512.10978): layers downwards, one viridis bar `Heads Importance`, its top
tick with a plus where cells lie beyond. Default is the head's own part; the published quantity stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from reportgen.figures import captions
from reportgen.figures.alone import Maker, OneByOne
from reportgen.figures.curves import BLUE, GREY, RED, Curve, Panel, curves
from reportgen.figures.data import table
from reportgen.figures.figure import Figure, View
from reportgen.figures.head_maps import HeadMap, maps
from reportgen.scores import Cell, Column, HeadScores, SuiteResult, Table
from reportgen.suites.cognitive import words
from reportgen.suites.cognitive.matrix import matrix

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
    yield from (partial(_maps, result, view, measure) for measure in _KINDS)
    rest = [_signed, *([_alone] if result.tasks("alone") else []), _decay]
    rest += [*([_masked] if "ablation/curve/right" in result.arrays else []), _matrix]
    yield from (partial(make, result, view) for make in rest)


def _panels(result: SuiteResult, measure: str) -> list[HeadScores]:
    return [result[f"{measure}/{task}"] for task in result.tasks(measure)]


def _maps(result: SuiteResult, view: View, measure: str) -> Figure:
    name, (figure_id, short, meaning) = captions.model_name(view), _KINDS[measure]
    scores = _panels(result, measure)
    shown = [
        HeadMap(
            words.label(result, s.task), words.subtitle(result.facts, words.label(result, s.task)), s, words.beyond(s)
        )
        for s in scores
    ]
    sizes = [_sized(s) for s in scores]
    return Figure(
        id=figure_id,
        suite=result.suite,
        title=f"{name}: {short} of every head for each function",
        caption=captions.join(
            f"{meaning} of every head of {captions.grid_words(view)} for {words.count(scores)} (n = {words.n(scores)} "
            "rows each).",
            words.dots(scores),
            words.largest(result, scores),
            words.probe_accuracy(result.facts),
            captions.synthetic(view),
        ),
        alt=f"{len(scores)} layer by head maps of {short} in {name}, one per function.",
        chart=maps(shown, BAR, view.style, down=True, synthetic=_synthetic(view)),
        data=table([(s, ()) for s in scores], f"{short} of every head"),
        notes=captions.notes(
            words.ON_TOP,
            f"Importance is a mean over the held-out rows of the function (n = {words.n(scores)}) and "
            f"{words.part(result.facts, 'probe').get('seeds')} probes.",
            words.meaning(measure),
            words.published_note(measure),
            words.probe(result.facts),
            words.clipped(scores, measure, signed=False),
            words.line(result.facts, scores),
            words.leading(sizes, measure),
            words.accuracy(result.facts),
            words.causal(result.facts),
            captions.missing(scores[0]),
        ),
    )


def _signed(result: SuiteResult, view: View) -> Figure:
    name, scores = captions.model_name(view), _panels(result, "importance_own")
    shown = [HeadMap(words.label(result, s.task), "", s, words.beyond(s)) for s in scores]
    return Figure(
        id="cognitive-importance-signed",
        suite=result.suite,
        title=f"{name}: own importance with its sign",
        caption=captions.join(
            f"Own importance, with its sign, of every head of {captions.grid_words(view)} for {words.count(scores)} "
            f"(n = {words.n(scores)} rows each): above zero for the function, below against it.",
            words.dots(scores),
            words.largest(result, scores, signed=True),
            captions.synthetic(view),
        ),
        alt=f"{len(scores)} layer by head maps of signed own importance in {name}.",
        chart=maps(shown, BAR, view.style, signed=True, down=True, synthetic=_synthetic(view)),
        data=table([(s, ()) for s in scores], "own importance with its sign"),
        notes=captions.notes(
            words.ON_TOP,
            f"Importance is a mean over the held-out rows of the function (n = {words.n(scores)}) and "
            f"{words.part(result.facts, 'probe').get('seeds')} probes.",
            "Sign of own importance: above zero the head's output speaks for the function in the probe, below zero "
            "against it.",
            words.clipped(scores, "signed", signed=True),
            words.line(result.facts, scores),
            captions.missing(scores[0]),
        ),
    )


def _alone(result: SuiteResult, view: View) -> Figure:
    name, scores = captions.model_name(view), _panels(result, "alone")
    shown = [HeadMap(words.label(result, s.task), words.highest(s), s, words.beyond(s)) for s in scores]
    low = sum(int((s.values < CHANCE).sum()) for s in scores)
    return Figure(
        id="cognitive-alone",
        suite=result.suite,
        title=f"{name}: what each head alone tells of the function",
        caption=captions.join(
            f"What each head of {captions.grid_words(view)} alone tells of {words.count(scores)}: AUC of a logistic "
            f"regression (n = {words.n(scores)} test rows each; chance 0.5).",
            words.alone_dots(scores),
            words.largest(result, scores),
            captions.synthetic(view),
        ),
        alt=f"{len(scores)} layer by head maps of what each head of {name} alone tells, one per function.",
        chart=maps(shown, "AUC of the head alone", view.style, start=CHANCE, down=True, synthetic=_synthetic(view)),
        data=table([(s, ()) for s in scores], "what each head alone tells"),
        notes=captions.notes(
            words.ON_TOP,
            "AUC, area under the ROC curve: the function against the others, of a logistic regression that sees this "
            f"head's output and nothing else, on the test rows (n = {words.n(scores)} of the function).",
            "0.5 is chance"
            + (f"; {captions.plural(low, 'cell')} below it take the bar's lowest colour." if low else "."),
            "In the titles: the largest value, which is too good as an estimate, since it is picked.",
            words.alone_null(result.facts, scores),
            captions.missing(scores[0]),
        ),
    )


def _decay(result: SuiteResult, view: View) -> Figure:
    name, facts = captions.model_name(view), result.facts
    scores, published = _panels(result, "importance_own"), _panels(result, "importance")
    line = scores[0].line
    panels, rows = [], list[tuple[Cell, ...]]()
    for own, whole in zip(scores, published, strict=True):
        label = words.label(result, own.task)
        kept = _whole(words.part(facts, "elbow").get(label))
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
        panels.append(Panel(label, "", tuple(drawn), dot, levels))
        rows += [(own.key, kind, i + 1, y) for kind, ys in sizes.items() for i, y in enumerate(ys)]
    return Figure(
        id="cognitive-decay",
        suite=result.suite,
        title=f"{name}: how importance falls off from head to head",
        caption=captions.join(
            f"Heads of {captions.grid_words(view)} by falling importance, per function (n = {words.n(scores)} rows "
            "each): |I| as published (solid), its own part (dashed).",
            f"Red dot: the published elbow and the heads before it{words.noise_short(facts)}.",
            f"Dotted: the own part's family-wise line, {captions.number(line)}." if line is not None else "",
            captions.synthetic(view),
        ),
        alt=f"{len(panels)} curves of falling importance with the elbow marked.",
        chart=curves(panels, "Heads", "Importance", view.style, synthetic=_synthetic(view)),
        data=Table(
            "cognitive/decay", "Importance in falling order",
            (Column("key"), Column("part"), Column("rank"), Column("size", digits=5)), tuple(rows),
        ),
        notes=captions.notes(
            "Elbow: the point of |I| farthest below the chord of its ends.",
            words.noise(facts),
            words.line(facts, scores),
        ),
    )  # fmt: skip


def _masked(result: SuiteResult, view: View) -> Figure:
    name, said = captions.model_name(view), words.part(result.facts, "ablation")
    label_of = np.asarray(result.arrays["ablation/function"].values)
    right = np.asarray(result.arrays["ablation/intact_right"].values, dtype=bool)
    sizes = tuple(float(n) for n in said.get("sizes", ()))
    panels, rows = [], list[tuple[Cell, ...]]()
    for i, task in enumerate(result.tasks("importance_own")):
        label, drawn = words.label(result, task), []
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
        panels.append(Panel(label, f"{n} of {int((label_of == i).sum())} right", tuple(drawn)))
    return Figure(
        id="cognitive-masked",
        suite=result.suite,
        title=f"{name}: answers while more and more heads are removed",
        caption=captions.join(
            f"Answers of {captions.grid_words(view)} while heads are removed in the order of own importance (solid), "
            f"against {said.get('curve_sets')} sets of random heads (dashed).",
            "Blue: share still right of the questions answered rightly before (n in the titles); red: share of all "
            "answers unchanged.",
            captions.synthetic(view),
        ),
        alt=f"{len(panels)} plots of right and unchanged answers against the number of removed heads.",
        chart=curves(panels, "# Masked Heads", "Score", view.style, top=1.0, ticks=sizes, synthetic=_synthetic(view)),
        data=Table(
            "cognitive/masked", "Answers while heads are removed",
            (Column("function"), Column("outcome"), Column("heads removed"), Column("leading heads"),
             Column("random heads, mean"), Column("random, 5 %"), Column("random, 95 %")), tuple(rows),
        ),
        notes=captions.notes(
            "Heads are removed in the order of their own importance for a function, on the function's own test "
            "questions.",
            "Random heads: of the same layers and like output norm; dashed, mean; band, 5 to 95 % of the sets.",
            words.removed(said),
            "Blue: share still right of the questions that the intact model answers rightly (their number in the "
            "titles).",
            "Red: share of all questions whose answer stays what it was, right or wrong; it covers the blue where all "
            "questions were right.",
        ),
    )  # fmt: skip


def _random_cells(mean: npt.NDArray[Any], spread: npt.NDArray[Any], k: int) -> tuple[Cell, Cell, Cell]:
    return (float(mean[k]), float(spread[0][k]), float(spread[2][k])) if len(mean) else (None, None, None)


def _matrix(result: SuiteResult, view: View) -> Figure:
    name, said = captions.model_name(view), words.part(result.facts, "ablation")
    labels = [words.label(result, task) for task in result.tasks("importance_own")]
    how, functions = said.get("how", "mean"), words.part(said, "functions")
    label_of = np.asarray(result.arrays["ablation/function"].values)
    used = np.asarray(result.arrays["ablation/intact_right"].values, dtype=bool)
    used = used if said.get("right_only") else np.ones_like(used)
    change = np.asarray(result.arrays[f"ablation/{how}/logprob"].values, dtype=float)
    change = change - np.asarray(result.arrays["ablation/intact"].values, dtype=float)[:, None]
    values = np.array([change[used & (label_of == i)].mean(0) for i in range(len(labels))])  # [questions of, heads of]
    counts = [int(words.part(functions, label).get("used", 0)) for label in labels]
    rows = [
        (labels[q], labels[h], float(values[q, h]), counts[q]) for q in range(len(labels)) for h in range(len(labels))
    ]
    which = "that the intact model answers rightly" if said.get("right_only") else "of the test split"
    return Figure(
        id="cognitive-ablation",
        suite=result.suite,
        title=f"{name}: every function's heads removed, every function's questions asked",
        caption=captions.join(
            f"Change of the right answer's log-probability (nats) in {captions.grid_words(view)} without the column's "
            "heads (n in brackets).",
            f"Own minus other functions' heads: {words.signed_number(said.get('contrast'))} "
            f"[{words.signed_number(said.get('low'))}, {words.signed_number(said.get('high'))}], p = "
            f"{words.p(said.get('p'))}.",
            words.specific(functions),
            captions.synthetic(view),
        ),
        alt=f"Matrix of {len(labels)} by {len(labels)} functions: change of the answer's log-probability.",
        chart=matrix(values, labels, counts, view.style, synthetic=_synthetic(view)),
        data=Table(
            "cognitive/ablation_matrix", "Change of the answer's log-probability",
            (Column("questions of"), Column("heads of"), Column("change", "nats"), Column("n")), tuple(rows),
        ),
        notes=captions.notes(
            f"Change: the mean over the questions {which}.",
            words.removed(said),
            words.sets_words(said),
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


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
