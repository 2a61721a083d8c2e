"""`reportgen verify`: the same numbers are reproduced, an edited one is caught, and what can't be judged says why."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from reportgen import runner
from reportgen.cli import app
from reportgen.config import Options
from reportgen.errors import ModelError, SettingsError
from reportgen.manifest import Manifest, SelfTest, SuiteRecord
from reportgen.runfolder import Run, RunWriter
from reportgen.scores import SuiteResult
from reportgen.verify import weights
from reportgen.verify.rescore import Asked, Verification, verify
from reportgen.verify.tolerances import measured, tolerance
from tests.fixtures import head_scores, suite_result, write_run
from tests.verify.spoiled import SUITE, edited, one_higher, raised, rewritten, with_record

MINI = Path(runner.__file__).parent / "mini" / "checkpoint"


def only(found: Verification) -> tuple[str, str]:
    (suite,) = found.suites
    return suite.verdict, suite.why


def test_the_same_settings_give_the_same_numbers(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert app(["verify", str(run.path), "--json"], prog_name="reportgen", standalone_mode=False) is None
    said = json.loads(capsys.readouterr().out)
    (suite,) = said["suites"]
    assert (said["verdict"], said["found"]) == ("reproduced", "the bundled model")
    assert suite["furthest"] == {"values": 0.0, "ends": 0.0, "p": 0.0, "rest": 0.0}
    assert suite["tolerance"] == {"values": 0.0, "intervals": 0.0, "p": 0.0, "rest": 0.0}
    result = run.result(SUITE)
    assert suite["scores"] == len(result.scores)
    assert suite["numbers"] >= sum(np.isfinite(s.values).sum() for s in result.scores)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_one_edited_score_is_caught(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    key = run.result(SUITE).scores[0].key
    forged = edited(run, one_higher)
    assert app(["verify", str(forged.path)], prog_name="reportgen", standalone_mode=False) == 1
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "L2H3" in line]
    assert line.startswith(f"  {key} L2H3 value: ")
    share = 0.001 / np.abs(forged.result(SUITE).scores[0].values).max()
    assert f"({share:.1e} of the largest)" in line
    assert "mini: differs" in out


def test_an_edited_best_head_names_the_captions_that_change(run: Run) -> None:
    def raised(result: SuiteResult) -> SuiteResult:
        score = result.scores[0]
        values = score.values.copy()
        values[0, 0] = np.float32(0.999)
        low, high = (np.asarray(grid).copy() for grid in (score.low, score.high))
        low[0, 0], high[0, 0] = 0.99, 1.0
        return replace(result, scores=(replace(score, values=values, low=low, high=high), *result.scores[1:]))

    (suite,) = verify(edited(run, raised), Asked()).suites
    assert suite.verdict == "differs"
    assert any(SUITE in caption for caption in suite.captions)


def test_an_edited_table_and_a_limit_of_ones_own(run: Run) -> None:
    def changed(result: SuiteResult) -> SuiteResult:
        table = result.tables[0]
        at = next(i for i, cell in enumerate(table.rows[0]) if isinstance(cell, float))
        row = (*table.rows[0][:at], float(table.rows[0][at]) * 1.5, *table.rows[0][at + 1 :])  # type: ignore[arg-type]
        return replace(result, tables=(replace(table, rows=(row, *table.rows[1:])), *result.tables[1:]))

    forged = edited(run, changed)
    (suite,) = verify(forged, Asked()).suites
    assert suite.verdict == "differs"
    assert suite.over[0].place.startswith("table ")
    assert verify(forged, Asked(limit=1.0)).verdict == "reproduced"


def test_another_version_and_another_data_file_are_not_judged(run: Run, no_scoring: None) -> None:
    version = run.manifest.suites[SUITE].version
    found = verify(with_record(run, version=version - 1), Asked())
    assert found.code == 2
    assert only(found)[1] == f"scored by version {version - 1} of the suite, here is version {version}"
    data = run.manifest.suites[SUITE].data
    name = next(iter(data))
    found = verify(with_record(run, version=version, data={**data, name: "0" * 64}), Asked())
    assert only(found) == ("not verifiable", f"data file {name} is another one")
    found = verify(with_record(run, data=data, settings={"gone": 1}), Asked())
    assert only(found)[0] == "not verifiable"
    assert "no setting 'gone'" in only(found)[1]


def test_versions_that_nobody_measured_are_judged_only_where_no_rounding_explains_it(run: Run) -> None:
    older = with_record(run, versions={**run.manifest.suites[SUITE].versions, "torch": "2.0.0"})
    within = verify(older, Asked())
    assert within.verdict == "reproduced"
    assert "torch 2.0.0 stored" in only(within)[1]
    near = verify(edited(older, raised(0.005)), Asked())
    assert (only(near)[0], near.code) == ("not verifiable", 2)
    assert verify(edited(older, raised(0.02)), Asked()).verdict == "differs"


def test_other_sources_of_reportgen_have_their_own_tolerance(run: Run) -> None:
    limit = measured().code.values
    older = edited(rewritten(run, self_test=SelfTest("2026-01-01", "0" * 64, {}, 1, [])), raised(limit / 2))
    assert verify(older, Asked()).verdict == "reproduced"
    found = verify(edited(rewritten(older, self_test=None), raised(limit)), Asked())
    assert found.verdict == "differs"
    assert only(found)[1] == "other sources of reportgen, or a run of several commands"


def test_a_suite_sees_the_results_of_those_that_are_not_scored_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when it was scored: some suites read the head sets of others. Settings and conditions are the stored ones."""
    mine = SuiteResult("mine", (head_scores("mine/score/words", 6, 8),), suite_result("mine").head_sets)
    with RunWriter(run.path, run.manifest) as writer:
        writer.store("mine", mine, SuiteRecord("done", 1, {}, {}, seed=0))
    seen: list[Options] = []

    def look(options: Options, *more: object) -> Run:
        there = Run.open(Path(options.out) / options.name)
        assert there.done() == ["mine"]
        assert there.result("mine").head_sets == mine.head_sets
        seen.append(options)
        raise ModelError("seen")

    monkeypatch.setattr(runner, "run", look)
    assert only(verify(Run.open(run.path), Asked((SUITE,)))) == ("not verifiable", "seen")
    (options,) = seen
    assert options.settings[SUITE] == run.manifest.suites[SUITE].settings
    assert (options.seed, options.threads, options.dtype, options.device) == (0, 1, "float32", "cpu")
    assert not Path(options.out).exists()  # the folder is gone afterwards


