"""The real models' files and one scored run of each, for the whole of tests/real."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reportgen.runfolder import Run
from tests.real import fetch


@pytest.fixture(scope="session")
def file_of() -> Callable[[str], Path]:
    """Name -> its GGUF file; skips in one line where it can't be had, and fails where CI asks for it."""

    def found(name: str) -> Path:
        try:
            return fetch.fetch(name)
        except fetch.NoModelError as error:
            if os.environ.get("CI", "").lower() == "true":
                pytest.fail(str(error), pytrace=False)
            pytest.skip(str(error))

    return found


@pytest.fixture(scope="session")
def smollm2(file_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """SmolLM2 with attention, name copying, country to capital and IOI, by the command that a user types."""
    words = [
        "--suite", "attention", "--suite", "relations", "--suite", "circuits",
        "--set", "relations.relations=name_copying,country_to_capital", "--set", "relations.permutations=199",
        "--set", "relations.dynamic=off", "--set", "relations.salient_tokens=0", "--set", "relations.twins=0",
        "--set", "relations.matched=0", "--set", "relations.folded=off",
        "--set", "circuits.tasks=ioi", "--set", "circuits.prompts=60", "--set", "circuits.patch_prompts=8",
        "--set", "circuits.twins=0", "--set", "circuits.rephrased=0", "--set", "circuits.added=0",
        "--set", "circuits.text=off", "--set", "circuits.edge_prompts=4", "--set", "circuits.senders=4",
        "--set", "circuits.curve_prompts=0", "--set", "circuits.verified=6", "--set", "circuits.sampled=2",
    ]  # fmt: skip
    return scored(file_of("smollm2"), tmp_path_factory.mktemp("real"), *words)


def scored(model: Path, out: Path, *words: str) -> Run:
    """`reportgen run` in a process of its own; its run."""
    command = [sys.executable, "-m", "reportgen", "run", str(model), "--out", str(out), "--no-selftest", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return Run.open(Path(done.stdout.strip()).parents[1])
