"""Scores as rows, one per head: for a loop, a notebook's table, or a data frame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from reportgen.errors import SettingsError

if TYPE_CHECKING:
    from reportgen.scores import Head, HeadScores

ROW_COLUMNS = (
    "suite", "measure", "task", "head", "layer", "head_index", "value", "low", "high", "n", "p", "p_each", "fdr",
    "line", "note",
)  # fmt: skip
_PRINTED = 20  # rows that a notebook or a prompt shows


class Rows(list[dict[str, Any]]):
    """Rows of scores: a list of dictionaries with the columns of scores.csv; None = not given or not computed."""

    def to_pandas(self) -> Any:
        """A pandas DataFrame. SettingsError if pandas is not installed."""
        try:
            import pandas  # type: ignore[import-untyped,unused-ignore]
        except ImportError as error:
            raise SettingsError("pandas is not installed.", "Type: pip install pandas") from error
        return pandas.DataFrame(list(self), columns=list(ROW_COLUMNS))

    def __repr__(self) -> str:
        """The first rows as aligned text, without columns that are empty in all of them."""
        shown = self[:_PRINTED]
        names = [name for name in ROW_COLUMNS if any(row.get(name) not in (None, "") for row in shown)]
        cells = [names, *([_row_cell(row.get(name)) for name in names] for row in shown)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells]
        more = [f"... and {len(self) - _PRINTED:,} more rows"] if len(self) > _PRINTED else []
        return "\n".join([*lines, *more]) if self else "no rows"

    def _repr_html_(self) -> str:
        """The same as a table."""
        from markupsafe import Markup

        shown = self[:_PRINTED]
        names = [name for name in ROW_COLUMNS if any(row.get(name) not in (None, "") for row in shown)]
        head = Markup("").join(Markup("<th>{}</th>").format(name) for name in names)
        body = Markup("").join(
            Markup("<tr>{}</tr>").format(
                Markup("").join(Markup("<td>{}</td>").format(_row_cell(row.get(name))) for name in names)
            )
            for row in shown
        )
        more = Markup("<p>and {} more rows</p>").format(f"{len(self) - _PRINTED:,}") if len(self) > _PRINTED else ""
        return str(Markup("<table><tr>{}</tr>{}</table>").format(head, body) + more)


def rows_of(scores: Iterable[HeadScores], heads: Iterable[Head] | None = None) -> Rows:
    """A row per score and head, in the order given; `heads` (layer, head) selects some, none = all of the grid."""
    wanted = None if heads is None else list(heads)
    found = Rows()
    for score in scores:
        layers, width = score.values.shape
        every = wanted if wanted is not None else [(i, j) for i in range(layers) for j in range(width)]
        found.extend(row_of(score, head) for head in every)
    return found


def row_of(score: HeadScores, head: Head) -> dict[str, Any]:
    """One head's row; numbers as Python numbers, None if there is none."""
    grids: Mapping[str, Any] = {
        "value": score.values, "low": score.low, "high": score.high, "p": score.p, "p_each": score.p_each,
        "fdr": score.fdr,
    }  # fmt: skip
    numbers = {name: None if grid is None else _number(grid[head]) for name, grid in grids.items()}
    return {
        "suite": score.suite, "measure": score.measure, "task": score.task, "head": f"L{head[0]}H{head[1]}",
        "layer": head[0], "head_index": head[1], **numbers, "n": score.n, "line": score.line,
        "note": note_of(score, head),
    }  # fmt: skip


def note_of(score: HeadScores, head: Head) -> str:
    """Why a head has no value or is estimated, else why the score has no null; "" for an exact value with a null."""
    no_null = f"no null: {score.no_null}" if score.p is None and score.line is None else ""
    return score.note(*head) or no_null


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(float(value)) else None


def _row_cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
