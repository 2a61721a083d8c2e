"""Attention patterns reduced inside the forward pass: one layer at a time, no pattern is kept.

What is left of a batch is copied from the device once.

Cells of the BOS column (position 0) are left out of the sum and of the count of every measure but first_token, whose
cells they are; entropy takes the whole row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
        reduced: list[dict[str, torch.Tensor]] = [{} for _ in range(layers)]
        of_lag = [torch.from_numpy(own).to(model.device) for own in _by_lag(sequences, rows)]
        hooks: dict[tuple[str, int], Callable[[torch.Tensor], torch.Tensor | None]] = {}
        for layer in range(layers):
            hooks["pattern", layer] = _reducer(reduced[layer], sequences, of_lag, tally.offsets.shape[-1])
            hooks["z", layer] = _norms(reduced[layer], grams[layer])
        model.run(torch.as_tensor(sequences.ids[rows], device=model.device), hooks)
        _add(tally, _numpy(reduced), rows, (rows.stop - rows.start) / count)
    progress(count, count, "repeated random tokens")
    return tally


def _by_lag(sequences: Sequences, rows: slice) -> list[npt.NDArray[np.int64]]:
    """Rows of the batch whose block has each lag's length."""
    return [np.flatnonzero(sequences.which[rows] == index) for index in range(len(sequences.lags))]


def _reducer(
    into: dict[str, torch.Tensor], sequences: Sequences, of_lag: list[torch.Tensor], offsets: int
) -> Callable[[torch.Tensor], None]:
    """A hook on one layer's pattern [batch head query key] that keeps what `_add` needs of these sequences."""
    queries = sequences.queries

    def reduce(pattern: torch.Tensor) -> None:
        pattern = pattern.float()
        length = pattern.shape[-1]
        into["previous"] = _diagonal(pattern, 1)[..., 1:].mean(-1)  # key 0 left out
        into["current"] = _diagonal(pattern, 0)[..., 1:].mean(-1)
        into["first"] = pattern[..., 1:, 0].mean(-1)
        widest = torch.arange(2, length + 1, device=pattern.device).log()  # ln(q + 1) for q = 1, 2, ...
        below = pattern[..., 1:, :]
        into["entropy"] = (-torch.xlogy(below, below).sum(-1) / widest).mean(-1)  # MPS has no entr before torch 2.7
        duplicate = [_diagonal(pattern, lag)[..., -queries:].mean(-1) for lag in sequences.lags]
        induction = [_diagonal(pattern, lag - 1)[..., -queries:].mean(-1) for lag in sequences.lags]
        into["duplicate"], into["induction"] = torch.stack(duplicate, 1), torch.stack(induction, 1)  # [batch lag head]
        shifts = [
            _diagonal(pattern[own], lag - shift)[..., -queries:].mean(-1).sum(0)  # key = query - lag + shift
            for own, lag in zip(of_lag, sequences.lags, strict=True)
            for shift in SHIFTS
        ]
        into["shifts"] = torch.stack(shifts).view(len(of_lag), len(SHIFTS), -1)  # [lag shift head], summed over rows
        into["offsets"] = torch.stack([_diagonal(pattern, o)[..., 1:].mean(-1).mean(0) for o in range(offsets)])

    return reduce


def _norms(into: dict[str, torch.Tensor], gram: torch.Tensor) -> Callable[[torch.Tensor], None]:
    """A hook on one layer's z [batch pos head d_head]: ||z W_O|| by the Gram matrix of W_O [head d_head d_head]."""

    def reduce(z: torch.Tensor) -> None:
        z = z[:, 1:].float()
        squared = torch.einsum("bphd,hde,bphe->bph", z, gram, z).clamp_min(0)
        into["norm"] = squared.sqrt().mean(dim=(0, 1))

    return reduce


def _add(tally: Tally, found: dict[str, Floats], rows: slice, share: float) -> None:
    """One batch into the tally; found: name -> [layer ...]. `share` of all sequences is in this batch."""
    for name in ("previous", "current", "first", "entropy", "duplicate", "induction"):
        getattr(tally, name)[rows] = np.moveaxis(found[name], 0, -2)  # [batch (lag) layer head]
    for mass in np.moveaxis(found["shifts"], 1, 0):  # [layer shift head] of each lag
        tally.shifts[:] += mass.transpose(0, 2, 1) / len(tally.previous)
    tally.offsets[:] += share * found["offsets"].transpose(0, 2, 1)
    tally.output_norm[:] += share * found["norm"]


def _numpy(layers: list[dict[str, torch.Tensor]]) -> dict[str, Floats]:
    """Every layer's tensors, name -> [layer ...], copied from the device at once."""
    stacked = {name: torch.stack([layer[name] for layer in layers]) for name in layers[0]}
    flat = torch.cat([tensor.detach().flatten() for tensor in stacked.values()]).cpu().numpy()
    ends = np.cumsum([tensor.numel() for tensor in stacked.values()])[:-1]
    return {
        name: part.reshape(tensor.shape)
        for (name, tensor), part in zip(stacked.items(), np.split(flat, ends), strict=True)
    }


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
