"""What a custom score function can return, and how scores are derived from it: n, interval and null.

- [layer head]: one number per head; no interval, no null.
- [sample layer head]: a number per sample and head. The score is the mean, n the samples, the interval a bootstrap;
  the highest head is picked on one half of the samples and measured on the other.
- `Samples`: the same, with groups to resample by, draws of a null, and words for the caption.
- {"measure" or "measure/task": one of these} for several scores.
- HeadScores, or a list of them, if the suite has its own interval and null.

No torch: tensors are read through numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reportgen.aliases import Floats
from reportgen.scores import BadScores, Control, HeadScores, HeldOut, NamedArray, SuiteResult, head_name
from reportgen.stats import bootstrap_interval, halves, permutation_p, step_down_max_t, units

if TYPE_CHECKING:
    from reportgen.suites.base import Measure

ALL = "all"  # the task of a score without one
MADE = "made"  # in facts: score key -> how it was made, for the caption
RESAMPLES = 2000
LEAST_HALF = 4  # samples to select a head on, and to estimate it on
LEAST_DRAWS = 19  # with fewer no p could reach 0.05
_SEE = "see docs/suites.md"


@dataclass(frozen=True, eq=False)
class Samples:
    """Per-sample values of one score.

    values   [sample layer head], or [layer head] where there are no samples; NaN = not computed
    null     [draw layer head] the score under the null, the same draws for every head; or None
    of       what the samples are, in the plural, for the caption: "sequences of 32 random tokens"
    groups   one label per sample if samples are grouped (templates, documents): the bootstrap draws groups
             first
    reasons  head name (or "*" for all) -> why its value is NaN
    controls what something that has learnt nothing scores, by name: one number, or [layer head]
    """

    values: Any
    null: Any = None
    of: str = "samples"
    groups: Sequence[object] = ()
    reasons: Mapping[str, str] | None = None
    controls: Mapping[str, Any] | None = None


def result(suite: str, measures: Sequence[Measure], found: Any, shape: tuple[int, int], seed: int) -> SuiteResult:
    """The result of what a score function returned, on a grid of `shape` (layers, heads).

    Raises BadScores that says what was expected.
    """
    if isinstance(found, HeadScores):
        found = (found,)
    if isinstance(found, list | tuple) and found and all(isinstance(one, HeadScores) for one in found):
        return SuiteResult(suite, tuple(found))
    named = found if isinstance(found, Mapping) else {_only(suite, measures): found}
    scores: list[HeadScores] = []
    arrays: dict[str, NamedArray] = {}
    made: dict[str, object] = {}
    for name, value in named.items():
        measure, task = _measured(suite, str(name), measures)
        samples = value if isinstance(value, Samples) else Samples(value)
        key = f"{suite}/{measure.name}/{task}"
        each = _grids(key, samples.values, shape)
        score = _scores(key, measure, samples, each, seed)
        held = held_out(each, seed, of=samples.of, groups=samples.groups, bounds=measure.range)
        scores.append(replace(score, held_out=held, controls=_controls(samples.controls or {})))
        made[key] = _made(samples, each)
        if len(each) > 1:
            arrays[f"samples/{measure.name}/{task}"] = NamedArray(("sample", "layer", "head"), each.astype(np.float32))
    return SuiteResult(suite, tuple(scores), arrays=arrays, facts={MADE: made})


def _only(suite: str, measures: Sequence[Measure]) -> str:
    if len(measures) == 1:
        return measures[0].name
    names = ", ".join(measure.name for measure in measures) or "none"
    problem = f"{suite}: score gave one score and the suite declares the measures {names}"
    raise BadScores("shape", f"{problem}; return {{measure: values}}, {_SEE}")


def _measured(suite: str, name: str, measures: Sequence[Measure]) -> tuple[Measure, str]:
    """The measure and task that a key of the returned mapping names."""
    first, _, task = name.partition("/")
    for measure in measures:
        if measure.name == first:
            return measure, task or ALL
    names = ", ".join(measure.name for measure in measures) or "none"
    raise BadScores("shape", f"{suite}: score gave {first!r}, which is no measure of the suite ({names}); {_SEE}")


def _grids(key: str, values: Any, shape: tuple[int, int], what: str = "sample") -> Floats:
    """[sample layer head] float64; one sample where there is a single grid."""
    try:
        if hasattr(values, "detach"):  # a tensor, on any device and of any type
            values = values.detach().cpu().float()
        grids = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadScores("shape", f"{key}: score gave {type(values).__name__}, no array ({error}); {_SEE}") from error
    if grids.ndim == 2 and what == "sample":
        grids = grids[None]
    if grids.ndim != 3 or grids.shape[1:] != shape or not len(grids):
        wanted = f"[layer head] = {list(shape)} or [{what} layer head]" if what == "sample" else f"[{what} layer head]"
        raise BadScores("shape", f"{key}: {what}s are {list(np.shape(values))}, expected {wanted}; {_SEE}")
    return grids


def _scores(key: str, measure: Measure, samples: Samples, each: Floats, seed: int) -> HeadScores:
    """Mean over samples, bootstrap interval, and p by step-down max-T where there are draws of a null."""
    mean = np.where(np.isfinite(each).all(axis=0), each.mean(axis=0, where=np.isfinite(each)), np.nan)
    low, high = _interval(key, samples, each, measure, seed)
    p, p_each = (None, None) if samples.null is None else _p(key, mean, samples.null)
    made = HeadScores(
        key=key,
        label=f"{measure.title} ({measure.unit})" if measure.unit else measure.title,
        values=np.zeros(mean.shape, np.float32),
        n=len(each),
        no_null="" if p is not None else _no_null(measure, len(each)),
        p=p,
        p_each=p_each,
        range=measure.range,
    )
    reasons = {**_reasons(each), **(samples.reasons or {})}
    return replace(made, values=mean.astype(np.float32), low=low, high=high, reasons=reasons)


def _interval(
    key: str, samples: Samples, each: Floats, measure: Measure, seed: int
) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32] | None]:
    """95 % interval of the mean, resampling groups and then samples; None where there is one sample or one group."""
    groups = list(samples.groups) or [0] * len(each)
    if len(groups) != len(each):
        raise BadScores("shape", f"{key}: {len(groups)} groups for {len(each)} samples; {_SEE}")
    if units(groups) < 2:
        return None, None
    rng = np.random.default_rng(seed)
    low, high = bootstrap_interval(each, groups, rng, draws=RESAMPLES, bounds=measure.range)
    return low.astype(np.float32), high.astype(np.float32)


def _p(key: str, mean: Floats, null: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """p adjusted over heads, and of each head alone, [layer head]."""
    draws = _grids(key, null, (mean.shape[0], mean.shape[1]), "draw")
    if len(draws) < LEAST_DRAWS:
        least = f"p could not be below {1 / (len(draws) + 1):.2g}: give {LEAST_DRAWS} draws or more"
        raise BadScores("null", f"{key}: null has {len(draws)} draws, so that {least}")
    flat = draws.reshape(len(draws), -1)
    both = (step_down_max_t(mean.ravel(), flat), permutation_p(mean.ravel(), flat))
    adjusted, each = (p.reshape(mean.shape).astype(np.float32) for p in both)
    return adjusted, each


def _no_null(measure: Measure, n: int) -> str:
    """Why there is no null; with a single grid also why there is no interval."""
    said = measure.null.removeprefix("none:").strip() if measure.null.startswith("none:") else ""
    why = said or "the suite gives no draws of one"
    return why if n > 1 else f"{why}; it gives one number per head, so that there is no interval either"


def _reasons(each: Floats) -> dict[str, str]:
    """Why heads have no value: a sample of theirs is not a number."""
    bad = (~np.isfinite(each)).sum(axis=0)
    return {
        head_name(int(layer), int(head)): f"not a number in {int(bad[layer, head])} of {len(each)} samples"
        for layer, head in np.argwhere(bad)
    }


def held_out(
    each: Floats,
    seed: int,
    *,
    of: str = "samples",
    groups: Sequence[object] = (),
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> HeldOut | None:
    """The head that is highest on one half of the samples, measured on the other; whole groups at a time.

    Of scores whose `bounds` reach below zero, the largest in size. None where a half has too few samples, or where
    some value of `each` [sample layer head] is NaN.
    """
    rng = np.random.default_rng(seed)
    first = halves(list(groups) or range(len(each)), rng)
    labels = list(groups) or [0] * len(each)
    rest = [label for label, chosen in zip(labels, first, strict=True) if not chosen]
    if min(first.sum(), (~first).sum()) < LEAST_HALF or units(rest) < 2 or not np.isfinite(each).all():
        return None
    size = each[first].mean(axis=0)
    layer, head = np.unravel_index(int((abs(size) if bounds[0] < 0 else size).argmax()), size.shape)
    other = each[~first][:, layer, head]
    low, high = bootstrap_interval(other, rest, rng, draws=RESAMPLES, bounds=bounds)
    name = head_name(int(layer), int(head))
    return HeldOut(name, float(other.mean()), float(low), float(high), len(other), f"one half of the {of}")


def _controls(given: Mapping[str, Any]) -> tuple[Control, ...]:
    grids = {name: np.asarray(_plain(value), dtype=np.float32) for name, value in given.items()}
    return tuple(Control(name, float(np.nanmax(grid)), grid if grid.ndim else None) for name, grid in grids.items())


def _made(samples: Samples, each: Floats) -> dict[str, object]:
    """How a score was made, for its caption."""
    count = len(set(samples.groups)) if samples.groups else 0
    draws = 0 if samples.null is None else len(np.asarray(_plain(samples.null)))
    return {"of": samples.of, "groups": count, "draws": draws}


def _plain(values: Any) -> Any:
    return values.detach().cpu().float() if hasattr(values, "detach") else values
