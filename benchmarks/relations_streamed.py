"""Streamed static scores on the shape of Llama-3.1-8B: seconds, and peak memory against its bound.

    python -m benchmarks.relations_streamed FOLDER [SOURCES [RELATIONS [THREADS [DEVICE]]]]

FOLDER gets the random checkpoint (about 3.9 GB) and keeps it. Raw scores and their null, SOURCES pairs of each of the
first RELATIONS shipped lists (0: all); no control that would double the work. Prints one JSON object.

On a CUDA device also the card's peak memory, the share of its fastest float32 product, and the published way (per head
and relation X (W_V W_O) W_U, top k of both signs) on a few heads, scaled to all.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.shapes import first_pairs, llama_8b_shape
from reportgen.models.load import stream
from reportgen.models.weights import Weights
from reportgen.suites.base import Context
from reportgen.suites.relations.scoring.ranks import exact_float32
from reportgen.suites.relations.scoring.score import score
from reportgen.suites.relations.scoring.static import read_inputs
from reportgen.suites.relations.suite import RelationsSettings

GIB = 2**30
DEFAULTS = (50, 0, 1)  # sources, relations, threads
HEADS = ((0, 0), (15, 8), (31, 31))  # that the published way is timed on
K = 25


def operations(n_layers: int, n_heads: int, d_head: int, d_model: int, d_vocab: int, rows: int) -> float:
    """Floating-point operations of the cheaper form: W_O W_U once per layer, or every row as d_model numbers."""
    low_rank = d_head * (d_model + rows)
    return 2.0 * n_layers * n_heads * d_vocab * min(low_rank, rows * d_model)


def peak_gib() -> float:
    """Largest resident set of this process so far; mapped pages of weight files count."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def synchronised(device: str) -> float:
    """Seconds on the wall, once the device has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_sgemm(device: str, size: int = 8192, rounds: int = 20) -> float:
    """Operations per second of the fastest of some square float32 products, without TF32."""
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    best = 0.0
    with exact_float32():
        for _ in range(rounds):
            started = synchronised(device)
            torch.mm(a, b)
            best = max(best, 2.0 * size**3 / (synchronised(device) - started))
    return best


def published(weights: Weights, sources: Sequence[int], each: int, heads: Sequence[tuple[int, int]]) -> float:
    """Seconds of the published way on all heads, from those of `heads`, `each` sources at a time."""
    device, r = str(weights.device), weights.record
    W_U, group = weights.W_U(), r.n_heads // r.n_kv_heads
    inputs = read_inputs(weights, np.array(sources), first_mlp=True)
    elapsed = 0.0
    with exact_float32():
        for layer, head in heads:
            W_V, W_O = weights.W_V(layer)[head // group], weights.W_O(layer)[head]
            started = synchronised(device)
            for some in inputs.of(layer).split(each):
                logits = some @ (W_V @ W_O) @ W_U
                for largest in (True, False):
                    logits.topk(K, dim=1, largest=largest)
            elapsed += synchronised(device) - started
    return elapsed * r.n_layers * r.n_heads / len(heads)


def on_the_card(weights: Weights, sources: Sequence[int], each: int, elapsed: float, tera: float) -> dict[str, object]:
    """What only a card is asked for."""
    device = str(weights.device)
    memory = torch.cuda.max_memory_allocated(device) / GIB
    peak, theirs = peak_sgemm(device) / 1e12, published(weights, sources, each, HEADS)
    return {
        "device": torch.cuda.get_device_name(device),
        "peak_device_gib": round(memory, 2),
        "peak_tflops": round(peak, 1),
        "share_of_peak": round(tera / elapsed / peak, 3),
        "published_s": round(theirs, 1),
        "published_over_ours": round(theirs / elapsed, 1),
    }


def main(words: Sequence[str]) -> None:
    """Score the checkpoint and print what it took."""
    folder = llama_8b_shape(Path(words[0]))
    device = words[4] if len(words) > 4 else "cpu"
    given = [int(word) for word in words[1:4]]
    sources, relations, threads = (*given, *DEFAULTS[len(given) :])
    torch.set_num_threads(threads)
    imported = peak_gib()
    with tempfile.TemporaryDirectory() as lists:
        unique = first_pairs(Path(lists), sources, relations)
        settings = RelationsSettings(
            relations_dir=lists, min_pairs=min(30, sources), folded=False, twins=0, matched=0, salient_tokens=0
        )
        started, cpu = time.perf_counter(), time.process_time()

        def progress(done: int, total: int, what: str) -> None:
            seconds = time.perf_counter() - started
            print(f"{done}/{total} {what} {seconds:.0f} s, {peak_gib():.2f} GiB", file=sys.stderr, flush=True)

        weights = stream(folder, device=device)
        result = score(weights, settings, Context(seed=0, threads=threads, progress=progress))
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    r = weights.record
    embeddings, layer = 2 * r.d_vocab * r.d_model * 4, (r.n_kv_heads + r.n_heads) * r.d_head * r.d_model * 4
    summary: dict[str, object] = {
        "relations": len(result.facts["relations"]),  # type: ignore[arg-type]
        "pairs_each": sources,
        "distinct_sources": unique,
        "threads": threads,
        "elapsed_s": round(elapsed, 1),
        "cpu_s": round(cpu, 1),
        "tera_operations": round(operations(r.n_layers, r.n_heads, r.d_head, r.d_model, r.d_vocab, unique) / 1e12, 1),
        "peak_gib": round(peak_gib(), 2),
        "peak_after_imports_gib": round(imported, 2),
        "bound_gib": round((embeddings + layer) / GIB + 2, 2),
    }
    if device != "cpu":
        ids = list(range(1, unique + 1))  # any tokens take as long
        tera = operations(r.n_layers, r.n_heads, r.d_head, r.d_model, r.d_vocab, unique) / 1e12
        summary |= on_the_card(weights, ids, sources or unique, elapsed, tera)
    print(json.dumps(summary))


if __name__ == "__main__":
    main(sys.argv[1:])
