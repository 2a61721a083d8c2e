"""Figures of the scores of single heads: copying, matching, suppression, successors, sink, spectra; and of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from reportgen.figures import captions
from reportgen.figures.chart_data import table
from reportgen.figures.figure import Figure, Maker, OneByOne, View, later, supplementary
from reportgen.figures.head_maps import HeadMap, maps
from reportgen.figures.heatmap import heatmap, pair
from reportgen.scores import HeadScores, HeadSet, SuiteResult
from reportgen.suites.weights.drawing import pairs, scatters
from reportgen.suites.weights.drawing.words import (
    at_distance,
    correlations,
    facts_of,
    formulas,
    lower,
    made_of,
    marked,
    narrow,
    nulls,
    ranks,
    shared,
    twins,
)
from reportgen.suites.weights.found import spearman

SIGNIFICANT = captions.SIGNIFICANT


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """What a run has no numbers for is left out."""
    yield partial(_copying, result, view)
    yield partial(_suppression, result, view)
    yield partial(scatters.corner_figure, result, view)
    yield from pairs.figures(result, view)
    yield partial(_successor, result, view)
    yield partial(_sink, result, view)
    yield partial(scatters.found_figure, result, view)
    single = (_halves, _classes, _write, _identity, _values, _spectrum, _queries)
    further = (_forms, _matching, scatters.profile_figure, *single)
    yield from (supplementary(partial(make, result, view)) for make in further)


def _get(result: SuiteResult, *names: str) -> list[HeadScores]:
    """The scores of these names that there are."""
    return [one for name in names for one in result.scores if one.measure == name]


def _single(
    result: SuiteResult, view: View, name: str, sets: Sequence[HeadSet], *notes: str, more: str = ""
) -> Figure | None:
    """A map of one score; `more`: a sentence of the caption."""
    scores = next(iter(_get(result, name)), None)
    if scores is None or not np.isfinite(scores.values).any():
        return None
    title = f"{captions.model_name(view)}: {lower(scores.label)}"
    signed = scores.range[0] < 0
    return Figure(
        id=f"weights-{name}",
        suite=result.suite,
        title=title,
        caption=captions.join(
            f"{scores.label} of every head of {captions.grid_words(view)}.", made_of(facts_of(result), scores),
            captions.beats_null(scores), captions.best_head(scores, signed=signed), more, captions.synthetic(view),
        ),
        alt=f"Layer by head map of {lower(scores.label)} in {captions.model_name(view)}.",
        chart=later(heatmap, scores, view, sets, title),
        data=table([(scores, sets)]),
        head_sets=tuple(sets),
        notes=_notes(view, [scores], sets, *notes),
    )  # fmt: skip


def _notes(view: View, scores: Sequence[HeadScores], sets: Sequence[HeadSet], *more: str) -> tuple[str, ...]:
    return captions.notes(
        *formulas(*scores),
        *nulls(*scores),
        twins(*scores),
        *more,
        *(ranks(one, sets) for one in scores),
        captions.caveat(scores),
        *(captions.missing(one) for one in scores),
        captions.markers(sets, (view.model.n_layers, view.model.n_heads)),
        *captions.rules(sets),
    )


def _pair(
    result: SuiteResult, view: View, id_: str, names: tuple[str, str], what: str, sets: Sequence[HeadSet], *notes: str
) -> Figure | None:
    """Two maps beside each other, each with its own colour bar."""
    two = [one for one in _get(result, *names) if np.isfinite(one.values).any()]
    if len(two) < 2:
        return _single(result, view, two[0].measure, sets, *notes) if two else None
    left, right = two
    best = [captions.best_head(one).removeprefix("Highest: ").rstrip(".") for one in two]
    title = f"{captions.model_name(view)}: {what}"
    beat = [int((np.nan_to_num(one.p, nan=1.0) <= SIGNIFICANT).sum()) for one in two if one.p is not None]
    said = f"{beat[0]} and {beat[1]} heads beat the null (family-wise p ≤ {SIGNIFICANT})." if len(beat) == 2 else ""
    return Figure(
        id=id_,
        suite=result.suite,
        title=title,
        caption=captions.join(
            f"{left.label} (left) and {lower(right.label)} (right) of each head of {captions.grid_words(view)}.",
            f"Highest: left {best[0]}; right {best[1]}.", said, captions.synthetic(view),
        ),
        alt=f"Two layer by head maps of {captions.model_name(view)}: {lower(left.label)} and {lower(right.label)}.",
        chart=later(pair, (left, sets, left.label), (right, sets, right.label), view),
        data=table([(one, sets) for one in two], what),
        head_sets=tuple(sets),
        notes=_notes(view, two, sets, *notes),
    )  # fmt: skip


def _small(
    result: SuiteResult, view: View, id_: str, scores: Sequence[HeadScores], what: str, label: str, *notes: str,
    titles: Sequence[str] = (), signed: bool = False,
) -> Figure | None:  # fmt: skip
    """Small maps under one colour bar; dots on heads that beat their null."""
    scores = [one for one in scores if np.isfinite(one.values).any()]
    if not scores:
        return None
    titles = titles or [one.label for one in scores]
    panels = []
    for title, one in zip(titles, scores, strict=True):
        beats = None if one.p is None else np.nan_to_num(one.p, nan=1.0) <= SIGNIFICANT
        said = "" if beats is None else f"{int(beats.sum())} of {int(one.exact.sum())} beat the null"
        panels.append(HeadMap(title, said, one, beats))
    best = "; ".join(
        f"{lower(title)} {captions.best_head(one).removeprefix('Highest: ').rstrip('.').split(' [')[0]}"
        for title, one in list(zip(titles, scores, strict=True))[:4]
    )
    synthetic = view.synthetic or view.model.synthetic
    return Figure(
        id=id_,
        suite=result.suite,
        title=f"{captions.model_name(view)}: {what}",
        caption=captions.join(
            f"{what.capitalize()} of every head of {captions.grid_words(view)}, from the weights.",
            f"Highest: {best}.", captions.synthetic(view),
        ),
        alt=f"Small layer by head maps of {what} in {captions.model_name(view)}.",
        chart=later(maps, panels, label, view.style, signed=signed, synthetic=synthetic),
        data=table([(one, ()) for one in scores], what),
        notes=_notes(view, scores, (), "White dot: beats the null, family-wise p ≤ 0.05." if any(
            panel.marked is not None for panel in panels) else "", *notes),
    )  # fmt: skip


def _copying(result: SuiteResult, view: View) -> Figure | None:
    """For tokens as they are embedded, and as the first MLP writes them, which is what later layers read."""
    facts, scores = facts_of(result), _get(result, "copying", "copying_mlp")
    sets = marked(view, "mover", "negative", "induction")
    return _pair(
        result, view, "weights-copying", ("copying", "copying_mlp"), "copying by eigenvalues", sets,
        narrow(facts, *scores), shared(facts),
        "Near 1 or −1 for many heads of a trained model: the sign of the map, not its size. It need not single out the "
        "heads that prompts find; the ranks below say whether it does.",
        correlations(facts, ("copying", "copying_raw"), ("copying", "copying_mlp"), ("copying", "copying_residual")),
    )  # fmt: skip


def _forms(result: SuiteResult, view: View) -> Figure | None:
    facts, scores = facts_of(result), _get(result, "copying_raw", "copying_residual")
    titles = {"copying_raw": "Raw weights", "copying_residual": "Residual stream"}
    return _small(
        result, view, "weights-copying-forms", scores, "other forms of copying", "Copying", narrow(facts, *scores),
        shared(facts), titles=[titles[one.measure] for one in scores if np.isfinite(one.values).any()], signed=True,
    )  # fmt: skip


def _matching(result: SuiteResult, view: View) -> Figure | None:
    facts, scores = facts_of(result), _get(result, "matching", "matching_raw", "induction_matching")
    titles = {"matching": "Folded, centred", "matching_raw": "Raw weights", "induction_matching": "Through the writer"}
    return _small(
        result, view, "weights-matching", scores, "matching of queries and keys", "Matching", narrow(facts, *scores),
        at_distance(facts), shared(facts, values=False, keys=True), correlations(facts, ("matching", "matching_raw")),
        titles=[titles[one.measure] for one in scores if np.isfinite(one.values).any()], signed=True,
    )  # fmt: skip


_SUPPRESSION = (
    "W_EE: what block 0 makes of a token that attends to itself alone, without positions; n: the model's norm."
)


def _suppression(result: SuiteResult, view: View) -> Figure | None:
    facts = facts_of(result)
    sets = [*marked(view, "negative", "backup_negative"), *view.sets("weights/suppression/")]
    return _single(
        result, view, "suppression", sets, _SUPPRESSION, at_distance(facts), shared(facts, keys=True)
    )  # fmt: skip


def _halves(result: SuiteResult, view: View) -> Figure | None:
    facts = facts_of(result)
    return _pair(
        result, view, "weights-suppression-halves", ("suppression_ov", "suppression_qk"), "halves of copy suppression",
        marked(view, "negative", "backup_negative"), _SUPPRESSION, at_distance(facts), shared(facts, keys=True),
    )  # fmt: skip


_SUCCESSOR = "Source: MLP_0(LN2_0(e)) from layer 1 on, e in layer 0. A head that likes neighbours scores on both sides."


def _successor(result: SuiteResult, view: View) -> Figure | None:
    facts, scores = facts_of(result), _get(result, "successor", "successor_strict", "predecessor", "repeat")
    said = ", ".join(f"{one.title} {one.words}" for one in facts.classes.values())
    shifted = next((c for one in scores for c in one.controls if c.name == "order shifted"), None)
    beside = (
        f"With the order shifted by 2 or more places, the highest head scores {captions.number(shifted.value)}."
        if shifted else ""
    )  # fmt: skip
    return _small(
        result, view, "weights-successor", scores, "successors, predecessors and repeats", "Share of words",
        _SUCCESSOR, f"Classes and their words: {said}." if said else "", beside, facts.note, shared(facts),
    )  # fmt: skip


_MEAN = "drawn for the mean over classes"


def _classes(result: SuiteResult, view: View) -> Figure | None:
    """The share of successors of each class, from the stored winners."""
    facts, found, titles = facts_of(result), [], []
    for name, of in facts.classes.items():
        stored = result.arrays.get(f"winners/{name}")
        if stored is None:
            continue
        values = _stepping(stored.values, stored.labels.get("word", ()), name)
        if values is not None:
            found.append(
                HeadScores(f"weights/successor/{name}", of.title, values, of.words, no_null=_MEAN, range=(0.0, 1.0))
            )
            titles.append(f"{of.title} (n = {of.words})")
    if len(found) < 2:
        return None
    chance = ", ".join(f"{of.title} {captions.number(of.chance)}" for of in facts.classes.values())
    return _small(
        result, view, "weights-successor-classes", found, "successors by class of words", "Share of successors",
        _SUCCESSOR, f"By chance: {chance}.", titles=titles,
    )  # fmt: skip


def _stepping(winner: np.ndarray, words: Sequence[str], name: str) -> np.ndarray | None:
    """[layer head] share of words whose winner is the next word of the class's order."""
    from reportgen.suites.weights.classes import CLASSES, KeptClass

    of = next((one for one in CLASSES if one.name == name), None)
    if of is None or not set(words) <= set(of.words):
        return None
    kept = KeptClass(of, tuple(range(len(words))), tuple(of.words.index(word) for word in words))
    after = kept.after(1)
    if not after:
        return None
    hits = winner[list(after)] == np.array(list(after.values()))[:, None, None]
    return np.asarray(hits.mean(0), np.float32)


