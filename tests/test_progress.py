"""Seconds by phase, the share of a run, and the time left, on a clock that the test turns."""

from __future__ import annotations

import pytest

from reportgen.console import MOST, REPORT, Pace, Phases, duration, long_phases, phase_of, phase_words, took
from reportgen.manifest import SuiteRecord


class Clock:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at

    def turn(self, seconds: float) -> None:
        self.at += seconds


def test_time_belongs_to_the_phase_that_was_not_at_its_end() -> None:
    clock = Clock()
    phases = Phases(clock)
    phases.start()
    clock.turn(1)  # before any word
    phases.word(0, 10, "IOI: direct effects")
    clock.turn(5)
    phases.word(10, 10, "IOI: direct effects")
    clock.turn(2)  # direct effects were done: this is the next phase's, which says itself only afterwards
    phases.word(1, 3, "layers")
    clock.turn(4)
    phases.word(0, 2, "Capitals: direct effects")
    clock.turn(8)
    assert phases.end() == {"direct effects": 13, "layers": 6, "other": 1}
    assert phase_of("natural text, total") == "natural text, total"


def test_phases_of_more_than_half_are_named() -> None:
    assert long_phases({"a": 6.0, "b": 3.0}) == ["a"]
    assert long_phases({"a": 4.0, "b": 4.0}) == long_phases({}) == []
    record = SuiteRecord("done", 1, {}, {}, elapsed_s=10.0, estimate_s=12.0, phases={"a": 8.0, "b": 1.0, "c": 1.0})
    assert phase_words(record, most=2) == "a 8.0 s (80%), b 1.0 s (10%); more than half: a"
    assert took(record) == "10.0 s (estimated 12 s)"
    assert took(SuiteRecord("done", 1, {}, {}, elapsed_s=1.0)) == "1.0 s (not estimated)"


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "under 1 s"), (89, "89 s"), (120, "2 min"), (5400, "1 h 30 min")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_share_goes_by_estimates_and_what_was_measured_corrects_them() -> None:
    clock = Clock()
    pace = Pace({"a": 10.0, "b": 30.0, REPORT: 10.0}, clock)
    assert pace.now() == (0.0, 50.0)
    pace.start("a")
    clock.turn(5)
    assert pace.now() == pytest.approx((0.1, 45.0))
    clock.turn(15)
    pace.end("a", 20.0)  # twice as long as estimated, so the others are taken to be, too
    share, left = pace.now()
    assert left == pytest.approx(80.0)
    assert share == pytest.approx(0.2, abs=0.12)


def test_the_share_never_falls_and_is_whole_only_at_the_end() -> None:
    clock = Clock()
    pace = Pace({"a": 1.0, "b": None, "c": 5.0, REPORT: 1.0}, clock)
    shares = [pace.now()[0]]
    for part, seconds in (("a", 40.0), ("b", 3.0), ("c", 0.0), (REPORT, 2.0)):
        pace.start(part)
        for _ in range(8):
            clock.turn(seconds / 8)
            shares.append(pace.now()[0])
        pace.end(part, seconds)
        shares.append(pace.now()[0])
    assert shares == sorted(shares)
    assert max(shares[:-1]) < 1
    assert pace.now() == (1.0, 0.0)
    assert 0 < MOST < 1


def test_what_was_kept_takes_no_time() -> None:
    pace = Pace({"a": 10.0, REPORT: 10.0}, Clock())
    pace.start("a")
    pace.end("a", 0.0)
    assert pace.now()[1] == pytest.approx(10.0)
