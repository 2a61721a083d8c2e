"""What the probe is read against: permuted labels, surface features alone, and the rules for which heads stand out.

Every permuted probe is trained for the SAME number of steps as the real one. With early stopping of its own it would
stop after a few steps with small weights, and a line drawn from those lets noise through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Floats, Ints
from reportgen.suites.cognitive.facts import NoiseFacts
from reportgen.suites.cognitive.rows import Row
from reportgen.suites.cognitive.scoring.dataset import answer_shape
from reportgen.suites.cognitive.scoring.probe import Features, importance, train
from reportgen.suites.cognitive.suite import Recipe

_STACK_BYTES = 256 << 20  # activations of one stack
_MOST_STACKED = 48
SEED_BASE = 1_000_000  # real probes are seeded below, permuted ones from here on


@dataclass(frozen=True)
class ProbeJob:
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


def stack_size(job: ProbeJob) -> int:
    """Probes trained at once: as many as fit into the memory set aside."""
    rows = max(job.recipe.batch, 1)
    each = (
        6 * 4 * rows * job.features.heads * job.recipe.proj
        + 16 * job.features.heads * job.recipe.proj * job.recipe.hidden
    )
    return int(max(1, min(_MOST_STACKED, _STACK_BYTES // each)))


def train_permuted(
    job: ProbeJob, strata: Ints, count: int, seeds_each: int, seed: int, tick: Callable[[int, int], None]
) -> Null:
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


def family_line(maxima: Floats, alpha: float) -> float:
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


# Which heads belong to a function: the published elbow, and the heads beyond the family-wise line.

_NOISE_DRAWS = 300


def ranking(values: npt.ArrayLike) -> Ints:
    """Flat head numbers by falling |value|; equal values in the order of the grid, NaN left out."""
    size = np.abs(np.asarray(values, dtype=np.float64).reshape(-1))
    order = np.argsort(-size, kind="stable")
    return order[~np.isnan(size[order])]


def elbow(values: npt.ArrayLike) -> int:
    """Heads kept by the paper's rule: |I| in falling order, up to the point farthest below the chord of its ends."""
    size = np.abs(np.asarray(values, dtype=np.float64).reshape(-1))
    y = np.sort(size[~np.isnan(size)])[::-1]
    if len(y) < 3:
        return 0
    chord = y[0] + (y[-1] - y[0]) * np.arange(len(y)) / (len(y) - 1)
    return int(np.argmax(chord - y))


def elbow_on_noise(heads: int, seed: int) -> NoiseFacts:
    """How many heads the elbow keeps of pure noise: mean and 5-95 % range over normal draws of this many heads."""
    rng = np.random.default_rng([seed, 7])
    kept = [elbow(rng.standard_normal(heads)) for _ in range(_NOISE_DRAWS)]
    low, high = np.quantile(kept, [0.05, 0.95])
    return NoiseFacts(mean=float(np.mean(kept)), low=float(low), high=float(high), draws=float(_NOISE_DRAWS))


def jaccard(first: Ints, second: Ints) -> float:
    """Shared heads over all heads of two sets; 1 for two empty ones."""
    union = len(np.union1d(first, second))
    return 1.0 if not union else len(np.intersect1d(first, second)) / union


def agreement(seeds: Floats, top: int) -> tuple[float, float]:
    """Mean Spearman correlation of |I| and mean Jaccard index of the first `top` heads, over pairs of seeds [S J]."""
    from scipy.stats import spearmanr

    size = np.abs(seeds[:, ~np.isnan(seeds).any(0)])
    pairs = list(combinations(range(len(size)), 2))
    if not pairs or size.shape[1] < 3:
        return float("nan"), float("nan")
    rank = [float(spearmanr(size[i], size[j]).statistic) for i, j in pairs]
    shared = [jaccard(ranking(size[i])[:top], ranking(size[j])[:top]) for i, j in pairs]
    return float(np.mean(rank)), float(np.mean(shared))


# What a probe must beat: predicting the function from surface features, with no language model at all.

BASELINES = {
    "majority": "the most frequent function",
    "position_shape": "naive Bayes on chain position and answer shape",
    "words": "naive Bayes on the sub-question's words",
    "words_position_shape": "naive Bayes on words, chain position and answer shape",
}


def predict_all(rows: Sequence[Row], labels: Ints, train: Ints, classes: int) -> dict[str, Ints]:
    """Baseline -> predicted class of every row [N]; counted on the rows `train` only."""
    prior = np.log(np.bincount(labels[train], minlength=classes) + 1.0)
    words = _naive_bayes([_words(row.subquestion) for row in rows], labels, train, classes)
    place = _naive_bayes([[f"step {row.step}"] for row in rows], labels, train, classes)
    shape = _naive_bayes([[answer_shape(row.answer)] for row in rows], labels, train, classes)
    scores = {
        "majority": np.zeros_like(words),
        "position_shape": place + shape,
        "words": words,
        "words_position_shape": words + place + shape,
    }
    return {name: (score + prior).argmax(1) for name, score in scores.items()}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _naive_bayes(bags: Sequence[Sequence[str]], labels: Ints, train: Ints, classes: int) -> Floats:
    """Multinomial log likelihood [N class] with Laplace's one added; words never seen in train say nothing."""
    known = {word: i for i, word in enumerate(sorted({word for i in train for word in bags[i]}))}
    counts = np.ones((classes, len(known)))
    for i in train:
        for word in bags[i]:
            counts[labels[i], known[word]] += 1
    likelihood = np.log(counts / counts.sum(1, keepdims=True))
    found = [[known[word] for word in bag if word in known] for bag in bags]
    return np.stack([likelihood[:, places].sum(1) for places in found])


def balanced_accuracy(predicted: Ints, truth: Ints, classes: int) -> float:
    """Mean over classes of the share found."""
    return float(np.nanmean(recalls(predicted, truth, classes)))


def recalls(predicted: Ints, truth: Ints, classes: int) -> Floats:
    """[class] share of each class that is found; NaN for a class without rows."""
    n = np.bincount(truth, minlength=classes)
    hits = np.bincount(truth[predicted == truth], minlength=classes)
    return np.where(n > 0, hits / np.maximum(n, 1), np.nan)


def strata_of(rows: Sequence[Row]) -> tuple[Ints, str]:
    """[N] stratum within which labels are permuted, and its rule in words.

    Split x chain position x answer shape; where fewer than half of the rows share their stratum with another function,
    shape goes, then position.
    """
    rules: tuple[tuple[str, Callable[[Row], object]], ...] = (
        ("split, chain position and answer shape", lambda r: (r.split, r.step, answer_shape(r.answer))),
        ("split and chain position", lambda r: (r.split, r.step)),
        ("split", lambda r: (r.split,)),
    )
    for words, rule in rules:
        keys = [rule(row) for row in rows]
        members: dict[object, set[str]] = {}
        for key, row in zip(keys, rows, strict=True):
            members.setdefault(key, set()).add(row.function)
        free = np.mean([len(members[key]) > 1 for key in keys])
        if free >= 0.5 or words == rules[-1][0]:
            break
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return np.array([number[key] for key in keys]), words
