"""The lines of the first screen. Only what passed a causal and a replicated rung is a claim; the rest are scores.

A head named here was picked on one half of the examples and its number comes from the other half.
"""

from __future__ import annotations

from reportgen.report.controls import COPIER, controls
from reportgen.report.heldout import Held, held_out
from reportgen.report.leading import beyond, is_signed, order
from reportgen.report.parts import Verdict
from reportgen.report.text import NOT_COMPUTED, count, interval, number, plural
from reportgen.scores import HeadScores, HeadSet, SuiteResult, head_name
from reportgen.suites.base import Suite

CAUSAL = "causal effect"
REPLICATED = "replicated"  # the rung, or the start of several: "replicated (templates)"
MOST_SCORES = 2  # score lines per suite


def verdicts(suite: Suite | None, result: SuiteResult, anchor: str) -> list[Verdict]:
    """A suite's lines: sets of heads with causal and replicated evidence, else its strongest scores."""
    claims = [Verdict(_claim(s, result), causal=True, anchor=anchor) for s in result.head_sets if is_claim(s)]
    return claims or _score_lines(suite, result, anchor)


def is_claim(heads: HeadSet) -> bool:
    """Whether a set of heads passed the causal rung and a replication, and failed none."""
    again = {outcome for rung, outcome in heads.evidence.items() if rung.startswith(REPLICATED)}
    is_replicated = "passed" in again and "failed" not in again
    return bool(heads.heads) and heads.evidence.get(CAUSAL) == "passed" and is_replicated


def _claim(heads: HeadSet, result: SuiteResult) -> str:
    names = [head_name(*h) for h in heads.heads]
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    outcomes = []
    for outcome in ("passed", "failed", "not run"):
        rungs = [rung for rung, found in heads.evidence.items() if found == outcome]
        outcomes += [f"{outcome}: {', '.join(rungs)}"] if rungs else []
    estimates = []
    for scores in result.scores:
        held = held_out(result, scores) if f"/{scores.task}/" in heads.key else None
        if held is not None and held.head in names:
            estimates.append(f" {_estimate(scores, held)}.")
    return f"{heads.label}: {shown}.{''.join(estimates[:1])} Evidence {'; '.join(outcomes)}."


def _estimate(scores: HeadScores, held: Held) -> str:
    most = "largest in size" if is_signed(scores) else "highest"
    spread = interval(held.low, held.high)
    return (
        f"{scores.label}: {held.head}, {most} on {held.chosen}, has {number(held.value)} {spread} on {held.measured} "
        f"(n = {count(held.n)})"
    )


def _score_lines(suite: Suite | None, result: SuiteResult, anchor: str) -> list[Verdict]:
    first = suite.measures[0].name if suite and suite.measures else next((s.measure for s in result.scores), "")
    ranked: list[tuple[float, str]] = []
    for scores in (s for s in result.scores if s.measure == first):
        held, past = held_out(result, scores), beyond(scores)
        heads = len(order(scores))
        tail = "" if past == NOT_COMPUTED else f"{past} of {plural(heads, 'head')} beyond the family-wise null"
        if held is not None:
            copier = [f"an {c.words}" for c in controls(result, scores) if c.name == COPIER]
            ranked.append(
                (-abs(held.value), "; ".join([_estimate(scores, held), *([tail] if tail else []), *copier]) + ".")
            )
        elif tail:
            ranked.append((0.0, f"{scores.label}: {tail}."))
    ranked.sort(key=lambda entry: entry[0])
    return [Verdict(words, causal=False, anchor=anchor) for _, words in ranked[:MOST_SCORES]]
