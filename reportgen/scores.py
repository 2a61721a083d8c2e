"""The currency of the program: what a suite hands over, and what a run folder keeps.

Plain dataclasses over numpy; nothing here knows torch, altair or the disk.

- `values[layer, head]` is float32 and NaN means "not computed", never 0 and never -1; a NaN has a reason.
- Heads are query heads, always, also where keys and values are grouped.
- A suite that has no interval, null or line says so in `no_null`; nothing is left silently empty.
- A value that is an estimate where others are exact is marked as one, has no interval and no p, and takes part in no
  ranking and no count beyond a null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from reportgen.rows import Rows, rows_of

FloatGrid = npt.NDArray[np.float32]  # [layer head]
BoolGrid = npt.NDArray[np.bool_]  # [layer head]
Head = tuple[int, int]  # (layer, head), both 0-based

EVERY_HEAD = "*"  # the key in `HeadScores.reasons` that stands for all heads without an entry of their own
_KEY = re.compile(r"[a-z0-9_]+/[a-z0-9_]+/[A-Za-z0-9_.-]+")
_HEAD_NAME = re.compile(r"L(\d{1,4})H(\d{1,4})")


class BadScores(ValueError):
    """Scores that are not what they say; `rule` is "shape", "range", "null" or "NaN"."""

    def __init__(self, rule: str, problem: str) -> None:
        self.rule = rule
        super().__init__(problem)


def head_name(layer: int, head: int) -> str:
    """`L9H6` for layer 9, head 6."""
    return f"L{layer}H{head}"


def parse_head(name: str) -> Head:
    """The (layer, head) of `L9H6`; ValueError for anything else."""
    match = _HEAD_NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"not a head name: {name!r} (expected e.g. L9H6)")
    return int(match[1]), int(match[2])


@dataclass(frozen=True, eq=False, repr=False)
class HeadScores:
    """One number per attention head, for one measure of one task.

    key      "suite/measure/task", e.g. "relations/score/name_copying"
    label    the words on the colour bar, e.g. "Name Copying score"
    values   [layer head] float32; NaN = not computed
    n        examples behind each value (pairs, prompts, cells); 0 = not given (imported scores)
    low,high [layer head] 95 % interval, or None
    p        [layer head] family-wise adjusted p-value per head, or None
    line     one family-wise threshold in score units, only where a single line is valid for every head
    no_null  why there is no p and no line; empty when there is one
    range    smallest and largest possible value; an infinity where there is no bound
    reasons  head name (or "*" for all) -> why its value is NaN
    estimated  [layer head] heads whose value is an estimate while the others are exact; None where there is none
    estimator  what estimated them, e.g. "attribution"
    """

    key: str
    label: str
    values: FloatGrid
    n: int
    low: FloatGrid | None = None
    high: FloatGrid | None = None
    p: FloatGrid | None = None
    line: float | None = None
    no_null: str = ""
    range: tuple[float, float] = (-math.inf, math.inf)
    reasons: Mapping[str, str] = field(default_factory=dict)
    estimated: BoolGrid | None = None
    estimator: str = ""

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError(f"key {self.key!r} is not suite/measure/task")
        if self.values.ndim != 2 or self.values.dtype != np.float32:
            raise BadScores(
                "shape", f"{self.key}: values are {self.values.dtype} {self.values.shape}, want float32 [layer head]"
            )
        for name in ("low", "high", "p"):
            grid = getattr(self, name)
            if grid is not None and (grid.shape != self.values.shape or grid.dtype != np.float32):
                raise BadScores(
                    "shape", f"{self.key}: {name} is {grid.dtype} {grid.shape}, want float32 {self.values.shape}"
                )
        if self.p is None and self.line is None and not self.no_null:
            raise BadScores("null", f"{self.key}: neither p, line nor a reason for having no null")
        self._check_values()
        self._check_estimates()

    def _check_values(self) -> None:
        if np.isinf(self.values).any():
            raise BadScores("range", f"{self.key}: infinite values")
        low, high = self.range
        finite = self.values[np.isfinite(self.values)]
        slack = 1e-5 * max(1.0, abs(low) if math.isfinite(low) else 0.0, abs(high) if math.isfinite(high) else 0.0)
        if finite.size and (finite.min() < low - slack or finite.max() > high + slack):
            raise BadScores(
                "range", f"{self.key}: values {finite.min():g}..{finite.max():g} outside the range {low:g}..{high:g}"
            )
        for layer, head in np.argwhere(np.isnan(self.values)):
            if not self.reason(int(layer), int(head)):
                raise BadScores("NaN", f"{self.key}: {head_name(int(layer), int(head))} is NaN without a reason")

    def _check_estimates(self) -> None:
        """An estimate is a number, says what made it, and claims no interval and no p."""
        if self.estimated is None:
            return
        if self.estimated.shape != self.values.shape or self.estimated.dtype != np.bool_:
            words = f"{self.estimated.dtype} {self.estimated.shape}, want bool {self.values.shape}"
            raise BadScores("shape", f"{self.key}: estimated is {words}")
        if not self.estimator:
            raise BadScores("null", f"{self.key}: estimated values, and not by what")
        if np.isnan(self.values[self.estimated]).any():
            raise BadScores("NaN", f"{self.key}: a head is both estimated and not computed")
        grids = {"low": self.low, "high": self.high, "p": self.p}
        for name, grid in grids.items():
            if grid is not None and np.isfinite(grid[self.estimated]).any():
                raise BadScores("null", f"{self.key}: {name} is given for an estimated head")

    @property
    def exact(self) -> BoolGrid:
        """[layer head]: has a value, and it is no estimate."""
        known = np.isfinite(self.values)
        return known if self.estimated is None else known & ~self.estimated

    @property
    def exact_values(self) -> FloatGrid:
        """[layer head]: the values, NaN where they are estimates."""
        return np.where(self.exact, self.values, np.float32(np.nan))

    @property
    def how_estimated(self) -> str:
        """What is said of an estimated head: by what, and what it lacks."""
        return f"estimated by {self.estimator}: no interval and no p" if self.estimated is not None else ""

    def note(self, layer: int, head: int) -> str:
        """Why this head has no value, or that it is an estimate; empty for an exact one."""
        if self.estimated is not None and self.estimated[layer, head]:
            return self.how_estimated
        return self.reason(layer, head)

    @property
    def suite(self) -> str:
        return self.key.split("/")[0]

    @property
    def measure(self) -> str:
        return self.key.split("/")[1]

    @property
    def task(self) -> str:
        return self.key.split("/")[2]

    def reason(self, layer: int, head: int) -> str:
        """Why this head has no value; empty when it has one."""
        if math.isfinite(float(self.values[layer, head])):
            return ""
        return self.reasons.get(head_name(layer, head), self.reasons.get(EVERY_HEAD, ""))

    def stray(self) -> list[str]:
        """Which of low, high and p hold a number for a head without a value."""
        left_out = np.isnan(self.values)
        grids = {"low": self.low, "high": self.high, "p": self.p}
        return [name for name, grid in grids.items() if grid is not None and np.isfinite(grid[left_out]).any()]

    def ranking(self) -> list[Head]:
        """Heads by descending value; NaN and estimates left out.

        Equal values: the larger (layer, head) first, as Elhelo and Geva's code ranks them.
        """
        order = [(int(layer), int(head)) for layer, head in np.argwhere(self.exact)]
        return sorted(order, key=lambda lh: (float(self.values[lh]), lh), reverse=True)

    def top(self, k: int = 5) -> Rows:
        """Rows of the `k` heads with the highest values."""
        return rows_of([self], self.ranking()[: max(0, k)])

    def __repr__(self) -> str:
        layers, heads = self.values.shape
        best = ", ".join(f"{head_name(*head)} {self.values[head]:.3g}" for head in self.ranking()[:3])
        return f"<HeadScores {self.key}: {layers} layers x {heads} heads, n = {self.n}, highest {best or 'none'}>"


@dataclass(frozen=True)
class HeadSet:
    """A named set of heads: published, the user's, or computed on this very model.

    key       "published/wang2022ioi/name_mover_heads", "circuits/ioi/movers", "user/my_heads"
    label     the legend's entry, e.g. "Name-Mover Heads"
    heads     (layer, head), 0-based
    legend    the legend's title, e.g. "'Interp. in the Wild' classifications"
    source    who says so: a citation key, a file name, or "computed: <task> on this model"
    rule      how a head gets into the set, in words a reader could check
    kind      "published" | "user" | "computed"
    verified  False is drawn hollow, with 'unconfirmed list' in legend and caption
    weights   head name -> 0..1, shown as opacity (stability); empty = all 1
    evidence  rungs of the evidence ladder, of the whole set: rung -> "passed" | "failed" | "not run"
    by_head   of the rungs that were judged head by head: rung -> head name -> outcome
    marker    the marker's name and
    color     its colour "#rrggbb"; empty = chosen, one for a class in all figures of a run
    """

    key: str
    label: str
    heads: tuple[Head, ...]
    legend: str
    source: str
    rule: str
    kind: str = "computed"
    verified: bool = True
    weights: Mapping[str, float] = field(default_factory=dict)
    evidence: Mapping[str, str] = field(default_factory=dict)
    marker: str = ""
    color: str = ""
    by_head: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def judged(self, rung: str, outcomes: Mapping[Head, str]) -> HeadSet:
        """The set with a rung judged head by head: passed where every head passed, failed where any failed."""
        found = set(outcomes.values())
        whole = "failed" if "failed" in found else "passed" if found == {"passed"} else "not run"
        own = {head_name(*head): outcome for head, outcome in outcomes.items()}
        return replace(self, evidence={**self.evidence, rung: whole}, by_head={**self.by_head, rung: own})


@dataclass(frozen=True)
class Column:
    """A table column: `unit` is empty for names and counts; `digits` are decimals shown for floats."""

    name: str
    unit: str = ""
    digits: int = 3


Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Table:
    """Rows for the report and the CSV; `rows[i]` aligns with `columns`. None = not computed.

    folded  the page shows its title, and the rows when asked
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    folded: bool = False

    def __post_init__(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.key}: row {i} has {len(row)} cells for {len(self.columns)} columns")


