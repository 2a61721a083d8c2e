"""Figures of the relation scores: one map per relation, and the two pairs that papers know.

Panel titles, axes, colour bars and legend titles of the pairs follow Elhelo and Geva, arXiv 2412.11965.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

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
from reportgen.suites.relations.figures_published import Found, gathered, published_figure
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
        caption=captions.join(
            _opening(view),
            f"Left: {_caption(result, view, scores, sets, found)}",
            f"Right: {_caption(result, view, other, other_sets, found)}",
            _flagged(both),
            _inputs(result),
            captions.caveat([scores, other]),
            _limits(result, scores),
            captions.synthetic(view),
        ),
        alt=f"Two layer by head maps of {name}: {scores.label} and {other.label}.",
        chart=pair((scores, sets, titles[0]), (other, other_sets, titles[1]), view),
        data=table([(scores, sets), (other, other_sets)], f"{scores.label} and {other.label}"),
        head_sets=tuple({s.key: s for s in [*sets, *other_sets]}.values()),
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
        caption=captions.join(
            _opening(view),
            f"Colour: {_caption(result, view, scores, sets, found)}",
            _inputs(result),
            captions.caveat([scores]),
            _limits(result, scores),
            captions.synthetic(view),
        ),
        alt=f"Layer by head map of the {scores.label} in {captions.model_name(view)}.",
        chart=heatmap(scores, view, sets, title),
        data=table([(scores, sets)]),
        head_sets=tuple(sets),
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


def _opening(view: View) -> str:
    return f"Relation scores of the attention heads of {captions.grid_words(view)}, read from the weights alone."


def _inputs(result: SuiteResult) -> str:
    """What E is, where the run says it."""
    mlp = result.facts.get("first_mlp")
    if not isinstance(mlp, bool):
        return ""
    return f"E: token embeddings{', from layer 1 on as the first MLP maps them' if mlp else ' in every layer'}."


def _caption(result: SuiteResult, view: View, scores: HeadScores, sets: Sequence[HeadSet], found: Found) -> str:
    shape = (view.model.n_layers, view.model.n_heads)
    return captions.join(
        _meaning(result, scores),
        _threshold(result, scores),
        captions.beats_null(scores),
        captions.best_head(scores),
        _held_out(result, scores),
        _controls(result, scores),
        captions.missing(scores),
        captions.markers(sets, shape),
        published_words(found, scores, sets, threshold(result)),
        captions.agreement(sets),
    )


def _meaning(result: SuiteResult, scores: HeadScores) -> str:
    """What the colour says, with k and n."""
    k, lowest = relation_facts(result, scores.task).get("k"), scores.measure == "suppression"
    if k is None:
        where = "one of the lowest entries" if lowest else "one of the top entries"
    elif k == 1:
        where = "the lowest entry" if lowest else "the top entry"
    else:
        where = f"among the {'lowest' if lowest else 'top'} {k} entries"
    words = f"share of n = {scores.n} pairs whose target is {where} of the source's row of E W_V W_O W_U"
    chance = relation_facts(result, scores.task).get("k_over_vocab")
    return f"{words} (by chance {captions.number(chance)})." if isinstance(chance, float) else f"{words}."


def _threshold(result: SuiteResult, scores: HeadScores) -> str:
    tau = result.facts.get("tau")
    if not isinstance(tau, int | float):
        return ""
    return f"{captions.plural(captions.at_least(scores, float(tau)), 'head')} at τ = {tau:g} or above."


def _held_out(result: SuiteResult, scores: HeadScores) -> str:
    """The head that is best on one half of the pairs, measured on the other half."""
    found = part(part(relation_facts(result, scores.task), "best"), scores.measure)
    if not {"head", "value", "low", "high", "n"} <= set(found):
        return ""
    value, low, high = (captions.number(float(found[key])) for key in ("value", "low", "high"))
    return (
        f"Best on one half of the pairs and measured on the other: {found['head']} at {value} [{low}, {high}] "
        f"(n = {found['n']})."
    )


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
