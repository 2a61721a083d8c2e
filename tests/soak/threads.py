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

from reportgen import runner
from reportgen.compare.moved import SuiteApart, apart
from reportgen.config import Options
from reportgen.report.render import scores_csv
from reportgen.runfolder import Run
from reportgen.scores import SuiteResult
from reportgen.suites.cognitive.scoring.dataset import SHIPPED
from tests.fixtures import model_record
from tests.soak.calibrate import BEGIN, END

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
    "weights": {"rotations": 19, "permutations": 99, "words": 200, "keys": 200, "twins": 0},
    "text": {
        "windows": 16, "tokens": 96, "shuffled": 4, "twins": 0, "edge_windows": 4, "flips": 99, "resamples": 50,
        "examples_each": 1, "examples_top": 2, "quiet_windows": 0,
    },
    "sparse": {"per_template": 6, "sequences": 8, "draws": 1, "zeroed": False, "resamples": 50},
    "icl": {
        "accuracy": 0, "gain": -1, "shots": 3, "prompts": 4, "exact_heads": 1, "verified": 4, "verified_task": 1,
        "sampled": 8, "random_vectors": 2, "other_tasks": 2, "twin_prompts": 4, "flips": 99, "resamples": 50,
        "text_windows": 2, "text_verified": 2, "text_sampled": 4, "held_prompts": 4, "ablation_sets": 2,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """Two results of one suite: whether scores.csv is the same, and how far apart they are."""

    identical: bool
    apart: SuiteApart


def score(
    model: str, out: Path, threads: int, settings: Mapping[str, Mapping[str, object]], *suites: str,
    dtype: str = "auto",
) -> Run:  # fmt: skip
    """A run without its report; user's caches of features are not used."""
    given = {name: dict(values) for name, values in settings.items() if not suites or name in suites}
    given.setdefault("cognitive", {})["cache"] = False
    if suites and "cognitive" not in suites:
        del given["cognitive"]
    return runner.run(
        Options(
            model=model, suites=tuple(suites), settings=given, threads=threads, dtype=dtype, out=str(out),
            selftest=False,
        )
    )  # fmt: skip


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
    found = apart(a, b)
    assert not found.gone
    assert not found.added
    same = scores_csv({a.suite: a}, model_record()) == scores_csv({b.suite: b}, model_record())
    return Difference(same, found)


def table(rows: Sequence[tuple[str, Difference]]) -> str:
    """As Markdown."""
    lines = [
        "| runs | suite | scores | scores.csv | values | ends | p | tables | labels changed | p <= .05 changed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for what, d in rows:
        same = "identical" if d.identical else "differs"
        shares = (*(d.apart.most(name) for name in ("values", "ends", "p")), d.apart.furthest)
        numbers = " | ".join("0" if x == 0 else f"{x:.1e}" for x in shares)
        labels = f"{len(d.apart.labels)} | {d.apart.crossed}"
        lines.append(f"| {what} | {d.apart.suite} | {len(d.apart.scores)} | {same} | {numbers} | {labels} |")
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
