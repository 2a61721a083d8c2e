"""Average indirect effects without one task, from stored effects per prompt."""

from __future__ import annotations

import numpy as np

from reportgen.aliases import Floats
from reportgen.scores import SuiteResult, parse_head
from reportgen.suites.variants import Variant, over_line

_OWN, _FALSE, _OTHER, _NATS = "own mean", "mean with deranged labels", "another task's mean", "nats"


def variants(result: SuiteResult) -> tuple[Variant, ...]:
    """Without each task in turn, by the rules of the sets: the own mean does `threshold` nats more than the mean over
    deranged prompts; and, of heads specific to a task, more than another task's mean."""
    stored, task = result.arrays.get("effects"), result.arrays.get("prompt_task")
    line = result.facts.get("threshold")
    if stored is None or task is None or not isinstance(line, int | float) or len(np.unique(task.values)) < 2:
        return ()
    kinds, unit = stored.labels["measure"], stored.labels["unit"].index(_NATS)
    own, false, other = (stored.values[kinds.index(kind), unit].astype(np.float64) for kind in (_OWN, _FALSE, _OTHER))
    at = tuple(np.array([parse_head(name) for name in stored.labels["head"]]).T)
    tasks, names = np.unique(task.values).tolist(), _titles(result)
    found: list[Variant] = []
    for left_out in tasks:
        kept = [task.values == one for one in tasks if one != left_out]
        beyond = _over_tasks(own - false, kept)
        rules = {"aie": beyond >= line, "specific": (beyond >= line) & (_over_tasks(own - other, kept) > 0)}
        name = names[left_out] if len(names) == len(tasks) else f"task {left_out + 1}"
        for scores in (s for s in result.scores if s.measure in rules):
            values = np.full(scores.values.shape, np.nan)
            values[at] = rules[scores.measure]
            grid = over_line(values, 1.0, scores.exact_values)
            found.append(Variant(scores.key, "task left out", name, grid))
    return tuple(found)


def _over_tasks(effects: Floats, kept: list[np.ndarray[tuple[int], np.dtype[np.bool_]]]) -> Floats:
    """[head] mean over tasks of the mean over their prompts; effects [prompt head]."""
    return np.asarray(np.mean([effects[some].mean(0) for some in kept], axis=0))


def _titles(result: SuiteResult) -> list[str]:
    """The tasks that passed the gate, in the order of the prompts; controls are no part of any mean."""
    rows = result.facts.get("gate")
    told = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [str(row["title"]) for row in told if row.get("passed") and not row.get("control") and row.get("title")]
