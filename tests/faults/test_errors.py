"""A full disk, damaged files, a suite's own bug, signals, two processes: one line, the right code, nothing lost."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from reportgen.runfolder import Run
from tests.faults.conftest import TOY, Bench, Undisturbed
from tests.faults.started import start


def completes(bench: Bench, out: Path, whole: Undisturbed, kept: list[str]) -> None:
    """The next run keeps `kept` and ends as the undisturbed one did."""
    again = bench.run(out)
    assert again.end() == 0, again.text
    assert again.ended(kept=True) == kept
    assert (out / "tiny-gpt2" / "report" / "scores.csv").read_bytes() == whole.csv


@pytest.mark.parametrize(("too_long", "kept"), [("run.json", []), ("report/index.html", ["toy", "waiting"])])
def test_a_full_disk(bench: Bench, short: Undisturbed, tmp_path: Path, too_long: str, kept: list[str]) -> None:
    size = (short.folder / too_long).stat().st_size
    out = tmp_path / "runs"
    full = bench.run(out, file_limit=size // 2)
    assert full.end() == 2, full.text
    (line,) = full.complaints
    assert line.startswith("reportgen: No room left to write ")
    assert line.endswith("--out DIR.")
    folder = out / "tiny-gpt2"
    assert not list(folder.glob("**/*.part"))
    if kept:
        assert Run.open(folder).done() == kept
    completes(bench, out, short, kept)


def test_a_full_disk_keeps_the_suites_before(bench: Bench, short: Undisturbed, tmp_path: Path) -> None:
    """run.json grows with every suite: it fits with one and not with two."""
    out = tmp_path / "runs"
    first = bench.run(out, suites=(TOY,))
    assert first.end() == 0, first.text
    folder = out / "tiny-gpt2"
    full = bench.run(out, file_limit=(folder / "run.json").stat().st_size + 100)
    assert full.end() == 2, full.text
    assert [line.split(" write ")[0] for line in full.complaints] == ["reportgen: No room left to"]
    assert Run.open(folder).done() == ["toy"]
    assert len(Run.open(folder).result("toy").scores) == 1
    completes(bench, out, short, ["toy"])


def test_files_that_cannot_be_read(bench: Bench, short: Undisturbed, tmp_path: Path) -> None:
    """A folder where a score file was is told in one line; cut short ones are scored again, all of them."""
    out = tmp_path / "runs"
    assert bench.run(out).end() == 0
    scores = out / "tiny-gpt2" / "scores"
    for name in ("toy", "waiting"):
        (scores / f"{name}.safetensors").write_bytes(b"")
    completes(bench, out, short, [])

    (scores / "waiting.json").unlink()
    (scores / "waiting.json").mkdir()
    blocked = bench.run(out)
    assert blocked.end() == 2, blocked.text
    (line,) = blocked.complaints
    assert "waiting.json: Is a directory" in line
    assert len(Run.open(out / "tiny-gpt2").result("toy").scores) == 1
    (scores / "waiting.json").rmdir()
    completes(bench, out, short, ["toy"])


def test_an_exception_in_a_suite_costs_its_section_alone(bench: Bench, short: Undisturbed, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    failed = bench.run(out, "--set", "toy.mood=broken")
    assert failed.end() == 1, failed.text
    assert not failed.complaints
    folder = out / "tiny-gpt2"
    assert Run.open(folder).done() == ["waiting"]
    assert "ZeroDivisionError: the suite&#39;s own bug over two lines" in (folder / "report/index.html").read_text()
    again = bench.run(out)
    assert again.end() == 0, again.text
    assert again.ended(kept=True) == ["waiting"]
    assert sorted((folder / "report/scores.csv").read_bytes()) == sorted(short.csv)  # suites in another order


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_finished(
    bench: Bench, short: Undisturbed, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "runs"
    waiting = bench.run(out, "--set", f"waiting.gate={tmp_path / 'never'}")
    assert waiting.wait_until(said='"words": "waiting"'), waiting.text
    waiting.send(number)
    assert waiting.end() == code, waiting.text
    assert [line.partition(".")[0] for line in waiting.complaints] == ["reportgen: Stopped"]
    assert Run.open(out / "tiny-gpt2").done() == ["toy"]
    completes(bench, out, short, ["toy"])


def test_two_processes_on_one_folder(bench: Bench, short: Undisturbed, tmp_path: Path) -> None:
    out, gate = tmp_path / "runs", tmp_path / "gate"
    first = bench.run(out, "--set", f"waiting.gate={gate}")
    assert first.wait_until(said='"words": "waiting"'), first.text
    second, third = bench.run(out), start("render", str(out / "tiny-gpt2"), out=tmp_path / "third")
    folder = out / "tiny-gpt2"
    line = f"reportgen: Another reportgen is writing {folder}. Wait for it, or give this run another --name."
    for other in (second, third):
        assert other.end() == 2, other.text
        assert other.complaints == [line]
    gate.touch()
    assert first.end() == 0, first.text
    assert first.ended() == ["toy", "waiting"]
    assert (out / "tiny-gpt2" / "report" / "scores.csv").read_bytes() == short.csv
