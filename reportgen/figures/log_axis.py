"""A logarithmic axis of training steps; step 0 has a place of its own at its left end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reportgen.figures import theme

_ZERO = 0.08  # share of the axis that step 0 takes


@dataclass(frozen=True)
class LogAxis:
    """Steps to shares of an axis: logarithmic from `low` to `high`, both above 0, with step 0 at the left end."""

    low: int
    high: int
    has_zero: bool

    @classmethod
    def of(cls, steps: Sequence[int]) -> LogAxis:
        """The axis that holds these steps, at least one of them above 0."""
        above = [step for step in steps if step > 0] or [1]
        return cls(min(above), max(above), 0 in steps)

    def share(self, step: float) -> float:
        """0..1 of the axis, a little inside its ends."""
        start = _ZERO if self.has_zero else 0.0
        if step <= 0:
            return 0.03
        span = math.log(self.high / self.low) or 1.0
        return start + 0.03 + (0.94 - start) * math.log(step / self.low) / span

    def ticks(self, width: float, size: float) -> list[tuple[float, str]]:
        """(share, number) at round steps whose numbers do not touch, on an axis of `width` points."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        fine = [m * 10**p for p in powers if p >= 0 for m in (1, 2, 5)]
        tens = [10**p for p in powers if p >= 0]
        chosen = [s for s in tens if self.low <= s <= self.high]
        chosen = chosen if len(chosen) >= 3 else [s for s in fine if self.low <= s <= self.high]
        chosen = chosen or [self.low, self.high]
        shown = [(self.share(step), step_words(step)) for step in ([0] if self.has_zero else []) + chosen]
        kept: list[tuple[float, str]] = []
        for share, text in shown:
            room = (theme.text_width(text, size) + 0.5 * size) / width
            if not kept or share - kept[-1][0] >= room:
                kept.append((share, text))
        return kept


def step_words(step: int) -> str:
    """`500`, `2k`, `1.5M`: a step as short as it is exact."""
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if step >= size and step % (size // 100) == 0:
            return f"{step / size:g}{letter}"
    return str(step)
