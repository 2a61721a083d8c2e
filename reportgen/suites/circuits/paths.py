"""Effects of heads through the inputs of later heads (path patching with two runs).

Run 1: clean prompt, the sender's z from the corrupted one, every other z clean, MLPs recompute; the receivers' q, k or
v are read. Run 2: clean prompt with these written into the receivers; everything after them recomputes. The effect is
m_clean - m of run 2 (Wang et al. 2022, arXiv 2211.00593, appendix on path patching).

With grouped queries a key or value belongs to a whole group: its other query heads are patched with the receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from reportgen.scores import Head
from reportgen.suites.circuits import sides
from reportgen.suites.circuits.sides import Batch, Batches
from reportgen.suites.circuits.traces import Metric

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model

Floats = npt.NDArray[np.float32]
Hooks = dict[tuple[str, int], "HookFn"]


def path_effects(
    prompts: Batches,
    senders: Sequence[Head],
    receivers: Sequence[Head],
    kinds: Sequence[str],
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> dict[str, Floats]:
    """Effects of each sender through the receivers' inputs, per kind "q", "k", "v" or several letters at once.

    kind -> [prompt layer head] in units of the metric; NaN for heads that are no senders or stand below no receiver
    """
    model, record = prompts.model, prompts.model.record
    shape = (len(prompts), record.n_layers, record.n_heads)
    out = {kind: np.full(shape, np.nan, np.float32) for kind in kinds}
    letters = "".join(sorted(set("".join(kinds))))
    for batch in prompts:
        at = prompts.places(batch)
        for layer in sorted({layer for layer, _ in senders}):
            progress(layer, shape[1], f"{prompts.task.title}: paths between heads")
            above = [head for head in receivers if head[0] > layer]
            own = [head for lay, head in senders if lay == layer]
            for some in _parts(own if above else [], batch.variants()):
                read = _inputs(model, batch, layer, some, above, letters)
                for kind in kinds:
                    m = _written(model, batch, len(some), above, kind, read, prompts.metric)  # [head prompt]
                    out[kind][np.ix_(at, [layer], some)] = (batch.clean.m - m).T.cpu().numpy()[:, None]
    return out


def _parts(heads: list[int], size: int) -> list[list[int]]:
    return [heads[start : start + size] for start in range(0, len(heads), size)]


def _inputs(
    model: Model, batch: Batch, layer: int, senders: list[int], receivers: Sequence[Head], letters: str
) -> dict[tuple[str, int], Tensor]:
    """Run 1: (letter, layer) -> q, k, v of the receivers' layers [variant*prompt pos head d_head]; by sender."""
    last, clean = max(lay for lay, _ in receivers), batch.clean
    hooks: Hooks = {("z", layer): sides.swap(senders, batch.corrupted.z[layer])}
    for later in range(layer + 1, last):
        hooks["z", later] = _constant(clean.z[later], len(senders))
    kept: dict[tuple[str, int], Tensor] = {}

    def keep(at: tuple[str, int]) -> HookFn:
        def hook(tensor: Tensor) -> None:
            kept[at] = tensor.clone()

        return hook

    for later in {lay for lay, _ in receivers}:
        for letter in letters:
            hooks[letter, later] = keep((letter, later))
    start = (layer, sides.repeat(clean.residual[layer], len(senders)))
    model.run_until(sides.repeat(clean.ids, len(senders)), hooks, last + 1, start=start)
    return kept


def _written(
    model: Model, batch: Batch, times: int, receivers: Sequence[Head], kind: str,
    read: dict[tuple[str, int], Tensor], metric: Metric,
) -> Tensor:  # fmt: skip
    """Run 2: m [variant prompt] of the clean prompts with the inputs read in run 1 written into the receivers."""
    group = model.record.n_heads // model.record.n_kv_heads
    hooks: Hooks = {}
    for layer in sorted({lay for lay, _ in receivers}):
        own = [head for lay, head in receivers if lay == layer]
        for letter in kind:
            heads = own if letter == "q" else sorted({head // group for head in own})
            hooks[letter, layer] = _writer(heads, read[letter, layer])
    first = min(lay for lay, _ in receivers)
    start = (first, sides.repeat(batch.clean.residual[first], times))
    logits = model.run(sides.repeat(batch.clean.ids, times), hooks, last=True, start=start)[:, -1]
    return metric(logits, batch.rows.repeat(times)).view(times, -1)


def _writer(heads: Sequence[int], given: Tensor) -> HookFn:
    def write(tensor: Tensor) -> Tensor:
        out = tensor.clone()
        out[:, :, list(heads)] = given[:, :, list(heads)].to(tensor.dtype)
        return out

    return write


def _constant(values: Tensor, times: int) -> HookFn:
    return lambda z: sides.repeat(values, times).to(z.dtype)


def below(receivers: Sequence[Head], allowed: npt.NDArray[np.bool_]) -> list[Head]:
    """The allowed heads [layer head] that stand in a layer below some receiver."""
    if not receivers:
        return []
    top = max(layer for layer, _ in receivers)
    return [(int(layer), int(head)) for layer, head in np.argwhere(allowed) if layer < top]
