"""A checkpoint whose retrieval heads are written by hand, and a file of facts in its words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.selftest.models import POSITIONS, Blank

THINGS = "lamp boat drum kite rope bell vase coin".split()
VALUES = "red blue green black white pink grey gold soft hard loud calm flat deep high wide".split()
WORDS = (*THINGS, *VALUES, "is", "Question", "Answer")
COPIER, POINTER, WRONG = (1, 0), (1, 1), (1, 2)


def facts(
    folder: Path, documents: int = 6, seed: int = 0, *, things: Sequence[str] = THINGS, words: Sequence[str] = VALUES
) -> Path:
    """Every document says two words of each thing; the question is the thing's name."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(documents):
        values = rng.permutation(words).reshape(-1, 2)
        told = [(str(thing), f"{a} {b}") for thing, (a, b) in zip(rng.permutation(things), values, strict=True)]
        text = " " + " ".join(f"{thing} is {value}." for thing, value in told)
        lines += [json.dumps({"text": text, "question": thing, "answer": value}) for thing, value in told]
    path = folder / "facts.jsonl"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def planted(folder: Path) -> Model:
    """Layer 0 reads what stands 2, 3 and 4 back. The answer goes on from "Question: lamp Answer:".

    L1H0  copier: from the answer to the value of the thing that is asked for, and writes it
    L1H1  pointer: from question and stem to the thing in the document; writes nothing
    L1H2  as L1H0, for the value of another thing; writes nothing
    """
    blank = Blank(WORDS, n_layer=2, n_head=4, d_head=POSITIONS, n_inner=8)
    things = range(2, 2 + len(THINGS))
    values = range(things.stop, things.stop + len(VALUES))
    kind, place = values.stop, values.stop + 1  # a value; one dimension per position
    back = {n: place + POSITIONS + i * len(THINGS) for i, n in enumerate((2, 3, 4))}  # the thing that many back
    for word, dimension in (*zip(THINGS, things, strict=True), *zip(VALUES, values, strict=True)):
        blank.embed(word, dimension)
    for word in VALUES:
        blank.embed(word, kind)
    for at in range(POSITIONS):
        blank.position(at, place + at, 1.0)
    here = [(place + at, at, 1.0) for at in range(POSITIONS)]
    read = [(dimension, i, 1.0) for i, dimension in enumerate(things)]
    for head, n in enumerate(back):
        query = [(place + at, at - n, 400.0) for at in range(n, POSITIONS)]
        blank.head(0, head, q=query, k=here, v=read, o=[(back[n] + i, i, 1.0) for i in range(len(THINGS))])
    count = len(THINGS)
    keys = [(back[2] + i, i, 1.0) for i in range(count)] + [(back[3] + i, count + i, 1.0) for i in range(count)]
    copied = [(dimension, i, 1.0) for i, dimension in enumerate(values)]
    for head, move, amount in ((0, 0, 3.0), (2, 1, 0.0)):
        query = [(back[3] + i, (i + move) % count, 400.0) for i in range(count)]
        query += [(back[4] + i, count + (i + move) % count, 400.0) for i in range(count)]
        blank.head(
            1, head, q=[*query, (0, 2 * count, 4.0)], k=[*keys, (kind, 2 * count, 1.0)], v=copied,
            o=[(dimension, i, amount) for i, dimension in enumerate(values)],
        )  # fmt: skip
    own = [(start + i, i, 400.0) for start in (things.start, back[2], back[3]) for i in range(count)]
    blank.head(1, 1, q=own, k=read, v=copied, o=[])
    return load(blank.save(folder / "planted"), device="cpu")
