"""Which weights-only score ranks the heads highest that other suites of the run found on prompts. Numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reportgen.aliases import Floats
from reportgen.scores import HeadSet
from reportgen.stats import mid_ranks

SCORES = (
    "copying", "copying_mlp", "matching", "induction_matching", "suppression", "suppression_ov", "ov_norm",
)  # fmt: skip


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation over the heads where both are known; NaN for fewer than three."""
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 3:
        return math.nan
    x, y = mid_ranks(a[known]), mid_ranks(b[known])
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def from_prompts(sets: Sequence[HeadSet], own: str) -> list[HeadSet]:
    """Sets that were computed on this model by other suites, the largest source of each label once."""
    return [s for s in sets if s.kind == "computed" and s.heads and not s.key.startswith(own)]
