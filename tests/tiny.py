"""Tiny random checkpoints, one per family, written as ordinary Hugging Face folders.

    folder = tiny_folder("gpt2", tmp_path)                        # 3 layers, 4 heads, d_model 32
    folder = tiny_folder("qwen2", tmp_path, num_hidden_layers=2)  # any field of the Hugging Face config
    folder = tiny_folder("gpt2", tmp_path, words=["tide", "moon"])

- Every parameter is drawn at random, biases and norms included, large enough that attention is far from uniform.
- The tokenizer is word-level: a word carries its leading space (" Mary"), every word also exists without it ("Mary").
- `vocab_size` is 5 columns larger than the tokenizer, like padded real checkpoints.
- The weights were never trained: results on them mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from reportgen.selftest import models
from reportgen.selftest.models import BOS, PADDING_COLUMNS, UNK, random_folder

__all__ = ["BOS", "FAMILIES", "PADDING_COLUMNS", "UNK", "WORDS", "tiny_folder", "word_tokenizer"]

WORDS: tuple[str, ...] = tuple(
    "Mary John Tom Anna Paul Kate Sam Lucy Mark Jane France Paris Spain Madrid Italy Rome Japan Tokyo Peru Lima "
    "one two three four five six seven eight nine ten red blue green black white big small bigger smaller walk walked "
    "cat dog bird fish tree house book table king queen man woman he she it they day night hot cold open close "
    "gave ring ball went store store garden drink said the a an to of in is and was This document about story means "
    "contains No When I think capital language same opposite not who what at on for with from".split()
)

_LLAMA = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip
_GROUPED = {**_LLAMA, "num_key_value_heads": 2}
_NEOX = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip

# family (model_type) -> fields of its Hugging Face config
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 48, "n_positions": 64},
    "gpt_neox": _NEOX,
    "llama": _LLAMA,
    "mistral": {**_GROUPED, "sliding_window": None},
    "qwen2": _GROUPED,
    "phi": {**_LLAMA, "partial_rotary_factor": 0.5},
    "gemma2": {
        **_GROUPED, "head_dim": 12, "query_pre_attn_scalar": 12, "sliding_window": 6,
        "attn_logit_softcapping": 5.0, "final_logit_softcapping": 10.0,
    },
    "opt": {
        "hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "max_position_embeddings": 64, "do_layer_norm_before": True,
    },
    "qwen3": {**_GROUPED, "head_dim": 12},
    "gptj": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 48, "n_positions": 64, "rotary_dim": 4},
    "gpt_neo": {
        "hidden_size": 32, "intermediate_size": 48, "num_layers": 4, "num_heads": 4, "max_position_embeddings": 64,
        "attention_types": [[["global", "local"], 2]], "window_size": 6,
    },
    "phi3": {**_GROUPED, "pad_token_id": 0},
    "gemma": {**_GROUPED, "head_dim": 12},
    "mixtral": {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "olmo2": _LLAMA,
    "olmo": _LLAMA,
    "qwen2_moe": {
        **_GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 24,
    },
    "qwen3_moe": {
        **_GROUPED, "head_dim": 12, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
    },
    "gemma3_text": {
        **_GROUPED, "head_dim": 12, "query_pre_attn_scalar": 12, "sliding_window": 6,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    },
    "smollm3": {**_GROUPED, "no_rope_layers": [1, 0, 1]},
    "starcoder2": {**_GROUPED, "sliding_window": 6},
    "stablelm": {**_GROUPED, "use_qkv_bias": True, "partial_rotary_factor": 0.5},
    "cohere": {**_GROUPED, "logit_scale": 0.25},
    "gpt_bigcode": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 48, "n_positions": 64, "multi_query": True},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 64},
    "bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4, "seq_length": 64},
}  # fmt: skip


def tiny_folder(
    family: str, path: Path | str, seed: int = 0, *, words: Iterable[str] = WORDS, bos: bool = False, **config: Any
) -> Path:
    """Write a tiny random checkpoint of `family` into `path` and return it.

    words    vocabulary of the tokenizer, with and without a leading space
    bos      the tokenizer prepends its BOS token by default (as Llama's does)
    config   fields of the Hugging Face config that replace the defaults above
    """
    return random_folder(family, Path(path), words, {**FAMILIES[family], **config}, seed, bos=bos)


def word_tokenizer(words: Iterable[str] = WORDS, *, bos: bool = False) -> PreTrainedTokenizerFast:
    """The tokenizer of these checkpoints."""
    made: PreTrainedTokenizerFast = models.word_tokenizer(words, bos=bos)
    return made
