"""Separate token sequences for training, steering and reporting.

Training text is cut into sequences without overlap; the last of them are held out: `steering` decides the dual steps,
`reporting` is used only by the report. The bundled model's corpus is generated and unlimited.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Progress
from reportgen.errors import DataError, RunError, SettingsError
from reportgen.files import as_text, read_bytes, write_atomic
from reportgen.models.model import Model
from reportgen.models.tokens import Tokens
from reportgen.suites.documents import documents
from reportgen.suites.sampled import OPENINGS, TEMPERATURE, document_start, generator, network, openings, sample_tokens

Ids = npt.NDArray[np.int64]  # [sequence pos]
STEERING, REPORTING = 128, 64  # held-out sequences of a text file
_MINI_STEERING = MINI_REPORTING = 512  # of the generated corpus: losses differ much between its sequences
_MINI_FURTHER = 3584  # for the final losses alone: 512 tell an excess to 0.001 nats only, a tenth of the usual slack
LEAST = 8  # sequences below which no loss is reported
TOKENS_PER_STEP = 20  # least training tokens a step needs, or the model learns the text by heart
MINI = "mini"
SAMPLED = "text that the dense model wrote itself"
MINI_LENGTH = 128  # tokens a window of its corpus
MOST_CHARACTERS = 1 << 24  # of a document that losses are reported on
_CHUNK = 32  # steps of generated windows made together


@dataclass(frozen=True, eq=False)
class Text:
    """Where sequences come from. `batch(step, size)` gives [size length], the same for the same step."""

    name: str
    sha256: str
    training_tokens: int  # 0: generated, no end
    batch: Callable[[int, int], Ids]
    steering: Ids
    reporting: Ids
    on_curve: int = REPORTING  # of the reporting sequences, behind the control curve
    sampling: Mapping[str, int | float | str] = field(default_factory=dict)  # how the model wrote it itself


def needed(steps: int, length: int) -> int:
    """Tokens that a text file must have."""
    return TOKENS_PER_STEP * steps + (STEERING + REPORTING) * length


def from_file(path: Path, tokens: Tokens, length: int, steps: int, seed: int) -> Text:
    """The text of a file. DataError when it can't be read or has too few tokens, with the number needed."""
    raw, text = _read(path)
    ids = _encode(text, tokens)
    least = needed(steps, length)
    if len(ids) < least:
        fewer = max(0, (len(ids) - needed(0, length)) // TOKENS_PER_STEP)
        hint = f"Or type --steps {fewer}." if fewer >= 100 else "Or let it train on shorter sequences with --length."
        raise DataError(
            f"{path} has {len(ids):,} tokens; {steps:,} steps on sequences of {length} need {least:,}.", hint
        )
    cut = _cut(ids, tokens.bos_id, length)
    train, held = cut[: -(STEERING + REPORTING)], cut[-(STEERING + REPORTING) :]
    digest = hashlib.sha256(raw).hexdigest()
    return Text(path.name, digest, train.size, _shuffled(train, seed), held[:STEERING], held[STEERING:])


def from_documents(
    documents: Ids, held: tuple[int, int], length: int, seed: int, sampling: Mapping[str, int | float | str]
) -> Text:
    """Documents [document pos] cut into sequences of `length`; none of a document is both trained on and held out.

    held  documents that steer and that are reported on, taken from the end
    """
    each = documents.shape[1] // length
    first, second = len(documents) - sum(held), len(documents) - held[1]

    def cut(part: Ids) -> Ids:
        return part[:, : each * length].reshape(-1, length)

    train = cut(documents[:first])
    digest = hashlib.sha256(documents.astype("<i4").tobytes()).hexdigest()
    parts = cut(documents[first:second]), cut(documents[second:])
    return Text(SAMPLED, digest, train.size, _shuffled(train, seed), *parts, REPORTING // 2, sampling)


def _shuffled(train: Ids, seed: int) -> Callable[[int, int], Ids]:
    """Batches of every sequence in turn, in another order each time round."""

    def batch(step: int, size: int) -> Ids:
        first = step * size
        picks = [_order(seed, i // len(train), len(train))[i % len(train)] for i in range(first, first + size)]
        found: Ids = train[np.array(picks)]
        return found

    return batch


def sequences(path: Path, tokens: Tokens, length: int) -> Ids:
    """[sequence pos] of a text without overlap, of its first characters. DataError when it can't be read."""
    return _cut(_encode("\n\n".join(documents(path, MOST_CHARACTERS)), tokens), tokens.bos_id, length)


def _read(path: Path) -> tuple[bytes, str]:
    raw = read_bytes(path, "Give the path of a text file.")
    return raw, as_text(raw, str(path))


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, 1, epoch]).permutation(count)


def _encode(text: str, tokens: Tokens) -> npt.NDArray[np.int64]:
    """Ids of a long text, encoded piece by piece at line ends."""
    lines = text.splitlines(keepends=True)
    pieces = ["".join(lines[i : i + 1000]) for i in range(0, len(lines), 1000)]
    return np.array([i for piece in pieces for i in tokens.encode(piece)], dtype=np.int64)


def _cut(ids: npt.NDArray[np.int64], bos_id: int | None, length: int) -> Ids:
    """[sequence pos] without overlap, each with BOS in front where the model has one."""
    body = length - (bos_id is not None)
    rows = ids[: len(ids) // body * body].reshape(-1, body)
    if bos_id is None:
        return rows
    return np.concatenate([np.full((len(rows), 1), bos_id), rows], axis=1)


def is_mini(tokens: Tokens) -> bool:
    """Whether a tokenizer is the bundled model's, so that its corpus can be used."""
    from reportgen.mini.vocab import vocabulary

    words = vocabulary()
    return tokens.size == len(words) and all(tokens.decode([i]) == word for i, word in enumerate(words))


def from_mini(tokens: Tokens, length: int, seed: int) -> Text:
    """The bundled model's corpus, generated as it is needed. SettingsError for another vocabulary."""
    if not is_mini(tokens):
        raise SettingsError("--corpus mini needs the bundled model's vocabulary.", "Give a text file with --text FILE.")

    def batch(step: int, size: int) -> Ids:
        made = _windows(seed, 3 + step // _CHUNK, _CHUNK * size, length)
        return made[step % _CHUNK * size :][:size]

    reported = np.concatenate([reporting(length), _windows(0, 0, _MINI_FURTHER, length)])
    return Text(MINI, "", 0, batch, _windows(seed, 1, _MINI_STEERING, length), reported)


def reporting(length: int, count: int = MINI_REPORTING) -> Ids:
    """The first of the held-out windows that every report on the bundled models is made on, whatever the seed."""
    return _windows(0, 2, MINI_REPORTING, length)[:count]


@lru_cache(maxsize=4)
def _windows(seed: int, stream: int, count: int, length: int) -> Ids:
    """`count` windows of the corpus; streams 0 to 2 are held out, 3 and on are trained on."""
    from reportgen.mini import corpus

    number = int(np.random.SeedSequence([seed, 777, stream]).generate_state(1)[0])
    made = corpus.windows(number, count, MINI_LENGTH)
    return made[:, :length].astype(np.int64)


# Text sampled from the dense model, to train its sparse copy on if no suitable text is available.
#
# - Sampled at temperature 1 from the whole distribution, so that the dense model's loss on it is that distribution's
#   entropy and nothing in it is foreign to the model.
# - A document begins with the token that stands before documents; every other one goes on with the next of `OPENINGS`.
# - Documents are made a batch at a time, each batch from (seed, its number), and kept: an interrupted call goes on.

BATCH = 128  # documents sampled side by side: every weight is read once for all of them


def sampled_documents(
    model: Model, tensors: Mapping[str, Tensor], count: int, length: int, seed: int, number: torch.dtype, folder: Path,
    progress: Progress,
) -> Ids:  # fmt: skip
    """[document pos] `count` documents of `length` tokens, those that `folder` holds already taken from there.

    tensors  the model's weights by Hugging Face's names;  number  the type that sampling computes in
    """
    batches = math.ceil(count / BATCH)
    sampler: Any = None
    made = []
    for index in range(batches):
        path = folder / f"documents-{index:03d}.npy"
        if not path.exists():
            sampler = sampler or network(model, tensors, number)
            starts = openings(model.tokens, BATCH)
            told = partial(_told, progress, index, batches, length)
            ids = sample_tokens(sampler, starts, length, model.tokens.size, generator(seed, index, model.device), told)
            _keep(path, ids)
        made.append(_kept(path, length))
    return np.concatenate(made)[:count]


def _told(progress: Progress, index: int, batches: int, length: int, done: int) -> None:
    progress(index * length + done, batches * length, "sampling text")


def sampling_facts(tokens: Tokens, made: Ids, seed: int, number: str) -> dict[str, int | float | str]:
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
