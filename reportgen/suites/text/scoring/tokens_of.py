"""What is known of a batch of windows from their tokens alone: which keys count for which statistic, and how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.suites.text.classes import KINDS
from reportgen.suites.text.scoring.stream import Window

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

NEAREST = 2  # earlier copies whose next token is an induction key
PAIRED = ("induction", "duplicate")  # statistics with a control at the same distances


@dataclass(frozen=True, eq=False)
class WindowCounts:
    """Of one window, over its queries q >= first.

    queries, followed   how many; how many have a next token
    classes   [class] sum over queries of the class's share among keys 1..q
    next      sum over queries of the share of keys 1..q that hold the next token
    treated   [2] queries with a key of each of PAIRED
    distances [2 distance] how many such keys at each distance
    kinds     [kind] queries by kind of a key, averaged over keys at each distance: see `by_distance`
    by_distance [distance kind] share of the queries whose key at this distance is of the kind
    """

    queries: int
    followed: int
    classes: Floats
    next: float
    treated: npt.NDArray[np.int64]
    distances: npt.NDArray[np.int64]
    by_distance: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class BatchTokens:
    """The same of a batch of equally long windows, as tensors on the model's device.

    keys      [window query*key 3] 1 where the key counts for induction, duplicate, next
    classes   [window key class] one-hot, position 0 left out
    weights   [window 3 query-1] 1 for queries that count: all, without an induction key, without an earlier copy
    kinds     [window query key] index into KINDS
    by_distance [window distance kind] as in WindowCounts
    """

    ids: Tensor
    keys: Tensor
    classes: Tensor
    weights: Tensor
    kinds: Tensor
    by_distance: Tensor
    counts: tuple[WindowCounts, ...]


def masks(ids: npt.NDArray[np.int64], following: npt.NDArray[np.int64]) -> dict[str, Bools]:
    """[query key] of one window: which keys count for each statistic. Position 0 is never a key.

    induction  the token after one of the two nearest earlier copies of the query's token
    duplicate  earlier copies of the query's token;  next  keys that hold the token after the query, the query included
    """
    length = len(ids)
    at = np.arange(length)
    same = (ids[:, None] == ids[None, :]) & (at[None, :] >= 1)
    before = same & (at[None, :] <= at[:, None] - 2)
    nearest = before & (before[:, ::-1].cumsum(1)[:, ::-1] <= NEAREST)
    induction = np.zeros_like(nearest)
    induction[:, 1:] = nearest[:, :-1]
    after = (following[:, None] == ids[None, :]) & (at[None, :] >= 1) & (at[None, :] <= at[:, None])
    return {"induction": induction, "duplicate": same & (at[None, :] < at[:, None]), "next": after}


def kinds(found: dict[str, Bools], ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """[query key] index into KINDS, the first that is true. Keys after the query are `other`."""
    length = len(ids)
    at = np.arange(length)
    anywhere = (ids[:, None] == ids[None, :]) & (at[None, :] >= 1) & (at[None, :] <= at[:, None] - 2)
    after = np.zeros_like(anywhere)
    after[:, 1:] = anywhere[:, :-1]  # after any earlier copy, not the nearest two alone
    tests = {
        "sink": np.broadcast_to(at[None, :] == 0, anywhere.shape),
        "self": at[None, :] == at[:, None],
        "previous": at[None, :] == at[:, None] - 1,
        "induction": after,
        "duplicate": found["duplicate"],
        "next": found["next"],
    }
    out = np.full((length, length), KINDS.index("other"), np.uint8)
    for index in reversed(range(len(KINDS) - 1)):
        out[tests[KINDS[index]]] = index
    return out


def _by_distance(kind: npt.NDArray[np.uint8], first: int) -> npt.NDArray[np.float32]:
    """[distance kind] share of queries >= first whose key at this distance is of each kind; 0 where no query has it."""
    length = len(kind)
    query, key = np.tril_indices(length)
    kept = query >= first
    flat = (query - key)[kept] * len(KINDS) + kind[query, key][kept]
    counts = np.bincount(flat, minlength=length * len(KINDS)).reshape(length, len(KINDS))
    return np.asarray(counts / np.maximum(1, counts.sum(1, keepdims=True)), np.float32)


def of_window(
    window: Window, table: npt.NDArray[np.int64], n_classes: int, first: int
) -> tuple[dict[str, Bools], npt.NDArray[np.uint8], WindowCounts]:
    """The masks, kinds and counts of one window; table [id] the class of a token."""
    ids, following = window.ids, window.next_ids
    length = len(ids)
    found = masks(ids, following)
    kind = kinds(found, ids)
    earlier = np.maximum(1, np.arange(length))  # keys 1..q
    one_hot = np.eye(n_classes)[table[ids]]
    one_hot[0] = 0
    shares = one_hot.cumsum(0) / earlier[:, None]
    known = following >= 0
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]
    distances = np.stack([
        np.bincount(distance[first:][found[name][first:]], minlength=length)[:length] for name in PAIRED
    ])  # fmt: skip
    counts = WindowCounts(
        queries=length - first,
        followed=int(known[first:].sum()),
        classes=shares[first:].sum(0),
        next=float((found["next"].sum(1) / earlier)[first:].sum()),
        treated=np.array([int(found[name][first:].any(1).sum()) for name in PAIRED]),
        distances=distances,
        by_distance=_by_distance(kind, first),
    )
    return found, kind, counts


def of_batch(
    windows: Sequence[Window], table: npt.NDArray[np.int64], n_classes: int, first: int, device: torch.device
) -> BatchTokens:
    """Equally long windows; queries from `first` on count."""
    each = [of_window(window, table, n_classes, first) for window in windows]
    ids = np.stack([window.ids for window in windows])
    count, length = ids.shape
    keys = np.stack([np.stack([f[name] for name in (*PAIRED, "next")], -1) for f, _, _ in each])
    keys[:, :first] = False
    weights = np.zeros((count, 1 + len(PAIRED), length), np.float32)
    weights[:, 0, first:] = 1
    for row, (found, _, _) in enumerate(each):
        for index, name in enumerate(PAIRED, 1):
            weights[row, index, first:] = ~found[name][first:].any(1)
    one_hot = np.eye(n_classes, dtype=np.float32)[table[ids]]
    one_hot[:, 0] = 0

    def put(values: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    return BatchTokens(
        ids=put(ids),
        keys=put(keys.reshape(count, length * length, -1).astype(np.float32)),
        classes=put(one_hot),
        weights=put(weights[:, :, 1:]),
        kinds=put(np.stack([kind for _, kind, _ in each])),
        by_distance=put(np.stack([counts.by_distance for _, _, counts in each])),
        counts=tuple(counts for _, _, counts in each),
    )
