"""The stream of windows: cut, counted, free of repeats, and what is known of every window from its tokens alone.

A window has at most `length` tokens, the model's BOS first where it has one; nothing is padded. Every document gives
its first window before any gives its second, in the order of the files, until there are enough. Tails shorter than
TAIL are dropped and counted; a window that another one equals is left out and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.errors import NotApplicable
from reportgen.suites.documents import documents

if TYPE_CHECKING:
    from reportgen.models.tokens import Tokens

Ids = npt.NDArray[np.int64]

PASSAGES = Path(__file__).parent.parent / "data" / "passages.jsonl"
TAIL = 32  # tokens below which the end of a document is no window
LEAST = 300  # tokens in all below which nothing is measured
LEAST_UNITS_TOKENS = 2000  # below this, statistics have no interval
MOST_UNKNOWN = 0.1  # share of unknown tokens above which a text does not fit this tokenizer
CHARACTERS = 12  # kept of a document for each token that could be used of it
_PIECE = 50_000  # characters encoded at once


@dataclass(frozen=True, eq=False)
class Window:
    """Some tokens of one document.

    ids        [pos];  following  the token after the last, -1 where there is none
    document   its number, in the order they came;  digest  of the document's tokens
    place      number of the window in its document
    """

    ids: Ids
    following: int
    document: int
    digest: bytes
    place: int

    @property
    def key(self) -> bytes:
        """What stands for the window whatever stands before it in the stream."""
        return self.digest + self.place.to_bytes(4, "little")

    @property
    def next_ids(self) -> Ids:
        """[pos] the token that follows each position; -1 at the end of the document."""
        return np.append(self.ids[1:], self.following)


@dataclass(frozen=True, eq=False)
class Stream:
    """Windows, and what was left out."""

    windows: tuple[Window, ...]
    source: str
    documents: int = 0
    dropped_tokens: int = 0
    repeated: int = 0
    unknown: float = 0.0
    share_read: float = 1.0
    notes: tuple[str, ...] = field(default=())

    @property
    def tokens(self) -> int:
        return sum(len(window.ids) for window in self.windows)

    @property
    def groups(self) -> list[int]:
        """A label per window: its document."""
        return [window.document for window in self.windows]

    def shuffled(self, seed: int, count: int) -> Stream:
        """The first windows in the order of their hash, each with its tokens in random order; the first stays first."""
        return replace(self, windows=tuple(_shuffled(w, seed) for w in by_hash(self.windows, seed, count)))


def by_hash(windows: Sequence[Window], seed: int, count: int) -> list[Window]:
    """`count` windows with the smallest hashes: the same ones whatever the order of the files."""

    def rank(window: Window) -> bytes:
        return hashlib.blake2b(window.key, digest_size=8, key=seed.to_bytes(8, "little", signed=True)).digest()

    return sorted(windows, key=rank)[:count]


def _shuffled(window: Window, seed: int) -> Window:
    number = int.from_bytes(hashlib.blake2b(window.key, digest_size=8).digest(), "little")
    order = np.random.default_rng([seed & 0xFFFFFFFF, number]).permutation(len(window.ids) - 1) + 1
    ids = np.concatenate([window.ids[:1], window.ids[order]])
    return replace(window, ids=ids)


def of_text(tokens: Tokens, name: str, count: int, length: int) -> Stream:
    """Windows of a user's text, or of the shipped passages where `name` is empty. DataError, NotApplicable."""
    source = Path(name).name if name else "passages of English prose in the public domain, shipped"
    found = _encoded(tokens, documents(name or PASSAGES, CHARACTERS * count * length), count * length)
    return cut(found, tokens, count, length, source)


def of_ids(each: Iterable[Ids], tokens: Tokens, count: int, length: int, source: str) -> Stream:
    """Windows of documents that are token ids already, BOS left out."""
    return cut(iter(each), tokens, count, length, source)


