"""Checkpoints made for tests: random ones, and a GPT-2 whose heads are written by hand.

In the written one layer norms are made harmless: positions add +C and -C to two residual dimensions, far more than
anything else, so a norm's divisor is the same everywhere and its scale undoes it. What is left is linear in features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from reportgen.models.boot import quiet

BOS, UNK = "<|endoftext|>", "<unk>"
PADDING_COLUMNS = 5  # more columns than tokens, like padded real checkpoints
CONSTANT = 100.0
POSITIONS = 64
Weights = Iterable[tuple[int, int, float]]  # (residual dimension, head dimension, weight)
_fast: Any = PreTrainedTokenizerFast  # half-typed upstream
_auto_model: Any = AutoModelForCausalLM


def random_folder(
    family: str, folder: Path, words: Iterable[str], fields: Mapping[str, Any], seed: int = 0, *, bos: bool = False
) -> Path:
    """Write a random checkpoint with a word-level tokenizer into `folder` and return it; nothing in it was learnt.

    fields  of its Hugging Face config;  bos  the tokenizer prepends its BOS token by default
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = word_tokenizer(words, bos=bos)
    tokenizer.save_pretrained(folder)
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(family, **{"vocab_size": len(tokenizer) + PADDING_COLUMNS, **special, **fields})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _auto_model.from_config(config).eval()
        randomise(model)
    with quiet():
        model.save_pretrained(folder)
    return folder


def word_tokenizer(words: Iterable[str], *, bos: bool = False) -> Any:
    """Word-level tokenizer: " Mary" and "Mary" are one token each, anything unknown is <unk>; decoding is exact."""
    plain = [*dict.fromkeys(words), *".,:;?!'\"", "->"]
    vocab = {token: i for i, token in enumerate([BOS, UNK, *(" " + w for w in plain), *plain])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token=UNK))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?->| ?[\p{L}\p{N}]+| ?[^\s\p{L}\p{N}]|\s"), "isolated")
    backend.decoder = decoders.Fuse()
    if bos:
        backend.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, vocab[BOS])])
    return _fast(tokenizer_object=backend, unk_token=UNK, bos_token=BOS, eos_token=BOS)


@torch.no_grad()
def randomise(model: torch.nn.Module) -> None:
    """Draw every parameter anew: matrices with standard deviation 0.25, vectors around their own value with 0.2."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(0.0, 0.25)
        else:
            offset = 0.0 if name.endswith("bias") else float(parameter.mean())
            parameter.normal_(offset, 0.2)


class Blank:
    """A GPT-2 file of zeros to plant features and heads into."""

    def __init__(self, words: Sequence[str], n_layer: int, n_head: int, d_head: int, n_inner: int) -> None:
        self.words, self.d_head, self.d_model = list(words), d_head, n_head * d_head
        self.shape = {"n_layer": n_layer, "n_head": n_head, "n_embd": self.d_model, "n_inner": n_inner}
        self.token = {word: word_tokenizer(words).convert_tokens_to_ids(f" {word}") for word in words}
        self.writes: list[tuple[str, int, int, float]] = []

    def embed(self, word: str, dimension: int, value: float = 1.0) -> None:
        """Token " word" holds `value` in a residual dimension."""
        self.writes.append(("transformer.wte.weight", self.token[word], dimension, value))

    def position(self, at: int, dimension: int, value: float) -> None:
        """Position `at` holds `value` in a residual dimension."""
        self.writes.append(("transformer.wpe.weight", at, dimension, value))

    def head(self, layer: int, head: int, *, q: Weights = (), k: Weights = (), v: Weights, o: Weights) -> None:
        """Plant a head; `o` is (residual dimension, head dimension, weight) too."""
        block = f"transformer.h.{layer}.attn"
        for part, weights in enumerate((q, k, v)):
            for residual, inner, weight in weights:
                column = part * self.d_model + head * self.d_head + inner
                self.writes.append((f"{block}.c_attn.weight", residual, column, weight))
        for residual, inner, weight in o:
            self.writes.append((f"{block}.c_proj.weight", head * self.d_head + inner, residual, weight))

    def copy_in_mlp(self, dimensions: Sequence[int]) -> None:
        """MLP 0 adds each of these features (where it is about 1) once more, and passes nothing else."""
        for inner, dimension in enumerate(dimensions):
            self.writes.append(("transformer.h.0.mlp.c_fc.weight", dimension, inner, 8.0))
            self.writes.append(("transformer.h.0.mlp.c_fc.bias", inner, -1, -4.0))
            self.writes.append(("transformer.h.0.mlp.c_proj.weight", inner, dimension, 0.28))

    def save(self, folder: Path) -> Path:
        """Write the checkpoint and return its folder."""
        random_folder("gpt2", folder, self.words, {"n_positions": POSITIONS, **self.shape})
        tensors = {name: torch.zeros_like(t) for name, t in load_file(folder / "model.safetensors").items()}
        scale = CONSTANT * (2 / self.d_model) ** 0.5  # standard deviation of a row that holds +C and -C
        for name, tensor in tensors.items():
            if ".ln_" in name and name.endswith("weight"):
                tensor.fill_(scale)
        for at in range(POSITIONS):
            self.position(at, 0, CONSTANT)
            self.position(at, 1, -CONSTANT)
        for name, row, column, value in self.writes:
            if column < 0:
                tensors[name][row] = value
            else:
                tensors[name][row, column] = value
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
