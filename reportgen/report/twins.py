"""A figure's numbers as tables beside it: what a screen reader, a printout and a doubter need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reportgen.report.parts import Grid
from reportgen.report.text import NOT_COMPUTED, count, number
from reportgen.scores import Cell, Table

Cells = dict[tuple[int, int], Cell]  # (layer, head) -> value

MAX_ROWS = 200
MAX_MATRIX_CELLS = 6_000  # 80 layers x 64 heads, and one panel more of small models


def is_map(data: Table) -> bool:
    """Whether `data` is one value per layer and head (in every group of its word columns)."""
    return bool(matrices(data, limit=None))


def panel_keys(data: Table) -> tuple[str, ...]:
    """The score keys of a map's panels in order, from its column `key`; empty for other figures."""
    names = [c.name for c in data.columns]
    if "key" not in names or not is_map(data):
        return ()
    return tuple(dict.fromkeys(str(row[names.index("key")]) for row in data.rows))


def twins(
    data: Table, labels: Mapping[str, str] | None = None, limit: int | None = MAX_MATRIX_CELLS
) -> tuple[Grid, ...]:
    """Layer x head matrices where `data` is a score map, else its rows, at most 200 of them.

    labels  score key -> printed name, for the titles of panels
    """
    found = matrices(data, limit)
    named = tuple(replace(grid, title=(labels or {}).get(grid.title, grid.title)) for grid in found)
    return named or (rows(data),)


def cell(value: Cell, digits: int) -> str:
    """One cell in print."""
    if value is None:
        return NOT_COMPUTED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value) if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return number(value, digits)
    return value


def rows(table: Table, most: int = MAX_ROWS) -> Grid:
    """A table as it stands, cut after `most` rows."""
    numeric = tuple(_is_numeric(table, i) for i in range(len(table.columns)))
    return Grid(
        title=table.title,
        columns=tuple(f"{c.name} ({c.unit})" if c.unit else c.name for c in table.columns),
        numeric=numeric,
        rows=tuple(
            tuple(cell(v, c.digits) for v, c in zip(row, table.columns, strict=True)) for row in table.rows[:most]
        ),
        caption=table.caption,
        folded=table.folded,
        hidden=max(0, len(table.rows) - most),
    )


def matrices(data: Table, limit: int | None) -> tuple[Grid, ...]:
    """One layer x head matrix per panel; empty where `data` is no such map or has more than `limit` cells."""
    names = [c.name for c in data.columns]
    if "layer" not in names or "head" not in names or not data.rows or (limit and len(data.rows) > limit):
        return ()
    layer, head = names.index("layer"), names.index("head")
    floats = [i for i in range(len(names)) if i not in (layer, head) and _is_float(data, i)]
    if not floats:
        return ()
    value = names.index("value") if "value" in names and names.index("value") in floats else floats[0]
    words = [i for i in range(len(names)) if i not in (layer, head) and _is_word(data, i)]
    for split in (None, *words):
        panels = _panels(data, layer, head, value, split)
        if panels:
            digits = data.columns[value].digits
            return tuple(_matrix(name or data.title, cells, digits) for name, cells in panels.items())
    return ()


def _panels(data: Table, layer: int, head: int, value: int, split: int | None) -> dict[str, Cells]:
    """The cells of each panel, split by one word column; empty where a head would stand twice in a panel."""
    panels: dict[str, Cells] = {}
    for row in data.rows:
        place = (row[layer], row[head])
        if not (isinstance(place[0], int) and isinstance(place[1], int)):
            return {}
        cells = panels.setdefault("" if split is None else str(row[split]), {})
        if place in cells:
            return {}
        cells[place[0], place[1]] = row[value]
    return panels


def _is_numeric(table: Table, column: int) -> bool:
    """Numbers and gaps only, and at least one number; yes and no are words."""
    kinds = {type(row[column]) for row in table.rows} - {type(None)}
    return bool(kinds) and kinds <= {int, float}


def _is_float(data: Table, column: int) -> bool:
    kinds = {type(row[column]) for row in data.rows} - {type(None)}
    return float in kinds and kinds <= {int, float}


def _is_word(data: Table, column: int) -> bool:
    return all(isinstance(row[column], str) for row in data.rows)


def _matrix(title: str, cells: Cells, digits: int) -> Grid:
    layers = sorted({lay for lay, _ in cells})
    heads = sorted({h for _, h in cells})
    return Grid(
        title=title,
        columns=("layer", *(str(h) for h in heads)),
        numeric=(True,) * (len(heads) + 1),
        rows=tuple((str(lay), *(cell(cells.get((lay, h)), digits) for h in heads)) for lay in layers),
        matrix=True,
    )
