"""Running statistics of every head over a stream of windows. A pattern is reduced inside the forward pass, layer by
layer, and none is kept: what grows with the stream is a row of sums per window.

Queries are the positions from `first` on. Position 0 is left out as a key of every statistic but `sink` and `first4`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.suites.text.classes import KINDS
from reportgen.suites.text.scoring.stream import Window, batches
from reportgen.suites.text.scoring.tokens_of import PAIRED, BatchTokens, WindowCounts, of_batch

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model

Float32s = npt.NDArray[np.float32]

# Distances in bins: [first, last] of each.
BINS = (
    (0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 8), (9, 16), (17, 32), (33, 64), (65, 128), (129, 1 << 30),
)  # fmt: skip
SINGLE = (
    "sink", "first4", "entropy", "distance", "mass", "induction", "duplicate", "next", "z_norm", "norm", "norm_rel",
    "dla", "dla_abs",
)  # fmt: skip
WRITTEN = ("dla", "dla_abs")  # need the final norm, which comes last


def columns(n_classes: int) -> dict[str, slice]:
    """Where each statistic stands in a row of sums."""
    found: dict[str, slice] = {}
    at = 0
    for name, size in (
        *((name, 1) for name in SINGLE), ("offset", len(BINS)), ("class", n_classes), ("kind", len(KINDS)),
        ("kind_null", len(KINDS)),
    ):  # fmt: skip
        found[name] = slice(at, at + size)
        at += size
    return found


@dataclass(frozen=True, eq=False)
class Tally:
    """What is left of a pass.

    sums      [window layer head column] sums over a window's queries, by `columns`
    controls  [2 layer head distance] sums of mass at a distance over queries without a key of each of PAIRED
    controlled [2 distance] how many such queries have a key at that distance
    counts    per window
    """

    sums: Float32s
    controls: npt.NDArray[np.float64]
    controlled: npt.NDArray[np.int64]
    counts: tuple[WindowCounts, ...]
    first: int
    n_classes: int

    def sum_of(self, name: str) -> npt.NDArray[np.float64]:
        """[window layer head] of a single statistic, [window layer head bin] of one with bins."""
        part = self.sums[..., columns(self.n_classes)[name]].astype(np.float64)
        return part[..., 0] if part.shape[-1] == 1 and name in SINGLE else part

    @property
    def queries(self) -> npt.NDArray[np.int64]:
        """[window]"""
        return np.array([c.queries for c in self.counts])

    @property
    def followed(self) -> npt.NDArray[np.int64]:
        """[window] queries with a next token."""
        return np.array([c.followed for c in self.counts])


class Listener(Protocol):
    """Sees every layer's attention while it is there."""

    def saw(self, layer: int, batch: Sequence[int], pattern: Tensor, z: Tensor, v: Tensor | None, norm: Tensor,
            dla: Tensor, read: Reading) -> None: ...  # fmt: skip
    def ended(self, batch: Sequence[int], sigma: Tensor) -> None: ...


@dataclass(frozen=True, eq=False)
class Writers:
    """What turns a head's z into what it writes.

    W_O     per layer [head d_head d_model], the scale of a norm after it multiplied in
    raw     the same without that scale; empty where no norm stands after W_O
    gram    per layer [head d_head d_head] W_O W_O^T
    scale   [d_model] of the final norm, or None;  centred  whether that norm takes the mean away;  eps of norms
    W_U     [d_model vocab], mean [d_model] over the tokens there are
    """

    W_O: list[Tensor]
    raw: list[Tensor]
    gram: list[Tensor]
    scale: Tensor | None
    centred: bool
    eps: float
    W_U: Tensor
    mean: Tensor

    def toward(self, ids: Tensor) -> Tensor:
        """[token d_model] directions before the final norm whose product with an addend, over the norm's divisor, is
        its part of the token's logit, less the mean over the vocabulary."""
        found = self.W_U[:, ids].T - self.mean
        found = found if self.scale is None else found * self.scale
        return found - found.mean(1, keepdim=True) if self.centred else found

    def divisor(self, residual: Tensor) -> Tensor:
        """[...] what the final norm divides the residual stream [... d_model] by."""
        return divisor(residual, self.eps, centred=self.centred)


def divisor(values: Tensor, eps: float, *, centred: bool) -> Tensor:
    """Root mean square, or standard deviation, over the last dimension."""
    values = values.float()
    size = values.var(-1, unbiased=False) if centred else values.square().mean(-1)
    return (size + eps).sqrt()


