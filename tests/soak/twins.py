"""Randomly initialised twins of one small GPT-2: models in which nothing was learnt, as many as are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from reportgen.models.load import load, random_twin
from reportgen.models.model import Model
from reportgen.selftest.models import random_folder

_SYLLABLES = [c + v for c in "bdfgklmnprst" for v in "aeiou"]
_RNG = np.random.default_rng(0)
WORDS = tuple(
    "".join(_SYLLABLES[i] for i in divmod(int(n), len(_SYLLABLES))) + "n"
    for n in _RNG.choice(len(_SYLLABLES) ** 2, 400, replace=False)
)
# d_model^-1/2 in place of GPT-2's 0.02, so that heads of so narrow a model are as uneven as those of wide ones.
FIELDS = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 64, "n_positions": 64, "initializer_range": 0.18}


def base(folder: Path) -> Model:
    """The model that the twins are twins of."""
    return load(random_folder("gpt2", folder / "twin-base", (*WORDS, "Text", "Q", "A"), FIELDS), device="cpu")


def twins(of: Model, count: int, first: int = 0) -> Iterator[tuple[int, Model]]:
    """(seed, twin) for seeds from `first` on."""
    for seed in range(first, first + count):
        yield seed, random_twin(of, seed)
