from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from reportgen import suites
from reportgen.errors import DataError, SettingsError
from reportgen.manifest import SelfTest
from reportgen.report.build import Marks, build, find_figure
from reportgen.report.document import Report
from reportgen.report.html import page
from reportgen.report.labels import null_line
from reportgen.report.pdf import document
from reportgen.report.tiles import wall
from reportgen.runfolder import Run
from reportgen.scores import SuiteResult
from tests import fixtures
from tests.report import sample


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build(sample.run(tmp_path_factory.mktemp("run")), suites=sample.SUITES)


def test_sections_follow_the_registry_and_figures_are_numbered_through(report: Report) -> None:
    assert [s.name for s in report.sections] == ["alpha", "beta", "gamma"]
    assert [(p.number, p.id) for p in report.plates] == [(1, "alpha-capital"), (2, "alpha-ioi"), (3, "alpha-bars")]
    assert [p.is_map for p in report.plates] == [True, True, False]
    assert [t.number for t in wall(report).tiles] == [1, 2]
    assert report.plates[0].keys == ("alpha/score/capital",)


def test_a_suite_whose_drawing_fails_keeps_its_numbers_and_says_why(report: Report) -> None:
    beta = report.sections[1]
    assert beta.plates == ()
    assert beta.undrawn == (
        "The figures of this suite could not be drawn: ZeroDivisionError: the drawing's own bug over two lines",
    )
    assert beta.leading[0].overview.rows


def test_what_is_missing_is_listed_with_its_reason(report: Report) -> None:
    missing = {(suite, what): why for suite, what, why in report.not_computed}
    assert missing["Suite gamma", "the whole suite"] == "failed: ValueError: Mary"
    assert missing["Suite delta", "the whole suite"] == "not part of this run"
    assert missing["Suite alpha", "the task Mary"] == "22 of 84 pairs are single tokens"
    assert missing["Suite alpha", "the slow experiment"] == "left out by the preset quick"
    assert "could not be drawn" in missing["Suite beta", "a figure"]


def test_the_full_preset_leaves_nothing_out(tmp_path: Path) -> None:
    report = build(sample.run(tmp_path, preset="full"), suites=sample.SUITES)
    assert all(not section.left_out for section in report.sections)


def test_only_causal_and_replicated_sets_are_claims(tmp_path: Path, report: Report) -> None:
    assert report.verdicts[0].causal
    (movers,) = report.claims
    assert movers == report.verdicts[0]
    assert movers.text.startswith("Ioi: Movers Mary: L1H2, L2H3. Evidence passed: causal effect, replicated (templat")
    assert movers.text.endswith("; not run: natural text.")
    assert (movers.anchor, movers.heads, movers.estimate) == ("fig-alpha-capital", ("L1H2", "L2H3"), "")
    assert dict(movers.rungs) == {
        "static score": "not run", "dynamic score": "not run", "causal effect": "passed", "natural text": "not run",
        "replicated": "passed",
    }  # fmt: skip
    run = sample.run(tmp_path)
    strong = run.results["alpha"].head_sets[0]
    for evidence in (
        {"causal effect": "passed", "replicated (templates)": "passed", "replicated (twin)": "failed"},
        {"causal effect": "passed", "replicated (templates)": "not run"},
        {"replicated": "passed"},
        {},
    ):
        result = run.results["alpha"]
        heads = dataclasses.replace(strong, evidence=evidence)
        changed = SuiteResult("alpha", result.scores, (heads,), notes=result.notes)
        found = build(sample.FakeRun(tmp_path, run.manifest, {"alpha": changed}), suites=sample.SUITES)
        assert not any(v.causal for v in found.verdicts)


