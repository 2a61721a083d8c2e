"""How much scores differ between runs of the same seed on other numbers of threads.

python -m tests.soak.threads                # mini, all suites, quick: 1 thread twice, 2 threads twice
python -m tests.soak.threads --to docs/repeatability.md
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reportgen import runner
from reportgen.config import Options
from reportgen.report.csv import scores_csv
from reportgen.runfolder import Run
from reportgen.scores import HeadScores, SuiteResult
from reportgen.suites.cognitive.dataset import SHIPPED
from tests.fixtures import model_record
from tests.soak.calibrate import BEGIN, END

ALPHA = 0.05
# The documented tolerance between numbers of threads, as shares of a score's largest size; set from what was measured.
VALUES = {"relations": 1e-5, "attention": 1e-5, "circuits": 1e-5, "cognitive": 1e-5}
INTERVALS = {"relations": 1e-5, "attention": 1e-5, "circuits": 1e-5, "cognitive": 1e-5}
# Settings with which mini goes through every suite in seconds.
SMALL: dict[str, dict[str, object]] = {
    "relations": {
        "relations": "name_copying,word_to_antonym", "permutations": 99, "dynamic_pairs": 8, "matched": 1, "twins": 1,
        "multi_token": False, "ablation": False, "salient_tokens": 3,
    },
    "attention": {"sequences": 16, "permutations": 99, "resamples": 50, "text_windows": 4},
    "circuits": {
        "tasks": "ioi", "prompts": 32, "flips": 99, "resamples": 50, "patch_prompts": 8, "positions": 0,
        "denoising": False, "senders": 2, "edge_prompts": 4, "rephrased": 0, "curve_prompts": 4, "random_sets": 2,
        "bands": 0, "added": 0, "text": False, "twins": 0, "through_movers": "q", "through_those": "kv",
    },
    "cognitive": {
        "permutations": 99, "seeds": 1, "null_seeds": 1, "random_sets": 2, "curve_sets": 2, "resamples": 50,
        "most_steps": 20, "cache": False, "proj": 4, "hidden": 8,
    },
    "sparse": {"per_template": 6, "sequences": 8, "draws": 1, "zeroed": False, "resamples": 50},
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """Two results of one suite: largest |difference| of values and intervals, as a share of each score's own largest
    size, and of p; head labels and p <= ALPHA that are not the same."""

    suite: str
    scores: int
    identical: bool
    values: float
    intervals: float
    p: float
    labels: int
    significant: int


def score(model: str, out: Path, threads: int, settings: Mapping[str, Mapping[str, object]], *suites: str) -> Run:
    """A run without its report; user's caches of features are not used."""
    given = {name: dict(values) for name, values in settings.items() if not suites or name in suites}
    given.setdefault("cognitive", {})["cache"] = False
    if suites and "cognitive" not in suites:
        del given["cognitive"]
    return runner.run(
        Options(model=model, suites=tuple(suites), settings=given, threads=threads, out=str(out), selftest=False)
    )


def few_questions(folder: Path, chains: int = 30) -> Path:
    """The first chains of the shipped questions in mini's words."""
    lines = SHIPPED["in_vocabulary"].read_text("utf-8").splitlines()
    few = dict.fromkeys(json.loads(line)["chain"] for line in lines)
    kept = set(list(few)[:chains])
    path = folder / "few.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["chain"] in kept), "utf-8")
    return path


def csv_of(run: Run) -> bytes:
    """scores.csv as the report has it."""
    return scores_csv({name: run.result(name) for name in run.done()}, run.manifest.model).encode()


def difference(a: SuiteResult, b: SuiteResult) -> Difference:
    """Of two results of the same suite."""
    assert [s.key for s in a.scores] == [s.key for s in b.scores]
    found = [_pair(x, y) for x, y in zip(a.scores, b.scores, strict=True)]
    sets = [{s.key: set(s.heads) for s in r.head_sets if s.kind == "computed"} for r in (a, b)]
    labels = sum(len(sets[0].get(key, set()) ^ sets[1].get(key, set())) for key in sets[0].keys() | sets[1].keys())
    values, intervals, p = (max(f[i] for f in found) for i in range(3))
    same = scores_csv({a.suite: a}, model_record()) == scores_csv({b.suite: b}, model_record())
    return Difference(a.suite, len(found), same, values, intervals, p, labels, sum(f[3] for f in found))


def _pair(x: HeadScores, y: HeadScores) -> tuple[float, float, float, int]:
    assert np.array_equal(np.isnan(x.values), np.isnan(y.values)), x.key
    scale = float(np.nanmax(np.abs(x.values), initial=0.0)) or 1.0
    ends = max(_most(x.low, y.low), _most(x.high, y.high)) / scale
    significant = 0
    if x.p is not None and y.p is not None:
        significant = int(((x.p <= ALPHA) != (y.p <= ALPHA)).sum())
    return _most(x.values, y.values) / scale, ends, _most(x.p, y.p), significant


def _most(x: Any, y: Any) -> float:
    if x is None or y is None:
        assert x is y
        return 0.0
    return float(np.nanmax(np.abs(x.astype(np.float64) - y), initial=0.0))


def table(rows: Sequence[tuple[str, Difference]]) -> str:
    """As Markdown."""
    lines = [
        "| runs | suite | scores | scores.csv | values | ends of intervals | p | labels changed | p <= .05 changed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for what, d in rows:
        same = "identical" if d.identical else "differs"
        numbers = " | ".join("0" if x == 0 else f"{x:.1e}" for x in (d.values, d.intervals, d.p))
        lines.append(f"| {what} | {d.suite} | {d.scores} | {same} | {numbers} | {d.labels} | {d.significant} |")
    return "\n".join(lines)


def compared(
    model: str, settings: Mapping[str, Mapping[str, object]], folder: Path, *suites: str
) -> list[tuple[str, Difference]]:
    """1 thread against 1, 2 against 2, 1 against 2."""
    made: dict[str, Run] = {}
    for name, threads in (("1", 1), ("1 again", 1), ("2", 2), ("2 again", 2)):
        print(f"{name} ...", file=sys.stderr)
        made[name] = score(model, folder / name.replace(" ", "-"), threads, settings, *suites)
    rows = []
    for first, second, words in (
        ("1", "1 again", "1 thread, twice"),
        ("2", "2 again", "2 threads, twice"),
        ("1", "2", "1 and 2 threads"),
    ):
        suites = made[first].done()
        rows += [(words, difference(made[first].result(s), made[second].result(s))) for s in suites]
    return rows


def main() -> None:
    """Print the table, or put it into a page between its marks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--suite", action="append", default=[])
    parser.add_argument("--small", action="store_true", help="settings of the test")
    parser.add_argument("--to", type=Path)
    said = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") == "1":
        sys.exit("OMP_NUM_THREADS=1 would make all runs alike.")
    with tempfile.TemporaryDirectory(prefix="reportgen-threads-") as folder:
        settings: dict[str, dict[str, object]] = {}
        if said.small:
            settings = {name: dict(SMALL[name]) for name in said.suite or SMALL}
            settings.get("cognitive", {})["data"] = str(few_questions(Path(folder)))
        text = table(compared(said.model, settings, Path(folder), *said.suite))
    if said.to is None:
        print(text)
    else:
        before, _, rest = said.to.read_text("utf-8").partition(BEGIN)
        said.to.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
