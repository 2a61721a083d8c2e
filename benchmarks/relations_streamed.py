"""Streamed static scores on the shape of Llama-3.1-8B: seconds, and peak memory against its bound.

    python -m benchmarks.relations_streamed FOLDER [SOURCES [RELATIONS [THREADS]]]

FOLDER gets the random checkpoint (about 3.9 GB) and keeps it. Raw scores and their null, SOURCES pairs of each of the
first RELATIONS shipped lists (0: all); no control that would double the work. Prints one JSON object.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.shapes import first_pairs, llama_8b_shape
from reportgen.models.load import stream
from reportgen.suites.base import Context
from reportgen.suites.relations.score import score
from reportgen.suites.relations.suite import RelationsSettings

GIB = 2**30
DEFAULTS = (50, 0, 1)  # sources, relations, threads


def operations(n_layers: int, n_heads: int, d_head: int, d_model: int, d_vocab: int, rows: int) -> float:
    """Floating-point operations of the cheaper form: W_O W_U once per layer, or every row as d_model numbers."""
    low_rank = d_head * (d_model + rows)
    return 2.0 * n_layers * n_heads * d_vocab * min(low_rank, rows * d_model)


def peak_gib() -> float:
    """Largest resident set of this process so far; mapped pages of weight files count."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def main(words: Sequence[str]) -> None:
    """Score the checkpoint and print what it took."""
    folder = llama_8b_shape(Path(words[0]))
    given = [int(word) for word in words[1:]]
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

        weights = stream(folder, device="cpu")
        result = score(weights, settings, Context(seed=0, threads=threads, progress=progress))
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    r = weights.record
    embeddings, layer = 2 * r.d_vocab * r.d_model * 4, (r.n_kv_heads + r.n_heads) * r.d_head * r.d_model * 4
    summary = {
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
    print(json.dumps(summary))


if __name__ == "__main__":
    main(sys.argv[1:])
