"""The evidence ladder: which rungs a label passed, failed or has not run."""

from __future__ import annotations

from collections.abc import Mapping

RUNGS = ("static score", "dynamic score", "causal effect", "natural text", "replicated")


def ladder(evidence: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """(rung, "passed" | "failed" | "not run") of all five; one failed test of several fails its rung.

    evidence  test -> outcome; a test belongs to the rung that its name begins with: "replicated (templates)"
    """
    return tuple((rung, _outcome({o for test, o in evidence.items() if test.startswith(rung)})) for rung in RUNGS)


def _outcome(found: set[str]) -> str:
    return next((outcome for outcome in ("failed", "passed") if outcome in found), "not run")
