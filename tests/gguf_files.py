"""Tiny GGUF files made from tiny random Hugging Face models, as llama.cpp's converter would write them.

    made = tiny_gguf("llama", tmp_path / "net.gguf", kind="Q8_0")
    made.model        # the Hugging Face model before it was written (float32, unquantised)

The weights were never trained: results on them mean nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch
from gguf import GGMLQuantizationType
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

from tests.tiny import FAMILIES, WORDS

# Family -> llama.cpp's name of it
ARCHITECTURES = {
    "llama": "llama", "gpt2": "gpt2", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2", "gemma3_text": "gemma3",
}  # fmt: skip
BOS = "<|endoftext|>"


@dataclass(frozen=True)
class Made:
    """A file, the model that it was written from, and its tokenizer's pieces in the order of their ids."""

    path: Path
    model: Any
    pieces: list[str]
    merges: list[str]


def bpe() -> Tokenizer:
    """A byte-level BPE that knows tiny's words, with and without a space before them."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=[BOS], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    made.train_from_iterator([f"{word} {word} {word}" for word in WORDS for _ in range(3)], trainer)
    return made


def tiny_gguf(
    family: str, path: Path, *, kind: str = "F32", name: str = "", seed: int = 0, without: tuple[str, ...] = (),
    metadata: dict[str, Any] | None = None, extra: dict[str, npt.NDArray[np.float32]] | None = None, **fields: Any,
) -> Made:  # fmt: skip
    """Write one. `without`: tensors left out; `metadata`: keys set last; `extra`: further tensors; `fields`: config."""
    tokenizer = bpe()
    data = json.loads(tokenizer.to_str())["model"]
    pieces = [piece for piece, _ in sorted(data["vocab"].items(), key=lambda item: item[1])]
    merges = [" ".join(pair) for pair in data["merges"]]
    sizes = {**FAMILIES[family], "vocab_size": len(pieces), **_widths(family), **fields}
    config = AutoConfig.for_model(family, **sizes)
    model = _random(config, seed)
    arch = ARCHITECTURES[family]
    writer = gguf.GGUFWriter(path, arch)
    if name:
        writer.add_name(name)
    _write_config(writer, arch, config)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(pieces)
    writer.add_token_types([3 if piece == BOS else 1 for piece in pieces])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_add_bos_token(False)
    for key, value in (metadata or {}).items():
        adders = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, float: writer.add_float32,
                  list: writer.add_array}  # fmt: skip
        adders[type(value)](key, value)
    for own, values in (*_tensors(arch, config, model), *(extra or {}).items()):
        if own not in without:
            _write(writer, own, values, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Made(path, model, pieces, merges)


def _widths(family: str) -> dict[str, Any]:
    """Widths that a block of 32 numbers divides."""
    if family == "gpt2":
        return {"n_inner": 128, "n_embd": 32}
    return (
        {"intermediate_size": 64, "tie_word_embeddings": family.startswith("gemma")}
        | ({"head_dim": 16} if "head_dim" in FAMILIES[family] else {})
        | ({"query_pre_attn_scalar": 16, "layer_types": None} if family.startswith("gemma") else {})
    )


def _random(config: Any, seed: int) -> Any:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model


def _write_config(writer: Any, arch: str, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    if arch == "gpt2":
        writer.add_feed_forward_length(config.n_inner)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(
        config.rope_parameters.get("rope_theta") or config.rope_parameters["full_attention"]["rope_theta"]
    )
    writer.add_vocab_size(config.vocab_size)
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if getattr(config, "attn_logit_softcapping", None):
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def _tensors(arch: str, config: Any, model: Any) -> list[tuple[str, npt.NDArray[np.float32]]]:
    """What llama.cpp's converter makes of a state dict, told apart from what transformers undoes."""
    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    tied = bool(config.tie_word_embeddings)
    out: list[tuple[str, npt.NDArray[np.float32]]] = []
    for name, tensor in model.state_dict().items():
        base, _, suffix = name.rpartition(".")
        if suffix not in ("weight", "bias") or (tied and name == "lm_head.weight"):
            continue
        own = f"{names.get_name(base)}.{suffix}"
        values = tensor.float().numpy()
        if arch == "llama" and (".attn_q." in own or ".attn_k." in own):
            heads = config.num_attention_heads if ".attn_q." in own else config.num_key_value_heads
            half = values.shape[0] // heads // 2
            values = values.reshape(heads, 2, half, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        if arch.startswith("gemma") and own.endswith("norm.weight"):
            values = values + 1
        if arch == "gpt2" and own.endswith(
            ("attn_qkv.weight", "ffn_up.weight", "ffn_down.weight", "attn_output.weight")
        ):
            values = values.T
        out.append((own, np.ascontiguousarray(values)))
    return out


def _write(writer: Any, own: str, values: npt.NDArray[np.float32], kind: str) -> None:
    wanted = GGMLQuantizationType[kind]
    if values.ndim < 2 or wanted == GGMLQuantizationType.F32:
        writer.add_tensor(own, values)
        return
    writer.add_tensor(own, gguf.quants.quantize(values, wanted), raw_dtype=wanted)
