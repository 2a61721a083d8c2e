"""The relation suite beside the published way and beside its floor, one run: `python -m benchmarks relations`.

`python -m benchmarks.relations cpu` does the same on one thread and counts CPU seconds, which other work on the
machine stretches little; wall seconds need a quiet one.

Random weights in the shape of GPT-2 small, 20 relations x 50 sources, both signs, 2 threads. No sources are shared,
and every target stands at rank 5 to 16 of some head (of the largest or the smallest logits): decisions are close.

- Published: per head and per relation X (W_V W_O) W_U with a contiguous W_U, top k of either sign. Timed on a sample of
  heads and scaled.
- Direct: the same product once per head over the rows of all relations. Sampled and scaled, too.
- Floor: operations of the low-rank form over the fastest float32 product seen in the same run.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.shapes import gpt2_small_shape
from reportgen.models.load import stream
from reportgen.models.weights import Weights
from reportgen.scores import SuiteResult
from reportgen.suites.base import Context
from reportgen.suites.relations.scoring.score import score
from reportgen.suites.relations.scoring.static import read_inputs
from reportgen.suites.relations.suite import RelationsSettings

CPU = "cpu" in sys.argv[1:]
THREADS, CLOCK = (1, time.process_time) if CPU else (2, time.perf_counter)
RELATIONS, SOURCES, K = 20, 50, 10
SAMPLE = ((0, 3), (4, 7), (8, 0), (11, 11))  # heads that the slow ways are timed on
ARRAYS = ("ranks", "ranks_suppression")  # by sign
GROWTH = ((1, 50257), (5, 50257), (20, 10000), (20, 128000))  # relations, vocabulary
HEADER = """
| relations, vocabulary | rows | suite s | floor s | suite / floor | products / floor |
|---|---|---|---|---|---|"""
REPEATS = 1 if CPU else 3
Pairs = dict[str, list[tuple[int, int]]]  # relation -> (source, target) ids


@dataclass
class Products:
    """Float32 products of a run, by torch.mm: how many, their operations and seconds."""

    calls: int = 0
    operations: float = 0.0
    elapsed_s: float = 0.0


@contextmanager
def products() -> Iterator[Products]:
    """Time every torch.mm inside."""
    found, plain = Products(), torch.mm

    def timed(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
        started = CLOCK()
        plain(a, b, out=out)
        found.elapsed_s += CLOCK() - started
        found.calls += 1
        found.operations += 2.0 * a.shape[0] * a.shape[1] * b.shape[1]
        return out

    torch.mm = timed  # type: ignore[assignment]
    try:
        yield found
    finally:
        torch.mm = plain


def peak_sgemm(seconds: float = 3.0) -> float:
    """Fastest float32 product of a few shapes, operations per second."""
    shapes = [(2048, 2048, 2048), (768, 768, 2048), (1024, 64, 2048), (512, 128, 2048)]
    tried = [(torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)) for m, k, n in shapes]
    best, until = 0.0, CLOCK() + seconds
    while CLOCK() < until:
        for a, b, out in tried:
            started = CLOCK()
            torch.mm(a, b, out=out)
            best = max(best, 2.0 * a.shape[0] * a.shape[1] * b.shape[1] / (CLOCK() - started))
    return best


def word_of(weights: Weights, token: int) -> str | None:
    """The word that a pair list writes for a token, where there is one."""
    word = weights.tokens.text(token).strip()
    return word if weights.tokens.word_id(word) == token else None


def random_ids(weights: Weights, n: int) -> list[int]:
    """Distinct tokens that are words, at random."""
    order = random.Random(0).sample(range(weights.record.d_vocab), min(2 * n, weights.record.d_vocab))
    return [token for token in order if word_of(weights, token) is not None][:n]


def random_pairs(weights: Weights, relations: int) -> Pairs:
    """Distinct sources, with the next relation's as targets."""
    ids = random_ids(weights, (relations + 1) * SOURCES)
    parts = [ids[i * SOURCES : (i + 1) * SOURCES] for i in range(relations + 1)]
    return {f"made_up_{i:02d}": list(zip(parts[i], parts[i + 1], strict=True)) for i in range(relations)}


@dataclass(frozen=True)
class Case:
    """A pair whose rank under one head is known from float64. sign 0: by the largest logits, 1: by the smallest."""

    stem: str
    place: int
    layer: int
    head: int
    sign: int
    rank: int