def _sink(result: SuiteResult, view: View) -> Figure | None:
    facts = facts_of(result)
    return _pair(
        result, view, "weights-sink", ("sink_value", "sink_key"), "position 0 by its weights", marked(view),
        f"Position 0 holds {facts.beginning.strip() or 'its token'!r} and attends to itself: a constant residual.",
        "Content only: no position is applied.", measured(result, view), shared(facts, keys=True),
    )  # fmt: skip


def measured(result: SuiteResult, view: View) -> str:
    """Rank correlation with the attention to the first position that another suite of the run measured."""
    other = next((s for r in view.results.values() for s in r.scores if s.measure == "first_token"), None)
    if other is None:
        return ""
    words = [
        f"{lower(one.label)} {captions.number(rho)}" for one in _get(result, "sink_value", "sink_key", "sink_write")
        if np.isfinite(rho := spearman(one.values.astype(float), other.values.astype(float)))
    ]  # fmt: skip
    return f"Rank correlation with the measured {lower(other.label)}: {', '.join(words)}." if words else ""


def _write(result: SuiteResult, view: View) -> Figure | None:
    return _single(result, view, "sink_write", marked(view), measured(result, view))


def _identity(result: SuiteResult, view: View) -> Figure | None:
    facts = facts_of(result)
    top = captions.number((facts.d_head / facts.d_model) ** 0.5) if facts.d_model else ""
    return _single(
        result, view, "identity", marked(view),
        f"Largest possible value: sqrt(d_head / d_model) = {top}." if top else "", shared(facts),
    )  # fmt: skip


