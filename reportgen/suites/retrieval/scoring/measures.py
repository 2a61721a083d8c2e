"""From the tables of questions against facts to a number per head, its interval and its p.

The null is inside the document: questions are assigned to its facts at random, so that positions, lengths and text are
the same by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.scores import HeldOut, head_name
from reportgen.stats import interval_of, step_down_max_t, template_weights
from reportgen.suites.retrieval.scoring.passes import Read
from reportgen.suites.retrieval.tables import sums

Floats = npt.NDArray[np.float64]
Kept = Sequence[npt.NDArray[np.bool_]]  # per document [question] it counts
_CHUNK = 500  # draws at a time
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Ratio:
    """Sums per document whose ratio over all documents is the score, [document layer head] both."""

    top: Floats
    below: Floats

    @property
    def value(self) -> Floats:
        """[layer head]; NaN where there is nothing to divide by."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.top.sum(0) / self.below.sum(0))

    def of(self, some: npt.NDArray[np.bool_]) -> Ratio:
        """Of some documents."""
        return Ratio(self.top[some], self.below[some])

    def interval(self, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """95 % interval [layer head], documents resampled; NaN for a single document."""
        count = len(self.top)
        weights = template_weights(list(range(count)), draws, rng)
        flat = [x.reshape(count, -1) for x in (self.top, self.below)]
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = (weights @ flat[0]) / (weights @ flat[1])
        empty = ~np.isfinite(drawn)
        drawn = np.where(empty, np.broadcast_to(self.value.ravel(), drawn.shape), drawn)
        low, high = interval_of(self.value, drawn.reshape(-1, *self.top.shape[1:]), count)
        return low, high


def held_out(
    of: Ratio, halves: npt.NDArray[np.bool_], bounds: tuple[float, float], draws: int, rng: np.random.Generator,
    words: tuple[str, str],
) -> HeldOut | None:  # fmt: skip
    """The highest head of one half, measured on the other; `words` say what picked and what measured it.

    None with fewer than two documents there, or where no head has a value on both.
    """
    if min(halves.sum(), (~halves).sum()) < 2:
        return None
    first, second = of.of(halves), of.of(~halves)
    known = np.isfinite(first.value) & np.isfinite(second.value)
    if not known.any():
        return None
    best = int(np.where(known, first.value, -np.inf).argmax())
    layer, head = (int(i) for i in np.unravel_index(best, first.value.shape))
    ends = [float(np.clip(end[layer, head], *bounds)) for end in second.interval(draws, rng)]
    value = float(second.value[layer, head])
    return HeldOut(head_name(layer, head), value, ends[0], ends[1], len(second.top), *words)


def ratio(reads: Sequence[Read], name: str, kept: Kept) -> Ratio:
    """The measure of every document: `copy` per right answer token, the others per question."""
    parts = [sums(one.tables[name], keep, one.right, name) for one, keep in zip(reads, kept, strict=True)]
    return Ratio(np.stack([top for top, _ in parts]), np.stack([below for _, below in parts]))


def adjusted_p(reads: Sequence[Read], name: str, kept: Kept, draws: int, rng: np.random.Generator) -> Floats:
    """Family-wise p [layer head] by step-down max-T: questions assigned to their document's facts at random.

    NaN for heads whose window does not reach all facts.
    """
    shape = reads[0].tables[name].shape[2:]
    most = max(len(one.whole) for one in reads)
    flat = np.full((len(reads), most, most, int(np.prod(shape))), 0.0)
    for d, (one, keep) in enumerate(zip(reads, kept, strict=True)):
        table = one.tables[name].astype(np.float64).reshape(len(keep), len(keep), -1)
        flat[d, : len(keep), : len(keep)] = np.where(keep[:, None, None], table, 0.0)
    sizes = [len(keep) for keep in kept]
    rows = flat.reshape(-1, flat.shape[-1])
    observed = np.stack([flat[d, range(n), range(n)].sum(0) for d, n in enumerate(sizes)]).sum(0)
    null = np.empty((draws, rows.shape[1]), np.float32)
    finite = np.where(np.isfinite(rows), rows, 0.0).astype(np.float32)
    for start in range(0, draws, _CHUNK):
        count = min(_CHUNK, draws - start)
        null[start : start + count] = _assigned(sizes, most, count, rng) @ finite
    lost = ~np.isfinite(rows).all(0)
    scale = max(1.0, float(sum(keep.sum() for keep in kept)))
    return step_down_max_t(np.where(lost, np.nan, observed) / scale, null / scale, floor=_ROUNDING).reshape(shape)


def _assigned(sizes: Sequence[int], most: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """[draw document*question*needle] 1 where a draw assigns the question to the needle."""
    made = np.zeros((count, len(sizes), most, most), np.float32)
    for d, n in enumerate(sizes):
        to = rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)  # [draw question]
        made[np.arange(count)[:, None], d, np.arange(n), to] = 1
    return made.reshape(count, -1)
