"""Attention scores without one block length, from stored scores per sequence."""

from __future__ import annotations

import numpy as np

from reportgen.scores import SuiteResult
from reportgen.suites.variants import Variant, over_line


def variants(result: SuiteResult) -> tuple[Variant, ...]:
    """For every score with a threshold, the mean over the sequences of all block lengths but one."""
    each, lag = result.arrays.get("per_sequence"), result.arrays.get("lag")
    if each is None or lag is None or len(np.unique(lag.values)) < 2:
        return ()
    line = float(str(result.facts.get("threshold", "nan")))
    names = each.labels.get("measure", ())
    found = []
    for scores in result.scores:
        if scores.measure not in names or not (scores.threshold is not None and np.isfinite(line)):
            continue
        rows = each.values[names.index(scores.measure)].astype(np.float64)  # [sequence layer head]
        for left_out in np.unique(lag.values).tolist():
            kept = rows[lag.values != left_out].mean(0)
            grid = over_line(kept, line, scores.exact_values)
            found.append(Variant(scores.key, "block length left out", str(left_out), grid))
    return tuple(found)
