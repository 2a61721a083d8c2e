"""What one check says: a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OK, FAIL, NOT_RUN = "ok", "FAIL", "--"


@dataclass(frozen=True)
class Line:
    """One check's outcome: `words` say what was seen, or the place that fails; `hint` what to change."""

    check: str
    status: str
    words: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.status:<4} {self.check:<10} {self.words}{f'  -> {self.hint}' if self.hint else ''}"


def judged(check: str, problems: Sequence[str], hint: str, fine: str) -> Line:
    """Failed with the first problem and how many more there are, or fine."""
    if not problems:
        return Line(check, OK, fine)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Line(check, FAIL, problems[0] + more, hint)
