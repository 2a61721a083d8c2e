"""From per-prompt effects to a circuit: normalised effects, intervals, adjusted p, and which heads are in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Bools, Floats
from reportgen.scores import Head
from reportgen.stats import interval_of, permutation_p, sign_flip_null, step_down_max_t, units

TOP_SHARE, LEAST_FIRST = 0.02, 3  # Merullo et al. keep the first 2 %; three at least, on small models
_ROUNDING = 1e-6  # share of the gap; effects below it are rounding errors of float32


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects of all heads over one set of prompts; every grid is [layer head].

    value      mean effect / mean gap;  low, high  its 95 % interval (templates first, then prompts within them)
    raw        mean effect in units of the metric;  raw_low, raw_high
    p          family-wise adjusted, sign-flip max-T over prompts, two-sided
    p_each     of each head alone
    stability  share of bootstrap draws with the same sign and at least the rule's share of the gap
    halves     [half layer head] value on templates of even and of odd index; NaN for a half without prompts
    """

    value: Floats
    low: Floats
    high: Floats
    raw: Floats
    raw_low: Floats
    raw_high: Floats
    p: Floats
    stability: Floats
    halves: Floats
    p_each: Floats | None = None


def summarise(
    effects: npt.ArrayLike,
    gap: npt.ArrayLike,
    templates: npt.NDArray[np.int64],
    weights: Floats,
    share: float,
    flips: int,
    rng: np.random.Generator,
    family: int = 0,
) -> Effects:
    """Effects [prompt layer head] and gaps m_clean - m_corrupted [prompt], summarised over prompts.

    NaN heads were not measured. The null then knows the measured heads alone, and p is multiplied by family / measured,
    where `family` is the number of heads that could have been (0: all).
    """
    each, gaps = np.asarray(effects, np.float64), np.asarray(gap, np.float64)
    value = each.mean(0) / gaps.mean()
    count = units(templates.tolist())
    low, high, draws = ratio_of_means(each, gaps, weights, count)
    raw_low, raw_high, _ = ratio_of_means(each, np.ones(len(gaps)), weights, count)
    kept = (np.abs(draws) >= share) & (np.sign(draws) == np.sign(value))
    stability = np.where(np.isnan(value), np.nan, kept.mean(0))
    adjusted, alone = _p(each, flips, rng, _ROUNDING * float(np.abs(gaps).mean()), family or value.size)
    return Effects(
        value=value,
        low=low,
        high=high,
        raw=each.mean(0),
        raw_low=raw_low,
        raw_high=raw_high,
        p=adjusted,
        p_each=alone,
        stability=stability,
        halves=halves(each, gaps, templates),
    )


def ratio_of_means(
    numerator: npt.ArrayLike, denominator: npt.ArrayLike, weights: Floats, count: int
) -> tuple[Floats, Floats, Floats]:
    """Mean numerator over mean denominator in every bootstrap draw: (low [...], high [...], draws [draw ...]).

    numerator [prompt ...], denominator [prompt], weights [draw prompt] of `count` units (stats.interval_of).
    """
    top, under = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    ratios = (weights @ top.reshape(len(top), -1)) / (weights @ under)[:, None]
    draws = ratios.reshape(len(weights), *top.shape[1:])
    return *interval_of(top.mean(0) / under.mean(), draws, count), draws


def _p(effects: Floats, flips: int, rng: np.random.Generator, floor: float, family: int) -> tuple[Floats, Floats]:
    """p [layer head], two-sided, adjusted over heads and of each alone: clean and corrupted swapped per prompt, alike
    for all heads. A head whose mean is no larger than `floor`, rounding, has p = 1 alone."""
    flat = effects.reshape(len(effects), -1)
    known = np.isfinite(flat).all(0)
    p, each = np.full((2, flat.shape[1]), np.nan)
    if known.any():
        measured = flat[:, known]
        null, sizes = np.abs(sign_flip_null(measured, flips, rng)).astype(np.float32), np.abs(measured.mean(0))
        p[known] = step_down_max_t(sizes, null, floor=floor)
        each[known] = np.where(sizes > floor, permutation_p(sizes, null), 1.0)
    scaled: Floats = np.minimum(p * (family / max(1, known.sum())), 1.0)
    return scaled.reshape(effects.shape[1:]), each.reshape(effects.shape[1:])


def halves(effects: Floats, gap: Floats, templates: npt.NDArray[np.int64]) -> Floats:
    """[half layer head]: mean effect / mean gap over the templates of even, then of odd index.

    With one template the second half is NaN: nothing was replicated.
    """
    out = np.full((2, *effects.shape[1:]), np.nan)
    for half in range(2):
        rows = templates % 2 == half
        if rows.any():
            out[half] = effects[rows].mean(0) / gap[rows].mean()
    return out


@dataclass(frozen=True, eq=False)
class Circuit:
    """Heads with an effect, by either rule.

    large   [layer head] |effect| >= the rule's share of the gap
    beyond  [layer head] adjusted p <= alpha
    first   [layer head] among the first 2 % by |effect|, at least three (Merullo et al. 2023)
    merullo  whether that decides, in place of large and beyond
    """

    large: Bools
    beyond: Bools
    first: Bools
    merullo: bool = False

    @property
    def member(self) -> Bools:
        """In the circuit."""
        return self.first if self.merullo else self.large & self.beyond

    def heads(self) -> tuple[Head, ...]:
        """Members in order of layer and head."""
        return tuple((layer, head) for layer, head in np.argwhere(self.member).tolist())


def circuit(effects: Effects, share: float, alpha: float, *, merullo: bool = False) -> Circuit:
    """The default rule: |effect| >= share of the gap AND adjusted p <= alpha; or the first 2 % of the heads."""
    sizes = np.abs(effects.value)
    ranked = np.argsort(-np.nan_to_num(sizes, nan=-1.0).ravel(), kind="stable")[: most_first(sizes.size)]
    first = np.zeros(sizes.size, bool)
    first[ranked] = True
    return Circuit(sizes >= share, effects.p <= alpha, first.reshape(sizes.shape) & np.isfinite(sizes), merullo)


def most_first(heads: int) -> int:
    """How many of a model's heads Merullo's rule keeps at each stage."""
    return max(LEAST_FIRST, round(TOP_SHARE * heads))


def replicated(effects: Effects, share: float) -> Bools:
    """[layer head]: same sign and at least the share of the gap in both halves of the templates."""
    a, b = effects.halves
    return np.asarray((np.sign(a) == np.sign(b)) & (np.minimum(np.abs(a), np.abs(b)) >= share))
