"""Heads that are of another class in another run: categories of relations, and sets that the suites computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from reportgen.compare.numbers import depths
from reportgen.runfolder import Run
from reportgen.scores import Cell, Column, Head, HeadSet, Table, head_name
from reportgen.suites.relations.categories import memberships, threshold

YES, NO, OPEN = "yes", "no", "open: the interval spans the threshold"


def changed(names: Sequence[str], runs: Sequence[Run]) -> Table:
    """Runs of one lineage: every head that is in a class in some run and not in another."""
    rows = [*_categories(runs), *_sets(runs)]
    columns = (Column("head"), Column("class"), *(Column(name) for name in names))
    caption = (
        "A class is a category of relations (a score at the threshold or above) or a set that a suite computed. Where "
        "a 95 % interval spans the threshold the change is open: another sample of examples may undo it."
    )
    return Table("changed", "Heads that changed class", columns, tuple(rows), caption)


def _categories(runs: Sequence[Run]) -> Iterator[tuple[Cell, ...]]:
    if not all("relations" in run.done() for run in runs):
        return
    found = []
    for result in (run.result("relations") for run in runs):
        tau = threshold(result)
        found.append(memberships(result, "score", tau) if tau is not None else None)
    members = [m for m in found if m is not None]
    if len(members) < len(runs):
        return
    for name in [n for n in members[0].names if all(n in m.names for m in members)]:
        at = [m.names.index(name) for m in members]
        inside = np.stack([m.member[i] for m, i in zip(members, at, strict=True)])  # [run layer head]
        unsure = np.stack([m.unsure[i] for m, i in zip(members, at, strict=True)])
        for layer, head in np.argwhere(inside.any(0) & ~inside.all(0)):
            words = [_word(bool(i[layer, head]), bool(u[layer, head])) for i, u in zip(inside, unsure, strict=True)]
            yield head_name(int(layer), int(head)), f"{name} relations", *words


def _word(inside: bool, unsure: bool) -> str:
    word = YES if inside else NO
    return f"{word}, {OPEN}" if unsure else word


def _computed(run: Run) -> dict[str, HeadSet]:
    return {s.key: s for result in run.results.values() for s in result.head_sets if s.kind == "computed"}


def _sets(runs: Sequence[Run]) -> Iterator[tuple[Cell, ...]]:
    sets = [_computed(run) for run in runs]
    for key in [key for key in sets[0] if all(key in found for found in sets)]:
        inside: list[set[Head]] = [set(found[key].heads) for found in sets]
        label = f"{sets[0][key].label} ({key.split('/')[1]})"
        for head in sorted(set[Head]().union(*inside) - inside[0].intersection(*inside)):
            yield head_name(*head), label, *(YES if head in heads else NO for heads in inside)


def by_depth(names: Sequence[str], runs: Sequence[Run]) -> Table:
    """Runs of different models: how large each computed set is and how deep its heads stand."""
    sets = [_computed(run) for run in runs]
    rows: list[tuple[Cell, ...]] = []
    for key in dict.fromkeys(key for found in sets for key in found):
        for name, run, found in zip(names, runs, sets, strict=True):
            if key in found:
                rows.append((f"{found[key].label} ({key.split('/')[1]})", name, *_depth(run, found[key])))
    columns = (
        Column("set"), Column("run"), Column("heads"), Column("share of heads"), Column("mean relative depth"),
        Column("which"),
    )  # fmt: skip
    caption = "Relative depth: 0 the first layer, 1 the last. A head's index means nothing across models."
    return Table("sets", "Computed sets by depth", columns, tuple(rows), caption)


def _depth(run: Run, found: HeadSet) -> tuple[Cell, ...]:
    deep = depths(run.model.n_layers)
    inside = [h for h in found.heads if h[0] < run.model.n_layers]
    mean = float(np.mean([deep[layer] for layer, _ in inside])) if inside else None
    total = run.model.n_layers * run.model.n_heads
    return len(inside), len(inside) / total, mean, " ".join(head_name(*h) for h in inside)


def counts(table: Table) -> Mapping[str, int]:
    """How many heads changed, by class."""
    found: dict[str, int] = {}
    for row in table.rows:
        found[str(row[1])] = found.get(str(row[1]), 0) + 1
    return found
