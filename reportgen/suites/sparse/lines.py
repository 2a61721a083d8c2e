"""Line figures of the sparse suite: faithfulness against edges kept, training, and the threshold control."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from reportgen.figures import captions, theme
from reportgen.figures.figure import Figure, View
from reportgen.scores import Cell, Column, NamedArray, SuiteResult, Table
from reportgen.suites.sparse import curves, sentences
from reportgen.suites.sparse.curves import Axis

_DRAWS = 1000  # bootstrap draws of the band
_DOTS = 60  # more lines of a log are drawn without dots


def _field(array: NamedArray, name: str) -> npt.NDArray[np.float64]:
    """One column of an array whose last dimension has labels."""
    dim = array.dims[-1]
    return np.asarray(array.values[..., array.labels[dim].index(name)], dtype=np.float64)


def _rows(array: NamedArray) -> tuple[tuple[Cell, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in array.values)


def _styled(chart: Any, view: View) -> Any:
    chart.config = alt.Config.from_dict(theme.config(view.style))
    return chart


def _title(view: View, words: str) -> str:
    mark = "SYNTHETIC " if captions.synthetic(view) else ""
    return f"{mark}{captions.model_name(view)}: {words}"


def faithfulness(result: SuiteResult, view: View) -> Figure | None:
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
    hues, shown = curves.colours(view.style.palette), []
    cells: list[tuple[Cell, ...]] = []
    axes = curves.channels(
        Axis("edges kept, the others resampled from other text", 1, float(sizes[-1]), log=True),
        Axis("share of m recovered", -0.1, 1.15),
    )
    for name, rows in zip(names, curve.values, strict=True):
        known = rows[solved][np.isfinite(rows[solved]).all(1)][:, : len(sizes)]  # [prompt size]
        if not len(known):
            continue
        mean, (low, high) = known.mean(0), np.percentile(known, [25, 75], axis=0)
        shown.append(curves.band(f"band_{name}", list(zip(sizes, low, high, strict=True)), hues[name], axes))
        shown += curves.line(f"line_{name}", list(zip(sizes, mean, strict=True)), hues[name], axes,
                             dash=(5, 2) if name == "thresholded" else (1, 0))  # fmt: skip
        at = int(np.argmax(mean >= 0.5)) if (mean >= 0.5).any() else len(sizes) - 1
        place = {"dense": (34, -0.02), "thresholded": (6, -0.24)}.get(name, (-52, 0.1))  # points, share
        shown.append(
            curves.words(
                f"name_{name}", [(sizes[at], float(mean[at]) + place[1], name)], axes, colour=hues[name], dx=place[0]
            )
        )
        cells += [(name, size, *(float(v[i]) for v in (mean, low, high)), len(known)) for i, size in enumerate(sizes)]
    shown.append(curves.rule("enough", 0.9, "#777777", axes))
    title = _title(view, "faithfulness against edges kept")
    return Figure(
        id="sparse-faithfulness",
        suite=result.suite,
        title=title,
        caption=captions.join(
            f"Share of the logit difference that the strongest edges of {captions.grid_words(view)} and of its sparse "
            f"partner {result.facts.get('sparse_model', '')} recover (mean and middle half of n = {int(solved.sum())} "
            "prompts).",
            sentences.dense_and_sparse(result.facts, "edges_90"),
            captions.synthetic(view),
        ),
        alt="Curves of recovered share against edges kept for the dense, thresholded and sparse model.",
        chart=_styled(curves.framed(shown, title), view),
        data=Table("sparse/faithfulness", "Faithfulness against edges kept",
                   tuple(Column(c) for c in ("model", "edges", "mean", "quarter", "three_quarters", "prompts")),
                   tuple(cells)),
        notes=captions.notes(
            "Share of m = logit(answer) − logit(foil) that the n edges with the largest first-order effect recover "
            f"when every other edge sends what it sends on other text ({result.facts.get('draws')} contexts a prompt).",
            f"Drawn: {int(solved.sum())} prompts that every column solves, of {len(solved)}; line: mean, band: middle "
            "half.",
            "Dashed grey: 0.9, where edges_90 is read.",
            sentences.counts(result.facts, "edges_90"),
            sentences.counts(result.facts, "edges_90_twin"),
            sentences.gate(result.facts),
        ),
    )  # fmt: skip


def training(result: SuiteResult, view: View) -> Figure | None:
    """Open edges and held-out loss over the post-training; None where the checkpoint has no record."""
    log, made = result.arrays.get("training"), result.facts.get("made")
    if log is None or not isinstance(made, dict):
        return None
    hues = curves.colours(view.style.palette)
    steps, percent, hard = (_field(log, name) for name in ("step", "edges_percent", "loss_hard_nats"))
    across = Axis("training step", 0, float(steps[-1]), form=",d")
    dots = len(steps) <= _DOTS
    low, high = 10 ** math.floor(math.log10(max(percent.min(), 1e-3))), 100.0
    top = curves.channels(across, Axis("open edges, % of causal pairs", low, high, log=True))
    upper = curves.framed(curves.line("edges", list(zip(steps, percent, strict=True)), hues["sparse"], top, dots=dots),
                          _title(view, "post-training to sparse attention"), 150)  # fmt: skip
    dense = float(made["log_dense_nats"])
    slack = float(result.facts["gate"]["slack_nats"])  # type: ignore[index]
    ends = [*hard, dense, dense + slack]
    pad = 0.2 * (max(ends) - min(ends))
    down = curves.channels(across, Axis("held-out loss, nats", min(ends) - pad, max(ends) + pad))
    shown = curves.line("loss", list(zip(steps, hard, strict=True)), hues["sparse"], down, dots=dots)
    shown += [
        curves.rule("dense", dense, hues["dense"], down, (1, 0)),
        curves.rule("limit", dense + slack, "#b23", down),
    ]
    shown.append(curves.words("limit_name", [(0.0, dense, f"grey: dense, red: dense + {slack:g}")], down,
                              colour="#b23", dx=4, dy=8))  # fmt: skip
    return Figure(
        id="sparse-training",
        suite=result.suite,
        title=_title(view, "post-training to sparse attention"),
        caption=captions.join(
            f"Open edges and held-out loss while {captions.grid_words(view)} is post-trained to sparse attention "
            f"({made['steps']:,} steps).",
            "Grey: dense model; red: the limit.",
            f"Final: {made['edges_percent']:.2f} % of the edges; loss {made['sparse_hard_nats']:.4f} nats against "
            f"{made['dense_nats']:.4f}{_excess(made)}.",
            captions.synthetic(view),
        ),
        alt="Two curves over training: the share of open edges falls, the loss returns to the dense model's.",
        chart=_styled(curves.stacked([upper, curves.framed(shown, "", 120)]), view),
        data=Table("sparse/training", "Post-training", tuple(Column(c) for c in log.labels["field"]), _rows(log)),
        notes=captions.notes(
            f"Trained on {made['text']}, sequences of T = {made['length']} tokens, seed {made['seed']}.",
            "The losses drawn are those with hard gates; the final ones are on all reporting sequences.",
            _finetuned(made),
            sentences.gate(result.facts),
        ),
    )


def _excess(made: dict[str, Any]) -> str:
    if len(found := made.get("excess_nats", ())) != 3:
        return ""
    return f" ({found[0]:+.4f} [{found[1]:.4f}, {found[2]:.4f}], n = {made['sequences']:,})"


def _finetuned(made: dict[str, Any]) -> str:
    found = made.get("finetuned_nats")
    if found is None:
        return ""
    return f"Control: the dense model trained on for as many steps, without gates, ends at {found:.4f} nats."


def thresholds(result: SuiteResult, view: View) -> Figure | None:
    """The dense pattern cut at thresholds without training, beside the trained sparse model."""
    cuts, points = result.arrays.get("thresholds"), result.facts.get("on_curve")
    if cuts is None or not isinstance(points, dict):
        return None
    nats = {name: float(point["loss_nats"]) for name, point in points.items()}
    percent = {name: float(point["edges_percent"]) for name, point in points.items()}
    hues = curves.colours(view.style.palette)
    share, loss, scaled = (_field(cuts, n) for n in ("edges_percent", "loss_nats", "loss_renormalised_nats"))
    every = [*loss, *scaled, nats["dense"], nats["sparse"]]
    least = min(share.min(), percent["sparse"])
    axes = curves.channels(
        Axis("edges left, % of causal pairs", 0.7 * least, 130, log=True),
        Axis("held-out loss, nats", min(every) - 0.1, max(every) + 0.2),
    )
    shown = curves.line("cut", list(zip(share, loss, strict=True)), hues["thresholded"], axes, dots=True)
    shown += curves.line("renormalised", list(zip(share, scaled, strict=True)), hues["thresholded"], axes, dash=(3, 3))
    names = [(float(share[0]), float(loss[0]), "dense pattern cut, no training")]
    shown.append(curves.words("cut_name", names, axes, colour=hues["thresholded"], dx=26))
    for name, dx, align in (("sparse", 8, "left"), ("dense", -8, "right")):
        at = (percent[name], nats[name])
        shown += curves.points(name, [(*at, name)], hues[name], axes)
        shown.append(curves.words(f"{name}_name", [(*at, f"{name} {nats[name]:.3f}")], axes, colour=hues[name],
                                  align=align, dx=dx, dy=-9))  # fmt: skip
    title = _title(view, "few edges by training, or by cutting")
    text = result.facts["text"]
    return Figure(
        id="sparse-thresholds",
        suite=result.suite,
        title=title,
        caption=captions.join(
            f"Held-out loss against edges left: patterns of {captions.grid_words(view)} cut without training (dashed: "
            f"renormalised), and its sparse partner (n = {result.facts.get('curve_sequences')} sequences).",
            sentences.at_once(result.facts),
            captions.synthetic(view),
        ),
        alt="Loss against share of edges: cutting the dense pattern costs loss early, the sparse model does not.",
        chart=_styled(curves.framed(shown, title), view),
        data=Table("sparse/thresholds", "Dense pattern cut at thresholds",
                   tuple(Column(c) for c in cuts.labels["field"]), _rows(cuts)),
        notes=captions.notes(
            f"The dense model's pattern is cut at {len(share)} thresholds; sequences of T = "
            f"{text['length']} tokens.",  # type: ignore[index]
            f"Drawn: the first {result.facts.get('curve_sequences')} of the sequences; the numbers told are on all.",
            sentences.losses(result.facts),
            sentences.edges(result.facts),
            sentences.agreement(result.facts),
            sentences.gate(result.facts),
        ),
    )  # fmt: skip
