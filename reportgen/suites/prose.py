"""Windows of natural text: the bundled model's held-out documents, a user's file, or the bundled passages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.mini import corpus
from reportgen.mini.vocab import vocabulary
from reportgen.suites.documents import documents

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

PASSAGES = Path(__file__).parent / "data" / "passage.txt"
MOST_UNKNOWN = 0.1  # share of unknown tokens above which a text does not fit this tokenizer
LEAST_WINDOWS = 8
CHARACTERS = 12  # read for each token that can be used
SAMPLE = 50_000  # tokens of a text that are looked at for unknown ones


@dataclass(frozen=True, eq=False)
class Prose:
    """Text as ids [window pos], with the model's BOS at position 0 if it has one, and the text's description."""

    ids: npt.NDArray[np.int64]
    source: str


def windows(tokens: Tokens, file: str, count: int, length: int, seed: int, n_ctx: int) -> Prose | str:
    """Up to `count` windows of `length` tokens (at most `n_ctx`), or in words why there are none.

    file  the user's text (documents.py); empty = the bundled text

    Raises DataError for a file that cannot be read.
    """
    length = min(length, n_ctx)
    if not file and _is_mini(tokens):
        made = corpus.windows(seed, count, length, heldout=True).astype(np.int64)
        return Prose(made, "held-out documents of the bundled model's own corpus (synthetic)")
    path = Path(file) if file else PASSAGES
    body = length - (tokens.bos_id is not None)
    ids, unknown = _read(tokens, path, max(SAMPLE, count * body))
    if unknown > MOST_UNKNOWN:
        return f"{unknown:.0%} of the text's tokens are unknown to this tokenizer"
    count = min(count, len(ids) // body)
    if count < LEAST_WINDOWS:
        return f"the text gives {count} windows of {length} tokens, at least {LEAST_WINDOWS} are needed"
    start = [] if tokens.bos_id is None else [tokens.bos_id]
    cut = [start + ids[i * body : (i + 1) * body] for i in range(count)]
    what = path.name if file else "passages of English prose in the public domain, shipped"
    return Prose(np.array(cut, np.int64), what)


def drops(tokens: Tokens, file: str) -> tuple[str, ...]:
    """In words, how much of the text this tokenizer does not know; empty if it knows all of it."""
    if not file and _is_mini(tokens):
        return ()
    unknown = _read(tokens, Path(file) if file else PASSAGES, SAMPLE)[1]
    if not unknown:
        return ()
    use = "not used" if unknown > MOST_UNKNOWN else "read as the unknown token"
    return (f"{unknown:.1%} of the tokens of {Path(file).name if file else 'the shipped text'} are unknown: {use}",)


def _read(tokens: Tokens, path: Path, most: int) -> tuple[list[int], float]:
    """The ids of a text of `most` tokens or less, and the share that is the unknown token; DataError if unreadable."""
    held: list[str] = []
    for text in documents(path, CHARACTERS * most):
        held.append(text)
        if sum(map(len, held)) >= CHARACTERS * most:
            break
    ids = tokens.encode("\n\n".join(held))
    return ids, sum(i == tokens.unk_id for i in ids) / max(1, len(ids))


def _is_mini(tokens: Tokens) -> bool:
    """Whether this is the bundled model's tokenizer, token by token."""
    words = vocabulary()
    return tokens.size == len(words) and all(tokens.decode([i]) == word for i, word in enumerate(words))
