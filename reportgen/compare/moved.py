"""How far two results of one suite on one model are apart, number by number: for `verify` and `compare --fail-over`.

Differences are shares of the largest absolute value that the score (the column, the array) has in the first result, so
that one limit serves scores of any unit; differences of p are taken as they are. Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reportgen.scores import HeadScores, HeadSet, SuiteResult, Table, head_name, parse_head

ALPHA = 0.05
LEAST = 0.01  # scale of a lone number or a column at least: below it, shares would be of rounding errors


@dataclass(frozen=True)
class Moved:
    """One number that is not the same in both results.

    place   key of the score, or "table KEY", "array NAME", "fact NAME", "set KEY"
    what    "value", "low", "high", "p", "line", "n", "held out", a control's name, a column, ...
    head    "L4H1"; empty where the number is of no head
    before, after  the numbers, or words where they are none; None = not computed
    share   |difference| over the largest size of the first result's numbers (p: the difference itself); infinite where
            one has a number and the other none, or where words differ
    """

    place: str
    what: str
    head: str
    before: float | str | None
    after: float | str | None
    share: float

    def words(self) -> str:
        """`my_suite/share/words L4H1 value: 0.5120 before, 0.5300 now (3.5e-02 of the largest)`."""
        where = " ".join(filter(None, (self.place, self.head, self.what)))
        far = "" if math.isinf(self.share) else f" ({self.share:.1e}{'' if self.what == 'p' else ' of the largest'})"
        return f"{where}: {_shown(self.before)} before, {_shown(self.after)} now{far}"


def _shown(value: float | str | None) -> str:
    return "not computed" if value is None else f"{value:.6g}" if isinstance(value, int | float) else str(value)


@dataclass(frozen=True)
class ScoreApart:
    """One score in two results: largest differences, and what moved, furthest first.

    values, ends, p  largest share of the values; of interval ends, line, held-out head and controls; difference of p
    numbers          how many numbers were compared
    crossed          heads with p <= .05 in one result alone
    moved            every head's value that is not the same
    others           the end that moved furthest, and the p
    """

    key: str
    values: float
    ends: float
    p: float
    numbers: int
    crossed: int
    moved: tuple[Moved, ...]
    others: tuple[Moved, ...] = ()


@dataclass(frozen=True)
class SuiteApart:
    """Two results of one suite.

    gone, added  keys of scores that only the first, or only the second, has
    labels       heads that are in a computed set in one result alone
    rest         tables, arrays, facts and stabilities that differ: the furthest number of each, as a share of the
                 column, the array, or of itself
    """

    suite: str
    scores: tuple[ScoreApart, ...]
    gone: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    labels: tuple[Moved, ...] = ()
    rest: tuple[Moved, ...] = ()

    def most(self, name: str) -> float:
        """The largest of the scores' "values", "ends" or "p"."""
        return max((getattr(score, name) for score in self.scores), default=0.0)

    @property
    def furthest(self) -> float:
        """The largest share of the rest."""
        return max((moved.share for moved in self.rest), default=0.0)

    @property
    def numbers(self) -> int:
        return sum(score.numbers for score in self.scores)

    @property
    def crossed(self) -> int:
        return sum(score.crossed for score in self.scores)


def apart(first: SuiteResult, other: SuiteResult) -> SuiteApart:
    """The two results compared: every score, head set, table, array and fact."""
    mine, theirs = ({s.key: s for s in result.scores} for result in (first, other))
    return SuiteApart(
        first.suite,
        tuple(score_apart(score, theirs[key]) for key, score in mine.items() if key in theirs),
        tuple(key for key in mine if key not in theirs),
        tuple(key for key in theirs if key not in mine),
        tuple(_labels(first, other)),
        tuple(sorted(_rest(first, other), key=lambda moved: -moved.share)),
    )


