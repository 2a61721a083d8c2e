"""What a suite can use of a model: logits, hooks on attention, and static weights.

    logits = model.logits(ids)                                          # [batch pos vocab]
    logits = model.run(ids, {("z", 3): lambda z: z * mask})             # write into layer 3's head outputs
    model.run_until(ids, {("pattern", 0): keep}, 1)                     # blocks before 1 only

- The only file that uses TransformerBridge. Hooks never outlive a call, even if one raises.
- Raw weights: nothing is folded or centred.
- No padding: all prompts in a batch have the same length.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast

from reportgen.errors import NotApplicable
from reportgen.manifest import ModelRecord
from reportgen.models.tokens import Tokens
from reportgen.models.weights import MemorySource, StaticWeights, Weights

if TYPE_CHECKING:
    from reportgen.models.prefix_cache import Past

__all__ = ["HookFn", "Hooks", "Model", "Start", "Weights"]

HookFn = Callable[[Tensor], Tensor | None]
Hooks = Mapping[tuple[str, int], HookFn]
Start = tuple[int, Tensor]  # (layer, resid_pre of that layer)
Given = Mapping[int, Tensor]  # layer -> output of its attention module [batch pos d_model], before any norm after it

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

    def free(self) -> None:
        """Let go of the weights, whatever still refers to this model (its own modules do); it can't be run any more."""
        assert isinstance(self.source, MemorySource)  # as it is made
        for tensor in [*self.source.tensors.values(), *self.bridge.parameters(), *self.bridge.buffers()]:
            tensor.data = tensor.data.new_empty(0)

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
        attention: Given | None = None,
        vocab: Tensor | None = None,
        past: Past | None = None,
        beside: Mapping[str, Tensor] | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """Logits [batch pos vocab] float32 of ids [batch pos] with temporary `hooks`.

        hooks   {(kind, layer): fn}; fn(tensor) returns a replacement or None; kinds and shapes: `POINTS`
        last    unembed the last position only: [batch 1 vocab], much cheaper with a large vocabulary
        grad    keep the graph: every activation from the embedding on can be differentiated; weights stay frozen
        start   (layer, resid_pre of that layer [batch pos d_model]): earlier blocks are skipped, hooks on them unused
        attention  what these layers' attention gives, in place of computing it (`attention_output`); their hooks on z,
                q, k, v and patterns are unused
        vocab   token ids: logits of these alone, in this order
        past    the positions before [row pos]; ids, hooks and start are of the continuation, [variant*row pos] with
                variants outermost. Only where `keeps_past`
        beside  position_ids and attention_mask of ids that are no row of text (prefix_cache.py)
        at      positions [place] to unembed, in place of all: [batch place vocab]

        Raises NotApplicable for writes that the family does not support, ValueError for an unknown kind or layer.
        """
        hooks, before = _started(hooks or {}, start)
        keep = int(last) if at is None else at.to(self.device)
        with self._skipped(before), self._given(attention or {}), self._unembedding(vocab):
            return self._forward(ids, hooks, grad=grad, past=past, logits_to_keep=keep, **(beside or {})).float()

    def run_until(
        self, ids: Tensor, hooks: Hooks, layer: int, *, start: Start | None = None, attention: Given | None = None,
        past: Past | None = None,
    ) -> None:  # fmt: skip
        """Run the blocks before `layer` only: for reading activations of early layers; the rest as in `run`."""
        hooks, before = _started(hooks, start)
        with self._skipped(before), self._given(attention or {}):
            self._forward(ids, hooks, grad=False, past=past, stop_at_layer=layer)

    def attention_output(self, layer: int, z: Tensor) -> Tensor:
        """What the attention module of a layer gives for z [... n_heads d_head]: [... d_model] float32."""
        out, bias = z.float().flatten(-2) @ self.W_O(layer).float().flatten(0, 1), self.b_O(layer)
        return out if bias is None else out + bias.float()

    @contextmanager
    def _skipped(self, before: int) -> Iterator[None]:
        """Within the block, blocks below `before` pass their input through."""
        hand_on = _hand_on_tuple if before and self._blocks_give_tuples else _hand_on
        with _replaced({self.bridge.blocks[layer]: hand_on for layer in range(before)}):
            yield

    @contextmanager
    def _given(self, attention: Given) -> Iterator[None]:
        """Within the block, these layers' attention modules give these outputs."""
        with _replaced({self.bridge.blocks[layer].attn: _giving(out) for layer, out in attention.items()}):
            yield

    @contextmanager
    def _unembedding(self, vocab: Tensor | None) -> Iterator[None]:
        """Within the block, logits are those of the tokens `vocab`."""
        if vocab is None:
            yield
            return
        module, some = self.bridge.unembed, vocab.to(self.device)
        weight, bias = module.W_U[:, some], module.b_U[some]
        with _replaced({module: lambda hidden, **_: hidden @ weight + bias}):
            yield

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

    @cached_property
    def keeps_past(self) -> bool:
        """Whether continuations of a kept past are exact in this family; tried once."""
        from reportgen.models.prefix_cache import check_cache  # which imports this module

        return check_cache(self)

    def _forward(self, ids: Tensor, hooks: Hooks, *, grad: bool, past: Past | None = None, **how: Any) -> Tensor:
        if ids.ndim != 2 or ids.shape[1] > self.record.n_ctx:
            raise ValueError(f"ids of shape {tuple(ids.shape)}: want [batch pos] with at most {self.record.n_ctx} pos")
        named = [(self._point(kind, layer), self._wrap(kind, fn, grad=grad)) for (kind, layer), fn in hooks.items()]
        if grad:
            named.append(("hook_embed", _require_grad))
        kept: dict[str, Any] = {"use_cache": False} if past is None else {"past_key_values": past.cache}
        with torch.enable_grad() if grad else torch.no_grad():
            out: Tensor = self.bridge.run_with_hooks(ids.to(self.device), fwd_hooks=named, **kept, **how)
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
        """`fn` as the bridge calls it. A write that would be silently dropped is refused."""
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
    own = kept.get(("resid_pre", first))

    def inject(given: Tensor) -> Tensor:
        begun = residual.to(given.dtype)
        written = own(begun) if own else None
        return begun if written is None else written

    return {**kept, ("resid_pre", first): inject}, first


