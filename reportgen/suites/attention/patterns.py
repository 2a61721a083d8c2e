"""Attention patterns reduced inside the forward pass: one layer at a time, no pattern is kept.

Cells of the BOS column (position 0) are left out of the sum and of the count of every measure but first_token, whose
cells they are; entropy takes the whole row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from reportgen.suites.attention.sequences import Sequences

if TYPE_CHECKING:
    from reportgen.models.model import Model

Floats = npt.NDArray[np.float32]
SHIFTS = tuple(range(-3, 4))  # positions around the earlier copy, for the profile
MAX_OFFSET = 32


@dataclass(frozen=True, eq=False)
class Tally:
    """What is kept of the patterns; every number is a mean over cells of one sequence.

    previous, current, first, entropy   [sequence layer head]
    duplicate, induction   [sequence lag layer head]: mass at the distance that belongs to each lag; only the entry of
                           the sequence's own lag is a repeat, the others are controls
    offsets       [layer head offset] mass at distance 0, 1, ... over queries >= 1, position 0 left out
    shifts        [layer head shift] mass at SHIFTS positions from the earlier copy, own lag only
    output_norm   [layer head] mean norm of z W_O over queries >= 1
    """

    previous: Floats
    current: Floats
    first: Floats
    entropy: Floats
    duplicate: Floats
    induction: Floats
    offsets: Floats
    shifts: Floats
    output_norm: Floats


def _diagonal(pattern: torch.Tensor, distance: int) -> torch.Tensor:
    """Mass at key = query - distance, for all queries >= distance: [batch head query]."""
    return pattern.diagonal(-distance, dim1=-2, dim2=-1)


def measure(
    model: Model, sequences: Sequences, batch: int, progress: Callable[[int, int, str], None] = lambda *_: None
) -> Tally:
    """Run every sequence once and reduce its patterns."""
    count, length = sequences.ids.shape
    layers, heads, lags = model.record.n_layers, model.record.n_heads, len(sequences.lags)
    per_lag = (count, lags, layers, heads)
    tally = Tally(
        previous=np.empty((count, layers, heads), np.float32),
        current=np.empty((count, layers, heads), np.float32),
        first=np.empty((count, layers, heads), np.float32),
        entropy=np.empty((count, layers, heads), np.float32),
        duplicate=np.empty(per_lag, np.float32),
        induction=np.empty(per_lag, np.float32),
        offsets=np.zeros((layers, heads, min(MAX_OFFSET, length - 1)), np.float32),
        shifts=np.zeros((layers, heads, len(SHIFTS)), np.float32),
        output_norm=np.zeros((layers, heads), np.float32),
    )
    grams = [torch.einsum("nhd,ngd->nhg", W_O, W_O) for W_O in (model.W_O(lay) for lay in range(layers))]
    for start in range(0, count, batch):
        progress(start, count, "repeated random tokens")
        rows = slice(start, min(start + batch, count))
        hooks: dict[tuple[str, int], Callable[[torch.Tensor], torch.Tensor | None]] = {}
        for layer in range(layers):
            hooks["pattern", layer] = _reducer(tally, sequences, layer, rows)
            hooks["z", layer] = _norms(tally, grams[layer], layer, (rows.stop - rows.start) / count)
        model.run(torch.as_tensor(sequences.ids[rows], device=model.device), hooks)
    progress(count, count, "repeated random tokens")
    return tally


def _reducer(tally: Tally, sequences: Sequences, layer: int, rows: slice) -> Callable[[torch.Tensor], None]:
    """A hook on one layer's pattern [batch head query key] that fills in the rows of these sequences."""
    queries, share = sequences.queries, (rows.stop - rows.start) / len(sequences.ids)

    def reduce(pattern: torch.Tensor) -> None:
        pattern = pattern.float()
        length = pattern.shape[-1]
        tally.previous[rows, layer] = _numpy(_diagonal(pattern, 1)[..., 1:].mean(-1))  # key 0 left out
        tally.current[rows, layer] = _numpy(_diagonal(pattern, 0)[..., 1:].mean(-1))
        tally.first[rows, layer] = _numpy(pattern[..., 1:, 0].mean(-1))
        widest = torch.arange(2, length + 1, device=pattern.device).log()  # ln(q + 1) for q = 1, 2, ...
        tally.entropy[rows, layer] = _numpy((torch.special.entr(pattern[..., 1:, :]).sum(-1) / widest).mean(-1))
        for index, lag in enumerate(sequences.lags):
            tally.duplicate[rows, index, layer] = _numpy(_diagonal(pattern, lag)[..., -queries:].mean(-1))
            tally.induction[rows, index, layer] = _numpy(_diagonal(pattern, lag - 1)[..., -queries:].mean(-1))
            own = pattern[torch.as_tensor(sequences.which[rows] == index, device=pattern.device)]
            for column, shift in enumerate(SHIFTS):  # key = query - lag + shift
                mass = _diagonal(own, lag - shift)[..., -queries:].mean(-1).sum(0)
                tally.shifts[layer, :, column] += _numpy(mass) / len(sequences.ids)
        for offset in range(tally.offsets.shape[-1]):
            mass = _diagonal(pattern, offset)[..., 1:].mean(-1).mean(0)
            tally.offsets[layer, :, offset] += share * _numpy(mass)

    return reduce


def _norms(tally: Tally, gram: torch.Tensor, layer: int, share: float) -> Callable[[torch.Tensor], None]:
    """A hook on one layer's z [batch pos head d_head]: ||z W_O|| by the Gram matrix of W_O [head d_head d_head]."""

    def reduce(z: torch.Tensor) -> None:
        z = z[:, 1:].float()
        squared = torch.einsum("bphd,hde,bphe->bph", z, gram, z).clamp_min(0)
        tally.output_norm[layer] += share * _numpy(squared.sqrt().mean(dim=(0, 1)))

    return reduce


def _numpy(tensor: torch.Tensor) -> npt.NDArray[Any]:
    return tensor.detach().cpu().numpy()


def base_rates(sequences: Sequences) -> dict[str, float]:
    """What a head with uniform causal rows would score on each measure."""
    length = sequences.ids.shape[1]
    uniform = 1.0 / np.arange(1, length + 1)  # mass of each key in row q
    repeats = float(uniform[-sequences.queries :].mean())
    return {
        "previous_token": float(uniform[2:].mean()),
        "current_token": float(uniform[1:].mean()),
        "first_token": float(uniform[1:].mean()),
        "duplicate_token": repeats,
        "induction": repeats,
        "entropy": 1.0,
    }
