"""What a check finds: the value measured beside the one that must be there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """One check's outcome: what had to be, what was, and whether the two agree."""

    expected: str
    measured: str
    holds: bool


def exactly(expected: object, measured: object) -> Found:
    """The two must be equal."""
    return Found(str(expected), str(measured), bool(expected == measured))


def within(expected: float, measured: float, tolerance: float) -> Found:
    """A number, up to a stated tolerance. NaN is never within."""
    return Found(f"{expected:.6g} +- {tolerance:g}", f"{measured:.6g}", abs(measured - expected) <= tolerance)


def at_most(limit: float, measured: float) -> Found:
    """A largest difference, with the rounding that is allowed. NaN is never allowed."""
    return Found(f"0, rounding up to {limit:g}", f"{measured:.2g}", measured <= limit)
