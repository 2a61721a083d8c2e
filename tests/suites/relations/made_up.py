"""Made-up relation results: hits per head are chosen, intervals follow from them, nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reportgen.scores import HeadScores, SuiteResult, head_name

Hits = Mapping[tuple[int, int], int]


def scores(
    measure: str, stem: str, n: int, hits: Hits, shape: tuple[int, int] = (3, 4), dead: Sequence[tuple[int, int]] = ()
) -> HeadScores:
    """Shares of n pairs with Wilson's interval; heads not in `hits` have none, `dead` ones are not computed."""
    grid = np.zeros(shape)
    for at, count in hits.items():
        grid[at] = count
    z, p = 1.959963984540054, grid / max(n, 1)
    centre, half = p + z * z / (2 * max(n, 1)), z * np.sqrt(p * (1 - p) / max(n, 1) + z * z / (4 * max(n, 1) ** 2))
    grids = [p, *((centre + sign * half) / (1 + z * z / max(n, 1)) for sign in (-1, 1))]
    missing = np.full(shape, n == 0)
    for at in dead:
        missing[at] = True
    values, low, high = (np.where(missing, np.nan, np.clip(g, 0, 1)).astype(np.float32) for g in grids)
    reasons = {"*": "every pair copies its source"} | {head_name(*at): "inactive head" for at in dead}
    return HeadScores(f"relations/{measure}/{stem}", stem, values, n, low, high, no_null="made up", range=(0.0, 1.0),
                      reasons=reasons)  # fmt: skip


def facts(**categories: str) -> dict[str, Any]:
    """Facts with tau and each stem's category; titles are the stems in words."""
    about = {s: {"title": s.replace("_", " ").capitalize(), "category": c, "k": 10} for s, c in categories.items()}
    return {"tau": 0.15, "relations": about}


def result(*found: HeadScores, **categories: str) -> SuiteResult:
    return SuiteResult("relations", found, facts=facts(**categories))
