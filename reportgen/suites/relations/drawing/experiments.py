"""Figures of the experiments: causal ablation, static against dynamic scores, and score against k."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Floats
from reportgen.figures import captions
from reportgen.figures.chart_data import round6
from reportgen.figures.curves import BLUE, GREY, AblationCurve, AblationStep, Curve, CurvePanel, ablation_curves, curves
from reportgen.figures.figure import Figure, View, later
from reportgen.figures.points import Cloud, scatter
from reportgen.scores import Cell, Column, Head, HeadScores, SuiteResult, Table, head_name
from reportgen.stats import wilson
from reportgen.suites.relations.categories import part, relation_facts, span, threshold, title_of

# Causal ablation: a relation's accuracy as its top heads are removed one after the other, beside the controls.

# Columns of the table ablation_curves, in the order of Step's fields; the column before them is the relation.
_COLUMNS = ("Relation", "Heads removed", "Accuracy", "low", "high", "Random heads", "5 %", "95 %", "Controls")


def ablation_figure(result: SuiteResult, view: View) -> Figure | None:
    """A panel per relation that was ablated, in the order scored; None for a run without the curves."""
    table = next((t for t in result.tables if t.key == "ablation_curves"), None)
    if table is None or tuple(c.name for c in table.columns) != _COLUMNS or not table.rows:
        return None
    curves = {stem: _curve(result, table, stem) for stem in dict.fromkeys(str(row[0]) for row in table.rows)}
    name = captions.model_name(view)
    title = f"{name}: accuracy without a relation's heads"
    return Figure(
        id="relations-ablation",
        suite=result.suite,
        title=title,
        caption=_ablation_caption(_facts(result), view, curves),
        alt=f"Accuracy of {name} on {len(curves)} relations against the number of heads ablated, with controls.",
        chart=later(
            ablation_curves,
            list(curves.values()), view.style, "random heads, 5 to 95 %",
            synthetic=view.synthetic or view.model.synthetic,
        ),
        data=Table("relations-ablation", title, table.columns, table.rows),
        notes=_ablation_notes(_facts(result), curves),
    )  # fmt: skip


def _curve(result: SuiteResult, table: Table, stem: str) -> AblationCurve:
    steps = tuple(_step(row) for row in table.rows if row[0] == stem)
    reported = _about(result, stem).get("removed")
    at = next((step for step in steps if step.removed == reported), None)
    return AblationCurve(title_of(result, stem), steps, at.removed if at else None, _line(at, steps) if at else "")


def _step(row: Sequence[Cell]) -> AblationStep:
    numbers = [float(cell) if isinstance(cell, int | float) else math.nan for cell in row[2:]]
    return AblationStep(int(row[1]) if isinstance(row[1], int | float) else 0, *numbers)


def _line(at: AblationStep, steps: Sequence[AblationStep]) -> str:
    """`13 heads: 0.02, random 0.61 [0.40, 0.75]`; `30: 0.03, 13 random 0.84 [...]` where fewer others are left."""
    banded = [step for step in steps if not math.isnan(step.random) and 0 < step.removed <= at.removed]
    last = banded[-1] if banded else None
    if last is None:
        return f"{captions.plural(at.removed, 'head')}: {at.accuracy:.2f}"
    band = f"{last.random:.2f} [{last.random_low:.2f}, {last.random_high:.2f}]"
    if last is at:
        return f"{captions.plural(at.removed, 'head')}: {at.accuracy:.2f}, random {band}"
    return f"{at.removed}: {at.accuracy:.2f}, {last.removed} random {band}"


def _ablation_caption(facts: Mapping[str, Any], view: View, curves: Mapping[str, AblationCurve]) -> str:
    found = [about["n_prompts"] for about in part(facts, "relations").values() if "n_prompts" in about]
    n = f" (n = {span(found)} prompts each)" if found else ""
    at = [step for curve in curves.values() for step in curve.steps if step.removed == curve.reported]
    banded = [step for step in at if not math.isnan(step.random_low)]
    below = sum(1 for step in banded if step.accuracy < step.random_low)
    return captions.join(
        f"Accuracy of {captions.grid_words(view)} on {captions.plural(len(curves), 'relation')}{n} as heads are "
        "removed: by highest static score (blue), random ones (grey).",
        "At the dotted line accuracy is below the band of random heads on "
        f"{below} of {captions.plural(len(banded), 'relation')}." if banded else "",
        captions.synthetic(view),
    )  # fmt: skip


def _ablation_notes(facts: Mapping[str, Any], curves: Mapping[str, AblationCurve]) -> tuple[str, ...]:
    return captions.notes(
        "Accuracy: the share of prompts whose most likely next token is the target.",
        "Blue: the relation's heads removed cumulatively, highest static score first, at the last position of the "
        f"prompt{_how(facts)}; shaded, 95 % interval clustered by target.",
        _random(facts),
        "Dashed: mean accuracy of other tasks with the same heads removed." if _has_controls(curves)
        else "No other task had similar accuracy and different heads, as a control task needs.",
        "Dotted: the reported number of heads, the first without a correct answer, else all.",
        _fallbacks(facts),
    )  # fmt: skip


def _how(facts: Mapping[str, Any]) -> str:
    mode = facts.get("mode")
    if mode == "mean":
        return " (output set to its mean over the relation's prompts)"
    return " (output set to zero)" if mode == "zero" else ""


def _random(facts: Mapping[str, Any]) -> str:
    n = facts.get("n_random")
    if not isinstance(n, int) or n <= 0:
        return ""
    return (
        f"Grey: the same number of other heads, matched in layer and output norm if possible: mean and 5 to 95 % of "
        f"{captions.plural(n, 'random set')}, as far as other heads exist."
    )


def _fallbacks(facts: Mapping[str, Any]) -> str:
    """How often a random head came from another layer or had another norm."""
    relations = [r for r in part(facts, "relations").values() if isinstance(r, Mapping)]
    draws = sum(r["draws"] for r in relations if isinstance(r.get("draws"), int))
    layers, norms = (
        sum(r[name] for r in relations if isinstance(r.get(name), int))
        for name in ("layer_fallbacks", "norm_fallbacks")
    )
    if not draws or not (layers or norms):
        return ""
    return (
        f"Of {draws:,} random heads, {captions.percent(layers / draws)} came from the nearest layer with heads left "
        f"and {captions.percent(norms / draws)} were not within a factor of two of the norm."
    )


def _has_controls(curves: Mapping[str, AblationCurve]) -> bool:
    return any(not math.isnan(step.controls) for curve in curves.values() for step in curve.steps)


def _facts(result: SuiteResult) -> Mapping[str, Any]:
    return part(result.facts, "ablation")


def _about(result: SuiteResult, stem: str) -> Mapping[str, Any]:
    return part(part(_facts(result), "relations"), stem)


# Static against dynamic relation scores: what the weights say of a head, and what it writes when prompts are read.

_MOST = 12  # panels
_KINDS = (("dynamic", "w/o context"), ("dynamic_context", "w/ context"))
Numbers = tuple[float | None, ...]  # r, low, high, rho, low, high


def dynamic_figure(result: SuiteResult, view: View) -> Figure | None:
    """A panel per relation that was scored in prompts, the strongest where they are many; None without any."""
    stems = [s for s in result.tasks("score") if all(result.get(kind, s) is not None for kind, _ in _KINDS)]
    if not stems:
        return None
    shown = _strongest(result, stems)
    numbers = {stem: _numbers(result, stem) for stem in stems}
    name = captions.model_name(view)
    title = f"{name}: static against dynamic relation scores"
    return Figure(
        id="relations-dynamic",
        suite=result.suite,
        title=title,
        caption=_dynamic_caption(result, view, stems, shown, numbers),
        alt=f"Scatter plots of static against dynamic scores of the heads of {name}, one per relation.",
        chart=later(
            scatter,
            [_cloud(result, stem, numbers[stem]) for stem in shown], view.style, ("static score", "dynamic score"),
            ("without context", "with context"), synthetic=view.synthetic or view.model.synthetic,
        ),
        data=_dynamic_table(result, stems, title),
        notes=_dynamic_notes(result, stems, shown, numbers),
    )  # fmt: skip


def _strongest(result: SuiteResult, stems: Sequence[str]) -> list[str]:
    """The relations with the highest static score of any head, in the order scored."""
    order = sorted(stems, key=lambda stem: -_highest(result[f"score/{stem}"]))
    return [stem for stem in stems if stem in order[:_MOST]]


def _highest(scores: HeadScores) -> float:
    finite = scores.values[np.isfinite(scores.values)]
    return float(finite.max()) if finite.size else 0.0


def _cloud(result: SuiteResult, stem: str, numbers: Sequence[Numbers]) -> Cloud:
    static, *ys = (_flat(result[f"{kind}/{stem}"]) for kind in ("score", *(kind for kind, _ in _KINDS)))
    return Cloud(title_of(result, stem), static, ys, [_words(found) for found in numbers])


def _flat(scores: HeadScores) -> npt.NDArray[np.float64]:
    return scores.values.ravel().astype(np.float64)


def _numbers(result: SuiteResult, stem: str) -> list[Numbers]:
    """Correlations without and with context, from the table of the run; None where it has none."""
    table = next((t for t in result.tables if t.key == "dynamic_correlation"), None)
    if table is None:
        return [(None,) * 6] * 2
    names = [column.name for column in table.columns]
    row = next((row for row in table.rows if row[names.index("Relation")] == title_of(result, stem)), None)
    found = []
    for _, words in _KINDS:
        cells: list[Cell] = []
        for name in (f"Correlation {words}", f"Rank correlation {words}"):
            at = names.index(name) if name in names else len(names)
            cells += (row or ())[at : at + 3]
        found.append(tuple(c if isinstance(c, float) else None for c in [*cells, *[None] * 6][:6]))
    return found


def _words(numbers: Numbers) -> str:
    """`r .83 [.71, .90]  ρ .61 [.50, .70]`."""
    r, low, high, rho, rho_low, rho_high = (_short(x) for x in numbers)
    return f"r {r} [{low}, {high}]  ρ {rho} [{rho_low}, {rho_high}]" if numbers[0] is not None else "r not computed"


def _short(value: float | None) -> str:
    if value is None:
        return "–"
    text = f"{abs(value):.2f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0") else text)


def _dynamic_table(result: SuiteResult, stems: Sequence[str], title: str) -> Table:
    """One row per relation and head."""
    columns = (Column("relation"), Column("head"), *(Column(name, digits=4) for name in ("static", *dict(_KINDS))))
    rows: list[tuple[Cell, ...]] = []
    for stem in stems:
        grids = [result[f"{kind}/{stem}"].values for kind in ("score", *(kind for kind, _ in _KINDS))]
        for layer, head in np.ndindex(grids[0].shape):
            values = (float(grid[layer, head]) for grid in grids)
            rows.append((stem, head_name(layer, head), *(round6(v) if np.isfinite(v) else None for v in values)))
    return Table("relations-dynamic", title, columns, tuple(rows))


def _dynamic_caption(
    result: SuiteResult, view: View, stems: Sequence[str], shown: Sequence[str], numbers: Mapping[str, list[Numbers]]
) -> str:
    some = f"{len(shown)} of " if len(shown) < len(stems) else ""
    r = [_median_r(numbers, i) for i in range(2)]
    return captions.join(
        f"Static against dynamic relation scores of n = {_heads(result, stems)} heads of {captions.grid_words(view)} "
        f"on {some}{captions.plural(len(stems), 'relation')}.",
        f"Without context (circles) median r is {r[0]}, with (crosses) {r[1]}; r's 95 % interval is above 0 on "
        f"{_above(numbers, 0)} and {_above(numbers, 1)} of all {len(stems)}."
        if all(r)
        else "Circles: without context; crosses: with context.",
        captions.synthetic(view),
    )


def _median_r(numbers: Mapping[str, list[Numbers]], kind: int) -> str:
    known = [r for found in numbers.values() if (r := found[kind][0]) is not None]
    return captions.number(median(known)) if known else ""


def _above(numbers: Mapping[str, list[Numbers]], kind: int) -> int:
    """On how many relations the interval of r is above zero."""
    return sum(1 for found in numbers.values() if (low := found[kind][1]) is not None and low > 0)


def _dynamic_notes(
    result: SuiteResult, stems: Sequence[str], shown: Sequence[str], numbers: Mapping[str, list[Numbers]]
) -> tuple[str, ...]:
    templates = part(result.facts, "dynamic").get("templates")
    over = (
        f", averaged over {captions.plural(len(templates), 'template')}" if isinstance(templates, list | tuple) else ""
    )
    n = [result[f"score/{stem}"].n for stem in stems]
    chosen = (
        f"Shown: the {len(shown)} of {len(stems)} relations with the highest static scores of a head; the table "
        "of correlations has all."
    )
    return captions.notes(
        f"x: the static score, from the weights (n = {span(n)} pairs).",
        f"Up: the share of pairs whose target the head writes among its top k when a prompt with the source is "
        f"read{over}.",
        "Circles: without context (the last position attends only to the source); crosses: with context, as run.",
        f"r and ρ: Pearson's and Spearman's correlation over n = {_heads(result, stems)} heads, with 95 % bootstrap "
        "intervals over heads (key-value groups resampled together).",
        *(_medians(numbers, i) for i in range(2)),
        "Heads at the same point are drawn once, larger if there are more.",
        "Dashed: both scores equal.",
        "Axes differ between panels.",
        chosen if len(shown) < len(stems) else "",
    )


def _heads(result: SuiteResult, stems: Sequence[str]) -> str:
    """How many heads have a static score: `48`, or `46 to 48`."""
    counts = [int(np.isfinite(result[f"score/{stem}"].values).sum()) for stem in stems]
    return span(counts)


def _medians(numbers: Mapping[str, list[Numbers]], kind: int) -> str:
    """Median correlations over all relations, and on how many the interval of r is above zero."""
    rs = [found[kind][0] for found in numbers.values()]
    rhos = [found[kind][3] for found in numbers.values()]
    known, ranks = [r for r in rs if r is not None], [r for r in rhos if r is not None]
    if not known or not ranks:
        return ""
    words = ("Without", "With")[kind]
    return (
        f"{words} context: median r {captions.number(median(known))}, ρ {captions.number(median(ranks))}; "
        f"r's interval is above 0 on {_above(numbers, kind)} of {captions.plural(len(known), 'relation')}."
    )


# Score against k, from the stored ranks: how much a head's score owes to the k that was chosen.

_BEYOND = 2.5  # times the largest k: how far curves go
_LINE = "τ"


@dataclass(frozen=True, eq=False)
class Course:
    """One relation's scores at k = 1, 2, ...: of the head that is highest at `used`, and the median over heads, [k]."""

    head: Head
    used: int
    n: int
    best: Floats
    median: Floats


