"""Which heads the circuits of several tasks share (Merullo et al. 2023, arXiv 2310.08744), and how many by chance.

Chance: as many heads per layer as each circuit has there, drawn within the layer. The overlap's distribution is then a
sum of independent hypergeometric counts, one per layer, and exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom, spearmanr

from reportgen.scores import Column, Head, HeadSet, NotComputed, Table, head_name
from reportgen.suites.circuits.families import RUNG as OTHER_WORDS
from reportgen.suites.circuits.runs import Outcome
from reportgen.suites.circuits.twins import RUNG

Bools = npt.NDArray[np.bool_]
LEGEND = "'Circuits Components Reused' classifications"


@dataclass(frozen=True)
class Overlap:
    """Two circuits' overlap. p: one-sided, at least as many shared heads by chance; corrected over pairs (Holm)."""

    a: str
    b: str
    both: int
    either: int
    smaller: int
    expected: float
    p: float
    p_holm: float
    spearman_direct: float | None
    spearman_total: float | None


def chance(a: Bools, b: Bools) -> tuple[float, float]:
    """Expected overlap of two sets [layer head] drawn within layers, and the probability of at least theirs."""
    heads = a.shape[1]
    distribution = np.ones(1)
    for in_a, in_b in zip(a.sum(1).tolist(), b.sum(1).tolist(), strict=True):
        counts = np.arange(min(in_a, in_b) + 1)
        distribution = np.convolve(distribution, hypergeom(heads, in_a, in_b).pmf(counts))
    observed = int((a & b).sum())
    return float((a.sum(1) * b.sum(1) / heads).sum()), float(min(1.0, distribution[observed:].sum()))


