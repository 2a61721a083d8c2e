"""What one experiment of the suite hands over; score.py joins the pieces into one SuiteResult."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from reportgen.scores import HeadScores, NamedArray, NotComputed, SuiteResult, Table


@dataclass(frozen=True, eq=False)
class Pieces:
    """Part of a SuiteResult; the fields are those of SuiteResult."""

    scores: tuple[HeadScores, ...] = ()
    tables: tuple[Table, ...] = ()
    arrays: Mapping[str, NamedArray] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    not_computed: tuple[NotComputed, ...] = ()

    def onto(self, result: SuiteResult) -> SuiteResult:
        """`result` with these pieces added. Raises ValueError where an array or a fact would be overwritten."""
        doubles = (result.arrays.keys() & self.arrays.keys()) | (result.facts.keys() & self.facts.keys())
        if doubles:
            raise ValueError(f"suite {result.suite}: given twice: {sorted(doubles)}")
        return dataclasses.replace(
            result,
            scores=result.scores + self.scores,
            tables=result.tables + self.tables,
            arrays={**result.arrays, **self.arrays},
            facts={**result.facts, **self.facts},
            notes=result.notes + self.notes,
            not_computed=result.not_computed + self.not_computed,
        )
