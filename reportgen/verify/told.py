"""A verification in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from reportgen.compare.gate import record
from reportgen.report.text import plural
from reportgen.verify.rescore import SuiteVerdict, Verification

MOST = 5  # numbers and captions named of a suite


def lines(found: Verification) -> Iterator[str]:
    """A line for the run, one for each suite, and what differs below it."""
    where = f"; weights: {found.weights}" if found.weights else ""
    yield f"{found.run}: {found.verdict}{where}"
    for suite in found.suites:
        yield f"{suite.suite}: {suite.verdict}: {_why(suite)}"
        yield from (f"  {moved.words()}" for moved in suite.over[:MOST])
        if len(suite.over) > MOST:
            yield f"  and {len(suite.over) - MOST:,} more numbers: add --json"
        if suite.apart:
            for name, keys in (("gone", suite.apart.gone), ("new", suite.apart.added)):
                if keys:
                    yield f"  {name}: {_some(keys)}"
        if suite.captions:
            yield f"  captions that change: {_some(suite.captions)}"


def _why(suite: SuiteVerdict) -> str:
    if suite.apart is None or suite.limits is None:
        return suite.why
    most = max(suite.apart.most("values"), suite.apart.most("ends"))
    shown = f"{most:.1e}" if most else "0"
    counted = f"{plural(len(suite.apart.scores), 'score')}, {plural(suite.apart.numbers, 'number')}"
    return f"{counted}, furthest {shown} of the largest; tolerance {suite.limits.values:g}: {suite.why}"


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more


def as_json(found: Verification) -> dict[str, Any]:
    """All of it; every number beyond the tolerance is listed."""
    return {
        "run": str(found.run),
        "model": found.model,
        "found": found.weights,
        "verdict": found.verdict,
        "suites": [_suite(suite) for suite in found.suites],
    }


def _suite(suite: SuiteVerdict) -> dict[str, Any]:
    said: dict[str, Any] = {"suite": suite.suite, "verdict": suite.verdict, "why": suite.why}
    if suite.apart is None or suite.limits is None:
        return said
    return said | {
        "tolerance": msgspec.structs.asdict(suite.limits),
        "scores": len(suite.apart.scores),
        "numbers": suite.apart.numbers,
        "furthest": {name: _finite(suite.apart.most(name)) for name in ("values", "ends", "p")}
        | {"rest": _finite(suite.apart.furthest)},
        "over": [record(moved) for moved in suite.over],
        "gone": list(suite.apart.gone),
        "new": list(suite.apart.added),
        "labels": len(suite.apart.labels),
        "captions": list(suite.captions),
    }


def _finite(value: float) -> float | None:
    return value if value != float("inf") else None
