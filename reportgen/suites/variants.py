"""Other ways to compute a score from what a run stores: another k, a template left out. Each suite declares its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reportgen.aliases import Floats
from reportgen.scores import FloatGrid

KS = (1, 2, 5, 10, 25, 50)  # how many highest tokens count as hits, where ranks are stored


@dataclass(frozen=True, eq=False)
class Variant:
    """A score computed in one other way.

    score    key of the score that it varies; sets of heads picked by that score are asked whether they hold
    setting  what varies, in words: "k", "template left out"
    value    to what: "5", "template 3"
    above    [layer head] float32: 1 above the line under it, 0 below, NaN not computed
    """

    score: str
    setting: str
    value: str
    above: FloatGrid

    def __post_init__(self) -> None:
        known = self.above[np.isfinite(self.above)]
        if self.above.ndim != 2 or self.above.dtype != np.float32 or not np.isin(known, (0, 1)).all():
            raise ValueError(f"{self.score}, {self.setting} {self.value}: above is not 0, 1 or NaN [layer head]")


def over_line(values: Floats, line: float, like: FloatGrid, *, two_sided: bool = False) -> FloatGrid:
    """Which of `values` [layer head] reach `line`, NaN where `like` is; two-sided: with the sign that `like` has."""
    sized = values * np.sign(like) if two_sided else values
    known = np.isfinite(values) & np.isfinite(like)
    return np.where(known, np.nan_to_num(sized) >= line, np.nan).astype(np.float32)
