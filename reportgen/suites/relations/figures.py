"""Figures of the relation scores: one map per relation, and the two pairs that papers know.

Panel titles, axes, colour bars and legend titles of the pairs follow Elhelo and Geva, arXiv 2412.11965.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from reportgen.figures import captions
from reportgen.figures.alone import Maker, OneByOne
from reportgen.figures.data import table
from reportgen.figures.figure import Figure, View
from reportgen.figures.heatmap import heatmap, pair
from reportgen.scores import HeadScores, HeadSet, SuiteResult, head_name
from reportgen.suites.relations.categories import part, relation_facts, threshold, title_of
from reportgen.suites.relations.figures_ablation import ablation_figure
from reportgen.suites.relations.figures_categories import category_figure
from reportgen.suites.relations.figures_dynamic import dynamic_figure
from reportgen.suites.relations.figures_k import k_figure
from reportgen.suites.relations.figures_published import NO_PRECISION, Found, gathered, published_figure
from reportgen.suites.relations.figures_published import words as published_words

_NAMES = {"name_copying": "Name Copying"}  # how the pairs print a relation's name
BRIGHT = 0.5  # the upper half of the colour scale
_PAPERS = ("wang2022ioi", "merullo2023reuse")  # whose movers the pairs mark
_TASKS = {
    "name_copying": "ioi",
    "copying": "ioi",
    "country_to_capital": "capitals",
    "year_to_following": "greater_than",
}


@OneByOne
def figures(result: SuiteResult, view: View) -> Iterator[Maker]:
    """The pairs first, then what sums the relations up, then one map per relation, in the order scored.

    What a run has no numbers for is left out.
    """
    pairs, stems = _pairs(result), result.tasks("score")
    maps = dict.fromkeys([at for pair_ in pairs for at in pair_] + [("score", stem) for stem in stems])
    marked = [(result[f"{measure}/{stem}"], _sets(view, measure, stem)) for measure, stem in maps]
    found = gathered(result, view, marked)
    keys = {(head_set.key, scores.key) for scores, sets in marked for head_set in sets}
    yield from (partial(_pair, result, view, left, right, found) for left, right in pairs)
    yield partial(category_figure, result, view)
    yield partial(published_figure, result, view, found, keys)
    yield from (partial(make, result, view) for make in (dynamic_figure, ablation_figure, k_figure))
    yield from (partial(_single, result, view, stem, found) for stem in stems)


def _pairs(result: SuiteResult) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """(measure, relation) left and right, for the pairs this result has."""
    name = ("score", "name_copying")
    wanted = [(name, ("suppression", "name_copying")), (name, ("score", "country_to_capital"))]
    return [(a, b) for a, b in wanted if result.get(*a) is not None and result.get(*b) is not None]


def _pair(result: SuiteResult, view: View, left: tuple[str, str], right: tuple[str, str], found: Found) -> Figure:
    suppression = right[0] == "suppression"
    name = captions.model_name(view)
    scores, other = _labelled(result, *left), _labelled(result, *right)
    both = _bright_in_both(scores, other)
    more = [] if suppression else [s for s in view.sets("circuits/reuse/") if s.heads]
    more += [both] if both.heads else []
    sets, other_sets = _sets(view, *left) + more, _sets(view, *right) + more
    titles = _pair_titles(name, suppression)
    return Figure(
        id="relations-name_copying-suppression" if suppression else "relations-name_copying-country_to_capital",
        suite=result.suite,
        title=f"{name}: name copying and {'its suppression' if suppression else 'country to capital'}",
        caption=_pair_caption(result, view, scores, other),
        alt=f"Two layer by head maps of {name}: {scores.label} and {other.label}.",
        chart=pair((scores, sets, titles[0]), (other, other_sets, titles[1]), view),
        data=table([(scores, sets), (other, other_sets)], f"{scores.label} and {other.label}"),
        head_sets=tuple({s.key: s for s in [*sets, *other_sets]}.values()),
        notes=_notes(result, view, [(scores, sets), (other, other_sets)], found, _flagged(both)),
    )


def _bright_in_both(scores: HeadScores, other: HeadScores) -> HeadSet:
    """The heads of the upper half of the colour scale in both panels: they write much the same whatever is asked."""
    with np.errstate(invalid="ignore"):
        bright = (scores.values >= BRIGHT) & (other.values >= BRIGHT)  # [layer head]
    return HeadSet(
        key=f"relations/{scores.task}-{other.task}/generic_copiers",
        label="Generic Copiers",
        heads=tuple((layer, head) for layer, head in np.argwhere(bright).tolist()),
        legend="Bright in both panels",
        source="computed: these two maps",
        rule=f"{scores.label} and {other.label} >= {BRIGHT}",
    )


def _flagged(both: HeadSet) -> str:
    names, words = ", ".join(head_name(*head) for head in both.heads), f"{BRIGHT:g} or more in both panels"
    if not names:
        return f"No head scores {words}, so none is flagged as a generic copier."
    count = captions.plural(len(both.heads), "head")
    verb = "scores" if len(both.heads) == 1 else "score"
    return f"{count} {verb} {words} ({names}) and so may copy or retrieve whatever they read: generic copiers."


def _pair_titles(name: str, suppression: bool) -> tuple[str, str]:
    """The panels' titles as published: the name is hyphenated beside its suppression, and not beside the capitals."""
    if suppression:
        return f"{name}: Name-Copying heads", f"{name}: (Suppression) Name-Copying heads"
    return f"{name}: Name Copying heads", f"{name}: Country to capital heads"