def holm(p: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """p-values corrected for their number (Holm 1979)."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values)
    stepped = np.maximum.accumulate(np.minimum(values[order] * np.arange(len(values), 0, -1), 1.0))
    out = np.empty_like(values)
    out[order] = stepped
    return out


def grid(heads: tuple[Head, ...], shape: tuple[int, int]) -> Bools:
    """The set as [layer head]."""
    out = np.zeros(shape, bool)
    for head in heads:
        out[head] = True
    return out


def overlaps(circuits: Mapping[str, Outcome], shape: tuple[int, int]) -> list[Overlap]:
    """Every pair of tasks that have a circuit."""
    pairs = list(itertools.combinations(circuits, 2))
    sets = {task: grid(out.members(), shape) for task, out in circuits.items()}
    by_chance = [chance(sets[a], sets[b]) for a, b in pairs]
    corrected = holm([p for _, p in by_chance])
    return [
        Overlap(
            a, b,
            both=int((sets[a] & sets[b]).sum()),
            either=int((sets[a] | sets[b]).sum()),
            smaller=int(min(sets[a].sum(), sets[b].sum())),
            expected=expected,
            p=p,
            p_holm=float(by_holm),
            spearman_direct=_correlation(circuits[a], circuits[b], "direct"),
            spearman_total=_correlation(circuits[a], circuits[b], "total"),
        )
        for (a, b), (expected, p), by_holm in zip(pairs, by_chance, corrected, strict=True)
    ]  # fmt: skip


def _correlation(a: Outcome, b: Outcome, measure: str) -> float | None:
    """Spearman's rho of two tasks' normalised effects over the heads both have."""
    if measure not in a.effects or measure not in b.effects:
        return None
    x, y = a.effects[measure].ravel(), b.effects[measure].ravel()
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3 or np.ptp(x[both]) == 0 or np.ptp(y[both]) == 0:
        return None
    return float(spearmanr(x[both], y[both]).statistic)


def combinations(circuits: Mapping[str, Outcome]) -> dict[tuple[str, ...], tuple[Head, ...]]:
    """Every exact combination of tasks -> the heads whose circuits are these and no others, largest first."""
    tasks_of: dict[Head, tuple[str, ...]] = {}
    for task, out in circuits.items():
        for head in out.members():
            tasks_of[head] = (*tasks_of.get(head, ()), task)
    groups: dict[tuple[str, ...], tuple[Head, ...]] = {}
    for head, tasks in sorted(tasks_of.items()):
        groups[tasks] = (*groups.get(tasks, ()), head)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), -len(item[0]), item[0])))


def reuse(outcomes: Mapping[str, Outcome], shape: tuple[int, int]) -> Outcome:
    """Facts, tables and the reused set of the tasks that have a circuit."""
    out = Outcome()
    circuits = {task: found for task, found in outcomes.items() if found.members()}
    if len(circuits) < 2:
        why = f"{len(circuits)} of {len(outcomes)} tasks have a circuit, two are needed"
        out.not_computed.append(NotComputed("components reused across tasks", why))
        return out
    pairs, groups = overlaps(circuits, shape), combinations(circuits)
    titles = {task: str(found.facts["title"]) for task, found in circuits.items()}
    reused = sorted({head for tasks, heads in groups.items() if len(tasks) > 1 for head in heads})
    of = {head: sum(head in found.members() for found in circuits.values()) for head in reused}
    out.head_sets.append(_reused(tuple(reused), of, titles, _twin(circuits), _words(circuits, reused)))
    out.tables.append(_pairs(pairs, titles, circuits))
    if len(circuits) > 2:
        out.tables.append(_counts(groups, titles))
    out.facts.update(
        tasks=list(circuits),
        titles=titles,
        sizes={task: len(found.members()) for task, found in circuits.items()},
        pairs=[vars(pair) for pair in pairs],
        groups=[{"tasks": list(tasks), "heads": [head_name(*h) for h in heads]} for tasks, heads in groups.items()],
        reused=[head_name(*head) for head in reused],
        null="as many heads per layer as each circuit has there, drawn within the layer; exact; Holm over pairs",
    )
    return out


def _words(circuits: Mapping[str, Outcome], reused: Sequence[Head]) -> dict[Head, str]:
    """In other words: failed where one family of a task's templates alone has the head."""
    tried = [out.one_family for out in circuits.values() if out.one_family is not None]
    rest = "passed" if len(tried) == len(circuits) else "not run"
    return {head: "failed" if any(head in heads for heads in tried) else rest for head in reused}


def _twin(circuits: Mapping[str, Outcome]) -> str:
    """Passed where every circuit's heads passed, failed where any failed."""
    found = {
        s.evidence.get(RUNG, "not run")
        for out in circuits.values()
        for s in out.head_sets
        if s.heads and s.key.endswith("/direct")
    }
    return "failed" if "failed" in found else "passed" if found == {"passed"} else "not run"


def _reused(
    heads: tuple[Head, ...], of: Mapping[Head, int], titles: Mapping[str, str], twin: str, words: Mapping[Head, str]
) -> HeadSet:
    names = ", ".join(titles.values())
    found = HeadSet(
        key="circuits/reuse/reused",
        label="Reused Heads",
        heads=heads,
        legend=LEGEND,
        source=f"computed: circuits of {names} on this model",
        rule=f"in the circuits of at least two of: {names} (all stages); opacity: share of these tasks",
        weights={head_name(*head): of[head] / len(titles) for head in heads},
    )
    if not heads:
        return found
    each = dict.fromkeys(heads, "passed")
    unseen = dict.fromkeys(("static score", "dynamic score", "causal effect", "natural text"), "not run")
    found = replace(found, evidence=unseen).judged("causal effect", each).judged("replicated (tasks)", each)
    return replace(found, evidence={**found.evidence, RUNG: twin}).judged(OTHER_WORDS, words)


def _pairs(pairs: list[Overlap], titles: Mapping[str, str], circuits: Mapping[str, Outcome]) -> Table:
    sizes = {task: len(found.members()) for task, found in circuits.items()}
    return Table(
        key="circuits/reuse/pairs",
        title="Components reused between two tasks",
        columns=(
            Column("task"), Column("other task"), Column("heads"), Column("heads of the other"), Column("shared"),
            Column("expected"), Column("p"), Column("p", "Holm"), Column("shared / either"), Column("shared / smaller"),
            Column("Spearman, direct effects"), Column("Spearman, total effects"),
        ),
        rows=tuple(
            (
                titles[o.a], titles[o.b], sizes[o.a], sizes[o.b], o.both, o.expected, o.p, o.p_holm,
                o.both / o.either, o.both / o.smaller, o.spearman_direct, o.spearman_total,
            )
            for o in pairs
        ),
        caption="Circuits are the heads of all stages. Expected and p: heads drawn within layers, as many as each "
        "circuit has there. Spearman: over all heads, effects as shares of each task's gap.",
    )  # fmt: skip


def _counts(groups: Mapping[tuple[str, ...], tuple[Head, ...]], titles: Mapping[str, str]) -> Table:
    rows = tuple(
        (len(tasks), ", ".join(titles[t] for t in tasks), len(heads), ", ".join(head_name(*h) for h in heads))
        for tasks, heads in groups.items()
    )
    return Table(
        key="circuits/reuse/groups",
        title="Heads by the tasks whose circuits they are in",
        columns=(Column("tasks"), Column("in the circuits of exactly"), Column("heads"), Column("which")),
        rows=rows,
    )
