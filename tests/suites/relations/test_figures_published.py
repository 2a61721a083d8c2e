"""Lists of heads on relation scores: the figure, the table behind it, and the sentence in the maps' notes."""

from __future__ import annotations

import re
from dataclasses import replace

from reportgen.figures import export
from reportgen.figures.figure import Figure
from reportgen.published.catalogue import sets_for
from reportgen.scores import HeadSet, SuiteResult
from reportgen.suites.relations.figures import figures
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


def panel(figure: Figure, index: int, layer: str) -> list[dict[str, object]]:
    spec = export.spec(figure)
    named = samples.layers_of(spec["hconcat"][index])  # Altair numbers the names of layers in a row of charts
    return samples.values_of(spec, next(one for name, one in named.items() if re.fullmatch(rf"{layer}(_\d+)?", name)))


def test_a_maps_notes_say_how_the_marked_heads_score() -> None:
    said = samples.said(drawn(made(), *sets_for("gpt2"))["relations-name_copying"])
    assert (
        "Name Copying score, listed heads at τ or above: Name-Mover Heads 3 of 3 [0.44, 1.00], AUROC 1.00, "
        "layer-matched p = 1/792; Backup Name-Mover Heads 1 of 8 [0.02, 0.47]" in said
    )
    assert "1 other head at τ or above is on none of these lists (L3H3)." in said
    assert "lists are not exhaustive" in said
    bare = samples.said(drawn(made())["relations-name_copying"])
    assert "listed heads" not in bare
    assert "lists are not exhaustive" not in bare
    old = replace(made(), facts={})
    assert "listed heads" not in samples.said(drawn(old, *sets_for("gpt2"))["relations-name_copying"])


def test_the_figure_draws_what_the_maps_mark_under_their_scores() -> None:
    figure = drawn(made(), *sets_for("gpt2"))["relations-published"]
    assert [row["text"] for row in panel(figure, 0, "groups")] == ["Name copying", "(Suppression) Name copying"]
    assert [row["text"] for row in panel(figure, 0, "names")] == [
        "Name-Mover Heads, 3 of 3 (Wang et al. 2022)",
        "Backup Name-Mover Heads, 1 of 8 (Wang et al. 2022)",
        "(Negative) Name-Mover Heads, 1 of 2 (Wang et al. 2022)",
        "Backup (Negative) Name-Mover Heads, 0 of 1 (Wang et al. 2022)",
    ]
    assert panel(figure, 3, "p")[0]["text"] == "1/792"
    assert len(panel(figure, 1, "shares")) == 3
    assert len(panel(figure, 1, "shares_unconfirmed")) == 1
    assert panel(figure, 2, "aurocs")[0]["x"] == 1.0
    assert "highest AUROC 1.00" in figure.caption
    assert "Hollow: unconfirmed lists." in samples.said(figure)
    assert "No precision is given" in samples.said(figure)


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
    assert len(panel(figure, 0, "names")) == 20
    assert "7 lines not" in samples.said(figure)  # 9 sets on 3 maps


def test_without_lists_or_threshold_there_is_no_figure() -> None:
    assert "relations-published" not in drawn(made())
    assert "relations-published" not in drawn(replace(made(), facts={}), *sets_for("gpt2"))


def test_synthetic_numbers_say_so() -> None:
    figure = drawn(made(), *sets_for("gpt2"), synthetic=True)["relations-published"]
    assert "SYNTHETIC" in figure.caption
    assert [row["text"] for row in panel(figure, 1, "watermark")] == ["SYNTHETIC"]