def k_figure(result: SuiteResult, view: View) -> Figure | None:
    """A panel per relation, the strongest where they are many; None for a run without ranks or without k."""
    ks = {stem: relation_facts(result, stem).get("k") for stem in result.tasks("score")}
    used = {s: k for s, k in ks.items() if isinstance(k, int) and k > 0 and f"ranks/{s}" in result.arrays}
    if not used:
        return None
    right = round(_BEYOND * max(used.values()))
    found = {stem: course for stem, k in used.items() if (course := _course(result, stem, k, right)) is not None}
    if not found:
        return None
    order = sorted(found, key=lambda stem: -found[stem].best[found[stem].used - 1])
    shown = [stem for stem in found if stem in order[:_MOST]]
    name, tau = captions.model_name(view), threshold(result)
    title = f"{name}: relation scores against k"
    return Figure(
        id="relations-k",
        suite=result.suite,
        title=title,
        caption=_k_caption(found, shown, view, tau),
        alt=f"Score of the highest head of {name} against k, {len(shown)} relations.",
        chart=later(
            curves,
            [_panel(result, stem, found[stem], tau) for stem in shown], "k", "relation score", view.style, top=1.0,
            synthetic=view.synthetic or view.model.synthetic,
        ),
        data=_k_table(found, title),
        notes=_k_notes(found, shown),
    )  # fmt: skip