def writers(model: Model) -> Writers:
    """Weights that every pass needs, read once."""
    config, layers = model.config, range(model.record.n_layers)
    names = ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps")
    eps = next((float(getattr(config, name)) for name in names if getattr(config, name, None) is not None), 1e-5)
    after = [model.post_attn_scale(layer) for layer in layers]
    raw = [model.W_O(layer) for layer in layers]
    W_O = [w if a is None else w * a for w, a in zip(raw, after, strict=True)]
    W_U = model.W_U()
    return Writers(
        W_O=W_O,
        raw=[] if after[0] is None else raw,
        gram=[torch.einsum("nhd,ngd->nhg", w, w) for w in W_O],
        scale=model.final_scale(),
        centred=not hasattr(config, "rms_norm_eps"),
        eps=eps,
        W_U=W_U,
        mean=W_U[:, : model.tokens.size].mean(1),
    )


@dataclass(frozen=True, eq=False)
class Reading:
    """The tokens of a batch, as directions.

    tokens     [token] the different ones;  directions [token d_model]
    own, next  [window pos] place of each position's token, and of its next one (0 where there is none)
    inside     [window token] the window holds the token
    """

    tokens: Tensor
    directions: Tensor
    own: Tensor
    next: Tensor
    followed: Tensor
    inside: Tensor


def _reading(windows: Sequence[Window], of: Writers, device: torch.device) -> Reading:
    ids = torch.from_numpy(np.stack([w.ids for w in windows])).to(device)
    following = torch.from_numpy(np.stack([w.next_ids for w in windows])).to(device)
    followed = following >= 0
    following = torch.where(followed, following, ids)
    tokens, places = torch.unique(torch.stack([ids, following]), return_inverse=True)
    inside = torch.zeros(len(windows), len(tokens), dtype=torch.bool, device=device)
    inside.scatter_(1, places[0], value=True)
    return Reading(tokens, of.toward(tokens), places[0], places[1], followed, inside)


def tally(
    model: Model,
    windows: Sequence[Window],
    of: Writers,
    table: npt.NDArray[np.int64],
    n_classes: int,
    first: int,
    batch: int,
    progress: Callable[[int, int], None] = lambda *_: None,
    listener: Listener | None = None,
) -> Tally:
    """Run every window once. table [id] class of a token; `listener` sees each layer's attention as it comes."""
    record = model.record
    longest = max(len(w.ids) for w in windows)
    width = max(part.stop for part in columns(n_classes).values())
    sums = np.empty((len(windows), record.n_layers, record.n_heads, width), np.float32)
    controls = np.zeros((len(PAIRED), record.n_layers, record.n_heads, longest))
    controlled = np.zeros((len(PAIRED), longest), np.int64)
    counts: list[WindowCounts | None] = [None] * len(windows)
    done = 0
    for rows in batches(windows, batch):
        some = [windows[i] for i in rows]
        tokens = of_batch(some, table, n_classes, first, model.device)
        found = one_batch(model, rows, tokens, _reading(some, of, model.device), of, first, listener)
        sums[rows] = found.sums
        length = found.controls.shape[-1]
        controls[..., :length] += found.controls
        controlled[:, :length] += found.controlled
        for row, own in zip(rows, tokens.counts, strict=True):
            counts[row] = own
        done += len(rows)
        progress(done, len(windows))
    return Tally(sums, controls, controlled, tuple(c for c in counts if c is not None), first, n_classes)


@dataclass(frozen=True, eq=False)
class _Found:
    sums: Float32s  # [window layer head column]
    controls: npt.NDArray[np.float64]  # [2 layer head distance]
    controlled: npt.NDArray[np.int64]  # [2 distance]


@dataclass
class _Layer:
    """What a layer's hooks leave: small, but for what is let go once `z` has been seen."""

    pattern: Tensor | None = None
    v: Tensor | None = None
    residual: Tensor | None = None  # [window pos] norm of the stream before the layer
    reduced: dict[str, Tensor] = field(default_factory=dict)
    dla: Tensor | None = None  # [window query head], not yet divided by the final norm


def one_batch(
    model: Model, rows: Sequence[int], tokens: BatchTokens, read: Reading, of: Writers, first: int,
    listener: Listener | None,
) -> _Found:  # fmt: skip
    """One forward pass of equally long windows."""
    layers = [_Layer() for _ in range(model.record.n_layers)]
    final: list[Tensor] = []
    hooks: dict[tuple[str, int], HookFn] = {}
    for index, layer in enumerate(layers):
        hooks["resid_pre", index] = partial(_see_residual, layer)
        hooks["pattern", index] = partial(_see_pattern, layer, tokens, first)
        hooks["z", index] = partial(_see_z, layer, index, rows, tokens, read, of, first, listener)
        if listener is not None:
            hooks["v", index] = partial(_see_v, layer)
    hooks["resid_post", len(layers) - 1] = lambda after: final.append(of.divisor(after))
    model.run(tokens.ids, hooks, last=True)
    sigma = final[0]  # [window pos]
    if listener is not None:
        listener.ended(rows, sigma)
    n_classes = tokens.classes.shape[-1]
    return _collected(layers, sigma, read, first, columns(n_classes), tokens)


