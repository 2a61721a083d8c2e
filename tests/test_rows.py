"""Scores as rows: every number of the run's files, None where there is none, and lookups that answer mistakes."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np
import pytest

import reportgen
from reportgen.errors import SettingsError, UnknownScore
from reportgen.manifest import SuiteRecord
from reportgen.report.render import scores_csv
from reportgen.rows import ROW_COLUMNS
from reportgen.runfolder import RunWriter
from reportgen.scores import SuiteResult
from tests.fixtures import head_scores, manifest, write_run

MINI = Path(__file__).parents[1] / "site" / "runs" / "mini"


def test_rows_are_those_of_the_csv_with_numbers_as_numbers() -> None:
    run = reportgen.load_run(str(MINI))
    table = {
        (r["suite"], r["measure"], r["task"], r["head"]): r
        for r in csv.DictReader(io.StringIO(scores_csv(run.results, run.model)))
    }
    rows = run.scores()
    assert len(rows) == len(table)
    for row in rows:
        stored = table[row["suite"], row["measure"], row["task"], row["head"]]
        for name in ("value", "low", "high", "p", "p_each", "fdr"):
            assert (row[name] is None) == (stored[name] == "")
            if row[name] is not None:
                assert row[name] == pytest.approx(float(stored[name]), rel=1e-6)
        assert str(row["n"]) == stored["n"]


def test_the_highest_heads_are_on_top_and_gaps_stay_out() -> None:
    scores = head_scores()
    rows = scores.top(3)
    finite = np.sort(scores.values[np.isfinite(scores.values)])[::-1]
    assert [row["value"] for row in rows] == pytest.approx(finite[:3].tolist())
    assert rows[0]["head"] == f"L{rows[0]['layer']}H{rows[0]['head_index']}"
    assert len(scores.top(1000)) == len(finite)
    assert "L" in repr(rows).splitlines()[1]
    assert len(repr(scores)) < 200


def test_a_key_may_be_cut_short_where_one_score_begins_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "relations")
    keys = [score.key for score in run.result("relations").scores]
    assert run[keys[0]].key == keys[0]
    mini = reportgen.load_run(str(MINI))
    assert mini["attention/induction"].key == "attention/induction/repeated_tokens"
    with pytest.raises(UnknownScore, match="relations/score/copying"):
        mini["relations/score"]
    with pytest.raises(KeyError, match=r"Did you mean .*attention/induction"):
        mini["attention/inductoin/repeated_tokens"]
    with pytest.raises(SettingsError, match="outside the 6 layers x 8 heads"):
        mini.scores(head="L9H9")
    assert {row["head"] for row in mini.scores("circuits/direct", head="L4H5")} == {"L4H5"}
    assert len(repr(mini)) < 300


def test_hostile_words_are_escaped_in_a_notebook() -> None:
    rows = head_scores().top(2)
    rows[0]["note"] = "<script>alert(1)</script>"
    assert "<script>" not in rows._repr_html_()


def test_a_data_frame_where_pandas_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = head_scores().top(2)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SettingsError, match="pip install pandas"):
        rows.to_pandas()


def test_a_data_frame_has_the_columns_in_order() -> None:
    pandas = pytest.importorskip("pandas")
    frame = head_scores().top(2).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert tuple(frame.columns) == ROW_COLUMNS


def test_candidates_that_are_not_named_are_hinted_at(tmp_path: Path) -> None:
    many = tuple(head_scores(f"relations/score/r{i}") for i in range(19))
    with RunWriter(tmp_path / "run", manifest()) as writer:
        writer.store("relations", SuiteResult("relations", many), SuiteRecord("done", 1, {}, {}, resume_key="k"))
        run = writer.run
    with pytest.raises(UnknownScore, match=r"names 19 scores\..*r11, \u2026$"):
        run["relations/score"]
