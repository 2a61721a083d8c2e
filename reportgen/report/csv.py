"""scores.csv: every head score of a run, one row per head. Byte-identical for the same run."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping

from reportgen import rows
from reportgen.manifest import ModelRecord
from reportgen.report.text import clean
from reportgen.scores import FloatGrid, HeadScores, SuiteResult, head_name

COLUMNS = (*rows.COLUMNS, "model")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def scores_csv(results: Mapping[str, SuiteResult], model: ModelRecord) -> str:
    """All scores, sorted by suite, measure, task, layer, head; `head` is `L4H5`, `layer` and `head_index` count from 0.

    NaN is an empty cell with its reason in `note`, which also says where a value is an estimate, and why a score has no
    null. Numbers are the shortest decimals that read back as the same float32. `model` says where weights were
    dequantised.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    name = escape(model.described)
    scores = [s for result in results.values() for s in result.scores]
    for score in sorted(scores, key=lambda s: (s.suite, s.measure, s.task)):
        writer.writerows((*row, name) for row in _rows(score))
    return out.getvalue()


def _rows(scores: HeadScores) -> Iterator[tuple[str, ...]]:
    names = (scores.suite, scores.measure, scores.task)
    line = _number(scores.line)
    layers, heads = scores.values.shape
    for layer in range(layers):
        for head in range(heads):
            note = rows.note(scores, (layer, head))
            cells = (_cell(grid, layer, head) for grid in (scores.values, scores.low, scores.high))
            p = _cell(scores.p, layer, head)
            yield (*names, head_name(layer, head), str(layer), str(head), *cells, str(scores.n), p, line, escape(note))


def _cell(grid: FloatGrid | None, layer: int, head: int) -> str:
    return "" if grid is None else _number(grid[layer, head])


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else str(value)


def escape(text: str) -> str:
    """`text` on one line and safe to open in a spreadsheet: what would be read as a formula gets a leading quote."""
    flat = " ".join(clean(text).split())
    return f"'{flat}" if flat.startswith(_FORMULA) else flat