@contextmanager
def _replaced(forwards: Mapping[Any, Callable[..., Any]]) -> Iterator[None]:
    """Within the block, these modules (the keys) are run by these functions."""
    try:
        for module, forward in forwards.items():  # in __dict__: the bridge would set it on Hugging Face's own module
            module.__dict__["forward"] = forward
        yield
    finally:
        for module in forwards:
            module.__dict__.pop("forward", None)


def _giving(out: Tensor) -> Callable[..., tuple[Tensor, None]]:
    """An attention module's forward that gives `out`. BLOOM's adds the residual, its second argument, in the module."""

    def forward(normed: Tensor | None = None, residual: Tensor | None = None, **how: Any) -> tuple[Tensor, None]:
        stream = normed if normed is not None else how["hidden_states"]
        given = out.to(stream.dtype)
        return (given if residual is None else given + residual), None

    return forward


def _hand_on(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden_states


def _hand_on_tuple(hidden_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor]:
    return (hidden_states,)


def _require_grad(embedded: Tensor, hook: Any) -> Tensor:
    """Make the embedding a leaf: weights are frozen, so the graph begins here (unless a suite has thawed them)."""
    return embedded if embedded.requires_grad else embedded.detach().requires_grad_()


# From a Hugging Face model to a TransformerBridge, quietly and offline.


def boot(hf_model: Any) -> Any:
    """A TransformerBridge around `hf_model`: shares its storage and rewires it in place. Weights are frozen.

    The bridge requires a tokenizer and would look one up by name; it gets a dummy, because ids are made by
    `Tokens` only.
    """
    hf_model.config.architectures = [type(hf_model).__name__]  # what was loaded, whatever the file says
    fast: Any = PreTrainedTokenizerFast  # half-typed upstream
    blank = fast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")))
    with quiet(), torch.random.fork_rng(devices=[]):  # splitting joint Q, K and V draws random numbers it throws away
        bridge = TransformerBridge.boot_transformers(
            "reportgen", hf_model=hf_model, tokenizer=blank, device=str(hf_model.device)
        )
    for parameter in bridge.parameters():  # the bridge makes parameters of its own for joint Q, K and V
        parameter.requires_grad_(False)
    return bridge


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own progress bars; its warnings stay."""
    log: Any = transformers.utils.logging  # half-typed upstream
    bars = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            log.enable_progress_bar()
