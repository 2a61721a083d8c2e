"""Every head's most salient tokens, packed for the page: what a head passport says the head reads and writes."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reportgen.report.text import clean
from reportgen.scores import SuiteResult
from reportgen.suites.relations.salient_table import Operation, operations

MOST_CELLS = 200_000  # token indices on the page; large models get fewer tokens per head
PLACES, OUTPUTS = 10, 5


@dataclass(frozen=True)
class Salient:
    """`heads[layer][head]`: the head's operations, largest first, at most `places` with `outputs` tokens each."""

    heads: tuple[tuple[tuple[Operation, ...], ...], ...]
    places: int
    outputs: int

    def data(self) -> dict[str, object]:
        """JSON for the page: the words, and base64 of little-endian indices [layer head place 1+2*outputs] into them.

        Indices are uint16, uint32 where there are more words than that; the largest number stands for none.
        """
        index: dict[str, int] = {}
        listed = [operation for layer in self.heads for head in layer for operation in self._full(head)]
        cells = [self._row(operation, index) for operation in listed]
        bits = 16 if len(index) < 2**16 - 1 else 32
        packed = np.array([[2**bits - 1 if i is None else i for i in row] for row in cells], f"<u{bits // 8}")
        sigma = np.array([math.nan if o is None else o.sigma for o in listed], "<f2")
        return {
            "places": self.places,
            "outputs": self.outputs,
            "bits": bits,
            "words": list(index),
            "cells": base64.b64encode(packed.tobytes()).decode(),
            "sigma": base64.b64encode(sigma.tobytes()).decode(),
        }

    def _full(self, operations: Sequence[Operation]) -> list[Operation | None]:
        shown = list(operations[: self.places])
        return [*shown, *[None] * (self.places - len(shown))]

    def _row(self, operation: Operation | None, index: dict[str, int]) -> list[int | None]:
        if operation is None:
            return [None] * (1 + 2 * self.outputs)
        words: list[str | None] = [operation.token]
        for side in (operation.raised, operation.lowered):
            words += [*side[: self.outputs], *[None] * (self.outputs - len(side))]
        return [None if word is None else index.setdefault(clean(word), len(index)) for word in words]


def salient(result: SuiteResult) -> Salient | None:
    """The salient tokens that a result stores, None where it stores none."""
    stored = result.arrays.get("salient_token")
    if stored is None:
        return None
    layers, heads = stored.values.shape[1:3]
    found = tuple(tuple(operations(result.arrays, lay, h) for h in range(heads)) for lay in range(layers))
    longest = max((len(ops) for row in found for ops in row), default=0)
    widest = max((len(o.raised) for row in found for ops in row for o in ops), default=0)
    if not longest:
        return None
    outputs = min(widest, OUTPUTS)
    fits = MOST_CELLS // (layers * heads * (1 + 2 * outputs))
    return Salient(found, max(1, min(longest, PLACES, fits)), outputs)
