"""Which heads implement relations of which categories, by one measure.

After Elhelo and Geva, arXiv 2412.11965: a head belongs to a category if it implements (score >= tau) at least one of
its relations. Numpy only: rendering uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Bools, Floats
from reportgen.scores import Cell, Column, Head, HeadScores, SuiteResult, Table, head_name
from reportgen.stats import reaches
from reportgen.suites.base import Classes

ALL = "All Categories"
ORDER = ("Algorithmic", "Knowledge", "Linguistic", "Translation")  # as the paper's panels; others follow by name


@dataclass(frozen=True)
class Implemented:
    """A relation that a head implements, with its score."""

    category: str
    title: str
    score: float


@dataclass(frozen=True, eq=False)
class Membership:
    """Categories of every head by one measure.

    names      the categories, in the order of panels
    member     [category layer head] the head implements at least one relation of the category
    known      [category layer head] at least one of the category's relations has a value there
    unsure     [category layer head] the 95 % intervals leave open whether it is a member
    relations  head -> what it implements, highest score first
    empty      titles of relations that have no value on any head by this measure
    """

    measure: str
    tau: float
    names: tuple[str, ...]
    member: Bools
    known: Bools
    unsure: Bools
    relations: Mapping[Head, tuple[Implemented, ...]]
    empty: tuple[str, ...] = ()

    @property
    def count(self) -> npt.NDArray[np.int64]:
        """[layer head] number of categories of a head."""
        return np.asarray(self.member.sum(axis=0), dtype=np.int64)

    @property
    def absent(self) -> Bools:
        """[layer head] no relation has a value there."""
        return np.asarray(~self.known.any(axis=0))

    @property
    def undecided(self) -> Bools:
        """[layer head] the intervals leave some category open."""
        return np.asarray(self.unsure.any(axis=0))


def reached(scores: HeadScores, tau: float) -> Bools:
    """[layer head] value >= tau, compared in whole hits: 6 of 40 is exactly 0.15, which a float32 mean is not."""
    return reaches(np.rint(scores.values.astype(np.float64) * scores.n), scores.n, tau)


def spans(scores: HeadScores, tau: float) -> Bools:
    """[layer head] the 95 % interval has tau inside; False where there is no interval."""
    if scores.low is None or scores.high is None:
        return np.zeros(scores.values.shape, dtype=bool)
    return np.asarray((scores.low < tau) & (scores.high >= tau))


def memberships(result: SuiteResult, measure: str, tau: float) -> Membership | None:
    """Membership by `measure` of the relations whose category the facts name; None where there are none.

    A head without a value on some relation is judged by the others; without any it is not known.
    """
    found = {stem: category for stem, category in categories(result).items() if result.get(measure, stem) is not None}
    if not found:
        return None
    names = in_order(found.values())
    shape = (len(names), *result[f"{measure}/{next(iter(found))}"].values.shape)
    member, known, certain, open_ = (np.zeros(shape, dtype=bool) for _ in range(4))
    relations: dict[Head, list[Implemented]] = {}
    empty = []
    for stem, category in found.items():
        scores, at, title = result[f"{measure}/{stem}"], names.index(category), title_of(result, stem)
        here, unsure = reached(scores, tau), spans(scores, tau)
        member[at] |= here
        known[at] |= np.isfinite(scores.values)
        certain[at] |= here & ~unsure
        open_[at] |= unsure
        for layer, head in np.argwhere(here):
            value = float(scores.values[layer, head])
            relations.setdefault((int(layer), int(head)), []).append(Implemented(category, title, value))
        if not np.isfinite(scores.values).any():
            empty.append(title)
    ordered = {head: tuple(sorted(of, key=lambda r: -r.score)) for head, of in sorted(relations.items())}
    return Membership(measure, tau, names, member, known, open_ & ~certain, ordered, tuple(empty))


def classes(result: SuiteResult) -> Classes | None:
    """The categories by the relation score at the run's threshold, for comparisons of runs."""
    tau = threshold(result)
    found = None if tau is None else memberships(result, "score", tau)
    if found is None:
        return None
    return Classes(tuple(f"{name} relations" for name in found.names), found.member, found.unsure)


def in_order(found: Any) -> tuple[str, ...]:
    """Distinct categories: the paper's in its order, then the user's by name."""
    distinct = set(found)
    return (*(name for name in ORDER if name in distinct), *sorted(distinct - set(ORDER)))


def categories(result: SuiteResult) -> dict[str, str]:
    """Stem -> category, for the relations of which the facts say it."""
    found = {stem: relation_facts(result, stem).get("category") for stem in result.tasks("score")}
    return {stem: category for stem, category in found.items() if isinstance(category, str) and category}


def title_of(result: SuiteResult, stem: str) -> str:
    """A relation's printed name."""
    return str(relation_facts(result, stem).get("title", stem.replace("_", " ").capitalize()))


def threshold(result: SuiteResult) -> float | None:
    """tau as the run states it."""
    tau = result.facts.get("tau")
    return float(tau) if isinstance(tau, int | float) and 0 < tau < 1 else None


