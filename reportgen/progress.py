"""How far a run is: seconds by phase of a suite, the share of the whole run done, and the time left."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reportgen.manifest import SuiteRecord

REPORT = "report"  # the part of a run after its suites
OTHER = "other"  # time of a suite before its first word of progress
MOST = 0.95  # of a part that takes longer than was estimated
FACTORS = (0.2, 5.0)  # between which estimates are corrected by what finished parts took
_TASK = re.compile(r"^[^:]*: ")
Clock = Callable[[], float]


def phase_of(words: str) -> str:
    """The phase that a progress line names: "IOI: faithfulness" is "faithfulness"."""
    return _TASK.sub("", words).strip() or OTHER


@dataclass
class Phases:
    """Seconds by phase. The time up to a word of progress is its own, or of the word before that was not at its end."""

    clock: Clock = time.monotonic
    seconds: dict[str, float] = field(default_factory=dict)
    _at: float = -1.0
    _phase: str = OTHER
    _ended: bool = False

    def start(self) -> None:
        """The suite begins."""
        self._at = self.clock()

    def word(self, done: int, total: int, words: str) -> None:
        """A suite's call of progress(done, total, words)."""
        phase = phase_of(words)
        self._add(phase if self._ended else self._phase)
        self._phase, self._ended = phase, done >= total

    def end(self) -> dict[str, float]:
        """Seconds by phase, longest first; all of them, so that they add up to the suite's."""
        self._add(OTHER if self._ended else self._phase)
        return dict(sorted(((name, round(s, 3)) for name, s in self.seconds.items()), key=lambda item: -item[1]))

    def _add(self, phase: str) -> None:
        now = self.clock()
        if self._at >= 0:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._at
        self._at = now


def long_phases(seconds: Mapping[str, float]) -> list[str]:
    """Phases that took more than half of the time of all, named one by one."""
    whole = sum(seconds.values())
    return [name for name, s in seconds.items() if whole > 0 and s > whole / 2]


@dataclass
class Pace:
    """The share of a run that is done, and the time left.

    estimates  part -> seconds, in the order they run, the report last; None = not estimated, taken as the others' mean

    A part that is done counts with what it took; those to come, with their estimate times how much longer than
    estimated the finished ones took.
    """

    estimates: Mapping[str, float | None]
    clock: Clock = time.monotonic
    took: dict[str, float] = field(default_factory=dict)
    _part: str = ""
    _since: float = 0.0
    _share: float = 0.0

    def start(self, part: str) -> None:
        """A part begins."""
        self._part, self._since = part, self.clock()

    def end(self, part: str, seconds: float) -> None:
        """A part is done, kept or skipped; `seconds` is 0 where it took none."""
        self.took[part] = seconds
        self._part = ""

    def now(self) -> tuple[float, float]:
        """(share done from 0 to 1, seconds left). The share never falls, and is 1 only when every part is done."""
        weights = {part: self.took.get(part, self._expected(part)) for part in self.estimates}
        running = self.clock() - self._since if self._part else 0.0
        expected = weights.get(self._part, 0.0)
        own = min(running, MOST * expected) if running <= expected else running * MOST
        if self._part:
            weights[self._part] = max(expected, running)
        done = sum(self.took[part] for part in self.estimates if part in self.took) + own
        whole = sum(weights.values())
        share = done / whole if whole > 0 else 1.0
        if len(self.took) < len(self.estimates):
            share = min(share, 0.999)
        self._share = max(self._share, share)
        return self._share, max(0.0, whole - done)

    def rounded(self, part: str) -> float | None:
        """The estimate of a part to a tenth of a second, for the record."""
        estimate = self.estimates[part]
        return None if estimate is None else round(estimate, 1)

    def _expected(self, part: str) -> float:
        known = [s for s in self.estimates.values() if s is not None]
        estimate = self.estimates[part]
        return self._factor() * (estimate if estimate is not None else sum(known) / len(known) if known else 60.0)

    def _factor(self) -> float:
        """How much longer than estimated the finished parts took."""
        both = [(s, e) for part, s in self.took.items() if s > 0 and (e := self.estimates.get(part))]
        took, estimated = (sum(side) for side in zip(*both, strict=True)) if both else (1.0, 1.0)
        return min(max(took / estimated, FACTORS[0]), FACTORS[1])


def took(record: SuiteRecord) -> str:
    """`12.3 s (estimated 10 s)`."""
    about = "not estimated" if record.estimate_s is None else f"estimated {duration(record.estimate_s)}"
    return f"{record.elapsed_s:.1f} s ({about})"


def phase_words(record: SuiteRecord, most: int = 3) -> str:
    """The longest phases with seconds and share; one of more than half of the time is called so."""
    whole = sum(record.phases.values()) or 1.0
    shown = [f"{name} {s:.1f} s ({s / whole:.0%})" for name, s in list(record.phases.items())[:most]]
    long = [f"more than half: {name}" for name in long_phases(record.phases) if len(record.phases) > 1]
    return "; ".join([", ".join(shown), *long]) if shown else ""


def duration(seconds: float) -> str:
    """`4 s`, `3 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
