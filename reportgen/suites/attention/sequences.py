"""Random-token sequences with a repeated block.

Every sequence has the same length: position 0 (BOS, or a random token where the model uses no BOS), then random
tokens, then a block of `lag` random tokens twice. The longest lag fills the sequence; shorter ones have unrelated
tokens in front. So a cell (query, query - distance) exists at the same place in every sequence, and is a repeat only in
those of one lag: the others are its control at the same distance and position.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.errors import NotApplicable

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

Ids = npt.NDArray[np.int64]

_PLAIN_WORD = re.compile(r"[A-Za-z]{3,}")


@dataclass(frozen=True, eq=False)
class Sequences:
    """Token ids and where they repeat.

    ids    [sequence pos]
    which  [sequence] index into `lags`
    lags   block lengths, ascending
    bos    whether position 0 is the model's BOS token
    """

    ids: Ids
    which: Ids
    lags: tuple[int, ...]
    bos: bool

    @property
    def queries(self) -> int:
        """Queries at the end of every sequence that lie in the second copy whatever the lag."""
        return self.lags[0]


def plain_words(tokens: Tokens, d_vocab: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """Up to `wanted` ids, in random order, of tokens that are a plain word of three letters or more at a word start."""
    found: list[int] = []
    for token in rng.permutation(d_vocab).tolist():
        word = tokens.decode([token]).strip()
        if _PLAIN_WORD.fullmatch(word) and tokens.word_id(word) == token:
            found.append(token)
            if len(found) == wanted:
                break
    return found


def usable_lags(lags: Sequence[int], n_ctx: int) -> tuple[int, ...]:
    """The lags, ascending, whose sequences fit the model's context. NotApplicable when fewer than two do."""
    fitting = tuple(lag for lag in sorted(lags) if 1 + 2 * lag <= n_ctx)
    if len(fitting) < 2:
        raise NotApplicable(
            f"its context of {n_ctx} tokens holds fewer than two of the block lengths {tuple(lags)}",
            "Give shorter ones: --set attention.lags=4,8.",
        )
    return fitting


def repeated(
    words: Sequence[int], lags: tuple[int, ...], count: int, bos_id: int | None, rng: np.random.Generator
) -> Sequences:
    """`count` sequences (rounded down to the same number for each lag), no token twice but by the repeat."""
    length = 2 * max(lags)  # without position 0
    if len(words) < length + 1:
        raise NotApplicable(
            f"its vocabulary has {len(words)} plain words, {length + 1} are needed",
            "Shorter blocks need fewer: --set attention.lags=4,8.",
        )
    each = count // len(lags)
    which = np.tile(np.arange(len(lags)), each)  # lags take turns, so that every batch holds all of them
    ids = np.empty((len(which), 1 + length), np.int64)
    for row, index in enumerate(which):
        lag = lags[index]
        draw = rng.choice(np.asarray(words), size=1 + length - lag, replace=False)
        ids[row, : 1 + length - lag] = draw
        ids[row, -lag:] = draw[-lag:]
    if bos_id is not None:
        ids[:, 0] = bos_id
    return Sequences(ids, which, lags, bos_id is not None)