def _see_residual(layer: _Layer, residual: Tensor) -> None:
    layer.residual = residual.float().norm(dim=-1)


def _see_v(layer: _Layer, v: Tensor) -> None:
    layer.v = v


def sheared(pattern: Tensor) -> Tensor:
    """[window head query-1 place] of a causal pattern [window head query key], from query 1 on, without a copy: place e
    holds the key at distance length - 1 - e, and 0 where there is none, since a row's end is above the diagonal."""
    windows, heads, length, _ = pattern.shape
    strides = (heads * length * length, length * length, length + 1, 1)
    return pattern.as_strided((windows, heads, length - 1, length), strides, pattern.storage_offset() + 2)


def by_distance(pattern: Tensor, weights: Tensor) -> Tensor:
    """[window head w distance] sum over queries of weights [window w query-1] times the mass at each distance, key 0
    left out; pattern [window head query key], contiguous."""
    windows, heads, length, _ = pattern.shape
    view = sheared(pattern).flatten(0, 1)
    some = weights[:, None].expand(-1, heads, -1, -1).flatten(0, 1)
    found = torch.bmm(some, view).flip(-1).view(windows, heads, -1, length)
    at_zero = weights[:, None] * pattern[:, :, None, 1:, 0]  # the key 0 of query q stands at distance q
    found[..., 1:] -= at_zero
    return found.clamp_min_(0)


def _see_pattern(layer: _Layer, tokens: BatchTokens, first: int, pattern: Tensor) -> None:
    pattern = pattern.float().contiguous()
    windows, heads, length, _ = pattern.shape
    rows = pattern[:, :, first:]
    out = layer.reduced
    out["sink"] = rows[..., 0].sum(-1)
    out["first4"] = rows[..., :4].sum((-1, -2))
    widest = torch.arange(first + 1, length + 1, device=pattern.device).log().clamp_min(1e-9)  # ln(q + 1)
    logs = rows.clamp_min(1e-30).log_().mul_(rows).sum(-1)
    out["entropy"] = -(logs / widest).sum(-1)
    out["class"] = torch.bmm(rows.sum(-2), tokens.classes)  # [window head class]
    masses = torch.bmm(pattern.view(windows, heads, -1), tokens.keys)  # [window head 3]
    out["induction"], out["duplicate"], out["next"] = masses.unbind(-1)
    distances = by_distance(pattern, tokens.weights)  # [window head 3 distance]
    whole = distances[:, :, 0]
    steps = torch.arange(length, device=pattern.device, dtype=torch.float32)
    out["distance"], out["mass"] = whole @ steps, whole.sum(-1)
    edges = [whole[..., low : high + 1].sum(-1) for low, high in BINS]
    out["offset"] = torch.stack(edges, -1)
    out["controls"] = distances[:, :, 1:].sum(0)  # [head 2 distance]
    layer.pattern = pattern


def _see_z(
    layer: _Layer, index: int, rows: Sequence[int], tokens: BatchTokens, read: Reading, of: Writers, first: int,
    listener: Listener | None, z: Tensor,
) -> None:  # fmt: skip
    pattern, layer.pattern = layer.pattern, None
    v, layer.v = layer.v, None
    assert pattern is not None
    z = z.float()
    norm = written_norms(z, of.gram[index])  # [window pos head]
    dla = _toward_next(z, of.W_O[index], read)
    if of.raw:
        share = 1.0 / divisor(torch.einsum("bphe,hed->bpd", z, of.raw[index]), of.eps, centred=False)
        norm, dla = norm * share[..., None], dla * share[..., None]
    out = layer.reduced
    out["z_norm"] = z[:, first:].norm(dim=-1).sum(1)
    out["norm"] = norm[:, first:].sum(1)
    assert layer.residual is not None
    out["norm_rel"] = (norm / layer.residual.clamp_min(1e-12)[..., None])[:, first:].sum(1)
    out["kind"], out["kind_null"] = _by_kind(pattern, norm, tokens, first)
    layer.dla = dla
    if listener is not None:
        listener.saw(index, rows, pattern, z, v, norm, dla, read)


