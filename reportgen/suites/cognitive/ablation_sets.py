"""Which heads are removed: each function's leading ones, and random ones like them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ALIKE = 2.0  # output norms within this factor count as matched
NEAREST = 3  # else one of the layer's nearest in norm


@dataclass(frozen=True)
class Matched:
    """sets [set place] flat head numbers, place by place like those they stand for.

    layer_fallbacks  places filled from the nearest other layer, since the layer had no head left
    norm_fallbacks   places filled outside the factor ALIKE in output norm
    """

    sets: Ints
    layer_fallbacks: int
    norm_fallbacks: int


def matched_sets(
    like: Sequence[int], apart: Sequence[int], allowed: npt.NDArray[np.bool_], norms: Floats, count: int,
    rng: np.random.Generator,
) -> Matched:  # fmt: skip
    """`count` sets disjoint from `apart`: for each head of `like` one of its own layer and of like output norm.

    allowed, norms [layer head]. Where fewer heads are left than places, the sets end early.
    """
    width = allowed.shape[1]
    pool = allowed.copy().reshape(-1)
    pool[list(apart)] = False
    places = min(len(like), int(pool.sum()))
    sizes = np.log(np.maximum(norms, 1e-30))
    sets = np.empty((count, places), np.int64)
    other_layer = other_norm = 0
    for row in sets:
        free = pool.reshape(allowed.shape).copy()
        for place, flat in enumerate(like[:places]):
            layer, head = divmod(int(flat), width)
            near = min(np.flatnonzero(free.any(1)), key=lambda at: (abs(at - layer), at))
            heads = np.flatnonzero(free[near])
            far = np.abs(sizes[near, heads] - sizes[layer, head])
            alike = heads[far <= np.log(ALIKE)]
            other_layer += int(near != layer)
            other_norm += int(not len(alike))
            choice = int(rng.choice(alike if len(alike) else heads[np.argsort(far, kind="stable")[:NEAREST]]))
            free[near, choice] = False
            row[place] = near * width + choice
    return Matched(sets, other_layer, other_norm)


def equal_size(heads: int, asked: int) -> int:
    """Heads removed per function: as asked, else a twelfth of all heads; at most a quarter."""
    return max(1, min(asked or round(heads / 12), heads // 4))


def curve_sizes(heads: int) -> tuple[int, ...]:
    """0, 1, 2, 4, 8, ... up to a quarter of all heads."""
    sizes, n = [0], 1
    while n <= max(1, heads // 4):
        sizes.append(n)
        n *= 2
    return tuple(sizes)
