"""A suite's facts: one typed record, made plain where the result is made and read back where it is drawn.

A field that is None is not there. Every field has a default, since stored runs of an earlier version lack some.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec
import numpy as np

from reportgen.errors import DataError
from reportgen.scores import HeadScores, HeldOut, SuiteResult
from reportgen.suites.base import Suite


class FactRecord(msgspec.Struct, kw_only=True):
    """Base of all records of facts. In a class with `keeps_none`, None says something and is stored."""

    keeps_none: ClassVar[bool] = False


R = TypeVar("R", bound=FactRecord)

if TYPE_CHECKING:
    Number = float
else:

    class Number(float):
        """A float that may be NaN, which JSON has not: it is stored as null."""


def plain(value: object) -> object:
    """A record as JSON values: a number that is not finite is None, and what is None is left out of records."""
    if isinstance(value, FactRecord):
        fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        return {
            name: each
            for name, each in fields.items()
            if each is not msgspec.UNSET and (each is not None or value.keeps_none)
        }
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def encoded(facts: FactRecord) -> dict[str, object]:
    """What `SuiteResult.facts` holds of a record."""
    found = plain(facts)
    assert isinstance(found, dict)
    return found


def _number(kind: type, value: object) -> Number:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return Number("nan" if value is None else value)
    raise ValueError(f"expected a number or null, got {type(value).__name__}")


def read(result: SuiteResult, record: type[R]) -> R:
    """The record of a result; DataError names the place where the stored facts are something else."""
    try:
        return msgspec.convert(result.facts, record, dec_hook=_number)
    except msgspec.ValidationError as error:
        raise DataError(f"facts of suite {result.suite}: {error}", "Run the suite again.") from error


# Results that reportgen 0.1 stored, brought to what newer ones say in fields of their own.
#
# What a suite had in its facts, or in the keys of its sets, only that suite can read: `Suite.older`.


def upgraded(result: SuiteResult, suite: Suite | None, settings: Mapping[str, object]) -> SuiteResult:
    """`result` with held-out heads, controls, sets' scores and thresholds, where it was stored without any of them."""
    if not any(s.held_out or s.controls for s in result.scores) and not any(s.score for s in result.head_sets):
        scores = (with_estimate(s, part(result.facts, "held_out", s.key), "examples") for s in result.scores)
        result = replace(result, scores=tuple(scores))
        result = suite.load_older()(result) if suite and suite.older else result
    return suite.with_threshold(result, settings) if suite else result


def with_estimate(scores: HeadScores, found: Mapping[str, Any], unit: str, value: str = "value") -> HeadScores:
    """The score with what `found` has of {head, value, low, high, n, chosen_on, measured_on}.

    unit   what half of it picked the head, where `found` does not say it
    value  another name of the value

    As it is where a number is missing or not finite: run folders come from anywhere.
    """
    chosen = str(found.get("chosen_on") or f"one half of the {unit}")
    measured = str(found.get("measured_on") or "the other half")
    try:
        at, low, high = (float(found[name]) for name in (value, "low", "high"))
        held = HeldOut(str(found["head"]), at, low, high, int(found["n"]), chosen, measured)
        return replace(scores, held_out=held)
    except (KeyError, TypeError, ValueError):
        return scores


def part(facts: object, *names: str) -> Mapping[str, Any]:
    """The mapping under these names, one inside the other; empty where there is none."""
    for name in names:
        facts = facts.get(name) if isinstance(facts, Mapping) else None
    return facts if isinstance(facts, Mapping) else {}
