"""Post-training and comparison: seconds a step by the plain and the general way; losses, edges and counts on mini."""

from __future__ import annotations

import time

import torch

from reportgen.models.load import load
from reportgen.suites.base import Context
from reportgen.suites.sparse.scoring.gates import Gate
from reportgen.suites.sparse.scoring.score import score
from reportgen.suites.sparse.suite import SUITE
from reportgen.suites.sparse.training import texts
from reportgen.suites.sparse.training.networks import loss, trainee

STEPS, SEQUENCES = 5, 16


def step_s(general: bool, gate: Gate | None) -> float:
    """CPU seconds of one forward and backward pass on 16 x 128 tokens."""
    learner = trainee(load("mini", device="cpu"), general=general)
    ids = torch.as_tensor(texts.reporting(128, SEQUENCES))
    best = float("inf")
    for step in range(STEPS):
        noise = torch.Generator().manual_seed(step)
        began = time.process_time()
        for rows in torch.split(ids, 8):
            found = learner(rows, gate, noise if gate else None)
            (loss(found.logits, rows) + 1e-4 * found.expected.sum()).backward()  # type: ignore[no-untyped-call]
        best = min(best, time.process_time() - began)
    return best


def main() -> None:
    """Print CPU seconds on one thread."""
    torch.set_num_threads(1)
    plain = step_s(False, None)
    for words, general, gate in (("plain", False, Gate()), ("general", True, Gate())):
        found = step_s(general, gate)
        print(f"post-training step, {words} way: {found:.2f} s, {found / plain:.2f} x the same step without gates")
    model = load("mini", device="cpu")
    began = time.process_time()
    result = score(model, SUITE.make_settings("quick"), Context(seed=0, threads=1))
    print(f"suite sparse on mini, quick: {time.process_time() - began:.1f} s of CPU time")
    for table in result.tables:
        print(f"\n{table.title}\n" + " | ".join(column.name for column in table.columns))
        for row in table.rows:
            print(" | ".join(str(cell) for cell in row))
        print(table.caption)
