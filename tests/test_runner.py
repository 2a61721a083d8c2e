"""A run from model to folder: resume, failures, settings, kills."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from reportgen import runner
from reportgen.config import Options
from reportgen.errors import RunError, SettingsError
from reportgen.manifest import SuiteRecord
from reportgen.report import about
from reportgen.runfolder import Run
from reportgen.suites.base import Suite
from tests.tiny import tiny_folder

TOY = str(Path(__file__).parent / "data" / "toy_suite.py")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder("gpt2", tmp_path_factory.mktemp("tiny") / "tiny-gpt2"))


def options(model: str, out: Path, **changes: object) -> Options:
    changes = {"selftest": False, **changes}
    return Options(model=model, suites=(TOY,), out=str(out), threads=1, **changes)  # type: ignore[arg-type]


def test_what_a_suite_reads_does_not_depend_on_which_was_scored_last() -> None:
    run = Run.open(Path(__file__).parents[1] / "site" / "runs" / "mini")
    turned = msgspec.structs.replace(run.manifest, suites=dict(reversed(run.manifest.suites.items())))
    assert list(turned.suites) != list(run.manifest.suites)
    found = [list(runner._whole(one, but="text")) for one in (run, Run(run.path, turned))]
    assert found[0] == found[1]
    assert found[0][:2] == ["attention", "circuits"]


class Ledger(runner.Silent):
    """Remembers how each suite ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str, bool]] = []

    def suite_ended(self, suite: Suite, record: SuiteRecord, kept: bool) -> None:
        self.ended.append((suite.name, record.status, kept))


def test_scores_reach_the_folder(model: str, tmp_path: Path) -> None:
    run = runner.run(options(model, tmp_path))
    again = Run.open(tmp_path / "tiny-gpt2")
    assert again.done() == ["toy"]
    np.testing.assert_array_equal(again.result("toy")["norm/all"].values, run.result("toy")["norm/all"].values)
    record = again.manifest.suites["toy"]
    assert record.settings == {"scale": 1.0, "mood": "fine", "log": ""}
    assert record.given == {}
    assert record.peak_memory_bytes > 0
    assert again.manifest.versions["torch"]
    assert again.model.self_check is not None
    assert again.model.self_check.passed


