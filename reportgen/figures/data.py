"""The tidy numbers behind a score map: the rows the chart is drawn from and the table that goes into the CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reportgen.figures.theme import clean
from reportgen.scores import Cell, Column, FloatGrid, Head, HeadScores, HeadSet, Table, head_name

COLUMNS = (
    Column("key"), Column("layer"), Column("head"), Column("name"), Column("value", digits=4), Column("low", digits=4),
    Column("high", digits=4), Column("n"), Column("p", digits=4), Column("line", digits=4), Column("rank"),
    Column("sets"), Column("note"),
)  # fmt: skip


def marks_of(sets: Sequence[HeadSet]) -> dict[Head, str]:
    """Which sets each head is in: `Name-Mover Heads (wang2022ioi); ...`, an unconfirmed list marked so."""
    words: dict[Head, list[str]] = {}
    for head_set in sets:
        doubt = "" if head_set.verified else ", unconfirmed"
        for head in dict.fromkeys(head_set.heads):
            words.setdefault(head, []).append(clean(f"{head_set.label} ({head_set.source}{doubt})"))
    return {head: "; ".join(names) for head, names in words.items()}


def rows(scores: HeadScores, sets: Sequence[HeadSet] = ()) -> list[dict[str, Any]]:
    """One row per head, layer by layer. `value` is None where nothing was computed; `note` says why, or that the value
    is an estimate."""
    marks, rank = marks_of(sets), {head: i + 1 for i, head in enumerate(scores.ranking())}
    layers, heads = scores.values.shape
    return [_row(scores, (layer, head), rank, marks) for layer in range(layers) for head in range(heads)]


def table(panels: Sequence[tuple[HeadScores, Sequence[HeadSet]]], title: str = "") -> Table:
    """The rows of one or more maps, each with the sets marked on it, under each other, with the columns `COLUMNS`."""
    cells: list[tuple[Cell, ...]] = []
    for scores, sets in panels:
        cells += [(scores.key, *(row[column.name] for column in COLUMNS[1:])) for row in rows(scores, sets)]
    first = panels[0][0]
    return Table(first.key, title or first.label, COLUMNS, tuple(cells))


def _row(scores: HeadScores, at: Head, rank: dict[Head, int], marks: dict[Head, str]) -> dict[str, Any]:
    return {
        "layer": at[0],
        "head": at[1],
        "name": head_name(*at),
        "value": _at(scores.values, at),
        "low": _at(scores.low, at),
        "high": _at(scores.high, at),
        "n": scores.n,
        "p": _at(scores.p, at),
        "line": None if scores.line is None else round6(scores.line),
        "rank": rank.get(at),
        "sets": marks.get(at, ""),
        "note": clean(scores.note(*at)),
    }


def _at(grid: FloatGrid | None, at: Head) -> float | None:
    if grid is None or not np.isfinite(grid[at]):
        return None
    return round6(float(grid[at]))


def round6(value: float) -> float:
    """Six significant digits: what a float32 holds, and short in a file; minus zero is zero."""
    return float(f"{value:.6g}") + 0.0
