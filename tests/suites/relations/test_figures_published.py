"""Lists of heads on relation scores: values worked out by hand, the figure, its table, and the sentence in notes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, rankdata

from reportgen.figures import export
from reportgen.figures.figure import Figure
from reportgen.published import sets_for
from reportgen.scores import HeadScores, HeadSet, SuiteResult
from reportgen.suites.relations.drawing import published
from reportgen.suites.relations.drawing.figures import figures
from reportgen.suites.relations.drawing.published import LayerMatchedSets, evidence, evidence_table
from tests.figures import samples
from tests.suites.relations.made_up import result, scores

SIZE = (12, 12)
COPYING = {(9, 9): 40, (10, 0): 38, (9, 6): 36, (3, 3): 35, (10, 10): 6}


def made() -> SuiteResult:
    return result(
        scores("score", "name_copying", 40, COPYING, SIZE),
        scores("suppression", "name_copying", 40, {(10, 7): 30, (11, 10): 5}, SIZE),
        scores("score", "capital", 40, {(9, 9): 2}, SIZE),
        name_copying="Algorithmic", capital="Knowledge",
    )  # fmt: skip


def drawn(of: SuiteResult, *sets: HeadSet, **record: object) -> dict[str, Figure]:
    view = samples.view(*SIZE, sets=sets, **record)  # type: ignore[arg-type]
    return {figure.id: figure for figure in figures(of, view)}


def rows(figure: Figure) -> list[dict[str, object]]:
    return [dict(zip([c.name for c in figure.data.columns], row, strict=True)) for row in figure.data.rows]


def layer(figure: Figure, name: str) -> list[dict[str, object]]:
    return samples.rows_of(export.spec(figure), name)


def test_a_maps_notes_say_how_the_marked_heads_score() -> None:
    said = samples.said(drawn(made(), *sets_for("gpt2"))["relations-name_copying"])
    assert (
        "Name Copying score, listed heads at τ or above: Name-Mover Heads 3 of 3 [0.44, 1.00], AUROC 1.00, "
        "layer-matched p = 1/792; Backup Name-Mover Heads 1 of 8 [0.02, 0.47]" in said
    )
    assert "1 other head at τ or above is on none of these lists (L3H3)." in said
    assert "lists are incomplete" in said
    bare = samples.said(drawn(made())["relations-name_copying"])
    assert "listed heads" not in bare
    assert "lists are incomplete" not in bare
    old = replace(made(), facts={})
    assert "listed heads" not in samples.said(drawn(old, *sets_for("gpt2"))["relations-name_copying"])


def test_the_figure_draws_what_the_maps_mark_under_their_scores() -> None:
    figure = drawn(made(), *sets_for("gpt2"))["relations-published"]
    assert [row["text"] for row in layer(figure, "groups")] == ["Name copying", "(Suppression) Name copying"]
    assert [row["text"] for row in layer(figure, "names")] == [
        "Name-Mover Heads, 3 of 3 (Wang et al. 2022)",
        "Backup Name-Mover Heads, 1 of 8 (Wang et al. 2022)",
        "(Negative) Name-Mover Heads, 1 of 2 (Wang et al. 2022)",
        "Backup (Negative) Name-Mover Heads, 0 of 1 (Wang et al. 2022)",
    ]
    assert layer(figure, "p")[0]["text"] == "1/792"
    assert len(layer(figure, "shares")) == 3
    assert len(layer(figure, "shares_unconfirmed")) == 1
    assert layer(figure, "aurocs")[0]["value"] == 1.0
    assert "highest AUROC 1.00" in figure.caption
    assert "Hollow: unconfirmed lists." in samples.said(figure)
    assert "precision cannot be computed" in samples.said(figure)


def test_the_table_has_every_list_on_every_relation_drawn_ones_first() -> None:
    sets = sets_for("gpt2")
    figure = drawn(made(), *sets)["relations-published"]
    table = rows(figure)
    lists = [s for s in sets if s.key.startswith("published/")]
    assert len(table) == 3 * (len(lists) + 1)  # and the optional list that the suppression map draws
    assert (table[0]["set"], table[0]["relation"], table[0]["which"]) == (
        "Name-Mover Heads",
        "name_copying",
        "L3H3 L10H10",
    )


def test_sets_of_other_suites_count_and_this_suites_own_do_not() -> None:
    own = HeadSet("relations/name_copying/score", "Name copying heads", ((9, 9),), "x", "computed: x", "score >= 0.15")
    other = HeadSet("circuits/ioi/name_movers", "Name movers", ((9, 9),), "x", "computed: IOI", "effect")
    user = HeadSet("user/mine/a", "My heads", ((0, 0),), "'mine'", "mine.toml", "listed", "user")
    found = drawn(made(), own, other, user)
    assert {row["set"] for row in rows(found["relations-published"])} == {"Name movers", "My heads"}
    assert "Name copying heads" not in samples.said(found["relations-name_copying"])
    assert "relations-published" not in drawn(made(), own)


def test_a_users_many_lines_are_cut_and_the_notes_say_so() -> None:
    users = [
        HeadSet(f"user/mine/{i}", f"Set {i}", ((i, i),), "'mine'", "mine.toml", "listed", "user") for i in range(9)
    ]
    figure = drawn(made(), *users)["relations-published"]
    assert len(layer(figure, "names")) == 20
    assert "7 lines omitted" in samples.said(figure)  # 9 sets on 3 maps


def test_without_lists_or_threshold_there_is_no_figure() -> None:
    assert "relations-published" not in drawn(made())
    assert "relations-published" not in drawn(replace(made(), facts={}), *sets_for("gpt2"))


def test_synthetic_numbers_say_so() -> None:
    figure = drawn(made(), *sets_for("gpt2"), synthetic=True)["relations-published"]
    assert "SYNTHETIC" in figure.caption
    assert [row["text"] for row in layer(figure, "watermark")] == ["SYNTHETIC"]


MOVERS = HeadSet("published/wang2022ioi/name_mover_heads", "Name-Mover Heads", ((9, 9), (10, 0), (9, 6)), "IOI",
                 "wang2022ioi", "Fig. 2", "published")  # fmt: skip


def heads(*at: tuple[int, int]) -> HeadSet:
    return HeadSet("user/mine/x", "Mine", at, "Mine", "mine.toml", "by hand", "user")


def test_three_name_movers_of_gpt2_have_792_layer_matched_sets() -> None:
    """Two heads of layer 9 and one of layer 10: C(12, 2) * 12 sets, the smallest p is 1/792."""
    top = scores("score", "name_copying", 40, {(9, 9): 40, (10, 0): 38, (9, 6): 36, (3, 3): 35}, (12, 12))
    found = evidence(top, MOVERS, 0.15)
    assert (found.sets, found.enumerated, found.p) == (792, True, pytest.approx(1 / 792))
    assert found.p_words == "1/792"
    assert found.auroc == 1.0
    assert (found.hits, found.listed, found.absent) == (3, 3, 0)
    assert (found.low, found.high) == (pytest.approx(0.4385, abs=1e-4), 1.0)  # Wilson's interval of 3 of 3
    assert found.extra == ("L3H3",)


def test_auroc_and_p_worked_out_by_hand() -> None:
    """Layer 0: 0 0 1 2, layer 1: 0 0 0 4 hits; the set is L0H2 and L1H3.

    Mid-ranks: five zeros share 3, then 6 (one hit), 7 (two hits), 8 (four hits). R = 6 + 8 = 14, AUROC = (14 - 3) / 12.
    Of the 4 * 4 sets with one head per layer, 14 is reached by (6, 8) and (7, 8): p = 2/16.
    """
    of = scores("score", "x", 10, {(0, 2): 1, (0, 3): 2, (1, 3): 4}, (2, 4))
    found = evidence(of, heads((0, 2), (1, 3)), 0.15)
    assert found.auroc == pytest.approx(11 / 12)
    assert (found.p, found.sets, found.p_words) == (2 / 16, 16, "2/16")
    assert (found.hits, found.recall, found.extra) == (1, 0.5, ("L0H3",))
    sums = sorted(a + b for a in (3, 3, 6, 7) for b in (3, 3, 3, 8))
    assert found.null == tuple(pytest.approx((np.percentile(sums, q) - 3) / 12) for q in (5, 95))


def test_a_late_layer_that_scores_high_as_a_whole_says_nothing_for_its_members() -> None:
    late = {(3, head): 30 for head in range(6)}
    found = evidence(scores("score", "x", 40, late, (4, 6)), heads((3, 0), (3, 5)), 0.15)
    assert found.auroc > 0.8
    assert found.p == 1.0


def test_a_lower_set_has_a_large_p() -> None:
    of = scores("score", "x", 40, {(0, head): head for head in range(5)}, (1, 5))
    assert evidence(of, heads((0, 0)), 0.15).p == 1.0
    assert evidence(of, heads((0, 4)), 0.15).p == pytest.approx(1 / 5)


def test_many_sets_are_sampled_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    hits = {(layer, head): int(rng.integers(0, 41)) for layer in range(8) for head in range(12)}
    of = scores("score", "x", 40, hits, (8, 12))
    mine = heads(*[(layer, head) for layer in range(8) for head in (0, 5)])
    found = evidence(of, mine, 0.15)
    assert (found.enumerated, found.sets) == (False, published.DRAWS)
    assert evidence(of, mine, 0.15).p == found.p
    assert "/" not in found.p_words
    assert (found.p * (found.sets + 1)) % 1 == pytest.approx(0, abs=1e-6)  # (1 + #) / (B + 1)
    ranks, members = rankdata(of.values).reshape(8, 12), published.inside(mine, of)
    shuffled = [sum(rng.permutation(row)[:2].sum() for row in ranks) for _ in range(4000)]
    assert found.p == pytest.approx(np.mean(np.array(shuffled) >= ranks[members].sum()), abs=0.03)


@pytest.mark.parametrize("draws", [9999, 5])
def test_matched_sets_have_as_many_heads_in_every_layer(draws: int) -> None:
    members = np.zeros((3, 4), dtype=bool)
    members[0, :2] = members[2, 0] = True
    known = np.ones((3, 4), dtype=bool)
    known[0, 3] = False
    matched = LayerMatchedSets(members, known, 0, draws)
    assert (matched.sets, matched.enumerated) == ((3 * 4, True) if draws > 12 else (5, False))
    per_layer = np.repeat([100.0, 10.0, 1.0], 4)  # a sum of 201: two heads of layer 0, one of layer 2
    assert set(matched.sums(per_layer)) == {201.0}
    only_unknown = np.where(known.ravel(), 0.0, 1.0)
    assert matched.sums(only_unknown).max() == 0


def test_sampled_sets_are_uniform() -> None:
    """Each of 6 pairs out of 4 heads in one of 6 draws, within sampling error."""
    members = np.array([[True, True, False, False], [True, False, False, False]])
    matched = LayerMatchedSets(members, np.ones((2, 4), dtype=bool), 1, draws=20)
    assert not matched.enumerated
    big = LayerMatchedSets(np.array([[True, True, False, False]] * 3), np.ones((3, 4), dtype=bool), 1, draws=200)
    sums = np.concatenate(
        [
            LayerMatchedSets(np.array([[True, True, False, False]] * 3), np.ones((3, 4), dtype=bool), seed, 200).sums(
                np.array([1.0, 2, 4, 8] + [0] * 8)
            )
            for seed in range(20)
        ]
    )
    assert not big.enumerated
    values, counts = np.unique(sums, return_counts=True)
    assert values.tolist() == [3, 5, 6, 9, 10, 12]
    assert np.abs(counts / len(sums) - 1 / 6).max() < 0.03


@given(seed=st.integers(0, 10**6))
def test_auroc_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hits = {(layer, head): int(rng.integers(0, 6)) for layer in range(4) for head in range(5)}
    of = scores("score", "x", 5, hits, (4, 5), dead=[(3, 4)])
    chosen = [(layer, head) for layer in range(4) for head in range(5) if rng.random() < 0.3 or (layer, head) == (0, 0)]
    found = evidence(of, heads(*chosen), 0.15)
    members, known = published.inside(heads(*chosen), of), np.isfinite(of.values)
    expected = mannwhitneyu(of.values[members & known], of.values[~members & known]).statistic
    assert found.auroc == pytest.approx(expected / (found.listed * (known & ~members).sum()))


def test_heads_without_a_value_and_off_the_grid_are_left_out() -> None:
    of = scores("score", "x", 40, {(0, 0): 40}, (2, 3), dead=[(0, 1)])
    found = evidence(of, heads((0, 0), (0, 1), (7, 7)), 0.15)
    assert (found.listed, found.absent, found.hits, found.sets) == (1, 2, 1, 2)


@pytest.mark.parametrize("at", [((7, 7),), tuple((layer, head) for layer in range(2) for head in range(3))])
def test_without_members_or_others_there_is_no_auroc(at: tuple[tuple[int, int], ...]) -> None:
    found = evidence(scores("score", "x", 40, {(0, 0): 40}, (2, 3)), heads(*at), 0.15)
    assert math.isnan(found.auroc)
    assert math.isnan(found.p)
    assert (found.sets, found.p_words) == (0, "")


def test_the_table_holds_every_set_on_every_score() -> None:
    of = [scores("score", stem, 40, {(9, 9): 40}, (12, 12)) for stem in ("a", "b")]
    of.append(scores("score", "c", 40, {}, (12, 12), dead=[(9, 9), (0, 0)]))
    found = evidence_table(of, [MOVERS, heads((0, 0))], 0.15)
    assert [(e.head_set.label, e.scores.task) for e in found] == [
        (label, task) for label in ("Name-Mover Heads", "Mine") for task in "abc"
    ]
    assert [e.sets for e in found] == [792, 792, 11 * 12, 12, 12, 0]  # layer 9 has 11 heads left on c
    assert [e.p for e in found[:3]] == [evidence(one, MOVERS, 0.15).p for one in of]
    table = published.as_table(found, "title")
    assert len(table.rows) == 6
    row = dict(zip([c.name for c in table.columns], table.rows[5], strict=True))
    assert (row["AUROC"], row["p"], row["recall"], row["heads"], row["without a value"]) == (None, None, None, 0, 1)
    assert "exhaustive" in table.caption


def test_a_float_share_of_exactly_tau_counts_as_at_tau() -> None:
    of: HeadScores = scores("score", "x", 40, {(0, 0): 6, (0, 1): 6}, (2, 3))
    found = evidence(of, heads((0, 0)), 0.15)
    assert (found.hits, found.extra) == (1, ("L0H1",))
