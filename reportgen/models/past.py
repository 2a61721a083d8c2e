"""Continuations of prompts whose beginning is run once.

    past = Past(model, ids[:, :-1])
    logits = past.run(ids[:, -1:].repeat(8, 1), {("z", 3): edit})      # eight variants of every prompt's last position

- In a causal model what happens at a position changes nothing before it: variants that differ from some position on
  share the keys and values of the positions before. Those are kept and never extended.
- Where the family's cache does not give what a full pass gives, the whole prompts are run instead; `check_cache` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reportgen.models.model import POINTS, HookFn, Hooks

if TYPE_CHECKING:
    from reportgen.models.model import Model

_PROBE = 7  # positions of the prompts that the cache is tried on


class Past:
    """The positions before, [row pos]; `run` continues every row.

    cached   use the keys and values of one pass (else every continuation runs its whole prompt again)
    """

    def __init__(self, model: Model, ids: Tensor, *, cached: bool = True) -> None:
        self.model, self.ids = model, ids.to(model.device)
        self.cache = self._prefill() if cached and ids.shape[1] > 0 else None

    @torch.no_grad()
    def _prefill(self) -> Any:
        _, cache = self.model.bridge(self.ids, return_type="logits_and_cache", use_cache=True, logits_to_keep=1)

        def update(keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            held = cache.layers[layer]  # keys [row kv pos d_head]
            old = (_again(held.keys, len(keys)), _again(held.values, len(keys)))
            return torch.cat([old[0], keys], dim=-2), torch.cat([old[1], values], dim=-2)

        cache.update = update  # as the cache's own, but nothing is stored
        return cache

    @torch.no_grad()
    def run(self, ids: Tensor, hooks: Hooks | None = None) -> Tensor:
        """Logits [variant*row pos vocab] float32 of continuations ids [variant*row pos], variants outermost.

        Hooks are keyed (kind, layer) as in Model.run and see the continuation's positions only. Kinds whose axis 1 is
        the position: z, q, k, v and those of the residual stream.
        """
        ids = ids.to(self.model.device)
        before = self.ids.shape[1]
        if before + ids.shape[1] > self.model.record.n_ctx:
            raise ValueError(f"{before} + {ids.shape[1]} positions, the model has {self.model.record.n_ctx}")
        if self.cache is None:
            whole = torch.cat([self.ids.repeat(len(ids) // len(self.ids), 1), ids], dim=1)
            shifted = {at: _from(before, fn) for at, fn in (hooks or {}).items()}
            return self.model.run(whole, shifted)[:, before:]
        named = [(POINTS[kind].format(layer), _bridge(fn)) for (kind, layer), fn in (hooks or {}).items()]
        out: Tensor = self.model.bridge.run_with_hooks(ids, fwd_hooks=named, past_key_values=self.cache)
        return out.float()


def check_cache(model: Model) -> bool:
    """Whether continuations after a cache give the logits of the full pass; tried on two prompts and two variants."""
    ids = (torch.arange(2 * _PROBE) * 7919 + 11).remainder(model.tokens.size).view(2, _PROBE)  # 7919 is prime
    whole = model.run(ids)[:, -2:].repeat(2, 1, 1)
    try:
        got = Past(model, ids[:, :-2]).run(ids[:, -2:].repeat(2, 1))
    except (TypeError, AttributeError, NotImplementedError):
        return False  # a family without a cache
    tolerance = (1e-3 if model.record.dtype == "float32" else 0.05) * float(whole.std())
    return bool(torch.isfinite(got).all()) and float((got - whole).abs().max()) < tolerance


def _again(rows: Tensor, n: int) -> Tensor:
    """The rows over and over until there are n; a single one without a copy."""
    return rows.expand(n, -1, -1, -1) if len(rows) == 1 else rows.repeat(n // len(rows), 1, 1, 1)


def _bridge(fn: HookFn) -> Callable[..., Tensor | None]:
    def hook(tensor: Tensor, hook: Any) -> Tensor | None:
        return fn(tensor)

    return hook


def _from(start: int, fn: HookFn) -> HookFn:
    """`fn` on the positions from `start` on."""

    def hook(tensor: Tensor) -> Tensor | None:
        out = fn(tensor[:, start:])
        return None if out is None else torch.cat([tensor[:, :start], out], dim=1)

    return hook
