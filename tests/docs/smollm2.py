"""docs/smollm2.md and its figures, from the stored run of SmolLM2-135M-Instruct.

`python -m tests.docs.smollm2` writes them anew; every number on the page is read from the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from reportgen.runfolder import Run
from reportgen.scores import HeadScores, head_name, parse_head

ROOT = Path(__file__).parents[2]
RUN = ROOT / "site" / "runs" / "smollm2-135m-instruct"
PAGE = ROOT / "docs" / "smollm2.md"
FIGURES = {  # file in docs/figures -> figure of the run
    "smollm2-names.svg": "relations-name_copying-country_to_capital",
    "smollm2-ioi.svg": "circuits-ioi-graph",
    "smollm2-total.svg": "circuits-ioi-total",
}


class Numbers:
    """The run's numbers as the page prints them."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.scores: dict[str, HeadScores] = {s.key: s for r in run.results.values() for s in r.scores}
        self.tasks: dict[str, Any] = dict(run.result("circuits").facts["tasks"])  # type: ignore[arg-type,call-overload]

    def of(self, key: str, head: str) -> str:
        """`0.80 [0.74, 0.86]`."""
        scores, at = self.scores[key], parse_head(head)
        value = number(float(scores.values[at]))
        if scores.low is None or scores.high is None or not np.isfinite(scores.low[at]):
            return value
        return f"{value} [{number(float(scores.low[at]))}, {number(float(scores.high[at]))}]"

    def place(self, key: str, head: str) -> int:
        """The head's place by value, from 1."""
        return self.scores[key].ranking().index(parse_head(head)) + 1

    def best(self, key: str, count: int = 1) -> str:
        """`L18H6 (0.90 [0.87, 0.92])`, the highest `count` of them."""
        names = [head_name(*head) for head in self.scores[key].ranking()[:count]]
        return ", ".join(f"{name} ({self.of(key, name)})" for name in names)

    def heads(self, key: str) -> str:
        """`L23H0, L23H2` of a computed set."""
        sets = {s.key: s for r in self.run.results.values() for s in r.head_sets}
        return ", ".join(head_name(*head) for head in sorted(sets[key].heads)) or "none"


def number(value: float) -> str:
    """Two decimals with a true minus sign."""
    return f"{value:.2f}".replace("-", "\u2212")


def interval(pair: Any) -> str:
    low, high = pair
    return f"[{number(low)}, {number(high)}]"
