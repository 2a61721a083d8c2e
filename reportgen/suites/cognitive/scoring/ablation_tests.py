"""Tests of the causal check, paired by question and resampled by chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from reportgen.aliases import Floats
from reportgen.stats import holm
from reportgen.suites.cognitive.facts import FunctionEffect
from reportgen.suites.cognitive.scoring.ablation import AblationEffects

LEAST_RIGHT = 5  # questions a function must get right for the matrix to be about right answers only
FLIPS = 10_000


@dataclass(frozen=True)
class AblationVerdict:
    """matrix [questions of, heads of] mean change in nats; per function; own minus other heads over all functions."""

    matrix: Floats
    functions: tuple[FunctionEffect, ...]
    right_only: bool
    contrast: float
    low: float
    high: float
    p: float


def judge(
    effects: AblationEffects, how: str, classes: int, test_random: bool, draws: int, rng: np.random.Generator
) -> AblationVerdict:
    """Everything that is said about the ablation under one way of changing heads."""
    counts = [int((effects.right & (effects.label == c)).sum()) for c in range(classes)]
    right_only = min(counts) >= LEAST_RIGHT
    used = effects.right if right_only else np.ones_like(effects.right)
    change = effects.logprob[how] - effects.intact[:, None]  # [item heads of]
    matrix = np.stack([_mean(change[used & (effects.label == c)]) for c in range(classes)])
    raw = [_one(effects, how, change, used, c, test_random, draws, rng) for c in range(classes)]
    adjusted = {name: holm([r[name] for r in raw]) for name in ("p", "p_random", "p_mcnemar")}
    functions = tuple(
        FunctionEffect(**r, **{f"{name}_holm": float(values[i]) for name, values in adjusted.items()})  # type: ignore[arg-type]
        for i, r in enumerate(raw)
    )
    own = np.flatnonzero(used)
    difference = _own_minus_others(change[own], effects.label[own])
    chains = [effects.chain[i] for i in own]
    low, high = interval(difference, chains, draws, rng)
    return AblationVerdict(
        matrix, functions, right_only, float(difference.mean()), low, high, sign_flip_p(difference, chains, rng)
    )


def _one(
    effects: AblationEffects,
    how: str,
    change: Floats,
    used: npt.NDArray[np.bool_],
    c: int,
    test_random: bool,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, float | int]:
    every = np.flatnonzero(effects.label == c)
    mine = every[used[every]]
    chains = [effects.chain[i] for i in mine]
    difference = _own_minus_others(change[mine], effects.label[mine])
    sets = (effects.random[mine] - effects.intact[mine, None]).mean(0) if effects.random.shape[1] else np.empty(0)
    own = float(change[mine, c].mean())
    low, high = interval(difference, chains, draws, rng)
    others = [a for a in range(change.shape[1]) if a != c]
    right = every[effects.right[every]]
    correct = effects.correct[how]
    lost = int((effects.right[every] & ~correct[every, c]).sum())
    gained = int((~effects.right[every] & correct[every, c]).sum())
    tested = test_random and len(sets) > 0
    return {
        "n": len(every), "n_right": len(right), "used": len(mine), "own": own,
        "others": float(change[mine][:, others].mean()), "random": float(sets.mean()) if len(sets) else float("nan"),
        "contrast": float(difference.mean()), "low": low, "high": high, "p": sign_flip_p(difference, chains, rng),
        "p_random": (1 + int((sets <= own).sum())) / (len(sets) + 1) if tested else float("nan"),
        "kept_own": _share(correct[right, c]), "kept_others": _share(correct[right][:, others]),
        "kept_random": _share(effects.random_right[right]), "lost": lost, "gained": gained,
        "p_mcnemar": float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0,
        "elbow": float((effects.elbow - effects.intact)[mine].mean()),
        "unchanged": _share(effects.unchanged[how][every, c]),
    }  # fmt: skip


def _own_minus_others(change: Floats, label: npt.NDArray[np.int64]) -> Floats:
    """[item] change under the question's own function's heads minus the mean over the other functions' heads."""
    own = change[np.arange(len(change)), label]
    return np.asarray(own - (change.sum(1) - own) / (change.shape[1] - 1))


def _mean(values: Floats) -> Floats:
    return values.mean(0) if len(values) else np.full(values.shape[1], np.nan)


def _share(values: npt.NDArray[np.bool_]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _by_chain(values: Floats, chains: Sequence[str]) -> Floats:
    """[chain] sums: questions of one chain share a passage and go together."""
    _, member = np.unique(np.asarray(chains), return_inverse=True)
    return np.asarray(np.bincount(member, weights=values), dtype=np.float64)


def sign_flip_p(values: Floats, chains: Sequence[str], rng: np.random.Generator) -> float:
    """Two-sided p that paired differences are symmetric about zero; signs are flipped by chain."""
    if not len(values):
        return float("nan")
    sums = _by_chain(values, chains)
    if not np.any(sums):
        return 1.0
    if len(sums) <= 13:  # every sign pattern: exact
        signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * len(sums))).reshape(len(sums), -1).T
        return float((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-12).mean())
    flipped = np.abs((rng.integers(0, 2, (FLIPS, len(sums))) * 2.0 - 1) @ sums)
    return float((1 + (flipped >= abs(sums.sum()) - 1e-12).sum()) / (FLIPS + 1))


def interval(values: Floats, chains: Sequence[str], draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile interval of the mean, chains resampled."""
    if len(values) < 2:
        return float("nan"), float("nan")
    names, member = np.unique(np.asarray(chains), return_inverse=True)
    weights = rng.multinomial(len(names), [1 / len(names)] * len(names), size=draws)[:, member]  # [draw item]
    means = (weights @ values) / np.maximum(weights.sum(1), 1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