def score_apart(first: HeadScores, other: HeadScores) -> ScoreApart:
    """One score compared, head by head; both are on one grid."""
    scale = _scale(first.values)
    values = _grids(first.key, "value", first.values, other.values, scale)
    ends = [
        moved
        for name in ("low", "high")
        for moved in _grids(first.key, name, getattr(first, name), getattr(other, name), scale)
    ]
    ends += [m for m in _extras(first, other, scale) if m.share > 0]
    p = _grids(first.key, "p", first.p, other.p, 1.0)
    crossed = 0
    if first.p is not None and other.p is not None:
        crossed = int(((first.p <= ALPHA) != (other.p <= ALPHA)).sum())
    grids = (first.values, first.low, first.high, first.p)
    numbers = sum(int(np.isfinite(grid).sum()) for grid in grids if grid is not None)
    others = tuple(one for some in (ends, p) for one in _furthest(some)[:1])
    return ScoreApart(
        first.key, _most(values), _most(ends), _most(p), numbers, crossed, tuple(_furthest(values)), others
    )


def _scale(values: Any) -> float:
    sizes = np.abs(np.asarray(values, dtype=np.float64))
    return float(np.max(sizes, initial=0.0, where=np.isfinite(sizes))) or 1.0


def _most(moved: Sequence[Moved]) -> float:
    return max((one.share for one in moved), default=0.0)


def _furthest(moved: Sequence[Moved]) -> list[Moved]:
    return sorted(moved, key=lambda one: -one.share)


def _grids(key: str, what: str, first: Any, other: Any, scale: float) -> list[Moved]:
    """The heads whose numbers differ; a grid that only one has is one infinite difference."""
    if first is None or other is None:
        return [] if first is other else [Moved(key, what, "", _given(first), _given(other), math.inf)]
    a, b = np.asarray(first, dtype=np.float64), np.asarray(other, dtype=np.float64)
    known = np.isfinite(a) & np.isfinite(b)
    share = np.where(known, np.abs(b - a) / scale, np.where(np.isfinite(a) == np.isfinite(b), 0.0, np.inf))
    return [
        Moved(key, what, head_name(int(i), int(j)), _number(a[i, j]), _number(b[i, j]), float(share[i, j]))
        for i, j in np.argwhere(share > 0)
    ]


def _given(value: object) -> str | None:
    return None if value is None else "given"


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(float(value)) else None


def _share(first: object, other: object, scale: float) -> float:
    """0 where both are the same, else the difference over `scale`; infinite where one is no number.

    Words that are no head's name count for nothing: they describe, and another version may say it otherwise.
    """
    if first == other or (isinstance(first, str) and isinstance(other, str) and not _is_head(first, other)):
        return 0.0
    both = [x for x in (first, other) if isinstance(x, int | float) and not isinstance(x, bool)]
    if len(both) < 2 or not all(math.isfinite(x) for x in both):
        return 0.0 if len(both) == 2 and all(math.isnan(x) for x in both) else math.inf
    return abs(float(both[1]) - float(both[0])) / scale


def _is_head(*words: str) -> bool:
    try:
        return all(parse_head(word) for word in words)
    except ValueError:
        return False


def _extras(first: HeadScores, other: HeadScores, scale: float) -> Iterator[Moved]:
    """n, the line, the held-out head and the controls."""
    yield Moved(first.key, "n", "", first.n, other.n, 0.0 if first.n == other.n else math.inf)
    yield Moved(first.key, "line", "", first.line, other.line, _share(first.line, other.line, scale))
    held = first.held_out, other.held_out
    if held[0] is not None and held[1] is not None and held[0].head == held[1].head:
        for name in ("value", "low", "high", "n"):
            a, b = (getattr(one, name) for one in held)
            yield Moved(first.key, f"held-out {name}", held[0].head, a, b, _share(a, b, scale))
    else:
        a, b = (one.head if one else None for one in held)
        yield Moved(first.key, "held-out head", "", a, b, _share(a, b, scale))
    controls = [{c.name: c.value for c in score.controls} for score in (first, other)]
    for name in dict.fromkeys((*controls[0], *controls[1])):
        a, b = (found.get(name) for found in controls)
        yield Moved(first.key, name, "", a, b, _share(a, b, scale))


# What is not a score: sets, tables, arrays, facts.


def _computed(result: SuiteResult) -> dict[str, HeadSet]:
    return {heads.key: heads for heads in result.head_sets if heads.kind == "computed"}


def _labels(first: SuiteResult, other: SuiteResult) -> Iterator[Moved]:
    mine, theirs = _computed(first), _computed(other)
    for key in dict.fromkeys((*mine, *theirs)):
        inside = [set(found[key].heads) if key in found else set() for found in (mine, theirs)]
        for head in sorted(inside[0] ^ inside[1]):
            words = ("in the set", "not in it") if head in inside[0] else ("not in it", "in the set")
            yield Moved(f"set {key}", "", head_name(*head), *words, math.inf)


