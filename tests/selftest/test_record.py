"""The self-test's result is kept per installation, holds for its own sources and versions, and stands in runs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

from reportgen import runner
from reportgen.cli import app
from reportgen.config import Options
from reportgen.errors import RunError
from reportgen.manifest import SelfTest
from reportgen.runfolder import Run, owned
from reportgen.selftest import checks, record
from reportgen.selftest.models import Bench
from reportgen.selftest.record import exactly
from tests.tiny import tiny_folder

TOY = str(Path(__file__).parents[1] / "data" / "toy_suite.py")
ASKED: list[str] = []


def _one(name: str, measured: int) -> checks.Check:
    def check(bench: Bench) -> checks.Found:
        ASKED.append(name)
        torch.manual_seed(5)
        return exactly(1, measured)

    return check


@pytest.fixture(autouse=True)
def _two_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that passes and one that fails, in place of the 33."""
    ASKED.clear()
    monkeypatch.setattr(checks, "CHECKS", {"right": _one("right", 1), "wrong": _one("wrong", 2)})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder("gpt2", tmp_path_factory.mktemp("tiny") / "tiny-gpt2"))


def score(model: str, out: Path, *, selftest: bool = True) -> Run:
    runner.run(Options(model=model, suites=(TOY,), out=str(out), threads=1, selftest=selftest))
    return Run.open(out / "tiny-gpt2")


def test_it_is_run_once_and_every_run_says_it(model: str, tmp_path: Path) -> None:
    tested = [score(model, tmp_path / name).manifest.self_test for name in ("first", "second")]
    assert ASKED == ["right", "wrong"]
    assert tested[0] is not None
    assert tested[0] == tested[1]
    assert (tested[0].total, tested[0].failed) == (2, ["wrong"])
    assert tested[0].versions["torch"]
    assert len(tested[0].sources) == 64


def test_without_it_a_run_says_what_is_known(model: str, tmp_path: Path) -> None:
    assert score(model, tmp_path / "first", selftest=False).manifest.self_test is None
    assert ASKED == []
    assert app(["selftest"], standalone_mode=False) == 1
    found = score(model, tmp_path / "second", selftest=False).manifest.self_test
    assert found is not None
    assert found.failed == ["wrong"]


def test_a_folder_that_is_taken_is_refused_before_it(model: str, tmp_path: Path) -> None:
    with owned(tmp_path / "tiny-gpt2"), pytest.raises(RunError, match="Another reportgen is writing"):
        score(model, tmp_path)
    assert ASKED == []


def test_it_leaves_threads_and_seeds_alone() -> None:
    torch.manual_seed(3)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    told: list[str] = []
    record.ensured(told.append)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert told[0] == "Self-test of this installation, once"
    assert told[1].startswith("  1 of 2 checks passed (20")
    assert told[1].endswith("; FAILED: wrong")


@pytest.mark.parametrize("change", ["sources", "torch", "damaged", "total", "bytes"])
def test_a_result_of_something_else_is_none(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = record.keep({"right": True})
    assert record.known() == kept
    file = record.cache_file()
    if change == "sources":
        monkeypatch.setattr(record, "sources", lambda: "0" * 64)
    elif change == "torch":
        monkeypatch.setattr(record, "version", lambda name: "99" if name == "torch" else kept.versions[name])
    elif change == "damaged":
        file.write_text('{"total": "many"}')
    elif change == "total":
        file.write_bytes(msgspec.json.encode(msgspec.structs.replace(kept, total=0)))
    else:
        file.write_bytes(b"\xff\x00")
    assert record.known() is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = record.ensured(lambda words: None)
    assert (found.total, found.failed) == (2, ["wrong"])
    assert record.known() is None


def test_a_check_that_breaks_has_failed_and_the_others_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(bench: Bench) -> checks.Found:
        raise ZeroDivisionError("a bug\nin two lines")

    monkeypatch.setattr(checks, "CHECKS", {"broken": broken, "right": _one("right", 1)})
    found = dict(checks.run_checks())
    assert found["broken"].measured == "ZeroDivisionError: a bug in two lines"
    assert [found[name].holds for name in ("broken", "right")] == [False, True]


def test_no_room_for_it_is_not_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(bench: Bench) -> checks.Found:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checks, "CHECKS", {"full": full})
    found = record.ensured(lambda words: None)
    assert (found.total, found.failed) == (0, [])
    assert record.in_words(found) == "not run: [Errno 28] No space left on device"
    assert record.known() is None


def test_words() -> None:
    kept = SelfTest("2026-01-02T03:04:05+00:00", "ab" * 32, {"reportgen": "0.1.0", "torch": "2.6.0"}, 33, [])
    assert record.in_words(kept) == "33 of 33 checks passed (2026-01-02, reportgen 0.1.0, torch 2.6.0)"
    assert record.in_words(None) == "not run"
