"""Figures of the sparse suite: the circuit of a prompt, edges per head, training, thresholds, faithfulness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from reportgen.figures import captions
from reportgen.figures.chart_data import table
from reportgen.figures.curves import GREY, Axis, Band, Curve, CurvePanel, Label, even, line_chart, log_axis
from reportgen.figures.figure import Figure, Maker, OneByOne, View, later
from reportgen.figures.heatmap import pair
from reportgen.figures.theme import CATEGORY_COLOURS, nice_step, text_width
from reportgen.scores import Cell, Column, HeadScores, NamedArray, SuiteResult, Table
from reportgen.suites.facts import read
from reportgen.suites.sparse.drawing import caption_text, circuit
from reportgen.suites.sparse.facts import Made, SparseFacts

# Line figures of the sparse suite: faithfulness against edges kept, training, and the threshold control.

_DOTS = 60  # more lines of a log are drawn without dots
_LIMIT = "#b22233"


def _field(array: NamedArray, name: str) -> npt.NDArray[np.float64]:
    """One column of an array whose last dimension has labels."""
    dim = array.dims[-1]
    return np.asarray(array.values[..., array.labels[dim].index(name)], dtype=np.float64)


def _rows(array: NamedArray) -> tuple[tuple[Cell, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in array.values)


def _colours(view: View) -> dict[str, str]:
    """Column -> its colour in every chart of the suite."""
    hues = CATEGORY_COLOURS[view.style.palette]
    return {"dense": hues[7], "thresholded": hues[1], "sparse": hues[0]}


def _line(x: Iterable[float], y: Iterable[float], colour: str, **look: Any) -> Curve:
    return Curve("", [float(v) for v in x], [float(v) for v in y], colour, width=look.pop("width", 1.8), **look)


def _across(x: Axis, y: float, colour: str, dash: tuple[float, ...] = (4, 3)) -> Curve:
    return _line((x.low, x.high), (y, y), colour, dash=dash, width=1.1)


def _linear(title: str, low: float, high: float) -> Axis:
    return Axis(title, low, high, even(low, high, nice_step(high - low)))


def _chart(panels: Sequence[CurvePanel], axes: Sequence[tuple[Axis, Axis]], view: View) -> Any:
    """Plots one below the other."""
    aspect = 0.58 if len(panels) == 1 else 0.41
    return line_chart(panels, axes, view.style, aspect=aspect, natural=390.0, widest=33.0, in_row=1)


def _title(view: View, words: str) -> str:
    mark = "SYNTHETIC " if captions.synthetic(view) else ""
    return f"{mark}{captions.model_name(view)}: {words}"


def faithfulness(result: SuiteResult, view: View, facts: SparseFacts) -> Figure | None:
    """Share of the clean-resampled gap that n edges recover, mean over prompts that every column solves."""
    curve, values = result.arrays.get("curves"), result.arrays.get("values")
    if curve is None or values is None or not np.isfinite(curve.values).any():
        return None
    names, metrics = curve.labels["column"], values.labels["metric"]
    solved = (values.values[:, metrics.index("solved")] == 1).all(0)  # [prompt]
    if not solved.any():
        return None
    most = float(values.values[:, metrics.index("nonzero")].max())  # edges of the largest prompt
    every = [int(size) for size in curve.labels["size"]]
    sizes = every[: int(np.searchsorted(every, most)) + 1]
    hues, bands, lines = _colours(view), list[Band](), list[Curve]()
    labels: list[Label] = []
    cells: list[tuple[Cell, ...]] = []
    x = log_axis("edges kept, the others resampled from other text", 1, float(sizes[-1]))
    y = _linear("share of m recovered", -0.1, 1.15)
    for name, rows in zip(names, curve.values, strict=True):
        known = rows[solved][np.isfinite(rows[solved]).all(1)][:, : len(sizes)]  # [prompt size]
        if not len(known):
            continue
        mean, (low, high) = known.mean(0), np.percentile(known, [25, 75], axis=0)
        bands.append(Band("", sizes, low.tolist(), high.tolist(), 0.2, hues[name]))
        lines.append(_line(sizes, mean, hues[name], dash=(5, 2) if name == "thresholded" else ()))
        at = int(np.argmax(mean >= 0.5)) if (mean >= 0.5).any() else len(sizes) - 1
        place = {"dense": (34, -0.02), "thresholded": (6, -0.24)}.get(name, (-52, 0.1))  # points, share
        labels.append(Label(name, sizes[at], float(mean[at]) + place[1], hues[name], place[0]))
        cells += [(name, size, *(float(v[i]) for v in (mean, low, high)), len(known)) for i, size in enumerate(sizes)]
    lines.append(_across(x, 0.9, GREY))
    title = _title(view, "faithfulness against edges kept")
    panel = CurvePanel(title, "", lines, bands=bands, labels=labels)
    return Figure(
        id="sparse-faithfulness",
        suite=result.suite,
        title=title,
        caption=captions.join(
            f"Share of the logit difference that the strongest edges of {captions.grid_words(view)} and of its sparse "
            f"partner {facts.sparse_model} recover (mean and middle half of n = {int(solved.sum())} "
            "prompts).",
            caption_text.dense_and_sparse(facts, "edges_90"),
            captions.synthetic(view),
        ),
        alt="Curves of recovered share against edges kept for the dense, thresholded and sparse model.",
        chart=later(_chart, [panel], [(x, y)], view),
        data=Table("sparse/faithfulness", "Faithfulness against edges kept",
                   tuple(Column(c) for c in ("model", "edges", "mean", "quarter", "three_quarters", "prompts")),
                   tuple(cells)),
        notes=captions.notes(
            "Share of m = logit(answer) − logit(foil) that the n edges with the largest first-order effect recover "
            f"when every other edge sends what it sends on other text ({facts.draws} contexts a prompt).",
            f"Drawn: {int(solved.sum())} prompts that every column solves, of {len(solved)}; line: mean, band: middle "
            "half.",
            "Dashed grey: 0.9, where edges_90 is read.",
            caption_text.counts(facts, "edges_90"),
            caption_text.counts(facts, "edges_90_twin"),
            caption_text.gate(facts),
        ),
    )  # fmt: skip


def training(result: SuiteResult, view: View, facts: SparseFacts) -> Figure | None:
    """Open edges and held-out loss over the post-training; None where the checkpoint has no record."""
    log, made = result.arrays.get("training"), facts.made
    if log is None or made is None or facts.gate is None:
        return None
    hues = _colours(view)
    steps, percent, hard = (_field(log, name) for name in ("step", "edges_percent", "loss_hard_nats"))
    last = float(steps[-1])
    across = Axis("training step", 0, last, [(tick, f"{tick:,.0f}") for tick, _ in even(0, last, nice_step(last, 7))])
    dot = 26.0 if len(steps) <= _DOTS else 0.0
    low, high = 10 ** math.floor(math.log10(max(percent.min(), 1e-3))), 100.0
    upper = CurvePanel(
        _title(view, "post-training to sparse attention"), "", [_line(steps, percent, hues["sparse"], dot=dot)]
    )
    dense, slack = made.log_dense_nats, facts.gate.slack_nats
    ends = [*hard, dense, dense + slack]
    pad = 0.2 * (max(ends) - min(ends))
    lines = [
        _line(steps, hard, hues["sparse"], dot=dot),
        _across(across, dense, hues["dense"], (1, 0)),
        _across(across, dense + slack, _LIMIT),
    ]
    lower = CurvePanel("", "", lines, labels=[Label(f"grey: dense, red: dense + {slack:g}", 0, dense, _LIMIT, 4, 8)])
    axes = [
        (across, log_axis("open edges, % of causal pairs", low, high)),
        (across, _linear("held-out loss, nats", min(ends) - pad, max(ends) + pad)),
    ]
    return Figure(
        id="sparse-training",
        suite=result.suite,
        title=_title(view, "post-training to sparse attention"),
        caption=captions.join(
            f"Open edges and held-out loss while {captions.grid_words(view)} is post-trained to sparse attention "
            f"({made.steps:,} steps).",
            "Grey: dense model; red: the limit.",
            f"Final: {made.edges_percent:.2f} % of the edges; loss {made.sparse_hard_nats:.4f} nats against "
            f"{made.dense_nats:.4f}{_excess(made)}.",
            captions.synthetic(view),
        ),
        alt="Two curves over training: the share of open edges falls, the loss returns to the dense model's.",
        chart=later(_chart, [upper, lower], axes, view),
        data=Table("sparse/training", "Post-training", tuple(Column(c) for c in log.labels["field"]), _rows(log)),
        notes=captions.notes(
            f"Trained on {made.text}, sequences of T = {made.length} tokens, seed {made.seed}.",
            "The losses drawn are those with hard gates; the final ones are on all reporting sequences.",
            _finetuned(made),
            caption_text.gate(facts),
        ),
    )


def _excess(made: Made) -> str:
    if len(made.excess_nats) != 3:
        return ""
    mean, low, high = made.excess_nats
    return f" ({mean:+.4f} [{low:.4f}, {high:.4f}], n = {made.sequences:,})"


def _finetuned(made: Made) -> str:
    if made.finetuned_nats is None:
        return ""
    return (
        f"Control: the dense model trained on for as many steps, without gates, ends at {made.finetuned_nats:.4f} nats."
    )


def thresholds(result: SuiteResult, view: View, facts: SparseFacts) -> Figure | None:
    """The dense pattern cut at thresholds without training, beside the trained sparse model."""
    cuts, points, text = result.arrays.get("thresholds"), facts.on_curve, facts.text
    if cuts is None or points is None or text is None:
        return None
    nats = {name: point.loss_nats for name, point in points.items()}
    percent = {name: point.edges_percent for name, point in points.items()}
    hues = _colours(view)
    share, loss, scaled = (_field(cuts, n) for n in ("edges_percent", "loss_nats", "loss_renormalised_nats"))
    every = [*loss, *scaled, nats["dense"], nats["sparse"]]
    least = min(share.min(), percent["sparse"])
    x = log_axis("edges left, % of causal pairs", 0.7 * least, 130)
    y = _linear("held-out loss, nats", min(every) - 0.1, max(every) + 0.2)
    lines = [
        _line(share, loss, hues["thresholded"], dot=26.0),
        _line(share, scaled, hues["thresholded"], dash=(3, 3)),
    ]
    labels = [Label("dense pattern cut, no training", float(share[0]), float(loss[0]), hues["thresholded"], 26)]
    for name in ("sparse", "dense"):
        lines.append(_line([percent[name]], [nats[name]], hues[name], dot=70.0))
        words = f"{name} {nats[name]:.3f}"
        right = 8.0 if name == "sparse" else -8.0 - text_width(words, 0.88 * view.style.font_size)
        labels.append(Label(words, percent[name], nats[name], hues[name], right, -9))
    title = _title(view, "few edges by training, or by cutting")
    panel = CurvePanel(title, "", lines, labels=labels)
    return Figure(
        id="sparse-thresholds",
        suite=result.suite,
        title=title,
        caption=captions.join(
            f"Held-out loss against edges left: patterns of {captions.grid_words(view)} cut without training (dashed: "
            f"renormalised), and its sparse partner (n = {facts.curve_sequences} sequences).",
            caption_text.at_once(facts),
            captions.synthetic(view),
        ),
        alt="Loss against share of edges: cutting the dense pattern costs loss early, the sparse model does not.",
        chart=later(_chart, [panel], [(x, y)], view),
        data=Table("sparse/thresholds", "Dense pattern cut at thresholds",
                   tuple(Column(c) for c in cuts.labels["field"]), _rows(cuts)),
        notes=captions.notes(
            f"The dense model's pattern is cut at {len(share)} thresholds; sequences of T = "
            f"{text.length} tokens.",
            f"Drawn: the first {facts.curve_sequences} of the sequences; the numbers told are on all.",
            caption_text.losses(facts),
            caption_text.edges(facts),
            caption_text.agreement(facts),
            caption_text.gate(facts),
        ),
    )  # fmt: skip


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """Those that the result has the numbers for, the circuit first."""
    facts = read(result, SparseFacts)
    made = (circuit.figure, faithfulness, _edges, training, thresholds)
    yield from (partial(make, result, view, facts) for make in made)


def _edges(result: SuiteResult, view: View, facts: SparseFacts) -> Figure | None:
    """Edges per token of every head, dense (thresholded) and sparse."""
    dense, sparse = result.get("edges_per_token", "dense"), result.get("edges_per_token", "sparse")
    if dense is None or sparse is None:
        return None
    name = captions.model_name(view)
    return Figure(
        id="sparse-edges",
        suite=result.suite,
        title=f"{name}: attention edges per token",
        caption=captions.join(
            f"Edges per token of every head of {captions.grid_words(view)}, left, and of its sparse partner "
            f"{facts.sparse_model}, right (n = {sparse.n} sequences).",
            _open(facts),
            captions.best_head(dense).replace("Highest:", "Highest left:"),
            captions.best_head(sparse).replace("Highest:", "Highest right:"),
            captions.synthetic(view),
        ),
        alt=f"Layer by head maps of attention edges per token, {name} on the left, sparse copy on the right.",
        chart=later(pair, (_free(dense), [], f"{name}: dense"), (_free(sparse), [], f"{name}: sparse"), view),
        data=table([(dense, []), (sparse, [])], "Attention edges per token"),
        notes=captions.notes(
            _rule(facts),
            "Each map has its own colour scale.",
            caption_text.edges(facts),
            captions.caveat([dense, sparse]),
            caption_text.gate(facts),
        ),
    )


def _open(facts: SparseFacts) -> str:
    """Share of the causal pairs that are edges, on the left and on the right."""
    percent = facts.edges_percent
    if percent is None:
        return ""
    left = f"left {percent['thresholded']:.1f} %, " if "thresholded" in percent else ""
    return f"Open: {left}right {percent['sparse']:.2f} %."


def _free(scores: HeadScores) -> HeadScores:
    """With a colour scale that ends at the data: of (T + 1) / 2 possible edges a sparse head has hardly any."""
    return replace(scores, range=(0.0, math.inf))


def _rule(facts: SparseFacts) -> str:
    """What counts as an edge on the left."""
    threshold = facts.threshold
    if threshold is None:
        return "Left: every key that the causal mask allows."
    return (
        f"Left: pattern ≥ {threshold:.3g}, the highest threshold at which dropping the rest costs no more loss than "
        "the sparse model is allowed; right: open gates."
    )
