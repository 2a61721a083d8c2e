"""What is unusual about a model's architecture, read from the model itself, never from its family's name."""

from __future__ import annotations

import torch
from torch import Tensor

from reportgen.models.model import Model

TRAITS = (
    "grouped queries", "multi-query", "parallel block", "RMS norm", "LayerNorm", "norm after attention only",
    "norms before and after", "no norm weights", "softcap", "sliding window", "attention biases", "tied", "untied",
    "own head dimension", "experts", "rotary", "learned positions", "ALiBi", "logit factor",
)  # fmt: skip
IDS = torch.arange(2, 14)[None]  # [1 pos]


def traits(model: Model) -> set[str]:
    """The names in `TRAITS` that hold."""
    r, config = model.record, model.config
    names = list(getattr(model.source, "tensors"))  # noqa: B009  the source's type is a protocol
    block = [name for name in names if name.startswith(model.layout.at(1, ""))]
    final = model.bridge.ln_final.original_component
    rotary = hasattr(config, "rotary_dim") or any("rotary" in n for n, _ in model.bridge.original_model.named_modules())
    positions = any(name.split(".")[-2] in ("wpe", "embed_positions") for name in names)
    held = {
        "grouped queries": 1 < r.n_kv_heads < r.n_heads,
        "multi-query": r.n_kv_heads == 1 < r.n_heads,
        "parallel block": _is_parallel(model),
        "RMS norm": "RMS" in type(final).__name__,
        "LayerNorm": "RMS" not in type(final).__name__,
        "norm after attention only": bool(model.layout.post_attn) and not model.layout.ln1,
        "norms before and after": bool(model.layout.post_attn and model.layout.ln1),
        "no norm weights": model.final_scale() is None,
        "softcap": bool(getattr(config, "attn_logit_softcapping", None)),
        "sliding window": _has_window(model),
        "attention biases": any("att" in name and name.endswith(".bias") for name in block),
        "tied": bool(config.tie_word_embeddings),
        "untied": not config.tie_word_embeddings,
        "own head dimension": r.d_head * r.n_heads != r.d_model,
        "experts": any("expert" in name for name in block),
        "rotary": rotary,
        "learned positions": positions,
        "ALiBi": not rotary and not positions,
        "logit factor": bool(model.layout.logit_scale),
    }
    assert tuple(held) == TRAITS
    return {name for name, holds in held.items() if holds}


def _is_parallel(model: Model) -> bool:
    """Whether the MLP does not see what attention of its own block wrote."""

    def mlp_out(scale: float) -> Tensor:
        seen: list[Tensor] = []
        model.run(IDS, {("attn_out", 1): lambda out: out * scale, ("mlp_out", 1): lambda out: seen.append(out.clone())})
        return seen[0]

    return torch.equal(mlp_out(1.0), mlp_out(0.0))


def _has_window(model: Model) -> bool:
    """Whether the last position cannot see the first one in some layer."""
    lost = []
    for layer in range(model.record.n_layers):
        model.run(IDS, {("pattern", layer): lambda pattern: lost.append(bool((pattern[0, :, -1, 0] == 0).all()))})
    return any(lost)
