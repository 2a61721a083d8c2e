"""A gated GPT-2 written out head by head and query by query: slow, and independent of the package's own ways."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def soft_gate(z: Tensor, uniform: Tensor) -> Tensor:
    """P(gate open | its noise), from the definition of a relaxed Bernoulli: logistic noise added to the logit."""
    return 1 / (1 + torch.exp(-(z + torch.log(uniform) - torch.log1p(-uniform))))


def gated_gpt2(
    tensors: Mapping[str, Tensor], ids: Tensor, n_layers: int, n_heads: int, bias: float, noise: list[Tensor] | None
) -> tuple[Tensor, Tensor]:
    """(logits [batch pos vocab], summed expected edges per token) of ids [batch pos].

    noise  one uniform [batch head query key] per layer: sampled gates, straight through; None: hard gates
    """
    at = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    x = at["wte.weight"][ids] + at["wpe.weight"][: ids.shape[1]]
    expected = torch.zeros(())
    for layer in range(n_layers):
        out, edges = _attention(at, layer, _norm(at, f"h.{layer}.ln_1", x), n_heads, bias, noise)
        expected = expected + edges / ids.numel()
        x = x + out
        mlp = {
            name: at[f"h.{layer}.mlp.{name}"] for name in ("c_fc.weight", "c_fc.bias", "c_proj.weight", "c_proj.bias")
        }
        hidden = _gelu(_norm(at, f"h.{layer}.ln_2", x) @ mlp["c_fc.weight"] + mlp["c_fc.bias"])
        x = x + hidden @ mlp["c_proj.weight"] + mlp["c_proj.bias"]
    return _norm(at, "ln_f", x) @ at["wte.weight"].T, expected


def _attention(
    at: Mapping[str, Tensor], layer: int, x: Tensor, n_heads: int, bias: float, noise: list[Tensor] | None
) -> tuple[Tensor, Tensor]:
    width = x.shape[-1]
    d_head = width // n_heads
    joint = x @ at[f"h.{layer}.attn.c_attn.weight"] + at[f"h.{layer}.attn.c_attn.bias"]
    heads, expected = [], torch.zeros(())
    for head in range(n_heads):
        q, k, v = (joint[..., i * width + head * d_head :][..., :d_head] for i in range(3))  # each [batch pos d_head]
        rows = []
        for query in range(x.shape[1]):
            scores = (k[:, : query + 1] * q[:, query : query + 1]).sum(-1) / math.sqrt(d_head)  # [batch key]
            weights = torch.exp(scores - scores.max(-1, keepdim=True).values)
            weights = weights / weights.sum(-1, keepdim=True)
            z = scores + bias
            gate = (z > 0).float()
            if noise is not None:
                soft = soft_gate(z, noise[layer][:, head, query, : query + 1])
                gate = (soft > 0.5).float() + soft - soft.detach()
                expected = expected + torch.sigmoid(z).sum()
            else:
                expected = expected + gate.sum()
            rows.append(((weights * gate)[..., None] * v[:, : query + 1]).sum(1))
        heads.append(torch.stack(rows, 1))
    z_out = torch.cat(heads, -1)
    return z_out @ at[f"h.{layer}.attn.c_proj.weight"] + at[f"h.{layer}.attn.c_proj.bias"], expected


def _norm(at: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scale = torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5)
    return centred / scale * at[f"{name}.weight"] + at[f"{name}.bias"]


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
