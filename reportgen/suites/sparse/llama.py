"""A plain Llama with gates, for training speed: rotary positions, grouped queries, RMSNorm, gated MLP.

It holds no weights: it computes with the tensors of a state dict under Hugging Face's names. Queries, keys, scores and
gates are always float32: they decide which gates open. With `number` bfloat16, the other products read a copy of their
frozen weights in that type, made once; a weight that is trained is never rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from reportgen.suites.sparse.gates import Gate, Noise, straight_through, uniform_of

_PLAIN = {"hidden_act": "silu", "mlp_bias": False, "pretraining_tp": 1}


def fits(config: Any) -> bool:
    """Whether this file computes what a config asks for."""
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type == "llama"
        and rope.get("rope_type", "default") == "default"
        and all(getattr(config, key, value) == value for key, value in _PLAIN.items())
    )


class Llama:
    """The forward pass over `tensors` (Hugging Face names, float32)."""

    def __init__(self, tensors: Mapping[str, Tensor], config: Any, number: torch.dtype = torch.float32) -> None:
        self.tensors, self.number = tensors, number
        self.n_layers, self.n_heads = config.num_hidden_layers, config.num_attention_heads
        self.n_kv = config.num_key_value_heads or self.n_heads
        self.d_head = getattr(config, "head_dim", None) or config.hidden_size // self.n_heads
        self.epsilon = config.rms_norm_eps
        self.device = tensors["model.embed_tokens.weight"].device
        self.frequencies = _frequencies(config, self.d_head).to(self.device)
        self.rounded: dict[str, Tensor] = {}

    def __call__(self, ids: Tensor, gate: Gate | None, noise: Noise | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """ids [batch pos] -> (logits [batch pos vocab], expected edges [layer head], open edges [layer head]).

        Edges are means per token. `gate` None: every edge; with `noise` the gates pass gradients on.
        """
        x = functional.embedding(ids, self.tensors["model.embed_tokens.weight"])
        turn = self._turn(ids.shape[1])
        mask = torch.full((ids.shape[1],) * 2, -math.inf, device=self.device).triu(1)
        expected, opened = [], []
        for layer in range(self.n_layers):
            out, wanted, found = self._attention(layer, x, (turn, mask), gate, noise)
            x = x + out
            x = x + self._mlp(layer, x)
            expected.append(wanted)
            opened.append(found)
        return self.unembedded(self._norm("model.norm", x)), torch.stack(expected), torch.stack(opened)

    def unembedded(self, x: Tensor) -> Tensor:
        """Logits [batch pos vocab] of normalised final states [batch pos d_model]."""
        tied = "lm_head" if "lm_head.weight" in self.tensors else "model.embed_tokens"
        return self._linear(tied, x)

    def seen(self, layer: int, x: Tensor, scores: Tensor) -> None:
        """Called with what a layer's attention reads [batch pos d_model] and its masked scores; for subclasses."""

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), self.tensors[f"{name}.weight"], self.epsilon)

    def _linear(self, name: str, x: Tensor, *, exact: bool = False) -> Tensor:
        """x times a weight, in `number` where that weight is frozen and not `exact`; the result is float32."""
        weight, bias = self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias")
        if exact or weight.requires_grad or self.number == torch.float32:
            return functional.linear(x, weight, bias)
        if name not in self.rounded:
            self.rounded[name] = weight.detach().to(self.number)
        out = functional.linear(x.to(self.number), self.rounded[name]).float()
        return out if bias is None else out + bias

    def _mlp(self, layer: int, x: Tensor) -> Tensor:
        at = f"model.layers.{layer}"
        x = self._norm(f"{at}.post_attention_layernorm", x)
        hidden = functional.silu(self._linear(f"{at}.mlp.gate_proj", x)) * self._linear(f"{at}.mlp.up_proj", x)
        return self._linear(f"{at}.mlp.down_proj", hidden)

    def _turn(self, n: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of rotary positions, each [pos d_head]."""
        angles = torch.arange(n, device=self.device)[:, None] * self.frequencies
        both = torch.cat((angles, angles), dim=-1)
        return both.cos(), both.sin()

    def _heads(self, name: str, x: Tensor, count: int, *, exact: bool) -> Tensor:
        """[batch head pos d_head] of a projection."""
        batch, n, _ = x.shape
        return self._linear(name, x, exact=exact).view(batch, n, count, self.d_head).transpose(1, 2)

    def _attention(
        self, layer: int, x: Tensor, places: tuple[tuple[Tensor, Tensor], Tensor], gate: Gate | None,
        noise: Noise | None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """(output [batch pos d_model], expected edges [head], open edges [head]), edges per token."""
        batch, n, _ = x.shape
        at = f"model.layers.{layer}"
        turn, mask = places
        x = self._norm(f"{at}.input_layernorm", x)
        q = _rotated(self._heads(f"{at}.self_attn.q_proj", x, self.n_heads, exact=True) * self.d_head**-0.5, turn)
        k = _rotated(self._heads(f"{at}.self_attn.k_proj", x, self.n_kv, exact=True), turn)
        v = self._heads(f"{at}.self_attn.v_proj", x, self.n_kv, exact=False)
        # queries of one group stand together, so that keys and values need no copies: [batch kv group*query d_head]
        grouped = q.reshape(batch, self.n_kv, -1, self.d_head)
        scores = torch.matmul(grouped, k.transpose(-1, -2)).view(batch, self.n_heads, n, n) + mask
        self.seen(layer, x, scores)
        pattern, expected, opened = _gated(scores, gate, noise)
        z = torch.matmul(pattern.view(batch, self.n_kv, -1, n), v).view(batch, self.n_heads, n, self.d_head)
        return self._linear(f"{at}.self_attn.o_proj", z.transpose(1, 2).reshape(batch, n, -1)), expected, opened


def _frequencies(config: Any, d_head: int) -> Tensor:
    """[d_head / 2] radians a position."""
    base = float((getattr(config, "rope_parameters", None) or {}).get("rope_theta", 10_000.0))
    return 1.0 / base ** (torch.arange(0, d_head, 2, dtype=torch.int64).float() / d_head)


def _rotated(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * turn[0] + torch.cat((-second, first), dim=-1) * turn[1]


def _gated(scores: Tensor, gate: Gate | None, noise: Noise | None) -> tuple[Tensor, Tensor, Tensor]:
    """(pattern [batch head query key], expected edges [head], open edges [head]) of masked scores."""
    batch, heads, n, _ = scores.shape
    pattern, tokens = scores.softmax(-1), batch * n
    if gate is None:
        every = torch.full((heads,), (n + 1) / 2, device=scores.device)
        return pattern, every, every
    if noise is None:
        gates = gate.opened(scores)
        opened = gates.sum((0, 2, 3)) / tokens
        return pattern * gates, opened, opened
    gates, probability = straight_through(scores, gate.bias, uniform_of(noise, scores))
    return pattern * gates, probability.sum((0, 2, 3)) / tokens, gates.detach().sum((0, 2, 3)) / tokens
