"""In how many ways findings hold, as a report says it: figure, first screen, list of sets, and runs named beside."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import msgspec
import pytest

from reportgen import cli, suites
from reportgen.atlas.robustness import findings
from reportgen.errors import RunError, SettingsError
from reportgen.report.build import AS_STORED, all_figures, build, find_figure, scene
from reportgen.report.html import page
from reportgen.report.pdf import data
from reportgen.runfolder import Run, RunWriter, keep_marks
from reportgen.scores import SuiteResult
from reportgen.suites.variants import Variant
from tests.atlas.test_robustness import scored

STORED = Path(__file__).parents[2] / "site" / "runs" / "mini"


def kept(folder: Path, *names: str) -> Run:
    """The published run of mini with these suites only: all of them take long to draw."""
    shutil.copytree(STORED, folder / "mini", ignore=shutil.ignore_patterns("report"))
    whole = Run.open(folder / "mini")
    some = {name: whole.manifest.suites[name] for name in names}
    writer = RunWriter(whole.path, whole.manifest)
    writer.save(msgspec.structs.replace(whole.manifest, suites=some))
    return Run.open(folder / "mini")


def test_each_suite_with_other_settings_ends_with_the_figure(tmp_path: Path) -> None:
    run = kept(tmp_path, "attention", "circuits")
    ids = [figure.id for figure in all_figures(run)]
    assert ids[-1] == "circuits-holds"
    figure = find_figure(run, "circuits-holds")
    found = [one for one in findings(run) if one.suite == "circuits"]
    columns = [column.name for column in figure.data.columns]
    rows = [dict(zip(columns, row, strict=True)) for row in figure.data.rows]
    assert [row["heads"] for row in rows] == [" ".join(one.heads) for one in found]
    assert [(row["held"], row["of"]) for row in rows] == [one.counts()[:2] for one in found]
    assert [(row["keep every head"], row["settings"]) for row in rows] == [one.whole() for one in found]
    assert f"n = {sum(one.counts()[1] for one in found)} pairs" in figure.caption
    assert figure.suite == "circuits"


def test_first_screen_sets_page_and_print_say_it(tmp_path: Path) -> None:
    report = build(kept(tmp_path, "circuits"))
    (movers,) = (line for line in report.claims if line.label == "IOI: Name-Mover Heads")
    assert movers.holds == "48 of 48"
    assert "Other settings: 48 of 48 pairs of head and setting (other heads 101 of 720)." in movers.text
    sets = {one.label: one for _, group in report.set_groups for one in group if one.holds}
    assert sets["Name-Mover Heads"].holds == "template left out: 48 of 48; other heads: 101 of 720"
    text = page(report)
    assert '<td class="n">48/48</td>' in text
    assert "Above the line under other settings: template left out: 48 of 48; other heads: 101 of 720." in text
    assert any(plate.id == "circuits-holds" and plate.twins for plate in report.plates)
    assert any(one["holds"] for group in data(report)["sets"] for one in group["sets"])


def test_a_run_without_other_settings_says_nothing_of_them(tmp_path: Path) -> None:
    run = scored(tmp_path, "alone", 0.01)
    seen = scene(run, None, None, AS_STORED)
    assert seen.findings == ()
    assert seen.more("mine") == ()


def test_runs_named_beside_are_kept_in_the_run_and_counted(tmp_path: Path) -> None:
    run = scored(tmp_path, "one", 0.01)
    other = scored(tmp_path, "seed", 0.01, seed=1)
    run = keep_marks(run, beside=[other.path])
    assert run.manifest.beside == ["seed"]
    (one,) = scene(Run.open(run.path), None, None, AS_STORED).findings
    assert [(way.setting, way.value, way.held) for way in one.ways] == [("seed", "1 (seed)", 1)]
    assert keep_marks(run).manifest.beside == ["seed"]  # kept until others are named
    shutil.rmtree(other.path)
    seen = scene(Run.open(run.path), None, None, AS_STORED)
    assert seen.findings == ()
    assert [name for name, _ in seen.unsettled] == ["seed"]
    report = build(Run.open(run.path))
    assert ("seed", "other settings of its findings") in [row[:2] for row in report.not_computed]


def test_a_run_elsewhere_or_of_other_weights_is_refused(tmp_path: Path) -> None:
    run = scored(tmp_path, "one", 0.01)
    away = scored(tmp_path / "away", "two", 0.01, seed=1)
    for path, words in ((away.path, "not another run"), (run.path, "not another run")):
        with pytest.raises(SettingsError, match=words):
            keep_marks(run, beside=[path])
    shutil.copytree(STORED, tmp_path / "mini")
    with pytest.raises(SettingsError, match="other weights"):
        keep_marks(run, beside=[tmp_path / "mini"])
    writer = RunWriter(run.path, run.manifest)
    writer.save(msgspec.structs.replace(run.manifest, beside=["mini", "gone"]))
    others, missing = Run.open(run.path).beside()
    assert (others, missing["mini"]) == ([], "a run of other weights")
    writer.save(msgspec.structs.replace(run.manifest, beside=["../away/two"]))
    with pytest.raises(RunError, match="plain name"):
        Run.open(run.path)


def test_the_verb_takes_runs_beside(tmp_path: Path) -> None:
    run, other = scored(tmp_path, "one", 0.01), scored(tmp_path, "half", 0.9, dtype="bfloat16")
    cli.app(["render", str(run.path), "--beside", str(other.path)], standalone_mode=False)
    assert Run.open(run.path).manifest.beside == ["half"]


def test_a_suite_s_function_that_fails_is_named_and_nothing_else_is_lost(tmp_path: Path) -> None:
    run = kept(tmp_path, "circuits")
    broken = dataclasses.replace(suites.find("circuits"), variants=_fails)
    seen = scene(run, None, {"circuits": broken}, AS_STORED)
    assert seen.findings == ()
    assert seen.unsettled == (("circuits", "RuntimeError: broken"),)


def _fails(result: SuiteResult) -> tuple[Variant, ...]:
    raise RuntimeError("broken")
