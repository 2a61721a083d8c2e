"""The pairs of relation maps: heads bright in both panels are flagged, on the map and in words."""

from __future__ import annotations

import re

from reportgen.figures import export
from reportgen.figures.figure import Figure
from reportgen.scores import HeadSet
from reportgen.suites.relations.drawing.figures import figures
from tests.figures import samples
from tests.suites.relations.made_up import result, scores

ID = "relations-name_copying-country_to_capital"
MOVERS = HeadSet("circuits/ioi/name_movers", "Name-Mover Heads", ((1, 2), (2, 0)), "Computed on this model (IOI)",
                 "computed: IOI on this model", "rule")  # fmt: skip


REUSED = HeadSet("circuits/reuse/reused", "Reused Heads", ((0, 1),), "'Circuits Components Reused' classifications",
                 "computed: circuits of IOI, Capitals on this model", "rule")  # fmt: skip


def pair(capital: dict[tuple[int, int], int], *more: HeadSet) -> Figure:
    made = result(
        scores("score", "name_copying", 40, {(1, 2): 30, (2, 0): 38, (2, 1): 20, (0, 3): 19}),
        scores("score", "country_to_capital", 40, capital, dead=[(0, 0)]),
        name_copying="Algorithmic", country_to_capital="Knowledge",
    )  # fmt: skip
    view = samples.view(3, 4, sets=[MOVERS, *more])
    return next(figure for figure in figures(made, view) if figure.id == ID)


def spots(figure: Figure, index: int, layer: str) -> list[tuple[float, float, float]]:
    spec = export.spec(figure)
    named = samples.layers_of(spec["hconcat"][index])
    rows = samples.values_of(spec, next(one for name, one in named.items() if re.fullmatch(rf"{layer}(_\d+)?", name)))
    return [(row["layer"], row["head"], row["size"]) for row in rows]


def test_heads_bright_in_both_panels_are_circled_counted_and_named() -> None:
    figure = pair({(1, 2): 20, (2, 1): 40, (2, 0): 19, (0, 3): 40})
    assert "Name Copying (left, n = 40 pairs) and Country to capital (right, n = 40) scores of GPT-2" in figure.caption
    assert "2 heads score 0.5 or more in both panels (L1H2, L2H1)" in samples.said(figure)
    assert "wide circles around, Generic Copiers (computed: these two maps)" in samples.said(figure)
    left, right = spots(figure, 0, "overlay1"), spots(figure, 1, "overlay0")  # the movers of IOI stand left alone
    assert [spot[:2] for spot in left] == [spot[:2] for spot in right] == [(1, 2), (2, 1)]
    cross = spots(figure, 0, "overlay0")[0]
    assert cross[:2] == (1, 2)  # the circle is around the cross, which keeps its place
    assert left[0][2] > cross[2]
    assert "Generic Copiers" in str(export.spec(figure))


def test_where_no_head_is_bright_in_both_the_caption_says_so() -> None:
    figure = pair({(2, 1): 19, (0, 3): 40})
    assert "No head scores 0.5 or more in both panels, so none is flagged as a generic copier." in samples.said(figure)
    assert "Generic Copiers" not in str(export.spec(figure))


def test_heads_that_tasks_share_are_marked_on_both_panels_under_the_papers_legend() -> None:
    figure = pair({(0, 3): 40}, REUSED)
    assert spots(figure, 0, "overlay1")[0][:2] == spots(figure, 1, "overlay0")[0][:2] == (0, 1)
    spec = export.spec(figure)
    titles = [row["text"] for rows in spec["datasets"].values() for row in rows if "text" in row]
    assert "'Circuits Components" in " ".join(titles)
    assert "Reused Heads (computed: circuits of IOI, Capitals on this model)" in samples.said(figure)
