"""The run folder: atomic, resumable, one writer, refusals in one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest

from reportgen.errors import DataError, RunError, SettingsError
from reportgen.manifest import SCHEMA_VERSION, SuiteRecord
from reportgen.runfolder import Run, RunWriter, check_slug, keep_marks, own_name, resume_key, slug_of
from tests.fixtures import manifest, model_record, suite_result, write_run


def test_a_stored_suite_is_read_back(tmp_path: Path) -> None:
    write_run(tmp_path / "r", "relations", "attention")
    run = Run.open(tmp_path / "r")
    assert run.done() == ["relations", "attention"]
    assert run.results["relations"].scores[0].key == "relations/score/capital"
    assert run.manifest.suites["relations"].n == 1


def test_no_temporary_file_stays(tmp_path: Path) -> None:
    write_run(tmp_path / "r", "relations")
    assert not list(tmp_path.glob("**/*.part"))


def test_slugs() -> None:
    assert slug_of("EleutherAI/pythia-70m", "step1000") == "EleutherAI--pythia-70m@step1000"
    assert slug_of("../../etc") == "etc" or "/" not in slug_of("../../etc")
    assert check_slug("mini") == "mini"
    for bad in ("../x", "a/b", "", ".hidden", "x" * 300, "a\nb"):
        with pytest.raises(RunError):
            check_slug(bad)


def test_resume_key_depends_on_each_part_and_not_on_order() -> None:
    base = resume_key(a=1, b=[2])
    assert base == resume_key(b=[2], a=1)
    assert base != resume_key(a=1, b=[3])


def test_finished_only_under_its_key_and_with_whole_files(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", "relations")
    assert run.is_finished("relations", "krelations")
    assert not run.is_finished("relations", "other")
    file = run.path / "scores" / "relations.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert not Run.open(run.path).is_finished("relations", "krelations")
    with pytest.raises(RunError, match="differs from the digest"):
        Run.open(run.path).result("relations")


def test_another_models_run_is_refused_with_the_name_to_type(tmp_path: Path) -> None:
    write_run(tmp_path / "r", "relations")
    other = manifest(model_record(content_hash="cd" * 32))
    with pytest.raises(RunError, match="--name made-up"), RunWriter(tmp_path / "r", other):
        pass
    assert Run.open(tmp_path / "r").done() == ["relations"]


def test_two_writers_the_second_says_so(tmp_path: Path) -> None:
    with (
        RunWriter(tmp_path / "r", manifest()),
        pytest.raises(RunError, match="Another reportgen is writing"),
        RunWriter(tmp_path / "r", manifest()),
    ):
        pass


def test_finished_suites_survive_a_second_writer(tmp_path: Path) -> None:
    write_run(tmp_path / "r", "relations")
    with RunWriter(tmp_path / "r", manifest()) as writer:
        writer.store("attention", suite_result("attention"), SuiteRecord("done", 1, {}, {}))
    assert Run.open(tmp_path / "r").done() == ["relations", "attention"]


def test_a_run_keeps_what_it_marks_until_told_otherwise(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", "relations")
    mine, other = tmp_path / "mine.toml", tmp_path / "other.toml"
    for path in (mine, other):
        path.write_text(f'[[entry]]\nclass = "{path.stem}"\nheads = ["L1H1"]\n')
    before = (run.path / "run.json").read_bytes()
    assert keep_marks(run).manifest == run.manifest
    assert (run.path / "run.json").read_bytes() == before
    assert keep_marks(run, [mine], no_overlay=True).manifest.no_overlay
    with RunWriter(run.path, manifest()) as writer:  # another `reportgen run` without --overlay
        writer.store("attention", suite_result("attention"), SuiteRecord("done", 1, {}, {}))
    again = Run.open(run.path)
    assert (again.manifest.overlays, again.manifest.no_overlay) == (["mine.toml"], False)
    assert again.overlay_files()[0].read_text() == mine.read_text()
    kept = keep_marks(again, [other])
    assert (kept.manifest.overlays, kept.manifest) == (["other.toml"], Run.open(run.path).manifest)
    assert [path.name for path in (run.path / "overlays").iterdir()] == ["other.toml"]


def test_a_bad_overlay_or_key_changes_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", "relations")
    bad = tmp_path / "bad.toml"
    bad.write_text('[[entry]]\nclass = "x"\nheads = ["L99H0"]\n')
    before = (run.path / "run.json").read_bytes()
    with pytest.raises(DataError, match="outside the grid"):
        keep_marks(run, [bad])
    with pytest.raises(SettingsError, match="no-such"):
        keep_marks(run, published="no-such")
    assert (run.path / "run.json").read_bytes() == before
    assert not (run.path / "overlays").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is damaged"),
        (b"[]", "is damaged"),
        (b"{}", "is damaged"),
        (b'{"schema_version": "x"}', "is damaged"),
        (json.dumps({"schema_version": SCHEMA_VERSION + 1}).encode(), "Upgrade"),
        (b"\xff\xfe", "is damaged"),
    ],
)
def test_bad_manifests_are_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=words) as caught:
        Run.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_manifest_cannot_name_files_outside_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", "relations")
    raw = msgspec.json.decode((run.path / "run.json").read_bytes())
    raw["suites"]["relations"]["sha256"] = {"../../secret": "00"}
    (run.path / "run.json").write_bytes(msgspec.json.encode(raw))
    with pytest.raises(RunError, match="not a plain name"):
        Run.open(run.path)


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        Run.open(tmp_path)


def test_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="Can't write"), RunWriter(tmp_path / "file" / "r", manifest()):
        pass


def test_full_disk_is_one_line_and_keeps_what_is_done(tmp_path: Path) -> None:
    script = """
        import resource, signal, sys
        from pathlib import Path
        from reportgen.errors import RunError
        from reportgen.manifest import SuiteRecord
        from reportgen.runfolder import RunWriter
        from tests.fixtures import manifest, suite_result, write_run
        folder = Path(sys.argv[1])
        write_run(folder, "relations")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            with RunWriter(folder, manifest()) as writer:
                writer.store("attention", suite_result("attention"), SuiteRecord("done", 1, {}, {}))
        except RunError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "r")], capture_output=True, text=True, check=True
    )
    assert "No room left" in done.stdout
    assert Run.open(tmp_path / "r").result("relations").scores


