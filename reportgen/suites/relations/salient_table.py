"""Reads the salient tokens of a head out of a stored result, as strings. No torch: the report uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reportgen.scores import NamedArray

LISTS = ("all tokens", "without rare tokens")


@dataclass(frozen=True)
class Operation:
    """One line of a head's table: a token, how strongly the head maps it, and the outputs it raises and lowers most.

    sigma  ||x W_V W_O|| / ||x||
    """

    token: str
    sigma: float
    raised: tuple[str, ...]
    lowered: tuple[str, ...]


def operations(arrays: Mapping[str, NamedArray], layer: int, head: int, *, rare: bool = False) -> tuple[Operation, ...]:
    """A head's most salient tokens, largest first; empty for a head without entries or a run without the table.

    rare  the list that keeps special and rare tokens
    """
    if "salient_token" not in arrays:
        return ()
    at = (LISTS.index("all tokens" if rare else "without rare tokens"), layer, head)
    words = arrays["salient_words"].labels["word"]
    sigma, tokens, raised, lowered = (
        arrays[f"salient_{x}"].values[at] for x in ("sigma", "token", "raised", "lowered")
    )
    return tuple(
        Operation(
            words[tokens[i]],
            float(sigma[i]),
            tuple(words[w] for w in raised[i] if w >= 0),
            tuple(words[w] for w in lowered[i] if w >= 0),
        )
        for i in np.flatnonzero(tokens >= 0)
    )
