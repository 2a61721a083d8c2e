"""How far heads stand beyond the null of each score, the one score that leads each head, tables of leading heads.

- The null's line of a score: nulls.py.
- The margin of a head beyond its null: (size - line, or - the median head's size where that is larger) / standard
  deviation of the score over all heads. A score that is high for most heads so separates none but the highest.
- The leading label of a head is the score with the largest margin above 0; others within TIE of that margin are ties.
  Scores that are multiples of an earlier one of the same task (an effect and the effect not normalised) count once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reportgen.aliases import Floats
from reportgen.nulls import beyond_null, is_signed, null_line, sizes
from reportgen.report.document import Label, Leading, TextTable
from reportgen.report.text import NOT_COMPUTED, interval, number, p_value, plural, printed_count
from reportgen.scores import Control, FloatGrid, Head, HeadScores, SuiteResult, head_name

# Printed names of scores: two scores of a suite never share one.


def task_title(result: SuiteResult, task: str) -> str:
    """A task in words: the title that the suite's facts give it, else its name without underscores."""
    tasks = result.facts.get("tasks")
    found = tasks.get(task) if isinstance(tasks, Mapping) else None
    title = found.get("title") if isinstance(found, Mapping) else None
    return title if isinstance(title, str) and title else task.replace("_", " ").capitalize()


def score_names(results: Iterable[SuiteResult]) -> dict[str, str]:
    """Score key -> its label, with the task before it where another score of the suite has the same label."""
    names: dict[str, str] = {}
    for result in results:
        times = Counter(scores.label for scores in result.scores)
        names |= {scores.key: _name(result, scores, times[scores.label] > 1) for scores in result.scores}
    return names


def _name(result: SuiteResult, scores: HeadScores, shared: bool) -> str:
    return f"{task_title(result, scores.task)}: {scores.label}" if shared else scores.label


TIE = 0.05  # of the largest margin
_SAME = 1e-3  # standard deviations by which multiples of one score may differ


def margin(scores: HeadScores, value: float) -> float | None:
    """How far `value` lies beyond the null and the median head, in standard deviations; None without line or spread."""
    start, spread = _start(scores), _spread(scores)
    if start is None or not spread > 0:
        return None
    return ((abs(value) if is_signed(scores) else value) - start) / spread


def margins(scores: HeadScores) -> Floats:
    """[layer head] margin of every head that is beyond its null and above the median head, NaN of the others."""
    start, spread, beyond = _start(scores), _spread(scores), beyond_null(scores)
    if start is None or beyond is None or not spread > 0:
        return np.full(scores.exact_values.shape, np.nan)
    above = sizes(scores) - start
    found: Floats = np.where(beyond & (above > 0), above / spread, np.nan)
    return found


def _start(scores: HeadScores) -> float | None:
    """What margins are counted from: the null's line or the median head, whichever is larger."""
    line = null_line(scores)
    return None if line is None else max(line, float(np.nanmedian(sizes(scores))))


def leading_labels(every: Sequence[HeadScores]) -> dict[Head, Label]:
    """The leading label of every head that is beyond the null of some score; scores of one grid."""
    kept = _once([s for s in every if s.values.shape == every[0].values.shape and null_line(s) is not None])
    if not kept:
        return {}
    grids = np.stack([margins(scores) for scores in kept])  # [score layer head]
    found: dict[Head, Label] = {}
    for layer, head in np.argwhere(np.isfinite(grids).any(0)).tolist():
        own = np.nan_to_num(grids[:, layer, head], nan=-np.inf)
        order = np.argsort(-own, kind="stable")
        best = float(own[order[0]])
        ties = [int(i) for i in order[1:] if own[i] >= best - TIE * abs(best)]
        found[layer, head] = Label(kept[int(order[0])].key, best, tuple(kept[i].key for i in ties))
    return found


def count_led(labels: Mapping[Head, Label]) -> dict[str, int]:
    """Score key -> heads that it leads, ties included."""
    counts: dict[str, int] = {}
    for label in labels.values():
        for key in (label.key, *label.ties):
            counts[key] = counts.get(key, 0) + 1
    return counts


