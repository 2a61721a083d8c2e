"""Sentences of captions and notes that several figures of the suite share."""

from __future__ import annotations

from collections.abc import Sequence

from reportgen.figures import captions
from reportgen.figures.figure import View
from reportgen.scores import HeadScores, HeadSet, SuiteResult, head_name
from reportgen.suites.facts import read
from reportgen.suites.weights.facts import WeightsFacts
from reportgen.suites.weights.suite import SUITE

LISTED = 4  # heads named one by one


def lower(label: str) -> str:
    """A label within a sentence."""
    return label[0].lower() + label[1:]


def facts_of(result: SuiteResult) -> WeightsFacts:
    """The typed record of a stored result."""
    return read(result, WeightsFacts)


def marked(view: View, *roles: str) -> list[HeadSet]:
    """Sets of these roles, published or computed by any suite, and the user's."""
    return captions.choose(view, *roles, tasks=("",))


def made_of(facts: WeightsFacts, scores: HeadScores) -> str:
    """From what a score was computed."""
    name = scores.measure
    if name.startswith("suppression"):
        keys = f" among {facts.keys:,} keys" if name != "suppression_ov" else ""
        return f"n = {scores.n:,} words{keys}, k = {facts.k}."
    if name in ("successor", "successor_strict", "predecessor", "repeat"):
        of = "one ordered class" if len(facts.classes) == 1 else f"{len(facts.classes)} ordered classes"
        return f"n = {scores.n:,} words of {of}."
    if scores.task == "vocabulary":
        return f"Over n = {scores.n:,} tokens, from the weights."
    return "From the weights alone."


def formulas(*scores: HeadScores) -> list[str]:
    """A sentence per score: its formula."""
    return [f"{one.label}: {SUITE.measure(one.measure).formula.rstrip('.')}." for one in scores]


def nulls(*scores: HeadScores) -> list[str]:
    """How p was made, once for scores that share it."""
    found: dict[str, list[str]] = {}
    for one in scores:
        if one.p is not None:
            found.setdefault(SUITE.measure(one.measure).null.rstrip("."), []).append(one.label)
    return [f"Null of {', '.join(names)}: {words}." for words, names in found.items()]


def twins(*scores: HeadScores) -> str:
    """What the random twin's most extreme head scores."""
    words = [
        f"{one.label} {captions.number(control.value)}"
        for one in scores for control in one.controls if control.name == "random twin"
    ]  # fmt: skip
    return f"Most extreme head of a randomly initialised twin: {', '.join(words)}." if words else ""


def shared(facts: WeightsFacts, *, values: bool = True, keys: bool = False) -> str:
    """What heads of a group have in common."""
    if facts.group == 1:
        return ""
    what = " and ".join([*(["W_V"] if values else []), *(["W_K"] if keys else [])])
    return f"Grouped queries: each {facts.group} heads share {what}, so their scores are not independent."


def narrow(facts: WeightsFacts, *scores: HeadScores) -> str:
    """How many heads' sums a few eigenvalues carry."""
    words = [f"{one.label} {facts.narrow[one.measure]}" for one in scores if facts.narrow.get(one.measure)]
    if not words:
        return ""
    return f"Heads whose sum fewer than d_head / 4 = {facts.spread:g} eigenvalues carry: {', '.join(words)}."


def at_distance(facts: WeightsFacts) -> str:
    """What rotary positions leave of a product of queries and keys."""
    if not facts.phased:
        return ""
    norm = "; the model's division of queries and keys by their size is left out" if facts.qk_norm else ""
    return f"Rotary positions: at distance 0{norm}."


def correlations(facts: WeightsFacts, *pairs: tuple[str, str]) -> str:
    """Rank correlations over heads that the run stored."""
    words = []
    for a, b in pairs:
        value = facts.spearman.get(f"{a}~{b}")
        if value is not None:
            words.append(f"{SUITE.measure(a).title} and {SUITE.measure(b).title} {captions.number(value)}")
    return f"Rank correlation over heads: {'; '.join(words)}." if words else ""


def ranks(scores: HeadScores, sets: Sequence[HeadSet]) -> str:
    """Where the marked heads stand: their ranks, so that a score that misses them says so."""
    order = {head: i for i, head in enumerate(scores.ranking(), start=1)}
    words = []
    for one in sets:
        if one.kind == "computed" and not one.key.startswith("weights/"):
            at = [f"{head_name(*h)} {order[h]}" for h in one.heads[:LISTED] if h in order]
            if at:
                words.append(f"{one.label} {', '.join(at)}")
    return f"Ranks among {len(order)} heads by {scores.label}: {'; '.join(words)}." if words else ""
