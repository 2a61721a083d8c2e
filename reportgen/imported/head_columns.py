"""Which head every row of a table is: by columns of layers and heads, by names, or by order.

Row order is the last resort. It is refused if a column contradicts it: the table was then sorted by something else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reportgen.errors import DataError, one_line
from reportgen.scores import Head

# A table as plain columns, and what its cells and column names can mean: numbers, layers, heads, head names.

_GAPS = {"", "nan", "na", "n/a", "null", "none"}
# What pandas and R call an index without a name, and what people call one.
_INDEX = re.compile(r"unnamed: \d+(\.\d+)?|__index_level_\d+__|index|idx|id|row|row[._ ]?(names?|number)")
_ENDINGS = ("", "s", "idx", "index", "id", "no", "num", "number")
_ROLES = {"l": "layer", "h": "head"} | {f"{role}{end}": role for role in ("layer", "head") for end in _ENDINGS}
_NAMED = {"name", "headname", "head", "heads", "headid", "attentionhead", "component", "label"}
# L9H6, l9.h6, a9.h6, 9H6, layer_9_head_6, "Layer 9, head 6"; also within a longer name such as gpt2/L9H6.
_HEAD = re.compile(
    r"(?<![a-z0-9])(?:layer|l|a)?[ _.-]?(\d{1,4})[ _.:,-]{0,2}h(?:ead)?[ _.-]?(\d{1,4})(?![a-z0-9])", re.I
)
_TUPLE = re.compile(r"[(\[]\s*(\d{1,4})\s*,\s*(\d{1,4})\s*[)\]]")  # (9, 6)
_PAIR = re.compile(r"(\d{1,4})\s*[.,:]\s*(\d{1,4})")  # 9.6, in a column of names alone


@dataclass(frozen=True)
class TableColumns:
    """A table as read: `rows[i][j]` belongs to `names[j]` and stands `at[i]` ("row 3").

    seen   how it was separated
    shape  in words, where a grid or a column per head was turned into rows with columns `layer` and `head`
    """

    names: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    at: Sequence[str]
    seen: str = ""
    shape: str = ""

    def column(self, index: int) -> list[object]:
        """The cells of one column."""
        return [row[index] for row in self.rows]


def plain(names: Sequence[str], rows: Sequence[Sequence[object]], first: int, seen: str = "") -> TableColumns:
    """Columns whose rows are numbered from `first`."""
    return TableColumns(tuple(names), rows, [f"row {number}" for number in range(first, first + len(rows))], seen)


def role(name: str) -> str:
    """`layer` or `head` for the usual names of such a column in either case (layer_idx, headIndex, l, H), else ""."""
    return _ROLES.get(re.sub(r"[^a-z0-9]", "", name.lower()), "")


def may_name(name: str) -> bool:
    """Whether a column of this name may hold names of heads in a short form such as 9.6."""
    return re.sub(r"[^a-z0-9]", "", name.lower()) in _NAMED


def is_index_name(name: str) -> bool:
    """Whether a column has the name of an index that was saved along, or none."""
    return not name or bool(_INDEX.fullmatch(name.lower()))


def head_of(cell: object, short: bool = False) -> Head | None:
    """The head that a cell names; `short`: also as 9.6. None where it names none or more than one."""
    if not isinstance(cell, str):
        return None
    found = _HEAD.findall(cell)
    if not found:
        match = _TUPLE.fullmatch(cell.strip()) or (_PAIR.fullmatch(cell.strip()) if short else None)
        found = [match.groups()] if match else []
    return (int(found[0][0]), int(found[0][1])) if len(found) == 1 else None


def all_heads(name: str, cells: Sequence[object], short: bool) -> list[Head] | None:
    """The heads that all cells of a column name; None where any names none. `short`: 9.6 will do in a column of names.

    Whole numbers that became 9.0 are no names: some head must be another than head 0.
    """
    short = short and may_name(name)
    heads = [head for cell in cells if (head := head_of(cell, short)) is not None]
    if not heads or len(heads) < len(cells):
        return None
    return None if all(h == 0 for _, h in heads) and not all(names_heads(cell) for cell in cells) else heads


def names_heads(cell: object) -> bool:
    """Whether a cell has at least one head's name in it."""
    return isinstance(cell, str) and bool(_HEAD.search(cell) or _TUPLE.fullmatch(cell.strip()))


