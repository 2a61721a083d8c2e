"""Which heads to remove: a relation's top heads, how many at a time, and random heads like them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.scores import Head

Floats = npt.NDArray[np.float64]
CAPS = ((300, 30), (500, 50), (1000, 100), (1500, 150))  # fewer heads than -> at most this many removed
MOST = 250
ALIKE = 2.0  # output norms within this factor count as matched
NEAREST = 3  # else one of the layer's nearest in norm


def most_removed(n_heads: int) -> int:
    """The paper's cap on the number of heads removed, by the number of heads of the model."""
    return next((cap for below, cap in CAPS if n_heads < below), MOST)


def removal_steps(most: int) -> tuple[int, ...]:
    """0, 1, 2, 3, 5, 8, 13, 21, ... below `most`, and `most`."""
    steps, a, b = [0], 1, 2
    while a < most:
        steps.append(a)
        a, b = b, a + b
    return (*steps, most) if most > 0 else (0,)


def top_heads(scores: npt.NDArray[np.float32], most: int) -> list[Head]:
    """Heads with a score above 0, largest first, equal scores by larger flat index first (the paper's order)."""
    flat = scores.reshape(-1)
    order = sorted((int(i) for i in np.flatnonzero(flat > 0)), key=lambda i: (-flat[i], -i))  # NaN is not above 0
    return [divmod(i, scores.shape[1]) for i in order][:most]


@dataclass(frozen=True, eq=False)
class RandomSets:
    """Draws of heads like those of a list, place by place.

    heads            [set place] flat index layer * n_heads + head
    layer_fallbacks  draws from the nearest other layer, since the layer had no head left
    norm_fallbacks   draws outside the factor ALIKE in norm, since no head left was within it
    """

    heads: npt.NDArray[np.int32]
    layer_fallbacks: int
    norm_fallbacks: int


def random_sets(
    like: Sequence[Head], allowed: npt.NDArray[np.bool_], norms: Floats, n: int, rng: np.random.Generator
) -> RandomSets:
    """n sets, each disjoint from `like`: for every head one of its layer with an output norm within a factor of two.

    allowed [layer head] heads that may be drawn; norms [layer head] sizes of what removing a head takes away.
    Where fewer heads are left than there are places, the sets end early.
    """
    pool = allowed.copy()
    for layer, head in like:
        pool[layer, head] = False
    places = min(len(like), int(pool.sum()))
    sizes = np.log(np.maximum(norms, 1e-30))
    sets = np.empty((n, places), np.int32)
    other_layer = other_norm = 0
    for row in sets:
        free = pool.copy()
        for place, (layer, head) in enumerate(like[:places]):
            near = min(np.flatnonzero(free.any(1)), key=lambda at: (abs(at - layer), at))
            heads = np.flatnonzero(free[near])
            far = np.abs(sizes[near, heads] - sizes[layer, head])
            matched = heads[far <= np.log(ALIKE)]
            other_layer += int(near != layer)
            other_norm += int(not len(matched))
            choice = int(rng.choice(matched if len(matched) else heads[np.argsort(far, kind="stable")[:NEAREST]]))
            free[near, choice] = False
            row[place] = near * allowed.shape[1] + choice
    return RandomSets(sets, other_layer, other_norm)


def masks(sets: npt.NDArray[np.int32], sizes: Sequence[int], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """[set size layer head] True for the first `size` heads of every set, for every size."""
    out = np.zeros((len(sets), len(sizes), shape[0] * shape[1]), dtype=bool)
    for i, row in enumerate(sets):
        for j, size in enumerate(sizes):
            out[i, j, row[:size]] = True
    return out.reshape(len(sets), len(sizes), *shape)
