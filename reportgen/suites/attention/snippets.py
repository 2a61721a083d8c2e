"""Where each head attends in natural text: eight places per head, from its sharpest attention to its flattest.

A head's queries (position 1 and later of every window) are put in the order of their peak: the largest weight on a key
other than position 0, which is the sink. The places kept stand at fixed quantiles of that order, so they show what the
head does most of the time and not its best examples alone. Of equal peaks the earlier query stands higher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from reportgen.scores import NamedArray
from reportgen.suites.prose import Prose

if TYPE_CHECKING:
    from reportgen.models.model import Model

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
