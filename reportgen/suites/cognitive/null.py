"""Permuted labels: what importance a probe finds where there is nothing to find.

Every permuted probe is trained for the SAME number of steps as the real one. With early stopping of its own it would
stop after a few steps with small weights, and a line drawn from those lets noise through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.suites.cognitive.probe import Features, importance, train
from reportgen.suites.cognitive.recipe import Recipe

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_STACK_BYTES = 256 << 20  # activations of one stack
_MOST_STACKED = 48
SEED_BASE = 1_000_000  # real probes are seeded below, permuted ones from here on


@dataclass(frozen=True)
class Job:
    """What real and permuted probes share. train, selection, test: example numbers [n]; labels [N]."""

    features: Features
    labels: Tensor
    train: Tensor
    selection: Tensor
    test: Tensor
    classes: int
    recipe: Recipe
    steps: int


@dataclass(frozen=True)
class Null:
    """own, total [B C J] mean importance under permuted labels; accuracy [B] on the test rows' permuted labels."""

    own: npt.NDArray[np.float32]
    total: npt.NDArray[np.float32]
    accuracy: Floats

    def maxima(self, part: str) -> Floats:
        """[B] largest |importance| over heads and functions, of `own` or `total`."""
        grid: npt.NDArray[np.float32] = getattr(self, part)
        return np.asarray(np.abs(grid).max((1, 2)), dtype=np.float64)


def permuted(labels: Ints, strata: Ints, count: int, rng: np.random.Generator) -> Ints:
    """[count N] labels permuted within strata."""
    out = np.tile(labels, (count, 1))
    for stratum in np.unique(strata):
        inside = np.flatnonzero(strata == stratum)
        out[:, inside] = rng.permuted(out[:, inside], axis=1)
    return out


def stack_size(job: Job) -> int:
    """Probes trained at once: as many as fit into the memory set aside."""
    rows = max(job.recipe.batch, 1)
    each = (
        6 * 4 * rows * job.features.heads * job.recipe.proj
        + 16 * job.features.heads * job.recipe.proj * job.recipe.hidden
    )
    return int(max(1, min(_MOST_STACKED, _STACK_BYTES // each)))


def run(job: Job, strata: Ints, count: int, seeds_each: int, seed: int, tick: Callable[[int, int], None]) -> Null:
    """Train `count` x `seeds_each` probes on permuted labels; the random starts of one permutation are averaged."""
    rng = np.random.default_rng([seed, 6])
    labels = permuted(job.labels.cpu().numpy(), strata, count, rng)
    shape = (count, job.classes, job.features.heads)
    own, total, accuracy = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(count)
    step = max(1, stack_size(job) // seeds_each)
    for start in range(0, count, step):
        tick(start, count)
        some = torch.from_numpy(labels[start : start + step]).repeat_interleave(seeds_each, 0).to(job.labels.device)
        first = SEED_BASE * (1 + seed) + start * seeds_each
        made = train(
            job.features, some, job.train, job.recipe, job.steps, range(first, first + len(some)), classes=job.classes
        )
        parts = importance(made.probes, job.features, some, job.selection, job.recipe)
        part = slice(start, start + step)
        for into, values in ((own, parts.own), (total, parts.total)):
            means = class_means(values, some[:, job.selection], job.classes)  # [S C J]
            into[part] = means.view(-1, seeds_each, *means.shape[1:]).mean(1).cpu().numpy()
        right = made.probes.predictions(job.features, job.test) == some[:, job.test]
        accuracy[part] = right.cpu().double().mean(1).view(-1, seeds_each).mean(1).numpy()
    return Null(own, total, accuracy)


def class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean of values [S n J] over the examples of each class, labels [S n]: [S C J]; 0 for a class without any."""
    members = torch.nn.functional.one_hot(labels, classes).to(values.dtype)  # [S n C]
    return torch.einsum("snc,snj->scj", members, values) / members.sum(1).clamp_min(1)[:, :, None]


def line(maxima: Floats, alpha: float) -> float:
    """The value above which the family-wise p is at most alpha: the k-th largest maximum, k = alpha (B + 1)."""
    k = int(np.floor(alpha * (len(maxima) + 1) + 1e-9))
    if k < 1:
        raise ValueError(f"{len(maxima)} permutations can't resolve alpha {alpha}")
    return float(np.sort(maxima)[-k])


def adjusted_p(size: Floats, maxima: Floats) -> Floats:
    """(1 + #{maxima >= size}) / (B + 1) for |importance| of any shape: the family is all heads and functions."""
    ordered = np.sort(maxima)
    beyond = len(ordered) - np.searchsorted(ordered, size, side="left")
    return np.asarray((1.0 + beyond) / (len(ordered) + 1.0))
