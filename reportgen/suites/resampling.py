"""Nulls and intervals over prompts and sequences: sign flips, permuted labels, bootstrap by template.

- Family-wise p-values are step-free max-T (Westfall and Young 1993): every head is standardised first, so that a head
  with a wide null does not hide the others. A head whose null does not vary by more than `floor` has p = 1: rounding
  errors of one sign are no finding.
- p = (1 + draws at least as large) / (1 + draws).
- Effects are ratios of means over prompts, never means of ratios.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_CHUNK = 500  # draws at a time


def _p_values(observed: Floats, maxima: Floats) -> Floats:
    """(1 + #{maximum >= observed}) / (1 + draws) for each of `observed`; -inf gives 1."""
    above = len(maxima) - np.searchsorted(np.sort(maxima), observed, side="left")
    return np.asarray((1.0 + above) / (1.0 + len(maxima)))


def sign_flip_p(
    effects: npt.ArrayLike, draws: int, rng: np.random.Generator, *, two_sided: bool = True, floor: float = 0.0
) -> Floats:
    """Adjusted p per head [...] of effects [prompt ...]: is the mean zero (or, one-sided, not above zero)?

    Under the null the two runs of a pair are exchangeable, so a prompt's effects change sign together. Each head's
    statistic is its t value; the p-value compares it with the largest over heads.
    """
    values = np.asarray(effects, np.float64)
    count, shape = len(values), values.shape[1:]
    flat = values.reshape(count, -1)  # [prompt head]
    scale = np.sqrt((flat**2).mean(0))
    alive = scale > floor
    flat, squares = flat / np.where(alive, scale, 1.0), np.where(alive, 1.0, 0.0)

    def t(means: Floats) -> Floats:
        spread = np.sqrt(np.maximum(squares - means**2, 1e-12) / max(count - 1, 1))  # sd of the mean
        statistic = means / spread
        statistic = np.abs(statistic) if two_sided else statistic
        return np.where(alive, statistic, -np.inf)

    maxima = np.empty(draws)
    for start in range(0, draws, _CHUNK):
        signs = rng.choice((-1.0, 1.0), size=(min(_CHUNK, draws - start), count))
        maxima[start : start + len(signs)] = t(signs @ flat / count).max(-1)
    return _p_values(t(flat.mean(0)), maxima).reshape(shape)


def permuted_labels_p(
    cells: npt.ArrayLike, labels: npt.ArrayLike, draws: int, rng: np.random.Generator, *, floor: float = 0.0
) -> Floats:
    """Adjusted p per head [...] of cells [example label ...]: does each example's own label stand out?

    The statistic is the mean of cells[i, labels[i]]; under the null the labels are exchangeable between examples. Heads
    are standardised by the mean and standard deviation of their own null; one-sided, large values count.
    """
    values, own = np.asarray(cells, np.float64), np.asarray(labels)
    count, kinds, shape = values.shape[0], values.shape[1], values.shape[2:]
    flat = values.reshape(count * kinds, -1)  # [example * label, head]
    at = np.arange(count) * kinds
    observed = flat[at + own].mean(0)
    null = np.empty((draws, flat.shape[1]), np.float32)
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        chosen = np.zeros((size, count * kinds))
        shuffled = rng.permuted(np.tile(own, (size, 1)), axis=1)
        np.put_along_axis(chosen, at + shuffled, 1.0 / count, axis=1)
        null[start : start + size] = chosen @ flat
    centre, spread = null.mean(0), null.std(0)
    alive = spread > floor
    safe = np.where(alive, spread, 1.0)
    maxima = np.where(alive, (null - centre) / safe, -np.inf).max(1)
    return _p_values(np.where(alive, (observed - centre) / safe, -np.inf), maxima).reshape(shape)


def bootstrap_weights(clusters: npt.ArrayLike, draws: int, rng: np.random.Generator) -> Floats:
    """How often each example is drawn, [draw example]: clusters (templates) first, then examples within them.

    Where all labels are equal this is the plain bootstrap over examples.
    """
    labels = np.unique(np.asarray(clusters), return_inverse=True)[1]
    groups = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    weights = np.zeros((draws, len(labels)))
    for draw in range(draws):
        for group in rng.integers(len(groups), size=len(groups)):
            members = groups[group]
            picked = members[rng.integers(len(members), size=len(members))]
            np.add.at(weights[draw], picked, 1.0)
    return weights


def bootstrap_ratio(
    numerator: npt.ArrayLike, denominator: npt.ArrayLike, weights: Floats
) -> tuple[Floats, Floats, Floats]:
    """Ratio of means in every draw, as (low [...], high [...], draws [draw ...]).

    numerator [example ...], denominator [example]; ones give the mean. 95 % percentile interval.
    """
    top = np.asarray(numerator, np.float64)
    flat = top.reshape(len(top), -1)
    ratios = (weights @ flat) / (weights @ np.asarray(denominator, np.float64))[:, None]
    low, high = np.percentile(ratios, (2.5, 97.5), axis=0)
    shape = top.shape[1:]
    return low.reshape(shape), high.reshape(shape), ratios.reshape(len(weights), *shape)
