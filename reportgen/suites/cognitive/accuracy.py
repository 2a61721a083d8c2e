"""How well the probe tells the functions apart on rows it never saw, beside what needs no language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.stats import clustered_wilson, wilson
from reportgen.suites.cognitive import baselines
from reportgen.suites.cognitive.ablation_stats import interval, sign_flip_p
from reportgen.suites.cognitive.dataset import DataSet
from reportgen.suites.cognitive.fit import Fit, Rows

Floats = npt.NDArray[np.float64]
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


def measure(data: DataSet, rows: Rows, found: Fit, seed: int) -> Accuracy:
    """Everything about accuracy; interval and test of the margin are over chains."""
    test, classes = rows.at["test"], len(data.functions)
    truth, chains = rows.labels[test], [rows.chains[i] for i in test]
    guesses = baselines.predict_all(data.rows, rows.labels, rows.at["train"], classes)
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
    return Share(float(right.mean()), low, high, baselines.balanced_accuracy(predicted, truth, classes))