def _values(result: SuiteResult, view: View) -> Figure | None:
    """Each head's most similar other value subspace."""
    facts = facts_of(result)
    of = facts.values
    alike = ", ".join(f"{one.one} and {one.other} {captions.number(one.overlap)}" for one in of.top[:4])
    twin = "" if of.twin is None else (
        f"Random twin: median z {captions.number(of.twin)}, {captions.plural(of.twin_beyond or 0, 'pair')} beyond."
    )  # fmt: skip
    middle = "" if of.median is None or of.z is None else (
        f"Median overlap {captions.number(of.median)}, z {captions.number(of.z)}; expected d_head / d_model = "
        f"{captions.number(pairs.null_of(facts)[0])}."
    )  # fmt: skip
    return _single(
        result, view, "value_overlap", marked(view),
        f"{of.beyond:,} of {of.pairs:,} pairs of key-value heads are beyond the family-wise line z > {of.line:.2f}.",
        middle, twin, f"Most alike: {alike}." if alike else "",
        "All directions of a subspace count alike, whatever the head makes of them and wherever it attends.",
        shared(facts), more=f"Most alike: {of.top[0].one} and {of.top[0].other}." if of.top else "",
    )  # fmt: skip


def _spectrum(result: SuiteResult, view: View) -> Figure | None:
    facts = facts_of(result)
    inactive = f"Inactive heads, left out everywhere: {', '.join(facts.inactive)}." if facts.inactive else ""
    return _pair(
        result, view, "weights-spectrum", ("ov_norm", "ov_rank_99"), "size and rank of the OV maps", marked(view),
        _numerical(result), inactive, shared(facts),
    )  # fmt: skip


def _numerical(result: SuiteResult) -> str:
    """How many heads lack directions altogether."""
    ranks_, d_head = next(iter(_get(result, "ov_rank")), None), facts_of(result).d_head
    if ranks_ is None:
        return ""
    short = int((ranks_.values < d_head).sum())
    return f"{captions.plural(short, 'head')} below the full numerical rank of d_head = {d_head} (1e-6 of the largest)."


def _queries(result: SuiteResult, view: View) -> Figure | None:
    facts = facts_of(result)
    norm = (
        "Queries and keys are normalised in the model: the size is not comparable across heads."
        if facts.qk_norm
        else ""
    )
    return _pair(
        result, view, "weights-queries", ("qk_norm", "qk_slow"), "size of the QK maps", marked(view), norm,
        shared(facts, values=False, keys=True),
    )  # fmt: skip
