"""Events of every head by decile of its output norm, drawn by hash while the stream goes by.

An event is a query of a window. Its decile is told by edges that were fixed on some windows before; of the events of a
decile those with the smallest priorities are kept, at most one of a window. The priority of an event is eight bytes of
BLAKE2b of seed, document, window, query and head, so that neither the batch size nor the order of files changes what is
drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.scores import NamedArray
from reportgen.suites.text.scoring.statistics import Reading, Writers, divisor, written_norms
from reportgen.suites.text.scoring.stream import Window, batches

if TYPE_CHECKING:
    from reportgen.models.model import Model

DECILES = 10
KEYS = 8  # keys kept of an event
OUTPUTS = 5  # tokens promoted and suppressed
LEAST_WEIGHT = 0.01  # share of the row's value-weighted mass below which a key is not kept
_LAST = np.iinfo(np.uint64).max
_EVENTS = 256  # projected onto the vocabulary at once


@dataclass(frozen=True)
class Sizes:
    """Events kept of a head: `each` of a decile, `top` of the highest, `largest` of all."""

    each: int = 4
    top: int = 12
    largest: int = 4

    @property
    def places(self) -> tuple[str, ...]:
        """A name per event: "largest", "d10", ..., "d1"."""
        return (
            *["largest"] * self.largest,
            *["d10"] * self.top,
            *(f"d{d}" for d in range(DECILES - 1, 0, -1) for _ in range(self.each)),
        )


def norm_edges(
    model: Model, windows: Sequence[Window], of: Writers, first: int, batch: int,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> npt.NDArray[np.float32]:  # fmt: skip
    """[layer head 9] deciles of the output norm over all queries of these windows."""
    layers = range(model.record.n_layers)
    kept: list[list[npt.NDArray[np.float32]]] = [[] for _ in layers]

    def keep(layer: int, z: Tensor) -> None:
        z = z.float()
        norm = written_norms(z, of.gram[layer])
        if of.raw:
            whole = torch.einsum("bphe,hed->bpd", z, of.raw[layer])
            norm = norm / divisor(whole, of.eps, centred=False)[..., None]
        kept[layer].append(norm[:, first:].flatten(0, 1).cpu().numpy())

    done = 0
    for rows in batches(windows, batch):
        ids = torch.from_numpy(np.stack([windows[i].ids for i in rows]))
        model.run(ids, {("z", layer): partial(keep, layer) for layer in layers}, last=True)
        done += len(rows)
        progress(done, len(windows))
    shares = np.arange(1, DECILES) / DECILES
    return np.stack([np.quantile(np.concatenate(k), shares, axis=0).T for k in kept]).astype(np.float32)


def priorities(window: Window, seed: int, queries: range, heads: int) -> npt.NDArray[np.uint64]:
    """[head query] of all heads of the model in layer-major order.

    Eight heads share a hash: head n takes word n % 8 of the 64 bytes of BLAKE2b(seed, window, query, n // 8), all
    little-endian.
    """
    start = seed.to_bytes(8, "little", signed=True) + window.key
    blocks = -(-heads // 8)
    hashed = hashlib.blake2b
    found = b"".join([hashed(start + end, digest_size=64).digest() for end in _suffixes(queries, blocks)])
    words = np.frombuffer(found, "<u8").reshape(len(queries), blocks * 8)[:, :heads]
    return np.ascontiguousarray(np.minimum(words, _LAST - 1).T)


@lru_cache(maxsize=8)
def _suffixes(queries: range, blocks: int) -> tuple[bytes, ...]:
    return tuple(q.to_bytes(4, "little") + b.to_bytes(4, "little") for q in queries for b in range(blocks))


class Recorder:
    """Keeps the events of every head as the windows come. A listener of `statistics.tally`."""

    def __init__(
        self, model: Model, windows: Sequence[Window], of: Writers, edges: npt.NDArray[np.float32], sizes: Sizes,
        first: int, seed: int,
    ) -> None:  # fmt: skip
        record = model.record
        self.windows, self.of, self.edges, self.sizes = windows, of, edges, sizes
        self.first, self.seed, self.n_heads = first, seed, record.n_heads
        grid = (record.n_layers, record.n_heads)
        most = max(sizes.each, sizes.top)
        self.priority = np.zeros((*grid, DECILES, most), np.uint64)
        self.priority[:, :, :-1, : sizes.each] = _LAST
        self.priority[:, :, -1, : sizes.top] = _LAST
        self.largest = np.full((*grid, sizes.largest), -1.0, np.float32)
        slots = DECILES * most + sizes.largest
        whole = (*grid, slots)
        self.window = np.full(whole, -1, np.int32)
        self.query = np.zeros(whole, np.int32)
        self.key = np.full((*whole, KEYS), -1, np.int32)
        self.mass = np.full((*whole, KEYS), np.nan, np.float32)
        self.weight = np.full((*whole, KEYS), np.nan, np.float32)
        self.numbers = {n: np.full(whole, np.nan, np.float32) for n in ("sink", "norm", "dla", "top_share")}
        self.z = np.zeros((*whole, record.d_head), np.float32)
        self.counts = np.zeros((*grid, DECILES), np.int64)
        self._drawn: dict[int, npt.NDArray[np.uint64]] = {}
        self._open: list[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64], int, npt.NDArray[np.int64]]] = []

    def saw(
        self, layer: int, batch: Sequence[int], pattern: Tensor, z: Tensor, v: Tensor | None, norm: Tensor,
        dla: Tensor, read: Reading,
    ) -> None:  # fmt: skip
        """Offer every event of a layer; `norm` [window pos head], `dla` the same, before the final norm."""
        norms = norm[:, self.first :].permute(0, 2, 1).cpu().numpy()  # [window head query]
        for place, index in enumerate(batch):
            chosen = self._chosen(layer, index, norms[place])
            if len(chosen[0]):
                event = (pattern[place], z[place], None if v is None else v[place], norm[place], dla[place])
                self._keep(layer, index, chosen, event)
                self._open.append((layer, chosen[0], chosen[1], place, chosen[2]))

    def ended(self, batch: Sequence[int], sigma: Tensor) -> None:
        """Divide what the batch's events write toward the next token by the final norm, which is known now."""
        divisors = sigma.cpu().numpy()
        for layer, head, slot, place, query in self._open:
            self.numbers["dla"][layer, head, slot] /= divisors[place, query]
        self._open.clear()
        self._drawn.clear()

    def _priorities(self, index: int, queries: int) -> npt.NDArray[np.uint64]:
        """[layer*head query] of a window, made once per batch."""
        if index not in self._drawn:
            heads = self.priority.shape[0] * self.n_heads
            places = range(self.first, self.first + queries)
            self._drawn[index] = priorities(self.windows[index], self.seed, places, heads)
        return self._drawn[index]

    def _chosen(
        self, layer: int, index: int, norms: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(head, slot, query) of the events of a window [head query] that take a slot."""
        drawn = self._priorities(index, norms.shape[1])[layer * self.n_heads : (layer + 1) * self.n_heads]
        decile = (norms[:, :, None] > self.edges[layer][:, None, :]).sum(-1)  # [head query]
        own = decile[:, None, :] == np.arange(DECILES)[:, None]  # [head decile query]
        self.counts[layer] += own.sum(-1)
        ranked = np.where(own & np.isfinite(norms)[:, None], drawn[:, None, :], _LAST)
        query = ranked.argmin(-1)  # [head decile]
        smallest = np.take_along_axis(ranked, query[..., None], -1)[..., 0]
        kept = self.priority[layer]  # [head decile place]
        worst = kept.argmax(-1)
        head, which = np.nonzero(smallest < kept.max(-1))
        place = worst[head, which]
        kept[head, which, place] = smallest[head, which]
        slots = which * kept.shape[-1] + place
        top_head, top_slot, top_query = self._among_largest(layer, norms)
        return (
            np.concatenate([head, top_head]),
            np.concatenate([slots, top_slot]),
            np.concatenate([query[head, which], top_query]) + self.first,
        )

    def _among_largest(
        self, layer: int, norms: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The window's largest event of each head, where it is larger than one that is kept."""
        kept = self.largest[layer]  # [head place]
        if not kept.shape[1]:
            return (np.zeros(0, np.int64),) * 3
        query = np.nan_to_num(norms, nan=-1.0).argmax(-1)
        size = np.take_along_axis(norms, query[:, None], -1)[:, 0]
        worst = kept.argmin(-1)
        head = np.flatnonzero(size > kept.min(-1))
        kept[head, worst[head]] = size[head]
        return head, DECILES * self.priority.shape[-1] + worst[head], query[head]

    def _keep(
        self, layer: int, index: int, chosen: tuple[npt.NDArray[np.int64], ...],
        event: tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor],
    ) -> None:  # fmt: skip
        """What is stored of the chosen events of one window."""
        head, slot, query = chosen
        pattern, z, v, norm, dla = event
        h, q = torch.from_numpy(head).to(z.device), torch.from_numpy(query).to(z.device)
        rows = pattern[h, q]  # [event key]
        own = z[q, h]  # [event d_head]
        weighted, share = self._of_values(layer, rows, own, h, v)
        ranked, key = weighted[:, 1:].topk(min(KEYS, weighted.shape[1] - 1), dim=-1)
        mass = rows.gather(1, key + 1)
        at = (layer, head, slot)
        self.window[at], self.query[at] = index, query
        shown = ranked.cpu().numpy()
        none = ~(shown >= LEAST_WEIGHT)
        many = (*at, slice(0, shown.shape[1]))
        self.key[at] = -1
        self.key[many] = np.where(none, -1, key.cpu().numpy() + 1)
        self.mass[many] = np.where(none, np.nan, mass.cpu().numpy())
        self.weight[many] = np.where(none | (v is None), np.nan, shown)
        self.numbers["sink"][at] = rows[:, 0].cpu().numpy()
        self.numbers["norm"][at] = norm[q, h].cpu().numpy()
        self.numbers["dla"][at] = dla[q, h].cpu().numpy()
        self.numbers["top_share"][at] = share.cpu().numpy()
        self.z[at] = own.cpu().numpy()

    def _of_values(self, layer: int, rows: Tensor, own: Tensor, h: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor]:
        """Each key's share of the row's value-weighted mass [event key], and the share of the output that the key with
        most attention explains [event]: (p v W_O) . o / ||o||^2."""
        if v is None:
            return rows, torch.full((len(rows),), torch.nan)
        values = v.float()
        values = values.repeat_interleave(self.n_heads // values.shape[1], dim=1)  # [key head d_head]
        sizes = written_norms(values[None], self.of.gram[layer])[0]  # [key head]
        weighted = rows * sizes.T[h]
        weighted = weighted / weighted.sum(-1, keepdim=True).clamp_min(1e-30)
        top = rows.argmax(-1)
        part = rows.gather(1, top[:, None]) * values[top, h]  # [event d_head]
        along = torch.bmm(own[:, None], self.of.gram[layer][h])[:, 0]  # [event d_head]
        whole = (along * own).sum(-1)
        return weighted, torch.where(whole > 0, (along * part).sum(-1) / whole.clamp_min(1e-30), torch.nan)

    def _order(self) -> npt.NDArray[np.int64]:
        """[layer head place] the slot of every place, in the order of `Sizes.places`."""
        most = self.priority.shape[-1]
        by_size = np.argsort(-self.largest, axis=-1, kind="stable") + DECILES * most
        parts = [by_size]
        for decile in range(DECILES - 1, -1, -1):
            wanted = self.sizes.top if decile == DECILES - 1 else self.sizes.each
            ranked = np.argsort(self.priority[:, :, decile, :wanted], axis=-1, kind="stable")
            parts.append(ranked + decile * most)
        return np.concatenate(parts, -1)

    def arrays(self, model: Model, *, text: bool) -> dict[str, NamedArray]:
        """The arrays `example_*` (docs/runfolder.md); without `text` tokens are ids alone."""
        order = self._order()

        def placed(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
            wide = order.reshape(*order.shape, *[1] * (values.ndim - 3))
            return np.take_along_axis(values, np.broadcast_to(wide, (*order.shape, *values.shape[3:])), 2)

        raised, lowered = self._written(model, np.asarray(placed(self.z)), np.asarray(placed(self.window)) >= 0)
        return packed(
            model, self.windows, self.sizes.places, placed(self.window), placed(self.query), placed(self.key),
            {"mass": placed(self.mass), "weight": placed(self.weight)},
            {name: placed(values) for name, values in self.numbers.items()}, raised, lowered, text=text,
        ) | {
            "example_edges": NamedArray(("layer", "head", "edge"), self.edges),
            "example_shares": NamedArray(
                ("layer", "head", "decile"),
                (self.counts / np.maximum(1, self.counts.sum(-1, keepdims=True))).astype(np.float32),
            ),
        }  # fmt: skip

    @torch.no_grad()
    def _written(
        self, model: Model, z: npt.NDArray[np.generic], there: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """[layer head place output] the tokens whose logits an event's output raises and lowers most; -1 where there is
        no event. The direct path through the frozen final norm."""
        layers, heads, places, _ = z.shape
        raised, lowered = (np.full((layers, heads, places, OUTPUTS), -1, np.int64) for _ in range(2))
        for layer in range(layers):
            at = torch.from_numpy(np.asarray(z[layer])).to(model.device)
            out = torch.einsum("hpe,hed->hpd", at, self.of.W_O[layer])
            out = out - out.mean(-1, keepdim=True) if self.of.centred else out
            out = (out if self.of.scale is None else out * self.of.scale).flatten(0, 1)
            for some in torch.split(torch.arange(len(out)), _EVENTS):
                logits = out[some] @ self.of.W_U[:, : model.tokens.size]
                up, down = logits.topk(OUTPUTS).indices, logits.topk(OUTPUTS, largest=False).indices
                raised[layer].reshape(-1, OUTPUTS)[some] = up.cpu().numpy()
                lowered[layer].reshape(-1, OUTPUTS)[some] = down.cpu().numpy()
        raised[~there], lowered[~there] = -1, -1
        return raised, lowered


def packed(
    model: Model, windows: Sequence[Window], places: tuple[str, ...], window: npt.NDArray[np.generic],
    query: npt.NDArray[np.generic], key: npt.NDArray[np.generic], shares: dict[str, npt.NDArray[np.generic]],
    numbers: dict[str, npt.NDArray[np.generic]], raised: npt.NDArray[np.int64], lowered: npt.NDArray[np.int64],
    *, text: bool,
) -> dict[str, NamedArray]:  # fmt: skip
    """Arrays whose tokens are indices into one list of words; windows that no event is from are left out."""
    used = np.unique(np.asarray(window)[np.asarray(window) >= 0])
    renamed = np.full(len(windows) + 1, -1, np.int32)
    renamed[used] = np.arange(len(used))
    ids = [np.append(windows[i].ids, windows[i].following) for i in used]  # with the token after the last
    flat = np.concatenate(ids) if ids else np.zeros(0, np.int64)
    known = np.unique(np.concatenate([flat, raised.ravel(), lowered.ravel()]))
    known = known[known >= 0]

    def word(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        return np.where(values < 0, -1, np.searchsorted(known, np.maximum(values, 0))).astype(np.int32)

    names = tuple(model.tokens.text(int(i)) for i in known)
    dims = ("layer", "head", "place")
    labels = {"place": places}
    lengths = [len(i) for i in ids]
    return {
        "example_text": NamedArray(("token",), word(flat)),
        "example_start": NamedArray(("window",), np.cumsum([0, *lengths]).astype(np.int32)),
        "example_words": NamedArray(("word",), known.astype(np.int32), {"word": names} if text else {}),
        "example_window": NamedArray(dims, renamed[np.asarray(window)], labels),
        "example_query": NamedArray(dims, np.asarray(query).astype(np.int32)),
        "example_key": NamedArray((*dims, "key"), np.asarray(key).astype(np.int32)),
        **{f"example_{n}": NamedArray((*dims, "key"), np.asarray(v).astype(np.float32)) for n, v in shares.items()},
        **{f"example_{n}": NamedArray(dims, np.asarray(v).astype(np.float32)) for n, v in numbers.items()},
        "example_raised": NamedArray((*dims, "output"), word(raised)),
        "example_lowered": NamedArray((*dims, "output"), word(lowered)),
    }