def control_counts(
    draws: Sequence[Mapping[str, tuple[Floats, int]]], of: Mapping[str, str], tau: float
) -> dict[str, float]:
    """Heads per category, and under `ALL`, that a control with nothing learnt has, mean over its draws.

    draws  per draw: stem -> hits [layer head], NaN where not computed, and n
    of     stem -> category
    """
    counts: dict[str, list[int]] = {}
    for draw in draws:
        grids: dict[str, list[Bools]] = {}
        for stem, (hits, n) in draw.items():
            for name in (of[stem], ALL):
                grids.setdefault(name, []).append(reaches(hits, n, tau))
        for name, found in grids.items():
            counts.setdefault(name, []).append(int(np.any(found, axis=0).sum()))
    return {name: float(np.mean(found)) for name, found in counts.items()}


@dataclass(frozen=True)
class Expected:
    """Heads that a control with nothing learnt has in a category, per draw: between `low` and `high`."""

    low: float
    high: float


def expected(result: SuiteResult, control: str, measure: str, names: Sequence[str]) -> dict[str, Expected]:
    """Heads per category, and for `ALL`, of the control "twin" or "matched"; {} where the run has no such control.

    Exact where the facts have `control_counts` under control_categories / control / measure. Else from the counts per
    relation: the heads of a category are at least the largest of them (all the same heads) and at most their sum.
    """
    exact = part(part(part(result.facts, "control_categories"), control), measure)
    if exact:
        known = {name: exact[name] for name in (ALL, *names) if isinstance(exact.get(name), int | float)}
        return {name: Expected(float(count), float(count)) for name, count in known.items()}
    counts: dict[str, list[float]] = {}
    heads = 0.0
    for stem, category in categories(result).items():
        facts = part(relation_facts(result, stem), control)
        at_tau, draws = part(part(facts, "measures"), measure).get("n_at_tau"), facts.get("draws")
        if isinstance(at_tau, int) and isinstance(draws, int) and draws > 0:
            counts.setdefault(category, []).append(at_tau / draws)
            heads = max(heads, float(facts.get("n_heads", 0)) / draws)
    if not counts:
        return {}
    of = {ALL: [count for found in counts.values() for count in found], **counts}
    return {name: Expected(max(c), min(sum(c), heads or sum(c))) for name, c in of.items() if name in (ALL, *names)}


COLUMNS = (
    Column("rule"), Column("head"), Column("class"), Column("categories"), Column("relations implemented"),
    Column("interval spans tau for"), Column("note"),
)  # fmt: skip
RULES = {"score": "relation score", "adjusted": "copier-adjusted score"}


def table(members: Sequence[Membership], result: SuiteResult, title: str) -> Table:
    """One row per rule and head: heads of the most categories first, heads of none last."""
    rows: list[tuple[Cell, ...]] = []
    for m in members:
        order = sorted(np.ndindex(m.count.shape), key=lambda at: (-m.count[at], at))
        rows += [_row(m, (layer, head), result) for layer, head in order]
    caption = "Heads of the most categories first; in brackets the score of each relation."
    return Table("relations-categories", title, COLUMNS, tuple(rows), caption)


def several_table(result: SuiteResult, tau: float) -> tuple[Table, ...]:
    """`several_categories`: heads with relations of more than one category, by the score, those of most first."""
    m = memberships(result, "score", tau)
    order = [] if m is None else sorted(m.relations, key=lambda at: (-m.count[at], -len(m.relations[at]), at))
    rows = [
        (head_name(*at), int(m.count[at]), len(m.relations[at]), _own(m, at), _implemented(m, at))
        for at in order
        if m is not None and m.count[at] > 1
    ]
    names = ("head", "number of categories", "number of relations", "categories", "relations")
    caption = f"Heads that implement (score >= {tau:g}) relations of more than one category; in brackets the scores."
    columns = tuple(Column(name) for name in names)
    return (Table("several_categories", "Heads of several categories", columns, tuple(rows), caption),) if rows else ()


def _implemented(m: Membership, at: Head) -> str:
    return "; ".join(f"{r.title} ({r.score:.2f})" for r in m.relations.get(at, ()))


def _own(m: Membership, at: Head) -> str:
    return "; ".join(name for i, name in enumerate(m.names) if m.member[(i, *at)])


def _row(m: Membership, at: Head, result: SuiteResult) -> tuple[Cell, ...]:
    doubt = "; ".join(name for i, name in enumerate(m.names) if m.unsure[(i, *at)])
    note = why_missing(result, m, at) if m.absent[at] else ""
    rule = RULES.get(m.measure, m.measure)
    return rule, head_name(*at), class_of(m, at), _own(m, at), _implemented(m, at), doubt, note


def class_of(m: Membership, at: Head) -> str:
    """`Knowledge`, `2 categories`, `Unclassified` or `not computed`."""
    count = int(m.count[at])
    if count > 1:
        return f"{count} categories"
    if count == 1:
        return m.names[int(np.flatnonzero(m.member[(slice(None), *at)])[0])]
    return "not computed" if m.absent[at] else "Unclassified"


def why_missing(result: SuiteResult, m: Membership, at: Head) -> str:
    """Why a head has no value on any relation."""
    reasons = [result[f"{m.measure}/{s}"].reason(*at) for s in categories(result) if result.get(m.measure, s)]
    return next((why for why in reasons if why), "")


def relation_facts(result: SuiteResult, stem: str) -> Mapping[str, Any]:
    """What the facts say of one relation."""
    return part(part(result.facts, "relations"), stem)


def part(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The mapping under `name`; empty where there is none: facts come from a file."""
    found = facts.get(name)
    return found if isinstance(found, Mapping) else {}


def span(counts: Sequence[int]) -> str:
    """`43 to 510`, `40` where all are the same."""
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"
