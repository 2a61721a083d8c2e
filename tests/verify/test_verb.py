"""`reportgen verify` as it is typed: what it prints, the exit code, and --json, for every way a run can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from reportgen import cli, runner
from reportgen.runfolder import Run, RunWriter
from tests.verify.spoiled import SUITE, edited, one_higher, rewritten, with_record

MINI = Path(runner.__file__).parent / "mini" / "checkpoint"
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    """Type `reportgen verify ...`: (exit code, stdout, stderr). No weights are remembered or lie beside the folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def verify(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["reportgen", "verify", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return verify


def of_folder(run: Run, into: Path, **changes: object) -> Path:
    """The run as that of a model in a folder which is not where it was."""
    model = msgspec.structs.replace(run.model, source="folder", id="somewhere", **changes)
    argv = ["reportgen", "run", "elsewhere"]
    manifest = msgspec.structs.replace(run.manifest, model=model, argv=argv, suites={})
    with RunWriter(into, manifest) as writer:
        writer.store(SUITE, run.result(SUITE), run.manifest.suites[SUITE])
    return into


def judged(out: str) -> tuple[str, str, str]:
    """The verdict, and that of the suite with its reason."""
    said = json.loads(out)
    (suite,) = said["suites"]
    return said["verdict"], suite["verdict"], suite["why"]


def test_reproduced_is_exit_0(run: Run, typed: Typed) -> None:
    code, out, _ = typed(run.path)
    assert code == 0
    assert out.startswith(f"{run.path}: reproduced; weights: the bundled model\n{SUITE}: reproduced: ")


def test_an_edited_score_is_exit_1_and_named(run: Run, typed: Typed) -> None:
    forged = edited(run, one_higher)
    code, out, _ = typed(forged.path, "--json")
    assert (code, judged(out)[:2]) == (1, ("differs", "differs"))
    (over,) = json.loads(out)["suites"][0]["over"]
    assert (over["head"], over["what"]) == ("L2H3", "value")
    assert over["before"] - over["after"] == pytest.approx(0.001, abs=1e-6)
    assert typed(forged.path)[0] == 1
    assert typed(forged.path, "--tolerance", 0.1)[0] == 0


def test_scores_edited_behind_the_digests_are_refused(run: Run, typed: Typed, no_scoring: None) -> None:
    file = run.path / "scores" / f"{SUITE}.safetensors"
    stored = bytearray(file.read_bytes())
    stored[-1] ^= 1
    file.write_bytes(bytes(stored))
    code, out, err = typed(run.path, "--json")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert file.name in err


def test_weights_that_are_gone_are_exit_2_until_they_are_back(run: Run, typed: Typed, tmp_path: Path) -> None:
    path = of_folder(run, tmp_path / "gone")
    code, out, _ = typed(path, "--json")
    wanted = f"no weights with the hash {run.model.content_hash[:12]} were found on this machine"
    assert (code, *judged(out)) == (2, "not verifiable", "not verifiable", wanted)
    assert f"{SUITE}: not verifiable: {wanted}" in typed(path)[1]
    shutil.copytree(MINI, tmp_path / "somewhere")
    code, out, _ = typed(path, "--json")
    assert (code, json.loads(out)["found"]) == (0, "somewhere, by its hash")


def test_another_model_in_their_place_is_exit_2(run: Run, typed: Typed, tmp_path: Path, no_scoring: None) -> None:
    path = of_folder(run, tmp_path / "stored")
    shutil.copytree(MINI, tmp_path / "somewhere")
    weights = tmp_path / "somewhere" / "model.safetensors"
    stored = bytearray(weights.read_bytes())
    stored[-1] ^= 1
    weights.write_bytes(bytes(stored))
    code, out, _ = typed(path, "--json")
    assert (code, judged(out)[0]) == (2, "not verifiable")
    code, out, err = typed(path, "--model", "somewhere")
    assert (code, out) == (2, "")
    assert "somewhere is another model: its hash is " in err
    other = of_folder(run, tmp_path / "other", content_hash="0" * 64)
    assert typed(other, "--model", MINI)[0] == 2


def test_another_version_of_the_suite_is_exit_2(run: Run, typed: Typed, no_scoring: None) -> None:
    version = run.manifest.suites[SUITE].version
    code, out, _ = typed(with_record(run, version=version + 1).path, "--json")
    why = f"scored by version {version + 1} of the suite, here is version {version}"
    assert (code, *judged(out)) == (2, "not verifiable", "not verifiable", why)


@pytest.mark.parametrize(
    ("unknown", "words"),
    [({"seed": None}, "its seed"), ({"dtype": ""}, "its dtype"), ({"seed": None, "dtype": ""}, "its seed and dtype")],
)
def test_a_run_of_an_older_version_says_what_it_lacks(
    run: Run, typed: Typed, no_scoring: None, unknown: dict[str, object], words: str
) -> None:
    code, out, _ = typed(with_record(run, **unknown).path, "--json")
    assert (code, *judged(out)) == (2, "not verifiable", "not verifiable", f"an older run: it does not say {words}")


def test_a_run_of_0_1_is_held_to_what_its_run_says(run: Run, typed: Typed) -> None:
    """It had conditions for the run alone, no digests of data files and no phases."""
    bare = {"device": "", "device_name": "", "dtype": "", "threads": 0, "seed": None, "preset": "", "versions": {}}
    older = rewritten(with_record(run, **bare, data={}), self_test=None)
    code, out, _ = typed(older.path, "--json")
    assert (code, *judged(out)) == (
        0, "reproduced", "reproduced", "other sources of reportgen, or a run of several commands",
    )  # fmt: skip
    unknown = rewritten(older, versions={})
    code, out, _ = typed(unknown.path, "--json")
    assert (code, judged(out)[0]) == (0, "reproduced")
    assert "torch unknown stored" in judged(out)[2]
    code, out, _ = typed(edited(unknown, one_higher).path, "--json")
    assert (code, judged(out)[0]) == (2, "not verifiable")  # nobody measured what an unknown torch does


def test_a_newer_run_folder_is_one_line_and_exit_2(run: Run, typed: Typed, no_scoring: None) -> None:
    file = run.path / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": 99}))
    code, out, err = typed(run.path, "--json")
    assert (code, out, err.count("\n")) == (2, "", 1)
