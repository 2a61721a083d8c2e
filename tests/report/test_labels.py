"""The leading label of a head: the score in which it stands farthest beyond the null; tables of the leading heads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reportgen.report.document import Label
from reportgen.report.labels import (
    DISCOVERY,
    Led,
    beyond,
    count_led,
    general_notes,
    leading,
    leading_labels,
    margin,
    margins,
    null_line,
    order,
)
from reportgen.scores import HeadScores
from tests import fixtures
from tests.figures import samples
from tests.report import sample

ONE = (0.0, 1.0)


def scores(key: str, values: list[float], beyond: list[bool] | None = None, line: float | None = None) -> HeadScores:
    grid = np.array([values], np.float32)
    p = None if beyond is None else np.where([beyond], 0.01, 0.5).astype(np.float32)
    why = "" if beyond is not None or line is not None else "a description"
    return HeadScores(key, key, grid, 10, p=p, line=line, no_null=why, range=(-1.0, 1.0) if min(values) < 0 else ONE)


def test_the_line_of_p_values_parts_the_heads_with_the_fewest_errors() -> None:
    assert null_line(scores("a/m/t", [0.1, 0.2, 0.5, 0.9], [False, False, True, True])) == pytest.approx(0.2)
    one_small = scores("a/m/t", [0.01, 0.2, 0.3, 0.5, 0.9], [True, False, False, True, True])
    assert null_line(one_small) == pytest.approx(0.3)  # the head at 0.01 is the one error
    assert null_line(scores("a/m/t", [-0.9, 0.2, 0.1, 0.0], [True, False, False, False])) == pytest.approx(0.2)
    assert null_line(scores("a/m/t", [0.1, 0.2], [True, True])) == 0
    assert null_line(scores("a/m/t", [0.1, 0.2], line=0.15)) == pytest.approx(0.15)
    assert null_line(scores("a/m/t", [0.1, 0.2], [False, False])) is None
    assert null_line(scores("a/m/t", [0.1, 0.2])) is None


def test_a_margin_counts_standard_deviations_from_the_line_or_the_median_head() -> None:
    rare = scores("a/m/t", [0.0, 0.0, 0.0, 0.8], line=0.2)
    assert margin(rare, 0.8) == pytest.approx(0.6 / np.std([0, 0, 0, 0.8]))
    assert np.isnan(margins(rare)[0, :3]).all()
    common = scores("a/m/t", [0.5, 0.6, 0.7, 0.8], line=0.1)
    assert margin(common, 0.8) == pytest.approx(0.15 / np.std([0.5, 0.6, 0.7, 0.8]))
    assert np.isnan(margins(common)[0, :2]).all()  # beyond the null, as most heads are, and below the median one
    assert margin(scores("a/m/t", [0.3, 0.3], line=0.1), 0.3) is None


def test_what_most_heads_do_leads_none_that_does_something_rare() -> None:
    common = scores("a/first/t", [0.7, 0.8, 0.6, 0.9, 0.75, 0.65, 0.85, 0.5], [True] * 8)
    rare = scores("a/induction/t", [0.0, 0.01, 0.0, 0.6, 0.0, 0.02, 0.0, 0.0], [False] * 3 + [True] + [False] * 4)
    labels = leading_labels([common, rare])
    assert labels[0, 3].key == "a/induction/t"
    assert labels[0, 3].margin > 2
    assert labels[0, 6].key == "a/first/t"
    assert set(labels) == {(0, 1), (0, 3), (0, 6), (0, 4)}  # the others stand out in nothing


def test_ties_are_named_and_multiples_count_once() -> None:
    effect = scores("a/direct/t", [0.0, 0.01, 0.0, 0.6, 0.0], line=0.1)
    raw = scores("a/direct_raw/t", [0.0, 0.0025, 0.0, 0.15, 0.0], line=0.025)
    other = scores("a/total/t", [0.0, 0.0, 0.02, 0.6, 0.0], line=0.11)
    weaker = scores("a/weak/t", [0.3, 0.0, 0.2, 0.6, 0.0], line=0.1)
    labels = leading_labels([effect, raw, other, weaker])
    assert labels[0, 3] == Label("a/direct/t", pytest.approx(labels[0, 3].margin), ("a/total/t",))
    assert count_led(labels) == {"a/direct/t": 1, "a/total/t": 1, "a/weak/t": 1}
    assert leading_labels([]) == {}


SCORES = sample.result().scores


def test_signed_scores_are_ordered_by_size() -> None:
    assert order(sample.signed())[0] == (2, 1)
    plain = fixtures.head_scores()
    assert order(plain) == plain.ranking()
    assert (0, 1) not in order(plain)


def test_parts_are_measures_of_several_tasks_then_the_single_ones() -> None:
    parts = leading({"score": "Relation score"}, SCORES)
    assert [p.title for p in parts] == ["Relation score", "By measure"]
    assert [row[0] for row in parts[0].overview.rows] == ["Capital score", "Names Mary"]
    assert len(parts[0].heads.rows) == 2 * 5
    assert len(parts[1].heads.rows) == 10


def test_overview_says_value_interval_n_p_and_counts() -> None:
    capital = fixtures.head_scores()
    best = capital.ranking()[0]
    row = leading({}, [capital])[0].overview.rows[0]
    value = float(capital.values[best])
    name = f"L{best[0]}H{best[1]}"
    assert row[1:3] == (name, f"{value:.3f}")
    assert row[3].startswith(f"[{value - 0.1:.3f}, ")
    assert row[4:] == ("40", "0.010", str(int((capital.values > 0.8).sum())), "0", "11 / 12")


def test_scores_without_a_null_say_so() -> None:
    parts = leading({}, SCORES)
    assert parts[0].notes == ("No null for Names Mary: no permutations of Mary.",)
    assert leading({}, [SCORES[1]])[0].notes == ("No null: no permutations of Mary.",)
    assert parts[0].overview.rows[1][3:7] == ("–", "not given", "–", "–")


def test_a_grid_without_any_value_has_dashes() -> None:
    empty = HeadScores("a/b/c", "x", np.full((1, 2), np.nan, np.float32), 0, no_null="n", reasons={"*": "why"})
    assert leading({}, [empty])[0].overview.rows == (("x", "–", "–", "–", "not given", "–", "–", "–", "0 / 2"),)


def test_heads_have_their_leading_label_and_scores_the_count_of_those_they_lead() -> None:
    capital = fixtures.head_scores()
    first, second = capital.ranking()[:2]
    labels = {first: Label(capital.key, 3.0), second: Label("a/other/b", 2.0, ("a/c/d",))}
    part = leading({}, [capital], Led(labels, {"a/other/b": "Other"}))[0]
    assert part.overview.rows[0][-2] == "1"
    assert [row[-1] for row in part.heads.rows[:3]] == [capital.key, "Other (tied with 1 other)", "–"]


def test_beyond_counts_by_p_or_by_line() -> None:
    assert beyond(sample.signed()) == str(int((abs(sample.signed().values) > 0.9).sum()))
    assert beyond(SCORES[1]) == "–"


def test_the_reader_is_warned_of_selection() -> None:
    assert "rank first" in general_notes(SCORES)[0]
    assert general_notes([SCORES[1]]) == ()


def test_estimates_lead_no_table_and_are_not_counted() -> None:
    some = samples.estimated()
    row = leading({}, [some])[0].overview.rows[0]
    assert row[1] == "L0H0"  # the largest of the exact ones; larger estimates stand above it
    assert (row[-3], row[-1]) == ("4", "4 / 12")
    assert not any(name.startswith(("L1", "L2")) for name in (r[1] for r in leading({}, [some])[0].heads.rows))


def test_a_false_discovery_rate_stands_beside_the_family_wise_p_where_each_head_s_p_is_stored() -> None:
    plain = scores("a/m/t", [0.9, 0.8, 0.2, 0.1], [True, False, False, False])
    each = replace(plain, p_each=np.array([[0.004, 0.02, 0.3, np.nan]], np.float32))
    rates = each.fdr
    assert rates is not None
    np.testing.assert_allclose(rates[0, :3], [0.012, 0.03, 0.3], rtol=1e-5)  # times 3 tests over the rank
    assert np.isnan(rates[0, 3])
    (part,) = leading({"m": "M"}, [each, replace(each, key="a/m/u", label="u", p_each=None)])
    assert part.heads.columns[5:7] == ("Adjusted p", "FDR")
    assert [row[6] for row in part.heads.rows] == ["0.012", "0.030", "0.300", "\u2013", *["\u2013"] * 4]
    assert len(part.heads.columns) == len(part.heads.numeric) == len(part.heads.rows[0])
    assert DISCOVERY in general_notes([each])
    (before,) = leading({"m": "M"}, [plain])
    assert "FDR" not in before.heads.columns  # runs of earlier versions do not store it
    assert DISCOVERY not in general_notes([plain])
