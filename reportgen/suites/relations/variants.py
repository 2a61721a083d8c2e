"""Relation scores under other k and with the norms folded, from stored ranks: no forward pass."""

from __future__ import annotations

import numpy as np

from reportgen.scores import SuiteResult
from reportgen.stats import reaches
from reportgen.suites.variants import KS, Variant, over_line

_RANKS = {"score": "ranks", "suppression": "ranks_suppression"}


def variants(result: SuiteResult) -> tuple[Variant, ...]:
    """Every k but the score's own, at the run's tau, and the folded score where the run has it."""
    tau = float(str(result.facts.get("tau", "nan")))
    facts = result.facts.get("relations")
    found: list[Variant] = []
    for measure, stored in _RANKS.items():
        for task in result.tasks(measure):
            scores, ranks = result[f"{measure}/{task}"], result.arrays.get(f"{stored}/{task}")
            told = facts.get(task, {}) if isinstance(facts, dict) else {}
            if ranks is None or not len(ranks.values) or not np.isfinite(tau):
                continue
            for k in (k for k in KS if k != told.get("k")):
                hits = (ranks.values.astype(np.int64) <= 2 * k).sum(0)  # ranks are stored twice
                above = reaches(hits, len(ranks.values), tau)
                grid = np.where(np.isfinite(scores.values), above, np.nan).astype(np.float32)
                found.append(Variant(scores.key, "k", str(k), grid))
            folded = result.get("folded", task) if measure == "score" else None
            if folded is not None:
                grid = over_line(folded.exact_values.astype(np.float64), tau, scores.values)
                found.append(Variant(scores.key, "norms", "folded", grid))
    return tuple(found)