def _once(every: Sequence[HeadScores]) -> list[HeadScores]:
    kept: dict[tuple[str, str], list[Floats]] = {}
    found = []
    for scores in every:
        values = scores.exact_values.astype(np.float64)
        spread = _spread(scores)
        shape = (values - np.nanmean(values)) / (spread if spread > 0 else 1.0)
        before = kept.setdefault((scores.suite, scores.task), [])
        if not any(np.allclose(shape, other, atol=_SAME, equal_nan=True) for other in before):
            before.append(shape)
            found.append(scores)
    return found


def _spread(scores: HeadScores) -> float:
    known = scores.exact_values[np.isfinite(scores.exact_values)]
    return float(known.std(dtype=np.float64)) if known.size else 0.0


def control_words(control: Control) -> str:
    """`ideal copier 0.089`, `random twin ≤ 0.036`."""
    if control.values is not None:
        return f"{control.name}, highest {number(control.value)}"
    return f"{control.name} {'≤ ' if control.bound else ''}{number(control.value)}"


# Tables of the leading heads of every measure, with value, interval, n and adjusted p.

SELECTED = (
    "Heads are selected here because they rank first, so intervals at face value are biased in their favour; "
    "the adjusted p accounts for the selection among all heads."
)
DISCOVERY = (
    "FDR: the false-discovery rate at which the head counts (Benjamini-Hochberg over the heads of its score, from each "
    "head's own p); the adjusted p is family-wise and stricter."
)
LED = (
    "Leads: heads whose leading label is this score. A head's leading score is the one in which it lies farthest "
    "beyond the null's line, or beyond the median head if that is higher, in standard deviations of "
    f"that score over all heads; within {TIE:.0%} of that distance is a tie."
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
    if any(s.p_each is not None for s in scores):
        notes.append(DISCOVERY)
    if any(is_signed(s) for s in scores):
        notes.append("If values can be negative, heads are ordered by absolute value.")
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
    return printed_count(n) if n else "not given"


def _cells(scores: HeadScores, head: Head) -> tuple[str, ...]:
    return (
        head_name(*head),
        number(at(scores.values, head)),
        interval(at(scores.low, head), at(scores.high, head)),
        examples(scores.n),
        p_value(at(scores.p, head)),
    )


def _heads(scores: Sequence[HeadScores], per_score: int, of: Led) -> TextTable:
    has_rates = any(s.fdr is not None for s in scores)  # runs of earlier versions do not store them
    rows = [
        (s.label, *_cells(s, head), *([p_value(at(s.fdr, head))] if has_rates else []), of.words(head))
        for s in scores
        for head in order(s)[:per_score]
    ]
    return TextTable(
        title=f"The first {per_score} heads" + (" of each score" if len(scores) > 1 else ""),
        columns=(
            "Score",
            "Head",
            "Value",
            "95 % interval",
            "n",
            "Adjusted p",
            *(["FDR"] if has_rates else []),
            "Leading label of the head",
        ),
        numeric=(False, False, True, True, True, True, *([True] if has_rates else []), False),
        rows=tuple(rows),
    )


def _overview(scores: Sequence[HeadScores], of: Led) -> TextTable:
    rows, led = [], count_led(of.labels)
    for s in scores:
        ranked = order(s)
        cells = _cells(s, ranked[0]) if ranked else (NOT_COMPUTED,) * 3 + (examples(s.n), NOT_COMPUTED)
        rows.append(
            (
                s.label,
                *cells,
                beyond(s),
                printed_count(led.get(s.key, 0)) if beyond_null(s) is not None else NOT_COMPUTED,
                f"{printed_count(len(ranked))} / {printed_count(s.values.size)}",
            )
        )
    return TextTable(
        title="The first head of each score",
        columns=("Score", "Head", "Value", "95 % interval", "n", "Adjusted p", "Beyond the null", "Leads", "Computed"),
        numeric=(False, False, True, True, True, True, True, True, True),
        rows=tuple(rows),
    )


def beyond(scores: HeadScores) -> str:
    """How many heads lie beyond the family-wise null; a dash where there is none."""
    found = beyond_null(scores)
    return NOT_COMPUTED if found is None else printed_count(int(found.sum()))


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
