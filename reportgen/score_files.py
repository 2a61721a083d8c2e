"""SuiteResult <-> the two files of a suite: arrays as safetensors, their meaning as JSON. No pickle, no torch.

Tensor names: "scores/<key>/<values|low|high|p|estimated>", "scores/<key>/controls/<name>" and "arrays/<name>". JSON
has no infinity: an open end of a range is null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from reportgen.errors import RunError
from reportgen.scores import (
    Cell,
    Column,
    Control,
    HeadScores,
    HeadSet,
    HeldOut,
    Judged,
    NamedArray,
    NotComputed,
    SuiteResult,
    Table,
)

_DAMAGED = (
    msgspec.DecodeError, SafetensorError, KeyError, ValueError, TypeError, OverflowError, RecursionError, MemoryError,
)  # fmt: skip
_GRIDS = ("values", "low", "high", "p", "estimated", "p_each")


class _Control(msgspec.Struct, frozen=True):
    name: str
    value: float
    bound: bool = False
    meaning: str = ""


class _Score(msgspec.Struct, frozen=True):
    key: str
    label: str
    n: int
    line: float | None
    no_null: str
    range: tuple[float | None, float | None]
    reasons: dict[str, str]
    estimator: str = ""  # runs of 0.1.0 have neither this nor what follows
    threshold: float | None = None
    held_out: HeldOut | None = None
    controls: list[_Control] = []


class SetRecord(msgspec.Struct, frozen=True):
    key: str
    label: str
    heads: list[tuple[int, int]]
    legend: str
    source: str
    rule: str
    kind: str
    verified: bool
    weights: dict[str, float]
    evidence: dict[str, str]
    by_head: dict[str, dict[str, str]] = {}
    score: str = ""


class _Column(msgspec.Struct, frozen=True):
    name: str
    unit: str
    digits: int


class TableRecord(msgspec.Struct, frozen=True):
    key: str
    title: str
    columns: list[_Column]
    rows: list[list[str | int | float | bool | None]]
    caption: str
    folded: bool = False


class _Array(msgspec.Struct, frozen=True):
    dims: list[str]
    labels: dict[str, list[str]]


class _Judged(msgspec.Struct, frozen=True):
    key: str
    test: str
    by_head: dict[str, str]
    replaces: str = ""


class _Stored(msgspec.Struct, frozen=True):
    suite: str
    scores: list[_Score]
    head_sets: list[SetRecord]
    tables: list[TableRecord]
    arrays: dict[str, _Array]
    facts: dict[str, Any]
    notes: list[str]
    not_computed: list[tuple[str, str]]
    judged: list[_Judged] = []


def encode(result: SuiteResult) -> tuple[bytes, bytes]:
    """(meaning as JSON, arrays as safetensors) of a result."""
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for score in result.scores:
        for name in _GRIDS:
            grid = getattr(score, name)
            if grid is not None:
                tensors[f"scores/{score.key}/{name}"] = np.ascontiguousarray(grid)
        for control in score.controls:
            if control.values is not None:
                tensors[_control_grid(score.key, control.name)] = np.ascontiguousarray(control.values)
    for name, array in result.arrays.items():
        tensors[f"arrays/{name}"] = np.ascontiguousarray(array.values)
    stored = _Stored(
        suite=result.suite,
        scores=[
            _Score(
                s.key, s.label, int(s.n), s.line, s.no_null, _finite(s.range), dict(s.reasons), s.estimator,
                s.threshold, s.held_out, [_Control(c.name, float(c.value), c.bound, c.meaning) for c in s.controls],
            )
            for s in result.scores
        ],
        head_sets=[set_record(s) for s in result.head_sets],
        tables=[table_record(t) for t in result.tables],
        arrays={n: _Array(list(a.dims), {d: list(v) for d, v in a.labels.items()}) for n, a in result.arrays.items()},
        facts=dict(result.facts),
        notes=list(result.notes),
        not_computed=[(n.what, n.why) for n in result.not_computed],
        judged=[_Judged(j.key, j.test, dict(j.by_head), j.replaces) for j in result.judged],
    )  # fmt: skip
    meaning = msgspec.json.format(msgspec.json.encode(stored, enc_hook=_numpy, order="deterministic"), indent=1)
    return meaning, save(tensors)


def decode(meaning: bytes, arrays: bytes, where: str) -> SuiteResult:
    """The result from the bytes of the two files; RunError names `where` if they are invalid."""
    try:
        stored = msgspec.json.decode(meaning, type=_Stored)
        tensors = load(arrays)
        return _build(stored, tensors)
    except _DAMAGED as error:
        raise RunError(
            f"{where} is damaged: {error}.", "Run the suite again: 'reportgen run' with the same --out."
        ) from error


def _build(stored: _Stored, tensors: Mapping[str, np.ndarray[Any, Any]]) -> SuiteResult:
    return SuiteResult(
        suite=stored.suite,
        scores=tuple(_score(s, tensors) for s in stored.scores),
        head_sets=tuple(head_set(s) for s in stored.head_sets),
        tables=tuple(table(t) for t in stored.tables),
        arrays={
            name: NamedArray(tuple(a.dims), tensors[f"arrays/{name}"], {d: tuple(v) for d, v in a.labels.items()})
            for name, a in stored.arrays.items()
        },
        facts=stored.facts,
        notes=tuple(stored.notes),
        not_computed=tuple(NotComputed(*n) for n in stored.not_computed),
        judged=tuple(Judged(j.key, j.test, j.by_head, j.replaces) for j in stored.judged),
    )  # fmt: skip


def table_record(t: Table) -> TableRecord:
    """A table in stored form."""
    columns = [_Column(c.name, c.unit, c.digits) for c in t.columns]
    return TableRecord(t.key, t.title, columns, [[_cell(c) for c in row] for row in t.rows], t.caption, t.folded)


def table(t: TableRecord) -> Table:
    """A stored table; ValueError if a row does not fit its columns."""
    columns = tuple(Column(c.name, c.unit, c.digits) for c in t.columns)
    return Table(t.key, t.title, columns, tuple(tuple(row) for row in t.rows), t.caption, t.folded)


def set_record(s: HeadSet) -> SetRecord:
    """A head set in stored form."""
    heads = [(int(layer), int(head)) for layer, head in s.heads]
    weights = {name: float(weight) for name, weight in s.weights.items()}
    by_head = {rung: dict(own) for rung, own in s.by_head.items()}
    return SetRecord(
        s.key, s.label, heads, s.legend, s.source, s.rule, s.kind, s.verified, weights, dict(s.evidence), by_head,
        s.score,
    )  # fmt: skip


def head_set(s: SetRecord) -> HeadSet:
    """A stored head set."""
    return HeadSet(
        s.key, s.label, tuple(s.heads), s.legend, s.source, s.rule, s.kind, s.verified, s.weights, s.evidence,
        by_head=s.by_head, score=s.score,
    )  # fmt: skip


def _score(s: _Score, tensors: Mapping[str, np.ndarray[Any, Any]]) -> HeadScores:
    grids = {name: tensors.get(f"scores/{s.key}/{name}") for name in _GRIDS}
    values = grids["values"]
    if values is None:
        raise KeyError(f"scores/{s.key}/values")
    low = -math.inf if s.range[0] is None else s.range[0]
    high = math.inf if s.range[1] is None else s.range[1]
    return HeadScores(
        s.key, s.label, values, s.n, grids["low"], grids["high"], grids["p"], s.line, s.no_null, (low, high), s.reasons,
        grids["estimated"], s.estimator, s.threshold, s.held_out,
        tuple(
            Control(c.name, c.value, tensors.get(_control_grid(s.key, c.name)), c.bound, c.meaning) for c in s.controls
        ),
        grids["p_each"],
    )  # fmt: skip


def _control_grid(key: str, name: str) -> str:
    return f"scores/{key}/controls/{name}"


def _finite(bounds: tuple[float, float]) -> tuple[float | None, float | None]:
    low, high = bounds
    return (low if math.isfinite(low) else None, high if math.isfinite(high) else None)


def _cell(cell: Any) -> Cell:
    """NaN becomes None: a table cell that was not computed is empty, and JSON has no NaN."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _numpy(value: object) -> object:
    """Facts may hold numpy scalars and arrays."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} can't be stored")
