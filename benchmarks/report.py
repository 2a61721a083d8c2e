"""The main job's time and memory: mini with all suites, and a GPT-2-small-shaped random checkpoint with two.

Each runs in a process of its own, so that peak memory is that run's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.shapes import gpt2_small_shape


def measure(label: str, *words: str) -> None:
    """Run the command in a child process; print seconds and peak resident memory."""
    code = (
        "import resource, sys\n"
        "from reportgen.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    peak = [int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("PEAK")]
    print(f"{label}: {seconds:.1f} s, peak {peak[0] / 2**20:.2f} GiB, exit {done.returncode}")
    for line in done.stderr.splitlines():
        if " in " in line and line.startswith("  "):
            print(f"   {line}")


def main() -> None:
    """Print both measurements."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "runs")
        measure("mini, all suites, quick", "run", "mini", "--out", out)
        measure("mini again, nothing to score", "run", "mini", "--out", out)
        model = gpt2_small_shape(Path(folder) / "gpt2-shaped")
        suites = ("--suite", "relations", "--suite", "attention")
        measure("GPT-2-small shape (random weights)", "run", str(model), *suites, "--out", out)
