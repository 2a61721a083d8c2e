"""Where each family keeps its weights: the one table that static scores, streaming and hooks read.

- Paths are module paths of Hugging Face's own classes, relative to the block where they belong to one.
- A family that is not here is refused in one line (`reportgen suites` and the README list the table's keys): an
  unlisted layout would give numbers that look right and are not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

# How value weights are packed in their tensor:
#   rows       nn.Linear       [n_kv*d_head d_model]
#   conv_qkv   GPT-2's Conv1D  [d_model 3*n_heads*d_head], Q then K then V
#   head_qkv   GPT-NeoX, BLOOM [n_heads*3*d_head d_model], Q K V interleaved per head
#   rows_qkv   Phi-3, StarCoder, Falcon  [(n_heads + 2*n_kv)*d_head d_model], Q then K then V
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
    embed_norm   LayerNorm on embeddings before the first block, or "" (BLOOM)
    logit_scale  the config's name of a factor on the logits, or "" (Cohere)
    one_norm     the config's flag under which the MLP reads what attention reads, through ln1, or "" (StableLM)
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
    pattern_seam: bool = True

    def of(self, config: Any) -> Layout:
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
) -> Layout:
    return Layout(
        block="model.layers.{}", embed="model.embed_tokens", final_norm="model.norm",
        value=value, packing=packing, output="self_attn.o_proj", ln1=ln1, mlp_norm=mlp_norm, mlp=mlp,
        post_attn=post_attn, one_plus=one_plus, embed_scaled=one_plus,
        logit_scale=logit_scale, one_norm=one_norm,
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
    "gemma3_text": _llama(one_plus=True, mlp_norm="pre_feedforward_layernorm", post_attn="post_attention_layernorm"),
    "olmo2": _llama(ln1="", mlp_norm="", post_attn="post_attention_layernorm"),
    "mixtral": _llama(mlp=()),
    "qwen2_moe": _llama(mlp=()),
    "qwen3_moe": _llama(mlp=()),
    "olmo": _llama(),
    "smollm3": _llama(),
    "starcoder2": _llama(),
    "stablelm": _llama(one_norm="use_parallel_residual"),
    "cohere": _llama(mlp_norm="input_layernorm", logit_scale="logit_scale"),
    "gpt_bigcode": Layout(
        block="transformer.h.{}", embed="transformer.wte", final_norm="transformer.ln_f",
        value="attn.c_attn", packing="rows_qkv", output="attn.c_proj", ln1="ln_1", mlp_norm="ln_2",
    ),
    "falcon": Layout(
        block="transformer.h.{}", embed="transformer.word_embeddings", final_norm="transformer.ln_f",
        value="self_attention.query_key_value", packing="rows_qkv", output="self_attention.dense",
        ln1="input_layernorm", mlp_norm="input_layernorm",
    ),
    "bloom": Layout(
        block="transformer.h.{}", embed="transformer.word_embeddings", final_norm="transformer.ln_f",
        value="self_attention.query_key_value", packing="head_qkv", output="self_attention.dense",
        ln1="input_layernorm", mlp_norm="post_attention_layernorm",
        mlp=("mlp.dense_h_to_4h", "mlp.gelu_impl", "mlp.dense_4h_to_h"),
        embed_norm="transformer.word_embeddings_layernorm",
    ),
}  # fmt: skip
