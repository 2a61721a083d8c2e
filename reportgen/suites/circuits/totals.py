"""Total effects of heads by activation patching: everything downstream recomputes.

noising    clean prompt, the head's z at every position from the corrupted one: m_clean - m_patched
denoising  corrupted prompt, the head's z from the clean one: m_patched - m_corrupted

Both over the gap m_clean - m_corrupted; what supports the answer is positive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from reportgen.suites.circuits import sides
from reportgen.suites.circuits.sides import Batch, Batches, Side
from reportgen.suites.circuits.traces import Metric

if TYPE_CHECKING:
    from reportgen.models.model import Model

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Totals:
    """Total effects in units of the metric, [prompt layer head]; NaN for heads that were not asked for.

    denoising  None where not asked for
    """

    noising: Floats
    denoising: Floats | None


def total_effects(
    prompts: Batches,
    heads: Bools,
    *,
    denoising: bool,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Totals:
    """One patched pass per head [layer head] and direction over the prompts, from the head's layer on."""
    out = [np.full((len(prompts), *heads.shape), np.nan, np.float32) for _ in range(1 + denoising)]
    done, words = 0, f"{prompts.task.title}: total effects"
    for batch in prompts:
        progress(done, len(prompts), words)
        at = prompts.places(batch)
        for effects, (base, donor, sign) in zip(out, _directions(batch), strict=False):
            for layer, some, m in patched(prompts.model, batch, base, donor, heads, prompts.metric):
                change = sign * (m - base.m).cpu().numpy()  # [head prompt]
                effects[np.ix_(at, [layer], some)] = change.T[:, None]
        done += len(at)
    progress(done, len(prompts), words)
    return Totals(out[0], out[1] if denoising else None)


def _directions(batch: Batch) -> tuple[tuple[Side, Side, float], tuple[Side, Side, float]]:
    """(prompts run, prompts that lend z, sign) of noising and denoising."""
    return (batch.clean, batch.corrupted, -1.0), (batch.corrupted, batch.clean, 1.0)


def patched(
    model: Model, batch: Batch, base: Side, donor: Side, heads: Bools, metric: Metric
) -> Iterator[tuple[int, list[int], Tensor]]:
    """(layer, heads, m [head prompt]) of runs of `base` in which one head at a time takes its z from `donor`."""
    size = batch.variants()
    for layer in range(len(heads)):
        found = np.flatnonzero(heads[layer]).tolist()
        for start in range(0, len(found), size):
            some = found[start : start + size]
            logits = model.run(
                sides.repeat(base.ids, len(some)),
                {("z", layer): sides.swap(some, donor.z[layer])},
                last=True,
                start=(layer, sides.repeat(base.residual[layer], len(some))),
            )[:, -1]
            m = metric(logits, batch.rows.repeat(len(some)))
            yield layer, some, m.view(len(some), -1)


def passes(heads: Bools, denoising: bool) -> int:
    """Patched forward passes over the prompts that exact total effects of these heads take."""
    return int(heads.sum()) * (1 + denoising)


def everyone(shape: tuple[int, int]) -> Bools:
    """All heads."""
    return np.ones(shape, bool)