@dataclass(frozen=True, eq=False)
class NamedArray:
    """Evidence per example, kept so that rendering can redo thresholds and intervals.

    dims    one name per axis, e.g. ("pair", "layer", "head")
    labels  dimension -> the strings along it (tokens, prompts), for the dimensions that have them
    """

    dims: tuple[str, ...]
    values: npt.NDArray[np.generic]
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.dims) != self.values.ndim:
            raise ValueError(f"dims {self.dims} for an array of shape {self.values.shape}")
        for dim, names in self.labels.items():
            size = self.values.shape[self.dims.index(dim)]
            if len(names) != size:
                raise ValueError(f"{len(names)} labels for dimension {dim} of size {size}")


SWITCHED_OFF = "switched off"


@dataclass(frozen=True)
class NotComputed:
    """Something the report says it does not have, and why."""

    what: str
    why: str

    @property
    def is_switched_off(self) -> bool:
        """Whether a setting switched it off; such a reason begins with the words SWITCHED_OFF."""
        return self.why.startswith(SWITCHED_OFF)


@dataclass(frozen=True, eq=False)
class SuiteResult:
    """Everything one suite found on one model.

    `facts` are small JSON values that captions need (k, templates, counts).
    """

    suite: str
    scores: tuple[HeadScores, ...] = ()
    head_sets: tuple[HeadSet, ...] = ()
    tables: tuple[Table, ...] = ()
    arrays: Mapping[str, NamedArray] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    not_computed: tuple[NotComputed, ...] = ()

    def __post_init__(self) -> None:
        keys = [s.key for s in self.scores]
        doubles = {k for k in keys if keys.count(k) > 1}
        if doubles:
            raise ValueError(f"suite {self.suite}: scores given twice: {sorted(doubles)}")
        foreign = [k for k in keys if k.split("/")[0] != self.suite]
        if foreign:
            raise ValueError(f"suite {self.suite}: keys of another suite: {foreign}")

    def __getitem__(self, key: str) -> HeadScores:
        """The scores under "measure/task" or the full key; KeyError names what there is."""
        for score in self.scores:
            if key in (score.key, f"{score.measure}/{score.task}"):
                return score
        raise KeyError(f"{key!r} not in {self.suite}: {[s.key for s in self.scores]}")

    def get(self, measure: str, task: str) -> HeadScores | None:
        """The scores of one measure and task, or None."""
        return next((s for s in self.scores if s.measure == measure and s.task == task), None)

    def tasks(self, measure: str) -> list[str]:
        """Tasks that have this measure, in the order given."""
        return [s.task for s in self.scores if s.measure == measure]
