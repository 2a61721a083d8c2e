"""Tables of the leading heads of every measure, with value, interval, n and adjusted p."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reportgen.report.labels import TIE, Label, beyond_null, count_led, is_signed
from reportgen.report.parts import Grid, Leading
from reportgen.report.text import NOT_COMPUTED, count, interval, number, p_value, plural
from reportgen.scores import FloatGrid, Head, HeadScores, head_name

SELECTED = (
    "Heads are picked here because they rank first, so an interval at face value is too favourable for them; "
    "the adjusted p allows for the choice among all heads."
)
LED = (
    "Leads: heads whose leading label is this score, of all scores of the run. A head is led by the score in which it "
    "stands farthest beyond the null's line, or beyond the median head where that is higher, in standard deviations of "
    f"that score over all heads; {TIE:.0%} of that distance is a tie."
)


@dataclass(frozen=True)
class Led:
    """The leading label of each head, and the printed names of scores."""

    labels: Mapping[Head, Label]
    names: Mapping[str, str]

    def words(self, head: Head) -> str:
        """The score that leads a head, and how many tie with it; the passport names them."""
        label = self.labels.get(head)
        if label is None:
            return NOT_COMPUTED
        name, ties = self.names.get(label.key, label.key), len(label.ties)
        return name + (f" (tied with {plural(ties, 'other')})" if ties else "")


def leading(titles: Mapping[str, str], scores: Sequence[HeadScores], of: Led | None = None) -> tuple[Leading, ...]:
    """The leading heads of a suite: one part per measure of several tasks, and one for all measures of a single task.

    titles  measure name -> printed title; measures that are not in it come last, under their names
    of      the leading label of each head over all suites, and score key -> name where it is another than the label
    """
    of = of or Led({}, {})
    scores = [replace(s, label=of.names.get(s.key, s.label)) for s in scores]
    names = [*titles, *dict.fromkeys(s.measure for s in scores if s.measure not in titles)]
    groups = {name: [s for s in scores if s.measure == name] for name in names}
    parts = [_part(titles.get(name, name), group, of) for name, group in groups.items() if len(group) > 1]
    single = [group[0] for group in groups.values() if len(group) == 1]
    if single:
        parts.append(_part("By measure", single, of))
    return tuple(parts)


def general_notes(scores: Sequence[HeadScores]) -> tuple[str, ...]:
    """What holds for every table of leading heads of a suite."""
    notes = [SELECTED] if any(s.low is not None for s in scores) else []
    if any(beyond_null(s) is not None for s in scores):
        notes.append(LED)
    if any(is_signed(s) for s in scores):
        notes.append("Where values can be negative, heads are ordered by size, whatever the sign.")
    return tuple(notes)


def _part(title: str, scores: Sequence[HeadScores], of: Led) -> Leading:
    per_score = 10 if len(scores) == 1 else 5 if len(scores) <= 6 else 3
    return Leading(title, _overview(scores, of), _heads(scores, per_score, of), tuple(_no_null(scores)))


def order(scores: HeadScores) -> list[Head]:
    """Heads by descending value, by descending size where values are signed; NaN and estimates left out."""
    ranked = scores.ranking()
    return sorted(ranked, key=lambda lh: -abs(float(scores.values[lh]))) if is_signed(scores) else ranked


def at(grid: FloatGrid | None, head: Head) -> float | None:
    """The cell of `grid`, None where there is no grid or no value."""
    if grid is None or math.isnan(float(grid[head])):
        return None
    return float(grid[head])


def examples(n: int) -> str:
    """The number of examples behind a score; 0 where nobody said it."""
    return count(n) if n else "not given"


def _cells(scores: HeadScores, head: Head) -> tuple[str, ...]:
    return (
        head_name(*head),
        number(at(scores.values, head)),
        interval(at(scores.low, head), at(scores.high, head)),
        examples(scores.n),
        p_value(at(scores.p, head)),
    )


def _heads(scores: Sequence[HeadScores], per_score: int, of: Led) -> Grid:
    rows = [(s.label, *_cells(s, head), of.words(head)) for s in scores for head in order(s)[:per_score]]
    return Grid(
        title=f"The first {per_score} heads" + (" of each score" if len(scores) > 1 else ""),
        columns=("Score", "Head", "Value", "95 % interval", "n", "Adjusted p", "Leading label of the head"),
        numeric=(False, False, True, True, True, True, False),
        rows=tuple(rows),
    )


def _overview(scores: Sequence[HeadScores], of: Led) -> Grid:
    rows, led = [], count_led(of.labels)
    for s in scores:
        ranked = order(s)
        cells = _cells(s, ranked[0]) if ranked else (NOT_COMPUTED,) * 3 + (examples(s.n), NOT_COMPUTED)
        rows.append(
            (
                s.label,
                *cells,
                beyond(s),
                count(led.get(s.key, 0)) if beyond_null(s) is not None else NOT_COMPUTED,
                f"{count(len(ranked))} / {count(s.values.size)}",
            )
        )
    return Grid(
        title="The first head of each score",
        columns=("Score", "Head", "Value", "95 % interval", "n", "Adjusted p", "Beyond the null", "Leads", "Computed"),
        numeric=(False, False, True, True, True, True, True, True, True),
        rows=tuple(rows),
    )


def beyond(scores: HeadScores) -> str:
    """How many heads lie beyond the family-wise null; a dash where there is none."""
    found = beyond_null(scores)
    return NOT_COMPUTED if found is None else count(int(found.sum()))


def _no_null(scores: Sequence[HeadScores]) -> list[str]:
    """One sentence per reason for having no null, naming at most four scores."""
    by_reason: dict[str, list[str]] = {}
    for s in scores:
        if s.no_null and s.p is None and s.line is None:
            by_reason.setdefault(s.no_null, []).append(s.label)
    sentences = []
    for reason, labels in by_reason.items():
        if len(labels) == len(scores):
            sentences.append(f"No null: {reason.rstrip('.')}.")
            continue
        more = f" and {len(labels) - 4} more" if len(labels) > 4 else ""
        sentences.append(f"No null for {', '.join(labels[:4])}{more}: {reason.rstrip('.')}.")
    return sentences