def test_second_run_keeps_what_is_done(model: str, tmp_path: Path) -> None:
    ledger = Ledger()
    given = {"toy": {"log": str(tmp_path / "log")}}
    runner.run(options(model, tmp_path, settings=given), ledger)
    runner.run(options(model, tmp_path, settings=given), ledger)
    assert ledger.ended == [("toy", "done", False), ("toy", "done", True)]
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_a_kept_suite_stays_recorded_as_it_was_scored(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another suite is added later, on other threads, with another seed, another torch and another device name."""
    runner.run(options(model, tmp_path))
    monkeypatch.setattr(runner, "_versions", lambda: {"torch": "99"})
    monkeypatch.setattr("reportgen.models.memory.device_name", lambda device: "another")
    given = {"attention": {"lags": "4,8,11", "sequences": "24", "copy_tokens": "20", "text_windows": "0"}}
    later = replace(
        options(model, tmp_path), suites=("attention",), threads=2, seed=5, dtype="bfloat16", settings=given
    )
    run = Run.open(runner.run(later).path)
    first, second = run.manifest.suites["toy"], run.manifest.suites["attention"]
    assert (first.device, first.dtype, first.threads, first.seed) == ("cpu", "float32", 1, 0)
    assert (second.device, second.dtype, second.threads, second.seed) == ("cpu", "bfloat16", 2, 5)
    assert second.device_name == "another" != first.device_name
    assert second.versions == {"torch": "99"} != first.versions
    assert first.versions["torch"]
    told = dict(about.facts(run.manifest))
    assert told["Weights"] == "raw, float32: toy; bfloat16: attention"
    assert "seed 0: toy" in told["Scored"]
    assert "another): attention" in told["Device"]
    said = {name: dict(pairs) for name, pairs in about.provenance(run.manifest)}
    assert said["Run"]["Threads"] == "1: toy; 2: attention"
    assert said["Software"]["torch"].endswith("99: attention")


def test_a_run_of_an_older_version_is_read_and_its_suites_keep_its_device(model: str, tmp_path: Path) -> None:
    """Version 0.1 knew device, threads and versions of the whole run only."""
    path = runner.run(options(model, tmp_path)).path
    old = json.loads((path / "run.json").read_text())
    for name in ("device", "device_name", "dtype", "threads", "seed", "preset", "versions", "device_memory_bytes"):
        del old["suites"]["toy"][name]
    old |= {"device": "cuda:0", "device_name": "an older GPU", "threads": 7}
    (path / "run.json").write_text(json.dumps(old))
    run = Run.open(path)
    assert run.manifest.suites["toy"].device == ""
    assert dict(about.facts(run.manifest))["Device"] == "cuda:0 (an older GPU)"
    kept = runner.run(options(model, tmp_path)).manifest
    assert (kept.device, kept.suites["toy"].device, kept.suites["toy"].threads) == ("cpu", "cuda:0", 7)


@pytest.mark.parametrize("change", [{"seed": 1}, {"settings": {"toy": {"scale": "2"}}}])
def test_another_seed_or_setting_runs_again(model: str, tmp_path: Path, change: dict[str, object]) -> None:
    ledger = Ledger()
    runner.run(options(model, tmp_path), ledger)
    runner.run(options(model, tmp_path, **change), ledger)
    assert [kept for _, _, kept in ledger.ended] == [False, False]


def test_a_broken_suite_leaves_its_reason_on_one_line(model: str, tmp_path: Path) -> None:
    run = runner.run(options(model, tmp_path, settings={"toy": {"mood": "broken"}}))
    record = run.manifest.suites["toy"]
    assert record.status == "failed"
    assert record.error == "ZeroDivisionError: the suite's own bug over two lines"


def test_an_unwilling_suite_is_skipped(model: str, tmp_path: Path) -> None:
    record = runner.run(options(model, tmp_path, settings={"toy": {"mood": "unwilling"}})).manifest.suites["toy"]
    assert (record.status, record.error) == ("skipped", "this model has no such thing")


def test_unknown_names_are_told_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="relations"):
        runner.run(Options(model="no-such", suites=("relation",), out=str(tmp_path)))
    with pytest.raises(SettingsError, match="scale"):
        runner.run(options("no-such", tmp_path, settings={"toy": {"scales": "2"}}))
    with pytest.raises(SettingsError, match="expected float"):
        runner.run(options("no-such", tmp_path, settings={"toy": {"scale": "two"}}))
    with pytest.raises(SettingsError, match="--suite attention"):
        runner.run(options("no-such", tmp_path, settings={"attention": {"seed": "2"}}))
    assert not list(tmp_path.iterdir())


def test_another_model_under_the_same_name_is_refused(model: str, tmp_path: Path) -> None:
    runner.run(options(model, tmp_path))
    other = tiny_folder("gpt2", tmp_path / "other" / "tiny-gpt2", seed=1)
    with pytest.raises(RunError, match="--name tiny-gpt2-"):
        runner.run(options(str(other), tmp_path))


def test_killed_in_the_middle_of_a_suite_the_next_run_goes_on(model: str, tmp_path: Path) -> None:
    """SIGKILL while the second suite runs: the first is kept, nothing is half-written, the next run completes."""
    script = tmp_path / "slow_suite.py"
    source = Path(TOY).read_text().replace('name="toy"', 'name="slow"').replace('"toy', '"slow')
    script.write_text(source.replace("    rows = []", "    import time; time.sleep(SLEEP)\n    rows = []"))
    log = tmp_path / "log"

    def command(sleep: str) -> list[str]:
        script.write_text(script.read_text().replace("SLEEP", sleep))
        code = f"""
            from reportgen import runner
            from reportgen.config import Options
            runner.run(Options(model={model!r}, suites=({TOY!r}, {str(script)!r}), out={str(tmp_path)!r}, threads=1,
                               selftest=False, settings={{"toy": {{"log": {str(log)!r}}}}}))
        """
        return [sys.executable, "-c", textwrap.dedent(code)]

    folder = tmp_path / "tiny-gpt2"
    process = subprocess.Popen(command("600"))
    deadline = time.monotonic() + 120
    while not (folder / "scores" / "toy.json").exists() or "toy" not in Run.open(folder).done():
        assert process.poll() is None, "the run ended before its second suite"
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Run.open(folder).done() == ["toy"]

    script.write_text(script.read_text().replace("600", "0"))
    subprocess.run(command("0"), check=True)
    assert Run.open(folder).done() == ["toy", "slow"]
    assert len(log.read_text().splitlines()) == 1, "the finished suite was computed again"
    assert not list(folder.glob("**/*.part"))
