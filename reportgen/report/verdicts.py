"""The lines of the first screen. Only what passed a causal and a replicated rung is a claim; the rest are scores.

A head named here was picked on one half of the examples and its number comes from the other half. Claims stand in the
order of their evidence: those with such a number first, then by rungs passed less rungs failed, then by size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reportgen.report.controls import COPIER, controls
from reportgen.report.evidence import ladder
from reportgen.report.heldout import Held, held_out
from reportgen.report.leading import beyond, is_signed, order
from reportgen.report.names import score_names, task_title
from reportgen.report.parts import Plate, Verdict
from reportgen.report.text import NOT_COMPUTED, count, interval, number, plural
from reportgen.scores import HeadScores, HeadSet, SuiteResult, head_name
from reportgen.suites.base import Suite

CAUSAL = "causal effect"
REPLICATED = "replicated"  # the rung, or the start of several: "replicated (templates)"
FIRST = 5  # claims of the first screen; the others are folded away
MOST_SCORES = 2  # score lines per suite


def verdicts(suite: Suite | None, result: SuiteResult, anchor: str, plates: Sequence[Plate] = ()) -> list[Verdict]:
    """A suite's lines: sets of heads with causal and replicated evidence, else its strongest scores.

    anchor  the suite's section, where no figure shows what a line says
    """
    claims = [_claim(s, result, plates, anchor) for s in result.head_sets if is_claim(s)]
    return claims or _score_lines(suite, result, anchor, plates)


def is_claim(heads: HeadSet) -> bool:
    """Whether a set of heads passed the causal rung and a replication, and failed none."""
    again = {outcome for rung, outcome in heads.evidence.items() if rung.startswith(REPLICATED)}
    is_replicated = "passed" in again and "failed" not in again
    return bool(heads.heads) and heads.evidence.get(CAUSAL) == "passed" and is_replicated


def ranked(lines: Sequence[Verdict]) -> list[Verdict]:
    """Claims before scores, the strongest evidence first; scores keep their order."""
    return sorted(lines, key=lambda v: (not v.causal, *v.order))


def _claim(heads: HeadSet, result: SuiteResult, plates: Sequence[Plate], anchor: str) -> Verdict:
    members = [head_name(*h) for h in heads.heads]
    task = heads.key.split("/")[1] if heads.key.count("/") > 1 else ""
    known = task and any(scores.task == task for scores in result.scores)
    label = f"{task_title(result, task)}: {heads.label}" if known else heads.label
    shown = ", ".join(members[:6]) + (f" and {len(members) - 6} more" if len(members) > 6 else "")
    rungs = ladder(heads.evidence)
    outcomes = [outcome for _, outcome in rungs]
    net = outcomes.count("passed") - outcomes.count("failed")
    found = _own_estimate(heads, result)
    words = f" {_estimate(found[0].label, *found)}." if found else ""
    shown_at = _figure(plates, heads.key) or (_figure(plates, found[0].key) if found else "")
    return Verdict(
        text=f"{label}: {shown}.{words} Evidence {_evidence(heads.evidence)}.",
        causal=True,
        anchor=shown_at or anchor,
        label=label,
        heads=tuple(members),
        estimate=_short(found[1]) if found else "",
        n=found[1].n if found else 0,
        how=_how(*found) if found else "",
        rungs=rungs,
        order=(found is None, -net, -abs(found[1].value) if found else 0.0),
    )


def _own_estimate(heads: HeadSet, result: SuiteResult) -> tuple[HeadScores, Held] | None:
    """The first score of the set's task whose held-out best head is in the set."""
    for scores in result.scores:
        held = held_out(result, scores) if f"/{scores.task}/" in heads.key else None
        if held is not None and held.head in {head_name(*h) for h in heads.heads}:
            return scores, held
    return None


def _how(scores: HeadScores, held: Held) -> str:
    return f"{scores.label}: the head is picked on {held.chosen} and measured on {held.measured}"


def _evidence(evidence: Mapping[str, str]) -> str:
    parts = []
    for outcome in ("passed", "failed", "not run"):
        rungs = [rung for rung, found in evidence.items() if found == outcome]
        parts += [f"{outcome}: {', '.join(rungs)}"] if rungs else []
    return "; ".join(parts)


def _figure(plates: Sequence[Plate], key: str) -> str:
    """The first figure that marks a set, or that draws a score, by its key."""
    for plate in plates:
        if key in plate.keys or any(s.key == key for s in plate.figure.head_sets):
            return plate.anchor
    return ""


def _short(held: Held) -> str:
    return f"{held.head} {number(held.value)} {interval(held.low, held.high)}"


def _estimate(name: str, scores: HeadScores, held: Held) -> str:
    most = "largest in size" if is_signed(scores) else "highest"
    spread = interval(held.low, held.high)
    return (
        f"{name}: {held.head}, {most} on {held.chosen}, has {number(held.value)} {spread} on {held.measured} "
        f"(n = {count(held.n)})"
    )


def _score_lines(suite: Suite | None, result: SuiteResult, anchor: str, plates: Sequence[Plate]) -> list[Verdict]:
    first = suite.measures[0].name if suite and suite.measures else next((s.measure for s in result.scores), "")
    found: list[Verdict] = []
    names = score_names([result])
    for scores in (s for s in result.scores if s.measure == first):
        held, past = held_out(result, scores), beyond(scores)
        tail = (
            ""
            if past == NOT_COMPUTED
            else f"{past} of {plural(len(order(scores)), 'head')} beyond the family-wise null"
        )
        copier = [f"an {c.words}" for c in controls(result, scores) if c.name == COPIER]
        estimate = _estimate(names[scores.key], scores, held) if held else f"{names[scores.key]}: {tail}"
        if held is None and not tail:
            continue
        rest = [*([tail] if tail and held else []), *(copier if held else [])]
        found.append(
            Verdict(
                "; ".join([estimate, *rest]) + ".",
                causal=False,
                anchor=_figure(plates, scores.key) or anchor,
                label=names[scores.key],
                heads=(held.head,) if held else (),
                estimate=_short(held) if held else "",
                n=held.n if held else 0,
                how=_how(scores, held) if held else "",
                order=(-abs(held.value) if held else 0.0,),
            )
        )
    return [replace(v, order=()) for v in sorted(found, key=lambda v: v.order)[:MOST_SCORES]]
