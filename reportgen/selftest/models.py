"""The checkpoints that the checks run: one with planted heads, one that attends evenly, two random ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from reportgen.models.load import load
from reportgen.models.model import Model, quiet
from reportgen.models.tokens import Tokens
from reportgen.selftest.static import Static
from reportgen.suites.circuits.tasks.task import Mover, Pair, Task, copies

# Checkpoints made for tests: random ones, and a GPT-2 whose heads are written by hand.
#
# In the written one layer norms are made harmless: positions add +C and -C to two residual dimensions, far more than
# anything else, so a norm's divisor is the same everywhere and its scale undoes it. What is left is linear in
# features.

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
    """Redraw every parameter: matrices with standard deviation 0.25, vectors around their own value with 0.2."""
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


WORDS = tuple(f"word{chr(97 + i)}" for i in range(24))
FAR = 6  # the earlier copy stands at least so far back, out of reach of heads of fixed distance
_SMALL = {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}


class Bench:
    """Everything the checks share, each made once, when first asked for; `folder` takes the files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.static = Static(folder)

    @cached_property
    def planted(self) -> Model:
        """See `planted_folder`."""
        return load(planted_folder(self.folder / "planted"), device="cpu")

    @cached_property
    def even(self) -> Model:
        """Queries and keys are zero: every row of attention is uniform."""
        blank = Blank(WORDS, n_layer=1, n_head=2, d_head=16, n_inner=8)
        return load(blank.save(self.folder / "even"), device="cpu")

    @cached_property
    def gpt2(self) -> Model:
        """Random weights; layer norms, biases on everything."""
        fields = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "n_positions": 64}
        return load(random_folder("gpt2", self.folder / "gpt2", WORDS, fields, bos=True), device="cpu")

    @cached_property
    def llama(self) -> Model:
        """Random weights; RMS norms, rotary positions, two key-value heads for four query heads."""
        fields = {"hidden_size": 32, "intermediate_size": 48, "num_key_value_heads": 2, **_SMALL}
        return load(random_folder("llama", self.folder / "llama", WORDS, fields, seed=1, bos=True), device="cpu")


def planted_folder(folder: Path) -> Path:
    """Two layers that finish a repeated pair: ... a b ... a -> b.

    L0H0 reads the previous token; L1H0 finds the token after the earlier copy and writes it. Decoys: L0H1 stands three
    back and L1H3 two back, which writes what it reads; L1H1 finds the same token as L1H0 and writes nothing; L1H2
    writes the token it stands on.
    """
    count = len(WORDS)
    blank = Blank(WORDS, n_layer=2, n_head=4, d_head=POSITIONS, n_inner=count)
    own, place = range(2, 2 + count), 2 + count  # a word's dimension; one dimension per position
    before = place + POSITIONS  # per word that came before
    for word, dimension in zip(WORDS, own, strict=True):
        blank.embed(word, dimension)
    for at in range(POSITIONS):
        blank.position(at, place + at, 1.0)
    blank.copy_in_mlp(list(own))
    here = [(place + at, at, 1.0) for at in range(POSITIONS)]
    read = [(dimension, i, 1.0) for i, dimension in enumerate(own)]
    for layer, head, back, amount, into in (
        (0, 0, 1, 1.0, before),
        (0, 1, 3, 0, 2),
        (1, 2, 0, 0.5, 2),
        (1, 3, 2, 0.5, 2),
    ):
        query = [(place + at, at - back, 400.0) for at in range(back, POSITIONS)]
        blank.head(layer, head, q=query, k=here, v=read, o=[(into + i, i, amount) for i in range(count)])
    for head, amount in ((0, 1.0), (1, 0.0)):
        query = [(dimension, i, 400.0) for i, dimension in enumerate(own)]
        keys = [(before + i, i, 1.0) for i in range(count)]
        blank.head(1, head, q=query, k=keys, v=read, o=[(dimension, i, amount) for i, dimension in enumerate(own)])
    return blank.save(folder)


def pair_task(tokens: Tokens, count: int = 64) -> Task:
    """Ten to thirteen words, the last of which stood before; corrupted: two fresh words in that earlier place."""
    rng = np.random.default_rng(0)
    ids = [tokens.word_id(word) or 0 for word in WORDS]
    start = () if tokens.bos_id is None else (tokens.bos_id,)
    pairs = []
    for index in range(count):
        length = 10 + index % 4
        words = [ids[i] for i in rng.permutation(len(ids))]
        at = int(rng.integers(1, length - FAR))
        clean = [*words[: length - 1], words[at]]
        corrupted = list(clean)
        corrupted[at : at + 2] = words[length : length + 2]
        first = at + len(start)
        roles = {"answer": first + 1, "first": first, "foil": first + 2, "END": length - 1 + len(start)}
        pairs.append(
            Pair(
                (*start, *clean), (*start, *corrupted), (clean[at + 1],), (clean[at + 2],), roles, index % 4, str(index)
            )
        )
    return Task(
        "pairs", "Repeated pairs", "logit_diff", tuple(pairs), ("10 words", "11", "12", "13"),
        ("answer", "first", "foil"), ("foil",), copies(ids), tuple(ids), Mover(),
    )  # fmt: skip
