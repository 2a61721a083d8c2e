"""The lines of the first screen. Only what passed a causal and a replicated rung is a claim; the rest are scores.

A head named here was selected on one half of the examples and its number comes from the other half. Claims with such a
number come first, each number once; then by rungs passed less rungs failed, then by how far the number lies beyond the
null's line on the scale of labels.py. How many heads are beyond a null is in the suite's tables and never a line here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from reportgen.atlas.robustness import Finding
from reportgen.nulls import is_signed, null_line
from reportgen.report.document import Plate, Verdict
from reportgen.report.labels import control_words, margin, score_names, task_title
from reportgen.report.text import interval, number, printed_count
from reportgen.scores import HeadScores, HeadSet, HeldOut, SuiteResult, head_name
from reportgen.suites.base import Suite

# The evidence ladder: which rungs a label passed, failed or has not run.

RUNGS = ("static score", "dynamic score", "causal effect", "natural text", "replicated")


def ladder(evidence: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """(rung, "passed" | "failed" | "not run") of all five; one failed test of several fails its rung.

    evidence  test -> outcome; a test belongs to the rung that its name begins with: "replicated (templates)"
    """
    return tuple((rung, outcome_of([o for test, o in evidence.items() if test.startswith(rung)])) for rung in RUNGS)


def outcome_of(tests: Collection[str]) -> str:
    """One outcome of several tests: one that failed fails the rung."""
    return next((outcome for outcome in ("failed", "passed") if outcome in tests), "not run")


CAUSAL = "causal effect"
REPLICATED = "replicated"  # the rung, or the start of several: "replicated (templates)"
FIRST = 6  # claims of the first screen; the others are folded away
MOST_SCORES = 2  # score lines per suite


def verdicts(
    suite: Suite | None, result: SuiteResult, anchor: str, plates: Sequence[Plate] = (),
    held: Mapping[str, Finding] | None = None,
) -> list[Verdict]:  # fmt: skip
    """A suite's lines: sets of heads with causal and replicated evidence, else its strongest scores.

    anchor  the suite's section, where no figure shows what a line says
    held    set key -> the other settings that it was held against
    """
    claims = [_claim(s, result, plates, anchor, (held or {}).get(s.key)) for s in result.head_sets if is_claim(s)]
    return claims or _score_lines(suite, result, anchor, plates)


def is_claim(heads: HeadSet) -> bool:
    """Whether a set of heads passed the causal rung and a replication, and failed none."""
    again = {outcome for rung, outcome in heads.evidence.items() if rung.startswith(REPLICATED)}
    is_replicated = "passed" in again and "failed" not in again
    return bool(heads.heads) and heads.evidence.get(CAUSAL) == "passed" and is_replicated


def ranked(lines: Sequence[Verdict]) -> list[Verdict]:
    """Claims before scores, the strongest evidence first; of claims with one number, the first keeps its place."""
    seen: set[str] = set()
    first, again = list[Verdict](), list[Verdict]()
    for line in sorted(lines, key=lambda v: (not v.causal, *v.order)):
        repeats = line.causal and line.estimate and f"{line.how} {line.estimate}" in seen
        (again if repeats else first).append(line)
        seen.add(f"{line.how} {line.estimate}")
    with_number = [line for line in first if line.causal and line.estimate]
    rest = sorted(
        [line for line in (*first, *again) if line not in with_number], key=lambda v: (not v.causal, *v.order)
    )
    return [*with_number, *rest]


def on_first_screen(lines: Sequence[Verdict]) -> int:
    """How many of the lines, ranked, the first screen shows: claims with a number of their own, `FIRST` at most.

    Without such a claim: the first claims, or scores, whatever they have.
    """
    numbers = [f"{line.how} {line.estimate}" for line in lines if line.causal and line.estimate]
    return min(FIRST, len(dict.fromkeys(numbers)) or sum(line.causal for line in lines) or len(lines))


def _claim(heads: HeadSet, result: SuiteResult, plates: Sequence[Plate], anchor: str, held: Finding | None) -> Verdict:
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
    counts = held.counts() if held else (0, 0, 0, 0)
    holds = "{} of {}".format(*counts) if held else ""
    again = f" Other settings: {holds} pairs of head and setting (other heads {counts[2]} of {counts[3]})." * bool(held)
    shown_at = _figure(plates, heads.key) or (_figure(plates, found[0].key) if found else "")
    return Verdict(
        text=f"{label}: {shown}.{words} Evidence {_evidence(heads.evidence)}.{again}",
        causal=True,
        anchor=shown_at or anchor,
        label=label,
        heads=tuple(members),
        estimate=_short(found[1]) if found else "",
        line=_line(found[0]) if found else "",
        n=found[1].n if found else 0,
        how=_how(*found) if found else "",
        rungs=rungs,
        holds=holds,
        order=(found is None, -net, -(_margin(*found) or 0.0) if found else 0.0),
    )


def _own_estimate(heads: HeadSet, result: SuiteResult) -> tuple[HeadScores, HeldOut] | None:
    """The first score of the set's task whose held-out best head is in the set."""
    for scores in result.scores:
        held = scores.held_out if f"/{scores.task}/" in heads.key else None
        if held is not None and held.head in {head_name(*h) for h in heads.heads}:
            return scores, held
    return None


def _how(scores: HeadScores, held: HeldOut) -> str:
    return f"{scores.label}: the head is selected on {held.chosen} and measured on {held.measured}"


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


def _short(held: HeldOut) -> str:
    return f"{held.head} {number(held.value)} {interval(held.low, held.high)}"


def _estimate(name: str, scores: HeadScores, held: HeldOut) -> str:
    most = "largest in size" if is_signed(scores) else "highest"
    spread = interval(held.low, held.high)
    return (
        f"{name}: {held.head}, {most} on {held.chosen}, has {number(held.value)} {spread} on {held.measured} "
        f"(n = {printed_count(held.n)}{f'; null {_line(scores)}' if _line(scores) else ''})"
    )


def _line(scores: HeadScores) -> str:
    """`≤ 0.150`: sizes up to here are what the null has, too."""
    line = null_line(scores)
    return "" if line is None else f"≤ {number(line)}"


def _margin(scores: HeadScores, held: HeldOut) -> float | None:
    return margin(scores, held.value)


def _score_lines(suite: Suite | None, result: SuiteResult, anchor: str, plates: Sequence[Plate]) -> list[Verdict]:
    """The suite's strongest held-out scores, one per task of measures that say the same of it, one per head."""
    measures = [m.name for m in suite.measures] if suite else []
    names = score_names([result])
    found: list[Verdict] = []
    for scores in result.scores:
        held = scores.held_out
        past = None if held is None else _margin(scores, held)
        if held is None or past is None or past <= 0:
            continue
        place = measures.index(scores.measure) if scores.measure in measures else len(measures)
        alone = [c for c in scores.controls if c.values is None and not c.bound]  # has no heads to be picked from
        beside = [f"; {'an' if c.name[0] in 'aeiou' else 'a'} {control_words(c)}" for c in alone]
        found.append(
            Verdict(
                "".join([_estimate(names[scores.key], scores, held), *beside]) + ".",
                causal=False,
                anchor=_figure(plates, scores.key) or anchor,
                label=names[scores.key],
                heads=(held.head,),
                estimate=_short(held),
                line=_line(scores),
                n=held.n,
                how=_how(scores, held),
                order=(-past, place),
            )
        )
    kept: dict[str, Verdict] = {}
    for line in sorted(found, key=lambda v: v.order):
        kept.setdefault(line.heads[0], line)
    return list(kept.values())[:MOST_SCORES]
