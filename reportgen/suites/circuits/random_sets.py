"""Random head sets like a given one: as many heads per layer, and of like output norm.

Dormant heads are easy controls, so a head is replaced by one whose output differs between prompts about as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.scores import Head

Bools = npt.NDArray[np.bool_]
NEAREST = 3  # a head is drawn from the nearest three in norm, or the nearer half of what is left in its layer


@dataclass(frozen=True, eq=False)
class Drawn:
    """sets [set layer head] bool. Shares over all places of all sets:

    other_layer  drawn from the nearest layer, since its own had no head left
    shared       heads of the given set itself, since no other head was left anywhere
    """

    sets: Bools
    other_layer: float
    shared: float


def random_sets(like: Sequence[Head], norms: npt.NDArray[np.floating], count: int, rng: np.random.Generator) -> Drawn:
    """`count` sets of heads like those of `like`; norms [layer head]."""
    sets = np.zeros((count, *norms.shape), bool)
    sizes = np.log(np.maximum(norms, 1e-30))
    own = np.zeros(norms.shape, bool)
    for head in like:
        own[head] = True
    moved = shared = 0
    for drawn in sets:
        for place in rng.permutation(len(like)):
            layer, head = like[place]
            free = ~drawn & ~own
            if not free.any():
                free = ~drawn
                shared += 1
            near = min(np.flatnonzero(free.any(1)), key=lambda at: (abs(at - layer), at))
            moved += int(near != layer)
            left = np.flatnonzero(free[near])
            order = left[np.argsort(np.abs(sizes[near, left] - sizes[layer, head]), kind="stable")]
            drawn[near, rng.choice(order[: max(NEAREST, len(order) // 2)])] = True
    places = max(1, count * len(like))
    return Drawn(sets, moved / places, shared / places)
