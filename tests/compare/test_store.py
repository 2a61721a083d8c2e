"""Comparisons of runs with planted differences: what is subtracted, what is not, and what the reader is warned of."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reportgen import cli, suites
from reportgen.compare.numbers import TITLE
from reportgen.compare.store import ComparisonRequest, compare
from reportgen.errors import RunError, SettingsError
from reportgen.manifest import SuiteRecord
from reportgen.report.build import build
from reportgen.report.html import page
from reportgen.report.pdf import document
from reportgen.report.tiles import wall
from reportgen.runfolder import Run, RunWriter
from reportgen.scores import SuiteResult
from tests.compare.made_up import grid, result, scores, stored

VALUES = grid(4, 3)


@pytest.fixture
def pair(tmp_path: Path) -> list[Run]:
    """The same weights, scored twice; in the second run L1H2 is 0.15 higher and L3H0 left the set."""
    moved = VALUES.copy()
    moved[1, 2] = VALUES[1, 2] + np.float32(0.15)
    first = stored(tmp_path / "first", result(VALUES, ((1, 2), (3, 0))), data={"capital.json": "ab" * 32})
    other = stored(
        tmp_path / "other", result(moved, ((1, 2),), ("a", "c")), {"tau": 0.5, "k": 5}, 1, {"capital.json": "cd" * 32}
    )
    return [first, other]


def table(found: Run, key: str) -> list[tuple[object, ...]]:
    return [row for t in found.result("compared").tables if t.key == key for row in t.rows]


def test_the_same_weights_are_subtracted_head_by_head(pair: list[Run], tmp_path: Path) -> None:
    found = compare(pair, ComparisonRequest(), tmp_path).result("compared")
    difference = found["difference/relations.score.copying"]
    assert difference.values[1, 2] == pytest.approx(0.15, abs=1e-6)
    assert np.count_nonzero(difference.values) == 1
    assert difference.low is not None
    assert difference.high is not None
    assert difference.low[1, 2] == pytest.approx(0.15 - 0.05 * np.sqrt(2), abs=1e-6)  # MOVER of two equal half-widths
    assert difference.range == (-1.0, 1.0)
    assert difference.line is difference.p is None


def test_heads_that_changed_class_are_named(pair: list[Run], tmp_path: Path) -> None:
    rows = table(compare(pair, ComparisonRequest(), tmp_path), "changed")
    assert ("L3H0", "Top heads (copying)", "yes", "no") in rows
    assert not [row for row in rows if row[0] == "L1H2" and row[1] == "Top heads (copying)"]


def test_what_differs_is_a_banner_on_page_paper_and_in_captions(pair: list[Run], tmp_path: Path) -> None:
    found = compare(pair, ComparisonRequest(), tmp_path)
    report = build(found)
    words = " ".join(report.banner)
    assert "seed: 0 in first; 1 in other" in words
    assert "relations.k: – in first; 5 in other" in words
    assert "relations: data file capital.json: abababababab in first; cdcdcdcdcdcd in other" in words
    assert "relations: pairs of ranks/copying: 2 pairs" in words
    assert "Data or settings differ between these runs" in page(report)
    assert all("DATA OR SETTINGS DIFFER" in p.caption for p in report.plates)
    assert document(report).startswith(b"%PDF")


def test_what_0_and_none_stand_for_is_written_in_words_in_banner_table_and_settings(tmp_path: Path) -> None:
    given = ({"k": 0, "permutations": 0}, {"k": 5, "permutations": 99})
    runs = [stored(tmp_path / str(i), result(VALUES, ((1, 2),)), settings) for i, settings in enumerate(given)]
    found = compare(runs, ComparisonRequest(), tmp_path)
    fields = {f.name: f.metadata for f in dataclasses.fields(suites.find("relations").settings)}
    automatic = fields["k"]["zero"]
    assert automatic.startswith("automatic, ")
    words = " ".join(build(found).banner)
    assert f"relations.k: {automatic} in 0; 5 in 1" in words
    assert "relations.permutations: off in 0; 99 in 1" in words
    assert ("relations.k", automatic, "5") in table(found, "settings")
    shown = {s.name: s.value for s in build(runs[0]).sections[0].settings}
    assert shown == {"k": automatic, "permutations": "off"}


def test_equal_runs_have_no_banner(tmp_path: Path) -> None:
    runs = [stored(tmp_path / name, result(VALUES, ((1, 2),))) for name in ("a", "b")]
    report = build(compare(runs, ComparisonRequest(), tmp_path))
    assert report.banner == ()
    assert "Data or settings differ" not in page(report)
    assert "DIFFER" not in report.plates[0].caption


def test_different_models_are_compared_by_depth_and_rank_alone(tmp_path: Path) -> None:
    deep = np.repeat(VALUES, 2, axis=0)  # [layer head] 8 layers that rise and fall alike
    runs = [
        stored(tmp_path / "small", result(VALUES, ((0, 0), (3, 1)))),
        stored(tmp_path / "large", result(deep, ((7, 2),)), content_hash="cd" * 32),
    ]
    with pytest.raises(SettingsError, match="small has 4 x 3 heads, large has 8 x 3 heads"):
        compare(runs, ComparisonRequest(declared=True), tmp_path)
    found = compare(runs, ComparisonRequest(), tmp_path)
    assert found.result("compared").scores == ()
    assert found.manifest.suites["compared"].settings["lineage"] == "different models"
    kinds = {p.id.rsplit("-", 1)[1] for p in build(found).plates}
    assert kinds == {"depth", "rank"}
    rows = {row[1]: row for row in table(found, "sets")}
    assert rows["small"][2:5] == (2, pytest.approx(2 / 12), pytest.approx(0.5))
    assert rows["large"][4] == pytest.approx(1.0)
    assert any("--lineage" in n.why for n in found.result("compared").not_computed)


def test_a_lineage_of_other_weights_has_to_be_declared(tmp_path: Path) -> None:
    runs = [
        stored(tmp_path / "a", result(VALUES, ())),
        stored(tmp_path / "b", result(VALUES, ()), content_hash="cd" * 32),
    ]
    assert compare(runs, ComparisonRequest(), tmp_path, "x").result("compared").scores == ()
    assert len(compare(runs, ComparisonRequest(declared=True), tmp_path, "y").result("compared").scores) == 2
    hub = [
        stored(tmp_path / "c", result(VALUES, ()), hub_id="gpt2"),
        stored(tmp_path / "d", result(VALUES, ()), hub_id="openai-community/gpt2", content_hash="cd" * 32),
    ]
    assert len(compare(hub, ComparisonRequest(), tmp_path, "z").result("compared").scores) == 2


def test_every_later_run_is_compared_with_the_first(tmp_path: Path) -> None:
    runs = [stored(tmp_path / f"r{i}", result(grid(4, 3, i), ())) for i in range(3)]
    found = compare(runs, ComparisonRequest(), tmp_path)
    keys = [s.key for s in found.result("compared").scores]
    assert keys[:2] == [
        "compared/difference/relations.score.copying.1",
        "compared/difference/relations.score.copying.2",
    ]
    assert {p.id for p in build(found).plates} >= {
        "compared-relations-score-difference-1", "compared-relations-score-difference-2",
    }  # fmt: skip


def test_what_cannot_be_compared_is_one_line(pair: list[Run], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected 2 to 8"):
        compare(pair[:1], ComparisonRequest(), tmp_path)
    with pytest.raises(RunError, match="with itself"):
        compare([pair[0], pair[0]], ComparisonRequest(), tmp_path)
    with pytest.raises(SettingsError, match="relations/score"):
        compare(pair, ComparisonRequest(("relations/scor",)), tmp_path)


def test_the_verb_writes_a_report(pair: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.app(["compare", *(str(run.path) for run in pair), "--out", str(tmp_path / "out")], standalone_mode=False)
    index = Path(capsys.readouterr().out.strip())
    assert index.parent.parent.name == "compare--first--other"
    assert (index.parent / "report.pdf").stat().st_size > 1000
    assert "compared,difference,relations.score.copying,L1H2,1,2,0.1" in (index.parent / "scores.csv").read_text()


def test_suites_that_are_not_compared_are_out_of_the_banner_and_named(pair: list[Run], tmp_path: Path) -> None:
    moved = scores("attention/induction/random", VALUES)
    for run, tau in zip(pair, (1, 2), strict=True):
        with RunWriter(run.path, run.manifest) as writer:
            other = SuiteResult("attention", (replace(moved, key=f"attention/induction/random{tau}"),))
            writer.store("attention", other, SuiteRecord("done", 1, {"sequences": tau}, {}, resume_key="k"))
    found = compare([Run.open(run.path) for run in pair], ComparisonRequest(), tmp_path)
    report = build(found)
    assert not [line for line in report.banner if "attention" in line]
    gone = {missing.what: missing.why for missing in found.result("compared").not_computed}
    assert gone["comparison of attention"] == "no score of it is compared here"


def test_examples_of_different_vocabularies_are_one_sentence_and_a_folded_table(tmp_path: Path) -> None:
    runs = [
        stored(tmp_path / name, result(VALUES, ((1, 2),), pairs), content_hash=name * 32, d_vocab=size, synthetic=False)
        for name, pairs, size in (("ab", ("a", "b"), 100), ("cd", ("a", "c", "d"), 200))
    ]
    report = build(compare(runs, ComparisonRequest(), tmp_path))
    (line,) = report.banner
    assert "100 in " in line
    assert "200 in " in line
    assert "2 pairs" not in " ".join(p.caption for p in report.plates)
    assert [row for grid_ in report.sections[0].tables if grid_.title == TITLE for row in grid_.rows]


def test_thumbnails_of_maps_on_one_bar_name_no_scale_of_their_own(pair: list[Run], tmp_path: Path) -> None:
    """The two relations' differences share a bar that is cut at their own sizes, not at the ± 1 they could reach."""
    report = build(compare(pair, ComparisonRequest(), tmp_path))
    assert [len(p.keys) for p in report.plates if p.id.endswith("difference")] == [2]
    assert {tile.range for tile in wall(report).tiles} == {"scale of its figure"}
