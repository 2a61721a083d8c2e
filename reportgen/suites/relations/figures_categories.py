"""The category maps: which heads implement relations of which categories, by the paper's rule and copier-adjusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reportgen.figures import captions
from reportgen.figures.categories import UNCLASSIFIED, Map, category_maps, key_of
from reportgen.figures.category_frame import Class
from reportgen.figures.figure import Figure, View
from reportgen.scores import Head, SuiteResult, head_name
from reportgen.suites.relations.categories import (
    ALL,
    RULES,
    Bools,
    Expected,
    Membership,
    class_of,
    expected,
    memberships,
    span,
    table,
    threshold,
    why_missing,
)

_CONTROLS = {"twin": "a randomly initialised twin", "matched": "random OV maps of the same spectra"}
_SHORT = {"twin": "twin", "matched": "random OV"}
_NAMED = 6  # heads that the notes name


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
        caption=_caption(members, result, view),
        alt=f"Layer by head maps of {name}: which heads implement relations of which categories.",
        chart=category_maps(
            rows, key, view.style, n_kv_heads=view.model.n_kv_heads,
            unsure=f"95 % interval spans τ = {tau:g}", synthetic=view.synthetic or view.model.synthetic,
        ),
        data=table(members, result, title),
        notes=_notes(members, result, view),
    )  # fmt: skip


def _maps(m: Membership, result: SuiteResult, key: Sequence[Class]) -> list[Map]:
    """All categories first, then one panel each."""
    place = {one.name: i for i, one in enumerate(key)}
    control = _reference(m, result)
    whole = np.full(m.count.shape, place[UNCLASSIFIED])
    for at in _heads((m.count > 0) | m.absent):
        whole[at] = place.get(class_of(m, at), -1)
    notes = {at: "; ".join(f"{r.title} {r.score:.2f}" for r in of) for at, of in m.relations.items()}
    notes |= {at: why_missing(result, m, at) for at in _heads(m.absent)}
    maps = [Map(ALL, _count(int((m.count > 0).sum()), *control[ALL]), whole, m.undecided, notes)]
    for i, name in enumerate(m.names):
        classes = np.where(m.known[i], np.where(m.member[i], place[name], place[UNCLASSIFIED]), -1)
        subtitle = _count(int(m.member[i].sum()), *control[name]) if m.known[i].any() else "no pairs"
        maps.append(Map(name, subtitle, classes, m.unsure[i], notes))
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


def _caption(members: Sequence[Membership], result: SuiteResult, view: View) -> str:
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


def _notes(members: Sequence[Membership], result: SuiteResult, view: View) -> tuple[str, ...]:
    m = members[0]
    tau, n = m.tau, len(m.names)
    several = f"; heads of more than one show how many (2 to {n})" if n > 2 else "; heads of both show 2" * (n == 2)
    return captions.notes(
        "Relation scores are read from the weights alone.",
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
    return f"{heads} in several categories: {named}{rest}; the table names their relations."


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
        f"Diagonal: the Wilson 95 % interval spans τ, so that another draw of pairs could change the class "
        f"({captions.plural(unsure, 'head')} in the first panel)."
    )


def _absent(members: Sequence[Membership]) -> str:
    """Heads without any value, and relations that the second row cannot count."""
    absent = int(members[0].absent.sum())
    verb = "is" if absent == 1 else "are"
    crossed = f"{captions.plural(absent, 'head')} with a cross {verb} not computed." if absent else ""
    empty: Mapping[str, None] = dict.fromkeys(title for m in members[1:] for title in m.empty)
    without = f"Without pairs to count in the second row: {', '.join(empty)}." if empty else ""
    return captions.join(crossed, without)


def _groups(view: View) -> str:
    model = view.model
    if model.n_kv_heads == model.n_heads:
        return ""
    return (
        f"Brackets: the {model.n_heads // model.n_kv_heads} heads of a key-value group share W_V and are not "
        "independent."
    )
