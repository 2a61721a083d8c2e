"""The null of scores that depend on what is repeated: block lengths permuted over sequences."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_CHUNK = 500  # draws at a time


def permuted_labels(
    cells: npt.ArrayLike, labels: npt.ArrayLike, draws: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """(observed [head], null [draw head]) of cells [example label head]: means of each example's own label's cell.

    If a cell's value does not depend on which label is the example's own, labels are exchangeable between examples.
    """
    values, own = np.asarray(cells, np.float64), np.asarray(labels)
    count, kinds = values.shape[:2]
    flat = values.reshape(count * kinds, -1)  # [example * label, head]
    at = np.arange(count) * kinds
    null = np.empty((draws, flat.shape[1]), np.float32)
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        chosen = np.zeros((size, count * kinds))
        shuffled = rng.permuted(np.tile(own, (size, 1)), axis=1)
        np.put_along_axis(chosen, at + shuffled, 1.0 / count, axis=1)
        null[start : start + size] = chosen @ flat
    return flat[at + own].mean(0), null