def test_killed_writer_leaves_a_whole_run_and_no_lock(tmp_path: Path) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from reportgen import runfolder as run
        from reportgen.manifest import SuiteRecord
        from tests.fixtures import manifest, suite_result, write_run
        folder = Path(sys.argv[1])
        write_run(folder, "relations")
        def half_then_die(path, content):
            part = path.parent / f".{path.name}.xyz.part"
            part.write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        with run.RunWriter(folder, manifest()) as writer:
            run.write_atomic = half_then_die
            writer.store("attention", suite_result("attention"), SuiteRecord("done", 1, {}, {}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "r")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert Run.open(tmp_path / "r").done() == ["relations"]
    with RunWriter(tmp_path / "r", manifest()) as writer:
        assert not list(writer.path.glob("**/*.part"))
        assert writer.run.done() == ["relations"]


def test_files_are_readable_by_others(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", "relations")
    assert (run.path / "run.json").stat().st_mode & 0o044 == 0o044


@pytest.mark.parametrize(
    ("slug", "own"), [("made-up", ""), ("made-up@step10", ""), ("Printed-Name", ""), ("second-try", "second-try")]
)
def test_a_name_of_its_own_is_one_that_does_not_follow_from_the_model(slug: str, own: str) -> None:
    record = model_record(slug=slug, revision="step10" if "@" in slug else "", title="Printed Name")
    assert own_name(record) == own
