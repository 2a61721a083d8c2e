"""Own importance under one probe start alone, with the layer mean counted, and told by each head's own probe."""

from __future__ import annotations

from reportgen.nulls import above_line
from reportgen.scores import SuiteResult
from reportgen.suites.variants import Variant, over_line

_OTHERS = {
    "importance": ("importance with the layer mean", "counted in"),
    "alone": ("a probe of each head alone", "one probe a head"),
}  # measure -> setting, value


def variants(result: SuiteResult) -> tuple[Variant, ...]:
    """For every function: each start of the probe with the run's line, the papers' importance, one probe a head."""
    found: list[Variant] = []
    starts = result.arrays.get("by_seed")  # [seed function layer head]
    names = starts.labels.get("function", ()) if starts is not None else ()
    for task in result.tasks("importance_own"):
        scores = result[f"importance_own/{task}"]
        if starts is not None and task in names and scores.line is not None and len(starts.values) > 1:
            for seed, values in enumerate(starts.values[:, names.index(task)]):
                grid = over_line(values, scores.line, scores.exact_values, two_sided=True)
                found.append(Variant(scores.key, "one start of the probe", f"start {seed + 1}", grid))
        for measure, (setting, value) in _OTHERS.items():
            other = result.get(measure, task)
            above = above_line(other) if other is not None else None
            if above is not None:
                found.append(Variant(scores.key, setting, value, above))
    return tuple(found)
