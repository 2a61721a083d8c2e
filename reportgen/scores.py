"""The core types: what a suite returns and a run folder stores.

Plain dataclasses over numpy; no torch, altair or disk access here.

- `values[layer, head]` is float32 and NaN means "not computed", never 0 and never -1; a NaN has a reason.
- Heads are always query heads, even if keys and values are grouped.
- A suite without interval, null or line says so in `no_null`; nothing is silently empty.
- An estimate among exact values is marked as one, has no interval and no p, and is excluded from rankings and from
  counts beyond a null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from reportgen.rows import Rows, rows_of
from reportgen.stats import false_discovery

FloatGrid = npt.NDArray[np.float32]  # [layer head]
BoolGrid = npt.NDArray[np.bool_]  # [layer head]
Head = tuple[int, int]  # (layer, head), both 0-based

TWIN = "random twin"  # the control whose heads give a score the null's mean and spread (atlas/fingerprint.py)
EVERY_HEAD = "*"  # key in `HeadScores.reasons` for all heads without their own entry
_KEY = re.compile(r"[a-z0-9_]+/[a-z0-9_]+/[A-Za-z0-9_.-]+")
_HEAD_NAME = re.compile(r"L(\d{1,4})H(\d{1,4})")


class BadScores(ValueError):
    """Inconsistent scores; `rule` is "shape", "range", "null" or "NaN"."""

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


@dataclass(frozen=True)
class HeldOut:
    """The head that is highest on one half of the examples, measured on the other: at face value it is too good.

    head             its name, e.g. "L9H6"
    value, low, high its score on the other half, with a 95 % interval
    n                examples of that half
    chosen, measured what picked the head and what measured it, in words
    """

    head: str
    value: float
    low: float
    high: float
    n: int
    chosen: str = "one half of the examples"
    measured: str = "the other half"

    def __post_init__(self) -> None:
        parse_head(self.head)
        if not all(math.isfinite(x) for x in (self.value, self.low, self.high)):
            raise BadScores("range", f"held out: {self.head} at {self.value:g} [{self.low:g}, {self.high:g}]")


@dataclass(frozen=True, eq=False)
class Control:
    """What something that has learnt nothing, or only copies, scores on the same scale.

    name    in words without an article, e.g. "random twin"
    value   its score; its highest head where it has heads
    values  [layer head] float32 where it has a score per head, else None
    bound   `value` is the highest of heads whose scores were not kept
    meaning what it is, e.g. "the model at random initialisation"; one for a name
    """

    name: str
    value: float
    values: FloatGrid | None = None
    bound: bool = False
    meaning: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class HeadScores:
    """One number per attention head, for one measure of one task.

    key      "suite/measure/task", e.g. "my_suite/share/words"
    label    the words on the colour bar, e.g. "Name Copying score"
    values   [layer head] float32; NaN = not computed
    n        examples behind each value (pairs, prompts, cells); 0 = not given (imported scores)
    low,high [layer head] 95 % interval, or None
    p        [layer head] family-wise adjusted p-value per head, or None
    line     one family-wise threshold in score units, only if a single line is valid for every head
    no_null  why there is no p and no line; empty when there is one
    range    smallest and largest possible value; infinity = no bound
    reasons  head name (or "*" for all) -> why its value is NaN
    estimated  [layer head] heads whose value is an estimate while the others are exact; None where there is none
    estimator  what estimated them, e.g. "attribution"
    threshold  size that a head must reach, beside beating its null, to count along a training run; None: any
    held_out   the best head, picked and measured on different halves of the examples; None where there are no halves
    controls   what controls score on the same scale
    p_each     [layer head] p of each head alone, not adjusted, or None: what a false-discovery rate is made from
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
    threshold: float | None = None
    held_out: HeldOut | None = None
    controls: tuple[Control, ...] = ()
    p_each: FloatGrid | None = None

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError(f"key {self.key!r} is not suite/measure/task")
        if self.values.ndim != 2 or self.values.dtype != np.float32:
            raise BadScores(
                "shape", f"{self.key}: values are {self.values.dtype} {self.values.shape}, want float32 [layer head]"
            )
        for name in ("low", "high", "p", "p_each"):
            grid = getattr(self, name)
            if grid is not None and (grid.shape != self.values.shape or grid.dtype != np.float32):
                raise BadScores(
                    "shape", f"{self.key}: {name} is {grid.dtype} {grid.shape}, want float32 {self.values.shape}"
                )
        if self.p is None and self.line is None and not self.no_null:
            raise BadScores("null", f"{self.key}: no p, no line and no reason for having no null")
        self._check_values()
        self._check_estimates()
        self._check_evidence()

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
        """Check that estimates are numbers, have an estimator, and have no interval or p."""
        if self.estimated is None:
            return
        if self.estimated.shape != self.values.shape or self.estimated.dtype != np.bool_:
            words = f"{self.estimated.dtype} {self.estimated.shape}, want bool {self.values.shape}"
            raise BadScores("shape", f"{self.key}: estimated is {words}")
        if not self.estimator:
            raise BadScores("null", f"{self.key}: estimated values without estimator")
        if np.isnan(self.values[self.estimated]).any():
            raise BadScores("NaN", f"{self.key}: a head is both estimated and not computed")
        grids = {"low": self.low, "high": self.high, "p": self.p, "p_each": self.p_each}
        for name, grid in grids.items():
            if grid is not None and np.isfinite(grid[self.estimated]).any():
                raise BadScores("null", f"{self.key}: {name} is given for an estimated head")

    def _check_evidence(self) -> None:
        """The held-out head and the controls are on the grid and have values."""
        shape = self.values.shape
        layer, head = parse_head(self.held_out.head) if self.held_out else (0, 0)
        if self.held_out and not (layer < shape[0] and head < shape[1]):
            raise BadScores("shape", f"{self.key}: held out: {self.held_out.head} is outside {list(shape)}")
        names = [control.name.strip() for control in self.controls]
        if "" in names or len(set(names)) < len(names):
            raise BadScores("shape", f"{self.key}: controls need a name each, and different ones: {names}")
        for control in self.controls:
            if control.values is not None and control.values.shape != shape:
                raise BadScores("shape", f"{self.key}: {control.name} is {control.values.shape}, want {shape}")
            if not math.isfinite(control.value):
                raise BadScores("range", f"{self.key}: {control.name} has no value")

    @property
    def exact(self) -> BoolGrid:
        """[layer head]: has an exact value."""
        known = np.isfinite(self.values)
        return known if self.estimated is None else known & ~self.estimated

    @property
    def exact_values(self) -> FloatGrid:
        """[layer head]: the values, NaN for estimates."""
        return np.where(self.exact, self.values, np.float32(np.nan))

    @cached_property
    def fdr(self) -> FloatGrid | None:
        """[layer head] false-discovery rate at which a head counts (Benjamini-Hochberg); None without `p_each`."""
        return None if self.p_each is None else false_discovery(self.p_each).astype(np.float32)

    @property
    def how_estimated(self) -> str:
        """Note for an estimated head: the estimator, and what is missing."""
        return f"estimated by {self.estimator}: no interval and no p" if self.estimated is not None else ""

    def note(self, layer: int, head: int) -> str:
        """Why this head has no value, or that it is an estimate; empty if it is exact."""
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
        """Why this head has no value; empty if it has one."""
        if math.isfinite(float(self.values[layer, head])):
            return ""
        return self.reasons.get(head_name(layer, head), self.reasons.get(EVERY_HEAD, ""))

    def stray(self) -> list[str]:
        """Which of low, high, p and p_each hold a number for a head without a value."""
        left_out = np.isnan(self.values)
        grids = {"low": self.low, "high": self.high, "p": self.p, "p_each": self.p_each}
        return [name for name, grid in grids.items() if grid is not None and np.isfinite(grid[left_out]).any()]

    def ranking(self) -> list[Head]:
        """Heads by descending value, without NaN and estimates.

        Equal values: the larger (layer, head) first, as Elhelo and Geva's code ranks them.
        """
        heads = np.argwhere(self.exact)  # by layer, then head
        order = np.argsort(self.values[self.exact], kind="stable")[::-1]
        return [(layer, head) for layer, head in heads[order].tolist()]

    def top(self, k: int = 5) -> Rows:
        """Rows of the `k` heads with the highest values."""
        return rows_of([self], self.ranking()[: max(0, k)])

    def __repr__(self) -> str:
        layers, heads = self.values.shape
        best = ", ".join(f"{head_name(*head)} {self.values[head]:.3g}" for head in self.ranking()[:3])
        return f"<HeadScores {self.key}: {layers} layers x {heads} heads, n = {self.n}, highest {best or 'none'}>"


