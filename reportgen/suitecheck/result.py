"""Checks of what a suite hands over, by looking at it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from reportgen.manifest import ModelRecord
from reportgen.scores import HeadScores, SuiteResult, head_name
from reportgen.suitecheck.line import NOT_RUN, Line, judged
from reportgen.suites.base import Measure, Suite

HINTS = {
    "shape": "give float32 values[layer, head], query heads also where keys and values are grouped",
    "range": "give HeadScores(range=...) the smallest and largest value there can be, or mend the formula",
    "null": "give n, an interval and p or line; where one can't be had, say why in no_null",
    "NaN": "give HeadScores(reasons={'L0H1': why}), or {'*': why} for all heads",
    "measures": "declare a Measure for every score, and say in SuiteResult.not_computed why one has no score",
}


def declared(suite: Suite) -> Line:
    """The suite's own words: formula and meaning of every measure, help of every setting."""
    problems = [
        f"measure {m.name} has no {word}"
        for m in suite.measures
        for word in ("title", "formula", "meaning")
        if not getattr(m, word).strip()
    ]
    problems += [f"the suite has no {word}" for word in ("title", "summary") if not getattr(suite, word).strip()]
    if not suite.measures:
        problems.append("the suite declares no measure")
    if not suite.settings.__dataclass_params__.frozen:
        problems.append(f"{suite.settings.__name__} can be changed: write @dataclass(frozen=True)")
    fields = suite.settings.__dataclass_fields__.values()
    problems += [f"setting {f.name} has no metadata help" for f in fields if not f.metadata.get("help")]
    names = ", ".join(m.name for m in suite.measures)
    return judged("declared", problems, "put it into the suite's declaration", f"formula and meaning of {names}")


def looked_at(suite: Suite, result: SuiteResult, record: ModelRecord) -> Iterator[Line]:
    """Shape, range, n with interval and null, NaN, and a measure for every score."""
    count, where = len(result.scores), f"on {record.id}"
    yield judged("shape", list(_shapes(result, record)), HINTS["shape"],
                 f"{count} scores of [{record.n_layers} {record.n_heads}] {where}")  # fmt: skip
    yield judged("range", list(_ranges(suite, result)), HINTS["range"], f"values within the declared ranges {where}")
    yield judged("null", list(_uncertainty(result)), HINTS["null"], f"n, interval and null, or why not {where}")
    missing = sum(int(np.isnan(s.values).sum()) for s in result.scores)
    words = f"{missing} values, each with its reason" if missing else "none"
    yield judged("NaN", list(_nans(result)), HINTS["NaN"], f"{words} {where}")
    yield judged("measures", list(_measures(suite, result)), HINTS["measures"], f"every score has its measure {where}")


def broken(rule: str, problem: str, record: ModelRecord) -> Iterator[Line]:
    """The same lines where the scores could not even be made, for the reason that `rule` names."""
    for name in ("shape", "range", "null", "NaN", "measures"):
        if name == rule:
            yield judged(name, [f"{problem} (on {record.id})"], HINTS[name], "")
        else:
            yield Line(name, NOT_RUN, f"not looked at on {record.id}: there are no scores")


def _shapes(result: SuiteResult, record: ModelRecord) -> Iterator[str]:
    want = (record.n_layers, record.n_heads)
    for score in result.scores:
        if score.values.shape != want:
            yield f"{score.key} is {list(score.values.shape)}, not [layer head] = {list(want)}"
    for heads in result.head_sets:
        for layer, head in heads.heads:
            if not (0 <= layer < want[0] and 0 <= head < want[1]):
                yield f"head set {heads.key} has {head_name(layer, head)}, which the model has not"


def _declared(suite: Suite, score: HeadScores) -> Measure | None:
    return next((m for m in suite.measures if m.name == score.measure), None)


def _ranges(suite: Suite, result: SuiteResult) -> Iterator[str]:
    for score in result.scores:
        measure = _declared(suite, score)
        low, high = score.range
        if measure and not (measure.range[0] <= low <= high <= measure.range[1]):
            yield f"{score.key} has the range {low:g}..{high:g}, its measure declares {_words(measure.range)}"
        for name, grid in (("low", score.low), ("high", score.high)):
            if grid is not None and (np.nanmin(grid, initial=low) < low or np.nanmax(grid, initial=high) > high):
                yield f"{score.key}: {name} leaves the range {low:g}..{high:g}"
        if score.p is not None and (np.nanmin(score.p, initial=0) < 0 or np.nanmax(score.p, initial=1) > 1):
            yield f"{score.key}: p outside 0..1"


def _words(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g}..{bounds[1]:g}"


def _uncertainty(result: SuiteResult) -> Iterator[str]:
    for score in result.scores:
        some = bool(np.isfinite(score.values).any())
        if some and score.n < 1:
            yield f"{score.key} has n = {score.n}"
        if (score.low is None) != (score.high is None):
            yield f"{score.key} has one end of an interval"
        if some and score.low is None and not score.no_null:
            yield f"{score.key} has no interval and does not say why"
        if score.low is not None and score.high is not None:
            crossed = np.argwhere(score.low > score.high)
            if len(crossed):
                yield f"{score.key}: low is above high in {head_name(*map(int, crossed[0]))}"
        if score.line is not None and not math.isfinite(score.line):
            yield f"{score.key}: line is {score.line}"


def _nans(result: SuiteResult) -> Iterator[str]:
    """The scores themselves refuse a NaN without a reason; a reason must say something."""
    for score in result.scores:
        for layer, head in np.argwhere(np.isnan(score.values)).tolist():
            if len(score.reason(layer, head).split()) < 1:
                yield f"{score.key}: {head_name(layer, head)} is NaN without a reason"
        if score.values.size and np.isnan(score.values).all() and score.p is not None:
            yield f"{score.key} has p-values and not one value"


def _measures(suite: Suite, result: SuiteResult) -> Iterator[str]:
    for score in result.scores:
        if _declared(suite, score) is None:
            yield f"{score.key} is of no declared measure"
    there = {score.measure for score in result.scores}
    if not result.not_computed:
        yield from (f"measure {m.name} has no score" for m in suite.measures if m.name not in there)