def test_a_score_line_takes_its_head_from_one_half_and_its_number_from_the_other(tmp_path: Path) -> None:
    run = sample.run(tmp_path)
    result = dataclasses.replace(run.results["alpha"], head_sets=())
    found = build(sample.FakeRun(tmp_path, run.manifest, {"alpha": result}), suites=sample.SUITES)
    (line,) = found.verdicts
    assert line.line == f"≤ {null_line(result.scores[0]):.3f}"
    assert (line.anchor, line.estimate, line.n) == ("fig-alpha-capital", "L2H3 0.810 [0.600, 0.950]", 20)
    assert line.text == (
        "Capital score: L2H3, highest on one half of the pairs, has 0.810 [0.600, 0.950] on the other half (n = 20; "
        f"null {line.line}); an ideal copier 0.250."
    )


def test_facts_settings_measures_and_sources(report: Report) -> None:
    facts = dict(report.facts)
    assert facts["Grid"] == "3 layers × 4 heads"
    assert report.check_passed is True
    alpha = report.sections[0]
    assert [(s.name, s.value, s.given) for s in alpha.settings] == [("k", "5", True), ("words", "Mary", False)]
    assert alpha.settings[0].help == "a target within the top k is a hit"
    assert alpha.measures[0].source == "Wang et al. 2022, section 3"
    assert alpha.measures[1].source == "added by this project"
    assert [s.key for s in report.sources] == ["wang2022ioi"]
    assert "2211.00593" in report.sources[0].citation
    assert dict(dict(report.provenance)["Run"])["Command"] == "reportgen run Mary"


@pytest.mark.parametrize(
    ("source", "words"),
    [("local", "not run"), ("import", "computed elsewhere"), ("comparison", "each run's report has")],
)
def test_a_missing_self_check_is_not_a_pass(tmp_path: Path, source: str, words: str) -> None:
    run = sample.run(tmp_path)
    model = msgspec.structs.replace(run.manifest.model, self_check=None, source=source)
    report = build(sample.run(tmp_path, model=model), suites=sample.SUITES)
    assert words in report.check
    assert report.check_passed is None


def test_a_failed_self_check_is_named(tmp_path: Path) -> None:
    run = sample.run(tmp_path)
    check = msgspec.structs.replace(run.manifest.model.self_check, passed=False)
    model = msgspec.structs.replace(run.manifest.model, self_check=check)
    report = build(sample.run(tmp_path, model=model), suites=sample.SUITES)
    assert report.check_passed is False
    assert "DIFFER" in report.check


def test_scores_that_rest_on_half_precision_are_named(tmp_path: Path) -> None:
    """In the section, and on the first screen; what comes from the weights alone is not among them."""
    run = sample.run(tmp_path)
    assert not any("half precision" in note for s in build(run, suites=sample.SUITES).sections for note in s.notes)
    records = dict(run.manifest.suites)
    records["alpha"] = msgspec.structs.replace(records["alpha"], device="cuda:0", dtype="bfloat16")
    half = dataclasses.replace(run, manifest=msgspec.structs.replace(run.manifest, suites=records))
    measure = sample.SUITES["alpha"].measures[0]
    report = build(half, suites=sample.SUITES)
    (note,) = [note for note in report.sections[0].notes if "half precision (bfloat16" in note]
    assert measure.title in note
    assert "--dtype float32" in note
    assert not any("half precision" in note for note in report.sections[1].notes)
    assert "--dtype float32" in dict(report.facts)["Half precision"]
    exact = tuple(dataclasses.replace(m, from_weights=True) for m in sample.SUITES["alpha"].measures)
    static = {**sample.SUITES, "alpha": dataclasses.replace(sample.SUITES["alpha"], measures=exact)}
    report = build(half, suites=static)
    assert not any("half precision" in note for note in report.sections[0].notes)
    assert "Half precision" not in dict(report.facts)


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        ([], "33 of 33 checks passed (2026-01-02, torch 2.6.0)"),
        (["ties"], "32 of 33 checks passed (2026-01-02, torch 2.6.0); FAILED: ties"),
        (None, "not run"),
    ],
)
def test_the_self_test_stands_in_the_provenance_and_a_failed_one_on_top(
    tmp_path: Path, failed: list[str] | None, words: str
) -> None:
    tested = None
    if failed is not None:
        tested = SelfTest("2026-01-02T03:04:05+00:00", "ab" * 32, {"torch": "2.6.0"}, 33, failed)
    report = build(sample.run(tmp_path, self_test=tested), suites=sample.SUITES)
    assert dict(dict(report.provenance)["Run"])["Self-test"] == words
    assert report.broken == (words if failed else "")
    assert ("The scores below can" in page(report)) == bool(failed)
    assert document(report).startswith(b"%PDF")


