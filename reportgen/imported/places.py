"""Which head every row of a table is: by columns of layers and heads, by names, or by order.

Order is the reading of last resort. It is refused where a column contradicts it: the table was sorted by something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reportgen.errors import DataError
from reportgen.imported.columns import (
    Columns,
    all_heads,
    head_of,
    index_of,
    is_index_name,
    is_text,
    may_name,
    names_heads,
    role,
    shown,
    whole,
)
from reportgen.scores import Head

Shape = tuple[int, int]
BASES = {"": (0, 0), "0": (0, 0), "1": (1, 1), "layer": (1, 0), "head": (0, 1)}  # what layers and heads count from
AXES = ("layer", "head")
_LEAST = 3  # layers or heads from which a column that has each equally often cannot be chance
NAME_THEM = "Give the columns layer and head."


@dataclass(frozen=True)
class Placing:
    """The head of every row, the columns that said so, and how it was read, for people."""

    places: list[Head]
    used: frozenset[int]
    how: str


def place(path: Path, columns: Columns, shape: Shape, base: str) -> Placing:
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


def index_columns(columns: Columns) -> set[int]:
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


def _named(columns: Columns, by: dict[str, list[int]]) -> dict[int, list[Head]]:
    """The columns whose cells all name a head; beside layer and head, only those that are called names."""
    both = bool(by["layer"] and by["head"])
    found = {}
    for i, name in enumerate(columns.names):
        heads = all_heads(name, columns.column(i), short=not by["layer"])
        if heads is not None and (may_name(name) or not both):
            found[i] = heads
    return found


def _by_name(
    path: Path, columns: Columns, shape: Shape, base: str, named: dict[int, list[Head]], by: dict[str, list[int]]
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


def _check_same(path: Path, columns: Columns, name: str, other: int, same: Sequence[bool]) -> None:
    """DataError at the first row where a column says another head than column `name` does."""
    if all(same):
        return
    at, cell = columns.at[same.index(False)], columns.column(other)[same.index(False)]
    problem = (
        f"{path}, {at}: column {columns.names[other]!r} has {shown(cell)}, but column {name!r} names another head."
    )
    raise DataError(problem, "Correct one of them, or keep one.")


def _by_columns(path: Path, columns: Columns, shape: Shape, base: str, by: dict[str, list[int]]) -> Placing:
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
    hint = f"--{axis}s {count} says how many {axis}s there are."
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
    raise DataError(f"{path} counts its {said}; reportgen counts from 0.", f"Add --base {option}{other}.")


def _counted(base: str) -> str:
    words = {"1": "layers and heads", "layer": "layers", "head": "heads"}.get(base, "")
    return f", {words} counted from 1" if words else ""


def _in_order(path: Path, columns: Columns, shape: Shape, base: str) -> Placing:
    layers, heads = shape
    if base not in ("", "0"):
        raise DataError(f"--base {base}: no column and no name in {path} counts layers or heads.", NAME_THEM)
    if len(columns.rows) != layers * heads:
        raise DataError(
            f"{path} has {len(columns.rows):,} rows, expected {layers} layers x {heads} heads = {layers * heads:,} in "
            "layer-major order.",
            "Or give the columns layer and head.",
        )
    places = [(layer, head) for layer in range(layers) for head in range(heads)]
    used = _agreeing(path, columns, places, shape)
    return Placing(places, frozenset(used), "heads by their order, layer 0 first")


def _agreeing(path: Path, columns: Columns, places: list[Head], shape: Shape) -> set[int]:
    """The columns that say the same as the order does. DataError for one that says something else."""
    whole_ = {i: values for i in range(len(columns.names)) if (values := whole(columns.column(i))) is not None}
    for i, name in enumerate(columns.names):
        cells = columns.column(i)
        rows_named = (may_name(name) or is_index_name(name)) and is_text(cells)  # by something else than L9H6
        if rows_named or any(names_heads(cell) for cell in cells):
            at, cell = next((a, c) for a, c in zip(columns.at, cells, strict=True) if head_of(c) is None)
            said = f"{path}, {at}: {shown(cell)} in column {name or 1!r} is no name of one head"
            raise DataError(f"{said}.", "Name the heads like L9H6, or give the columns layer and head.")
    index = index_columns(columns)
    for i, values in whole_.items():
        words = columns.names[i] or "without a name"
        moved = values != sorted(values) if i in index else _sorted_by(words, values)
        if moved or any(_shuffled(values, [p[k] for p in places], shape[k]) for k in (0, 1)):
            raise DataError(
                f"{path} names no heads, and its column {words!r} ({', '.join(map(str, values[:4]))}, ...) says that "
                "its rows are not in layer-major order.", f"{NAME_THEM[:-1]}, or take that column out."
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


def _pairs(path: Path, columns: Columns, whole_: dict[int, list[int]], places: list[Head]) -> set[int]:
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
                    f"{path}: columns {one!r} and {two!r} name every head, in another order than layer-major.",
                    "Call them layer and head.",
                )
            return {i, j}
    return set()
