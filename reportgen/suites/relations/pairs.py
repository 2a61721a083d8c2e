"""The unique (source, target) pairs of all relations of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class PairIndex:
    """The unique (source, target) pairs of all relations, laid out so that counting needs no gather.

    sources  [row]   unique source ids, those with most targets first
    row      [pair]  row of each unique pair's source
    targets  [pair]  token id of its target
    slots    slots[j][i] is the unique pair of row i's j-th target; rows with more than j targets come first
    members  relation -> [its pairs] unique pair of each, duplicates kept
    """

    sources: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    slots: tuple[npt.NDArray[np.int64], ...]
    members: Mapping[str, npt.NDArray[np.int64]]

    @staticmethod
    def build(relations: Mapping[str, tuple[Sequence[int], Sequence[int]]]) -> PairIndex:
        """From relation -> (source ids, target ids), aligned."""
        unique: dict[int, dict[int, int]] = {}  # source -> target -> place among its targets
        for sources, targets in relations.values():
            for s, t in zip(sources, targets, strict=True):
                places = unique.setdefault(s, {})
                places.setdefault(t, len(places))
        order = sorted(unique, key=lambda s: -len(unique[s]))
        start = dict(zip(order, np.cumsum([0] + [len(unique[s]) for s in order])[:-1].tolist(), strict=True))
        width = max((len(places) for places in unique.values()), default=0)
        slots = tuple(
            np.array([start[s] + j for s in order if len(unique[s]) > j], dtype=np.int64) for j in range(width)
        )
        members = {
            name: np.array([start[s] + unique[s][t] for s, t in zip(ss, ts, strict=True)], dtype=np.int64)
            for name, (ss, ts) in relations.items()
        }
        return PairIndex(
            sources=np.array(order, dtype=np.int64),
            row=np.repeat(np.arange(len(order)), [len(unique[s]) for s in order]),
            targets=np.array([t for s in order for t in unique[s]], dtype=np.int64),
            slots=slots,
            members=members,
        )