def test_scores_of_no_model_and_unknown_suites(run: Run, tmp_path: Path, no_scoring: None) -> None:
    imported = msgspec.structs.replace(run.manifest.model, source="import")
    found = verify(rewritten(run, model=imported), Asked())
    assert (found.code, only(found)[1]) == (2, "its scores are no model's: the run is an import")
    with pytest.raises(SettingsError, match=r"no finished suite 'attentoin'.*Did you mean attention"):
        verify(run, Asked(("attentoin",)))
    own = write_run(tmp_path / "own", "mine")
    assert "give its file: --suite FILE.py" in only(verify(own, Asked()))[1]


# Where the weights are.


def of_folder(manifest: Manifest, **changes: object) -> Manifest:
    model = msgspec.structs.replace(manifest.model, source="folder", id="somewhere", **changes)
    return msgspec.structs.replace(manifest, model=model, argv=["reportgen", "run", "elsewhere"])


def test_weights_are_found_by_their_hash(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    manifest = of_folder(run.manifest)
    assert weights.find(manifest).name == ""
    assert manifest.model.content_hash[:12] in weights.find(manifest).why
    shutil.copytree(MINI, tmp_path / "moved")
    cache = tmp_path / "cache" / "reportgen" / "digests.json"
    cache.parent.mkdir(parents=True)
    cache.write_text(json.dumps({str(tmp_path / "moved" / "model.safetensors"): [1, 1, "0" * 64]}))
    assert weights.find(manifest).name == str(tmp_path / "moved")  # its weights were hashed once
    cache.unlink()
    typed = msgspec.structs.replace(manifest, argv=["reportgen", "run", str(tmp_path / "moved")])
    assert weights.find(typed).name == str(tmp_path / "moved")
    assert weights.find(typed, str(tmp_path / "moved")).name == str(tmp_path / "moved")
    shutil.move(tmp_path / "moved", tmp_path / "somewhere")
    assert weights.find(manifest).name == "somewhere"
    (tmp_path / "somewhere" / "config.json").write_bytes((MINI / "config.json").read_bytes() + b"\n")
    assert weights.find(manifest).name == ""
    with pytest.raises(ModelError, match=r"is another model: its hash is .* Give the folder"):
        weights.find(manifest, "somewhere")


def test_a_shipped_model_that_was_retrained_is_not_scored(run: Run, no_scoring: None) -> None:
    other = msgspec.structs.replace(run.manifest, model=msgspec.structs.replace(run.model, content_hash="0" * 64))
    with RunWriter(run.path.parent / "other", other) as writer:
        writer.store(SUITE, run.result(SUITE), run.manifest.suites[SUITE])
    found = verify(Run.open(run.path.parent / "other"), Asked())
    assert found.code == 2
    assert "mini has another hash than the model scored" in only(found)[1]


def test_a_hub_model_is_fetched_at_its_revision(run: Run) -> None:
    manifest = of_folder(run.manifest, hub_id="owner/model", revision="ab" * 20, content_hash="0" * 64)
    hub = msgspec.structs.replace(manifest, model=msgspec.structs.replace(manifest.model, source="hub"))
    found = weights.find(hub)
    assert (found.name, found.revision) == ("owner/model", "ab" * 20)


def test_a_model_that_is_gone_is_not_verifiable(
    run: Run, tmp_path: Path, no_scoring: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    gone = of_folder(run.manifest, content_hash="0" * 64)
    with RunWriter(tmp_path / "gone", gone) as writer:
        writer.store(SUITE, run.result(SUITE), run.manifest.suites[SUITE])
    found = verify(Run.open(tmp_path / "gone"), Asked())
    assert found.code == 2
    assert only(found)[1] == "no weights with the hash 000000000000 were found on this machine"


# Which tolerance holds.


def test_the_tolerance_follows_what_differs() -> None:
    record = SuiteRecord("done", 1, {}, {}, device="cpu", dtype="float32", threads=1, versions={"torch": "2.13.0"})
    two = msgspec.structs.replace(record, threads=2)
    gpu = msgspec.structs.replace(record, device="cuda:0")
    older = msgspec.structs.replace(record, versions={"torch": "2.6.0+cu124"})
    drawn = msgspec.structs.replace(record, versions={"torch": "2.13.0", "altair": "6.0"})
    known, suite = measured(), next(iter(measured().threads))
    assert tolerance(suite, record, record, same_code=True).limits == known.same
    assert tolerance(suite, record, drawn, same_code=True).limits == known.same  # what only draws changes no score
    assert tolerance(suite, record, two, same_code=True).limits == known.threads[suite]
    assert tolerance(suite, record, two, same_code=True).measured
    assert tolerance(suite, record, older, same_code=True).limits == known.torch.limits
    assert tolerance(suite, record, older, same_code=True).why == "torch 2.13.0 stored, 2.6.0+cu124 now"
    for version in ("2.5.1", "2.14.0", "3.0", "nightly", ""):
        strange = msgspec.structs.replace(record, versions={"torch": version})
        assert not tolerance(suite, record, strange, same_code=True).measured
    assert not tolerance("mine", record, older, same_code=True).measured
    newer = msgspec.structs.replace(older, versions={"torch": "2.6.0", "numpy": "3.0"})
    assert not tolerance(suite, record, newer, same_code=True).measured
    both = tolerance(suite, record, two, same_code=False).limits
    assert (both.values, both.rest) == (known.code.values, max(known.code.rest, known.threads[suite].rest))
    assert not tolerance("mine", record, two, same_code=True).measured
    found = tolerance(suite, record, gpu, same_code=True)
    assert not found.measured
    assert "device cpu stored, cuda:0 now" in found.why
    assert msgspec.structs.astuple(known.same) == (0, 0, 0, 0)
    assert all(0 < limits.values <= known.code.values < 1e-3 for limits in known.threads.values())
