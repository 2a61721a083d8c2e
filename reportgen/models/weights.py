"""Weights in the shapes that static scores need, whatever the family, from memory or streamed from disk.

- Always float32, whatever dtype the model runs in: ranks at the boundary flip in half precision.
- Raw weights: no norm folded in, nothing centred.
- The first MLP is Hugging Face's own module, run with the source's tensors: nothing is reimplemented here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from safetensors import safe_open
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import layer_norm
from transformers import AutoModelForCausalLM

from reportgen.errors import ModelError, NotApplicable
from reportgen.manifest import ModelRecord
from reportgen.models import one_block
from reportgen.models.rotary import Pairing, Rotary, frequencies, turns
from reportgen.models.tokens import Tokens

# Where each family keeps its weights: the one table that static scores, streaming and hooks read.
#
# - Paths are module paths of Hugging Face's own classes, relative to the block where they belong to one.
# - A family that is not listed is refused in one line (docs/models.md lists the table's keys): an
#   unlisted layout would give plausible but wrong numbers.

# How value weights are packed in their tensor:
#   rows       nn.Linear       [n_kv*d_head d_model]
#   conv_qkv   GPT-2's Conv1D  [d_model 3*n_heads*d_head], Q then K then V
#   head_qkv   GPT-NeoX, BLOOM [n_heads*3*d_head d_model], Q K V interleaved per head
#   rows_qkv   Phi-3, StarCoder, Falcon  [(n_heads + 2*n_kv)*d_head d_model], Q then K then V
Packing = Literal["rows", "conv_qkv", "head_qkv", "rows_qkv"]


@dataclass(frozen=True)
class FamilyLayout:
    """One family.

    block        path of a block, `{}` is the layer
    embed        token embedding; also the unembedding where the two are tied
    value, output  modules of W_V and W_O;  packing  see `Packing`
    ln1          norm that feeds attention, or "" (post-norm families)
    mlp_norm     norm that feeds the MLP, or ""
    mlp          modules of the block applied in turn; empty for a mixture of experts
    post_attn    norm on attention's output before it joins the residual stream, or ""
    one_plus     norm scales are stored as w and applied as 1 + w (Gemma)
    embed_scaled embeddings are multiplied by sqrt(d_model) on their way in (Gemma)
    embed_norm   LayerNorm on embeddings before the first block, or "" (BLOOM)
    logit_scale  the config's name of a factor on the logits, or "" (Cohere)
    one_norm     the config's flag under which the MLP reads what attention reads, through ln1, or "" (StableLM)
    rotary       which dimensions of a head turn together, "" without rotary positions: see `Rotary`
    pattern_seam writing into "scores" and "pattern" changes what attention computes
    """

    block: str
    embed: str
    final_norm: str
    value: str
    output: str
    ln1: str
    mlp_norm: str
    mlp: tuple[str, ...] = ("mlp",)
    packing: Packing = "rows"
    post_attn: str = ""
    unembed: tuple[str, ...] = ("lm_head",)
    one_plus: bool = False
    embed_scaled: bool = False
    embed_norm: str = ""
    logit_scale: str = ""
    one_norm: str = ""
    rotary: Pairing = ""
    pattern_seam: bool = True

    def of(self, config: Any) -> FamilyLayout:
        """This layout as a Hugging Face config switches it."""
        return replace(self, mlp_norm=self.ln1) if self.one_norm and getattr(config, self.one_norm) else self

    def at(self, layer: int, module: str) -> str:
        """Full path of a block's module."""
        return f"{self.block.format(layer)}.{module}"

    @property
    def prefix(self) -> str:
        """The base model's prefix, which some published files leave out ("transformer.")."""
        return self.block.split(".")[0] + "."


def _llama(
    *,
    mlp_norm: str = "post_attention_layernorm",
    value: str = "self_attn.v_proj",
    packing: Packing = "rows",
    post_attn: str = "",
    one_plus: bool = False,
    mlp: tuple[str, ...] = ("mlp",),
    ln1: str = "input_layernorm",
    logit_scale: str = "",
    one_norm: str = "",
    rotary: Pairing = "halves",
) -> FamilyLayout:
    return FamilyLayout(
        block="model.layers.{}", embed="model.embed_tokens", final_norm="model.norm",
        value=value, packing=packing, output="self_attn.o_proj", ln1=ln1, mlp_norm=mlp_norm, mlp=mlp,
        post_attn=post_attn, one_plus=one_plus, embed_scaled=one_plus,
        logit_scale=logit_scale, one_norm=one_norm, rotary=rotary,
    )  # fmt: skip


