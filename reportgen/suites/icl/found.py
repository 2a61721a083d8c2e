"""What the stored effects say beside scores: spread over tasks, depth, agreement with induction and with papers.

Numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Bools, Floats
from reportgen.scores import HeadScores, HeadSet, SuiteResult, parse_head
from reportgen.stats import interval_of, mid_ranks, overlap_by_chance
from reportgen.suites.icl.suite import SUITE
from reportgen.suites.ranked import TOP, top

INDUCTION = "induction"  # the measure of an earlier suite
DRAWS = 2000


def induction_of(results: Mapping[str, SuiteResult], shape: tuple[int, int]) -> HeadScores | None:
    """Induction scores of the run, where an earlier suite has them."""
    for name in SUITE.needs:
        for one in results[name].scores if name in results else ():
            if one.measure == INDUCTION and one.values.shape == shape:
                return one
    return None


@dataclass(frozen=True, eq=False)
class Ring:
    """Heads [layer head] that another suite of the run calls something, drawn round the marks of these."""

    name: str
    member: Bools


RINGS = (
    ("copy", "copying from a text"),
    ("concept", "copying concepts"),
)  # measures of another suite, and what they say


def rings(results: Mapping[str, SuiteResult], shape: tuple[int, int]) -> list[Ring]:
    """Heads that copy answers out of a text (the top share by score) and those that copy concepts (the suite's set)."""
    found = []
    for measure, what in RINGS:
        scores = next((s for r in results.values() for s in r.scores if s.measure == measure), None)
        if scores is None or scores.values.shape != shape:
            continue
        sets = [s for r in results.values() for s in r.head_sets if s.score == scores.key]
        if measure == RINGS[0][0]:
            member, name = top(scores.exact_values.astype(np.float64)), f"{what}, top {100 * TOP:.0f} %"
        elif sets and sets[0].heads:
            member, name = np.zeros(shape, np.bool_), what
            member[tuple(np.array(sets[0].heads, int).reshape(-1, 2).T)] = True
        else:
            continue
        found.append(Ring(name, member))
    return found


def task_means(result: SuiteResult) -> tuple[Floats, list[tuple[int, int]]] | None:
    """[task head] effect of the own mean in nats, and the heads; None where the run did not store it."""
    return _means(result, "effects", "prompt_task")


def control_means(result: SuiteResult) -> Floats | None:
    """[task head] the same on the control tasks, of the same heads."""
    found = _means(result, "control_effects", "control_task")
    return found[0] if found else None


def _means(result: SuiteResult, effects: str, names: str) -> tuple[Floats, list[tuple[int, int]]] | None:
    stored, tasks = result.arrays.get(effects), result.arrays.get(names)
    if stored is None or tasks is None or stored.dims != ("measure", "unit", "prompt", "head"):
        return None
    own, of = stored.values[0, 0].astype(np.float64), tasks.values
    if of.shape != own.shape[:1] or not len(own):
        return None
    means = np.stack([own[of == task].mean(0) for task in np.unique(of)])
    return means, [parse_head(name) for name in stored.labels.get("head", ())]


@dataclass(frozen=True)
class Agreement:
    """Two scores over the heads that have both.

    both, first, second  heads that are top by both, by the first alone, by the second alone
    expected, p          of `both`, if each set stood at random within its layers
    rho, low, high       Spearman's correlation, with an interval over heads
    """

    heads: int
    both: int
    first: int
    second: int
    expected: float
    p: float
    rho: float
    low: float
    high: float


def agreement(a: Floats, b: Floats) -> Agreement:
    """a, b [layer head]."""
    known = np.isfinite(a) & np.isfinite(b)
    x, y = (top(np.where(known, values, np.nan)) for values in (a, b))
    expected, p = overlap_by_chance(x, y)
    rho, low, high = rank_correlation(a[known], b[known])
    both = int((x & y).sum())
    return Agreement(int(known.sum()), both, int(x.sum()) - both, int(y.sum()) - both, expected, p, rho, low, high)


def rank_correlation(a: Floats, b: Floats) -> tuple[float, float, float]:
    """Spearman's, with a 95 % interval over heads; NaN for fewer than four or where one does not vary."""
    if len(a) < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan, math.nan, math.nan
    rng = np.random.default_rng(0)
    rho = _pearson(mid_ranks(a.astype(np.float64)), mid_ranks(b.astype(np.float64)))
    draws = []
    for _ in range(DRAWS // 4):
        some = rng.integers(0, len(a), len(a))
        x, y = mid_ranks(a[some].astype(np.float64)), mid_ranks(b[some].astype(np.float64))
        draws.append(_pearson(x, y) if np.ptp(x) and np.ptp(y) else rho)
    low, high = interval_of(rho, np.asarray(draws), len(a))
    return rho, float(np.clip(low, -1, 1)), float(np.clip(high, -1, 1))


def _pearson(a: Floats, b: Floats) -> float:
    return float(np.asarray(np.corrcoef(a, b))[0, 1])


@dataclass(frozen=True)
class Depth:
    """Score-weighted mean layers, and their difference (second minus first) with an interval over tasks."""

    first: float
    second: float
    low: float
    high: float


def depth(induction: Floats, means: Floats, heads: Sequence[tuple[int, int]]) -> Depth:
    """induction [layer head]; means [task head], weights where above zero."""
    layers = np.asarray([layer for layer, _ in heads], np.float64)
    weights = np.nan_to_num(np.maximum(induction, 0)).sum(1)
    first = float(weights @ np.arange(len(weights)) / weights.sum()) if weights.sum() > 0 else math.nan

    def middle(mean: Floats) -> Floats:
        own = np.maximum(mean, 0)
        return np.asarray(own @ layers / np.maximum(own.sum(-1), 1e-12))

    second = float(middle(means.mean(0)))
    rng = np.random.default_rng(0)
    some = rng.integers(0, len(means), (DRAWS, len(means)))
    low, high = interval_of(second - first, middle(means[some].mean(1)) - first, len(means))
    return Depth(first, second, float(low), float(high))


def auroc(values: npt.NDArray[np.floating], head_set: HeadSet) -> float:
    """The share of (listed, other) pairs of heads in which the listed one is higher; NaN without either."""
    known = np.isfinite(values)
    member = np.zeros(values.shape, np.bool_)
    for head in head_set.heads:
        if head[0] < values.shape[0] and head[1] < values.shape[1]:
            member[head] = known[head]
    n, total = int(member.sum()), int(known.sum())
    if not n or n == total:
        return math.nan
    ranks = mid_ranks(values.astype(np.float64).ravel()).reshape(values.shape)
    return float((ranks[member].sum() - n * (n + 1) / 2) / (n * (total - n)))
