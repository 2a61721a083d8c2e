"""GPT-2 checkpoints whose heads are written by hand, so that every score has a known answer.

The layer norms are made harmless: positions add +C and -C to two residual dimensions, far more than anything else, so
a norm's divisor is the same everywhere and its scale undoes it. What is left is linear in the features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from reportgen.suites.circuits.tasks import forms
from tests.tiny import tiny_folder, word_tokenizer

CONSTANT = 100.0
POSITIONS = 64
Weights = Iterable[tuple[int, int, float]]  # (residual dimension, head dimension, weight)


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
        tiny_folder("gpt2", folder, words=self.words, n_positions=POSITIONS, **self.shape)
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


def ioi_folder(folder: Path, names: int = 12) -> Path:
    """Four layers that do IOI.

    L0H0 finds the earlier copy of a name; L1H0 carries the subject to the last position; L2H0 is a name mover, L2H1 a
    negative one; L3H0 does what L2H0 does, but not where the name is written already: a backup.
    """
    data = forms.read("ioi")
    texts = " ".join(data["templates"]).replace(".", " ").replace(",", " ").split()
    words = [word for word in dict.fromkeys(texts) if word.isalpha()]
    chosen = data["names"][:names]
    model = Blank([*words, *chosen, "store", "school", "ring", "ball"], n_layer=4, n_head=4, d_head=16, n_inner=16)
    name = {word: 2 + i for i, word in enumerate(chosen)}
    inner = {word: i for i, word in enumerate(chosen)}
    is_name, to, position, seen, subject = 14, 15, 16, 17, 18  # subject: one dimension per name from 18 on
    for word in chosen:
        model.embed(word, name[word])
        model.embed(word, is_name)
    model.embed("to", to, 0.2)
    for at in range(POSITIONS):
        model.position(at, position, at / POSITIONS)
    model.copy_in_mlp([name[word] for word in chosen])  # from here on a name stands for 2
    same = [(name[w], inner[w], 1.0) for w in chosen]
    model.head(  # seen = -position of the earliest copy, so that position + seen > 0 marks the second one
        0, 0, q=[*((r, i, 240.0) for r, i, _ in same), (is_name, 12, 400.0)], k=[*same, (position, 12, -1.0)],
        v=[(position, 0, 1.0)], o=[(seen, 0, -1.0)],
    )  # fmt: skip
    model.head(
        1, 0, q=[(to, 0, 20.0)], k=[(is_name, 0, 200.0), (position, 0, 400.0), (seen, 0, 400.0)],
        v=same, o=[(subject + inner[w], inner[w], 0.5) for w in chosen],
    )  # fmt: skip
    ask = [(to, 12, 600.0), *((subject + inner[w], inner[w], -90.0) for w in chosen)]
    written = [(name[w], inner[w], -50.0) for w in chosen]
    for layer, head, amount, query in ((2, 0, 2.0, ask), (2, 1, -0.8, ask), (3, 0, 2.0, [*ask, *written])):
        out = [(r, i, amount) for r, i, _ in same]
        model.head(layer, head, q=query, k=[*same, (is_name, 12, 1.0)], v=same, o=out)
    return model.save(folder)


def induction_folder(folder: Path, words: int = 24) -> Path:
    """Two layers: L0H0 reads the previous token, L0H1 always stands 3 back, L1H0 is an induction head, L1H1 finds the
    earlier copy of its own token, L1H2 attends as L1H0 does but copies nothing."""
    vocabulary = [f"word{chr(97 + i)}" for i in range(words)]
    model = Blank(vocabulary, n_layer=2, n_head=3, d_head=POSITIONS, n_inner=words)
    token = {word: 2 + i for i, word in enumerate(vocabulary)}
    place, before = 2 + words, 2 + words + POSITIONS  # one dimension per position; per word that came before
    for word, dimension in token.items():
        model.embed(word, dimension)
    for at in range(POSITIONS):
        model.position(at, place + at, 1.0)
    model.copy_in_mlp(list(token.values()))
    for head, back in ((0, 1), (1, 3)):
        query = [(place + at, at - back, 400.0) for at in range(back, POSITIONS)]
        moved = [(before + i, i, 1.0) for i in range(words)] if head == 0 else []
        model.head(
            0, head, q=query, k=[(place + at, at, 1.0) for at in range(POSITIONS)],
            v=[(dimension, i, 1.0) for i, dimension in enumerate(token.values())], o=moved,
        )  # fmt: skip
    own = [(dimension, i, 1.0) for i, dimension in enumerate(token.values())]
    far = [(place + at, words, -at / POSITIONS) for at in range(POSITIONS)]  # of several copies, the earliest
    always = [(dimension, words, 400.0) for dimension in token.values()]
    for head, key, writes in ((0, before, own), (1, 2, []), (2, before, [])):
        keys = [(key + i, i, 1.0) for i in range(words)]
        query = [(dimension, i, 400.0) for i, dimension in enumerate(token.values())]
        model.head(1, head, q=[*query, *always], k=[*keys, *far], v=own, o=writes)
    return model.save(folder)
