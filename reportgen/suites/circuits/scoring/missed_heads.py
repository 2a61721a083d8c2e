"""The search for heads that patching misses.

Patching detects what differs between the clean and the corrupted prompt. A head that carries what both share (which
object has which colour, if only the question changes) has no effect by patching, yet mean ablation removes it. So heads
outside the circuit are added greedily, each time the one that brings f closest to 1: selected on half of the templates
and measured on the other half, in both directions. Heads selected in both directions are named. Gradients choose which
heads are tried, exact runs decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Bools, Floats
from reportgen.scores import Head, HeadSet
from reportgen.suites.circuits.scoring import results
from reportgen.suites.circuits.settings import ABLATED, Settings
from reportgen.suites.circuits.tasks.task import Task


@dataclass(frozen=True)
class Additions:
    """Heads added in order, by prompts `chosen_on`; kept[i] is f on the other prompts with the first i of them."""

    chosen_on: str
    n: int
    heads: tuple[Head, ...]
    kept: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class MissedHeadSearch:
    """What the search needs.

    m         m [set prompt] of ablated sets [set layer head]
    restored  estimated change of m [prompt layer head] when one head of an ablated set [layer head] gets its z back
    clean, none  clean m and m with every head ablated [prompt]
    most, least  heads added at most; least gain in f
    verified  candidates per step that are tried exactly: those that the estimates bring closest to 1
    """

    m: Callable[[Bools], Floats]
    restored: Callable[[Bools], Floats]
    clean: Floats
    none: Floats
    templates: npt.NDArray[np.int64]
    most: int
    least: float
    verified: int

    def ways(self, own: Bools) -> tuple[Additions, ...]:
        """Both ways round; () with a single template."""
        even = self.templates % 2 == 0
        if even.all() or not even.any():
            return ()
        return self._way(own, even, "templates of even index"), self._way(own, ~even, "templates of odd index")

    def _way(self, own: Bools, rows: Bools, words: str) -> Additions:
        kept, added = own.copy(), list[Head]()
        m = self.m(~kept[None])
        here, there = self._f(m, rows), [float(self._f(m, ~rows)[0])]
        distance = abs(1 - float(here[0]))
        while len(added) < self.most:
            likely = self._candidates(kept, rows)
            if not likely:
                break
            m = self.m(~_with_each(kept, likely))
            distances = np.abs(1 - self._f(m, rows))
            best = int(np.argmin(distances))
            if distance - distances[best] < self.least:
                break
            distance, head = float(distances[best]), likely[best]
            kept[head] = True
            added.append(head)
            there.append(float(self._f(m, ~rows)[best]))
        return Additions(words, int((~rows).sum()), tuple(added), tuple(there))

    def _candidates(self, kept: Bools, rows: Bools) -> list[Head]:
        """The heads outside that the estimates bring closest to f = 1 on these prompts, in order of layer and head."""
        free = [(int(layer), int(head)) for layer, head in np.argwhere(~kept)]
        if len(free) <= self.verified:
            return free
        change = self.restored(~kept)[:, ~kept].T  # [head prompt]
        distances = np.abs(1 - self._f(self.m(~kept[None]) + change, rows))
        return [free[i] for i in sorted(np.argsort(distances, kind="stable")[: self.verified].tolist())]

    def _f(self, m: Floats, rows: Bools) -> Floats:
        none = self.none[rows].mean()
        found: Floats = (m[:, rows].mean(1) - none) / (self.clean[rows].mean() - none)
        return found


def _with_each(kept: Bools, free: list[Head]) -> Bools:
    sets = np.repeat(kept[None], len(free), 0)
    for row, head in zip(sets, free, strict=True):
        row[head] = True
    return sets


def in_both(ways: tuple[Additions, ...]) -> tuple[Head, ...]:
    """Heads that every way chose."""
    return tuple(sorted(set.intersection(*(set(way.heads) for way in ways)))) if ways else ()


def unseen_set(
    task: Task, found: tuple[Head, ...], ways: Sequence[Additions], settings: Settings, shape: tuple[int, int]
) -> HeadSet:
    """Heads that a circuit lacks though patching gave no reason to take them in."""
    rule = (
        "outside the circuit by patching; added to it, brings the task's metric closest to the full model's, with all "
        f"other heads {ABLATED[settings.ablation]}; selected on either half of the templates"
    )
    passed = all(abs(1 - way.kept[-1]) < abs(1 - way.kept[0]) for way in ways)
    label, everywhere = "Heads That Patching Misses", np.ones(shape, bool)
    its = results.head_set(task, "unseen", label, found, rule, dict.fromkeys(found, 1.0), everywhere)
    halves = (
        {results.TEMPLATES: "passed" if passed else "failed"} if found else {}
    )  # of the heads together, never of one
    own = {rung: outcomes for rung, outcomes in its.by_head.items() if rung != results.TEMPLATES}
    return replace(its, evidence={**its.evidence, **halves}, by_head=own)
