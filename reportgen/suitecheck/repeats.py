"""Checks that score a suite again: same seed, other batches, streamed weights; and on the planted model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from reportgen import codec
from reportgen.models.model import Model, Weights
from reportgen.scores import HeadScores, SuiteResult, parse_head
from reportgen.suitecheck import trials
from reportgen.suitecheck.line import FAIL, NOT_RUN, Line, judged
from reportgen.suites.base import Planted, Suite

Given = Mapping[str, object]
TOLERANCE = 1e-4  # of the largest value, at least of 1: float32 sums in another order
P_TOLERANCE = 0.02  # a rounding may move a draw of the null across the observed value
BATCHES = (1, 5, 3)


def same_seed(suite: Suite, model: Model, given: Given, first: SuiteResult) -> Line:
    """Scored again under the same seed: the same bytes as the run folder would keep."""
    again = trials.run(suite, model, given).result
    hint = "draw everything random from np.random.default_rng(context.seed)"
    if again is None:
        return Line("seed", FAIL, "the second run with the same seed raised what the first did not", hint)
    problems = _moved(first, again, 0.0, 0.0)
    if not problems and codec.encode(first) != codec.encode(again):
        problems = [f"{_part(first, again)} of two runs with the same seed differ"]
    return judged(
        "seed", [f"same seed: {p}" for p in problems], hint, "two runs with the same seed are equal to a byte"
    )


def batches(suite: Suite, model: Model, given: Given, first: trials.Trial) -> Line:
    """Scored with the same prompts in other groups: the same scores, up to rounding."""
    name, result = suite.check.batch, first.result
    fields = {f.name for f in dataclasses.fields(suite.settings)}
    if result is None or first.rows <= 1:
        return Line("batches", NOT_RUN, "no forward pass takes more than one prompt")
    if name not in fields:
        return Line("batches", NOT_RUN, f"up to {first.rows} prompts go through at once, and no setting says how many",
                    "add one called batch, or name yours: Check(batch=...)")  # fmt: skip
    own = getattr(suite.make_settings("quick", given), name)
    sizes = [size for size in BATCHES if size != own][:2]
    problems = []
    for size in sizes:
        other = trials.run(suite, model, {**given, name: size})
        if other.result is None:
            problems.append(f"{name} = {size}: {other.found}")
        else:
            problems += [f"{name} = {size}: {p}" for p in _moved(result, other.result, TOLERANCE, P_TOLERANCE)]
    return judged("batches", problems, "weigh each prompt once, and draw nothing random inside the loop over batches",
                  f"{name} = {own}, {', '.join(map(str, sizes))} give the same scores")  # fmt: skip


def streamed(suite: Suite, weights: Weights, given: Given, first: SuiteResult) -> Line:
    """A suite that calls itself static, on weights read from disk: the scores it shares with the whole model."""
    other = trials.run(suite, weights, given)
    hint = "a static suite uses embed, first_mlp, W_V, W_O and W_U alone; else leave out static=True"
    if other.result is None:
        return Line("streamed", FAIL, f"streamed weights: {other.found}", hint)
    shared = {s.key for s in other.result.scores} & {s.key for s in first.scores}
    if not shared:
        return Line("streamed", FAIL, "streamed weights: no score that the whole model has", hint)
    problems = [
        p for key in sorted(shared) for p in _score_moved(first[key], other.result[key], TOLERANCE, P_TOLERANCE)
    ]
    return judged("streamed", problems, hint, f"{len(shared)} scores are the same from weights read from disk")


def planted(suite: Suite, model: Model, given: Given) -> Line:
    """What the suite says it finds on the model with planted heads."""
    if not suite.check.planted:
        return Line("planted", NOT_RUN, "the suite declares nothing", "say what it must find: Check(planted=(...))")
    trial = trials.run(suite, model, given)
    if trial.result is None:
        return Line("planted", FAIL, f"not scored: {trial.found}", "Check(settings=...) that fit 64 tokens, 24 words")
    seen, problems = [], []
    for want in suite.check.planted:
        value, words = _found(want, trial.result)
        seen.append(f"{want.score} {want.head} {value:.3g}")
        problems += [words] if words else []
    return judged("planted", problems, "mend the formula or Check(planted=...)", f"as declared: {', '.join(seen)}")


def _found(want: Planted, result: SuiteResult) -> tuple[float, str]:
    """The head's value, and what is wrong with it."""
    score = next((s for s in result.scores if want.score in (s.key, f"{s.measure}/{s.task}")), None)
    if score is None:
        return math.nan, f"there is no score {want.score}"
    layers, heads = score.values.shape
    try:
        layer, head = parse_head(want.head)
    except ValueError as error:
        return math.nan, f"{want.score}: {error}"
    if layer >= layers or head >= heads:
        return math.nan, f"{want.score}: there is no {want.head} among {layers} layers of {heads} heads"
    value = float(score.values[layer, head])
    fine = want.low <= value <= want.high
    return value, "" if fine else f"{want.score}: {want.head} has {value:.4g}, not {want.low:g} to {want.high:g}"


def _moved(one: SuiteResult, other: SuiteResult, tolerance: float, p_tolerance: float) -> list[str]:
    keys = [s.key for s in one.scores], [s.key for s in other.scores]
    if keys[0] != keys[1]:
        return [f"{len(keys[0])} scores are now {len(keys[1])}, or in another order"]
    return [
        words
        for a, b in zip(one.scores, other.scores, strict=True)
        for words in _score_moved(a, b, tolerance, p_tolerance)
    ]


def _score_moved(one: HeadScores, other: HeadScores, tolerance: float, p_tolerance: float) -> list[str]:
    found = []
    scale = max(1.0, float(np.nanmax(np.abs(one.values), initial=0.0)))
    for name in ("values", "low", "high", "p"):
        a, b = getattr(one, name), getattr(other, name)
        if (a is None) != (b is None) or (a is not None and a.shape != b.shape):
            found.append(f"{one.key}: {name} is there in one and not in the other")
        elif a is not None:
            limit = p_tolerance if name == "p" else tolerance * scale
            off = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b))
            if not (off <= limit).all():
                found.append(f"{one.key}: {name} moved by {np.nanmax(off):.2g}")
    return found


def _part(one: SuiteResult, other: SuiteResult) -> str:
    """Which part of two results differs, when no score does."""
    parts = ("head_sets", "tables", "facts", "notes", "not_computed")
    return next((name for name in parts if repr(getattr(one, name)) != repr(getattr(other, name))), "arrays or scores")
