"""Which heads are in which categories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.scores import SuiteResult
from reportgen.suites.relations import categories
from reportgen.suites.relations.categories import Expected, Membership
from tests.suites.relations.made_up import result, scores


def members(of: SuiteResult, measure: str = "score") -> Membership:
    found = categories.memberships(of, measure, 0.15)
    assert found is not None
    return found


@pytest.mark.parametrize(("hits", "n", "is_in"), [(6, 40, True), (5, 40, False), (15, 100, True), (14, 100, False)])
def test_tau_is_compared_in_whole_pairs(hits: int, n: int, is_in: bool) -> None:
    assert categories.reached(scores("score", "x", n, {(0, 0): hits}), 0.15)[0, 0] == is_in


@given(hits=st.integers(0, 300), n=st.integers(1, 300))
def test_the_integer_rule_is_100_hits_at_least_15_n(hits: int, n: int) -> None:
    hits = min(hits, n)
    assert categories.reached(scores("score", "x", n, {(0, 0): hits}), 0.15)[0, 0] == (100 * hits >= 15 * n)


def test_a_head_without_a_value_and_a_relation_without_pairs_reach_nothing() -> None:
    assert not categories.reached(scores("score", "x", 40, {(0, 0): 40}, dead=[(0, 0)]), 0.15).any()
    assert not categories.reached(scores("adjusted", "x", 0, {}), 0.15).any()


def test_one_relation_is_enough_for_a_category() -> None:
    m = members(
        result(
            scores("score", "a1", 40, {(0, 0): 40, (0, 1): 1}),
            scores("score", "a2", 40, {(0, 1): 40}),
            scores("score", "k1", 40, {(0, 1): 40}),
            a1="Algorithmic", a2="Algorithmic", k1="Knowledge",
        )
    )  # fmt: skip
    assert m.names == ("Algorithmic", "Knowledge")
    assert m.member[0, 0, :2].tolist() == [True, True]
    assert m.member[1, 0, :2].tolist() == [False, True]
    assert m.count[0, :3].tolist() == [1, 2, 0]
    assert [categories.class_of(m, (0, h)) for h in range(3)] == ["Algorithmic", "2 categories", "Unclassified"]
    assert [(r.title, r.score) for r in m.relations[0, 1]] == [("A2", 1.0), ("K1", 1.0)]


def test_categories_stand_in_the_papers_order_and_the_users_after_them() -> None:
    assert categories.in_order(["Zoo", "Translation", "Algorithmic", "Birds", "Linguistic", "Zoo"]) == (
        "Algorithmic", "Linguistic", "Translation", "Birds", "Zoo",
    )  # fmt: skip


def test_a_head_is_unsure_where_an_interval_spans_tau_and_no_relation_settles_it() -> None:
    """5 of 40: 95 % interval 0.055 to 0.261; 20 of 40: 0.352 to 0.648; 1 of 40: 0.004 to 0.129."""
    m = members(
        result(
            scores("score", "a1", 40, {(0, 0): 5, (0, 1): 20, (0, 2): 1, (0, 3): 8}),
            scores("score", "a2", 40, {(0, 0): 0, (0, 1): 5, (0, 2): 1}),
            a1="Algorithmic", a2="Algorithmic",
        )
    )  # fmt: skip
    assert m.unsure[0, 0].tolist() == [True, False, False, True]
    assert m.member[0, 0].tolist() == [False, True, False, True]


def test_a_dead_head_is_not_computed_and_not_unclassified() -> None:
    of = result(scores("score", "a1", 40, {}, dead=[(1, 2)]), a1="Algorithmic")
    m = members(of)
    assert m.absent[1, 2]
    assert categories.class_of(m, (1, 2)) == "not computed"
    assert categories.why_missing(of, m, (1, 2)) == "inactive head"


def test_a_relation_without_pairs_is_named_and_the_others_of_its_category_count() -> None:
    m = members(
        result(
            scores("score", "a1", 40, {}), scores("score", "a2", 40, {}),
            scores("adjusted", "a1", 0, {}), scores("adjusted", "a2", 36, {(2, 3): 36}),
            a1="Algorithmic", a2="Algorithmic",
        ),
        "adjusted",
    )  # fmt: skip
    assert m.empty == ("A1",)
    assert m.known.all()
    assert m.member[0, 2, 3]


def test_a_run_without_categories_or_without_the_measure_has_no_memberships() -> None:
    plain = scores("score", "a1", 40, {})
    assert categories.memberships(SuiteResult("relations", (plain,), facts={"tau": 0.15}), "score", 0.15) is None
    assert categories.memberships(result(plain, a1="Algorithmic"), "adjusted", 0.15) is None


@pytest.mark.parametrize("facts", [{}, {"tau": None}, {"tau": "0.15"}, {"tau": 0}])
def test_a_threshold_is_only_what_the_run_states(facts: dict[str, object]) -> None:
    assert categories.threshold(SuiteResult("relations", facts=facts)) is None


def test_a_controls_heads_are_counted_once_per_category() -> None:
    """Draw 1: L0H0 on both relations of A; draw 2: nothing. Mean over draws."""
    one, none = np.zeros((2, 2)), np.zeros((2, 2))
    one[0, 0] = 10
    one[1, 1] = np.nan
    draws = [{"a1": (one, 20), "a2": (one, 20), "k1": (none, 20)}, {"a1": (none, 20), "a2": (none, 20), "k1": (one, 0)}]
    counts = categories.control_counts(draws, {"a1": "A", "a2": "A", "k1": "K"}, 0.15)
    assert counts == {"A": 0.5, "K": 0.0, categories.ALL: 0.5}


def with_controls(**counts: int) -> SuiteResult:
    of = result(*(scores("score", stem, 40, {}) for stem in counts), **{stem: stem[0].upper() for stem in counts})
    relations = {
        stem: {**of.facts["relations"][stem],  # type: ignore[index]
               "twin": {"draws": 2, "n_heads": 24, "measures": {"score": {"max": 0.2, "n_at_tau": count}}}}
        for stem, count in counts.items()
    }  # fmt: skip
    return replace(of, facts={**of.facts, "relations": relations})


def test_without_exact_counts_a_controls_heads_lie_between_the_largest_and_the_sum() -> None:
    of = with_controls(a1=4, a2=2, k1=0)
    found = categories.expected(of, "twin", "score", ("A", "K"))
    assert found == {categories.ALL: Expected(2.0, 3.0), "A": Expected(2.0, 3.0), "K": Expected(0.0, 0.0)}
    assert categories.expected(of, "matched", "score", ("A", "K")) == {}
    assert categories.expected(of, "twin", "adjusted", ("A", "K")) == {}
    whole = categories.expected(with_controls(a1=24, a2=24), "twin", "score", ("A",))
    assert whole["A"] == Expected(12.0, 12.0)  # no more than there are heads


def test_exact_counts_are_preferred() -> None:
    of = with_controls(a1=4, a2=2)
    of = replace(of, facts={**of.facts, "control_categories": {"twin": {"score": {categories.ALL: 2.5, "A": 2.5}}}})
    assert categories.expected(of, "twin", "score", ("A",))["A"] == Expected(2.5, 2.5)


def test_heads_of_several_categories_have_a_table_of_their_own() -> None:
    of = result(
        scores("score", "a1", 40, {(2, 0): 20, (0, 0): 40, (1, 1): 6}),
        scores("score", "a2", 40, {(2, 0): 10, (0, 0): 40}),
        scores("score", "k1", 40, {(2, 0): 40, (1, 1): 5}),
        a1="Algorithmic", a2="Algorithmic", k1="Knowledge",
    )  # fmt: skip
    (table,) = categories.several_table(of, 0.15)
    assert table.key == "several_categories"
    assert table.rows == (("L2H0", 2, 3, "Algorithmic; Knowledge", "K1 (1.00); A1 (0.50); A2 (0.25)"),)
    assert categories.several_table(of, 0.9) == ()  # L0H0 alone, of one category
    assert categories.several_table(result(scores("score", "a1", 40, {(0, 0): 40})), 0.15) == ()


def test_the_table_starts_with_heads_of_the_most_categories_and_names_their_relations() -> None:
    of = result(
        scores("score", "a1", 40, {(2, 0): 20, (0, 0): 40, (1, 1): 5}, dead=[(0, 3)]),
        scores("score", "k1", 40, {(2, 0): 40}, dead=[(0, 3)]),
        a1="Algorithmic", k1="Knowledge",
    )  # fmt: skip
    made = categories.table([members(of)], of, "title")
    rows = [dict(zip([c.name for c in made.columns], row, strict=True)) for row in made.rows]
    assert len(rows) == 12
    assert rows[0] == {
        "rule": "relation score", "head": "L2H0", "class": "2 categories", "categories": "Algorithmic; Knowledge",
        "relations implemented": "K1 (1.00); A1 (0.50)", "interval spans tau for": "", "note": "",
    }  # fmt: skip
    assert (rows[1]["head"], rows[1]["class"]) == ("L0H0", "Algorithmic")
    by_head = {row["head"]: row for row in rows}
    assert by_head["L1H1"]["interval spans tau for"] == "Algorithmic"
    assert (by_head["L0H3"]["class"], by_head["L0H3"]["note"]) == ("not computed", "inactive head")
