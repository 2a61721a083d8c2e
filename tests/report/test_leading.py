from __future__ import annotations

import numpy as np

from reportgen.report.labels import Label
from reportgen.report.leading import Led, beyond, general_notes, leading, order
from reportgen.scores import HeadScores
from tests import fixtures
from tests.figures import samples
from tests.report import sample

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
