"""Heads that write little in nearly every window, and what is lost when all of them are ablated at once.

Quiet on this text is not inactive: whether they matter is asked of the loss, on windows that did not tell which heads
are quiet, against as many other heads of the same layers. Ablated: z becomes the head's mean over the other windows at
every position but 0, which is the sink.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.scores import Head, head_name
from reportgen.stats import bootstrap_interval
from reportgen.suites.facts import Number
from reportgen.suites.ov import random_sets
from reportgen.suites.text.facts import Quiet
from reportgen.suites.text.scoring.statistics import Reading
from reportgen.suites.text.scoring.stream import Window, batches, by_hash

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model

MOST_LOGITS = 64_000_000  # logits held at once
Floats = npt.NDArray[np.float64]


def quiet_heads(honor_out: Floats, below: float, share: float) -> list[Head]:
    """Heads whose output norm is below `below` of the layer's mean in at least `share` of windows.

    honor_out  [window layer head]
    """
    with np.errstate(invalid="ignore"):
        often = (honor_out < below).mean(0) >= share
    return [(int(layer), int(head)) for layer, head in np.argwhere(often)]


def split(windows: Sequence[Window], seed: int, count: int) -> tuple[list[int], list[int]]:
    """Places of the windows that tell which heads are quiet, and of `count` others on which they are ablated: half at
    most."""
    count = min(count, len(windows) // 2)
    keys = {window.key for window in by_hash(windows, seed + 1, count)}
    held = [i for i, window in enumerate(windows) if window.key in keys]
    return [i for i in range(len(windows)) if i not in set(held)], held


@dataclass(eq=False)
class MeanOutputs:
    """Mean z of every head over some windows' queries. A listener of `statistics.tally`."""

    inside: frozenset[int]
    first: int
    total: dict[int, Tensor] = field(default_factory=dict)
    count: dict[int, int] = field(default_factory=dict)

    def saw(
        self, layer: int, batch: Sequence[int], pattern: Tensor, z: Tensor, v: Tensor | None, norm: Tensor,
        dla: Tensor, read: Reading,
    ) -> None:  # fmt: skip
        """Add up one layer's z of the windows that count."""
        rows = [place for place, index in enumerate(batch) if index in self.inside]
        if rows:
            some = z[rows, self.first :].flatten(0, 1)
            self.total[layer] = self.total.get(layer, torch.zeros_like(some[0])) + some.sum(0)
            self.count[layer] = self.count.get(layer, 0) + len(some)

    def ended(self, batch: Sequence[int], sigma: Tensor) -> None:
        """Nothing waits for the end of a pass."""

    def mean(self, layer: int) -> Tensor:
        """[head d_head]"""
        return self.total[layer] / self.count[layer]


def _losses(model: Model, windows: Sequence[Window], heads: Sequence[Head], means: MeanOutputs, batch: int) -> Floats:
    """[window] mean next-token loss with these heads ablated."""
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)

    def ablate(layer: int, z: Tensor) -> Tensor:
        out = z.clone()
        out[:, 1:, by_layer[layer]] = means.mean(layer)[by_layer[layer]].to(z.dtype)
        return out

    hooks: dict[tuple[str, int], HookFn] = {("z", layer): partial(ablate, layer) for layer in by_layer}
    found = np.zeros(len(windows))
    longest = max(len(w.ids) for w in windows)
    size = max(1, min(batch, MOST_LOGITS // (longest * model.record.d_vocab)))
    for rows in batches(windows, size):
        ids = torch.from_numpy(np.stack([windows[i].ids for i in rows])).to(model.device)
        logits = model.run(ids, hooks)
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        found[rows] = loss.view(len(rows), -1).mean(1).cpu().double().numpy()
    return found


@dataclass(frozen=True, eq=False)
class Ablation:
    """Settings of the comparison."""

    below: float
    share: float
    sets: int
    batch: int
    seed: int


def ablated(
    model: Model, windows: Sequence[Window], heads: list[Head], means: MeanOutputs, how: Ablation,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Quiet:  # fmt: skip
    """The quiet heads ablated together, and sets of others of their layers."""
    rng = np.random.default_rng([how.seed, 12])
    grid = (model.record.n_layers, model.record.n_heads)
    allowed = np.ones(grid, bool)
    for head in heads:
        allowed[head] = False
    others = random_sets(heads, allowed, np.ones(grid), how.sets, rng)
    clean = _losses(model, windows, (), means, how.batch)
    progress(1, how.sets + 2)
    change = _losses(model, windows, heads, means, how.batch) - clean
    low, high = bootstrap_interval(change, [0] * len(change), rng)
    drawn = []
    for index, row in enumerate(others.heads):
        some = [(int(i // grid[1]), int(i % grid[1])) for i in row]
        drawn.append(float((_losses(model, windows, some, means, how.batch) - clean).mean()))
        progress(index + 3, how.sets + 2)
    smaller = sum(abs(other) <= abs(float(change.mean())) for other in drawn)
    return Quiet(
        heads=[head_name(*head) for head in heads], below=Number(how.below), share=Number(how.share),
        windows=len(windows), loss=Number(clean.mean()), change=Number(change.mean()), low=Number(low),
        high=Number(high), others=[Number(x) for x in drawn], p=Number((1 + smaller) / (len(drawn) + 1)),
        other_layer=others.layer_fallbacks,
    )  # fmt: skip
