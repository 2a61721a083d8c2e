"""Rotary positions: which dimensions of a head turn together, and how fast, as a Hugging Face config says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

Pairing = Literal["", "halves", "neighbours"]


@dataclass(frozen=True)
class Rotary:
    """Rotary positions of a layer: the plane (pairs[0][m], pairs[1][m]) of a head turns by position * frequencies[m].

    pairs        [2 plane] dimensions of a head: "halves" pairs i with i + n/2 (Llama, NeoX), "neighbours" 2i with
                 2i + 1 (GPT-J, Cohere); the other dimensions, if any, do not turn
    frequencies  [plane] radians per position, float64
    """

    pairs: Tensor
    frequencies: Tensor

    @property
    def wavelengths(self) -> Tensor:
        """[plane] positions of a whole turn."""
        return 2 * math.pi / self.frequencies


def turns(config: Any, layer: int) -> bool:
    """Whether a layer of a rotary family has rotary positions; SmolLM3 leaves them out of some."""
    kept = getattr(config, "no_rope_layers", None)
    return bool(kept[layer]) if kept else True


def frequencies(config: Any, d_head: int, layer: int) -> Tensor:
    """Radians per position [plane] of a layer, scaled as its config says where transformers knows the scaling."""
    settings = getattr(config, "rope_parameters", None) or {}
    kinds = getattr(config, "layer_types", None)
    kind = kinds[layer] if kinds and kinds[layer] in settings else None
    settings = settings[kind] if kind else settings
    share = settings.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", None) or 1.0)
    dims = getattr(config, "rotary_dim", None) or int(d_head * share)
    base = settings.get("rope_theta", 10_000.0)
    scaled = ROPE_INIT_FUNCTIONS.get(settings.get("rope_type", "default"))
    if scaled is not None:
        try:
            found = scaled(config, layer_type=kind)[0] if kind else scaled(config)[0]
            return torch.as_tensor(found).double()
        except (KeyError, TypeError, AttributeError, ValueError):  # a scaling that asks for more than the config has
            pass
    plain: Tensor = base ** (-torch.arange(0, dims, 2, dtype=torch.float64) / dims)
    return plain
