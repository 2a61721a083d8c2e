from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.report.render import COLUMNS, escape, scores_csv
from reportgen.scores import HeadScores, SuiteResult, head_name
from tests.figures import samples
from tests.fixtures import model_record
from tests.report import sample

READ = {"alpha": sample.result()}
MODEL = model_record(title="net", quantisation="Q4_1")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_round_trip_is_exact() -> None:
    found = rows(scores_csv(READ, MODEL))
    assert tuple(found[0]) == COLUMNS
    assert {row["model"] for row in found} == {"net (dequantised from Q4_1)"}
    for score in READ["alpha"].scores:
        mine = [r for r in found if (r["measure"], r["task"]) == (score.measure, score.task)]
        assert len(mine) == score.values.size
        for row in mine:
            at = int(row["layer"]), int(row["head_index"])
            assert row["head"] == head_name(*at)
            want = score.values[at]
            assert row["value"] == "" if np.isnan(want) else np.float32(row["value"]) == want
            if score.low is not None and not np.isnan(want):
                assert np.float32(row["low"]) == score.low[at]
            assert row["n"] == str(score.n)


def test_nan_is_empty_with_its_reason_and_no_null_is_explained() -> None:
    found = rows(scores_csv(READ, MODEL))
    gap = next(r for r in found if (r["task"], r["layer"], r["head"]) == ("capital", "0", "L0H1"))
    assert (gap["value"], gap["low"], gap["note"]) == ("", "", "inactive head")
    names = next(r for r in found if r["task"] == "names")
    assert (names["p"], names["line"], names["note"]) == ("", "", "no null: no permutations of Mary")
    effect = next(r for r in found if r["task"] == "ioi")
    assert (effect["line"], effect["note"]) == ("0.9", "")


def test_order_does_not_depend_on_the_order_of_scoring() -> None:
    result = READ["alpha"]
    turned = SuiteResult("alpha", tuple(reversed(result.scores)))
    other = SuiteResult("zeta", (HeadScores("zeta/a/b", "x", sample.grid(0), 1, no_null="none"),))
    assert scores_csv({"zeta": other, "alpha": turned}, MODEL) == scores_csv({"alpha": result, "zeta": other}, MODEL)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\n=1"])
def test_formulas_are_defused(text: str) -> None:
    assert escape(text).startswith("'")


@given(st.text())
def test_notes_survive_csv(text: str) -> None:
    scores = HeadScores("a/b/c", "x", np.full((1, 1), np.nan, np.float32), 1, no_null="n", reasons={"*": text or "-"})
    (row,) = rows(scores_csv({"a": SuiteResult("a", (scores,))}, MODEL))
    assert row["note"] == escape(text or "-")
    assert not row["note"].startswith(("=", "+", "-", "@"))


def test_an_estimate_says_so_in_its_note() -> None:
    some = samples.estimated()
    found = rows(scores_csv({"circuits": SuiteResult("circuits", (some,))}, MODEL))
    told = next(r for r in found if r["head"] == "L2H3")
    assert (told["low"], told["p"], told["note"]) == ("", "", some.how_estimated)
    assert next(r for r in found if r["head"] == "L0H0")["note"] == ""


def test_p_of_each_head_and_its_false_discovery_rate_have_columns() -> None:
    plain = READ["alpha"].scores[0]
    each = np.where(np.isnan(plain.values), np.nan, np.linspace(0.001, 0.9, 12).reshape(3, 4)).astype(np.float32)
    found = rows(scores_csv({"alpha": SuiteResult("alpha", (replace(plain, p_each=each),))}, MODEL))
    known = each[np.isfinite(each)]
    for row in found:
        at = int(row["layer"]), int(row["head_index"])
        if np.isnan(each[at]):
            assert (row["p_each"], row["fdr"]) == ("", "")
            continue
        assert np.float32(row["p_each"]) == each[at]
        rates = [p * len(known) / (known <= p).sum() for p in known if p >= each[at]]  # by hand
        assert float(row["fdr"]) == pytest.approx(min(1, *rates, 1), rel=1e-5)
    before = rows(scores_csv({"alpha": SuiteResult("alpha", (plain,))}, MODEL))  # runs that do not hold it
    assert {(row["p_each"], row["fdr"]) for row in before} == {("", "")}
    assert [row["p"] for row in before] == [row["p"] for row in found]
