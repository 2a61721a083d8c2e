"""Weights in the shapes that static scores need, whatever the family, from memory or streamed from disk.

- Always float32, whatever the model runs in: ranks at the boundary flip in half precision.
- Raw weights: no norm folded in, nothing centred.
- The first MLP is Hugging Face's own module, run with the source's tensors: nothing is re-implemented here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import layer_norm
from transformers import AutoModelForCausalLM

from reportgen.errors import ModelError, NotApplicable
from reportgen.manifest import ModelRecord
from reportgen.models.layouts import LAYOUTS, Layout
from reportgen.models.tokens import Tokens

BLOCK = 4096  # rows of the unembedding that are transposed at once


class Weights(Protocol):
    """What a static score may ask of a model; met by `Model` and by weights streamed from disk.

    Every tensor is float32 on `device`. `W_V` keeps one matrix per key-value head: query head h of a grouped model
    uses number h // (n_heads // n_kv_heads).
    """

    @property
    def record(self) -> ModelRecord: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def device(self) -> torch.device: ...

    def embed(self, ids: Tensor) -> Tensor: ...
    def first_mlp(self, ids: Tensor) -> Tensor: ...
    def W_V(self, layer: int) -> Tensor: ...  # noqa: N802
    def W_O(self, layer: int) -> Tensor: ...  # noqa: N802
    def W_U(self) -> Tensor: ...  # noqa: N802
    def ln1_scale(self, layer: int) -> Tensor | None: ...
    def final_scale(self) -> Tensor | None: ...
    def post_attn_scale(self, layer: int) -> Tensor | None: ...


class Source(Protocol):
    """Tensors by their name in Hugging Face's state dict."""

    def get(self, name: str) -> Tensor | None: ...
    def rows(self, name: str, ids: Tensor) -> Tensor: ...