@dataclass(frozen=True)
class HeadSet:
    """A named set of heads: published, the user's, or computed on this model.

    key       "published/wang2022ioi/name_mover_heads", "my_suite/words/movers", "user/my_heads"
    label     the legend's entry, e.g. "Name-Mover Heads"
    heads     (layer, head), 0-based
    legend    the legend's title, e.g. "'Interp. in the Wild' classifications"
    source    a citation key, a file name, or "computed: <task> on this model"
    rule      the criterion for including a head, checkable by a reader
    kind      "published" | "user" | "computed"
    verified  False is drawn hollow, with 'unconfirmed list' in legend and caption
    weights   head name -> 0..1, shown as how dark its marker is (stability); empty = all 1
    evidence  rungs of the evidence ladder, of the whole set: rung -> "passed" | "failed" | "not run"
    by_head   of the rungs that were judged head by head: rung -> head name -> outcome
    score     key of the score that the heads were picked by; they are followed by it along a training run. Or empty
    marker    the marker's name and
    color     its colour "#rrggbb"; empty = chosen, the same for a class in all figures of a run
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
    score: str = ""

    def judged(self, rung: str, outcomes: Mapping[Head, str]) -> HeadSet:
        """The set with a rung judged per head: passed if every head passed, failed if any failed."""
        found = set(outcomes.values())
        whole = "failed" if "failed" in found else "passed" if found == {"passed"} else "not run"
        own = {head_name(*head): outcome for head, outcome in outcomes.items()}
        return replace(self, evidence={**self.evidence, rung: whole}, by_head={**self.by_head, rung: own})


@dataclass(frozen=True)
class Judged:
    """How a suite judges heads of another suite's set, for that set's evidence ladder.

    key       of the set
    test      the rung or a test of it: "natural text (wide)"
    by_head   head name -> "passed" | "failed" | "not run"
    replaces  a rung whose other tests the set loses; empty: it keeps all
    """

    key: str
    test: str
    by_head: Mapping[str, str]
    replaces: str = ""

    def applied(self, heads: HeadSet) -> HeadSet:
        """The set with this judgement; unchanged where it has no ladder or none of its heads was judged."""
        own = {head: self.by_head[head_name(*head)] for head in heads.heads if head_name(*head) in self.by_head}
        if not heads.evidence or not own or set(own.values()) == {"not run"}:
            return heads
        gone = [test for test in heads.evidence if self.replaces and test.startswith(self.replaces)]
        kept = {test: outcome for test, outcome in heads.evidence.items() if test not in gone}
        by_head = {test: outcomes for test, outcomes in heads.by_head.items() if test not in gone}
        return replace(heads, evidence=kept, by_head=by_head).judged(self.test, own)


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

    folded  the page shows only the title until it is opened
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
    """Evidence per example, stored so that rendering can recompute thresholds and intervals.

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
    """Something missing from the report, and why."""

    what: str
    why: str

    @property
    def is_switched_off(self) -> bool:
        """Whether a setting switched it off: the reason begins with SWITCHED_OFF."""
        return self.why.startswith(SWITCHED_OFF)