def index_of(cell: object, of: str) -> int | None:
    """A whole number of 0 or more, also as `layer 3`, `L3`, `head_2`; None for anything else. `of`: layer or head."""
    if isinstance(cell, str):
        match = re.fullmatch(rf"(?:{of}|{of[0]})[ _.-]?(\d{{1,9}})", cell.strip(), re.I)
        if match:
            return int(match[1])
    value = number(cell)
    return None if value is None or not value.is_integer() or value < 0 else int(value)


def number(cell: object) -> float | None:
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


def whole(cells: Sequence[object]) -> list[int] | None:
    """The cells as whole numbers; None where any is something else."""
    found = [number(cell) for cell in cells]
    if not found or any(value is None or not value.is_integer() for value in found):
        return None
    return [int(value) for value in found if value is not None]


def is_text(cells: Sequence[object]) -> bool:
    """Whether every cell is a word: neither empty nor a number."""
    return all(isinstance(cell, str) and number(cell) is None for cell in cells)


def shown(cell: object) -> str:
    """A cell quoted for a message, cut short."""
    text = one_line(str(cell))
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


_COMMA = re.compile(r"[-+]?\d*,\d+(e[-+]?\d+)?", re.I)
_POINT = re.compile(r"[-+]?\d*\.\d+(e[-+]?\d+)?", re.I)
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")


def decimal_points(place: str, columns: TableColumns) -> TableColumns:
    """The table with 0,5 read as 0.5. DataError where both signs stand in it, or 1,234 can be two numbers."""
    commas = [
        (at, c) for at, row in zip(columns.at, columns.rows, strict=True) for c in row if _COMMA.fullmatch(str(c))
    ]
    if not commas:
        return columns
    points = [
        (at, c) for at, row in zip(columns.at, columns.rows, strict=True) for c in row if _POINT.fullmatch(str(c))
    ]
    if points:
        raise DataError(
            f"{place}, {commas[0][0]}: {shown(commas[0][1])} with a decimal comma, but {points[0][0]} has "
            f"{shown(points[0][1])} with a point.", "Use only one of them."
        )  # fmt: skip
    if all(_THOUSANDS.fullmatch(str(cell)) for _, cell in commas):
        raise DataError(
            f"{place}, {commas[0][0]}: {shown(commas[0][1])} can be a decimal comma or a thousands separator.",
            "Save it with decimal points.",
        )
    rows = [[str(c).replace(",", ".") if _COMMA.fullmatch(str(c)) else c for c in row] for row in columns.rows]
    return replace(columns, rows=rows, seen=f"{columns.seen}, decimal commas")


Shape = tuple[int, int]
BASES = {"": (0, 0), "0": (0, 0), "1": (1, 1), "layer": (1, 0), "head": (0, 1)}  # what layers and heads count from
AXES = ("layer", "head")
_LEAST = 3  # layers or heads from which a column that has each equally often cannot be chance
NAME_THEM = "Give the columns layer and head."


@dataclass(frozen=True)
class Placing:
    """The head of every row, the columns that gave it, and a description of the reading."""

    places: list[Head]
    used: frozenset[int]
    how: str


def place(path: Path, columns: TableColumns, shape: Shape, base: str) -> Placing:
    """The head of every row. DataError for none or more than one reading, and for heads that are not on the grid."""
    by = {axis: [i for i, name in enumerate(columns.names) if role(name) == axis] for axis in AXES}
    named = _named(columns, by)
    if named:
        return _by_name(path, columns, shape, base, named, by)
    if not columns.rows:
        raise DataError(f"{path} has no rows.", "Give one row per head.")
    if by["layer"] and by["head"]:
        return _by_columns(path, columns, shape, base, by)
    if by["layer"] or by["head"]:
        raise DataError(f"{path} has only one of the columns layer and head.", "Give both, or neither.")
    return _in_order(path, columns, shape, base)


def index_columns(columns: TableColumns) -> set[int]:
    """An index that was saved along, of row numbers or nothing at all: no measure, but it may say that rows moved."""
    found = set()
    for i, name in enumerate(columns.names):
        cells = columns.column(i)
        empty = not name and all(cell in ("", None) for cell in cells)  # the separator at the end of every line
        numbers = whole(cells)
        rows = is_index_name(name) and (name or i == 0) and numbers is not None and len(set(numbers)) == len(numbers)
        if empty or (rows and min(numbers or [0]) >= 0):
            found.add(i)
    return found


