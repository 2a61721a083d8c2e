"""CSV, TSV, Parquet and NPY files as plain columns. Everything in them is checked later; nothing is ever unpickled."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from reportgen.errors import DataError
from reportgen.imported.columns import Columns, decimal_points, number, plain
from reportgen.reading import readable

MOST_BYTES = 200_000_000
MOST_MEASURES = 100  # of a table with a row per head and measure
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# What numpy raises for a header that is no header: it is parsed as Python.
_BAD_HEADER = (ValueError, EOFError, OverflowError, TokenError, SyntaxError, RecursionError, MemoryError)
NO_PARQUET = "Type: pip install 'reportgen[parquet]', or save the table as CSV."


def read(path: Path, shape: tuple[int, int]) -> list[Columns]:
    """The readings of the table in `path`, by its ending: more than one where more than one separator would do.

    DataError: no such file, no such format, or not readable as what it says.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: expected a file that ends in {', '.join(READERS)}.", "Save the table as one of them.")
    with readable(path, "Give the path of a table of scores.", most=MOST_BYTES):
        return reader(path, shape)


def _csv(path: Path, shape: tuple[int, int]) -> list[Columns]:
    """The table by every separator that its header has and every row keeps to."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 CSV: {error}.", "Save it as comma-separated UTF-8.") from error
    if not text.strip():
        raise DataError(f"{path} is empty.", "Expected a header line, then one row per head.")
    wide: list[Columns] = []
    single: list[Columns] = []
    wrong: list[tuple[int, DataError]] = []  # cells of the header, what is wrong
    for separator, word in SEPARATORS.items():
        try:
            columns = _separated(path, text, separator, word)
        except csv.Error as error:
            problem = f"{path} is not CSV separated by {word}: {error}."
            cells = text.lstrip().partition("\n")[0].count(separator) + 1
            wrong.append((cells, DataError(problem, "Save it as comma-separated UTF-8.")))
        except _Ragged as ragged:
            wrong.append((ragged.cells, ragged.error))
        else:
            (wide if len(columns.names) > 1 else single).append(columns)
    most = max((cells for cells, _ in wrong), default=0)
    if not wide and (not single or most > 1):
        raise next(error for cells, error in wrong if cells == most)
    if not wide:
        _check_single(path, single[0])
    return [decimal_points(str(path), columns) for columns in wide or single[:1]]


class _Ragged(Exception):
    """Rows of another width than the header's, which has so many cells."""

    def __init__(self, cells: int, error: DataError) -> None:
        super().__init__(str(error))
        self.cells, self.error = cells, error


def _separated(path: Path, text: str, separator: str, word: str) -> Columns:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    filled = [(number, line) for number, line in enumerate(lines, start=1) if any(cell.strip() for cell in line)]
    if not filled:  # nothing but separators
        raise _Ragged(0, DataError(f"{path} is empty.", "Expected a header line, then one row per head."))
    names = tuple(cell.strip() for cell in filled[0][1])
    for at, line in filled[1:]:
        if len(line) != len(names):
            problem = f"{path}, row {at}: {len(line)} cells, expected {len(names)} as in the header"
            raise _Ragged(len(names), DataError(f"{problem}, separated by {word}."))
    rows = [[cell.strip() for cell in line] for _, line in filled[1:]]
    return Columns(names, rows, [f"row {number}" for number, _ in filled[1:]], word if len(names) > 1 else "one column")


def _check_single(path: Path, columns: Columns) -> None:
    """A table of one column that is several by a separator that is not read."""
    first = str(columns.rows[0][0]) if columns.rows else ""
    for separator, word in ((None, "spaces"), ("|", "vertical bars"), (":", "colons")):
        cells = first.split(separator)
        alike = len(columns.names[0].split(separator)) == len(cells) > 1
        if alike and any(number(cell) is not None for cell in cells):
            raise DataError(f"{path}: its columns are separated by {word}.", "Save it with commas, semicolons or tabs.")


def _parquet(path: Path, shape: tuple[int, int]) -> list[Columns]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow.", NO_PARQUET) from error
    try:
        file = ParquetFile(path)
        _few(path, file.metadata.num_rows, shape, MOST_MEASURES)
        table = file.read()
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    except (ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{path} is not a Parquet file: {error}.", "Save it again, or as CSV.") from error
    return [plain([str(name) for name in table.column_names], rows, 1)]


def _npy(path: Path, shape: tuple[int, int]) -> list[Columns]:
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
        return [plain(array.dtype.names, [tuple(row) for row in array.ravel().tolist()], 1)]
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path} holds {array.dtype}, expected numbers.", "Save it as float32.")
    return [_plain(path, array, shape)]


def _plain(path: Path, array: np.ndarray[Any, Any], shape: tuple[int, int]) -> Columns:
    """[layer head], [layer head measure], [row], or [row column] with layer and head as the first two columns."""
    layers, heads = shape
    if array.shape[:2] == shape and array.ndim in (2, 3):
        return _grid(array, shape)
    if array.ndim == 1:
        array = array[:, None]
    in_order = array.ndim == 2 and len(array) == layers * heads
    if array.ndim != 2 or not (in_order or array.shape[1] == 1 or _is_long(array)):
        raise DataError(
            f"{path} has shape {array.shape}, expected [layer head] = {shape}, [layer head measure], or one row per "
            "head with its layer and head first."
        )
    _few(path, len(array), shape)
    width = array.shape[1]
    if _is_long(array) and (not in_order or _places(array, shape, 0) or _places(array, shape, 1)):
        names = ("layer", "head", *_values(width - 2))
    else:
        names = _values(width)
    return plain(names, array.tolist(), 1)


def _grid(array: np.ndarray[Any, Any], shape: tuple[int, int]) -> Columns:
    """An array whose shape says which head each value is."""
    flat = array.reshape(shape[0] * shape[1], -1)
    rows = [(i // shape[1], i % shape[1], *values) for i, values in enumerate(flat.tolist())]
    named = plain(("layer", "head", *_values(flat.shape[1])), rows, 1)
    return replace(named, shape=f"an array {'[layer head]' if array.ndim == 2 else '[layer head measure]'}")


def _few(path: Path, rows: int, shape: tuple[int, int], measures: int = 4) -> None:
    """A table of far more rows than heads is refused before it is turned into Python objects."""
    if rows > measures * shape[0] * shape[1] + 1000:
        raise DataError(f"{path} has {rows:,} rows; {shape[0]} layers x {shape[1]} heads = {shape[0] * shape[1]:,}.")


def _values(count: int) -> tuple[str, ...]:
    return ("value",) if count == 1 else tuple(f"value_{i}" for i in range(1, count + 1))


def _is_long(array: np.ndarray[Any, Any]) -> bool:
    """Whether the first two of three or more columns can be layers and heads."""
    return array.shape[1] >= 3 and bool(np.all(array[:, :2] == np.round(array[:, :2])))


def _places(array: np.ndarray[Any, Any], shape: tuple[int, int], base: int) -> bool:
    """Whether the first two columns name every head of the grid once, counted from `base`."""
    wanted = {(float(layer + base), float(head + base)) for layer in range(shape[0]) for head in range(shape[1])}
    return {(float(a), float(b)) for a, b in array[:, :2]} == wanted


READERS: dict[str, Callable[[Path, tuple[int, int]], list[Columns]]] = {
    ".csv": _csv, ".tsv": _csv, ".parquet": _parquet, ".npy": _npy
}  # fmt: skip
