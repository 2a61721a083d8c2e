"""What a suite may ask of a model: logits, hooks on attention, and the static weights.

    logits = model.logits(ids)                                          # [batch pos vocab]
    logits = model.run(ids, {("z", 3): lambda z: z * mask})             # write into layer 3's head outputs
    model.run_until(ids, {("pattern", 0): keep}, 1)                     # blocks before 1 only

- The one file beside boot.py that knows TransformerBridge. Hooks never outlive a call, also when one raises.
- Raw weights: nothing is folded or centred.
- No padding anywhere: a batch holds prompts of equal length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from reportgen.errors import NotApplicable
from reportgen.manifest import ModelRecord
from reportgen.models.statics import MemorySource, StaticWeights, Weights
from reportgen.models.tokens import Tokens

__all__ = ["HookFn", "Hooks", "Model", "Start", "Weights"]

HookFn = Callable[[Tensor], Tensor | None]
Hooks = Mapping[tuple[str, int], HookFn]
Start = tuple[int, Tensor]  # (layer, resid_pre of that layer)

# Kind -> hook point. Shapes: z and q [batch pos n_heads d_head]; k and v [batch pos n_kv d_head];
# pattern and scores [batch n_heads query key]; the rest [batch pos d_model].
POINTS = {
    "z": "blocks.{}.attn.hook_z",  # each head's output before W_O
    "q": "blocks.{}.attn.hook_q",  # before rotary positions
    "k": "blocks.{}.attn.hook_k",
    "v": "blocks.{}.attn.hook_v",
    "pattern": "blocks.{}.attn.hook_pattern",  # after softmax
    "scores": "blocks.{}.attn.hook_attn_scores",  # before softmax, masked
    "attn_out": "blocks.{}.hook_attn_out",
    "mlp_out": "blocks.{}.hook_mlp_out",
    "resid_pre": "blocks.{}.hook_resid_pre",
    "resid_post": "blocks.{}.hook_resid_post",
}


class Model(StaticWeights):
    """A model that can be run; also `Weights`. `bridge` is the TransformerBridge, for suites that train."""

    def __init__(self, bridge: Any, tensors: Mapping[str, Tensor], config: Any, record: ModelRecord, tokens: Tokens):
        device = next(iter(tensors.values())).device
        super().__init__(MemorySource(tensors), config, record, tokens, device)
        self.bridge = bridge

    @property
    def can_edit_pattern(self) -> bool:
        """Whether hooks of kind "pattern" may write, and "scores" exist (not in OPT, GPT-J and GPT-Neo)."""
        return self.layout.pattern_seam

    def logits(self, ids: Tensor) -> Tensor:
        """[batch pos] -> [batch pos vocab] float32."""
        return self.run(ids)

    def run(
        self,
        ids: Tensor,
        hooks: Hooks | None = None,
        *,
        last: bool = False,
        grad: bool = False,
        start: Start | None = None,
    ) -> Tensor:
        """Logits [batch pos vocab] float32 of ids [batch pos] with `hooks` applied, which are gone afterwards.

        hooks   {(kind, layer): fn}; fn(tensor) returns a replacement or None; kinds and shapes: `POINTS`
        last    unembed the last position only: [batch 1 vocab], much cheaper with a large vocabulary
        grad    keep the graph: every activation from the embedding on can be differentiated; weights stay frozen
        start   (layer, resid_pre of that layer [batch pos d_model]): earlier blocks are skipped, hooks on them unused

        Raises NotApplicable for writes that the family cannot honour, ValueError for an unknown kind or layer.
        """
        hooks, before = _started(hooks or {}, start)
        with self._skipped(before):
            return self._forward(ids, hooks, grad=grad, logits_to_keep=int(last)).float()

    def run_until(self, ids: Tensor, hooks: Hooks, layer: int, *, start: Start | None = None) -> None:
        """Run the blocks before `layer` only: for reading activations of early layers; `start` as in `run`."""
        hooks, before = _started(hooks, start)
        with self._skipped(before):
            self._forward(ids, hooks, grad=False, stop_at_layer=layer)

    @contextmanager
    def _skipped(self, before: int) -> Iterator[None]:
        """Blocks below `before` hand on what they are given; their own forward is back afterwards."""
        blocks = [self.bridge.blocks[layer] for layer in range(before)]
        try:
            for block in blocks:  # in __dict__: the bridge would set the attribute on Hugging Face's own block
                block.__dict__["forward"] = _hand_on_tuple if self._blocks_give_tuples else _hand_on
            yield
        finally:
            for block in blocks:
                block.__dict__.pop("forward", None)

    @cached_property
    def _blocks_give_tuples(self) -> bool:
        """Whether a block returns (hidden states, ...), as GPT-J's and GPT-Neo's do, or the hidden states alone."""
        kinds: list[bool] = []
        handle = self.bridge.blocks[0].register_forward_hook(lambda _, __, out: kinds.append(isinstance(out, tuple)))
        try:
            self.run_until(torch.zeros(1, 1, dtype=torch.long), {}, 1)
        finally:
            handle.remove()
        return kinds[0]

    def _forward(self, ids: Tensor, hooks: Hooks, *, grad: bool, **how: int) -> Tensor:
        if ids.ndim != 2 or ids.shape[1] > self.record.n_ctx:
            raise ValueError(f"ids of shape {tuple(ids.shape)}: want [batch pos] with at most {self.record.n_ctx} pos")
        named = [(self._point(kind, layer), self._wrap(kind, fn, grad=grad)) for (kind, layer), fn in hooks.items()]
        if grad:
            named.append(("hook_embed", _require_grad))
        with torch.enable_grad() if grad else torch.no_grad():
            out: Tensor = self.bridge.run_with_hooks(ids.to(self.device), fwd_hooks=named, use_cache=False, **how)
        return out

    def _point(self, kind: str, layer: int) -> str:
        if kind not in POINTS:
            raise ValueError(f"no hook of kind {kind!r}; there are {', '.join(POINTS)}")
        if not 0 <= layer < self.record.n_layers:
            raise ValueError(f"layer {layer} of a model with {self.record.n_layers}")
        if kind == "scores" and not self.can_edit_pattern:
            raise NotApplicable(f"Attention scores before softmax can't be read in a {self.record.family} model.")
        return POINTS[kind].format(layer)

    def _wrap(self, kind: str, fn: HookFn, *, grad: bool) -> Callable[..., Tensor | None]:
        """`fn` as the bridge calls it. Where a write would be dropped in silence, it is refused instead."""
        read_only = kind == "pattern" and not self.can_edit_pattern

        def hook(tensor: Tensor, hook: Any) -> Tensor | None:
            out = fn(tensor)
            if out is not None and read_only:
                raise NotApplicable(f"Attention patterns of a {self.record.family} model can be read but not replaced.")
            # The tensor that fn sees is a view: the graph goes through it only when it is handed back.
            return tensor if out is None and grad and not read_only else out

        return hook


def _started(hooks: Hooks, start: Start | None) -> tuple[Hooks, int]:
    """The hooks that a run from `start` on needs, and how many blocks it skips."""
    if start is None:
        return hooks, 0
    first, residual = start
    kept = {(kind, layer): fn for (kind, layer), fn in hooks.items() if layer >= first}
    return {("resid_pre", first): lambda given: residual.to(given.dtype), **kept}, first


def _hand_on(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden_states


def _hand_on_tuple(hidden_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor]:
    return (hidden_states,)


def _require_grad(embedded: Tensor, hook: Any) -> Tensor:
    """Make the embedding a leaf: weights are frozen, so the graph begins here (unless a suite has thawed them)."""
    return embedded if embedded.requires_grad else embedded.detach().requires_grad_()