def test_hostile_text_is_cleaned_everywhere(tmp_path: Path) -> None:
    report = build(sample.run(tmp_path, sample.HOSTILE), suites=sample.SUITES)
    assert not report.sections[0].undrawn
    texts = [repr(report.sections[0].tables), repr(report.facts), report.model, *(p.svg for p in report.plates)]
    for text in texts:
        assert "\u202e" not in text
        assert "\u0007" not in text


def test_synthetic_runs_and_models_are_marked(tmp_path: Path, report: Report) -> None:
    assert not report.synthetic
    assert build(sample.run(tmp_path, synthetic=True), suites=sample.SUITES).synthetic


def test_a_stored_run_is_read_back_and_unknown_suites_are_said_to_be(tmp_path: Path) -> None:
    fixtures.write_run(tmp_path, "homemade")
    report = build(Run.open(tmp_path))
    homemade = next(s for s in report.sections if s.name == "homemade")
    assert homemade.undrawn == (
        "Figures are not drawn: no suite 'homemade' is installed. Give its file: --suite FILE.py.",
    )
    assert homemade.tables[0].rows == (("L1H2", "0.500"), ("L0H1", "–"))
    assert report.synthetic
    assert ("Relation scores", "the whole suite", "not part of this run") in report.not_computed


def test_a_suite_whose_file_was_given_is_known_when_its_run_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "_named", {})
    fixtures.write_run(tmp_path, "toy")
    toy = next(s for s in build(Run.open(tmp_path)).sections if s.name == "toy")
    assert (toy.title, len(toy.undrawn)) == ("toy", 1)
    suites.find(str(Path(__file__).parents[1] / "data" / "toy_suite.py"))
    toy = next(s for s in build(Run.open(tmp_path)).sections if s.name == "toy")
    assert (toy.title, toy.undrawn) == ("OV norms", ())


def test_overlays_are_drawn_checked_and_can_be_left_out(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[[entry]]\nclass = "Mine"\nheads = ["L9H6"]\n')
    run = sample.run(tmp_path)
    with pytest.raises(DataError, match="outside the grid"):
        build(run, suites=sample.SUITES, marks=Marks(overlay_files=[mine]))
    assert build(run, suites=sample.SUITES, marks=Marks(False, [mine])).plates
    with pytest.raises(SettingsError, match="no-such-model"):
        build(run, suites=sample.SUITES, marks=Marks(published="no-such-model"))
    hidden = msgspec.structs.replace(run.manifest, no_overlay=True)
    assert [Marks().drawn(m) for m in (run.manifest, hidden)] == [True, False]
    assert Marks(overlay_files=[mine]).drawn(hidden)
    assert not Marks(False).drawn(run.manifest)


def test_the_head_sets_of_the_report_are_those_drawn_or_computed(report: Report) -> None:
    assert [s.key for s in report.overlays] == ["alpha/ioi/movers"]
    ((legend, (movers,)),) = report.set_groups
    assert (legend, movers.heads) == ("Made-up sets", ("L1H2", "L2H3"))
    assert dict(movers.evidence)["causal effect"] == "passed"


def test_one_figure_is_found_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "known", lambda: sample.SUITES)
    run = sample.run(tmp_path)
    assert find_figure(run, "alpha-ioi").title == "Effect on IOI"
    with pytest.raises(SettingsError, match="alpha-ioi"):
        find_figure(run, "alpha-io")


def test_the_runs_own_name_is_in_the_title_beside_the_models(tmp_path: Path) -> None:
    run = fixtures.write_run(tmp_path, record=fixtures.model_record(slug="second-try"))
    report = build(run)
    assert (report.model, report.name) == ("made-up", "made-up (second-try)")
    assert "<h1>made-up (second-try)</h1>" in page(report)
