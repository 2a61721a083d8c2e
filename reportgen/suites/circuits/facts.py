"""Facts of a stored result, read by figures: anything may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reportgen.scores import SuiteResult

_SHORT = {"ioi": "IOI"}


def part(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The mapping under `name`, empty where there is none."""
    found = facts.get(name)
    return found if isinstance(found, Mapping) else {}


def task_facts(result: SuiteResult, task: str) -> Mapping[str, Any]:
    """What score.py lists under `facts["tasks"][task]`."""
    return part(part(result.facts, "tasks"), task)


def number(facts: Mapping[str, Any], name: str) -> float | None:
    """The number under `name`, or None."""
    found = facts.get(name)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def short(result: SuiteResult, task: str) -> str:
    """The task's name inside a sentence."""
    title = str(task_facts(result, task).get("title", task.replace("_", " ")))
    return _SHORT.get(task, title[:1].lower() + title[1:])


def strings(facts: Mapping[str, Any], name: str) -> list[str]:
    """The list of words under `name`."""
    found = facts.get(name)
    return [str(item) for item in found] if isinstance(found, list | tuple) else []


def numbers(facts: Mapping[str, Any], name: str) -> tuple[float, ...]:
    """The list of numbers under `name`."""
    found = facts.get(name)
    return tuple(float(item) for item in found) if isinstance(found, list | tuple) else ()
