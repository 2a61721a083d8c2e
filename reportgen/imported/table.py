"""A table of scores computed elsewhere as one grid per measure, every cell checked.

Which head a row is: places.py; tables with a column per head or a row per measure: shapes.py. Every numeric column
becomes a measure; columns without any number are left out and named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reportgen.errors import DataError, SettingsError
from reportgen.imported.columns import Columns, is_text, number, shown
from reportgen.imported.files import read
from reportgen.imported.places import BASES, index_columns, place
from reportgen.imported.shapes import groups, own_file, turned
from reportgen.scores import FloatGrid, Head, head_name

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Measured:
    """One measure: its name as given, values [layer head], and why a head has none."""

    name: str
    values: FloatGrid
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Imported:
    """All measures of a table, the columns left out, and in words how its heads were read."""

    measures: tuple[Measured, ...]
    left_out: tuple[str, ...] = ()
    reading: str = ""


def read_table(path: Path, layers: int, heads: int, base: str = "") -> Imported:
    """The measures in `path` for a model of `layers` x `heads` query heads.

    base  what the table counts from: "0", "1", "layer" or "head" (that one alone from 1); "" = 0, and a table that can
          only count from 1 is refused with the option to give

    Raises DataError, one line: the file, the row, what was found and what is expected.
    """
    if base not in BASES:
        raise SettingsError(f"--base {base}: expected 0, 1, layer or head.", "1: layers and heads count from 1.")
    found: list[tuple[Columns, Imported]] = []
    errors: list[tuple[int, DataError]] = []
    for columns in read(path, (layers, heads)):
        try:
            found.append((columns, _imported(path, columns, (layers, heads), base)))
        except DataError as error:
            errors.append((len(columns.names), error))
    if len(found) > 1:
        seen = " and ".join(columns.seen for columns, _ in found)
        raise DataError(f"{path} can be read as separated by {seen}.", "Save it with commas.")
    if not found:
        raise max(errors, key=lambda item: item[0])[1]
    return found[0][1]


def _imported(path: Path, columns: Columns, shape: tuple[int, int], base: str) -> Imported:
    columns = own_file(columns) or columns
    wide = turned(path, columns, shape)
    columns = wide or columns
    index = index_columns(columns)
    if wide is None:
        _check_names(path, columns, index)
    placing = place(path, columns, shape, base)
    by_measure, measure = groups(path, columns, placing)
    rest = [i for i in range(len(columns.names)) if i not in placing.used | index and i != measure]
    values = {i: _numbers(path, columns, i) for i in rest}
    numeric = [i for i in rest if values[i] is not None]
    if not numeric:
        raise DataError(f"{path} has no column of numbers beside layer and head.", "Give one column per measure.")
    measures = []
    for name, rows in by_measure:
        for i in numeric:
            cells, title = values[i] or [], _title(name, columns.names[i], len(numeric))
            places = [placing.places[row] for row in rows]
            measures.append(_measured(path, title, places, [cells[row] for row in rows], shape))
    left_out = tuple(columns.names[i] or "without a name" for i in rest if values[i] is None)
    dropped = [repr(columns.names[i]) for i in sorted(index - placing.used) if columns.names[i]]
    said = [placing.how, "a row per head and measure" if measure is not None and wide is None else ""]
    said += [f"separated by {columns.seen}" if columns.seen else ""]
    said += [f"index {', '.join(dropped)} left out" if dropped else ""]
    return Imported(tuple(measures), left_out, "; ".join(words for words in said if words))


def _title(measure: str, column: str, columns: int) -> str:
    """The name of a measure: its column's, or what the table calls the rows, or both."""
    if not measure or columns == 1:
        return measure or column
    return f"{measure}: {column}"


def _check_names(path: Path, columns: Columns, index: set[int]) -> None:
    """DataError for a header that is none or names a column twice or not, an index or row names in front left out."""
    if not columns.names[0] and is_text(columns.column(0)):
        index = index | {0}
    names = [name for i, name in enumerate(columns.names) if i not in index]
    empty = [i for i, name in enumerate(columns.names, start=1) if not name and i - 1 not in index]
    if empty:
        raise DataError(f"{path}: column {empty[0]} has no name in the header.", "Name every column.")
    if names and all(number(name) is not None for name in names):
        raise DataError(f"{path} has no header: its first row is {', '.join(names[:4])}.", "Name the columns first.")
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise DataError(f"{path}: two columns are called {name!r}.", "Rename one of them.")
        seen.add(name.lower())


def _numbers(path: Path, columns: Columns, column: int) -> list[float] | None:
    """The column's values, NaN where a cell is empty; None where it holds no number. DataError for a word among them.

    A column is taken for numbers as soon as one of its cells is one: a typing error must not drop a measure.
    """
    cells = columns.column(column)
    found = [number(cell) for cell in cells]
    if not any(value is not None and not math.isnan(value) for value in found):
        return None
    values = []
    for at, cell, value in zip(columns.at, cells, found, strict=True):
        if value is None or abs(value) > _FLOAT32_MAX:
            raise DataError(
                f"{path}, {at}, column {columns.names[column]}: {shown(cell)}, expected a finite number or an empty "
                "cell."
            )
        values.append(value)
    return values


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
