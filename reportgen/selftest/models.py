"""The checkpoints that the checks run: one with planted heads, one that attends evenly, two random ones."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.models.tokens import Tokens
from reportgen.selftest.checkpoint import POSITIONS, Blank, random_folder
from reportgen.selftest.static import Static
from reportgen.suites.circuits.tasks import Mover, Pair, Task
from reportgen.suites.circuits.tasks.task import copies

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
