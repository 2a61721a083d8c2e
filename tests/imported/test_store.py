"""An imported table as a run, and its report: nothing that the table does not say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reportgen import cli
from reportgen.errors import DataError, SettingsError
from reportgen.imported.store import Source, import_table
from reportgen.report.build import build
from reportgen.report.html import page
from reportgen.report.pdf import document
from reportgen.runfolder import Run

GRID = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
HOSTILE = "</script><b>\u202e"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = ["layer,head,Induction score,logit diff"]
    lines += [f"{layer},{head},{GRID[layer, head]:.3f},{-GRID[layer, head]:.3f}" for layer in (0, 1) for head in (0, 1)]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(lines) + "\n1,2,,0.5\n")
    return path


def test_every_numeric_column_is_a_measure_without_interval_null_or_n(table: Path, tmp_path: Path) -> None:
    run = import_table(table, Source("made/up", 2, 3), tmp_path / "runs")
    assert run.path.name == "made--up"
    found = Run.open(run.path).result("imported")
    assert [s.key for s in found.scores] == ["imported/induction_score/table", "imported/logit_diff/table"]
    for scores in found.scores:
        assert (scores.low, scores.high, scores.p, scores.line, scores.n) == (None, None, None, None, 0)
        assert "not given" in scores.no_null
    assert found.scores[0].reasons == {"L0H2": "not in scores.csv", "L1H2": "empty in scores.csv"}
    assert found.scores[0].range[0] == 0
    assert found.scores[1].range[0] < 0


def test_names_that_are_alike_become_different_keys(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("A b,a-b,???\n" + "1,2,3\n" * 6)
    found = import_table(path, Source("m", 2, 3), tmp_path).result("imported")
    assert [s.measure for s in found.scores] == ["a_b", "a_b_2", "column"]


def test_the_report_says_what_was_not_given(table: Path, tmp_path: Path) -> None:
    run = import_table(table, Source(f"Model {HOSTILE}", 2, 3), tmp_path / "runs")
    report = build(run)
    assert [p.id for p in report.plates] == ["imported-induction_score", "imported-logit_diff"]
    assert ("Interval, null, n", "not given") in report.facts
    assert all("Interval, null and n: not given." in p.caption for p in report.plates)
    assert not report.verdicts
    words = page(report)
    assert "Parameters" not in words
    assert "<b>\u202e" not in words
    assert ">not given<" in words
    assert document(report).startswith(b"%PDF")


def test_published_heads_are_marked_when_the_user_says_whose(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.random.default_rng(0).random((12, 12)))
    plain = import_table(tmp_path / "t.npy", Source("gpt2", 12, 12), tmp_path / "a")
    assert build(plain).plates[0].figure.head_sets == ()
    marked = import_table(tmp_path / "t.npy", Source("gpt2", 12, 12, "gpt2"), tmp_path / "b")
    assert any(s.source == "wang2022ioi" for s in build(marked).plates[0].figure.head_sets)
    np.save(tmp_path / "t.npy", np.zeros((9, 16)))
    with pytest.raises(DataError, match="12 x 12"):
        import_table(tmp_path / "t.npy", Source("gpt2", 9, 16, "gpt2"), tmp_path / "c")


def test_a_role_in_a_columns_name_chooses_the_published_set(table: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("induction\n" + "0.5\n" * 144)
    run = import_table(path, Source("gpt2", 12, 12, "gpt2"), tmp_path / "runs")
    assert {s.label for s in build(run).plates[0].figure.head_sets} == {"Induction Heads"}


@pytest.mark.parametrize(("layers", "heads"), [(0, 3), (2, 10_000), (9_000, 9_000)])
def test_grids_that_no_model_has(layers: int, heads: int) -> None:
    with pytest.raises(SettingsError, match=r"layers|heads"):
        Source("m", layers, heads)


def test_the_verb_writes_run_and_report(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlay = tmp_path / "mine.toml"
    overlay.write_text('[[entry]]\nclass = "Mine"\nheads = ["L1H1"]\n')
    words = ["import", str(table), "--model-name", "m", "--layers", "2", "--heads", "3", "--out", str(tmp_path / "r")]
    cli.app([*words, "--overlay", str(overlay)], standalone_mode=False)
    index = Path(capsys.readouterr().out.strip())
    assert index == tmp_path / "r" / "m" / "report" / "index.html"
    assert "Mine" in index.read_text()
    assert (index.parent / "figures" / "imported-logit_diff.pdf").stat().st_size > 1000
    assert ",not in scores.csv" in (index.parent / "scores.csv").read_text()