LAYOUTS: dict[str, FamilyLayout] = {
    "gpt2": FamilyLayout(
        block="transformer.h.{}", embed="transformer.wte", final_norm="transformer.ln_f",
        value="attn.c_attn", packing="conv_qkv", output="attn.c_proj", ln1="ln_1", mlp_norm="ln_2",
    ),
    "gpt_neo": FamilyLayout(
        block="transformer.h.{}", embed="transformer.wte", final_norm="transformer.ln_f",
        value="attn.attention.v_proj", output="attn.attention.out_proj", ln1="ln_1", mlp_norm="ln_2",
        pattern_seam=False,
    ),
    "gptj": FamilyLayout(
        block="transformer.h.{}", embed="transformer.wte", final_norm="transformer.ln_f",
        value="attn.v_proj", output="attn.out_proj", ln1="ln_1", mlp_norm="ln_1", rotary="neighbours",
        pattern_seam=False,
    ),
    "gpt_neox": FamilyLayout(
        block="gpt_neox.layers.{}", embed="gpt_neox.embed_in", final_norm="gpt_neox.final_layer_norm",
        value="attention.query_key_value", packing="head_qkv", output="attention.dense",
        ln1="input_layernorm", mlp_norm="post_attention_layernorm", unembed=("lm_head", "embed_out"),
        rotary="halves",
    ),
    "opt": FamilyLayout(
        block="model.decoder.layers.{}", embed="model.decoder.embed_tokens",
        final_norm="model.decoder.final_layer_norm",
        value="self_attn.v_proj", output="self_attn.out_proj", ln1="self_attn_layer_norm", mlp_norm="final_layer_norm",
        mlp=("fc1", "activation_fn", "fc2"), pattern_seam=False,
    ),
    "phi": FamilyLayout(
        block="model.layers.{}", embed="model.embed_tokens", final_norm="model.final_layernorm",
        value="self_attn.v_proj", output="self_attn.dense", ln1="input_layernorm", mlp_norm="input_layernorm",
        rotary="halves",
    ),
    "phi3": _llama(value="self_attn.qkv_proj", packing="rows_qkv"),
    "llama": _llama(),
    "mistral": _llama(),
    "qwen2": _llama(),
    "qwen3": _llama(),
    "gemma": _llama(one_plus=True),
    "gemma2": _llama(one_plus=True, mlp_norm="pre_feedforward_layernorm", post_attn="post_attention_layernorm"),
    "gemma3_text": _llama(one_plus=True, mlp_norm="pre_feedforward_layernorm", post_attn="post_attention_layernorm"),
    "olmo2": _llama(ln1="", mlp_norm="", post_attn="post_attention_layernorm"),
    "mixtral": _llama(mlp=()),
    "qwen2_moe": _llama(mlp=()),
    "qwen3_moe": _llama(mlp=()),
    "olmo": _llama(),
    "smollm3": _llama(),
    "starcoder2": _llama(),
    "stablelm": _llama(one_norm="use_parallel_residual"),
    "cohere": _llama(mlp_norm="input_layernorm", logit_scale="logit_scale", rotary="neighbours"),
    "gpt_bigcode": FamilyLayout(
        block="transformer.h.{}", embed="transformer.wte", final_norm="transformer.ln_f",
        value="attn.c_attn", packing="rows_qkv", output="attn.c_proj", ln1="ln_1", mlp_norm="ln_2",
    ),
    "falcon": FamilyLayout(
        block="transformer.h.{}", embed="transformer.word_embeddings", final_norm="transformer.ln_f",
        value="self_attention.query_key_value", packing="rows_qkv", output="self_attention.dense",
        ln1="input_layernorm", mlp_norm="input_layernorm", rotary="halves",
    ),
    "bloom": FamilyLayout(
        block="transformer.h.{}", embed="transformer.word_embeddings", final_norm="transformer.ln_f",
        value="self_attention.query_key_value", packing="head_qkv", output="self_attention.dense",
        ln1="input_layernorm", mlp_norm="post_attention_layernorm",
        mlp=("mlp.dense_h_to_4h", "mlp.gelu_impl", "mlp.dense_4h_to_h"),
        embed_norm="transformer.word_embeddings_layernorm",
    ),
}  # fmt: skip