def _single(result: SuiteResult, view: View, stem: str, found: Found) -> Figure:
    scores, sets = _labelled(result, "score", stem), _sets(view, "score", stem)
    title = f"{captions.model_name(view)}: {_title(result, stem)} heads"
    return Figure(
        id=f"relations-{stem}",
        suite=result.suite,
        title=title,
        caption=_caption(result, view, scores),
        alt=f"Layer by head map of the {scores.label} in {captions.model_name(view)}.",
        chart=heatmap(scores, view, sets, title),
        data=table([(scores, sets)]),
        head_sets=tuple(sets),
        notes=_notes(result, view, [(scores, sets)], found),
    )


def _labelled(result: SuiteResult, measure: str, stem: str) -> HeadScores:
    """The scores with the colour bar's words: `Name Copying score`, `(Suppression) Name Copying score`."""
    prefix = "(Suppression) " if measure == "suppression" else ""
    return replace(result[f"{measure}/{stem}"], label=f"{prefix}{_title(result, stem)} score")


def _title(result: SuiteResult, stem: str) -> str:
    return _NAMES.get(stem, title_of(result, stem))


def _sets(view: View, measure: str, stem: str) -> list[HeadSet]:
    """Movers and backups on copied names, negative movers on their suppression; else what the task's circuit has."""
    tasks = [f"circuits/{_TASKS[stem]}/"] if stem in _TASKS else []
    if measure == "suppression":
        return captions.choose(view, "negative", "backup_negative", tasks=tasks, papers=_PAPERS)
    if stem in ("name_copying", "copying"):
        return captions.choose(view, "mover", "backup", "taking_over", tasks=tasks, papers=_PAPERS)
    return captions.choose(
        view, "mover", "backup", "taking_over", tasks=tasks, papers=()
    )  # no paper lists heads of these relations


def _caption(result: SuiteResult, view: View, scores: HeadScores) -> str:
    order, held = scores.ranking(), _held_out(result, scores)
    highest = captions.best_head(scores)
    if order and held:
        at = captions.number(float(scores.values[order[0]]))
        highest = (
            f"Highest: {head_name(*order[0])} at {at}; on held-out pairs: {held} (n = {_best(result, scores)['n']})."
        )
    return captions.join(
        f"{scores.label} of every head of {captions.grid_words(view)}, from the weights; n = {scores.n} pairs.",
        captions.beats_null(scores),
        highest,
        captions.synthetic(view),
    )


def _pair_caption(result: SuiteResult, view: View, scores: HeadScores, other: HeadScores) -> str:
    """Both panels in one sentence each time; on held-out pairs where both have such a head."""
    names = [one.label.removesuffix(" score") for one in (scores, other)]
    held = [_held_out(result, one).replace(" at ", ", ") for one in (scores, other)]
    if all(held):
        best = f"Held-out best: left {held[0]}; right {held[1]}."
    else:
        most = [captions.best_head(one).replace(" at ", ", ") for one in (scores, other)]
        best = captions.join(*(f"{side}, {_lower(of)}" for side, of in zip(("Left", "Right"), most, strict=True) if of))
    return captions.join(
        f"{names[0]} (left, n = {scores.n} pairs) and {names[1]} (right, n = {other.n}) scores of "
        f"{captions.grid_words(view)}.",
        _both_beat(scores, other),
        best,
        captions.synthetic(view),
    )


def _both_beat(scores: HeadScores, other: HeadScores) -> str:
    """`5 and 7 heads beat the null (family-wise p ≤ 0.05).`; a sentence each where one panel has no p."""
    said = [captions.beats_null(one) for one in (scores, other)]
    if scores.p is None or other.p is None:
        return captions.join(*dict.fromkeys(said))
    return (
        f"{said[0].split(' of ')[0]} and {said[1].split(' of ')[0]} heads beat the null{said[0].split('the null')[1]}"
    )


