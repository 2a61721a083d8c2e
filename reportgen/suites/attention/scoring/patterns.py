"""Attention patterns reduced inside the forward pass: one layer at a time, no pattern is kept.

What is left of a batch is copied from the device once.

Cells of the BOS column (position 0) are left out of the sum and of the count of every measure but first_token, whose
cells they are; entropy takes the whole row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from reportgen.aliases import Float32s
from reportgen.errors import NotApplicable
from reportgen.scores import NamedArray
from reportgen.suites.prose import Prose

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.tokens import Tokens


# Random-token sequences with a repeated block.
#
# Every sequence has the same length: position 0 (BOS, or a random token where the model uses no BOS), then random
# tokens, then a block of `lag` random tokens twice. The longest lag fills the sequence; shorter ones have unrelated
# tokens in front. So a cell (query, query - distance) exists at the same place in every sequence, and is a repeat only
# in those of one lag: the others are its control at the same distance and position.

Ids = npt.NDArray[np.int64]

_PLAIN_WORD = re.compile(r"[A-Za-z]{3,}")


@dataclass(frozen=True, eq=False)
class Sequences:
    """Token ids and where they repeat.

    ids    [sequence pos]
    which  [sequence] index into `lags`
    lags   block lengths, ascending
    bos    whether position 0 is the model's BOS token
    """

    ids: Ids
    which: Ids
    lags: tuple[int, ...]
    bos: bool

    @property
    def queries(self) -> int:
        """Queries at the end of every sequence that lie in the second copy whatever the lag."""
        return self.lags[0]


def plain_words(tokens: Tokens, d_vocab: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """Up to `wanted` ids, in random order, of tokens that are a plain word of three letters or more at a word start."""
    found: list[int] = []
    for token in rng.permutation(d_vocab).tolist():
        word = tokens.decode([token]).strip()
        if _PLAIN_WORD.fullmatch(word) and tokens.word_id(word) == token:
            found.append(token)
            if len(found) == wanted:
                break
    return found


def usable_lags(lags: Sequence[int], n_ctx: int) -> tuple[int, ...]:
    """The lags, ascending, whose sequences fit the model's context. NotApplicable when fewer than two do."""
    fitting = tuple(lag for lag in sorted(lags) if 1 + 2 * lag <= n_ctx)
    if len(fitting) < 2:
        raise NotApplicable(
            f"its context of {n_ctx} tokens holds fewer than two of the block lengths {tuple(lags)}",
            "Give shorter ones: --set attention.lags=4,8.",
        )
    return fitting


def repeated(
    words: Sequence[int], lags: tuple[int, ...], count: int, bos_id: int | None, rng: np.random.Generator
) -> Sequences:
    """`count` sequences (rounded down to the same number for each lag), no token twice but by the repeat.

    words  ids in random order. Where there are enough every sequence has words of its own, else each draws from all of
           them: a small pool shared by all sequences would make them alike, and an interval over them too narrow
    """
    length = 2 * max(lags)  # without position 0
    if len(words) < length + 1:
        raise NotApplicable(
            f"its vocabulary has {len(words)} plain words, {length + 1} are needed",
            "Shorter blocks need fewer: --set attention.lags=4,8.",
        )
    each = count // len(lags)
    which = np.tile(np.arange(len(lags)), each)  # lags take turns, so that every batch holds all of them
    ids = np.empty((len(which), 1 + length), np.int64)
    pool = np.asarray(words)
    own = len(words) >= ids.size
    for row, index in enumerate(which):
        lag = lags[index]
        size = 1 + length - lag
        draw = pool[row * (1 + length) :][:size] if own else rng.choice(pool, size=size, replace=False)
        ids[row, : 1 + length - lag] = draw
        ids[row, -lag:] = draw[-lag:]
    if bos_id is not None:
        ids[:, 0] = bos_id
    return Sequences(ids, which, lags, bos_id is not None)


SHIFTS = tuple(range(-3, 4))  # positions around the earlier copy, for the profile
MAX_OFFSET = 32


@dataclass(frozen=True, eq=False)
class PatternMeans:
    """What is kept of the patterns; every number is a mean over cells of one sequence.

    previous, current, first, entropy   [sequence layer head]
    duplicate, induction   [sequence lag layer head]: mass at the distance that belongs to each lag; only the entry of
                           the sequence's own lag is a repeat, the others are controls
    offsets       [layer head offset] mass at distance 0, 1, ... over queries >= 1, position 0 left out
    shifts        [layer head shift] mass at SHIFTS positions from the earlier copy, own lag only
    output_norm   [layer head] mean norm of z W_O over queries >= 1
    """

    previous: Float32s
    current: Float32s
    first: Float32s
    entropy: Float32s
    duplicate: Float32s
    induction: Float32s
    offsets: Float32s
    shifts: Float32s
    output_norm: Float32s


def _diagonal(pattern: torch.Tensor, distance: int) -> torch.Tensor:
    """Mass at key = query - distance, for all queries >= distance: [batch head query]."""
    return pattern.diagonal(-distance, dim1=-2, dim2=-1)