BLOCK = 4096  # rows of the unembedding that are transposed at once
_QK_NORMS = (("q_norm", "k_norm"), ("q_layernorm", "k_layernorm"))  # beside q_proj; where a family has them


class Weights(Protocol):
    """What a static score can use of a model; implemented by `Model` and by weights streamed from disk.

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
    def W_U(self, *, own: bool = False) -> Tensor: ...  # noqa: N802
    def ln1_scale(self, layer: int) -> Tensor | None: ...
    def final_scale(self) -> Tensor | None: ...
    def post_attn_scale(self, layer: int) -> Tensor | None: ...
    def W_Q(self, layer: int) -> Tensor: ...  # noqa: N802
    def W_K(self, layer: int) -> Tensor: ...  # noqa: N802
    def b_Q(self, layer: int) -> Tensor | None: ...  # noqa: N802
    def b_K(self, layer: int) -> Tensor | None: ...  # noqa: N802
    def qk_norm_scales(self, layer: int) -> tuple[Tensor | None, Tensor | None]: ...
    def rotary(self, layer: int) -> Rotary | None: ...
    @property
    def centres(self) -> bool: ...
    def first_block(self, ids: Tensor) -> Tensor: ...
    def first_position(self, token: int) -> Tensor: ...


class WeightSource(Protocol):
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
    """Tensors read from safetensors files on demand, one at a time in memory."""

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

    def __init__(
        self, source: WeightSource, config: Any, record: ModelRecord, tokens: Tokens, device: torch.device
    ) -> None:
        self.source = source
        self.config = config
        self.record = record
        self.tokens = tokens
        self.device = device
        self.layout: FamilyLayout = LAYOUTS[record.family].of(config)

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

    def W_Q(self, layer: int) -> Tensor:  # noqa: N802
        """[n_heads d_model d_head], before rotary positions and norms of queries."""
        return self._read_by(layer, "q", "weight").transpose(1, 2).contiguous()

    def W_K(self, layer: int) -> Tensor:  # noqa: N802
        """[n_kv d_model d_head]; not expanded for grouped queries."""
        return self._read_by(layer, "k", "weight").transpose(1, 2).contiguous()

    def b_Q(self, layer: int) -> Tensor | None:  # noqa: N802
        """[n_heads d_head]; None where the family has none."""
        return self._bias(layer, "q")

    def b_K(self, layer: int) -> Tensor | None:  # noqa: N802
        """[n_kv d_head]; None where the family has none."""
        return self._bias(layer, "k")

    def _bias(self, layer: int, which: str) -> Tensor | None:
        path = self._projection(which)
        return None if self.source.get(self.layout.at(layer, f"{path}.bias")) is None else self._read_by(
            layer, which, "bias"
        )[..., 0]  # fmt: skip

    def _projection(self, which: str) -> str:
        """Path of the module that makes queries or keys; a packed one makes all three."""
        return (
            self.layout.value.replace("v_proj", f"{which}_proj") if self.layout.packing == "rows" else self.layout.value
        )

    def _read_by(self, layer: int, which: str, part: str) -> Tensor:
        """Weight [head d_head d_model] or bias [head d_head 1] of queries ("q") or keys ("k")."""
        r, packing = self.record, self.layout.packing
        w = self._tensor(self.layout.at(layer, f"{self._projection(which)}.{part}"))
        w = w[:, None] if w.ndim == 1 else w.T if packing == "conv_qkv" else w  # [row d_model] or [row 1]
        n, all_q = (r.n_heads if which == "q" else r.n_kv_heads), r.n_heads * r.d_head
        if packing == "head_qkv":
            w = w.reshape(r.n_heads, 3, r.d_head, -1)[:, 0 if which == "q" else 1]
        elif packing != "rows":
            w = w[:all_q] if which == "q" else w[all_q : all_q + n * r.d_head]
        return w.reshape(n, r.d_head, -1)

    def qk_norm_scales(self, layer: int) -> tuple[Tensor | None, Tensor | None]:
        """Scales of the norms on queries [n_heads d_head] and keys [n_kv d_head]; None where there are none.

        One vector for all heads, or one for each (OLMo 2, Cohere). Gemma's 1 is added.
        """
        for names in _QK_NORMS:
            beside = [self.layout.value.rpartition(".")[0] + "." + name for name in names]
            found = [self._norm_rows(layer, path) for path in beside]
            if found[0] is not None or found[1] is not None:
                counts = (self.record.n_heads, self.record.n_kv_heads)
                q, k = (
                    None if w is None else w.reshape(-1, self.record.d_head).expand(n, -1)
                    for w, n in zip(found, counts, strict=True)
                )
                return q, k
        return None, None

    def _norm_rows(self, layer: int, path: str) -> Tensor | None:
        whole = self._scale(self.layout.at(layer, path))
        if whole is not None:
            return whole
        rows: list[Tensor] = []
        while (row := self._scale(self.layout.at(layer, f"{path}.norms.{len(rows)}"))) is not None:  # StableLM
            rows.append(row)
        return torch.stack(rows) if rows else None

    def rotary(self, layer: int) -> Rotary | None:
        """What positions do to queries and keys of a layer; None without rotary positions (also in single layers)."""
        if not self.layout.rotary or not turns(self.config, layer):
            return None
        radians = frequencies(self.config, self.record.d_head, layer)
        count = len(radians)
        plane = torch.arange(count)
        pairs = (plane, plane + count) if self.layout.rotary == "halves" else (2 * plane, 2 * plane + 1)
        return Rotary(torch.stack(pairs), radians)

    @property
    def centres(self) -> bool:
        """Whether norms subtract the mean (LayerNorm), or only divide (RMS norm)."""
        return not hasattr(self.config, "rms_norm_eps")

    def first_block(self, ids: Tensor) -> Tensor:
        """[n] -> [n d_model]: each token's residual after block 0 where it attends to itself alone, without positions.

        The effective embedding of McDougall et al. 2023, by Hugging Face's own block. NotApplicable where it can't run.
        """
        return one_block.after_first(self, ids)

    def first_position(self, token: int) -> Tensor:
        """[n_layers + 1 d_model]: the residual of this token at position 0 before each block and after the last.

        At position 0 attention is 1 on the token itself, so the vectors are constants of the model; each layer's
        weights are read once. NotApplicable where a block of the family can't be run alone.
        """
        return one_block.at_first_position(self, token)

    def W_O(self, layer: int) -> Tensor:  # noqa: N802
        """[n_heads d_head d_model]."""
        r = self.record
        w = self._tensor(self.layout.at(layer, f"{self.layout.output}.weight"))
        if self.layout.packing != "conv_qkv":  # nn.Linear stores [out in], Conv1D [in out]
            w = w.T
        return w.reshape(r.n_heads, r.d_head, r.d_model).contiguous()

    def b_O(self, layer: int) -> Tensor | None:  # noqa: N802
        """[d_model]; None in families without one."""
        return self.source.get(self.layout.at(layer, f"{self.layout.output}.bias"))

    def W_U(self, *, own: bool = False) -> Tensor:  # noqa: N802
        """[d_model d_vocab] float32, not to be written to: the weights themselves where they are held as float32.

        Otherwise, or with `own`, a fresh copy of d_model * d_vocab * 4 bytes: ask once and keep it. Cohere's is
        multiplied by its factor on the logits.
        """
        rows, factor = self._unembed_rows(), self.layout.logit_scale
        if not own and not factor and rows.dtype == torch.float32 and rows.device == self.device:
            return rows.T
        out = _transposed(rows, self.device)
        return out.mul_(getattr(self.config, factor)) if factor else out

    def W_U_of(self, ids: Tensor) -> Tensor:  # noqa: N802
        """[d_model ...] float32, the columns of W_U of tokens ids [...]; the others are not copied."""
        tensor = self._unembed_rows()
        out = tensor[ids.to(tensor.device)].float().movedim(-1, 0).to(self.device)
        return out * getattr(self.config, self.layout.logit_scale) if self.layout.logit_scale else out

    def _unembed_rows(self) -> Tensor:
        """[d_vocab d_model] as it is stored."""
        names = [] if self.config.tie_word_embeddings else list(self.layout.unembed)
        for name in [*names, self.layout.embed]:
            tensor = self.source.get(f"{name}.weight")
            if tensor is not None:
                return tensor
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
