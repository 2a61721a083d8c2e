"""Checkpoints with random weights in the shape of published models: for time and memory only, never for findings.

Their config says `"reportgen_synthetic": true`, so every figure and caption of such a run carries the mark.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers import PreTrainedTokenizerBase as Tokens

from reportgen.suites import pairs

DATA = Path(pairs.__file__).parent / "pair_lists"
SHARD = 10**9  # bytes of one weight file


def gpt2_small_shape(folder: Path, seed: int = 0, *, d_vocab: int = 50257, words: Tokens | None = None) -> Path:
    """12 layers x 12 heads, d_model 768, random weights; about 0.5 GB on disk with GPT-2's own vocabulary.

    words  a tokenizer of at most `d_vocab` tokens; without, one of the words of the shipped relations
    """
    if (folder / "model.safetensors").exists():
        return folder
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=d_vocab, bos_token_id=d_vocab - 1, eos_token_id=d_vocab - 1)
    GPT2LMHeadModel(config).eval().save_pretrained(folder)
    mark_synthetic(folder)
    (words or wide_tokenizer(d_vocab)).save_pretrained(folder)
    return folder


def llama_1b_shape(folder: Path, seed: int = 0, *, words: Tokens | None = None) -> Path:
    """Random weights in the shape of Llama-3.2-1B: 16 layers x 32 heads, 8 key-value heads, d_model 2048; 2.5 GB."""
    if (folder / "model.safetensors").exists():
        return folder
    torch.manual_seed(seed)
    vocab = 128256
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64, max_position_embeddings=131072, rope_theta=500000.0,
        bos_token_id=vocab - 1, eos_token_id=vocab - 1, tie_word_embeddings=True,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)  # half-typed upstream
    model.to(torch.bfloat16).eval().save_pretrained(folder)
    mark_synthetic(folder)
    (words or wide_tokenizer(vocab)).save_pretrained(folder)
    return folder


def mark_synthetic(folder: Path) -> None:
    """Say in config.json that these weights were never trained."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "reportgen_synthetic": True}, indent=2))


def wide_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """A word-level tokenizer of `size` tokens that holds every word of the shipped relations, then made-up fillers."""
    pairs = [pair for path in sorted(DATA.glob("*.json")) for pair in json.loads(path.read_text("utf-8"))]
    words = list(dict.fromkeys(" " + word for pair in pairs for word in pair))
    fillers = [f" filler{i}" for i in range(size - len(words) - 2)]
    vocab = {token: i for i, token in enumerate(["<unk>", *words, *fillers, "<|endoftext|>"])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[\p{L}\p{N}]+| ?[^\s\p{L}\p{N}]|\s"), "isolated")
    backend.decoder = decoders.Fuse()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token=end, eos_token=end)


def llama_8b_shape(folder: Path, seed: int = 0) -> Path:
    """The static tensors of a model in the shape of Llama-3.1-8B: random bfloat16, sharded; about 5.3 GB on disk.

    32 layers x 32 heads, 8 key-value heads, d_model 4096, d_head 128, vocabulary 128256. It holds both embeddings,
    attention of every layer, the norms' scales, and the MLP of block 0: what `--stream` reads, nothing to run.
    """
    if (folder / "model.safetensors.index.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    d_model, d_mlp, n_kv, vocab, layers = 4096, 14336, 8 * 128, 128256, 32
    shapes: list[tuple[str, tuple[int, ...]]] = [("embed_tokens.weight", (vocab, d_model))]
    for layer in range(layers):
        block: dict[str, tuple[int, ...]] = {
            "self_attn.q_proj": (d_model, d_model),
            "self_attn.k_proj": (n_kv, d_model),
            "self_attn.v_proj": (n_kv, d_model),
            "self_attn.o_proj": (d_model, d_model),
        }
        if layer == 0:
            block |= {"mlp.gate_proj": (d_mlp, d_model), "mlp.up_proj": (d_mlp, d_model)}
            block |= {"mlp.down_proj": (d_model, d_mlp)}
        block |= dict.fromkeys(("input_layernorm", "post_attention_layernorm"), (d_model,))
        shapes += [(f"layers.{layer}.{name}.weight", shape) for name, shape in block.items()]
    names = [(f"model.{name}", shape) for name, shape in [*shapes, ("norm.weight", (d_model,))]]
    _write_shards(folder, [*names, ("lm_head.weight", (vocab, d_model))], seed)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=d_model, intermediate_size=d_mlp, num_hidden_layers=layers,
        num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=131072,
        bos_token_id=vocab - 1, eos_token_id=vocab - 1, tie_word_embeddings=False, dtype="bfloat16",
    )  # fmt: skip
    config.save_pretrained(folder)
    mark_synthetic(folder)
    wide_tokenizer(vocab).save_pretrained(folder)
    return folder


def _write_shards(folder: Path, names: Sequence[tuple[str, tuple[int, ...]]], seed: int) -> None:
    """Random tensors in shards of about SHARD bytes, each drawn, written and dropped; the index comes last."""
    draw = torch.Generator().manual_seed(seed)
    weight_map: dict[str, str] = {}
    part: dict[str, torch.Tensor] = {}
    total = held = shard = 0
    for place, (name, shape) in enumerate(names, start=1):
        norm = len(shape) == 1
        part[name] = torch.ones(shape, dtype=torch.bfloat16) if norm else _normal(shape, draw)
        held += part[name].nbytes
        if held >= SHARD or place == len(names):
            shard, total = shard + 1, total + held
            weight_map |= dict.fromkeys(part, f"model-{shard:05d}.safetensors")
            save_file(part, folder / f"model-{shard:05d}.safetensors", metadata={"format": "pt"})
            part, held = {}, 0
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _normal(shape: tuple[int, ...], draw: torch.Generator) -> torch.Tensor:
    """Gaussian weights of standard deviation 0.02 as bfloat16, drawn a block of rows at a time."""
    out = torch.empty(shape, dtype=torch.bfloat16)
    for a in range(0, shape[0], 4096):
        out[a : a + 4096] = torch.randn(out[a : a + 4096].shape, generator=draw) * 0.02
    return out


def first_pairs(folder: Path, sources: int, relations: int = 0) -> int:
    """Write `sources` pairs of each shipped list into `folder`; return how many distinct sources there are.

    Sources that no earlier list has come first, so that as few as possible are shared.
    relations   only the first so many lists, by name (0: all)
    """
    seen: set[str] = set()
    for path in sorted(DATA.glob("*.json"))[: relations or None]:
        targets: dict[str, str] = {}
        for source, target in json.loads(path.read_text("utf-8")):
            targets.setdefault(source, target)
        chosen = sorted(targets, key=lambda source: source in seen)[:sources]
        seen |= set(chosen)
        (folder / path.name).write_text(json.dumps([(s, targets[s]) for s in chosen]), encoding="utf-8")
    return len(seen)
