"""Where each family keeps its weights: the one table that static scores, streaming and hooks read.

- Paths are module paths of Hugging Face's own classes, relative to the block where they belong to one.
- A family that is not here is refused in one line (`reportgen suites` and the README list the table's keys): an
  unlisted layout would give numbers that look right and are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# How value weights are packed in their tensor:
#   rows       nn.Linear       [n_kv*d_head d_model]
#   conv_qkv   GPT-2's Conv1D  [d_model 3*n_heads*d_head], Q then K then V
#   head_qkv   GPT-NeoX        [n_heads*3*d_head d_model], Q K V interleaved per head
#   rows_qkv   Phi-3           [(n_heads + 2*n_kv)*d_head d_model], Q then K then V
Packing = Literal["rows", "conv_qkv", "head_qkv", "rows_qkv"]


@dataclass(frozen=True)
class Layout:
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
    pattern_seam: bool = True

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
) -> Layout:
    return Layout(
        block="model.layers.{}", embed="model.embed_tokens", final_norm="model.norm",
        value=value, packing=packing, output="self_attn.o_proj", ln1=ln1, mlp_norm=mlp_norm, mlp=mlp,
        post_attn=post_attn, one_plus=one_plus, embed_scaled=one_plus,
    )  # fmt: skip


LAYOUTS: dict[str, Layout] = {
    "gpt2": Layout(
        block="transformer.h.{}", embed="transformer.wte", final_norm="transformer.ln_f",
        value="attn.c_attn", packing="conv_qkv", output="attn.c_proj", ln1="ln_1", mlp_norm="ln_2",
    ),
    "gpt_neo": Layout(
        block="transformer.h.{}", embed="transformer.wte", final_norm="transformer.ln_f",
        value="attn.attention.v_proj", output="attn.attention.out_proj", ln1="ln_1", mlp_norm="ln_2",
        pattern_seam=False,
    ),
    "gptj": Layout(
        block="transformer.h.{}", embed="transformer.wte", final_norm="transformer.ln_f",
        value="attn.v_proj", output="attn.out_proj", ln1="ln_1", mlp_norm="ln_1", pattern_seam=False,
    ),
    "gpt_neox": Layout(
        block="gpt_neox.layers.{}", embed="gpt_neox.embed_in", final_norm="gpt_neox.final_layer_norm",
        value="attention.query_key_value", packing="head_qkv", output="attention.dense",
        ln1="input_layernorm", mlp_norm="post_attention_layernorm", unembed=("lm_head", "embed_out"),
    ),
    "opt": Layout(
        block="model.decoder.layers.{}", embed="model.decoder.embed_tokens",
        final_norm="model.decoder.final_layer_norm",
        value="self_attn.v_proj", output="self_attn.out_proj", ln1="self_attn_layer_norm", mlp_norm="final_layer_norm",
        mlp=("fc1", "activation_fn", "fc2"), pattern_seam=False,
    ),
    "phi": Layout(
        block="model.layers.{}", embed="model.embed_tokens", final_norm="model.final_layernorm",
        value="self_attn.v_proj", output="self_attn.dense", ln1="input_layernorm", mlp_norm="input_layernorm",
    ),
    "phi3": _llama(value="self_attn.qkv_proj", packing="rows_qkv"),
    "llama": _llama(),
    "mistral": _llama(),
    "qwen2": _llama(),
    "qwen3": _llama(),
    "gemma": _llama(one_plus=True),
    "gemma2": _llama(one_plus=True, mlp_norm="pre_feedforward_layernorm", post_attn="post_attention_layernorm"),
    "olmo2": _llama(ln1="", mlp_norm="", post_attn="post_attention_layernorm"),
    "mixtral": _llama(mlp=()),
}  # fmt: skip
