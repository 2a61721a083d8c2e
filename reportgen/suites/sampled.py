"""Text that a model writes itself, sampled at temperature 1 from the whole distribution, token by token.

A document begins with the token that stands before documents; every other one goes on with the next of `OPENINGS`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from reportgen.errors import ModelError
from reportgen.models.model import Model, quiet
from reportgen.models.tokens import Tokens

Ids = npt.NDArray[np.int64]  # [document pos]

_AUTO: Any = AutoModelForCausalLM  # half-typed upstream
TEMPERATURE = 1.0
OPENINGS = (
    "The", "In", "A", "It was", "How to", "What is", "Why do", "One day,", "Once upon a time", "There are", "When the",
    "If you", "This is", "We", "He said", "She had", "They", "My", "According to", "In recent years,", "Dear", "Title:",
    "Question:", "Chapter 1", "For example,", "However,", "The first", "To make", "Today", "I think", "Let's", "#",
    "def", "import", "The history of", "Scientists", "Students", "During the", "After", "On Monday",
)  # fmt: skip


def document_start(tokens: Tokens) -> int:
    """The token that documents begin with: BOS where the model puts one in front, else the mark between documents.

    ModelError where the tokenizer has neither.
    """
    if tokens.bos_id is not None:
        return tokens.bos_id
    if (found := tokens.document_mark()) is not None:
        return found
    raise ModelError("This tokenizer has no token that begins a document.", "Give a text file with --text FILE.")


def openings(tokens: Tokens, count: int) -> list[list[int]]:
    """What `count` documents begin with: the start token, in every other one followed by an opening."""
    start = document_start(tokens)
    words = [tokens.encode(text) for text in OPENINGS]
    usable = [ids for ids in words if ids and tokens.unk_id not in ids] or [[]]
    return [[start, *(usable[i // 2 % len(usable)] if i % 2 else [])] for i in range(count)]


def generator(seed: int, index: int, device: torch.device) -> torch.Generator:
    """The noise of batch `index`."""
    number = int(np.random.SeedSequence([seed, 778, index]).generate_state(1)[0])
    return torch.Generator(device).manual_seed(number)


@torch.no_grad()
def sample_tokens(
    network: Any, starts: list[list[int]], length: int, size: int, noise: torch.Generator,
    told: Callable[[int], None] = lambda done: None,
) -> Ids:  # fmt: skip
    """[document pos] one document for each of `starts`, sampled token by token with the keys and values kept.

    size  ids that stand for a token; the columns beyond them only pad the vocabulary
    """
    device = noise.device
    ids = torch.full((len(starts), length), -1, device=device)
    for row, start in zip(ids, starts, strict=True):
        row[: len(start)] = torch.tensor(start[:length], device=device)
    kept = None
    for place in range(length - 1):
        found = network(ids[:, place : place + 1], past_key_values=kept, use_cache=True)
        kept = found.past_key_values
        chances = (found.logits[:, -1, :size].float() / TEMPERATURE).softmax(-1)
        drawn = torch.multinomial(chances, 1, generator=noise)[:, 0]
        ids[:, place + 1] = torch.where(ids[:, place + 1] < 0, drawn, ids[:, place + 1])
        told(place + 1)
    return ids.cpu().numpy().astype(np.int64)


def network(model: Model, tensors: Mapping[str, Tensor], number: torch.dtype) -> Any:
    """The same weights as an ordinary Hugging Face model, whose keys and values can be kept."""
    with torch.random.fork_rng(devices=[]), quiet():
        made = _AUTO.from_config(copy.deepcopy(model.config), attn_implementation="eager")
    made.load_state_dict(dict(tensors))
    return made.to(model.device, number).eval()