class MemorySource:
    """The tensors of a loaded model; nothing is copied."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def get(self, name: str) -> Tensor | None:
        tensor = self.tensors.get(name)
        return None if tensor is None else tensor.detach()

    def rows(self, name: str, ids: Tensor) -> Tensor:
        return self.tensors[name].detach()[ids.to(self.tensors[name].device)]


class DiskSource:
    """Tensors read from safetensors files when asked for; one at a time is in memory."""

    def __init__(self, files: list[Path], prefix: str, tied: Mapping[str, Sequence[str]]) -> None:
        """`tied`: name -> other names of the same tensor, looked for where it is not stored under its own."""
        self.prefix, self.tied = prefix, tied
        self.file_of = {name: path for path in files for name in _names(path)}

    def _find(self, name: str) -> str | None:
        names = (name, name.removeprefix(self.prefix), *self.tied.get(name, ()))
        return next((n for n in names if n in self.file_of), None)

    def get(self, name: str) -> Tensor | None:
        found = self._find(name)
        if found is None:
            return None
        with safe_open(self.file_of[found], "pt") as file:
            tensor: Tensor = file.get_tensor(found)
        return tensor

    def rows(self, name: str, ids: Tensor) -> Tensor:
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        unique, back = torch.unique(ids.cpu(), return_inverse=True)
        with safe_open(self.file_of[found], "pt") as file:
            part = file.get_slice(found)
            picked = torch.cat([part[int(i) : int(i) + 1] for i in unique])  # [unique d_model]
        return picked[back]


def _names(path: Path) -> list[str]:
    with safe_open(path, "pt") as file:
        return list(file.keys())


def _transposed(tensor: Tensor, device: torch.device) -> Tensor:
    """A float32 copy [column row] of tensor [row column]: the only one that is made, block by block."""
    out = torch.empty(tensor.shape[1], tensor.shape[0], dtype=torch.float32, device=device)
    for a in range(0, tensor.shape[0], BLOCK):
        out[:, a : a + BLOCK] = tensor[a : a + BLOCK].to(device).T
    return out


class StaticWeights:
    """`Weights` over any source of tensors."""

    def __init__(self, source: Source, config: Any, record: ModelRecord, tokens: Tokens, device: torch.device) -> None:
        self.source = source
        self.config = config
        self.record = record
        self.tokens = tokens
        self.device = device
        self.layout: Layout = LAYOUTS[record.family].of(config)

    def _tensor(self, name: str) -> Tensor:
        tensor = self.source.get(name)
        if tensor is None:
            raise ModelError(f"{self.record.id} has no weight called {name}.", "Check that the checkpoint is complete.")
        return tensor.to(self.device, torch.float32)

    def embed(self, ids: Tensor) -> Tensor:
        """[n] -> [n d_model]: what each token puts into the residual stream, without positions.

        The rows of W_E; Gemma's are multiplied by sqrt(d_model) and BLOOM's normalised, as the model does.
        """
        rows = self.source.rows(f"{self.layout.embed}.weight", ids)
        out = rows.to(self.device, torch.float32)  # [n d_model]
        if self.layout.embed_scaled:
            out = out * torch.tensor(math.sqrt(self.record.d_model), dtype=rows.dtype).float()
        if self.layout.embed_norm:
            scale, bias = (self._tensor(f"{self.layout.embed_norm}.{part}") for part in ("weight", "bias"))
            out = layer_norm(out, out.shape[-1:], scale, bias, self.config.layer_norm_epsilon)
        return out

    def first_mlp(self, ids: Tensor) -> Tensor:
        """[n] -> [n d_model]: MLP_0(norm(e)), biases kept, block-0 attention skipped (Elhelo and Geva 2025).

        Raises NotApplicable where no norm feeds MLP 0 or it is a mixture of experts.
        """
        layout = self.layout
        if not layout.mlp:
            raise NotApplicable(f"MLP 0 of a {self.record.family} model is a mixture of experts.")
        if not layout.mlp_norm:
            raise NotApplicable(f"No norm feeds MLP 0 of this {self.record.family} model.")
        x = self.embed(ids)  # [n d_model]
        with torch.no_grad():
            for module in (layout.mlp_norm, *layout.mlp):
                x = self._apply(module, x)
        return x

    def _apply(self, path: str, x: Tensor) -> Tensor:
        """Run block 0's module `path` on x [n d_model] with the source's tensors as float32."""
        module = self._block0.get_submodule(path)
        weights = {name: self._tensor(self.layout.at(0, f"{path}.{name}")) for name, _ in module.named_parameters()}
        out: Tensor = functional_call(module, weights, (x,))
        return out

    @cached_property
    def _block0(self) -> torch.nn.Module:
        """Hugging Face's block 0 without memory: only its code is used."""
        auto_model: Any = AutoModelForCausalLM  # half-typed upstream
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            skeleton = auto_model.from_config(copy.deepcopy(self.config)).float().eval()
        block: torch.nn.Module = skeleton.get_submodule(self.layout.block.format(0))
        return block

    def W_V(self, layer: int) -> Tensor:  # noqa: N802
        """[n_kv d_model d_head]; not expanded for grouped queries."""
        r = self.record
        w = self._tensor(self.layout.at(layer, f"{self.layout.value}.weight"))
        if self.layout.packing == "conv_qkv":
            w = w[:, 2 * r.n_heads * r.d_head :]  # [d_model n_heads*d_head]
            return w.reshape(r.d_model, r.n_heads, r.d_head).transpose(0, 1).contiguous()
        if self.layout.packing == "head_qkv":
            w = w.reshape(r.n_heads, 3, r.d_head, r.d_model)[:, 2]
        elif self.layout.packing == "rows_qkv":
            w = w[-r.n_kv_heads * r.d_head :]
        return w.reshape(r.n_kv_heads, r.d_head, r.d_model).transpose(1, 2).contiguous()  # [n_kv d_model d_head]

    def W_O(self, layer: int) -> Tensor:  # noqa: N802
        """[n_heads d_head d_model]."""
        r = self.record
        w = self._tensor(self.layout.at(layer, f"{self.layout.output}.weight"))
        if self.layout.packing != "conv_qkv":  # nn.Linear stores [out in], Conv1D [in out]
            w = w.T
        return w.reshape(r.n_heads, r.d_head, r.d_model).contiguous()

    def W_U(self) -> Tensor:  # noqa: N802
        """[d_model d_vocab], contiguous; a fresh copy of d_model * d_vocab * 4 bytes: ask once and keep it.

        Cohere's is multiplied by its factor on the logits.
        """
        names = [] if self.config.tie_word_embeddings else list(self.layout.unembed)
        for name in [*names, self.layout.embed]:
            tensor = self.source.get(f"{name}.weight")
            if tensor is not None:
                out = _transposed(tensor, self.device)
                return out.mul_(getattr(self.config, self.layout.logit_scale)) if self.layout.logit_scale else out
        raise ModelError(f"{self.record.id} has no unembedding.", "Check that the checkpoint is complete.")

    def ln1_scale(self, layer: int) -> Tensor | None:
        """[d_model] scale of the norm that feeds attention; None where there is none. Gemma's 1 is added."""
        return self._scale(self.layout.at(layer, self.layout.ln1)) if self.layout.ln1 else None

    def final_scale(self) -> Tensor | None:
        """[d_model] scale of the last norm; None where there is none."""
        return self._scale(self.layout.final_norm)

    def post_attn_scale(self, layer: int) -> Tensor | None:
        """[d_model] scale of the norm on attention's output (Gemma 2, OLMo 2); None elsewhere."""
        return self._scale(self.layout.at(layer, self.layout.post_attn)) if self.layout.post_attn else None

    def _scale(self, path: str) -> Tensor | None:
        weight = self.source.get(f"{path}.weight")
        if weight is None:
            return None
        return weight.to(self.device, torch.float32) + (1.0 if self.layout.one_plus else 0.0)