def _encoded(tokens: Tokens, texts: Iterable[str], most: int) -> Iterator[Ids]:
    """Ids of every document, up to `most`; long ones are encoded in pieces that end at a space or line end."""
    for text in texts:
        ids: list[int] = []
        while text and len(ids) < most + 1:
            end = len(text) if len(text) <= _PIECE else _boundary(text)
            ids += tokens.encode(text[:end])
            text = text[end:]
        yield np.asarray(ids[: most + 1], np.int64)


def _boundary(text: str) -> int:
    """Where a piece ends: before the last space or line end of the first `_PIECE` characters."""
    at = max(text.rfind(" ", 1, _PIECE), text.rfind("\n", 1, _PIECE))
    return at if at > 0 else _PIECE


@dataclass
class _Cutter:
    """Documents as they come; each holds the ids that can still become windows."""

    count: int
    body: int
    start: list[int]
    held: list[tuple[int, bytes, Ids]] = field(default_factory=list)
    dropped: int = 0
    seen: int = 0

    def add(self, ids: Ids) -> None:
        if len(ids) + len(self.start) < TAIL:
            self.dropped += len(ids)
        else:
            digest = hashlib.blake2b(ids[: self.body * self.count].tobytes(), digest_size=16).digest()
            spare = self.count - len(self.held)  # the others fill at least one window each
            self.held.append((self.seen, digest, ids[: spare * self.body + 1]))
        self.seen += 1

    def windows(self) -> Iterator[Window]:
        """First windows, then second ones."""
        for place in range(self.count):
            found = False
            for document, digest, ids in self.held:
                part = ids[place * self.body : (place + 1) * self.body]
                if len(part) + len(self.start) < TAIL:
                    self.dropped += len(part)
                    continue
                found = True
                rest = ids[(place + 1) * self.body :]
                whole = np.concatenate([np.asarray(self.start, np.int64), part])
                yield Window(whole, int(rest[0]) if len(rest) else -1, document, digest, place)
            if not found:
                return


def cut(each: Iterator[Ids], tokens: Tokens, count: int, length: int, source: str) -> Stream:
    """Documents cut into `count` windows at most. NotApplicable below LEAST tokens, or where they are unknown."""
    start = [] if tokens.bos_id is None else [tokens.bos_id]
    cutter = _Cutter(count, length - len(start), start)
    unknown = total = 0
    for ids in each:
        unknown += 0 if tokens.unk_id is None else int((ids == tokens.unk_id).sum())
        total += len(ids)
        cutter.add(ids)
        if len(cutter.held) >= count:
            break
    if total and unknown > MOST_UNKNOWN * total:
        raise NotApplicable(
            f"{unknown / total:.0%} of the text's tokens are unknown to this tokenizer",
            "Give text in its language with --text FILE.",
        )
    kept, repeated = dict[bytes, Window](), 0
    for window in cutter.windows():
        repeated += window.ids.tobytes() in kept
        kept.setdefault(window.ids.tobytes(), window)
        if len(kept) == count:
            break
    stream = Stream(
        tuple(kept.values()), source, len({w.document for w in kept.values()}), cutter.dropped, repeated,
        unknown / max(1, total),
    )  # fmt: skip
    if stream.tokens < LEAST:
        raise NotApplicable(
            f"the text gives {stream.tokens} tokens in windows of {TAIL} and more, at least {LEAST} are needed",
            "Give a longer text with --text FILE.",
        )
    return stream


def batches(windows: Sequence[Window], size: int) -> Iterator[list[int]]:
    """Indices of windows that one forward pass takes: equally long ones, at most `size`."""
    lengths: dict[int, list[int]] = {}
    for index, window in enumerate(windows):
        lengths.setdefault(len(window.ids), []).append(index)
    for length in sorted(lengths, reverse=True):
        some = lengths[length]
        yield from (some[i : i + size] for i in range(0, len(some), size))
