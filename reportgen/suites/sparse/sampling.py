"""Text that the dense model writes itself, to train its sparse copy on where there is no text of its kind at hand.

- Sampled at temperature 1 from the whole distribution, so that the dense model's loss on it is that distribution's
  entropy and nothing in it is foreign to the model.
- A document begins with the token that stands before documents; every other one goes on with the next of `OPENINGS`.
- Documents are made a batch at a time, each batch from (seed, its number), and kept: an interrupted call goes on.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from reportgen.errors import ModelError, RunError
from reportgen.files import write_atomic
from reportgen.models.boot import quiet
from reportgen.models.model import Model
from reportgen.models.tokens import Tokens

Ids = npt.NDArray[np.int64]  # [document pos]
BATCH = 128  # documents sampled side by side: every weight is read once for all of them
TEMPERATURE = 1.0
OPENINGS = (
    "The", "In", "A", "It was", "How to", "What is", "Why do", "One day,", "Once upon a time", "There are", "When the",
    "If you", "This is", "We", "He said", "She had", "They", "My", "According to", "In recent years,", "Dear", "Title:",
    "Question:", "Chapter 1", "For example,", "However,", "The first", "To make", "Today", "I think", "Let's", "#",
    "def", "import", "The history of", "Scientists", "Students", "During the", "After", "On Monday",
)  # fmt: skip

Progress = Callable[[int, int, str], None]
_AUTO: Any = AutoModelForCausalLM  # half-typed upstream


def document_start(tokens: Tokens) -> int:
    """The token that documents begin with: BOS where the model puts one in front, else the mark between documents.

    ModelError where the tokenizer has neither.
    """
    if tokens.bos_id is not None:
        return tokens.bos_id
    if (found := tokens.document_mark()) is not None:
        return found
    raise ModelError("This tokenizer has no token that begins a document.", "Give a text file with --text FILE.")


def documents(
    model: Model, tensors: Mapping[str, Tensor], count: int, length: int, seed: int, number: torch.dtype, folder: Path,
    progress: Progress,
) -> Ids:  # fmt: skip
    """[document pos] `count` documents of `length` tokens, those that `folder` holds already taken from there.

    tensors  the model's weights by Hugging Face's names;  number  the type that sampling computes in
    """
    batches = math.ceil(count / BATCH)
    network: Any = None
    made = []
    for index in range(batches):
        path = folder / f"documents-{index:03d}.npy"
        if not path.exists():
            network = network or _network(model, tensors, number)
            starts = openings(model.tokens, BATCH)
            told = partial(_told, progress, index, batches, length)
            ids = sample(network, starts, length, model.tokens.size, generator(seed, index, model.device), told)
            _keep(path, ids)
        made.append(_kept(path, length))
    return np.concatenate(made)[:count]


def _told(progress: Progress, index: int, batches: int, length: int, done: int) -> None:
    progress(index * length + done, batches * length, "sampling text")


def facts(tokens: Tokens, made: Ids, seed: int, number: str) -> dict[str, int | float | str]:
    """What the record says of `made` [document pos]."""
    return {
        "tokens": int(made.size),
        "documents": len(made),
        "document_length": int(made.shape[1]),
        "seed": seed,
        "temperature": TEMPERATURE,
        "dtype": number,
        "start": tokens.text(document_start(tokens)),
        "openings": "every other document begins with one of " + str(len(OPENINGS)) + " short openings",
    }


def generator(seed: int, index: int, device: torch.device) -> torch.Generator:
    """The noise of batch `index`."""
    number = int(np.random.SeedSequence([seed, 778, index]).generate_state(1)[0])
    return torch.Generator(device).manual_seed(number)


def openings(tokens: Tokens, count: int) -> list[list[int]]:
    """What `count` documents begin with: the start token, in every other one followed by an opening."""
    start = document_start(tokens)
    words = [tokens.encode(text) for text in OPENINGS]
    usable = [ids for ids in words if ids and tokens.unk_id not in ids] or [[]]
    return [[start, *(usable[i // 2 % len(usable)] if i % 2 else [])] for i in range(count)]


@torch.no_grad()
def sample(
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


def _network(model: Model, tensors: Mapping[str, Tensor], number: torch.dtype) -> Any:
    """The same weights as an ordinary Hugging Face model, whose keys and values can be kept."""
    with torch.random.fork_rng(devices=[]), quiet():
        network = _AUTO.from_config(copy.deepcopy(model.config), attn_implementation="eager")
    network.load_state_dict(dict(tensors))
    return network.to(model.device, number).eval()


def _keep(path: Path, ids: Ids) -> None:
    content = io.BytesIO()
    np.save(content, ids.astype(np.int32), allow_pickle=False)
    write_atomic(path, content.getvalue())


def _kept(path: Path, length: int) -> Ids:
    try:
        found: Ids = np.load(path, allow_pickle=False).astype(np.int64)
    except (ValueError, OSError, EOFError) as error:
        raise RunError(f"{path} can't be read: {error}.", "Delete it and start again.") from error
    if found.shape != (BATCH, length):
        raise RunError(f"{path} is of another training.", "Delete it and start again.")
    return found
