"""A table as plain columns, and what its cells and column names can mean: numbers, layers, heads, head names."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reportgen.errors import DataError, one_line
from reportgen.scores import Head

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
class Columns:
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


def plain(names: Sequence[str], rows: Sequence[Sequence[object]], first: int, seen: str = "") -> Columns:
    """Columns whose rows are numbered from `first`."""
    return Columns(tuple(names), rows, [f"row {number}" for number in range(first, first + len(rows))], seen)


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


def decimal_points(place: str, columns: Columns) -> Columns:
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
            f"{shown(points[0][1])} with a point.", "Save it with one of the two."
        )  # fmt: skip
    if all(_THOUSANDS.fullmatch(str(cell)) for _, cell in commas):
        raise DataError(
            f"{place}, {commas[0][0]}: {shown(commas[0][1])} can be a decimal comma or thousands.",
            "Save it with decimal points.",
        )
    rows = [[str(c).replace(",", ".") if _COMMA.fullmatch(str(c)) else c for c in row] for row in columns.rows]
    return replace(columns, rows=rows, seen=f"{columns.seen}, decimal commas")