def close_pairs(weights: Weights) -> tuple[Pairs, list[Case]]:
    """Pairs whose target stands at rank 5 to 16 of one head's row, by turns over heads, ranks and signs."""
    r, ids = weights.record, random_ids(weights, RELATIONS * SOURCES)
    inputs, W_U = read_inputs(weights, np.array(ids), first_mlp=True), weights.W_U().double()
    pairs: dict[str, dict[int, tuple[int, int]]] = {f"made_up_{i:02d}": {} for i in range(RELATIONS)}
    cases, n_heads = [], r.n_layers * r.n_heads
    for layer in range(r.n_layers):
        W_V, W_O, x = weights.W_V(layer).double(), weights.W_O(layer).double(), inputs.of(layer).double()
        for head in range(r.n_heads):
            rows = range(layer * r.n_heads + head, len(ids), n_heads)
            logits = x[list(rows)] @ W_V[head] @ W_O[head] @ W_U  # [row vocab]
            for i, row in enumerate(rows):
                sign, rank, stem = row // n_heads % 2, 5 + row % 12, f"made_up_{row % RELATIONS:02d}"
                order = logits[i].topk(40, largest=sign == 0).indices.tolist()
                rank, target = next((n, t) for n, t in enumerate(order, 1) if n >= rank and word_of(weights, t))
                pairs[stem][row // RELATIONS] = (ids[row], target)
                cases.append(Case(stem, row // RELATIONS, layer, head, sign, rank))
    return {stem: [placed[i] for i in sorted(placed)] for stem, placed in pairs.items()}, cases


def write_lists(folder: Path, pairs: Pairs, weights: Weights) -> Path:
    """Pair lists as the suite reads them."""
    folder.mkdir()
    for stem, listed in pairs.items():
        (folder / f"{stem}.json").write_text(json.dumps([[word_of(weights, t) for t in pair] for pair in listed]))
    return folder


@dataclass
class Run:
    """One run of the suite, static scores and null alone; `peak` in operations per second."""

    elapsed_s: float
    rows: int
    operations: float
    peak: float
    products: Products
    result: SuiteResult = field(repr=False)

    def row(self, label: str) -> str:
        """Seconds, and times the floor, as a line of a table."""
        floor = self.operations / self.peak
        ratios = f"{self.elapsed_s / floor:.2f} | {self.products.elapsed_s / floor:.2f}"
        return f"| {label} | {self.rows} | {self.elapsed_s:.1f} | {floor:.1f} | {ratios} |"


def suite(weights: Weights, lists: Path, repeats: int, *, null: bool = True) -> Run:
    """The fastest of a few runs, against the fastest product seen around them."""
    plain = RelationsSettings(relations_dir=str(lists), folded=False, twins=0, matched=0, salient_tokens=0)
    settings = plain if null else replace(plain, permutations=0)
    runs, peak = [], peak_sgemm()
    for _ in range(repeats):
        with products() as seen:
            started = CLOCK()
            result = score(weights, settings, Context(seed=0, threads=THREADS))
            runs.append((CLOCK() - started, seen, result))
        peak = max(peak, peak_sgemm())
    elapsed, seen, result = min(runs, key=lambda run: run[0])
    rows = SOURCES * len(list(lists.glob("*.json")))
    return Run(elapsed, rows, operations(weights, rows), peak, seen, result)


def operations(weights: Weights, rows: int) -> float:
    """Of the cheaper form: W_O W_U once and rows of d_head numbers, or rows of d_model numbers."""
    r = weights.record
    each = min(r.d_head * (r.d_model + rows), rows * r.d_model)
    return 2.0 * r.n_layers * r.n_heads * each * r.d_vocab


def published(weights: Weights, W_U: Tensor, pairs: Pairs, layer: int, head: int) -> tuple[float, list[bool]]:
    """(seconds, hits [relation*sign*pair]) of one head, relation by relation."""
    inputs = {stem: read_inputs(weights, np.array([s for s, _ in p]), first_mlp=True) for stem, p in pairs.items()}
    W_V, W_O = weights.W_V(layer), weights.W_O(layer)
    hits: list[bool] = []
    started = CLOCK()
    for stem, listed in pairs.items():
        logits = inputs[stem].of(layer) @ (W_V[head] @ W_O[head]) @ W_U  # [pair vocab]
        targets = torch.tensor([t for _, t in listed])[:, None]
        for sign in (0, 1):
            ids = logits.topk(K, dim=1, largest=sign == 0).indices
            hits += (ids == targets).any(1).tolist()
    return CLOCK() - started, hits


def direct(weights: Weights, W_U: Tensor, pairs: Pairs, layer: int, head: int) -> float:
    """Seconds of one head, the rows of all relations in one product."""
    inputs = read_inputs(weights, np.array([s for p in pairs.values() for s, _ in p]), first_mlp=True)
    W_V, W_O = weights.W_V(layer), weights.W_O(layer)
    started = CLOCK()
    logits = inputs.of(layer) @ (W_V[head] @ W_O[head]) @ W_U
    for largest in (True, False):
        logits.topk(K, dim=1, largest=largest)
    return CLOCK() - started


def decisions(result: SuiteResult, pairs: Pairs, layer: int, head: int) -> list[bool]:
    """The suite's hits [relation*sign*pair] of one head, from its stored ranks."""
    kept = [result.arrays[f"{name}/{stem}"].values[:, layer, head] for stem in pairs for name in ARRAYS]
    ranks = [np.asarray(twice, dtype=np.int64) for twice in kept]
    hits: list[bool] = np.concatenate([(twice > 0) & (twice <= 2 * K) for twice in ranks]).tolist()
    return hits


def compare(weights: Weights, pairs: Pairs, cases: list[Case], run: Run, bare: Run) -> None:
    """The published and the direct way on the sampled heads, their time scaled to all heads; and equal decisions.

    bare  ours without the null, which the other two do not have either
    """
    r, W_U = weights.record, weights.W_U()
    scale = r.n_layers * r.n_heads / len(SAMPLE)
    theirs = [published(weights, W_U, pairs, *at) for at in SAMPLE]
    ours = [decisions(run.result, pairs, *at) for at in SAMPLE]
    by_relation = sum(seconds for seconds, _ in theirs) * scale
    by_head = sum(direct(weights, W_U, pairs, *at) for at in SAMPLE) * scale
    different = [a != b for mine, (_, hits) in zip(ours, theirs, strict=True) for a, b in zip(mine, hits, strict=True)]
    print("\n| way | seconds | times ours | times ours with the null |\n|---|---|---|---|")
    for words, seconds in (
        ("ours: both signs, strict, ranks, copiers", bare.elapsed_s),
        ("ours, and the permuted-target null of all heads", run.elapsed_s),
        (f"published: top {K} of both signs, {len(SAMPLE)} heads timed and scaled", by_relation),
        ("direct: the same, all rows at once, scaled alike", by_head),
    ):
        print(f"| {words} | {seconds:.1f} | {seconds / bare.elapsed_s:.1f} | {seconds / run.elapsed_s:.1f} |")
    hits = sum(sum(found) for _, found in theirs)
    print(f"\nDecisions of the timed heads: {len(different):,}, {hits} hits, {sum(different)} different.")
    stored = [run.result.arrays[f"{ARRAYS[c.sign]}/{c.stem}"].values[c.place, c.layer, c.head] for c in cases]
    ranks = [(int(twice), c.rank) for twice, c in zip(stored, cases, strict=True)]
    wrong = sum((twice <= 2 * K) != (rank <= K) for twice, rank in ranks)
    off = sum(twice != 2 * rank for twice, rank in ranks if rank <= K + 1)
    print(
        f"Close pairs: {len(ranks):,}, {sum(rank <= K for _, rank in ranks)} hits by float64; {wrong} wrong decisions, "
        f"{off} wrong ranks up to k + 1."
    )


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        weights = stream(gpt2_small_shape(folder / "50k"), device="cpu")
        pairs, cases = close_pairs(weights)
        print(f"{THREADS} threads, {'CPU' if CPU else 'wall'} seconds, load {os.getloadavg()[0]:.1f} before")
        print(HEADER)
        run = suite(weights, write_lists(folder / "close", pairs, weights), REPEATS)
        print(run.row(f"{RELATIONS}, {weights.record.d_vocab:,}, close targets"), flush=True)
        bare = suite(weights, folder / "close", REPEATS, null=False)
        print(bare.row("the same without the null"), flush=True)
        compare(weights, pairs, cases, run, bare)
        p = run.products
        print(
            f"\n{p.calls:,} products, {p.operations / 1e12:.2f} TFLOP (floor {run.operations / 1e12:.2f}), "
            f"{p.elapsed_s:.1f} s at {p.operations / p.elapsed_s / 1e9:.0f} GFLOP/s; fastest {run.peak / 1e9:.0f}."
        )
        print(HEADER)
        for relations, d_vocab in GROWTH:
            other = stream(gpt2_small_shape(folder / f"{d_vocab}", d_vocab=d_vocab), device="cpu")
            lists = write_lists(folder / f"{relations}-{d_vocab}", random_pairs(other, relations), other)
            print(suite(other, lists, 1).row(f"{relations}, {d_vocab:,}"), flush=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"Load {os.getloadavg()[0]:.1f} after; peak memory of all of this {peak:.2f} GiB.")


if __name__ == "__main__":
    main()
