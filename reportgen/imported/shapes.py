"""Tables of other shapes as one row per head: a column per head or per layer, and a row per head and measure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from reportgen.errors import DataError
from reportgen.imported.columns import Columns, head_of, index_of, is_index_name, is_text, number, role, whole
from reportgen.imported.places import AXES, Placing, Shape
from reportgen.scores import Head, head_name

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
_DOWN = "Call the first column layer where rows are layers, head where they are heads."


def turned(path: Path, columns: Columns, shape: Shape) -> Columns | None:
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


def _axis_columns(columns: Columns, axis: str, *, digits: bool) -> dict[int, int]:
    """Columns called H0, head_0 (or 0, with `digits`) and so on, with their number."""
    pattern = rf"(?:{axis}|{axis[0]})[ _.-]?(\d{{1,4}})" + (r"|(\d{1,4})" if digits else "")
    found = {i: match for i, name in enumerate(columns.names) if (match := re.fullmatch(pattern, name, re.I))}
    return {i: int(next(g for g in match.groups() if g is not None)) for i, match in found.items()}


def _by_heads(path: Path, columns: Columns, cells: dict[int, Head]) -> Columns:
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
    return Columns(kept, rows, at, columns.seen, f"a column per head, {_ends(columns, cells)}")


def _ends(columns: Columns, found: Iterable[int]) -> str:
    names = [columns.names[i] for i in found]
    return f"{names[0]!r} to {names[-1]!r}"


def _by_axis(columns: Columns, down: str, across: str, found: dict[int, int]) -> Columns:
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
    return Columns(names, rows, at, columns.seen, words)


def _labelled(path: Path, columns: Columns, down: str, first: int, shape: Shape) -> Columns:
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
    return Columns((down, *columns.names), rows, columns.at, columns.seen)


def _plain_grid(path: Path, columns: Columns, shape: Shape) -> Columns | None:
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
        raise DataError(f"{problem} or turned.", "Check --layers and --heads.")
    if shape[0] == shape[1]:
        raise DataError(f"{path} is a grid of {shape[0]} x {shape[1]} whose sides are not named.", _DOWN)
    down, across = AXES if len(rows) == shape[0] else AXES[::-1]
    labels = whole(columns.column(0)) if index else None
    labels = labels or list(range(first, first + len(rows)))
    grid = Columns(
        (down, *(f"{across}_{first + k}" for k in range(len(names)))),
        [(label, *row) for label, row in zip(labels, rows, strict=True)], at, columns.seen,
    )  # fmt: skip
    return _by_axis(grid, down, across, _axis_columns(grid, across, digits=False))


def _fits(rows: Sequence[Sequence[object]], shape: Shape) -> bool:
    sides = (len(rows), len(rows[0]) if rows else 0)
    return sides in (shape, shape[::-1])


def own_file(columns: Columns) -> Columns | None:
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
    return Columns((*names, *kept), rows, columns.at, seen)


Groups = list[tuple[str, list[int]]]


def groups(path: Path, columns: Columns, placing: Placing) -> tuple[Groups, int | None]:
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
    problem = f"{path}, {at}: {head_name(*placing.places[twice])} stands in {before} already; expected each head once."
    raise DataError(problem, _hint([columns.names[i] for i in (chosen or apart)]))


def _tells_apart(columns: Columns, placing: Placing, column: int) -> bool:
    pairs = {(place, str(row[column])) for place, row in zip(placing.places, columns.rows, strict=True)}
    cells = columns.column(column)
    return len(pairs) == len(columns.rows) and (is_text(cells) or whole(cells) is not None)


def _hint(apart: list[str]) -> str:
    if not apart:
        return ""
    names = " or ".join(repr(name) for name in apart[:3])
    return f"Column {names} tells them apart: keep one row per head, or call the column of measures 'measure'."
