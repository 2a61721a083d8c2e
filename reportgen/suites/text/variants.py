"""Scores on half of the windows; and, for a narrow score that text was compared with, the same kind of head on text."""

from __future__ import annotations

from collections.abc import Mapping
from warnings import catch_warnings, simplefilter

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Floats
from reportgen.nulls import above_line, null_line
from reportgen.scores import SuiteResult
from reportgen.suites.variants import Variant, over_line


def variants(result: SuiteResult) -> tuple[Variant, ...]:
    """For every score with a null, the mean over each half's windows against the line of the whole text. Where the run
    compared a narrow score with the same kind of attention on text, these are ways of the narrow score, too.

    A window counts the same however many tokens of the kind it has, and no document is in both halves.
    """
    each, document = result.arrays.get("per_window"), result.arrays.get("document")
    if each is None or document is None:
        return ()
    narrow = _compared(result)
    names = each.labels.get("measure", ())
    found: list[Variant] = []
    for scores in result.scores:
        line, above = null_line(scores), above_line(scores)
        if line is None or above is None or scores.measure not in names or scores.task != "text":
            continue
        rows = each.values[names.index(scores.measure)].astype(np.float64)  # [window layer head]
        halves = [
            over_line(_mean(rows[some]), float(np.nextafter(line, np.inf)), scores.exact_values)
            for some in _halves(document.values)
        ]
        found += [Variant(scores.key, "half of the windows", f"half {i + 1}", grid) for i, grid in enumerate(halves)]
        if scores.measure in narrow:
            key = narrow[scores.measure]
            found.append(Variant(key, "natural text", "all windows", above))
            found += [Variant(key, "natural text", f"half {i + 1}", grid) for i, grid in enumerate(halves)]
    return tuple(found)


def _compared(result: SuiteResult) -> dict[str, str]:
    """Measure on text -> key of the narrow score of another suite that the run compared it with."""
    rows = result.facts.get("agreements")
    told = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    return {str(row["kind"]): str(row["narrow"]) for row in told if "kind" in row and "narrow" in row}


def _halves(documents: npt.NDArray[np.generic]) -> list[npt.NDArray[np.bool_]]:
    """[window] of two halves, every other document; of a single document, every other window. Empty with one window."""
    if len(documents) < 2:
        return []
    kinds = np.unique(documents)
    odd = np.isin(documents, kinds[::2]) if len(kinds) > 1 else np.arange(len(documents)) % 2 == 0
    return [odd, ~odd]


def _mean(rows: Floats) -> Floats:
    """[layer head] over the windows that have a value; NaN where none has."""
    with catch_warnings():
        simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(rows, axis=0))
