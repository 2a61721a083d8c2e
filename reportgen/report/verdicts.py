"""The lines of the first screen. Only what passed a causal and a replicated rung is a claim; the rest are scores."""

from __future__ import annotations

from reportgen.report.leading import at, beyond, is_signed, order
from reportgen.report.parts import Verdict
from reportgen.report.text import NOT_COMPUTED, count, interval, number, plural
from reportgen.scores import HeadSet, SuiteResult, head_name
from reportgen.suites.base import Suite

CAUSAL = "causal effect"
REPLICATED = "replicated"  # the rung, or the start of several: "replicated (templates)"
MOST_SCORES = 2  # score lines per suite


def verdicts(suite: Suite | None, result: SuiteResult, anchor: str) -> list[Verdict]:
    """A suite's lines: sets of heads with causal and replicated evidence first, then its strongest scores."""
    claims = [Verdict(_claim(s), causal=True, anchor=anchor) for s in result.head_sets if _is_claim(s)]
    return claims or _score_lines(suite, result, anchor)


def _is_claim(heads: HeadSet) -> bool:
    again = {outcome for rung, outcome in heads.evidence.items() if rung.startswith(REPLICATED)}
    is_replicated = "passed" in again and "failed" not in again
    return bool(heads.heads) and heads.evidence.get(CAUSAL) == "passed" and is_replicated


def _claim(heads: HeadSet) -> str:
    names = [head_name(*h) for h in heads.heads]
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    outcomes = []
    for outcome in ("passed", "failed", "not run"):
        rungs = [rung for rung, found in heads.evidence.items() if found == outcome]
        outcomes += [f"{outcome}: {', '.join(rungs)}"] if rungs else []
    return f"{heads.label}: {shown}. Evidence {'; '.join(outcomes)}."


def _score_lines(suite: Suite | None, result: SuiteResult, anchor: str) -> list[Verdict]:
    first = suite.measures[0].name if suite and suite.measures else next((s.measure for s in result.scores), "")
    ranked = []
    for scores in (s for s in result.scores if s.measure == first):
        heads = order(scores)
        if heads:
            ranked.append((abs(float(scores.values[heads[0]])), scores, heads))
    ranked.sort(key=lambda entry: -entry[0])
    lines = []
    for _, scores, heads in ranked[:MOST_SCORES]:
        top = heads[0]
        spread = interval(at(scores.low, top), at(scores.high, top))
        detail = ("" if spread == NOT_COMPUTED else f"95 % interval {spread}, ") + f"n = {count(scores.n)}"
        most = "largest in size" if is_signed(scores) else "highest"
        value = number(at(scores.values, top))
        words = f"{scores.label}: {head_name(*top)} is {most} of {plural(len(heads), 'head')} at {value} ({detail})"
        past = beyond(scores)
        words += "." if past == NOT_COMPUTED else f"; {past} beyond the family-wise null."
        lines.append(Verdict(words, causal=False, anchor=anchor))
    return lines
