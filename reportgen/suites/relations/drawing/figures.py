"""Figures of the relation scores: one map per relation, the two pairs that papers know, and the category maps.

Panel titles, axes, colour bars and legend titles of the pairs follow Elhelo and Geva, arXiv 2412.11965.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from reportgen.aliases import Bools
from reportgen.figures import captions
from reportgen.figures.categories import UNCLASSIFIED, CategoryMap, category_maps, key_of
from reportgen.figures.category_frame import Class
from reportgen.figures.chart_data import table
from reportgen.figures.figure import Figure, Maker, OneByOne, View, later, supplementary
from reportgen.figures.heatmap import heatmap, pair
from reportgen.scores import Head, HeadScores, HeadSet, HeldOut, SuiteResult, head_name
from reportgen.suites.relations.categories import (
    ALL,
    RULES,
    Expected,
    Membership,
    class_of,
    expected,
    memberships,
    part,
    relation_facts,
    span,
    threshold,
    title_of,
    why_missing,
)
from reportgen.suites.relations.categories import (
    table as category_table,
)
from reportgen.suites.relations.drawing.experiments import ablation_figure, dynamic_figure, k_figure
from reportgen.suites.relations.drawing.published import NO_PRECISION, Found, gathered, published_figure
from reportgen.suites.relations.drawing.published import words as published_words

# The category maps: which heads implement relations of which categories, by the paper's rule and copier-adjusted.

_CONTROLS = {"twin": "a randomly initialised twin", "matched": "random OV maps of the same spectra"}
_SHORT = {"twin": "twin", "matched": "random OV"}
_NAMED = 6  # heads that the notes name
PRINTED = 4  # maps of single relations that the PDF shows; of more it shows the pairs and sums alone


def category_figure(result: SuiteResult, view: View) -> Figure | None:
    """The map, or None for a run that states no threshold or no categories."""
    tau = threshold(result)
    found = [memberships(result, measure, tau) for measure in RULES] if tau is not None else []
    members = [m for m in found if m is not None]
    if not members or tau is None:
        return None
    key = key_of(members[0].names, view.style.palette)
    name = captions.model_name(view)
    rows = [(f"{name}: {RULES[m.measure]} ≥ {tau:g}", _maps(m, result, key)) for m in members]
    title = f"{name}: heads by category of relations"
    return Figure(
        id="relations-categories",
        suite=result.suite,
        title=title,
        caption=_category_caption(members, result, view),
        alt=f"Layer by head maps of {name}: the categories of the relations that each head implements.",
        chart=later(
            category_maps,
            rows, key, view.style, n_kv_heads=view.model.n_kv_heads,
            unsure=f"95 % interval spans τ = {tau:g}", synthetic=view.synthetic or view.model.synthetic,
        ),
        data=category_table(members, result, title),
        notes=_category_notes(members, result, view),
    )  # fmt: skip


def _maps(m: Membership, result: SuiteResult, key: Sequence[Class]) -> list[CategoryMap]:
    """All categories first, then one panel each."""
    place = {one.name: i for i, one in enumerate(key)}
    control = _reference(m, result)
    whole = np.full(m.count.shape, place[UNCLASSIFIED])
    for at in _heads((m.count > 0) | m.absent):
        whole[at] = place.get(class_of(m, at), -1)
    notes = {at: "; ".join(f"{r.title} {r.score:.2f}" for r in of) for at, of in m.relations.items()}
    notes |= {at: why_missing(result, m, at) for at in _heads(m.absent)}
    maps = [CategoryMap(ALL, _count(int((m.count > 0).sum()), *control[ALL]), whole, m.undecided, notes)]
    for i, name in enumerate(m.names):
        classes = np.where(m.known[i], np.where(m.member[i], place[name], place[UNCLASSIFIED]), -1)
        subtitle = _count(int(m.member[i].sum()), *control[name]) if m.known[i].any() else "no pairs"
        maps.append(CategoryMap(name, subtitle, classes, m.unsure[i], notes))
    return maps


def _heads(mask: Bools) -> list[Head]:
    return [(int(layer), int(head)) for layer, head in np.argwhere(mask)]


def _reference(m: Membership, result: SuiteResult) -> dict[str, tuple[str, Expected | None]]:
    """Category -> the control that panels name, and its heads: the twin, or without one the random OV maps."""
    for control in _CONTROLS:
        of = expected(result, control, m.measure, m.names)
        if of:
            return {name: (_SHORT[control], of.get(name)) for name in (ALL, *m.names)}
    return dict.fromkeys((ALL, *m.names), ("", None))


def _count(heads: int, control: str, of: Expected | None) -> str:
    """`37 heads, twin ≤ 2`: what the control has is exact where its bounds agree."""
    words = captions.plural(heads, "head")
    if of is None:
        return words
    return f"{words}, {control} {'' if of.low == of.high else '≤ '}{_number(of.high)}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _category_caption(members: Sequence[Membership], result: SuiteResult, view: View) -> str:
    m, n = members[0], [result[f"score/{stem}"].n for stem in result.tasks("score")]
    pairs = f" (n = {span(n)} pairs each)" if n else ""
    counts = [f"{int((m.count > 0).sum())} of {captions.plural(int((~m.absent).sum()), 'head')}"]
    counts += [f"copier-adjusted (second row) {int((one.count > 0).sum())}" for one in members[1:]]
    return captions.join(
        f"Heads of {captions.grid_words(view)} by category of relations{pairs}: score ≥ τ = {m.tau:g} on at "
        "least one of them.",
        f"In a category: {'; '.join(counts)}.",
        _twin(m, result),
        captions.synthetic(view),
    )


def _twin(m: Membership, result: SuiteResult) -> str:
    """How many heads a control has in a category: the twin, or without one the random OV maps."""
    for control, words in _CONTROLS.items():
        of = expected(result, control, m.measure, m.names).get(ALL)
        if of is not None:
            return f"With {words}: {'none' if of.high == 0 else _between(of)}."
    return ""


def _category_notes(members: Sequence[Membership], result: SuiteResult, view: View) -> tuple[str, ...]:
    m = members[0]
    tau, n = m.tau, len(m.names)
    several = f"; heads of more than one show how many (2 to {n})" if n > 2 else "; heads of both show 2" * (n == 2)
    return captions.notes(
        "Relation scores are computed from the weights alone.",
        f"A head belongs to a category if it implements at least one of its relations: score ≥ τ = {tau:g}, counted "
        f"in whole pairs (100 × hits ≥ {_number(100 * tau)} × n).",
        f"All Categories colours a head by its only category{several}.",
        *(_found(one) for one in members),
        _several(m),
        *(_control(members, result, control) for control in _CONTROLS),
        _unsure(m),
        _absent(members),
        _groups(view),
    )


def _found(m: Membership) -> str:
    heads = [f"{name} {int(m.member[i].sum())}" for i, name in enumerate(m.names)]
    total = captions.plural(int((~m.absent).sum()), "head")
    words = "By the relation score" if m.measure == "score" else "By the copier-adjusted score (second row)"
    return f"{words}, in a category: {int((m.count > 0).sum())} of {total} ({', '.join(heads)})."


def _several(m: Membership) -> str:
    """The heads of the most categories."""
    order = sorted((at for at in _heads(m.count > 1)), key=lambda at: (-m.count[at], at))
    if not order:
        return ""
    named = ", ".join(f"{head_name(*at)} ({int(m.count[at])})" for at in order[:_NAMED])
    rest = f" and {len(order) - _NAMED:,} more" if len(order) > _NAMED else ""
    heads = f"{captions.plural(len(order), 'head')} {'is' if len(order) == 1 else 'are'}"
    return f"{heads} in several categories: {named}{rest}; the table lists their relations."


def _control(members: Sequence[Membership], result: SuiteResult, control: str) -> str:
    """How many heads a control has per category; that there is no twin, where there is none."""
    parts, none = [], True
    for m in members:
        of = expected(result, control, m.measure, m.names)
        none = none and all(one.high == 0 for one in of.values())
        if of:
            counts = ", ".join(f"{name} {_between(of[name])}" for name in (ALL, *m.names) if name in of)
            parts.append(f"{RULES[m.measure]}: {counts}")
    if parts and none:
        return f"With {_CONTROLS[control]} no head reaches τ."
    if parts:
        return f"With {_CONTROLS[control]}, heads that reach τ by the {'; by the '.join(parts)}."
    return "No randomly initialised twin was scored in this run." if control == "twin" else ""


def _between(of: Expected) -> str:
    return _number(of.low) if of.low == of.high else f"{_number(of.low)} to {_number(of.high)}"


def _unsure(m: Membership) -> str:
    unsure = int(m.undecided.sum())
    if not unsure:
        return ""
    return (
        f"Dotted outline: the Wilson 95 % interval spans τ, so another sample of pairs could change the class "
        f"({captions.plural(unsure, 'head')} in the first panel)."
    )


def _absent(members: Sequence[Membership]) -> str:
    """Heads without any value, and relations that the second row cannot count."""
    absent = int(members[0].absent.sum())
    struck = f"Light grey, struck through: {captions.plural(absent, 'head')} not computed." if absent else ""
    empty: Mapping[str, None] = dict.fromkeys(title for m in members[1:] for title in m.empty)
    without = f"No pairs to count in the second row: {', '.join(empty)}." if empty else ""
    return captions.join(struck, without)


def _groups(view: View) -> str:
    model = view.model
    if model.n_kv_heads == model.n_heads:
        return ""
    return (
        f"Brackets: the {model.n_heads // model.n_kv_heads} heads of a key-value group share W_V and are not "
        "independent."
    )


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
    single = [partial(_single, result, view, stem, found) for stem in stems]
    yield from (map(supplementary, single) if len(single) > PRINTED else single)


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
        chart=later(pair, (scores, sets, titles[0]), (other, other_sets, titles[1]), view),
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
    return f"{count} {verb} {words} ({names}) and so may copy or retrieve anything they read: generic copiers."


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
        chart=later(heatmap, scores, view, sets, title),
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
    order, held = scores.ranking(), scores.held_out
    highest = captions.best_head(scores)
    if order and held:
        at = captions.number(float(scores.values[order[0]]))
        highest = f"Highest: {head_name(*order[0])} at {at}; on held-out pairs: {_at(held)} (n = {held.n})."
    return captions.join(
        f"{scores.label} of every head of {captions.grid_words(view)}, from the weights; n = {scores.n} pairs.",
        captions.beats_null(scores),
        highest,
        captions.synthetic(view),
    )


def _pair_caption(result: SuiteResult, view: View, scores: HeadScores, other: HeadScores) -> str:
    """Both panels in one sentence each time; on held-out pairs where both have such a head."""
    names = [one.label.removesuffix(" score") for one in (scores, other)]
    if scores.held_out and other.held_out:
        left, right = (_at(held).replace(" at ", ", ") for held in (scores.held_out, other.held_out))
        best = f"Held-out best: left {left}; right {right}."
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
    held = scores.held_out
    numbers = captions.notes(
        _entries(result, scores),
        _threshold(result, scores),
        captions.best_head(scores),
        f"Best on one half of the pairs and measured on the other: {_at(held)} (n = {held.n})." if held else "",
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


def _at(held: HeldOut) -> str:
    """`L4H1 at 0.929 [0.774, 0.980]`."""
    value, low, high = (captions.number(x) for x in (held.value, held.low, held.high))
    return f"{held.head} at {value} [{low}, {high}]"


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
        f"The null permutes targets over pairs{times}: a head that beats it prefers s's own target; it may only copy."
    )
