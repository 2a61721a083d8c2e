"""Printed names of scores: two scores of a suite never share one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from reportgen.scores import HeadScores, SuiteResult


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
