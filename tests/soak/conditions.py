"""How much scores differ between runs under other conditions: another version of torch, another dtype.

    python -m tests.soak.conditions score out/a                      # with this Python's packages, on one thread
    other/bin/python -m tests.soak.conditions score out/b            # with those of another environment
    python -m tests.soak.conditions score out/c --dtype float64
    python -m tests.soak.conditions compare out/a out/b "torch 2.6.0 and 2.13.0"

A folder gets a run of mini with the settings of tests/soak/threads.py, or with `--family gpt2` one of that family's
tiny random checkpoint, which is made once, in the folder `--checkpoints`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from reportgen.models import memory
from reportgen.runfolder import Run
from tests.families.made import small_run, spoken_folder
from tests.soak.threads import SMALL, Difference, difference, few_questions, score, table


def main() -> None:
    """Score into a folder, or print the differences between two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    scoring = verbs.add_parser("score")
    scoring.add_argument("out", type=Path)
    scoring.add_argument("--dtype", default="float32", help="also float64, which no option of reportgen offers")
    scoring.add_argument("--suite", action="append", default=[])
    scoring.add_argument("--family", action="append", default=[])
    scoring.add_argument("--checkpoints", type=Path, default=Path("out/checkpoints"))
    comparing = verbs.add_parser("compare")
    comparing.add_argument("first", type=Path)
    comparing.add_argument("other", type=Path)
    comparing.add_argument("words", help="what differs, for the table")
    said = parser.parse_args()
    if said.verb == "compare":
        print(table(compared(said.first, said.other, said.words)))
        return
    said.out.mkdir(parents=True, exist_ok=True)
    for family in said.family:
        folder = said.checkpoints / family
        if not folder.exists():
            spoken_folder(family, folder)
        small_run(folder, said.out / "families")
    if not said.family:
        memory.DTYPES["float64"] = torch.float64
        settings = {name: dict(SMALL[name]) for name in said.suite or SMALL}
        settings.get("cognitive", {})["data"] = str(few_questions(said.out))
        score("mini", said.out, 1, settings, *settings, dtype=said.dtype)


def compared(first: Path, other: Path, words: str) -> list[tuple[str, Difference]]:
    """Every suite that both folders' runs of one name have, with what differs and the model."""
    rows = []
    for file in sorted(first.rglob("run.json")):
        place = file.parent.relative_to(first)
        runs = Run.open(first / place), Run.open(other / place)
        both = [name for name in runs[0].done() if name in runs[1].done()]
        rows += [(f"{words}, {place.name}", difference(runs[0].result(suite), runs[1].result(suite))) for suite in both]
    return rows


if __name__ == "__main__":
    main()