def measure(
    model: Model, sequences: Sequences, batch: int, progress: Callable[[int, int, str], None] = lambda *_: None
) -> PatternMeans:
    """Run every sequence once and reduce its patterns."""
    count, length = sequences.ids.shape
    layers, heads, lags = model.record.n_layers, model.record.n_heads, len(sequences.lags)
    per_lag = (count, lags, layers, heads)
    tally = PatternMeans(
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


def _add(tally: PatternMeans, found: dict[str, Float32s], rows: slice, share: float) -> None:
    """One batch into the tally; found: name -> [layer ...]. `share` of all sequences is in this batch."""
    for name in ("previous", "current", "first", "entropy", "duplicate", "induction"):
        getattr(tally, name)[rows] = np.moveaxis(found[name], 0, -2)  # [batch (lag) layer head]
    for mass in np.moveaxis(found["shifts"], 1, 0):  # [layer shift head] of each lag
        tally.shifts[:] += mass.transpose(0, 2, 1) / len(tally.previous)
    tally.offsets[:] += share * found["offsets"].transpose(0, 2, 1)
    tally.output_norm[:] += share * found["norm"]


def _numpy(layers: list[dict[str, torch.Tensor]]) -> dict[str, Float32s]:
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


# Where each head attends in natural text: eight places per head, from its sharpest attention to its flattest.
#
# A head's queries (position 1 and later of every window) are put in the order of their peak: the largest weight on a
# key other than position 0, which is the sink. The places kept stand at fixed quantiles of that order, so they show
# what the head does most of the time and not its best examples alone. Of equal peaks the earlier query stands higher.

QUANTILES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3, 0.1)
KEYS = 4  # keys kept of each query
LEAST = 0.01  # attention weight below which a key is not kept


def snippets(
    model: Model, prose: Prose, batch: int, progress: Callable[[int, int, str], None] = lambda *_: None
) -> dict[str, NamedArray]:
    """The arrays `snippet_*` of the result.

    snippet_text    [window pos] index into snippet_words;  snippet_words [word]
    snippet_query   [layer head place] window * length + query
    snippet_key     [layer head place key] position of the strongest keys, largest first; -1 where there is none
    snippet_weight  [layer head place key] their attention weights, NaN where there is none; position 0 is left out
    snippet_sink    [layer head place] weight on position 0
    """
    ids = prose.ids
    count, length = ids.shape
    kept: list[list[npt.NDArray[np.float32]]] = [[] for _ in range(model.record.n_layers)]
    for start in range(0, count, batch):
        progress(start, count, "natural text")
        hooks = {("pattern", layer): _keeper(rows) for layer, rows in enumerate(kept)}
        model.run(torch.as_tensor(ids[start : start + batch], device=model.device), hooks, last=True)
    progress(count, count, "natural text")
    picked = [_pick(np.concatenate(rows), length) for rows in kept]  # per layer
    words = {int(token): i for i, token in enumerate(np.unique(ids))}
    places = tuple(f"{quantile:.0%}" for quantile in QUANTILES)
    query, key, weight, sink = (np.stack([layer[i] for layer in picked]) for i in range(4))
    dims = ("layer", "head", "place")
    return {
        "snippet_text": NamedArray(("window", "pos"), np.vectorize(words.__getitem__, otypes=[np.int32])(ids)),
        "snippet_words": NamedArray(
            ("word",), np.fromiter(words, np.int32), {"word": tuple(model.tokens.text(token) for token in words)}
        ),
        "snippet_query": NamedArray(dims, query, {"place": places}),
        "snippet_key": NamedArray((*dims, "key"), key),
        "snippet_weight": NamedArray((*dims, "key"), weight),
        "snippet_sink": NamedArray(dims, sink),
    }


def _keeper(rows: list[npt.NDArray[np.float32]]) -> Callable[[torch.Tensor], None]:
    """A hook on a pattern [batch head query key]: weight and place of each query's strongest keys, and the sink's."""

    def keep(pattern: torch.Tensor) -> None:
        pattern = pattern[:, :, 1:].float()  # queries from 1
        weight, key = pattern[..., 1:].topk(KEYS, dim=-1)  # [batch head query KEYS]; ties: whatever comes first
        both = torch.cat([weight, (key + 1).float(), pattern[..., :1]], -1)
        rows.append(both.cpu().numpy())

    return keep


def _pick(found: npt.NDArray[np.float32], length: int) -> tuple[npt.NDArray[np.generic], ...]:
    """(query, key, weight, sink) of one layer's `found` [window head query 2*KEYS+1], [head place ...] each."""
    windows, heads, queries, _ = found.shape
    flat = found.transpose(1, 0, 2, 3).reshape(heads, windows * queries, -1)
    order = np.argsort(flat[..., 0], axis=1, kind="stable")  # ascending peak
    ranks = [round(quantile * (windows * queries - 1)) for quantile in QUANTILES]
    at = order[:, ranks]  # [head place]
    rows = np.take_along_axis(flat, at[..., None], 1)
    weight, key, sink = rows[..., :KEYS], rows[..., KEYS:-1].astype(np.int32), rows[..., -1]
    none = weight < LEAST
    query = at // queries * length + at % queries + 1
    weight, key = np.where(none, np.nan, weight), np.where(none, -1, key)
    return query.astype(np.int32), key.astype(np.int32), weight.astype(np.float32), sink.astype(np.float32)
