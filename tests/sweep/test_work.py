"""What a worker writes, and what the driver makes of it. Runs without Ray."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from reportgen.errors import RunError, SettingsError
from reportgen.runfolder import Run
from reportgen.sweep import on_ray
from reportgen.sweep.driver import MemberOutcome, MemberTask, absorb_outcome, score_member
from reportgen.sweep.on_ray import MachineAnswer, MachineQuestion, asker, complaint
from tests.sweep.conftest import toy_spec


def task(training: Path, out: Path, **settings: object) -> bytes:
    options = toy_spec(training, out, **settings).options
    options = replace(options, model=str(training / "step-4"), name="four")
    return msgspec.json.encode(MemberTask("four", options, str(Path.cwd())))


def outcome(raw: bytes) -> MemberOutcome:
    return msgspec.json.decode(raw, type=MemberOutcome)


def test_a_worker_writes_scores_and_nothing_else(training: Path, tmp_path: Path) -> None:
    found = outcome(score_member(task(training, tmp_path)))
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert files == ["four/scores/toy.json", "four/scores/toy.record.json", "four/scores/toy.safetensors"]
    assert found.manifest is not None
    absorb_outcome(tmp_path / "four", [found.manifest], ["/bin/reportgen", "sweep"])
    run = Run.open(tmp_path / "four")
    assert run.result("toy").scores
    assert run.manifest.argv == ["reportgen", "sweep"]
    assert not list(tmp_path.rglob("*.record.json"))


def test_a_task_started_again_computes_only_what_is_left(training: Path, tmp_path: Path) -> None:
    """The first worker is lost before its outcome reaches the driver."""
    log = tmp_path / "log"
    first = outcome(score_member(task(training, tmp_path, log=str(log))))
    second = outcome(score_member(task(training, tmp_path, log=str(log))))
    assert len(log.read_text().splitlines()) == 1
    assert first.manifest is not None
    assert second.manifest is not None
    assert second.manifest.suites["toy"].sha256 == first.manifest.suites["toy"].sha256


def test_records_of_other_weights_or_damaged_ones_count_for_nothing(training: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    score_member(task(training, tmp_path, log=str(log)))
    record = tmp_path / "four" / "scores" / "toy.record.json"
    kept = record.read_text()
    for text in (kept.replace('"model":"', '"model":"0'), "{", '{"model": 1}'):
        record.write_text(text)
        score_member(task(training, tmp_path, log=str(log)))
    assert len(log.read_text().splitlines()) == 4


def test_what_the_user_can_mend_comes_back_as_words(training: Path, tmp_path: Path) -> None:
    options = replace(toy_spec(training, tmp_path).options, model=str(tmp_path / "gone"), name="gone")
    found = outcome(score_member(msgspec.json.encode(MemberTask("gone", options, "/no/such/folder"))))
    assert found.manifest is None
    assert "There is no folder" in found.error


def asked(home: Path) -> MachineQuestion:
    return MachineQuestion.make(home, [str(home)])


def test_a_machine_that_can_work_has_nothing_to_complain_of(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    question = asked(tmp_path)
    found = MachineAnswer("node", **asker()(question.question()))
    assert complaint(question, found) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"versions": {}}, "reportgen is not installed on node"),
        (
            {"versions": {"reportgen": "9.9"}},
            r"node has reportgen 9\.9, this machine .*Run there: pip install reportgen==",
        ),
        ({"secret": ""}, "does not see the folder .* shared file system"),
        ({"can_write": False}, "can't write into"),
        ({"unseen": ["/ck/step-1"]}, "does not see the checkpoint /ck/step-1"),
    ],
)
def test_what_is_wrong_with_a_machine(tmp_path: Path, change: dict[str, object], words: str) -> None:
    (tmp_path / "config.json").touch()
    question = asked(tmp_path)
    found = replace(MachineAnswer("node", **asker()(question.question())), **change)  # type: ignore[arg-type]
    problem = complaint(question, found)
    assert isinstance(problem, RunError)
    with pytest.raises(RunError, match=words):
        raise problem


def test_builds_of_one_release_are_the_same_version_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    question = asked(tmp_path)
    found = MachineAnswer("node", **asker()(question.question()))
    here = question.versions["torch"].partition("+")[0]
    assert complaint(question, replace(found, versions={**found.versions, "torch": f"{here}+cu130"})) is None
    other = complaint(question, replace(found, versions={**found.versions, "torch": "1.0"}))
    assert "node has torch 1.0, this machine" in str(other)
    assert f"pip install torch=={here}" in str(other)


def test_without_ray_the_line_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"Ray is not installed\. Type: pip install 'reportgen\[ray\]'"):
        on_ray._import_ray()
