"""Sentences that several figures of the task circuits say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reportgen.figures import captions
from reportgen.scores import HeadScores
from reportgen.suites.circuits.facts import part

HELD_OUT = "Held out: the head of the largest |effect| on half of the templates, measured on the other half alone."


def held_out(facts: Mapping[str, Any]) -> str:
    """The largest direct effect, chosen on one half of the templates and measured on the other; else empty."""
    top = part(facts, "top_head")
    if not {"head", "effect", "low", "high"} <= set(top):
        return ""
    effect, low, high = (captions.number(float(top[key])) for key in ("effect", "low", "high"))
    return f"Largest, held out: {top['head']} at {effect} [{low}, {high}]."


def best_of(left: HeadScores, right: HeadScores, signed: bool = False) -> str:
    """The highest head of each of two panels; with `signed` also the lowest of the right one."""
    one, other = captions.best_head(left), captions.best_head(right, signed=signed)
    one, other = one.replace("Highest:", "Highest left:"), other.replace("Highest:", "Highest right:")
    if not (one.startswith("Highest") and other.startswith("Highest")):
        return captions.join(one, other)
    return f"{one[:-1]}; {other.removeprefix('Highest ')}"
