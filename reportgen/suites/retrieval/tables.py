"""What a document's table of questions against facts adds to a ratio. Numpy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Bools, Floats


def sums(
    table: npt.NDArray[np.floating], keep: Bools, right: npt.NDArray[np.integer], measure: str
) -> tuple[Floats, Floats]:
    """Above and below the ratio, [layer head] each: `copy` per right answer token, the others per question.

    table  [question needle layer head];  keep  [question] it counts;  right  [question] right tokens of its answer
    """
    asked = np.flatnonzero(keep)
    rows = table[asked].astype(np.float64)
    own = rows[np.arange(len(asked)), asked]  # [question layer head]
    if measure == "copy":
        values, weights = own, right[asked].astype(float)
    else:
        rows[np.arange(len(asked)), asked] = np.nan
        known = np.isfinite(rows)
        mean = np.where(known, rows, 0).sum(1) / np.maximum(known.sum(1), 1)
        values, weights = np.where(known.any(1), own - mean, np.nan), np.ones(len(asked))
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(0), (known * weights[:, None, None]).sum(0)