def _notes(
    result: SuiteResult, view: View, panels: Sequence[tuple[HeadScores, Sequence[HeadSet]]], found: Found, *more: str
) -> tuple[str, ...]:
    """What all relations share, and what is said of one score with its name, so that it can stand anywhere."""
    scores = [of for of, _ in panels]
    own = [sentence for of, sets in panels for sentence in _own(result, view, of, sets, found)]
    listed = any(published_words(found, of, sets, threshold(result)) for of, sets in panels)
    return captions.notes(
        "Relation scores are read from the weights alone.",
        "Colour: the share of a relation's n pairs whose target is among the top k entries of the source's row of "
        "E W_V W_O W_U.",
        "A (Suppression) score takes the k lowest entries."
        if any(of.measure == "suppression" for of in scores)
        else "",
        _inputs(result),
        *dict.fromkeys(own),
        NO_PRECISION if listed else "",
        *more,
        captions.caveat(scores),
        _limits(result, scores[0]),
    )


def _own(result: SuiteResult, view: View, scores: HeadScores, sets: Sequence[HeadSet], found: Found) -> Sequence[str]:
    """What holds for one score alone."""
    held = _held_out(result, scores)
    numbers = captions.notes(
        _entries(result, scores),
        _threshold(result, scores),
        captions.best_head(scores),
        f"Best on one half of the pairs and measured on the other: {held} (n = {_best(result, scores)['n']})."
        if held
        else "",
        _controls(result, scores),
    )
    marked = captions.markers(sets, (view.model.n_layers, view.model.n_heads))
    listed = published_words(found, scores, sets, threshold(result))
    return (
        f"{scores.label}: {'; '.join(_lower(sentence).rstrip('.') for sentence in numbers)}.",
        captions.missing(scores),
        f"{scores.label}, {_lower(marked)}" if marked else "",
        *captions.rules(sets),
        f"{scores.label}, {_lower(listed)}" if listed else "",
        captions.agreement(sets),
    )


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _inputs(result: SuiteResult) -> str:
    """What E is, where the run says it."""
    mlp = result.facts.get("first_mlp")
    if not isinstance(mlp, bool):
        return ""
    return f"E: token embeddings{', from layer 1 on as the first MLP maps them' if mlp else ' in every layer'}."


def _entries(result: SuiteResult, scores: HeadScores) -> str:
    """Which entries of the row count."""
    k, lowest = relation_facts(result, scores.task).get("k"), scores.measure == "suppression"
    if k is None:
        where = "one of the lowest entries" if lowest else "one of the top entries"
    elif k == 1:
        where = "the lowest entry" if lowest else "the top entry"
    else:
        where = f"among the {'lowest' if lowest else 'top'} {k} entries"
    chance = relation_facts(result, scores.task).get("k_over_vocab")
    words = f"n = {scores.n} pairs, target {where}"
    return f"{words} (by chance {captions.number(chance)})." if isinstance(chance, float) else f"{words}."


def _threshold(result: SuiteResult, scores: HeadScores) -> str:
    tau = result.facts.get("tau")
    if not isinstance(tau, int | float):
        return ""
    return f"{captions.plural(captions.at_least(scores, float(tau)), 'head')} at τ = {tau:g} or above."


def _best(result: SuiteResult, scores: HeadScores) -> Mapping[str, Any]:
    """The head that is best on one half of the pairs, measured on the other half; empty without."""
    found = part(part(relation_facts(result, scores.task), "best"), scores.measure)
    return found if {"head", "value", "low", "high", "n"} <= set(found) else {}


def _held_out(result: SuiteResult, scores: HeadScores) -> str:
    """`L4H1 at 0.929 [0.774, 0.980]`."""
    found = _best(result, scores)
    if not found:
        return ""
    value, low, high = (captions.number(float(found[key])) for key in ("value", "low", "high"))
    return f"{found['head']} at {value} [{low}, {high}]"


def _controls(result: SuiteResult, scores: HeadScores) -> str:
    """What an ideal copier and random heads score on the same scale, where the run has them."""
    facts, words = relation_facts(result, scores.task), []
    for name, what in (("embedding", "the embedding"), ("first_mlp", "the first MLP's output")):
        copied = part(part(facts, "copier"), name).get(scores.measure)
        if isinstance(copied, int | float):
            words.append(f"an ideal copier of {what} {captions.number(float(copied))}")
    if scores.measure == "score":
        for name, what in (("twin", "a randomly initialised twin"), ("matched", "random OV maps of the same spectra")):
            top = part(facts, name).get("max")
            if isinstance(top, int | float):
                words.append(f"the highest head of {what} {captions.number(float(top))}")
    return f"On the same scale: {', '.join(words)}." if words else ""


def _limits(result: SuiteResult, scores: HeadScores) -> str:
    """What the null does not say; empty where no null was drawn."""
    if scores.p is None:
        return ""
    draws = result.facts.get("permutations")
    times = f", {draws:,} times" if isinstance(draws, int) else ""
    return (
        f"The null permutes targets over pairs{times}: a head that beats it prefers s's own target; it may merely copy."
    )
