"""A sweep on the local engine: members, resume, failures, kills of one member."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from reportgen.errors import RunError, SettingsError
from reportgen.runfolder import Run
from reportgen.sweep.driver import sweep
from reportgen.sweep.spec import ModelSpec
from reportgen.sweep.stored import Sweep
from tests.models.hub_server import HubServer
from tests.sweep.conftest import STEPS, TOY, Ledger, scores_of, toy_spec
from tests.tiny import tiny_folder


def test_every_member_becomes_an_ordinary_run(training: Path, tmp_path: Path) -> None:
    ledger = Ledger()
    done = sweep(toy_spec(training, tmp_path), ledger)
    assert [m.slug for m in done.record.members] == [f"train@step-{step}" for step in STEPS]
    assert [m.step for m in done.record.members] == list(STEPS)
    assert [s for _, s in ledger.ended] == ["done"] * 3
    for member, run in Sweep.open(tmp_path / "three").runs():
        assert run.done() == ["toy"]
        assert run.manifest.model.slug == member.slug
        assert (run.path / "report" / "scores.csv").read_text().count("\n") == 1 + 3 * 4
    assert len(set(scores_of(tmp_path / "three").values())) == 3
    assert [t.done for t in ledger.tallies] == [1, 2, 3]
    assert ledger.tallies[-1].eta_s == 0.0


def test_the_second_sweep_loads_nothing(training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    sweep(toy_spec(training, tmp_path, log=str(log)), Ledger())
    monkeypatch.setattr("reportgen.runner._load", lambda options, **how: pytest.fail("a finished member was loaded"))
    ledger = Ledger()
    done = sweep(toy_spec(training, tmp_path, log=str(log)), ledger)
    assert ledger.plans[0].kept == 3
    assert ledger.ended == []
    assert all(m.kept for m in done.record.members)
    assert len(log.read_text().splitlines()) == 3


def test_hub_revisions_are_scored_at_their_commits_and_known_again_without_the_hub(
    training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        commits = hub.add("owner/net", {"step1": training / "step-1", "step4": training / "step-4"})
        spec = replace(toy_spec(training, tmp_path), models=(ModelSpec("owner/net", ("step1", "step4")),))
        done = sweep(spec, Ledger())
        assert [(m.slug, m.revision) for m in done.record.members] == [
            ("owner--net@step1", commits["step1"]), ("owner--net@step4", commits["step4"]),
        ]  # fmt: skip
        assert not done.failed()
        assert [run.manifest.model.revision for _, run in done.runs()] == list(commits.values())
        for down in (False, True):
            hub.down = down
            ledger = Ledger()
            sweep(spec, ledger)
            assert ledger.plans[0].kept == 2


def test_another_setting_or_a_changed_checkpoint_is_scored_again(training: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for seed in range(2):
        tiny_folder("gpt2", copy / f"step-{seed + 1}", seed=seed)
    sweep(toy_spec(copy, tmp_path), Ledger())
    ledger = Ledger()
    sweep(toy_spec(copy, tmp_path, scale="2"), ledger)
    assert ledger.plans[0].kept == 0
    tiny_folder("gpt2", copy / "step-2", seed=7)
    ledger = Ledger()
    done = sweep(toy_spec(copy, tmp_path, scale="2"), ledger)
    assert ledger.plans[0].kept == 1
    (failed,) = done.failed()  # another model under this name is refused, not mixed in
    assert failed.slug == "copy@step-2"
    assert "holds another model's run" in failed.error


def test_a_damaged_score_file_is_scored_again(training: Path, tmp_path: Path) -> None:
    sweep(toy_spec(training, tmp_path), Ledger())
    victim = tmp_path / "three" / "train@step-4" / "scores" / "toy.safetensors"
    victim.write_bytes(victim.read_bytes()[:-1] + b"\0")
    ledger = Ledger()
    sweep(toy_spec(training, tmp_path), ledger)
    assert ledger.ended == [("train@step-4", "done")]


def test_a_failed_member_is_named_and_stops_nothing(training: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    for seed, step in enumerate((1, 2)):
        tiny_folder("gpt2", folder / f"step-{step}", seed=seed)
    (folder / "step-1" / "model.safetensors").write_bytes(b"no weights")
    ledger = Ledger()
    done = sweep(toy_spec(folder, tmp_path), ledger)
    assert ledger.ended == [("broken@step-1", "failed"), ("broken@step-2", "done")]
    (failed,) = done.failed()
    assert failed.slug == "broken@step-1"
    assert failed.error
    assert ledger.tallies[-1].failed == 1


def test_a_suite_that_fails_makes_its_member_failed_with_the_reason(training: Path, tmp_path: Path) -> None:
    done = sweep(toy_spec(training, tmp_path, mood="broken"), Ledger())
    assert {m.error for m in done.failed()} == {"toy: ZeroDivisionError: the suite's own bug over two lines"}
    assert len(done.failed()) == 3


def test_a_suite_that_does_not_apply_is_not_asked_again(training: Path, tmp_path: Path) -> None:
    done = sweep(toy_spec(training, tmp_path, mood="unwilling"), Ledger())
    assert done.failed() == []
    ledger = Ledger()
    sweep(toy_spec(training, tmp_path, mood="unwilling"), ledger)
    assert ledger.plans[0].kept == 3


def test_two_sweeps_of_one_name_do_not_mix(training: Path, tmp_path: Path) -> None:
    (tmp_path / "three").mkdir()
    with FileLock(tmp_path / "three" / ".lock"), pytest.raises(RunError, match="Another sweep is writing"):
        sweep(toy_spec(training, tmp_path), Ledger())


def test_a_run_folder_is_no_sweep(training: Path, tmp_path: Path) -> None:
    sweep(toy_spec(training, tmp_path), Ledger())
    spec = replace(toy_spec(training, tmp_path / "three"), name="train@step-1")
    with pytest.raises(RunError, match="is a run folder, not a sweep"):
        sweep(spec, Ledger())


def test_mistakes_are_told_before_anything_is_written(training: Path, tmp_path: Path) -> None:
    spec = toy_spec(training, tmp_path, scales="2")
    with pytest.raises(SettingsError, match="scale"):
        sweep(spec, Ledger())
    assert list(tmp_path.iterdir()) == []


def test_a_kill_in_the_middle_keeps_what_is_done(training: Path, tmp_path: Path) -> None:
    """The process ends itself inside the second member; the next sweep scores the two that are left."""
    suite = tmp_path / "dying.py"
    source = Path(TOY).read_text()
    suite.write_text(
        source.replace("    rows = []", "    if 'step-4' in model.record.id:\n        os._exit(9)\n    rows = []")
    )
    code = f"""
        from pathlib import Path
        from dataclasses import replace
        from reportgen.sweep.driver import sweep
        from tests.models.hub_server import HubServer
from tests.sweep.conftest import Ledger, toy_spec
        spec = toy_spec(Path({str(training)!r}), Path({str(tmp_path)!r}))
        sweep(replace(spec, options=replace(spec.options, suites=({str(suite)!r},))), Ledger())
    """
    lines = "\n".join(line.strip() for line in code.splitlines())
    assert subprocess.run([sys.executable, "-c", lines], check=False).returncode == 9
    assert Run.open(tmp_path / "three" / "train@step-1").done() == ["toy"]
    suite.write_text(source)
    spec = toy_spec(training, tmp_path)
    ledger = Ledger()
    sweep(replace(spec, options=replace(spec.options, suites=(str(suite),))), ledger)
    assert ledger.plans[0].kept == 1
    assert [slug for slug, _ in ledger.ended] == ["train@step-4", "train@step-16"]
