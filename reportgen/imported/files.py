"""CSV, TSV, Parquet and NPY files as plain columns. Everything in them is checked later; nothing is ever unpickled."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from reportgen.errors import DataError
from reportgen.files import readable
from reportgen.imported.head_columns import (
    AXES,
    Placing,
    Shape,
    TableColumns,
    decimal_points,
    head_of,
    index_of,
    is_index_name,
    is_text,
    number,
    plain,
    role,
    whole,
)
from reportgen.scores import Head, head_name

# Tables of other shapes as one row per head: a column per head or per layer, and a row per head and measure.

_MEASURE = {
    "measure",
    "metric",
    "variable",
    "score",
    "scorename",
    "method",
    "task",
    "statistic",
    "name",
    "kind",
    "type",
}
_KEY = ("suite", "measure", "task")  # of a score, in the files that reports write
_DOWN = "Call the first column layer if rows are layers, head if they are heads."


def turned(path: Path, columns: TableColumns, shape: Shape) -> TableColumns | None:
    """The table with a column per head or per layer as one row per head; None where it is of no such shape.

    DataError where it is and could be read in two ways.
    """
    cells = {i: head for i, name in enumerate(columns.names) if (head := head_of(name)) is not None}
    if len(cells) > 1:
        return _by_heads(path, columns, cells)
    roles = {role(name) for name in columns.names} - {""}
    if len(roles) == 2:
        return None
    for across, down in (AXES, AXES[::-1]):
        if roles == {across}:
            continue
        found = _axis_columns(columns, across, digits=roles == {down})
        if len(found) > 1:
            labelled = columns if roles else _labelled(path, columns, down, min(found.values()), shape)
            return _by_axis(labelled, down, across, _axis_columns(labelled, across, digits=roles == {down}))
    return None if roles else _plain_grid(path, columns, shape)


def _axis_columns(columns: TableColumns, axis: str, *, digits: bool) -> dict[int, int]:
    """Columns called H0, head_0 (or 0, with `digits`) and so on, with their number."""
    pattern = rf"(?:{axis}|{axis[0]})[ _.-]?(\d{{1,4}})" + (r"|(\d{1,4})" if digits else "")
    found = {i: match for i, name in enumerate(columns.names) if (match := re.fullmatch(pattern, name, re.I))}
    return {i: int(next(g for g in match.groups() if g is not None)) for i, match in found.items()}


def _by_heads(path: Path, columns: TableColumns, cells: dict[int, Head]) -> TableColumns:
    """Columns called L0H0 and so on: a row per measure, which its one column of words names."""
    words = [i for i in range(len(columns.names)) if i not in cells and is_text(columns.column(i))]
    if len(columns.rows) != 1 and len(words) != 1:
        raise DataError(
            f"{path} has a column per head and {len(columns.rows)} rows; {len(words)} columns name the rows' measures.",
            "Give one row, or one column with the name of each row's measure.",
        )
    rows: list[tuple[object, ...]] = []
    at: list[str] = []
    for where, row in zip(columns.at, columns.rows, strict=True):
        for i, head in cells.items():
            rows.append((*head, *(row[k] for k in words), row[i]))
            at.append(f"{where}, under {columns.names[i]}")
    kept = ("layer", "head", *("measure" for _ in words[:1]), *(columns.names[i] for i in words[1:]), "value")
    return TableColumns(kept, rows, at, columns.seen, f"a column per head, {_ends(columns, cells)}")


def _ends(columns: TableColumns, found: Iterable[int]) -> str:
    names = [columns.names[i] for i in found]
    return f"{names[0]!r} to {names[-1]!r}"


def _by_axis(columns: TableColumns, down: str, across: str, found: dict[int, int]) -> TableColumns:
    """A column per head and a row per layer, or the other way round; columns of words stay (they may name measures)."""
    label = next(i for i, name in enumerate(columns.names) if role(name) == down)
    kept = [i for i in range(len(columns.names)) if i not in found and i != label and is_text(columns.column(i))]
    rows, at = [], []
    for where, row in zip(columns.at, columns.rows, strict=True):
        for i, value in found.items():
            pair = (row[label], value) if across == "head" else (value, row[label])
            rows.append((*pair, *(row[k] for k in kept), row[i]))
            at.append(f"{where}, under {columns.names[i]}")
    names = ("layer", "head", *(columns.names[i] for i in kept), "value")
    words = f"a row per {down} and a column per {across}, {_ends(columns, found)}"
    return TableColumns(names, rows, at, columns.seen, words)


def _labelled(path: Path, columns: TableColumns, down: str, first: int, shape: Shape) -> TableColumns:
    """The table with a first column that numbers its rows: from its index or labels, or from `first` upwards."""
    count = shape[AXES.index(down)]
    for i, name in enumerate(columns.names):
        numbers = [index_of(cell, down) for cell in columns.column(i)]
        if is_index_name(name) and all(value is not None for value in numbers):
            break
    else:
        numbers = list(range(first, first + len(columns.rows)))
        if len(numbers) != count:
            raise DataError(f"{path} has {len(numbers)} rows, expected one per {down}: {count}.", _DOWN)
    rows = [(value, *row) for value, row in zip(numbers, columns.rows, strict=True)]
    return TableColumns((down, *columns.names), rows, columns.at, columns.seen)


def _plain_grid(path: Path, columns: TableColumns, shape: Shape) -> TableColumns | None:
    """A grid whose columns are only numbered or not named at all: which way it runs, its two sides must tell."""
    index = is_index_name(columns.names[0]) and whole(columns.column(0)) is not None
    names = columns.names[index:]
    if len(names) < 2 or any(number(name) is None for name in names):
        return None
    rows, at = [row[index:] for row in columns.rows], list(columns.at)
    first = next((base for base in (0, 1) if list(names) == [str(base + i) for i in range(len(names))]), None)
    if first is None or not (index or _fits(rows, shape)):  # the first row is no header
        rows, at, first = [names, *rows], ["row 1", *at], 0
        if index or not _fits(rows, shape) or all(whole([row[k] for row in rows]) is not None for k in (0, 1)):
            return None  # without a header, whole numbers first may be layers and heads
    if not _fits(rows, shape):
        problem = f"{path} is a grid of {len(rows)} x {len(names)}, expected {shape[0]} layers x {shape[1]} heads"
        raise DataError(f"{problem} or its transpose.", "Check --layers and --heads.")
    if shape[0] == shape[1]:
        raise DataError(f"{path} is a grid of {shape[0]} x {shape[1]} without row and column names.", _DOWN)
    down, across = AXES if len(rows) == shape[0] else AXES[::-1]
    labels = whole(columns.column(0)) if index else None
    labels = labels or list(range(first, first + len(rows)))
    grid = TableColumns(
        (down, *(f"{across}_{first + k}" for k in range(len(names)))),
        [(label, *row) for label, row in zip(labels, rows, strict=True)], at, columns.seen,
    )  # fmt: skip
    return _by_axis(grid, down, across, _axis_columns(grid, across, digits=False))


def _fits(rows: Sequence[Sequence[object]], shape: Shape) -> bool:
    sides = (len(rows), len(rows[0]) if rows else 0)
    return sides in (shape, shape[::-1])


def own_file(columns: TableColumns) -> TableColumns | None:
    """A scores.csv that a report wrote, as head, `suite/measure/task` and value; None for any other table.

    Its intervals, p and lines are no measures, and an imported score has none.
    """
    names = list(columns.names)
    if not {*_KEY, "layer", "head", "value"} <= set(names):
        return None
    kept = [name for name in ("head", "layer", "head_index") if name in names] + ["value"]
    rows = [
        ("/".join(str(row[names.index(part)]) for part in _KEY), *(row[names.index(name)] for name in kept))
        for row in columns.rows
    ]
    if len({row[0] for row in rows}) == 1:  # one score: the column of values has its name
        rows, names, kept = [row[1:] for row in rows], [], [*kept[:-1], str(rows[0][0])]
    else:
        names = ["measure"]
    seen = ", ".join(part for part in (columns.seen, "a report's scores.csv, its values alone") if part)
    return TableColumns((*names, *kept), rows, columns.at, seen)


Groups = list[tuple[str, list[int]]]


def groups(path: Path, columns: TableColumns, placing: Placing) -> tuple[Groups, int | None]:
    """Rows by measure, and the column of words that names it; all rows under "" where each head stands once.

    DataError where heads stand twice and no one column of words tells them apart.
    """
    rows = list(range(len(columns.rows)))
    first: dict[Head, int] = {}
    twice = next((i for i in rows if first.setdefault(placing.places[i], i) != i), None)
    if twice is None and not (columns.shape and "measure" in columns.names):
        return [("", rows)], None
    apart = [i for i in range(len(columns.names)) if i not in placing.used and _tells_apart(columns, placing, i)]
    words = [i for i in apart if is_text(columns.column(i))]
    named = [i for i in words if re.sub("[^a-z]", "", columns.names[i].lower()) in _MEASURE]
    heads, by = len(first), {i: len(set(columns.column(i))) for i in words}
    chosen = named or [i for i in words if by[i] * heads == len(rows)]
    if len(chosen) == 1:
        measures = dict.fromkeys(str(cell) for cell in columns.column(chosen[0]))
        return [(m, [i for i in rows if str(columns.rows[i][chosen[0]]) == m]) for m in measures], chosen[0]
    twice = twice or 0
    at, before = columns.at[twice], columns.at[first[placing.places[twice]]]
    problem = f"{path}, {at}: {head_name(*placing.places[twice])} is already in {before}; expected each head once."
    raise DataError(problem, _hint([columns.names[i] for i in (chosen or apart)]))


def _tells_apart(columns: TableColumns, placing: Placing, column: int) -> bool:
    pairs = {(place, str(row[column])) for place, row in zip(placing.places, columns.rows, strict=True)}
    cells = columns.column(column)
    return len(pairs) == len(columns.rows) and (is_text(cells) or whole(cells) is not None)


def _hint(apart: list[str]) -> str:
    if not apart:
        return ""
    names = " or ".join(repr(name) for name in apart[:3])
    return f"Column {names} differs between them: keep one row per head, or call the column of measures 'measure'."


MOST_BYTES = 200_000_000
MOST_MEASURES = 100  # of a table with a row per head and measure
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# What numpy raises for a header that is no header: it is parsed as Python.
_BAD_HEADER = (ValueError, EOFError, OverflowError, TokenError, SyntaxError, RecursionError, MemoryError)
NO_PARQUET = "Type: pip install 'reportgen[parquet]', or save the table as CSV."


def read(path: Path, shape: tuple[int, int]) -> list[TableColumns]:
    """The readings of the table in `path`, by its ending: more than one where more than one separator would do.

    DataError: no such file, no such format, or not readable as what it says.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: expected the extension {', '.join(READERS)}.", "Save the table as one of them.")
    with readable(path, "Give the path of a table of scores.", most=MOST_BYTES):
        return reader(path, shape)


