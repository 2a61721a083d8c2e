"""Every suite and the renderer on 80 layers x 64 heads: CPU seconds, wall seconds, peak memory, bytes on disk.

    python -m benchmarks large
    python -m benchmarks.large FOLDER [SUITE ...]   keep model and run in FOLDER; only these suites

- A random Llama (d_model 64, d_head 8, 16 key-value heads, mini's vocabulary), marked synthetic: times, memory and how
  figures look at 5,120 heads; no findings. One thread, quick preset, and what `settings` says.
- Every suite runs in a process of its own on the same run folder, so that peak memory is its own. The circuits suite
  gets a task whose answers are what the random weights prefer: only then are paths, curves and circuits computed at
  all. The sparse partner is the same weights with a gate in their config.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.shapes import mark_synthetic
from tests.families.made import few_questions, gated_copy, own_task, spoken_folder

LAYERS, HEADS = 80, 64
SUITES = ("attention", "relations", "circuits", "cognitive", "sparse")
CHILD = """
import json, resource, sys, time
import reportgen
asked = json.loads(sys.argv[1])
started, cpu = time.perf_counter(), time.process_time()
if "model" in asked:
    reportgen.run(report=False, **asked)
else:
    reportgen.render(reportgen.load_run(asked["run"]))
print(time.process_time() - cpu, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def make(base: Path) -> None:
    """The model, its sparse partner and the task that it does."""
    if (base / "large-sparse").exists():
        return
    from reportgen.models.load import load, set_threads

    set_threads(1)
    shape = {"hidden_size": 64, "head_dim": 8, "intermediate_size": 64, "max_position_embeddings": 128}
    folder = spoken_folder(
        "llama", base / "large", num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=16, **shape
    )
    mark_synthetic(folder)
    own_task(load(folder, device="cpu"), base / "own.jsonl", 48)
    few_questions(base / "questions.jsonl")
    gated_copy(folder, base / "large-sparse")


def settings(base: Path) -> dict[str, dict[str, object]]:
    """What is set beside the quick preset: fewer relations, questions, prompts and draws, so that all of it takes
    minutes; every stage runs."""
    return {
        "relations": {
            "relations": ["name_copying", "country_to_capital"], "permutations": 999, "dynamic_pairs": 16,
            "ablation_prompts": 16, "ablation_random": 4,
        },
        "circuits": {"tasks": [], "tasks_file": str(base / "own.jsonl"), "text_windows": 4},
        "cognitive": {
            "data": str(base / "questions.jsonl"), "min_per_class": 3, "permutations": 0, "random_sets": 2,
            "curve_sets": 2, "cache": False,
        },
        "sparse": {
            "sparse_model": str(base / "large-sparse"), "sequences": 8, "length": 32, "draws": 1, "per_template": 6,
        },
    }  # fmt: skip


def cost(**asked: object) -> str:
    """CPU seconds, wall seconds and peak GiB of a run or a rendering in a process of its own, as cells of a row."""
    done = subprocess.run([sys.executable, "-c", CHILD, json.dumps(asked)], capture_output=True, text=True, check=True)
    cpu, wall, peak = map(float, done.stdout.splitlines()[-1].split())
    return f"{cpu:.1f} | {wall:.1f} | {peak / 2**20:.2f}"


def measure(base: Path, suites: tuple[str, ...]) -> None:
    """Score suite after suite, then render; print a row for each."""
    print("| what | CPU s | wall s | peak GiB | stored | outcome |\n|---|---|---|---|---|---|")
    run = base / "runs" / "large"
    for name in suites:
        said = {name: settings(base)[name]} if name in settings(base) else {}
        found = cost(model=str(base / "large"), suites=[name], settings=said, out=str(run.parent), threads=1)
        record = json.loads((run / "run.json").read_text())["suites"][name]
        stored = sum(path.stat().st_size for path in (run / "scores").glob(f"{name}.*")) / 1e6
        print(f"| {name} | {found} | {stored:.1f} MB | {record['status']} {record.get('error', '')} |", flush=True)
    found, report = cost(run=str(run)), run / "report"
    figures = list((report / "figures").iterdir())
    sizes = {name: (report / name).stat().st_size for name in ("index.html", "report.pdf", "scores.csv")}
    sizes[f"{len(figures)} figure files"] = sum(path.stat().st_size for path in figures)
    print(f"| render | {found} | {', '.join(f'{name} {size / 1e6:.1f} MB' for name, size in sizes.items())} | |")
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)


def main(base: Path | None = None, suites: tuple[str, ...] = SUITES) -> None:
    """Print the table."""
    if base is not None:
        make(base)
        measure(base, suites)
        return
    with tempfile.TemporaryDirectory() as name:
        main(Path(name), suites)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), tuple(sys.argv[2:]) or SUITES)
