"""`reportgen sweep` as typed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from reportgen.cli import main
from tests.sweep.conftest import TOY
from tests.tiny import tiny_folder


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`reportgen sweep ...` in this process, typed in an empty folder."""

    def run(*words: str) -> Done:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["reportgen", "sweep", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return run


def test_json_events_failures_at_the_end_and_exit_codes(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    tiny_folder("gpt2", folder / "step-1")
    (folder / "step-2").mkdir()
    (folder / "step-2" / "config.json").write_text("{}")
    done = command(str(folder), "--suite", TOY, "--threads", "1", "--json")
    assert done.returncode == 1, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [e["event"] for e in events]
    assert kinds[0] == "stage"
    assert kinds[-1] == "done"
    ended = [e for e in events if e["event"] == "member_end"]
    assert [(e["member"], e["status"], e["n_done"], e["n_failed"]) for e in ended] == [
        ("run@step-1", "done", 1, 0), ("run@step-2", "failed", 1, 1),
    ]  # fmt: skip
    assert [f["member"] for f in events[-1]["failed"]] == ["run@step-2"]
    assert Path(events[-1]["report"]).is_file()
    again = command(str(folder), "--suite", TOY, "--threads", "1")
    assert again.returncode == 1
    assert "1 of 2 members failed:" in again.stderr
    assert "1 finished already, 1 to score" in again.stderr


def test_mistakes_are_one_line_and_exit_2(command: Command, training: Path) -> None:
    for words, said in (
        ((str(training), "--revisions", "step-5"), "has no checkpoint 'step-5'"),
        ((str(training), "--engine", "slurm"), "No engine 'slurm'"),
        (("none.toml",), "Can't read none.toml"),
        ((str(training), "--ray-address", "127.0.0.1:1"), "No Ray cluster at 127.0.0.1:1"),
    ):
        done = command(*words)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.splitlines()[-1].startswith("reportgen: ")
        assert "Traceback" not in done.stderr