def written_norms(z: Tensor, gram: Tensor) -> Tensor:
    """||z W_O|| [window pos head] of z [window pos head d_head] by the Gram matrices [head d_head d_head]."""
    windows, length, heads, size = z.shape
    flat = z.permute(2, 0, 1, 3).reshape(heads, windows * length, size)
    squared = (torch.bmm(flat, gram) * flat).sum(-1).clamp_min(0)
    return squared.sqrt().view(heads, windows, length).permute(1, 2, 0)


def _toward_next(z: Tensor, W_O: Tensor, read: Reading) -> Tensor:
    """[window pos head] z W_O toward the next token, not yet divided by the final norm."""
    reader = torch.einsum("hed,td->the", W_O, read.directions)  # [token head d_head]
    return (z * reader[read.next]).sum(-1)


def strongest(rows: Tensor) -> Tensor:
    """[...] place of the largest of rows [... key], the first of equal ones; numpy's is four times as fast on a CPU."""
    return torch.from_numpy(rows.numpy().argmax(-1)) if rows.device.type == "cpu" else rows.argmax(-1)


def _by_kind(pattern: Tensor, norm: Tensor, tokens: BatchTokens, first: int) -> tuple[Tensor, Tensor]:
    """[window head kind] squared output norm by the kind of the strongest key, and what it would be if that key's kind
    were that of a key at the same distance in another query of the window."""
    windows, heads, length, _ = pattern.shape
    top = strongest(pattern[:, :, first:])  # [window head query]
    squared = norm[:, first:].square().permute(0, 2, 1)  # [window head query]
    flat = tokens.kinds[:, first:].flatten(1)  # [window query*key]
    at = torch.arange(length - first, device=top.device) * length
    kind = flat.gather(1, (at + top).flatten(1)).view_as(top).long()
    found = torch.zeros(windows, heads, len(KINDS), device=top.device)
    found.scatter_add_(2, kind, squared)
    distance = torch.arange(first, length, device=top.device) - top
    spread = torch.zeros(windows, heads, length, device=top.device)
    spread.scatter_add_(2, distance, squared)
    return found, torch.bmm(spread, tokens.by_distance)


def _collected(
    layers: Sequence[_Layer], sigma: Tensor, read: Reading, first: int, at: dict[str, slice], tokens: BatchTokens
) -> _Found:
    """Sums of a batch on the host, copied at once."""
    width = max(part.stop for part in at.values())
    heads = layers[0].reduced["sink"].shape[1]
    sums = torch.empty(len(sigma), len(layers), heads, width, device=sigma.device)
    use = (read.followed / sigma)[:, first:, None]  # [window query 1]
    for index, layer in enumerate(layers):
        assert layer.dla is not None
        written = layer.dla[:, first:] * use
        layer.reduced["dla"], layer.reduced["dla_abs"] = written.sum(1), written.abs().sum(1)
        for name, part in at.items():
            value = layer.reduced[name]
            sums[:, index, :, part] = value if value.ndim == 3 else value[..., None]
    controls = torch.stack([layer.reduced["controls"] for layer in layers]).permute(2, 0, 1, 3)
    weights = tokens.weights[:, 1:].sum(0)  # [2 query-1]
    return _Found(sums.cpu().numpy(), controls.cpu().double().numpy(), _having(weights.cpu().numpy()))


def _having(weights: Float32s) -> npt.NDArray[np.int64]:
    """[2 distance] how many of the queries 1.. counted by weights [2 query-1] have a key at each distance, 0 not one:
    distance d needs q >= d + 1."""
    total = weights[:, ::-1].cumsum(1)[:, ::-1]
    return np.asarray(np.rint(np.concatenate([total, np.zeros((len(weights), 1))], 1)), np.int64)


def matched(tally: Tally, name: str) -> npt.NDArray[np.float64]:
    """[window layer head] sums of what the keys of a statistic would get at their distances in queries without one.

    A distance that no such query has takes the nearest shorter one's mean.
    """
    which = PAIRED.index(name)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = tally.controls[which] / tally.controlled[which]  # [layer head distance]
    known = tally.controlled[which] > 0
    places = np.where(known, np.arange(len(known)), -1)
    nearest = np.maximum.accumulate(places)
    mean = np.where(nearest >= 0, mean[..., np.maximum(nearest, 0)], 0.0)
    out = np.zeros(tally.sums.shape[:3])
    for row, counts in enumerate(tally.counts):
        own = counts.distances[which].astype(np.float64)
        out[row] = mean[..., : len(own)] @ own
    return out
