"""What a report costs: seconds, memory, bytes of HTML and reading it, of mini and of a made-up run of 80 x 64 x 20.

Each is rendered twice in processes of its own: peak memory is that rendering's, and the two must be the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from reportgen.figures.chart_data import table
from reportgen.figures.figure import Figure, View
from reportgen.figures.heatmap import heatmap
from reportgen.manifest import SCHEMA_VERSION, Manifest, ModelRecord, SuiteRecord
from reportgen.runfolder import Run, RunWriter
from reportgen.scores import HeadScores, SuiteResult
from reportgen.suites.base import Measure, Suite

LAYERS, HEADS, MAPS = 80, 64, 20
CHILD = """
import resource, sys, time
from pathlib import Path
from benchmarks.render import draw
started, cpu = time.perf_counter(), time.process_time()
draw(Path(sys.argv[1]))
print(time.perf_counter() - started, time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
SCROLL = """async () => {
  for (let y = 0; y < document.body.scrollHeight; y += 2000) {
    scrollTo(0, y);
    await new Promise((done) => requestAnimationFrame(done));
  }
}"""
SAME = (".html", ".pdf", ".svg", ".csv")  # what must come out alike


def made_up(seed: int = 0) -> SuiteResult:
    """Twenty synthetic scores of 80 x 64 heads, with intervals and p-values."""
    draw = np.random.default_rng(seed)
    scores = []
    for i in range(MAPS):
        values = draw.random((LAYERS, HEADS)).astype(np.float32) ** 3
        half = np.float32(0.05)
        scores.append(
            HeadScores(
                f"synthetic/score/task_{i}", f"Task {i} score", values, n=60, low=np.maximum(values - half, 0),
                high=np.minimum(values + half, 1), p=draw.random((LAYERS, HEADS)).astype(np.float32), range=(0.0, 1.0),
            )
        )  # fmt: skip
    return SuiteResult("synthetic", tuple(scores))


def figures(result: SuiteResult, view: View) -> list[Figure]:
    """One map per score."""
    return [
        Figure(
            f"synthetic-{s.task}", "synthetic", s.label, f"{s.label} of {LAYERS} x {HEADS} heads, n = {s.n}.",
            f"Map of {s.label}.", heatmap(s, view, title=s.label), table([(s, ())]),
        )
        for s in result.scores
    ]  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Nothing to set."""


SUITE = Suite(
    name="synthetic", title="Synthetic scores", summary="Made-up numbers.", version=1, settings=Settings,
    score="nowhere:score", figures="benchmarks.render:figures",
    measures=(Measure("score", "Synthetic score", "a random number", "Nothing."),),
)  # fmt: skip


def write_run(folder: Path) -> Run:
    """The synthetic run, stored."""
    record = ModelRecord(
        id="synthetic", slug="synthetic", source="fixture", revision="", content_hash="00" * 32, family="gpt2",
        n_layers=LAYERS, n_heads=HEADS, n_kv_heads=HEADS, d_model=8192, d_head=128, d_vocab=32000, n_ctx=2048,
        n_params=0, dtype="float32", weights="raw", bos="none", synthetic=True,
    )  # fmt: skip
    manifest = Manifest(
        SCHEMA_VERSION, record, "cpu", "", 1, 0, "quick", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00", [],
        {}, synthetic=True,
    )  # fmt: skip
    with RunWriter(folder, manifest) as writer:
        writer.save()
        writer.store("synthetic", made_up(), SuiteRecord("done", 1, {}, {}, resume_key="k"))
        return writer.run


def draw(folder: Path) -> Path:
    """Render a run with every format; the synthetic suite is drawn by this module."""
    from reportgen import suites
    from reportgen.figures.theme import Style
    from reportgen.report.build import build
    from reportgen.report.draw import threads
    from reportgen.report.render import ENDINGS, FigureFiles, write

    run, silent = Run.open(folder), (lambda done, total, words: None)
    with threads(2) as pool:  # as reportgen.report.render.render
        figures = FigureFiles(pool, Style(), tuple(ENDINGS))
        report = build(run, suites={**suites.known(), "synthetic": SUITE}, ready=figures.add)
        return write(report, run, folder / "report", Style(), tuple(ENDINGS), silent, figures=figures)


def digests(folder: Path) -> dict[str, str]:
    """sha256 of each file that must come out alike."""
    files = [path for path in sorted((folder / "report").rglob("*")) if path.suffix in SAME]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def measure(label: str, folder: Path) -> None:
    """Render twice; print what the first cost and whether the second is the same."""
    found = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", CHILD, str(folder)], capture_output=True, text=True, check=True)
        found.append((*map(float, done.stdout.split()), digests(folder)))
    seconds, cpu, peak, first = found[0]
    page = (folder / "report" / "index.html").stat().st_size / 1e6
    maps = len(list((folder / "report" / "figures").glob("*.svg")))
    same = "the same bytes again" if first == found[1][3] else "NOT THE SAME BYTES AGAIN"
    load = f"load {os.getloadavg()[0]:.1f}"
    took = f"{seconds:.1f} s wall ({load}), {cpu:.1f} s of CPU, peak {peak / 2**20:.2f} GiB"
    print(f"{label}: {maps} figures, {took}, HTML {page:.2f} MB, {same}", flush=True)


def read(label: str, page: Path) -> None:
    """Open a page in Chromium, scroll it to its end, open two passports; print the CPU seconds of each."""
    browser_path = shutil.which("chromium")
    if browser_path is None:
        print(f"{label}: not read, no Chromium (apt-get install chromium)")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        tab.set_default_timeout(600_000)
        inside = tab.context.new_cdp_session(tab)
        inside.send("Performance.enable", {"timeDomain": "threadTicks"})  # CPU time: nothing beside it counts

        def spent() -> float:
            metrics = inside.send("Performance.getMetrics")["metrics"]
            return next(float(m["value"]) for m in metrics if m["name"] == "TaskDuration")

        tab.goto(page.as_uri())
        times = [0.0, spent()]
        tab.evaluate(SCROLL)
        times.append(spent())
        for head in ("L1H1", "L2H1"):
            tab.evaluate(f"location.hash = '#{head}'")
            tab.wait_for_function(f"document.querySelector('#head-name')?.textContent === '{head}'")
            times.append(spent())
        outlined = tab.locator(".picked").count()
        browser.close()
    load, scroll, first, second = (after - before for before, after in pairwise(times))
    words = f"load {load:.2f} s, scroll to its end {scroll:.2f} s, first passport {first:.2f} s, next {second:.2f} s"
    print(f"{label} in Chromium, CPU of the page: {words}; outlined in {outlined} maps", flush=True)


def main(run: Path | None = None) -> None:
    """Print all measurements; `run` is a stored run of mini, made here where none is given."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        synthetic = out / "synthetic"
        write_run(synthetic)
        label = f"{LAYERS} x {HEADS} x {MAPS}, synthetic"
        measure(label, synthetic)
        read(label, synthetic / "report" / "index.html")
        if run is None:
            subprocess.run([sys.executable, "-m", "reportgen", "run", "mini", "--out", str(out)], check=True)
        else:
            shutil.copytree(run, out / "mini")
        measure("mini, all suites", out / "mini")
        read("mini, all suites", out / "mini" / "report" / "index.html")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else None)
