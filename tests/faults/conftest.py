"""A tiny random checkpoint and a run of it that nothing disturbed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.started import Started, start
from tests.tiny import tiny_folder

TOY = str(Path(__file__).parents[1] / "data" / "toy_suite.py")
WAITING = str(Path(__file__).parent / "waiting_suite.py")


@dataclass(frozen=True)
class Bench:
    """One checkpoint under `folder`; `run` scores it into `out`."""

    model: Path

    def run(self, out: Path, *words: str, suites: tuple[str, ...] = (TOY, WAITING), file_limit: int = 0) -> Started:
        chosen = [word for suite in suites for word in ("--suite", suite)]
        said = out.parent / f"{out.name}-said-{len(list(out.parent.iterdir()))}"
        plain = ("--threads", "1", "--no-selftest", "--json")
        words = ("run", str(self.model), *chosen, "--out", str(out), *plain, *words)
        return start(*words, out=said, file_limit=file_limit)


@dataclass(frozen=True)
class Undisturbed:
    """A run to the end: its folder and the CPU time it took."""

    folder: Path
    cpu_s: float

    @property
    def csv(self) -> bytes:
        return (self.folder / "report" / "scores.csv").read_bytes()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux":  # clocks of other processes, RLIMIT_FSIZE
        for item in items:
            if "tests/faults" in item.nodeid:
                item.add_marker(pytest.mark.skip(reason="needs Linux"))


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tiny_folder("gpt2", tmp_path_factory.mktemp("faults") / "tiny-gpt2", n_layer=2))


def undisturbed(bench: Bench, out: Path, suites: tuple[str, ...]) -> Undisturbed:
    started = bench.run(out, suites=suites)
    assert started.end() == 0, started.text
    assert not started.complaints
    return Undisturbed(out / "tiny-gpt2", started.cpu_s)


@pytest.fixture(scope="session")
def whole(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """attention, toy and waiting, with all their figures."""
    return undisturbed(bench, tmp_path_factory.mktemp("whole") / "runs", ("attention", TOY, WAITING))


@pytest.fixture(scope="session")
def short(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """toy and waiting: static scores, no figures."""
    return undisturbed(bench, tmp_path_factory.mktemp("short") / "runs", (TOY, WAITING))
