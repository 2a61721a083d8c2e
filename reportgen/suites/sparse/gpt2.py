"""A plain GPT-2 with gates, for training speed: the same loss and gradients as the general path, in fewer operations.

It holds no weights: it computes with the tensors of a state dict under Hugging Face's names. MLPs whose weights are all
zero (the bundled model's, after the first layer) are skipped; training leaves them zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from reportgen.suites.sparse.gates import Gate, Noise, straight_through, uniform_of

_PLAIN = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "reorder_and_upcast_attn": False,
          "activation_function": "gelu_new", "add_cross_attention": False}  # fmt: skip


def fits(config: Any) -> bool:
    """Whether this file computes what a config asks for."""
    return config.model_type == "gpt2" and all(getattr(config, key, value) == value for key, value in _PLAIN.items())


class Gpt2:
    """The forward pass over `tensors` (Hugging Face names, float32)."""

    def __init__(self, tensors: Mapping[str, Tensor], config: Any) -> None:
        self.tensors = tensors
        self.n_layers, self.n_heads, self.epsilon = config.n_layer, config.n_head, config.layer_norm_epsilon
        self.has_mlp = [self._is_used(layer) for layer in range(self.n_layers)]
        device = tensors["transformer.wte.weight"].device
        self.mask = torch.full((config.n_positions, config.n_positions), -math.inf, device=device).triu(1)

    def _is_used(self, layer: int) -> bool:
        names = (f"transformer.h.{layer}.mlp.c_proj.{part}" for part in ("weight", "bias"))
        return any(bool(self.tensors[name].any()) for name in names)

    def __call__(self, ids: Tensor, gate: Gate | None, noise: Noise | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """ids [batch pos] -> (logits [batch pos vocab], expected edges [layer head], open edges [layer head]).

        Edges are means per token. `gate` None: every edge; with `noise` the gates pass gradients on.
        """
        x = functional.embedding(ids, self.tensors["transformer.wte.weight"])
        x = x + self.tensors["transformer.wpe.weight"][: ids.shape[1]]
        expected, opened = [], []
        for layer in range(self.n_layers):
            out, wanted, found = self._attention(layer, self._norm(f"h.{layer}.ln_1", x), gate, noise)
            x = x + out
            expected.append(wanted)
            opened.append(found)
            if self.has_mlp[layer]:
                x = x + self._mlp(layer, self._norm(f"h.{layer}.ln_2", x))
        unembedding = self.tensors.get("lm_head.weight", self.tensors["transformer.wte.weight"])
        logits = functional.linear(self._norm("ln_f", x), unembedding)
        return logits, torch.stack(expected), torch.stack(opened)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = (self.tensors[f"transformer.{name}.{part}"] for part in ("weight", "bias"))
        return functional.layer_norm(x, (x.shape[-1],), weight, bias, self.epsilon)

    def _linear(self, layer: int, name: str, x: Tensor) -> Tensor:
        weight, bias = (self.tensors[f"transformer.h.{layer}.{name}.{part}"] for part in ("weight", "bias"))
        return functional.linear(x, weight.T, bias)  # GPT-2 keeps weights [d_in d_out]

    def _mlp(self, layer: int, x: Tensor) -> Tensor:
        hidden = functional.gelu(self._linear(layer, "mlp.c_fc", x), approximate="tanh")
        return self._linear(layer, "mlp.c_proj", hidden)

    def _attention(
        self, layer: int, x: Tensor, gate: Gate | None, noise: Noise | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(output [batch pos d_model], expected edges [head], open edges [head]), edges per token."""
        batch, n, width = x.shape
        joint = self._linear(layer, "attn.c_attn", x).view(batch, n, 3, self.n_heads, width // self.n_heads)
        q, k, v = joint.permute(2, 0, 3, 1, 4)  # each [batch head pos d_head]
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2)) + self.mask[:n, :n]
        pattern = scores.softmax(-1)  # [batch head query key]
        tokens = batch * n
        if gate is None:
            expected = opened = torch.full((self.n_heads,), (n + 1) / 2, device=x.device)
        elif noise is None:
            gates = gate.opened(scores)
            pattern = pattern * gates
            expected = opened = gates.sum((0, 2, 3)) / tokens
        else:
            gates, probability = straight_through(scores, gate.bias, uniform_of(noise, scores))
            pattern = pattern * gates
            expected, opened = probability.sum((0, 2, 3)) / tokens, gates.detach().sum((0, 2, 3)) / tokens
        z = torch.matmul(pattern, v).transpose(1, 2).reshape(batch, n, width)
        return self._linear(layer, "attn.c_proj", z), expected, opened
