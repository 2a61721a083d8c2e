"""What heads write for every token of the vocabulary, a few thousand columns at a time.

One product W_O U of all heads serves everything that reads it, and what is made from it is compared while it is still
in the processor's cache: whole rows of a large vocabulary would go to memory and back at each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

CHUNK = 2048  # columns of one product
SPAN = 8  # chunks whose logits of one head are held while the lowest of them are looked for
GROUP = 64  # columns of which the smallest is kept


@dataclass(frozen=True, eq=False)
class Span:
    """Neighbouring chunks: `starts`, the first column of each, and W_O U of each, [n_heads d_head column]."""

    starts: tuple[int, ...]
    columns: tuple[Tensor, ...]


def spans(O: Tensor, U: Tensor) -> Iterator[Span]:  # noqa: E741
    """O [n_heads d_head d_model] times U [d_model token], all columns in order; a span is gone when the next is made.

    The last chunk may be narrower.
    """
    flat, size = O.reshape(-1, O.shape[-1]), U.shape[1]
    room = [U.new_empty(len(flat), min(CHUNK, size)) for _ in range(min(SPAN, -(-size // CHUNK)))]
    for first in range(0, size, SPAN * CHUNK):
        starts = tuple(range(first, min(first + SPAN * CHUNK, size), CHUNK))
        made = []
        for start, out in zip(starts, room, strict=False):
            part = U[:, start : start + CHUNK]
            whole = part.shape[1] == out.shape[1]
            made.append((torch.mm(flat, part, out=out) if whole else flat @ part).view(*O.shape[:2], -1))
        yield Span(starts, tuple(made))


class Reader(Protocol):
    """What looks at every head's logits over the vocabulary."""

    def see(self, head: int, span: Span) -> None: ...


def show(O: Tensor, U: Tensor, readers: Sequence[Reader]) -> None:  # noqa: E741
    """Every span of W_O U, for each head, to each reader."""
    for span in spans(O, U):
        for head in range(len(O)):
            for one in readers:
                one.see(head, span)


class Lowest:
    """The k smallest logits of each row while spans go by; `kept` [n_heads row k], in no order.

    Of a span the k groups with the smallest members hold its k smallest logits, so only those are sorted.
    """

    def __init__(self, n_heads: int, rows: int, k: int, U: Tensor) -> None:
        """U [d_model token]: the vocabulary that goes by."""
        size = U.shape[1]
        places, self.width = min(SPAN, -(-size // CHUNK)), min(CHUNK, -(-size // GROUP) * GROUP)
        self.k = min(k, size)
        self.kept = U.new_full((n_heads, rows, self.k), torch.inf)
        self.logits = U.new_empty(places, rows, self.width)
        self.least = U.new_empty(places, rows, self.width // GROUP)
        self.row = torch.arange(rows, device=U.device)[:, None]

    def product(self, place: int, rows: Tensor, columns: Tensor) -> Tensor:
        """rows [row d_head] times columns [d_head column], held as number `place` of the span: [row column]."""
        held = self.logits[place]
        if columns.shape[1] == self.width:
            return torch.mm(rows, columns, out=held)
        held[:, columns.shape[1] :] = torch.inf
        held[:, : columns.shape[1]] = rows @ columns
        return held[:, : columns.shape[1]]

    def seen(self, place: int) -> None:
        """The logits of `place` are as they shall be."""
        torch.amin(self.logits[place].view(len(self.row), GROUP, -1), 1, out=self.least[place])

    def end(self, head: int, places: int) -> None:
        """A span of so many places is whole for this head."""
        groups = self.least.shape[2]
        least = self.least[:places].transpose(0, 1).reshape(len(self.row), -1)
        at = least.topk(min(self.k, least.shape[1]), largest=False, sorted=False).indices  # [row k]
        held = self.logits.view(len(self.logits), len(self.row), GROUP, groups)
        few = held[at // groups, self.row, :, at % groups].flatten(1)
        self.kept[head] = torch.cat([self.kept[head], few], 1).topk(self.k, largest=False, sorted=False).values

    @property
    def line(self) -> Tensor:
        """The k-th smallest of each row [n_heads row]."""
        return self.kept.amax(-1)


def count(compare: str, logits: Tensor, own: Tensor, flags: Tensor) -> Tensor:
    """How many logits of each row are "lt", "eq" or "gt" its own number [row], as float32; flags: room for an answer.

    Sums of float32 flags are many times as fast as those of bool, and whole up to 2^24.
    """
    out: Tensor = getattr(torch, compare)(logits, own[:, None], out=flags[: logits.numel()].view_as(logits)).sum(1)
    return out
