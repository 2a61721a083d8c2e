"""Continuations of prompts whose prefix is run once.

    past = Past(model, ids[:, :-1])
    logits = past.run(ids[:, -1:].repeat(8, 1), {("z", 3): edit})      # eight variants of every prompt's last position

- In a causal model a position cannot change earlier ones: variants that differ from some position on
  share the keys and values of the positions before. Those are cached, `CHUNK` positions at a time, then never extended.
- Variants of a single text, also of different beginnings of it, stand in a row as one long continuation: a mask lets
  each see its beginning and itself, and no key or value of the text is copied (`branches`).
- If the family's cache does not reproduce a full pass, whole prompts are run instead; `check_cache`
  decides. `check_branches` says the same of branches, which then are run like other continuations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from reportgen.models.model import POINTS, HookFn, Hooks, Model, Start

CHUNK = 512  # positions run at once: attention of a whole text would take pos x pos numbers for every head
_PROBE = 7  # positions of the prompts that the cache is tried on


@dataclass(frozen=True, eq=False)
class Branch:
    """Continuations ids [variant pos] of a text's first `start` positions; hooks see [variant pos ...]."""

    start: int
    ids: Tensor
    hooks: Hooks


class Past:
    """The positions before, [row pos]; `run` continues every row, `branches` a single one.

    cached   use the keys and values of one pass (else every continuation runs its whole prompt again)
    packed   run branches side by side
    """

    def __init__(self, model: Model, ids: Tensor, *, cached: bool = True, packed: bool = False) -> None:
        self.model, self.ids = model, ids.to(model.device)
        self.cache = self._prefill() if cached and ids.shape[1] > 0 else None
        self.packed = packed and self.cache is not None
        self._beginnings: dict[int, Past] = {}

    @torch.no_grad()
    def _prefill(self) -> Any:
        cache = self._extended()
        layers = cache.layers  # not the cache, which would then hold itself and be freed late

        def update(keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            held = layers[layer]  # keys [row kv pos d_head]
            old = (_again(held.keys, len(keys)), _again(held.values, len(keys)))
            return torch.cat([old[0], keys], dim=-2), torch.cat([old[1], values], dim=-2)

        cache.update = update  # as the cache's own, but nothing is stored
        return cache

    def _extended(self) -> Any:
        """The family's own cache of all positions, extended by one chunk after another."""
        cache, given = None, dict[str, Any]()
        for ids in torch.split(self.ids, CHUNK, dim=1):
            _, cache = self.model.bridge(ids, return_type="logits_and_cache", use_cache=True, logits_to_keep=1, **given)
            given = {"past_key_values": cache}
        return cache

    def values(self, at: Tensor) -> list[Tensor]:
        """Per layer, the value vectors [row place kv d_head] of the positions `at` [place]."""
        layers = range(self.model.record.n_layers)
        at = at.to(self.model.device)
        if self.cache is not None:
            return [self.cache.layers[layer].values[:, :, at].transpose(1, 2) for layer in layers]
        found: dict[int, Tensor] = {}

        def keep(layer: int, v: Tensor) -> None:
            found[layer] = v[:, at].clone()

        self.model.run(self.ids, {("v", layer): partial(keep, layer) for layer in layers}, last=True)
        return [found[layer] for layer in layers]

    @torch.no_grad()
    def run(self, ids: Tensor, hooks: Hooks | None = None, *, last: bool = False) -> Tensor:
        """Logits [variant*row pos vocab] float32 of continuations ids [variant*row pos], variants outermost.

        last    unembed the last position only: [variant*row 1 vocab]

        Hooks are keyed (kind, layer) as in Model.run and see the continuation's positions only: of patterns and scores
        [variant*row head query key] its queries, and every key.
        """
        ids = ids.to(self.model.device)
        before = self.ids.shape[1]
        if before + ids.shape[1] > self.model.record.n_ctx:
            raise ValueError(f"{before} + {ids.shape[1]} positions, the model has {self.model.record.n_ctx}")
        if self.cache is None:
            whole = torch.cat([self.ids.repeat(len(ids) // len(self.ids), 1), ids], dim=1)
            shifted = {at: _from(before, fn, _AXIS.get(at[0], 1)) for at, fn in (hooks or {}).items()}
            return self.model.run(whole, shifted, last=last)[:, 0 if last else before :]
        named = [(POINTS[kind].format(layer), _bridge(fn)) for (kind, layer), fn in (hooks or {}).items()]
        out: Tensor = self.model.bridge.run_with_hooks(
            ids, fwd_hooks=named, past_key_values=self.cache, logits_to_keep=int(last)
        )
        return out.float()

    @torch.no_grad()
    def branches(self, some: Sequence[Branch]) -> list[Tensor]:
        """Logits [variant pos vocab] float32 of every branch of the one text, whose ids are [1 pos]."""
        longest = max(b.start + b.ids.shape[1] for b in some)
        if longest > self.model.record.n_ctx:
            raise ValueError(f"{longest} positions, the model has {self.model.record.n_ctx}")
        if not self.packed or max(longest, self.ids.shape[1]) > _window(self.model):
            return [self._beginning(b.start).run(b.ids, b.hooks) for b in some]
        sizes = [b.ids.numel() for b in some]
        kinds = dict.fromkeys(at for b in some for at in b.hooks)
        named = [(POINTS[kind].format(layer), _side_by_side(some, sizes, (kind, layer))) for kind, layer in kinds]
        positions, mask = _places(some, self.ids.shape[1])
        dtype = getattr(torch, self.model.record.dtype)
        out: Tensor = self.model.bridge.run_with_hooks(
            torch.cat([b.ids.flatten() for b in some])[None].to(self.model.device), fwd_hooks=named,
            past_key_values=self.cache, position_ids=positions[None].to(self.model.device),
            attention_mask=torch.where(mask, 0.0, torch.finfo(dtype).min)[None, None].to(self.model.device, dtype),
        )  # fmt: skip
        parts = torch.split(out[0].float(), sizes)
        return [part.view(*b.ids.shape, -1) for part, b in zip(parts, some, strict=True)]

    def _beginning(self, n: int) -> Past:
        """The first n positions as a past of their own."""
        if n not in self._beginnings:
            self._beginnings[n] = Past(self.model, self.ids[:, :n], cached=self.cache is not None)
        return self._beginnings[n]


def _places(some: Sequence[Branch], before: int) -> tuple[Tensor, Tensor]:
    """Positions [place] of branches side by side, and which of the text and of each other they see [place key]."""
    shapes = [(b.start, *b.ids.shape) for b in some]
    start = torch.cat([torch.full((n * length,), first) for first, n, length in shapes])
    step = torch.cat([torch.arange(length).repeat(n) for _, n, length in shapes])
    begins = torch.arange(len(step)) - step  # the place of each variant's first position
    own = (begins[:, None] == begins) & (step[:, None] >= step)
    return start + step, torch.cat([torch.arange(before) < start[:, None], own], dim=1)


def _side_by_side(some: Sequence[Branch], sizes: Sequence[int], at: tuple[str, int]) -> Callable[..., Tensor | None]:
    """The branches' hooks at one point, as a hook on all of them [1 place ...]."""

    def hook(tensor: Tensor, hook: Any) -> Tensor | None:
        parts = list(torch.split(tensor[0], list(sizes)))
        for i, b in enumerate(some):
            shaped = parts[i].view(*b.ids.shape, *tensor.shape[2:])
            out = b.hooks[at](shaped) if at in b.hooks else None
            parts[i] = parts[i] if out is None else out.reshape(parts[i].shape)
        return torch.cat(parts)[None]

    return hook


def _window(model: Model) -> float:
    """Positions that every layer sees: the mask of branches knows no window, and GPT-Neo masks by place besides."""
    if hasattr(model.config, "window_size"):
        return 0
    size = getattr(model.config, "sliding_window", None)
    return size if isinstance(size, int) and size > 0 else float("inf")


def check_branches(model: Model) -> bool:
    """Whether branches side by side give what continuations one by one give; tried on two beginnings of a text."""
    ids = (torch.arange(4 * _PROBE) * 7919 + 11).remainder(model.tokens.size).view(4, _PROBE)
    some = [Branch(_PROBE - 2, ids[1:3, :2], {}), Branch(2, ids[2:, :3], {})]
    plain = Past(model, ids[:1, :-1]).branches(some)
    try:
        got = Past(model, ids[:1, :-1], packed=True).branches(some)
    except (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError):
        return False  # a family whose positions or mask are not those of a row
    return all(_alike(model, one, other) for one, other in zip(got, plain, strict=True))


def _alike(model: Model, got: Tensor, whole: Tensor) -> bool:
    tolerance = (1e-3 if model.record.dtype == "float32" else 0.05) * float(whole.std())
    return bool(torch.isfinite(got).all()) and float((got - whole).abs().max()) < tolerance


def check_cache(model: Model) -> bool:
    """Whether continuations after a cache give the logits of the full pass; tried on two prompts and two variants."""
    ids = (torch.arange(2 * _PROBE) * 7919 + 11).remainder(model.tokens.size).view(2, _PROBE)  # 7919 is prime
    whole = model.run(ids)[:, -2:].repeat(2, 1, 1)
    try:
        got = Past(model, ids[:, :-2]).run(ids[:, -2:].repeat(2, 1))
    except (TypeError, AttributeError, NotImplementedError):
        return False  # a family without a cache
    return _alike(model, got, whole)


def _again(rows: Tensor, n: int) -> Tensor:
    """The rows repeated to n; a single row without copying."""
    return rows.expand(n, -1, -1, -1) if len(rows) == 1 else rows.repeat(n // len(rows), 1, 1, 1)


def _bridge(fn: HookFn) -> Callable[..., Tensor | None]:
    def hook(tensor: Tensor, hook: Any) -> Tensor | None:
        return fn(tensor)

    return hook


_AXIS = {"pattern": 2, "scores": 2}  # kind -> axis of the position, where it is not 1


def _from(start: int, fn: HookFn, axis: int = 1) -> HookFn:
    """`fn` on the positions from `start` on."""

    def hook(tensor: Tensor) -> Tensor | None:
        out = fn(tensor.narrow(axis, start, tensor.shape[axis] - start))
        return None if out is None else torch.cat([tensor.narrow(axis, 0, start), out], dim=axis)

    return hook


def last_logits(
    past: Past, ids: Tensor, hooks: Hooks | None = None, *, start: Start | None = None, grad: bool = False
) -> Tensor:
    """Logits [variant*row vocab] float32 after continuations ids [variant*row pos], variants outermost.

    hooks   see the continuation's positions only, as in `Past.run`
    start   (layer, resid_pre of that layer, of the continuation): earlier blocks are skipped; where there is a cache
    grad    keep the graph of the continuation: with one token, of the last position alone. What hooks return can be
            differentiated; without a cache the graph is that of the whole prompts
    """
    ids = ids.to(past.model.device)
    if past.cache is not None:
        return past.model.run(ids, hooks, last=True, grad=grad, start=start, past=past)[:, -1]
    if start is not None:
        raise ValueError("start: without a cache whole prompts are run")
    whole = torch.cat([past.ids.repeat(len(ids) // len(past.ids), 1), ids], dim=1)
    shifted = {at: _from(past.ids.shape[1], fn) for at, fn in (hooks or {}).items()}
    return past.model.run(whole, shifted, last=True, grad=grad)[:, -1]


def beside_logits(
    past: Past, ids: Tensor, count: int, hooks: Hooks | None = None, *, start: Start | None = None
) -> Tensor:
    """Logits [row variant vocab] float32 of `count` variants of one more token ids [row 1], side by side in each row.

    hooks   see [row variant ...];  start: (layer, resid_pre of that layer [row variant d_model])

    Every variant stands at the same position and sees the past and itself: no key or value is copied. Only where
    `runs_beside`.
    """
    model, before = past.model, past.ids.shape[1]
    own = torch.eye(count, dtype=torch.bool)
    mask = torch.cat([torch.ones(count, before, dtype=torch.bool), own], dim=1)
    dtype = getattr(torch, model.record.dtype)
    beside = {
        "position_ids": torch.full((1, count), before, device=model.device),
        "attention_mask": torch.where(mask, 0.0, torch.finfo(dtype).min)[None, None].to(model.device, dtype),
    }
    return model.run(ids.to(model.device).expand(-1, count), hooks, start=start, past=past, beside=beside)


def runs_beside(model: Model, positions: int) -> bool:
    """Whether variants of the token after so many positions may run side by side (`beside_logits`): tried once."""
    if not model.keeps_past or positions >= _window(model):
        return False
    found = _BESIDE.get(model)
    if found is None:
        found = _BESIDE[model] = check_branches(model)
    return found


_BESIDE: WeakKeyDictionary[Model, bool] = WeakKeyDictionary()