def _named(columns: TableColumns, by: dict[str, list[int]]) -> dict[int, list[Head]]:
    """The columns whose cells all name a head; beside layer and head, only those that are called names."""
    both = bool(by["layer"] and by["head"])
    found = {}
    for i, name in enumerate(columns.names):
        heads = all_heads(name, columns.column(i), short=not by["layer"])
        if heads is not None and (may_name(name) or not both):
            found[i] = heads
    return found


def _by_name(
    path: Path, columns: TableColumns, shape: Shape, base: str, named: dict[int, list[Head]], by: dict[str, list[int]]
) -> Placing:
    first, raw = next(iter(named.items()))
    name = columns.names[first]
    for k, axis in enumerate(AXES):
        for i in set(by[axis]) - set(named):
            cells = columns.column(i)
            _check_same(path, columns, name, i, [index_of(c, axis) == h[k] for c, h in zip(cells, raw, strict=True)])
    for i, heads in named.items():
        _check_same(path, columns, name, i, [one == other for one, other in zip(heads, raw, strict=True)])
    places = _on_grid(path, columns.at, raw, shape, base)
    words = f"the names in column {name!r}" if name else "the names in the first column"
    return Placing(places, frozenset({*named, *by["layer"], *by["head"]}), f"heads by {words}{_counted(base)}")


def _check_same(path: Path, columns: TableColumns, name: str, other: int, same: Sequence[bool]) -> None:
    """DataError at the first row where a column says another head than column `name` does."""
    if all(same):
        return
    at, cell = columns.at[same.index(False)], columns.column(other)[same.index(False)]
    problem = (
        f"{path}, {at}: column {columns.names[other]!r} has {shown(cell)}, but column {name!r} names another head."
    )
    raise DataError(problem, "Correct or remove one of them.")


def _by_columns(path: Path, columns: TableColumns, shape: Shape, base: str, by: dict[str, list[int]]) -> Placing:
    for axis in AXES:
        first, *others = by[axis]
        if any(columns.column(i) != columns.column(first) for i in others):
            names = " and ".join(repr(columns.names[i]) for i in by[axis])
            raise DataError(f"{path}: columns {names} can both be the {axis}.", "Rename all but one.")
    layer, head = by["layer"][0], by["head"][0]
    raw = []
    for at, row in zip(columns.at, columns.rows, strict=True):
        pair = [index_of(row[i], axis) for i, axis in ((layer, "layer"), (head, "head"))]
        for i, axis, value, count in zip((layer, head), AXES, pair, shape, strict=True):
            if value is None:
                raise _outside(path, at, axis, row[i], count, BASES[base][AXES.index(axis)])
        raw.append((pair[0] or 0, pair[1] or 0))
    places = _on_grid(path, columns.at, raw, shape, base)
    how = columns.shape or f"heads by the columns {columns.names[layer]!r} and {columns.names[head]!r}"
    how += _counted(base)
    return Placing(places, frozenset((*by["layer"], *by["head"])), how)


def _on_grid(path: Path, at: Sequence[str], raw: Sequence[Head], shape: Shape, base: str) -> list[Head]:
    """The heads counted from 0. DataError for those outside; where they count from 1, with the option that says so."""
    if not base:
        _check_base(path, raw, shape)
    from_ = BASES[base]
    for where, pair in zip(at, raw, strict=True):
        for axis, value, count, first in zip(AXES, pair, shape, from_, strict=True):
            if not 0 <= value - first < count:
                raise _outside(path, where, axis, value, count, first)
    return [(layer - from_[0], head - from_[1]) for layer, head in raw]


def _outside(path: Path, at: str, axis: str, cell: object, count: int, first: int) -> DataError:
    hint = f"--{axis}s {count} is the number of {axis}s."
    if first and cell in (0, "0"):
        hint = f"Leave --base out if its {axis}s count from 0."
    problem = f"{path}, {at}: {axis} {shown(cell)}, expected a whole number from {first} to {count - 1 + first}."
    return DataError(problem, hint)


def _check_base(path: Path, raw: Sequence[Head], shape: Shape) -> None:
    """DataError where layers or heads can only count from 1: no 0 among them, and as many as there are."""
    ends = [(min(pair[k] for pair in raw), max(pair[k] for pair in raw)) for k in (0, 1)] if raw else []
    ones = [low >= 1 and high == count for (low, high), count in zip(ends, shape, strict=False)]
    if not any(ones) or any(high > count for (_, high), count in zip(ends, shape, strict=True)):
        return
    if any(high == count and not one for (_, high), count, one in zip(ends, shape, ones, strict=True)):
        return  # the other axis reaches too far although it has a 0
    said = " and ".join(
        f"{axis}s from 1 ({low} to {high})" for axis, (low, high), one in zip(AXES, ends, ones, strict=True) if one
    )
    unsure = all(low >= 1 for low, _ in ends) and not all(ones)
    option = "1" if all(low >= 1 for low, _ in ends) else AXES[ones.index(True)]
    other = f", or --base {AXES[ones.index(True)]} if its {AXES[ones.index(False)]}s count from 0" if unsure else ""
    raise DataError(f"{path} counts {said}; reportgen counts from 0.", f"Add --base {option}{other}.")


