"""A real model from the command to the finished report, in units of one forward pass of the same model.

    python -m benchmarks.real                 SmolLM2-135M, quick, every suite
    python -m benchmarks.real heads           circuits on 16 x 16 and on 32 x 32 heads of the same size
    python -m benchmarks.real gpt2            every suite on random weights in the shape of GPT-2 small
    python -m benchmarks.real 1b              every suite on random weights in the shape of Llama-3.2-1B
    python -m benchmarks.real 8b              weights, streamed, on random weights in the shape of Llama-3.1-8B
    python -m benchmarks.real 1b circuits     of smollm2, gpt2 and 1b only these suites

- U: a forward pass of 16 sequences of 64 tokens through the loaded model, last logits only, on the same threads; the
  median of five before and of five after the run. Seconds of another machine differ, these ratios hardly.
- Each run has a process of its own: peak memory and CPU seconds are that run's. Models but SmolLM2 are random and
  marked synthetic: time and memory only. They get a task that they do, so that every stage runs.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

THREADS = len(os.sched_getaffinity(0))  # `taskset -c 0` measures on one
UNIT = """
import statistics, sys, time
import torch
from reportgen.models.load import load, set_threads
set_threads(int(sys.argv[2]))
model = load(sys.argv[1], device="cpu")
ids = torch.randint(0, model.record.d_vocab, (16, 64), generator=torch.Generator().manual_seed(0))
def once():
    started = time.perf_counter()
    model.run(ids, last=True)
    return time.perf_counter() - started
once()
print(statistics.median(once() for _ in range(5)))
"""


def unit(model: str) -> float:
    """Seconds of one forward pass of 1,024 tokens, in a process of its own."""
    words = [sys.executable, "-c", UNIT, model, str(THREADS)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def scored(
    model: str, out: Path, suites: tuple[str, ...], given: Mapping[str, object], *, stream: bool = False
) -> tuple[float, float, float]:
    """Run the command line on the model; wall and CPU seconds and peak GiB of its process."""
    words = [sys.executable, "-m", "reportgen", "run", model, "--out", str(out), "--name", "bench"]
    words += ["--threads", str(THREADS), *(["--stream"] if stream else [])]
    words += [word for name in suites for word in ("--suite", name)]
    words += [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=sys.stderr)
    _, status, usage = os.wait4(done.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(words)}: exit {os.waitstatus_to_exitcode(status)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, usage.ru_maxrss / 2**20


def measure(
    label: str, model: str, suites: tuple[str, ...] = (), given: Mapping[str, object] | None = None
) -> dict[str, float]:
    """Print a row a suite, with the longest phases, and one for the whole; seconds by suite."""
    with tempfile.TemporaryDirectory() as folder:
        u = unit(model)
        wall, cpu, peak = scored(model, Path(folder), suites, given or {})
        u = (u + unit(model)) / 2
        records = json.loads((Path(folder) / "bench" / "run.json").read_text())["suites"]
    print(f"\n{label}: U = {u:.2f} s on {THREADS} threads, load {os.getloadavg()[0]:.1f}")
    print("| what | s | U | longest phases, U |\n|---|---|---|---|")
    found: dict[str, float] = {}
    for name, record in records.items():
        found[name] = seconds = record["elapsed_s"]
        phases = ", ".join(f"{phase} {s / u:.0f}" for phase, s in list(record["phases"].items())[:4])
        print(f"| {name} {record['error']} | {seconds:.0f} | {seconds / u:.0f} | {phases} |")
    rest = wall - sum(found.values())
    print(f"| loading, page, figures | {rest:.0f} | {rest / u:.0f} | |")
    print(f"| whole: {cpu:.0f} CPU s, peak {peak:.2f} GiB | {wall:.0f} | {wall / u:.0f} | |", flush=True)
    return found


def smollm2(suites: tuple[str, ...]) -> None:
    """SmolLM2-135M-Instruct, quick, every suite, to the finished report."""
    from tests.real.fetch import fetch

    measure("SmolLM2-135M, quick", str(fetch("smollm2")), suites)


def heads(_: tuple[str, ...]) -> None:
    """Circuits on four times as many heads of the same size: time should grow no faster than heads."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for side in (16, 32):
            model, task = _random_llama(Path(folder) / str(side), side)
            given = {"circuits.tasks": "none", "circuits.tasks_file": str(task), "circuits.text_windows": 4}
            seconds.append(measure(f"{side} x {side} heads", str(model), ("circuits",), given)["circuits"])
    print(f"four times the heads: {seconds[1] / seconds[0]:.1f} times the seconds")


def _random_llama(base: Path, side: int) -> tuple[Path, Path]:
    from benchmarks.shapes import mark_synthetic
    from reportgen.models.load import load
    from tests.families.made import own_task, spoken_folder

    shape = {"hidden_size": 8 * side, "head_dim": 8, "intermediate_size": 8 * side, "max_position_embeddings": 128}
    folder = spoken_folder(
        "llama",
        base / "model",
        num_hidden_layers=side,
        num_attention_heads=side,
        num_key_value_heads=side // 4,
        **shape,
    )
    mark_synthetic(folder)
    own_task(load(folder, device="cpu"), base / "own.jsonl", 48)
    return folder, base / "own.jsonl"


def gpt2(suites: tuple[str, ...]) -> None:
    """Every suite on GPT-2 small's shape, with a task of its own: a random model does none of the shipped ones."""
    from benchmarks.shapes import gpt2_small_shape

    _synthetic("GPT-2 small's shape, random", gpt2_small_shape, suites)


def one_b(suites: tuple[str, ...]) -> None:
    """Every suite on Llama-3.2-1B's shape at float32: seconds and peak memory."""
    from benchmarks.shapes import llama_1b_shape

    _synthetic("Llama-3.2-1B's shape, random", llama_1b_shape, suites)


def _synthetic(label: str, make: Callable[..., Path], suites: tuple[str, ...]) -> None:
    """With SmolLM2's tokenizer: of a made-up one the texts, questions and facts that ship would be unknown words."""
    from reportgen.models import gguf
    from reportgen.models.load import load
    from tests.families.made import own_task
    from tests.real.fetch import fetch

    with tempfile.TemporaryDirectory() as folder:
        with gguf.parsed_once(fetch("smollm2"), "SmolLM2") as header:
            words = gguf.read_tokenizer(header, "SmolLM2")
        model = make(Path(folder) / "model", words=words)
        task = Path(folder) / "own.jsonl"
        own_task(load(model, device="cpu"), task, 48)
        measure(label, str(model), suites, {"circuits.tasks_file": str(task)})


def eight_b(_: tuple[str, ...]) -> None:
    """The suite weights on Llama-3.1-8B's shape, streamed, without composition through queries: minutes and peak."""
    from benchmarks.shapes import llama_8b_shape

    with tempfile.TemporaryDirectory() as folder:
        model = llama_8b_shape(Path(folder) / "model")
        given = {"weights.composition": "k,v"}
        wall, cpu, peak = scored(str(model), Path(folder), ("weights",), given, stream=True)
    print(f"Llama-3.1-8B's shape, streamed, {THREADS} threads")
    print(f"{wall / 60:.1f} minutes, {cpu:.0f} CPU s, peak {peak:.1f} GiB")


KINDS = {"8b": eight_b, "smollm2": smollm2, "heads": heads, "gpt2": gpt2, "1b": one_b}


def main() -> None:
    """The kind named on the command line, SmolLM2 where none is; and of its suites those named after it."""
    kind, *suites = sys.argv[1:] or ["smollm2"]
    KINDS[kind](tuple(suites))


if __name__ == "__main__":
    main()
