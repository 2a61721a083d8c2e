"""The models that a suite is checked on: two random ones with a small vocabulary of English words, one planted."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from reportgen.mini.vocab import vocabulary
from reportgen.models.load import load, stream
from reportgen.models.model import Model
from reportgen.models.statics import Weights
from reportgen.selftest.checkpoint import random_folder
from reportgen.selftest.models import planted_folder

CONTEXT = 128
_LLAMA = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}


class Bench:
    """The models, each made once, when first asked for; `folder` takes the files.

    model  check on this one (a name as `reportgen run` takes it) in place of the two random ones
    """

    def __init__(self, folder: Path, model: str = "") -> None:
        self.folder = folder
        self.model = model

    @cached_property
    def first(self) -> Model:
        """The one that every check runs: 3 layers of 4 heads of GPT-2, every weight random."""
        if self.model:
            return load(self.model, device="cpu")
        fields = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 48, "n_positions": CONTEXT}
        return load(random_folder("gpt2", self._first_folder, _words(), fields, bos=True), device="cpu")

    @cached_property
    def second(self) -> Model | None:
        """3 layers of 4 query heads that share 2 key-value heads, RMS norm, rotary positions: Llama's."""
        if self.model:
            return None
        fields = {**_LLAMA, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT}
        return load(
            random_folder("llama", self.folder / "random-llama", _words(), fields, seed=1, bos=True), device="cpu"
        )

    @cached_property
    def streamed(self) -> Weights:
        """The first one's static weights, read from disk."""
        first = self.first  # writes the folder
        return stream(self.name, device=str(first.device))

    @cached_property
    def planted(self) -> Model:
        """See `planted_folder`: 2 layers of 4 heads."""
        return load(planted_folder(self.folder / "planted"), device="cpu")

    @property
    def name(self) -> str:
        """What `load` takes for the first one."""
        return self.model or str(self._first_folder)

    @property
    def _first_folder(self) -> Path:
        return self.folder / "random-gpt2"


def _words() -> list[str]:
    """The bundled model's words: about 2,000, among them names, colours, numbers and pairs of relations."""
    return [word for token in vocabulary() if (word := token.strip()).isalnum()]
