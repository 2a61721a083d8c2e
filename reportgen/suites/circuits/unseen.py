"""Heads that a circuit found by patching lacks, looked for where it keeps too little of the task.

Patching sees what differs between the clean and the corrupted prompt. A head that carries what both share (which object
has which colour, where only the question changes) has no effect by patching, yet mean ablation takes it away. So heads
outside the circuit are added one by one, each time the one that brings f nearest to 1: chosen on half of the templates
and measured on the other half, both ways round. Those chosen both ways are named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.scores import Head

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
ENOUGH = 0.9  # a circuit that keeps this much lacks nothing worth looking for


@dataclass(frozen=True)
class Way:
    """Heads added in order, by prompts `chosen_on`; kept[i] is f on the other prompts with the first i of them."""

    chosen_on: str
    n: int
    heads: tuple[Head, ...]
    kept: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Search:
    """What the search needs: m [set prompt] of ablated sets, clean m and m with every head ablated [prompt]."""

    m: Callable[[Bools], Floats]
    clean: Floats
    none: Floats
    templates: npt.NDArray[np.int64]
    most: int
    least: float

    def ways(self, own: Bools) -> tuple[Way, ...]:
        """Both ways round; () with a single template."""
        even = self.templates % 2 == 0
        if even.all() or not even.any():
            return ()
        return self._way(own, even, "templates of even index"), self._way(own, ~even, "templates of odd index")

    def _way(self, own: Bools, rows: Bools, words: str) -> Way:
        kept, added = own.copy(), list[Head]()
        m = self.m(~kept[None])
        here, there = self._f(m, rows), [float(self._f(m, ~rows)[0])]
        distance = abs(1 - float(here[0]))
        while len(added) < self.most:
            free = [(int(layer), int(head)) for layer, head in np.argwhere(~kept)]
            if not free:
                break
            m = self.m(~_with_each(kept, free))
            distances = np.abs(1 - self._f(m, rows))
            best = int(np.argmin(distances))
            if distance - distances[best] < self.least:
                break
            distance, head = float(distances[best]), free[best]
            kept[head] = True
            added.append(head)
            there.append(float(self._f(m, ~rows)[best]))
        return Way(words, int((~rows).sum()), tuple(added), tuple(there))

    def _f(self, m: Floats, rows: Bools) -> Floats:
        none = self.none[rows].mean()
        found: Floats = (m[:, rows].mean(1) - none) / (self.clean[rows].mean() - none)
        return found


def _with_each(kept: Bools, free: list[Head]) -> Bools:
    sets = np.repeat(kept[None], len(free), 0)
    for row, head in zip(sets, free, strict=True):
        row[head] = True
    return sets


def in_both(ways: tuple[Way, ...]) -> tuple[Head, ...]:
    """Heads that every way chose."""
    return tuple(sorted(set.intersection(*(set(way.heads) for way in ways)))) if ways else ()