def _rest(first: SuiteResult, other: SuiteResult) -> Iterator[Moved]:
    tables = [{table.key: table for table in result.tables} for result in (first, other)]
    for key in dict.fromkeys((*tables[0], *tables[1])):
        yield from _one(_table(key, tables[0].get(key), tables[1].get(key)))
    for name in dict.fromkeys((*first.arrays, *other.arrays)):
        yield from _one(_array(name, first.arrays.get(name), other.arrays.get(name)))
    for name in first.facts.keys() & other.facts.keys():
        yield from _one(_facts(f"fact {name}", "", first.facts[name], other.facts[name]))
    mine, theirs = _computed(first), _computed(other)
    for key in mine.keys() & theirs.keys():
        yield from _one(_facts(f"set {key}", "stability", dict(mine[key].weights), dict(theirs[key].weights)))


def _one(found: Iterator[Moved]) -> list[Moved]:
    """The furthest of them, where any differs."""
    return _furthest([moved for moved in found if moved.share > 0])[:1]


def _table(key: str, first: Table | None, other: Table | None) -> Iterator[Moved]:
    place = f"table {key}"
    if first is None or other is None or len(first.rows) != len(other.rows) or first.columns != other.columns:
        yield Moved(place, "", "", _rows(first), _rows(other), math.inf)
        return
    for i, column in enumerate(first.columns):
        cells = [(a[i], b[i]) for a, b in zip(first.rows, other.rows, strict=True)]
        scale = 1.0 if column.name == "p" else max(LEAST, _scale([a for a, _ in cells if _is_number(a)] or [0.0]))
        for row, (a, b) in zip(first.rows, cells, strict=True):
            yield Moved(place, column.name, str(row[0] or ""), a, b, _share(a, b, scale))


def _rows(table: Table | None) -> str | None:
    return f"{len(table.rows)} rows, {len(table.columns)} columns" if table else None


def _array(name: str, first: Any, other: Any) -> Iterator[Moved]:
    place = f"array {name}"
    if first is None or other is None or first.values.shape != other.values.shape or first.labels != other.labels:
        shapes = [None if array is None else str(array.values.shape) for array in (first, other)]
        yield Moved(place, "", "", shapes[0], shapes[1], math.inf)
        return
    a, b = (array.values.astype(np.float64).ravel() for array in (first, other))
    known, scale = np.isfinite(a) & np.isfinite(b), _scale(a)
    share = np.where(
        known, np.abs(np.where(known, b - a, 0)) / scale, np.where(np.isfinite(a) == np.isfinite(b), 0, np.inf)
    )
    if share.size:
        at = int(share.argmax())
        where = ",".join(str(int(i)) for i in np.unravel_index(at, first.values.shape))
        yield Moved(place, f"[{where}]", "", _number(a[at]), _number(b[at]), float(share[at]))


def _facts(place: str, what: str, first: object, other: object) -> Iterator[Moved]:
    """Facts compared down to their numbers and words; the numbers of one list share one scale.

    What only one of them has is left out: another version of the suite's records, not another number.
    """
    if isinstance(first, Mapping) and isinstance(other, Mapping):
        for name in first.keys() & other.keys():
            yield from _facts(place, f"{what}.{name}".strip("."), first[name], other[name])
    elif isinstance(first, list | tuple) and isinstance(other, list | tuple) and len(first) == len(other):
        numbers = [x for x in first if _is_number(x)] or [0.0]
        for i, (a, b) in enumerate(zip(first, other, strict=True)):
            if isinstance(a, Mapping | list | tuple):
                yield from _facts(place, f"{what}[{i}]", a, b)
            else:
                yield Moved(place, f"{what}[{i}]", "", _plain(a), _plain(b), _share(a, b, max(LEAST, _scale(numbers))))
    else:
        scale = max(LEAST, _scale([first])) if _is_number(first) else 1.0
        yield Moved(place, what, "", _plain(first), _plain(other), _share(first, other, scale))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: object) -> float | str | None:
    if value is None or isinstance(value, int | float):
        return value if not isinstance(value, bool) else str(value)
    return str(value)[:80]
