"""A table of scores computed elsewhere as one grid per measure, every cell checked.

Two layouts: columns `layer` and `head` beside the values, or one row per head in layer-major order (layer 0's heads
first). Every numeric column becomes a measure; columns without any number are left out and named.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reportgen.errors import DataError, one_line
from reportgen.imported.files import Columns, read
from reportgen.scores import FloatGrid, Head, head_name

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_GAPS = {"", "nan", "na", "n/a", "null", "none"}


@dataclass(frozen=True, eq=False)
class Measured:
    """One numeric column: its name as given, values [layer head], and why a head has none."""

    name: str
    values: FloatGrid
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Imported:
    """All numeric columns of a table, and the names of those left out."""

    measures: tuple[Measured, ...]
    left_out: tuple[str, ...] = ()


def read_table(path: Path, layers: int, heads: int) -> Imported:
    """The measures in `path` for a model of `layers` x `heads` query heads.

    Raises DataError, one line: the file, the row, what was found and what is expected.
    """
    columns = read(path, (layers, heads))
    _check_names(path, columns.names)
    lower = [name.lower() for name in columns.names]
    rest = [i for i, name in enumerate(lower) if name not in ("layer", "head")]
    if ("layer" in lower) != ("head" in lower):
        raise DataError(f"{path} has only one of the columns layer and head.", "Give both, or neither.")
    if "layer" in lower:
        places = _places(path, columns, lower.index("layer"), lower.index("head"), (layers, heads))
    else:
        places = _in_order(path, columns, (layers, heads))
    measures, left_out = [], []
    for i in rest:
        values = _numbers(path, columns, i)
        if values is None:
            left_out.append(columns.names[i])
        else:
            measures.append(_measured(path, columns.names[i], places, values, (layers, heads)))
    if not measures:
        raise DataError(f"{path} has no column of numbers beside layer and head.", "Give one column per measure.")
    return Imported(tuple(measures), tuple(left_out))


def _check_names(path: Path, names: Sequence[str]) -> None:
    empty = [i for i, name in enumerate(names, start=1) if not name]
    if empty:
        raise DataError(f"{path}: column {empty[0]} has no name in the header.", "Name every column.")
    if all(_number(name) is not None for name in names):
        raise DataError(f"{path} has no header: its first row is {', '.join(names[:4])}.", "Name the columns first.")
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise DataError(f"{path}: two columns are called {name!r}.", "Rename one of them.")
        seen.add(name.lower())


def _places(path: Path, columns: Columns, layer: int, head: int, shape: tuple[int, int]) -> list[Head]:
    """The head of every row. DataError for one that is no whole number, not on the grid, or there twice."""
    places: list[Head] = []
    first: dict[Head, int] = {}
    for number, row in enumerate(columns.rows, start=columns.first):
        at = (
            _index(path, number, "layer", row[layer], shape[0]),
            _index(path, number, "head", row[head], shape[1]),
        )
        if at in first:
            raise DataError(
                f"{path}, row {number}: {head_name(*at)} stands in row {first[at]} already; expected each head once."
            )
        first[at] = number
        places.append(at)
    if not places:
        raise DataError(f"{path} has no rows.", "Give one row per head.")
    return places


def _index(path: Path, number: int, name: str, cell: object, count: int) -> int:
    value = _number(cell)
    if value is None or not value.is_integer() or not 0 <= value < count:
        raise DataError(
            f"{path}, row {number}: {name} {_shown(cell)}, expected a whole number from 0 to {count - 1}.",
            f"--{name}s {count} says how many {name}s there are.",
        )
    return int(value)


def _in_order(path: Path, columns: Columns, shape: tuple[int, int]) -> list[Head]:
    layers, heads = shape
    if len(columns.rows) != layers * heads:
        raise DataError(
            f"{path} has {len(columns.rows):,} rows, expected {layers} layers x {heads} heads = {layers * heads:,} in "
            "layer-major order.",
            "Or give the columns layer and head.",
        )
    return [(layer, head) for layer in range(layers) for head in range(heads)]


def _numbers(path: Path, columns: Columns, column: int) -> list[float] | None:
    """The column's values, NaN where a cell is empty; None where it holds no number. DataError for a word among them.

    A column is taken for numbers as soon as one of its cells is one: a typing error must not drop a measure.
    """
    cells = [row[column] for row in columns.rows]
    found = [_number(cell) for cell in cells]
    if not any(value is not None and not math.isnan(value) for value in found):
        return None
    values = []
    for number, (cell, value) in enumerate(zip(cells, found, strict=True), start=columns.first):
        if value is None or abs(value) > _FLOAT32_MAX:
            raise DataError(
                f"{path}, row {number}, column {columns.names[column]}: {_shown(cell)}, expected a finite number or an "
                "empty cell."
            )
        values.append(value)
    return values


def _number(cell: object) -> float | None:
    """A cell as a float, NaN for an empty one, None for anything else."""
    if cell is None:
        return math.nan
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int | float):
        return float(cell) if isinstance(cell, float) or abs(cell) < 2**63 else math.inf
    if not isinstance(cell, str):
        return None
    text = cell.strip()
    if text.lower() in _GAPS:
        return math.nan
    try:
        return float(text) if re.fullmatch(r"[-+.\deE]+|[-+]?inf(inity)?", text, re.IGNORECASE) else None
    except ValueError:
        return None


def _shown(cell: object) -> str:
    text = one_line(str(cell))
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def _measured(
    path: Path, name: str, places: Sequence[Head], values: Sequence[float], shape: tuple[int, int]
) -> Measured:
    grid = np.full(shape, np.nan, dtype=np.float32)  # [layer head]
    for at, value in zip(places, values, strict=True):
        grid[at] = value
    given = set(places)
    reasons = {
        head_name(int(layer), int(head)): f"empty in {path.name}" if (layer, head) in given else f"not in {path.name}"
        for layer, head in np.argwhere(np.isnan(grid))
    }
    return Measured(name, grid, reasons)
