"""Tiny models that can be run, made-up static scores, and a planted model whose heads are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.scores import HeadScores
from reportgen.suites.pairs import KeptPairs, Relation, keep
from tests.tiny import tiny_folder

NAMES = ("Mary", "John", "Tom", "Anna", "Paul", "Kate", "Sam", "Lucy", "Mark", "Jane")
THINGS = ("cat", "dog", "bird", "fish", "tree", "house", "book", "table", "king", "queen")
TEMPLATES = ("This is a document about <X>", "No <X> means not", "The story of <X> contains")


_LOADED: dict[str, Model] = {}


def tiny(family: str, tmp_path: Path) -> Model:
    """A tiny random model, the same one for every test of a process: not to be written to."""
    if family not in _LOADED:
        _LOADED[family] = fresh(family, tmp_path)
    return _LOADED[family]


def fresh(family: str, tmp_path: Path, **config: object) -> Model:
    """One of the test's own."""
    return load(tiny_folder(family, tmp_path / family, **config))  # type: ignore[arg-type]


def relation(
    model: Model, stem: str = "made_up", pairs: Sequence[tuple[str, str]] = (), prompt: str = "", **about: object
) -> KeptPairs:
    """A relation of this model's words; names to things unless given."""
    given = tuple(pairs) or tuple(zip(NAMES, THINGS, strict=True))
    made = Relation(stem, stem, "Other", False, given, prompt=prompt, **about)  # type: ignore[arg-type]
    return keep(made, model.tokens)


def static(model: Model, values: np.ndarray | None = None, stem: str = "made_up", measure: str = "score") -> HeadScores:
    """Static scores as given, or random ones."""
    shape = (model.record.n_layers, model.record.n_heads)
    grid = np.random.default_rng(0).random(shape) if values is None else values
    return HeadScores(
        f"relations/{measure}/{stem}",
        "made up",
        grid.astype(np.float32),
        n=10,
        no_null="made up",
        range=(0.0, 1.0),
        reasons={"*": "inactive"},
    )


WORDS = (*NAMES, *THINGS, "one", "two", "three", "four", "five", "six", "The", "a", "of", "is")
WIDTH = 64


def planted(tmp_path: Path) -> Model:
    """GPT-2 with two layers of two heads, where head L0H1 alone maps every name to its thing, and L1H0 every thing to
    its name.

    Word i is dimension i of the stream, orthogonal to all others. Attention is uniform, MLPs write nothing. L1H0 is the
    weaker of the two, so that it does not turn L0H1's answers back.
    """
    folder = tiny_folder(
        "gpt2", tmp_path / "planted", words=WORDS, n_embd=WIDTH, n_layer=2, n_head=2, n_inner=8, n_positions=32
    )
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokens = load(folder).tokens
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")) else 0.0)
        places = {word: i for i, word in enumerate(WORDS)}
        for word, i in places.items():
            model.transformer.wte.weight[tokens.word_id(word), i] = 1.0
        for layer, head, sources, targets, gain in ((0, 1, NAMES, THINGS, 3.0), (1, 0, THINGS, NAMES, 1.0)):
            attention = model.transformer.h[layer].attn
            for j, (s, t) in enumerate(zip(sources, targets, strict=True)):
                row = head * WIDTH // 2 + j  # of z
                attention.c_attn.weight[places[s], 2 * WIDTH + row] = 1.0
                attention.c_proj.weight[row, places[t]] = gain
    model.save_pretrained(folder)
    return load(folder)