def _course(result: SuiteResult, stem: str, used: int, right: int) -> Course | None:
    order = result[f"score/{stem}"].ranking()
    if not order:
        return None
    twice = np.asarray(result.arrays[f"ranks/{stem}"].values, dtype=np.int64)  # [pair layer head], doubled ranks
    pairs, _, heads = twice.shape
    # A mid-rank r counts from k = ceil(r) on; 0 is no rank.
    first = np.clip((twice + 1) // 2, 1, right + 1).reshape(pairs, -1)
    known = (twice > 0).all(axis=0).ravel()
    hits = np.stack([np.bincount(column, minlength=right + 2)[1 : right + 1] for column in first.T]).cumsum(axis=1)
    shares = hits / pairs  # [layer*head k]
    at = order[0][0] * heads + order[0][1]
    return Course(order[0], used, pairs, shares[at], np.median(shares[known], axis=0))


def _panel(result: SuiteResult, stem: str, course: Course, tau: float | None) -> CurvePanel:
    x = tuple(float(k) for k in range(1, len(course.best) + 1))
    low, high = wilson(np.rint(course.best * course.n), course.n)
    band = tuple(zip(low.tolist(), high.tolist(), strict=True))
    at = float(course.best[course.used - 1])
    return CurvePanel(
        title=title_of(result, stem),
        subtitle=f"{head_name(*course.head)}, k = {course.used}: {at:.2f}, n = {course.n}",
        curves=(
            Curve("head that is highest at the k used", x, tuple(course.best.tolist()), BLUE, band=band),
            Curve("median head", x, tuple(course.median.tolist()), GREY, dashed=True),
        ),
        dots=((float(course.used), at, ""),),
        levels=((tau, _LINE),) if tau is not None else (),
    )


def _k_caption(found: Mapping[str, Course], shown: Sequence[str], view: View, tau: float | None) -> str:
    """How far the curves say that the choice of k matters."""
    steep = [course for course in found.values() if tau is not None and course.best[course.used - 1] >= tau]
    half = sum(1 for c in steep if c.best[max(0, c.used // 2 - 1)] >= (tau or 0))
    return captions.join(
        f"Relation scores of heads of {captions.grid_words(view)} against k (n = "
        f"{span([found[stem].n for stem in shown])} pairs).",
        "Blue: the highest head at the k used (red dot); grey: the median.",
        f"At half of k it still reaches τ = {tau:g} on {half} of {captions.plural(len(steep), 'relation')}."
        if steep
        else "",
        captions.synthetic(view),
    )


def _k_notes(found: Mapping[str, Course], shown: Sequence[str]) -> tuple[str, ...]:
    return captions.notes(
        "Score at k, from the stored ranks: the share of a relation's n pairs whose target has rank ≤ k.",
        "Blue band: Wilson's 95 % interval of the head that is highest at the k used, not corrected for its selection.",
        "Grey: the median over heads.",
        f"Shown: the {len(shown)} of {len(found)} relations with the highest scores."
        if len(shown) < len(found)
        else "",
    )


def _k_table(found: Mapping[str, Course], title: str) -> Table:
    """One row per relation and k."""
    columns = (
        Column("relation"), Column("head"), Column("k used"), Column("n"), Column("k"), Column("score", digits=4),
        Column("median head", digits=4),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = [
        (stem, head_name(*c.head), c.used, c.n, k + 1, round6(float(best)), round6(float(median)))
        for stem, c in found.items()
        for k, (best, median) in enumerate(zip(c.best, c.median, strict=True))
    ]
    return Table("relations-k", title, columns, tuple(rows))
