"""A GPT-2 written by hand that learns which of two tasks its examples are, and in which one head says so.

    in -> out; in -> out; in ->

Layer 0: L0H0 brings a shot's input to its output, where MLP 0 sees whether they belong together, by the first or the
second task. L0H1 brings the query to the arrow. Layer 1: L1H2 reads everywhere which task was seen, so it is the
function-vector head; MLP 1 puts query and task together. Without L0H1 the answer goes as well, but it says nothing of
the task. Examples that say the input again are seen by MLP 0, too; L1H1 tells of them, and of nothing else.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

from reportgen.selftest.models import POSITIONS, Blank

COUNT = 30
INPUTS, FIRST, SECOND = (
    [f"{start}{a}{b}" for a, b in list(product("abcdef", "abcde"))[:COUNT]] for start in ("in", "one", "two")
)
OWN = 2  # residual dimensions: inputs,
OUT = OWN + COUNT  # outputs of both tasks,
PLACE = OUT + 2 * COUNT  # positions,
BEFORE = PLACE + POSITIONS  # the input that came before,
QUERY = BEFORE + COUNT  # the query at the arrow,
SEEN = QUERY + COUNT  # which task a shot is of,
TASK = SEEN + 3  # and which one the prompt is of


def write_tasks(folder: Path, *, copying: bool = False) -> str:
    """The two tasks as a file of pair lists; with `copying` also the inputs again."""
    path = folder / "tasks.json"
    lists = {"first": list(zip(INPUTS, FIRST, strict=True)), "second": list(zip(INPUTS, SECOND, strict=True))}
    if copying:
        lists["own_copying"] = list(zip(INPUTS, INPUTS, strict=True))
    path.write_text(json.dumps(lists), "utf-8")
    return str(path)


def planted_folder(folder: Path) -> Path:
    """Write the checkpoint."""
    blank = Blank([*INPUTS, *FIRST, *SECOND], n_layer=2, n_head=4, d_head=POSITIONS, n_inner=3 * COUNT)
    assert blank.d_model >= TASK + 3
    for i, word in enumerate(INPUTS):
        blank.embed(word, OWN + i)
    for i, word in enumerate([*FIRST, *SECOND]):
        blank.embed(word, OUT + i)
    for at in range(POSITIONS):
        blank.position(at, PLACE + at, 1.0)
    here = [(PLACE + at, at, 1.0) for at in range(POSITIONS)]
    read = [(OWN + i, i, 1.0) for i in range(COUNT)]
    for head, back, into in ((0, 2, BEFORE), (1, 1, QUERY)):
        query = [(PLACE + at, at - back, 400.0) for at in range(back, POSITIONS)]
        blank.head(0, head, q=query, k=here, v=read, o=[(into + i, i, 1.0) for i in range(COUNT)])
    seen = [(SEEN + task, task, 1.0) for task in range(2)]
    blank.head(1, 2, v=seen, o=[(TASK + task, task, 4.0) for task in range(2)])  # looks at all positions alike
    blank.head(1, 1, v=[(SEEN + 2, 2, 1.0)], o=[(TASK + 2, 2, 4.0)])
    for inner, (task, i) in enumerate(product(range(3), range(COUNT))):
        out = (OUT, OUT + COUNT, OWN)[task] + i
        _both(blank, 0, inner, BEFORE + i, out, SEEN + task, 0.25)
        blank.writes.append(("transformer.h.0.mlp.c_fc.weight", PLACE, inner, -16.0))  # which looks at itself
        _both(blank, 1, inner, QUERY + i, TASK + task, out, 3.0)
    return blank.save(folder)


def _both(blank: Blank, layer: int, inner: int, one: int, other: int, into: int, weight: float) -> None:
    """A neuron that writes where both features are about 1."""
    block = f"transformer.h.{layer}.mlp"
    blank.writes += [
        (f"{block}.c_fc.weight", one, inner, 8.0), (f"{block}.c_fc.weight", other, inner, 8.0),
        (f"{block}.c_fc.bias", inner, -1, -12.0), (f"{block}.c_proj.weight", inner, into, weight),
    ]  # fmt: skip
