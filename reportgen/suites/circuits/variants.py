"""Direct effects without one template, from stored effects per prompt."""

from __future__ import annotations

import numpy as np

from reportgen.scores import SuiteResult
from reportgen.suites.variants import Variant, over_line


def variants(result: SuiteResult) -> tuple[Variant, ...]:
    """For every task, the direct effect without each template in turn: the same sign, at least `effect_share`."""
    tasks = result.facts.get("tasks")
    found: list[Variant] = []
    for task in result.tasks("direct"):
        told = tasks.get(task, {}) if isinstance(tasks, dict) else {}
        names = (f"{task}/{name}" for name in ("direct", "m_clean", "m_corrupted", "template"))
        effect, clean, corrupted, template = (result.arrays.get(name) for name in names)
        if effect is None or clean is None or corrupted is None or template is None or "effect_share" not in told:
            continue
        scores = result[f"direct/{task}"]
        gap = clean.values.astype(np.float64) - corrupted.values.astype(np.float64)  # [prompt]
        kinds = np.unique(template.values)
        for left_out in kinds if len(kinds) > 1 else ():
            kept = template.values != left_out
            if not gap[kept].mean() > 0:
                continue
            ratio = effect.values[kept].astype(np.float64).mean(0) / gap[kept].mean()  # [layer head]
            grid = over_line(ratio, float(told["effect_share"]), scores.exact_values, two_sided=True)
            found.append(Variant(scores.key, "template left out", f"template {int(left_out)}", grid))
    return tuple(found)
