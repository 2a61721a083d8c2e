"""Figures of the task circuits: maps of direct and total effects, the circuit drawn, its faithfulness, and reuse."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from reportgen.figures import captions
from reportgen.figures.chart_data import table
from reportgen.figures.figure import Figure, Maker, OneByOne, View, later, supplementary
from reportgen.figures.heatmap import heatmap, pair
from reportgen.figures.overlap import Cell as Pair
from reportgen.figures.overlap import HeadGroup, overlap
from reportgen.figures.theme import exact, nice_step
from reportgen.scores import Cell, Column, HeadScores, HeadSet, SuiteResult, Table
from reportgen.suites.circuits.drawing import circuit
from reportgen.suites.circuits.drawing.circuit import HELD_OUT, best_of, held_out, short
from reportgen.suites.circuits.facts import Attribution, CircuitFacts, PairFacts, ReuseFacts, TaskFacts, TextFacts
from reportgen.suites.facts import read

# Heads on natural text: direct and total change of the loss, side by side.

TASK = "natural_text"


def natural_text_figure(result: SuiteResult, view: View, suite_facts: CircuitFacts) -> Figure | None:
    """Direct beside total, estimates marked as such; None where either was not measured."""
    facts = suite_facts.natural_text or TextFacts()
    total, direct = result.get("text_loss", TASK), result.get("text_loss_direct", TASK)
    if total is None or direct is None:
        return None
    reach = joint_reach(direct, total)
    direct = replace(direct, label="Loss, direct (nats per token)", range=reach)
    total = replace(total, label="Loss, total (nats per token)", range=reach)
    sets = captions.choose(view, "induction", tasks=("attention/",), papers=())
    name = captions.model_name(view)
    return Figure(
        id="circuits-text_loss",
        suite=result.suite,
        title=f"{name}: loss on natural text when a head is {facts.ablated}",
        caption=captions.join(
            f"Change of loss (nats/token) with one head of {captions.grid_words(view)} {facts.ablated}: direct left, "
            f"total right (n = {total.n} windows).",
            captions.beats_null(total) if total.p is not None else "",
            best_of(direct, total),
            captions.synthetic(view),
        ),
        alt=f"Two layer by head maps of {name}: direct and total change in loss on text.",
        chart=later(pair, (direct, sets, f"{name}: direct"), (total, sets, f"{name}: total"), view),
        data=table([(direct, sets), (total, sets)]),
        head_sets=tuple(sets),
        notes=captions.notes(
            f"Change of the next-token loss on natural text when one head is {facts.ablated}; above zero the head "
            "helps.",
            "Left: every other head keeps its output (direct).",
            "Right: everything downstream recomputes (total); if that is less, other heads compensate.",
            _text(facts),
            captions.estimates(total),
            _check(facts),
            captions.best_head(total, signed=True).replace("Highest:", "On the right, highest:"),
            captions.caveat([direct, total]),
            captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
            *captions.rules(sets),
        ),
    )


def _text(facts: TextFacts) -> str:
    words = "" if facts.loss_nats is None else f"; loss of the whole model {captions.number(facts.loss_nats)} nats"
    return f"Text: {facts.source}, {facts.windows} windows, {facts.tokens} tokens{words}."


def _check(facts: TextFacts) -> str:
    rho, direct = facts.spearman, facts.spearman_direct
    if rho is None or direct is None:
        return ""
    where = f"{facts.over} ({facts.n_random} heads)"
    some = facts.over != "all heads"
    poor = " Below 0.8: the order of estimates is not to be read." if some and min(rho, direct) < 0.8 else ""
    return f"Estimate against exact values over {where}: Spearman {rho:.2f} total, {direct:.2f} direct.{poor}"


_PAPERS = {"ioi": ("wang2022ioi", "merullo2023reuse"), "colored_objects": ("merullo2023reuse",),
           "greater_than": ("hanna2023greaterthan",)}  # fmt: skip
_DIRECT = ("mover", "negative", "backup", "taking_over", "unseen")
_TOTAL = (*_DIRECT, "inhibition", "one_family")  # these act through other heads, or on these templates alone


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """Per task its map, its circuit and its total effects; then faithfulness, reuse and natural text."""
    facts = read(result, CircuitFacts)
    for task in result.tasks("direct"):
        of = facts.task(task)
        yield from (partial(make, result, view, of, task) for make in (_direct, circuit.graph))
        yield supplementary(partial(_total, result, view, of, task))
    whole = (circuit.faithfulness, reuse_matrix, effect_difference, natural_text_figure)
    yield from (partial(make, result, view, facts) for make in whole)


def _sets(view: View, task: str, roles: tuple[str, ...]) -> list[HeadSet]:
    return captions.choose(view, *roles, tasks=(f"circuits/{task}/",), papers=_PAPERS.get(task, ()))


def _direct(result: SuiteResult, view: View, facts: TaskFacts, task: str) -> Figure:
    words = short(facts, task)
    scores = replace(result[f"direct/{task}"], label=f"Direct effect on the logits ({words})")
    sets = _sets(view, task, _DIRECT)
    name = captions.model_name(view)
    title = f"{name}: direct effect on {words}"
    return Figure(
        id=f"circuits-{task}",
        suite=result.suite,
        title=title,
        caption=_caption(facts, view, scores),
        alt=f"Layer by head map of the direct effects on {words} in {name}, both signs.",
        chart=later(heatmap, scores, view, sets, title),
        data=table([(scores, sets)], title),
        head_sets=tuple(sets),
        notes=_notes(facts, view, scores, sets),
    )


def _caption(facts: TaskFacts, view: View, scores: HeadScores) -> str:
    return captions.join(
        f"Direct effect of every head of {captions.grid_words(view)} on {facts.title} (share of the "
        f"clean-corrupted gap; n = {scores.n} prompts).",
        captions.beats_null(scores),
        held_out(facts) or captions.best_head(scores, signed=True),
        captions.synthetic(view),
    )


def _notes(facts: TaskFacts, view: View, scores: HeadScores, sets: list[HeadSet]) -> tuple[str, ...]:
    return captions.notes(
        facts.form,
        "Colour of direct effects: share of the gap between clean and corrupted prompts that is lost when this head "
        "alone gives its corrupted output and every other head its clean one; above zero the head supports the answer.",
        _gap(facts),
        _circuit(facts),
        HELD_OUT if held_out(facts) else "",
        captions.best_head(scores, signed=True) if held_out(facts) else "",
        captions.caveat([scores]),
        _twin(facts),
        _knock_out(facts),
        captions.missing(scores),
        captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
        *captions.rules(sets),
        _paleness(facts, sets),
        captions.agreement(sets),
    )


def _gap(facts: TaskFacts) -> str:
    """Names the task: the PDF prints what two figures say once, away from both."""
    unit = "in probability" if facts.unit == "probability" else "logits"
    return "" if facts.gap is None else f"The gap of {facts.title} is {captions.number(facts.gap)} {unit}."


def _circuit(facts: TaskFacts) -> str:
    if facts.n_circuit is None or facts.effect_share is None or facts.alpha is None:
        return ""
    heads, share = captions.plural(facts.n_circuit, "head"), captions.percent(facts.effect_share)
    return f"{facts.title}: {heads} with |effect| ≥ {share} of the gap and p ≤ {facts.alpha:g}."


def _twin(facts: TaskFacts) -> str:
    """What the same prompts do where nothing was learnt."""
    twin = facts.twin
    if twin is None:
        return ""
    size = captions.number(twin.largest) if twin.largest >= 0.001 else "below 0.001"
    return (
        f"{facts.title}: a randomly initialised twin puts the answer above its foil on "
        f"{captions.percent(twin.accuracy)} of the prompts; the largest |effect| of any of its heads is {size} of this "
        "model's gap."
    )


def _knock_out(facts: TaskFacts) -> str:
    out = facts.knock_out
    if out is None:
        return ""
    before, after = captions.percent(out.accuracy_before), captions.percent(out.accuracy_after)
    return f"Without the {facts.mover}s ({', '.join(out.heads)}) accuracy goes from {before} to {after}."


def _paleness(facts: TaskFacts, sets: list[HeadSet]) -> str:
    if not any(s.weights for s in sets if s.kind == "computed"):
        return ""
    tried = facts.rephrased is not None and facts.rephrased.again is not None
    words = "templates, prompts and other words" if tried else "templates and prompts"
    return f"The smaller the share of resamplings of {words} that select a head, the paler its computed marker."


def _total(result: SuiteResult, view: View, facts: TaskFacts, task: str) -> Figure | None:
    """Total effects beside what attribution makes of them, or beside denoising where it was measured."""
    total, other = result.get("total", task), result.get("total_denoising", task) or result.get("attribution", task)
    if total is None or other is None:
        return None
    words, name = short(facts, task), captions.model_name(view)
    right = "denoising" if other.measure == "total_denoising" else "attribution"
    reach = joint_reach(total, other)  # one scale for both
    total = replace(total, label=f"Total effect ({words})", range=reach)
    other = replace(other, label=f"Total effect, {right} ({words})", range=reach)
    sets = _sets(view, task, _TOTAL)
    panels = ((total, sets, f"{name}: total effect on {words}"), (other, sets, f"{name}: {right}"))
    return Figure(
        id=f"circuits-{task}-total",
        suite=result.suite,
        title=f"{name}: total effects on {words}, patched and by {right}",
        caption=_total_caption(facts, view, total, other),
        alt=f"Two layer by head maps of {name} on {words}: total effects by noising, and by {right}.",
        chart=later(pair, *panels, view),
        data=table([(total, sets), (other, sets)]),
        head_sets=tuple(sets),
        notes=_total_notes(facts, view, total, other, sets),
    )


def _total_caption(facts: TaskFacts, view: View, total: HeadScores, other: HeadScores) -> str:
    """Estimates on the right are not named: how far to trust them is said instead."""
    rho = None if facts.attribution is None else facts.attribution.spearman
    right = "denoising right" if other.measure == "total_denoising" else "attribution right"
    if other.measure != "total_denoising" and rho is not None:
        right += f" (Spearman {rho:.2f})"
    return captions.join(
        f"Total effects on {facts.title} in {captions.grid_words(view)}, n = {total.n} prompts: noising left, {right}.",
        captions.beats_null(total),
        best_of(total, other) if other.measure == "total_denoising" else captions.best_head(total, signed=True),
        "Filled corner: exact." if total.estimated is not None else "",
        captions.synthetic(view),
    )


def _total_notes(
    facts: TaskFacts, view: View, total: HeadScores, other: HeadScores, sets: list[HeadSet]
) -> tuple[str, ...]:
    return captions.notes(
        "Total effect, left: share of the gap between clean and corrupted prompts that is lost when the clean prompt "
        "gets this head's corrupted output and everything downstream recomputes (noising).",
        _gap(facts),
        captions.estimates(total),
        "Total effect, right: share restored when the corrupted prompt gets the head's clean output (denoising)."
        if other.measure == "total_denoising"
        else "Total effect, right: the first-order estimate for all heads from one backward pass.",
        _agreement(facts, facts.attribution),
        captions.best_head(total, signed=True).replace("Highest:", "On the left, highest:")
        if other.measure == "total_denoising"
        else "",
        _families(facts),
        captions.caveat([total]),
        captions.missing(total),
        captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
        *captions.rules(sets),
    )


def _agreement(facts: TaskFacts, found: Attribution | None) -> str:
    if found is None or found.spearman is None:
        return ""
    words = "one gradient" if found.steps == 1 else f"gradients averaged over {found.steps} inputs"
    verdict = " Below 0.8: use the exact values." if found.poor else ""
    denoising = None if facts.attribution_denoising is None else facts.attribution_denoising.spearman
    back = "" if denoising is None else f" and {denoising:.2f} against exact denoising"
    return (
        f"{facts.title}: attribution patching ({words}) ranks heads with Spearman {found.spearman:.2f} against exact "
        f"noising{back} over {found.over} ({found.n_heads} heads).{verdict}"
    )


def _families(facts: TaskFacts) -> str:
    """Which of the heads have their total effect on other templates, too."""
    found = facts.families
    if found is None or found.tried is None:
        return ""
    lost = []
    for head, ends in found.one_only.items():
        here, there = (
            "{} [{}, {}]".format(*("not known" if v is None else captions.number(v) for v in end)) for end in ends
        )
        lost.append(f"{head} ({here} here, {there} there)")
    words = f" On these templates only, and so no claim: {', '.join(lost)}." if lost else ""
    open_ = len(found.unsettled)
    words += f" For {open_} more the other prompts are too few to tell." if open_ else ""
    return (
        f"{facts.title} in other words ({found.templates} templates, n = {found.n}): {len(found.both)} of the "
        f"{captions.plural(found.tried, 'head')} tried have their total effect, too.{words}"
    )


# Which heads several tasks' circuits share: a matrix with counts, and the difference of two tasks' effects.

_PAIR = ("ioi", "colored_objects")  # whose reuse Merullo et al. report


def reuse_matrix(result: SuiteResult, view: View, facts: CircuitFacts) -> Figure | None:
    """The overlap matrix; None with fewer than two circuits."""
    if facts.reuse is None or not facts.reuse.pairs:
        return None
    found = facts.reuse
    titles = [found.titles.get(task, task) for task in found.tasks]
    at = {task: i for i, task in enumerate(found.tasks)}
    cells = [Pair(at[p.a], at[p.b], p.both, p.smaller, p.expected, _p(p.p_holm)) for p in found.pairs]
    groups = [HeadGroup(tuple(at[task] for task in group.tasks), len(group.heads)) for group in found.groups]
    name = captions.model_name(view)
    title = f"{name}: components reused across tasks"
    return Figure(
        id="circuits-reuse",
        suite=result.suite,
        title=title,
        caption=_reuse_caption(view, found),
        alt=f"Matrix of the heads that the circuits of {len(titles)} tasks share in {name}, and heads counted by "
        "tasks.",
        chart=later(
            overlap,
            titles,
            [found.sizes.get(task, 0) for task in found.tasks],
            cells,
            groups,
            view.style,
            synthetic=view.synthetic or view.model.synthetic,
        ),
        data=_pair_table(title, found.pairs),
        notes=_reuse_notes(found),
    )


def _p(value: float | None) -> str:
    p = float("nan") if value is None else value
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _reuse_caption(view: View, facts: ReuseFacts) -> str:
    best, reused = _best(facts), len(facts.reused)
    return captions.join(
        f"Heads that the circuits of {len(facts.tasks)} tasks share in {captions.grid_words(view)}.",
        f"Largest share: {facts.titles.get(best.a, best.a)} and {facts.titles.get(best.b, best.b)} with {best.both} of "
        f"the {best.smaller} heads of the smaller circuit (expected {best.expected:.1f}, p {_p(best.p_holm)}).",
        f"In at least two circuits: {captions.plural(reused, 'head') if reused else 'no head'}.",
        captions.synthetic(view),
    )


def _best(facts: ReuseFacts) -> PairFacts:
    """The pair that shares most of its smaller circuit."""
    return max(facts.pairs, key=lambda p: p.both / max(1, p.smaller))


def _reuse_notes(facts: ReuseFacts) -> tuple[str, ...]:
    rho = _best(facts).spearman_total
    return captions.notes(
        "A circuit is the heads of all its stages.",
        "Expected: as many heads per layer as each circuit has, drawn within the layer; p: at least as many shared by "
        "such chance, exact, corrected for the number of pairs (Holm).",
        ""
        if rho is None
        else f"Spearman of all heads' total effects in the two tasks of the largest share: {rho:.2f}.",
        f"In at least two circuits: {', '.join(facts.reused)}." if facts.reused else "",
    )


def _pair_table(title: str, pairs: Sequence[PairFacts]) -> Table:
    names = PairFacts.__struct_fields__
    rows: tuple[tuple[Cell, ...], ...] = tuple(tuple(getattr(p, name) for name in names) for p in pairs)
    return Table("circuits/reuse", title, tuple(Column(name, digits=4) for name in names), rows)


def effect_difference(result: SuiteResult, view: View, facts: CircuitFacts) -> Figure | None:
    """Total effects of one task, and how much larger they are than those of the task that shares most with it."""
    if facts.reuse is None or not facts.reuse.pairs:
        return None
    best = min(facts.reuse.pairs, key=lambda p: ((p.a, p.b) != _PAIR, -p.both))
    a, b = best.a, best.b
    one, other = result[f"total/{a}"], result[f"total/{b}"]
    words, against = short(facts.task(a), a), short(facts.task(b), b)
    left = replace(one, label=f"Total effect ({words})")
    values = (one.values - other.values).astype(np.float32)
    told = None if one.estimated is None and other.estimated is None else ~(one.exact & other.exact)
    right = HeadScores(
        key=f"circuits/total_difference/{a}-{b}",
        label=f"Total effect, {words} − {against}",
        values=values,
        n=min(one.n, other.n),
        no_null="a difference of two tasks' effects",
        reasons={**other.reasons, **one.reasons},
        estimated=None if told is None else told & np.isfinite(values),
        estimator="attribution, in one task or both" if told is not None else "",
    )
    sets = [s for s in view.overlays if s.key == "circuits/reuse/reused" and s.heads] + _users(view)
    name = captions.model_name(view)
    return Figure(
        id="circuits-reuse-difference",
        suite=result.suite,
        title=f"{name}: {words} and {against}, head by head",
        caption=captions.join(
            f"Total effect of every head of {captions.grid_words(view)} on {words} (left; n = {one.n} prompts) and how "
            f"far it exceeds that on {against} (right; n = {other.n}).",
            best_of(left, right, signed=True),
            "Filled corner: exact." if told is not None else "",
            captions.synthetic(view),
        ),
        alt=f"Two layer by head maps of {name}: total effects on {words}, and their difference from {against}.",
        chart=later(pair, (left, sets, f"{name}: {words}"), (right, sets, f"{name}: {words} − {against}"), view),
        data=table([(left, sets), (right, sets)]),
        head_sets=tuple(sets),
        notes=captions.notes(
            "Left: share of the first task's clean-corrupted gap.",
            "Right: near zero if both tasks use a head equally, red if the first relies on it more.",
            captions.estimates(right),
            captions.caveat([left]),
            captions.missing(right),
            captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
            *captions.rules(sets),
            "Opacity: share of circuits that contain the head." if sets else "",
        ),
    )


def joint_reach(*panels: HeadScores) -> tuple[float, float]:
    """A range symmetric about zero that holds all panels, for one colour scale."""
    largest = max((float(np.abs(s.values[np.isfinite(s.values)]).max(initial=0.0)) for s in panels), default=0.0)
    step = nice_step(2 * largest or 1.0)
    top = exact(math.ceil(largest / step - 1e-6) * step) or 1.0
    return -top, top


def _users(view: View) -> list[HeadSet]:
    return [s for s in view.overlays if s.kind == "user"]
