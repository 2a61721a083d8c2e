"""The corpus of the bundled model: windows of documents from an integer seed, with no data file.

Everything is invented and the vocabulary is closed; shares are of documents.
"""

import numpy as np
import numpy.typing as npt

from reportgen.mini import cognitive as cognitive_
from reportgen.mini import documents, sequences
from reportgen.mini.cognitive import Row, cognitive_items, format_prompt
from reportgen.mini.documents import Generator
from reportgen.mini.probes import (
    Probe,
    colored_objects_prompts,
    fact_prompts,
    greater_than_prompts,
    induction_prompts,
    ioi_prompts,
    successor_prompts,
)
from reportgen.mini.vocab import Ids, token_ids, vocabulary
from reportgen.mini.words import split

__all__ = [
    "LENGTH",
    "SHARES",
    "Probe",
    "Row",
    "cognitive_items",
    "colored_objects_prompts",
    "decode",
    "encode",
    "fact_prompts",
    "format_prompt",
    "greater_than_prompts",
    "induction_prompts",
    "ioi_prompts",
    "successor_prompts",
    "vocabulary",
    "windows",
]

LENGTH = 128
LONG = 60  # documents longer than this always begin a window, so that they are seen whole
NEWLINE_SHARE = 0.15  # of documents end with a newline in place of <|endoftext|>
SHARES: dict[str, tuple[Generator, float]] = {
    "ioi": (documents.ioi, 0.09),
    "two_pair_ioi": (documents.two_pair, 0.10),
    "facts": (documents.facts, 0.32),
    "lists": (documents.lists, 0.14),
    "identity": (documents.identity, 0.015),
    "copies": (documents.copies, 0.04),
    "spelling": (sequences.spelling, 0.015),
    "filler": (documents.filler, 0.045),
    "repeats": (sequences.repeats, 0.055),
    "colored": (documents.colored, 0.09),
    "greater_than": (sequences.greater_than, 0.035),
    "successions": (sequences.successions, 0.025),
    "cognitive": (cognitive_.cognitive, 0.04),
    "quoted": (sequences.quoted, 0.02),
    "dynamic": (sequences.dynamic, 0.02),
}
HELD_OUT = ("ioi", "facts", "colored", "greater_than", "quoted")  # kinds with held-out combinations
_TOKENS_PER_DOCUMENT = 16  # below the mean, so that one round is nearly always enough


def encode(text: str) -> list[int]:
    """Token ids of a text, <unk> for an unknown token; the same as the saved tokenizer's."""
    return [token_ids().get(token, 1) for token in split(text)]


def decode(ids: npt.NDArray[np.integer] | list[int]) -> str:
    """The text of token ids."""
    return "".join(vocabulary()[i] for i in ids)


def blocks(rng: np.random.Generator, n: int, *, heldout: bool = False) -> dict[str, list[Ids]]:
    """About `n` documents by kind, each block [documents, tokens] with -1 as padding."""
    kinds = {kind: SHARES[kind] for kind in (HELD_OUT if heldout else SHARES)}
    total = sum(share for _, share in kinds.values())
    return {kind: make(rng, round(n * share / total), heldout) for kind, (make, share) in kinds.items()}


def windows(seed: int, n: int, length: int = LENGTH, *, heldout: bool = False) -> npt.NDArray[np.int16]:
    """Windows of packed documents [window, position], every one beginning at the start of a document.

    Half begin with <|endoftext|>; documents end with <|endoftext|>, some with a newline. The last document of a window
    is cut off. The same arguments give the same array. With `heldout`, only the held-out combinations: facts, IOI
    names and its last template, coloured objects, start years and quoted words that training never shows.
    """
    rng = np.random.default_rng([seed, int(heldout)])
    wanted, rounds = n * length / _TOKENS_PER_DOCUMENT, 1.0
    while True:
        made = [block for group in blocks(rng, int(wanted * rounds) + 200, heldout=heldout).values() for block in group]
        tokens, starts = _ragged(rng, made)
        packed = _pack(rng, tokens, starts, n, length)
        if packed is not None:
            return packed
        rounds *= 1.5


def _ragged(rng: np.random.Generator, made: list[Ids]) -> tuple[Ids, npt.NDArray[np.int64]]:
    """All documents in random order as one row of tokens with separators, and where each starts (and the end)."""
    parts, sizes = [], []
    for block in made:
        ending = np.where(rng.random(len(block)) < NEWLINE_SHARE, token_ids()["\n"], 0).astype(np.int16)
        closed = np.concatenate([block, ending[:, None]], axis=1)
        keep = closed >= 0
        parts.append(closed[keep])
        sizes.append(keep.sum(axis=1))
    tokens, size = np.concatenate(parts), np.concatenate(sizes)
    start = np.cumsum(size) - size
    order = rng.permutation(len(size))
    moved = np.concatenate([[0], np.cumsum(size[order])])
    source = np.repeat(start[order] - moved[:-1], size[order]) + np.arange(len(tokens))
    return tokens[source], moved


def _pack(
    rng: np.random.Generator, tokens: Ids, starts: npt.NDArray[np.int64], n: int, length: int
) -> npt.NDArray[np.int16] | None:
    """Cut windows: some begin with a long document, then short ones follow in order. None if the documents run out."""
    size = np.diff(starts)
    # As many long documents as their share of what the windows use up; half a document a window is cut off.
    cut = (size[size <= LONG] ** 2).sum() / (2 * size[size <= LONG].sum())
    used = n * (length - 0.5 + cut) / len(tokens)
    long = np.flatnonzero(size > LONG)[: min(n, round(used * int((size > LONG).sum())))]
    is_short = np.repeat(size <= LONG, size)
    short, begins = tokens[is_short], np.concatenate([[0], np.cumsum(size[size <= LONG])])
    head = np.zeros(n, dtype=np.int64)  # tokens taken by the long document
    place = rng.permutation(n)[: len(long)]
    head[place] = size[long]
    lead = (rng.random(n) < 0.5).astype(np.int64)  # a leading <|endoftext|>
    first, cursor = np.empty(n, dtype=np.int64), 0
    for window, space in enumerate((length - head - lead).tolist()):
        if begins[cursor] + max(space, 1) > len(short):
            return None
        first[window] = begins[cursor]
        if space > 0:
            cursor = int(np.searchsorted(begins, begins[cursor] + space))
    column = np.arange(length)[None, :] - lead[:, None]
    out = short[np.clip(first[:, None] + column - head[:, None], 0, len(short) - 1)]
    begin = np.zeros(n, dtype=np.int64)
    begin[place] = starts[long]
    in_long = column < head[:, None]
    out[in_long] = tokens[(begin[:, None] + np.maximum(column, 0))[in_long]]
    out[column < 0] = 0
    return out
