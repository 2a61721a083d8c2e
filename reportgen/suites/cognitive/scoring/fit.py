"""Training the real probes and everything that is read off them: accuracy, importance, intervals, agreement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Bools, Floats, Ints
from reportgen.stats import bootstrap_interval, clustered_wilson, wilson
from reportgen.suites.cognitive.rows import SPLITS
from reportgen.suites.cognitive.scoring.ablation_tests import interval, sign_flip_p
from reportgen.suites.cognitive.scoring.dataset import DataSet
from reportgen.suites.cognitive.scoring.null import (
    Null,
    ProbeJob,
    balanced_accuracy,
    predict_all,
    strata_of,
    train_permuted,
)
from reportgen.suites.cognitive.scoring.probe import importance, make_features, train
from reportgen.suites.cognitive.suite import Recipe, Settings

# How well the probe tells the functions apart on rows it never saw, beside what needs no language model.

_DRAWS = 2_000


@dataclass(frozen=True)
class Share:
    """A share of n rows with its 95 % Wilson interval; rows of one chain count as a cluster."""

    value: float
    low: float
    high: float
    balanced: float = float("nan")


@dataclass(frozen=True)
class Accuracy:
    """On the test rows. sd: over seeds;  p: permuted labels;  chance: one over the number of functions

    margin    probe minus best baseline, (value, low, high, p): paired by row, resampled and sign-flipped by chain
    recall    [function] shares;  confusion [function predicted] shares of each function's rows, mean over seeds
    """

    probe: Share
    sd: float
    p: float
    chance: float
    selection: float
    without: Share | None
    baselines: dict[str, Share]
    best: str
    margin: tuple[float, float, float, float]
    recall: tuple[Share, ...]
    counts: tuple[int, ...]
    confusion: Floats

    @property
    def is_above(self) -> bool:
        """Whether the probe is more often right than every baseline."""
        return self.margin[0] > 0


def measure(data: DataSet, rows: LabelledRows, found: Fit, seed: int) -> Accuracy:
    """Everything about accuracy; interval and test of the margin are over chains."""
    test, classes = rows.at["test"], len(data.functions)
    truth, chains = rows.labels[test], [rows.chains[i] for i in test]
    guesses = predict_all(data.rows, rows.labels, rows.at["train"], classes)
    plain = {name: _share(g[test] == truth, g[test], truth, chains, classes) for name, g in guesses.items()}
    best = max(plain, key=lambda name: plain[name].value)
    hits = found.right.mean(0)  # [row] share of seeds that are right
    difference = hits - (guesses[best][test] == truth)
    rng = np.random.default_rng([seed, 9])
    low, high = interval(difference, chains, _DRAWS, rng)
    confusion = np.zeros((classes, classes))
    for predicted in found.predicted:
        np.add.at(confusion, (truth, predicted), 1 / len(found.predicted))
    counts = np.bincount(truth, minlength=classes)
    value = float(hits.mean())
    return Accuracy(
        probe=Share(value, *clustered_wilson(hits, chains), balanced=float((np.diag(confusion) / counts).mean())),
        sd=float(found.right.mean(1).std(ddof=1)) if len(found.right) > 1 else float("nan"),
        p=_permutation_p(value, found),
        chance=1 / classes,
        selection=float(found.right_selection.mean()),
        without=_without(found, truth, chains, classes),
        baselines=plain,
        best=best,
        margin=(float(difference.mean()), low, high, sign_flip_p(difference, chains, rng)),
        recall=tuple(_recall(confusion[c, c], int(counts[c])) for c in range(classes)),
        counts=tuple(int(n) for n in counts),
        confusion=confusion / counts[:, None],
    )


def _without(found: Fit, truth: npt.NDArray[np.int64], chains: Sequence[str], classes: int) -> Share | None:
    """The probe that does not see the layer mean, mean over seeds."""
    if found.without is None:
        return None
    hits = found.without[0].mean(0)
    balanced = np.mean([hits[truth == c].mean() for c in range(classes)])
    return Share(float(hits.mean()), *clustered_wilson(hits, chains), balanced=float(balanced))


def _permutation_p(value: float, found: Fit) -> float:
    if found.null is None:
        return float("nan")
    return (1 + int((found.null.accuracy >= value - 1e-12).sum())) / (len(found.null.accuracy) + 1)


def _recall(hits: float, n: int) -> Share:
    low, high = wilson(min(hits, n), n)
    return Share(hits / n, float(low), float(high))


def _share(
    right: npt.NDArray[np.bool_], predicted: npt.NDArray[np.int64], truth: npt.NDArray[np.int64],
    chains: Sequence[str], classes: int,
) -> Share:  # fmt: skip
    low, high = clustered_wilson(right.astype(float), chains)
    return Share(float(right.mean()), low, high, balanced_accuracy(predicted, truth, classes))


PARTS = ("total", "own", "layer", "bias")


@dataclass(frozen=True)
class LabelledRows:
    """The examples as numbers: labels [N], split -> example numbers, chain of every example."""

    labels: Ints
    at: dict[str, Ints]
    chains: tuple[str, ...]

    @staticmethod
    def of(data: DataSet) -> LabelledRows:
        labels = np.array([data.label(row) for row in data.rows])
        parts = np.array([row.split for row in data.rows])
        return LabelledRows(
            labels, {s: np.flatnonzero(parts == s) for s in SPLITS}, tuple(row.chain for row in data.rows)
        )


@dataclass(frozen=True)
class Fit:
    """Real probes and the null.

    examples     part -> [selection row, head] importance of each held-out row's own function, mean over seeds
    by_seed      part -> [seed function head] mean over the function's held-out rows
    right        [seed test row];  predicted [seed test row];  right_selection [seed selection row]
    steps        training steps of every probe;  validation: loss in nats at every look of the early-stopped run
    without      the same without the layer mean: right [seed test row] and by_seed of the own part, or None
    null         permuted labels, or None;  strata: what they were permuted within
    """

    examples: dict[str, npt.NDArray[np.float32]]
    by_seed: dict[str, Floats]
    right: Bools
    predicted: Ints
    right_selection: Bools
    steps: int
    validation: tuple[float, ...]
    without: tuple[Bools, Floats] | None
    null: Null | None
    strata: str

    def mean(self, part: str) -> Floats:
        """[function head] importance, mean over seeds."""
        return np.asarray(self.by_seed[part].mean(0))


def fit(
    z: Tensor, data: DataSet, rows: LabelledRows, settings: Settings, recipe: Recipe, seed: int,
    progress: Callable[[int, int, str], None],
) -> Fit:  # fmt: skip
    """Train `settings.seeds` probes on head outputs z [N layer head d_head], and the permuted ones."""
    job, validation = _job(z, data, rows, settings, recipe, seed)
    seeds = [1000 * seed + i for i in range(settings.seeds)]
    found = _Fitted()
    for i, one in enumerate(seeds):
        progress(i, len(seeds), "probes")
        found.add(job, one)
    without = None
    if settings.layer_mean and recipe.null:  # as published there is no second run
        plain = replace(job, features=replace(job.features, mean=None))
        bare = _Fitted()
        for one in seeds:
            bare.add(plain, one)
        without = (np.array(bare.predicted) == rows.labels[rows.at["test"]], bare.means("own", job))
    strata, words = strata_of(data.rows)
    null = None
    if settings.permutations and recipe.null:
        null = train_permuted(
            job, strata, settings.permutations, settings.null_seeds or settings.seeds, seed,
            lambda done, total: progress(done, total, "permuted labels"),
        )  # fmt: skip
    return Fit(
        examples={part: np.mean(found.examples[part], axis=0, dtype=np.float32) for part in found.present()},
        by_seed={part: found.means(part, job) for part in found.present()},
        right=np.array(found.predicted) == rows.labels[rows.at["test"]],
        predicted=np.array(found.predicted),
        right_selection=np.array(found.selection) == rows.labels[rows.at["selection"]],
        steps=job.steps,
        validation=validation,
        without=without,
        null=null,
        strata=words if null is not None else "",
    )


def _job(
    z: Tensor, data: DataSet, rows: LabelledRows, settings: Settings, recipe: Recipe, seed: int
) -> tuple[ProbeJob, tuple[float, ...]]:
    """Features, rows and the number of steps: fixed epochs, or those of one early-stopped run."""
    at = {part: torch.from_numpy(places).to(z.device) for part, places in rows.at.items()}
    features = make_features(z, at["train"], standardise=recipe.standardise, layer_mean=settings.layer_mean)
    labels, classes = torch.from_numpy(rows.labels).to(z.device), len(data.functions)
    steps, looks = -(-len(at["train"]) // recipe.batch) * recipe.epochs, tuple[float, ...]()
    if not recipe.epochs:
        first = train(
            features, labels[None], at["train"], recipe, settings.most_steps, [1000 * seed + 999], classes=classes,
            validation=at["validation"],
        )  # fmt: skip
        steps, looks = first.steps, first.validation
    return ProbeJob(features, labels, at["train"], at["selection"], at["test"], classes, recipe, steps), looks


class _Fitted:
    """What the probes of several seeds gave."""

    def __init__(self) -> None:
        self.examples: dict[str, list[npt.NDArray[np.float32]]] = {part: [] for part in PARTS}
        self.predicted: list[Ints] = []
        self.selection: list[Ints] = []

    def add(self, job: ProbeJob, seed: int) -> None:
        """Train one probe and keep what it says of the held-out rows."""
        probes = train(
            job.features, job.labels[None], job.train, job.recipe, job.steps, [seed], classes=job.classes
        ).probes
        parts = importance(probes, job.features, job.labels[None], job.selection, job.recipe)
        for part in PARTS:
            values: Tensor | None = getattr(parts, part)
            if values is not None:
                self.examples[part].append(values[0].cpu().numpy())
        self.predicted.append(probes.predictions(job.features, job.test)[0].cpu().numpy())
        self.selection.append(probes.predictions(job.features, job.selection)[0].cpu().numpy())

    def present(self) -> list[str]:
        return [part for part in PARTS if self.examples[part]]

    def means(self, part: str, job: ProbeJob) -> Floats:
        """[seed function head]"""
        labels = job.labels[job.selection].cpu().numpy()
        values = np.array(self.examples[part], dtype=np.float64)  # [seed row head]
        return np.stack([values[:, labels == c].mean(1) for c in range(job.classes)], axis=1)


def intervals(
    values: npt.NDArray[np.float32], labels: Ints, chains: Sequence[str], classes: int, draws: int,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:  # fmt: skip
    """95 % intervals [function head] of mean importance, values [row head]; chains resampled."""
    lows, highs = [], []
    for c in range(classes):
        mine = np.flatnonzero(labels == c)
        low, high = bootstrap_interval(values[mine], [chains[int(i)] for i in mine], rng, draws=draws)
        lows.append(low)
        highs.append(high)
    return np.stack(lows), np.stack(highs)