def _csv(path: Path, shape: tuple[int, int]) -> list[TableColumns]:
    """The table by every separator that its header has and every row keeps to."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 CSV: {error}.", "Save it as comma-separated UTF-8.") from error
    if not text.strip():
        raise DataError(f"{path} is empty.", "Expected a header line, then one row per head.")
    wide: list[TableColumns] = []
    single: list[TableColumns] = []
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


def _separated(path: Path, text: str, separator: str, word: str) -> TableColumns:
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
    return TableColumns(
        names, rows, [f"row {number}" for number, _ in filled[1:]], word if len(names) > 1 else "one column"
    )


def _check_single(path: Path, columns: TableColumns) -> None:
    """A table of one column that is several by a separator that is not read."""
    first = str(columns.rows[0][0]) if columns.rows else ""
    for separator, word in ((None, "spaces"), ("|", "vertical bars"), (":", "colons")):
        cells = first.split(separator)
        alike = len(columns.names[0].split(separator)) == len(cells) > 1
        if alike and any(number(cell) is not None for cell in cells):
            raise DataError(f"{path}: its columns are separated by {word}.", "Save it with commas, semicolons or tabs.")


def _parquet(path: Path, shape: tuple[int, int]) -> list[TableColumns]:
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


def _npy(path: Path, shape: tuple[int, int]) -> list[TableColumns]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that Python 2 wrote it is no matter
            array = open_memmap(path, mode="r")  # reads the header alone, and refuses Python objects
    except _BAD_HEADER as error:
        raise DataError(
            f"{path} is not an NPY file of plain numbers: {error}.", "Save one: np.save(path, values)."
        ) from error
    if array.dtype.names:
        _few(path, array.size, shape)
        return [plain(array.dtype.names, [tuple(row) for row in array.ravel().tolist()], 1)]
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path} holds {array.dtype}, expected numbers.", "Save it as float32.")
    return [_plain(path, array, shape)]


def _plain(path: Path, array: np.ndarray[Any, Any], shape: tuple[int, int]) -> TableColumns:
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


def _grid(array: np.ndarray[Any, Any], shape: tuple[int, int]) -> TableColumns:
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


READERS: dict[str, Callable[[Path, tuple[int, int]], list[TableColumns]]] = {
    ".csv": _csv, ".tsv": _csv, ".parquet": _parquet, ".npy": _npy
}  # fmt: skip