def _counted(base: str) -> str:
    words = {"1": "layers and heads", "layer": "layers", "head": "heads"}.get(base, "")
    return f", {words} counted from 1" if words else ""


def _in_order(path: Path, columns: TableColumns, shape: Shape, base: str) -> Placing:
    layers, heads = shape
    if base not in ("", "0"):
        raise DataError(f"--base {base}: no column or name in {path} gives layers or heads.", NAME_THEM)
    if len(columns.rows) != layers * heads:
        raise DataError(
            f"{path} has {len(columns.rows):,} rows, expected {layers} layers x {heads} heads = {layers * heads:,} in "
            "layer-major order.",
            "Or give the columns layer and head.",
        )
    places = [(layer, head) for layer in range(layers) for head in range(heads)]
    used = _agreeing(path, columns, places, shape)
    return Placing(places, frozenset(used), "heads by their order, layer 0 first")


def _agreeing(path: Path, columns: TableColumns, places: list[Head], shape: Shape) -> set[int]:
    """The columns that say the same as the order does. DataError for one that says something else."""
    whole_ = {i: values for i in range(len(columns.names)) if (values := whole(columns.column(i))) is not None}
    for i, name in enumerate(columns.names):
        cells = columns.column(i)
        rows_named = (may_name(name) or is_index_name(name)) and is_text(cells)  # by something else than L9H6
        if rows_named or any(names_heads(cell) for cell in cells):
            at, cell = next((a, c) for a, c in zip(columns.at, cells, strict=True) if head_of(c) is None)
            said = f"{path}, {at}: {shown(cell)} in column {name or 1!r} does not name one head"
            raise DataError(f"{said}.", "Name the heads like L9H6, or give the columns layer and head.")
    index = index_columns(columns)
    for i, values in whole_.items():
        words = columns.names[i] or "without a name"
        moved = values != sorted(values) if i in index else _sorted_by(words, values)
        if moved or any(_shuffled(values, [p[k] for p in places], shape[k]) for k in (0, 1)):
            raise DataError(
                f"{path} names no heads, and its column {words!r} ({', '.join(map(str, values[:4]))}, ...) says that "
                "its rows are not in layer-major order.", f"{NAME_THEM[:-1]}, or remove that column."
            )  # fmt: skip
    return _pairs(path, columns, whole_, places)


def _sorted_by(name: str, values: list[int]) -> bool:
    """A permutation of the row numbers: an index out of order, or ranks in order, show a table that was sorted."""
    count = len(values)
    if count < 4 or sorted(values) not in (list(range(count)), list(range(1, count + 1))):
        return False
    in_order = values in (sorted(values), sorted(values, reverse=True))
    return in_order if "rank" in name.lower() else values != sorted(values)


def _shuffled(values: list[int], wanted: list[int], count: int) -> bool:
    """Whether a column has every layer (or head) equally often, and not where the order has them."""
    if count < _LEAST:
        return False
    alike = sorted(values) in (sorted(wanted), sorted(value + 1 for value in wanted))
    return alike and values != wanted and values != [value + 1 for value in wanted]


def _pairs(path: Path, columns: TableColumns, whole_: dict[int, list[int]], places: list[Head]) -> set[int]:
    """Two columns that together name every head once, under names that are not known, in the table's order or not."""
    grids = {frozenset(places): 0, frozenset((a + 1, b + 1) for a, b in places): 1}
    for i, layer in whole_.items():
        for j, head in whole_.items():
            pairs = list(zip(layer, head, strict=True))
            base = grids.get(frozenset(pairs)) if i != j and len(set(pairs)) == len(places) else None
            if base is None:
                continue
            if [(a - base, b - base) for a, b in pairs] != places:
                one, two = columns.names[i], columns.names[j]
                raise DataError(
                    f"{path}: columns {one!r} and {two!r} name every head, but not in layer-major order.",
                    "Call them layer and head.",
                )
            return {i, j}
    return set()
