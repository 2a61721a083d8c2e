"""CSV, Parquet and NPY files as plain columns. Everything in them is checked later; nothing is ever unpickled."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from reportgen.errors import DataError
from reportgen.reading import readable

MOST_BYTES = 200_000_000
# What numpy raises for a header that is no header: it is parsed as Python.
_BAD_HEADER = (ValueError, EOFError, OverflowError, TokenError, SyntaxError, RecursionError, MemoryError)
NO_PARQUET = "Type: pip install 'reportgen[parquet]', or save the table as CSV."


@dataclass(frozen=True)
class Columns:
    """A table as read: `rows[i][j]` belongs to `names[j]`; `first` is the row number that messages give to rows[0]."""

    names: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    first: int


def read(path: Path, shape: tuple[int, int]) -> Columns:
    """The table in `path`, by its ending. DataError: no such file, no such format, or not readable as what it says."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: expected a file that ends in {', '.join(READERS)}.", "Save the table as one of them.")
    with readable(path, "Give the path of a table of scores.", most=MOST_BYTES):
        return reader(path, shape)


def _csv(path: Path, shape: tuple[int, int]) -> Columns:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not UTF-8 CSV: {error}.", "Save it as comma-separated UTF-8.") from error
    filled = [(number, line) for number, line in enumerate(lines, start=1) if any(cell.strip() for cell in line)]
    if not filled:
        raise DataError(f"{path} is empty.", "Expected a header line, then one row per head.")
    names = tuple(cell.strip() for cell in filled[0][1])
    for number, line in filled[1:]:
        if len(line) != len(names):
            raise DataError(f"{path}, row {number}: {len(line)} cells, expected {len(names)} as in the header.")
    return Columns(names, [[cell.strip() for cell in line] for _, line in filled[1:]], filled[0][0] + 1)


def _parquet(path: Path, shape: tuple[int, int]) -> Columns:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow.", NO_PARQUET) from error
    try:
        file = ParquetFile(path)
        _few(path, file.metadata.num_rows, shape)
        table = file.read()
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    except (ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{path} is not a Parquet file: {error}.", "Save it again, or as CSV.") from error
    return Columns(tuple(str(name) for name in table.column_names), rows, 1)


def _npy(path: Path, shape: tuple[int, int]) -> Columns:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that Python 2 wrote it is no matter
            array = open_memmap(path, mode="r")  # reads the header alone, and refuses Python objects
    except _BAD_HEADER as error:
        raise DataError(
            f"{path} is no NPY file of plain numbers: {error}.", "Save one: np.save(path, values)."
        ) from error
    if array.dtype.names:
        _few(path, array.size, shape)
        return Columns(tuple(array.dtype.names), [tuple(row) for row in array.ravel().tolist()], 1)
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path} holds {array.dtype}, expected numbers.", "Save it as float32.")
    return _plain(path, array, shape)


def _plain(path: Path, array: np.ndarray[Any, Any], shape: tuple[int, int]) -> Columns:
    """[layer head], [layer head measure], [row], or [row column] with layer and head as the first two columns."""
    layers, heads = shape
    if array.shape[:2] == shape and array.ndim in (2, 3):
        array = array.reshape(layers * heads, -1)
    elif array.ndim == 1:
        array = array[:, None]
    in_order = array.ndim == 2 and len(array) == layers * heads
    if array.ndim != 2 or not (in_order or array.shape[1] == 1 or _is_long(array)):
        raise DataError(
            f"{path} has shape {array.shape}, expected [layer head] = {shape}, [layer head measure], or one row per "
            "head with its layer and head first."
        )
    _few(path, len(array), shape)
    width = array.shape[1]
    if _is_long(array) and (not in_order or _places(array, shape)):
        names = ("layer", "head", *_values(width - 2))
    else:
        names = _values(width)
    return Columns(names, array.tolist(), 1)


def _few(path: Path, rows: int, shape: tuple[int, int]) -> None:
    """A table of far more rows than heads is refused before it is turned into Python objects."""
    if rows > 4 * shape[0] * shape[1] + 1000:
        raise DataError(f"{path} has {rows:,} rows; {shape[0]} layers x {shape[1]} heads = {shape[0] * shape[1]:,}.")


def _values(count: int) -> tuple[str, ...]:
    return ("value",) if count == 1 else tuple(f"value_{i}" for i in range(1, count + 1))


def _is_long(array: np.ndarray[Any, Any]) -> bool:
    """Whether the first two of three or more columns can be layers and heads."""
    return array.shape[1] >= 3 and bool(np.all(array[:, :2] == np.round(array[:, :2])))


def _places(array: np.ndarray[Any, Any], shape: tuple[int, int]) -> bool:
    """Whether the first two columns name every head of the grid once."""
    wanted = {(float(layer), float(head)) for layer in range(shape[0]) for head in range(shape[1])}
    return {(float(a), float(b)) for a, b in array[:, :2]} == wanted


READERS: dict[str, Callable[[Path, tuple[int, int]], Columns]] = {".csv": _csv, ".parquet": _parquet, ".npy": _npy}
