"""Windows of natural text: the bundled model's held-out documents, a file of the user's, or the shipped passages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.mini import corpus
from reportgen.reading import read_text

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

PASSAGES = Path(__file__).parent / "data" / "passage.txt"
MOST_UNKNOWN = 0.1  # share of unknown tokens above which a text is not this tokenizer's
LEAST_WINDOWS = 8


@dataclass(frozen=True, eq=False)
class Prose:
    """Text as ids [window pos], position 0 the model's BOS where it has one, and what text it is."""

    ids: npt.NDArray[np.int64]
    source: str


def windows(tokens: Tokens, file: str, count: int, length: int, seed: int, n_ctx: int) -> Prose | str:
    """Up to `count` windows of `length` tokens (at most `n_ctx`), or in words why there are none.

    file  UTF-8 text of the user's; empty = the shipped text

    Raises DataError for a file that cannot be read.
    """
    length = min(length, n_ctx)
    if not file and _is_mini(tokens):
        made = corpus.windows(seed, count, length, heldout=True).astype(np.int64)
        return Prose(made, "held-out documents of the bundled model's own corpus (synthetic)")
    path = Path(file) if file else PASSAGES
    ids, unknown = _read(tokens, path)
    if unknown > MOST_UNKNOWN:
        return f"{unknown:.0%} of the text's tokens are unknown to this tokenizer"
    body = length - (tokens.bos_id is not None)
    count = min(count, len(ids) // body)
    if count < LEAST_WINDOWS:
        return f"the text gives {count} windows of {length} tokens, at least {LEAST_WINDOWS} are needed"
    start = [] if tokens.bos_id is None else [tokens.bos_id]
    cut = [start + ids[i * body : (i + 1) * body] for i in range(count)]
    what = path.name if file else "passages of English prose in the public domain, shipped"
    return Prose(np.array(cut, np.int64), what)


def drops(tokens: Tokens, file: str) -> tuple[str, ...]:
    """In words, how much of the text this tokenizer does not know; nothing where it knows all of it."""
    if not file and _is_mini(tokens):
        return ()
    unknown = _read(tokens, Path(file) if file else PASSAGES)[1]
    if not unknown:
        return ()
    use = "not used" if unknown > MOST_UNKNOWN else "read as the unknown token"
    return (f"{unknown:.1%} of the tokens of {Path(file).name if file else 'the shipped text'} are unknown: {use}",)


def _read(tokens: Tokens, path: Path) -> tuple[list[int], float]:
    """The text's ids and the share that is the unknown token. Raises DataError for a file that cannot be read."""
    ids = tokens.encode(read_text(path, "Give the path of a plain text file."))
    return ids, sum(i == tokens.unk_id for i in ids) / max(1, len(ids))


def _is_mini(tokens: Tokens) -> bool:
    """Whether this is the bundled model's tokenizer, token by token."""
    words = corpus.vocabulary()
    return tokens.size == len(words) and all(tokens.decode([i]) == word for i, word in enumerate(words))
