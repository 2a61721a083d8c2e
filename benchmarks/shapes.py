"""Checkpoints with random weights in the shape of published models: for time and memory only, never for findings.

Their config says `"reportgen_synthetic": true`, so every figure and caption of such a run carries the mark.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from reportgen.suites.relations import data as relation_data

DATA = Path(relation_data.__file__).parent / "data"


def gpt2_small_shape(folder: Path, seed: int = 0) -> Path:
    """12 layers x 12 heads, d_model 768, vocabulary 50257, random weights; about 0.5 GB on disk."""
    if (folder / "model.safetensors").exists():
        return folder
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=50257, bos_token_id=50256, eos_token_id=50256)
    GPT2LMHeadModel(config).eval().save_pretrained(folder)
    mark_synthetic(folder)
    wide_tokenizer(50257).save_pretrained(folder)
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
