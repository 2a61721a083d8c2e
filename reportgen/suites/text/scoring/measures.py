"""From the sums of a pass to a number per window and head: what every score is the mean of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportgen.stats import interval_of, permutation_p, sign_flip_null, step_down_max_t, template_weights, units
from reportgen.suites.text.scoring.statistics import Tally, matched

Floats = npt.NDArray[np.float64]
LEAST_DOCUMENTS = 16  # from which documents, not windows, are the units
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Ratio:
    """Sums per window whose ratio over all windows is the score: top [window layer head], below [window] or the same
    shape as top."""

    top: Floats
    below: Floats

    @property
    def value(self) -> Floats:
        """[layer head]"""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.top.sum(0) / _wide(self.below, self.top).sum(0))

    @property
    def each(self) -> Floats:
        """[window layer head] of every window; NaN where it has nothing to divide by."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.top / _wide(self.below, self.top))


def _wide(below: Floats, like: Floats) -> Floats:
    return below if below.ndim == like.ndim else below.reshape(-1, *[1] * (like.ndim - 1))


def ratios(tally: Tally) -> dict[str, Ratio]:
    """Every statistic but `excess`, by the name of its measure."""
    queries, followed = tally.queries.astype(float), tally.followed.astype(float)
    offsets = tally.sum_of("offset")
    treated = np.array([c.treated for c in tally.counts], float)  # [window 2]
    base = np.array([c.next for c in tally.counts])
    plain = {
        "previous": offsets[..., 1], "self": offsets[..., 0], "sink": tally.sum_of("sink"),
        "first_four": tally.sum_of("first4"), "entropy": tally.sum_of("entropy"),
        "output_norm": tally.sum_of("norm"), "relative_norm": tally.sum_of("norm_rel"),
    }  # fmt: skip
    found = {name: Ratio(top, queries) for name, top in plain.items()}
    found["reach"] = Ratio(tally.sum_of("distance"), tally.sum_of("mass"))
    for index, name in enumerate(("induction", "duplicate")):
        found[name] = Ratio(tally.sum_of(name) - matched(tally, name), treated[:, index])
    found["copy_next"] = Ratio(tally.sum_of("next") - base[:, None, None], queries)
    found |= {name: Ratio(tally.sum_of(name), followed) for name in ("dla", "dla_abs")}
    ones = np.ones(len(queries))
    for name, source in (("honor", "z_norm"), ("honor_out", "norm")):
        sums = tally.sum_of(source)
        with np.errstate(invalid="ignore", divide="ignore"):
            found[name] = Ratio(sums / np.nanmean(sums, axis=2, keepdims=True), ones)
    return found


def excess(tally: Tally, index: int) -> Ratio:
    """The mass on a class beyond the class's share among the keys."""
    base = np.array([c.classes[index] for c in tally.counts])
    return Ratio(tally.sum_of("class")[..., index] - base[:, None, None], tally.queries.astype(float))


@dataclass(frozen=True, eq=False)
class Units:
    """What intervals resample and tests flip: documents, where there are enough, else windows.

    groups   a label per window;  single  a text too short for more than one unit
    """

    groups: Sequence[int]
    single: bool = False

    @property
    def are_documents(self) -> bool:
        return len(set(self.groups)) >= LEAST_DOCUMENTS

    @property
    def name(self) -> str:
        return "documents" if self.are_documents else "windows"

    @property
    def labels(self) -> list[int]:
        """A label per window, as templates of the bootstrap: without enough documents all windows are of one."""
        return list(self.groups) if self.are_documents else [0] * len(self.groups)

    @property
    def count(self) -> int:
        return 1 if self.single else units(self.labels)

    def interval(
        self, of: Ratio, draws: int, rng: np.random.Generator, bounds: tuple[float, float]
    ) -> tuple[Floats, Floats] | None:
        """95 % interval of the ratio [layer head]; None where there is one unit only."""
        if self.count < 2:
            return None
        weights = template_weights(self.labels, draws, rng)
        below = _wide(of.below, of.top)
        flat = np.broadcast_to(below, of.top.shape).reshape(len(of.top), -1)
        top = weights @ of.top.reshape(len(of.top), -1)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = (top / (weights @ flat)).reshape(-1, *of.top.shape[1:])
        low, high = interval_of(of.value, drawn, self.count)
        return np.clip(low, *bounds), np.clip(high, *bounds)

    def p(self, of: Ratio, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats] | None:
        """p [layer head] that the ratio is above 0, adjusted over heads and of each alone; None with one unit only, or
        no draws."""
        if self.count < 2 or not draws:
            return None
        top = of.top / max(float(of.below.mean()), 1e-12)
        if self.are_documents:
            _, member = np.unique(np.asarray(self.groups), return_inverse=True)
            whole = np.zeros((int(member.max()) + 1, *top.shape[1:]))
            np.add.at(whole, member, top)
            top = whole
        flat = top.reshape(len(top), -1)
        null = sign_flip_null(flat, draws, rng).astype(np.float32)
        adjusted = step_down_max_t(flat.mean(0), null, floor=_ROUNDING).reshape(top.shape[1:])
        return adjusted, permutation_p(flat.mean(0), null).reshape(top.shape[1:])