@dataclass(frozen=True, eq=False)
class SuiteResult:
    """All results of one suite on one model.

    `facts` are small JSON values that captions need (k, templates, counts); `judged` are rungs of other suites' sets.
    """

    suite: str
    scores: tuple[HeadScores, ...] = ()
    head_sets: tuple[HeadSet, ...] = ()
    tables: tuple[Table, ...] = ()
    arrays: Mapping[str, NamedArray] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    not_computed: tuple[NotComputed, ...] = ()
    judged: tuple[Judged, ...] = ()

    def __post_init__(self) -> None:
        keys = [s.key for s in self.scores]
        doubles = {k for k in keys if keys.count(k) > 1}
        if doubles:
            raise ValueError(f"suite {self.suite}: duplicate scores: {sorted(doubles)}")
        foreign = [k for k in keys if k.split("/")[0] != self.suite]
        if foreign:
            raise ValueError(f"suite {self.suite}: keys of another suite: {foreign}")

    def __getitem__(self, key: str) -> HeadScores:
        """The scores under "measure/task" or the full key; KeyError lists the known keys."""
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


def with_judgements(results: Mapping[str, SuiteResult]) -> dict[str, SuiteResult]:
    """The results with every suite's head sets as the other suites of the run judge them."""
    judged = [one for result in results.values() for one in result.judged]

    def sets(result: SuiteResult) -> tuple[HeadSet, ...]:
        made = []
        for heads in result.head_sets:
            for one in judged:
                heads = one.applied(heads) if one.key == heads.key else heads
            made.append(heads)
        return tuple(made)

    return {name: replace(result, head_sets=sets(result)) if judged else result for name, result in results.items()}
