"""The heads of one run that are most like a head of another: a search, and the same search where there is nothing.

Distance is 1 - cosine of two heads' weighted fingerprints on the measures that both have, at least LEAST_SHARED.

Two nulls. Depth-matched heads: every head of the other model is replaced by a random blend of its heads of about the
same depth, with their spread, their correlations between measures and the values of each measure, but of no head in
particular; the same search runs among as many blends, `draws` times. Random twin, where the runs hold its values: the
same search, on the measures it has, by all heads of about the same depth among the twin's heads.

A head has a partner where its nearest head passes Benjamini-Hochberg at ALPHA over the heads of its run and at most
ALPHA of the null searches, and of the twin's, are as near. The p that Benjamini-Hochberg takes counts the null matches
of all heads, log distances in standard deviations of each head's own null: one head's draws are too few. Its next ones
count beside it where at most ALPHA of either null's are as near.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reportgen.aliases import Bools, Floats, Ints
from reportgen.atlas.fingerprint import DEPTH, LEAST_SHARED, PLACE, Fingerprints, Shared, shared
from reportgen.stats import false_discovery, mid_ranks

ALPHA = 0.05
MOST = 3  # heads named per head
DRAWS = 199
FEW_DRAWS = 39
MOST_WORK = 2e10  # multiply-adds that one pair of runs may take, in draws
SMALLEST = 1e-6  # distances below are rounding
NEIGHBOURS = 16  # heads of about the same depth, at least


@dataclass(frozen=True, eq=False)
class Matches:
    """For every head of one run the nearest heads of another, nearest first.

    first, second  the runs' folder names
    head           [head place] index of the other run's head; -1 = none
    distance       [head place] 0 = same direction, 1 = unrelated, 2 = opposite; NaN = too few measures in common
    common         [head place] measures that the two have in common
    chance         [head place] share of depth-matched null searches at least as near
    rate           [head] false-discovery rate at which the nearest counts, over the heads of the run
    twin           [head place] share of searches in the random twin at least as near; NaN without its values
    measures       scores that the runs share;  draws  null searches
    """

    first: str
    second: str
    head: Ints
    distance: Floats
    common: Ints
    chance: Floats
    rate: Floats
    twin: Floats
    measures: int
    draws: int
    seed: int

    @property
    def found(self) -> Bools:
        """[head place] whether the match is nearer than its nulls: none of a head whose nearest is not."""
        near = (self.chance <= ALPHA) & ~(self.twin > ALPHA)
        return near & (self.rate <= ALPHA)[:, None] & near[:, :1]


def distances(first: Floats, second: Floats, place: Bools | None = None) -> tuple[Floats, Ints]:
    """1 - cosine [head head] of columns [measure head] on what both have, and on how many measures.

    place  [measure] measures that are not counted;  NaN where fewer than LEAST_SHARED are left
    """
    count = np.ones(len(first)) if place is None else (~place).astype(np.float64)
    x, y = np.nan_to_num(first), np.nan_to_num(second)
    has_x, has_y = np.isfinite(first).astype(np.float64), np.isfinite(second).astype(np.float64)
    common = np.rint((has_x * count[:, None]).T @ has_y).astype(np.int64)
    if has_x.all() and has_y.all():
        size = np.sqrt(np.outer((x**2).sum(0), (y**2).sum(0)))
    else:
        size = np.sqrt(((x**2).T @ has_y) * (has_x.T @ y**2))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = 1 - (x.T @ y) / size
    found[(common < LEAST_SHARED) | ~(size > 0)] = np.nan
    return found, common


def nearest(distance: Floats, most: int = MOST) -> tuple[Ints, Floats]:
    """[head place] the columns with the smallest distances and these, nearest first; -1 and NaN where there is none."""
    heads, others = distance.shape
    filled = np.where(np.isfinite(distance), distance, np.inf)
    k = min(most, others)
    some = np.argpartition(filled, k - 1, axis=1)[:, :k] if k < others else np.tile(np.arange(others), (heads, 1))
    at = np.take_along_axis(filled, some, 1)
    order = np.lexsort((some, at), axis=1)
    index, near = np.take_along_axis(some, order, 1), np.take_along_axis(at, order, 1)
    index, near = np.where(np.isfinite(near), index, -1), np.where(np.isfinite(near), near, np.nan)
    pad = ((0, 0), (0, most - k))
    return np.pad(index, pad, constant_values=-1), np.pad(near, pad, constant_values=np.nan)


def around(depths: Floats, least: int = NEIGHBOURS) -> list[Ints]:
    """For every head the heads of about its depth, itself among them: whole layers, nearest first, `least` heads."""
    found: dict[float, Ints] = {}
    for depth in np.unique(depths):
        away = np.abs(depths - depth)
        limit = np.sort(away)[min(least, len(away)) - 1]
        found[float(depth)] = np.flatnonzero(away <= limit + 1e-9)
    return [found[float(depth)] for depth in depths]


@dataclass(frozen=True, eq=False)
class Blends:
    """Null heads in place of the heads of `values` [measure head]: random blends of those of about the same depth.

    In normal scores: the neighbours' mean and a Gaussian mixture of their deviations from it, which keeps spread and
    correlations; then back to the values that the measure has. Gaps stay where they are, and so do the measures `kept`
    [measure], such as the depth. `depths` [head] from 0 to 1.
    """

    values: Floats
    depths: Floats
    kept: Bools

    @cached_property
    def _prepared(self) -> tuple[Floats, list[Floats], dict[float, Ints]]:
        near = dict(zip(self.depths.tolist(), around(self.depths), strict=True))
        return *_normal_scores(self.values), near

    def draw(self, rng: np.random.Generator) -> Floats:
        """[measure head] one set of null heads."""
        from scipy.special import ndtr

        normal, ordered, groups = self._prepared
        made = np.empty_like(self.values)
        for depth, near in groups.items():
            here = np.flatnonzero(self.depths == depth)
            mean = normal[:, near].mean(1, keepdims=True)
            mix = rng.standard_normal((len(near), len(here))) / np.sqrt(max(1, len(near) - 1))
            made[:, here] = ndtr(mean + (normal[:, near] - mean) @ mix)
        for i, known in enumerate(ordered):
            steps = (np.arange(len(known)) + 0.5) / max(1, len(known))
            made[i] = np.interp(made[i], steps, known) if len(known) else np.nan
        made[self.kept] = self.values[self.kept]
        made[~np.isfinite(self.values)] = np.nan
        return made


def _normal_scores(values: Floats) -> tuple[Floats, list[Floats]]:
    """[measure head] normal scores over heads, 0 for gaps; and the values of each measure in order."""
    from scipy.special import ndtri

    scores, ordered = np.zeros_like(values), []
    for i, row in enumerate(values):
        known = np.isfinite(row)
        ordered.append(np.sort(row[known]))
        scores[i, known] = ndtri((mid_ranks(row[known]) - 0.5) / max(1, int(known.sum())))
    return scores, ordered


def search(first: Fingerprints, second: Fingerprints, seed: int = 0, draws: int = 0) -> Matches:
    """The nearest heads of `second` to every head of `first`, with both nulls; draws 0: as many as the size allows."""
    both = shared(first, second)
    place = np.array([key.startswith(PLACE) for key in both.keys], bool)
    distance, common = distances(both.first, both.second, place)
    index, near = nearest(distance)
    shape = (len(distance), MOST)
    no = np.full(shape, np.nan)
    counts = np.where(index < 0, 0, np.take_along_axis(common, np.where(index < 0, 0, index), 1))
    if both.measures < LEAST_SHARED:
        return Matches(first.run, second.run, index, near, counts, no, no[:, 0], no, both.measures, 0, seed)
    work = distance.size * len(both.keys)
    draws = draws or int(np.clip(MOST_WORK / work, FEW_DRAWS, DRAWS))
    kept = np.array([key == DEPTH for key in both.keys], bool)
    rng = np.random.default_rng([seed, *first.run.encode(), 0, *second.run.encode()])
    blends = Blends(both.second, both.depths[1], kept)
    null = np.stack([nearest(distances(both.first, blends.draw(rng), place)[0])[1] for _ in range(draws)])
    chance = (1 + (null <= near + 1e-12).sum(0)) / (draws + 1)
    chance[~np.isfinite(near)] = np.nan
    rate = false_discovery(_pooled_p(near[:, 0], null[:, :, 0]))
    twin = _in_twin(both, place, index)
    return Matches(first.run, second.run, index, near, counts, chance, rate, twin, both.measures, draws, seed)


def _pooled_p(near: Floats, null: Floats) -> Floats:
    """p [head] of near [head] among the nulls [draw head] of all heads: log distances in sds of a head's own null."""
    known = np.isfinite(near) & np.isfinite(null).all(0)
    pooled = np.log(np.maximum(np.vstack([near[None, known], null[:, known]]), SMALLEST))
    spread = pooled.std(0)
    z = (pooled - pooled.mean(0)) / np.where(spread > 0, spread, 1)
    every = np.sort(z[1:].ravel())
    p = np.full(near.shape, np.nan)
    p[known] = (1 + np.searchsorted(every, z[0] + 1e-9, side="right")) / (1 + every.size)
    return p


def _in_twin(both: Shared, place: Bools, index: Ints) -> Floats:
    """[head place] share of the searches in the second run's random twin, by heads of about the same depth, as near."""
    held = np.isfinite(both.twin).any(1)
    if int(held.sum()) < LEAST_SHARED:
        return np.full(index.shape, np.nan)
    real, _ = distances(both.first[held], both.second[held], place[held])
    matched = np.take_along_axis(real, np.where(index < 0, 0, index), 1)
    null = nearest(distances(both.first[held], both.twin[held], place[held])[0])[1]
    share = np.full(index.shape, np.nan)
    for head, near in enumerate(around(both.depths[0])):
        known = null[near]
        count = np.isfinite(known).sum(0)
        share[head] = (1 + (known <= matched[head] + 1e-12).sum(0)) / (1 + count)
    return np.where((index < 0) | ~np.isfinite(matched), np.nan, share)
