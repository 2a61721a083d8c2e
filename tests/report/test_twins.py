from __future__ import annotations

from reportgen.figures import chart_data
from reportgen.report.html import MAX_ROWS, is_map, panel_keys, rows, twins
from reportgen.scores import Column, Table
from tests import fixtures


def test_a_map_becomes_a_matrix_with_its_gaps() -> None:
    scores = fixtures.head_scores()
    (grid,) = twins(chart_data.table([(scores, ())]))
    assert grid.matrix
    assert grid.columns == ("layer", "0", "1", "2", "3")
    assert [row[0] for row in grid.rows] == ["0", "1", "2"]
    assert grid.rows[0][2] == "–"
    assert grid.rows[2][4] == f"{scores.values[2, 3]:.4f}"


def test_two_panels_become_two_matrices_named_by_their_score() -> None:
    both = chart_data.table([(fixtures.head_scores(), ()), (fixtures.head_scores("relations/score/names", seed=2), ())])
    assert [g.title for g in twins(both)] == ["relations/score/capital", "relations/score/names"]
    assert panel_keys(both) == ("relations/score/capital", "relations/score/names")


def test_other_data_stay_rows() -> None:
    columns = (Column("k"), Column("share", "%", 1), Column("ok"))
    table = Table("t", "Curve", columns, ((1, 0.25, True), (20000, None, False)))
    assert not is_map(table)
    (grid,) = twins(table)
    assert grid.columns == ("k", "share (%)", "ok")
    assert grid.rows == (("1", "0.2", "yes"), ("20,000", "–", "no"))
    assert grid.numeric == (True, True, False)


def test_long_tables_are_cut_and_say_so() -> None:
    table = Table("t", "Long", (Column("i"),), tuple((i,) for i in range(MAX_ROWS + 7)))
    grid = rows(table)
    assert (len(grid.rows), grid.hidden) == (MAX_ROWS, 7)


def test_large_maps_are_given_as_rows() -> None:
    scores = fixtures.head_scores()
    assert not twins(chart_data.table([(scores, ())]), limit=11)[0].matrix
    assert twins(chart_data.table([(scores, ())]), limit=12)[0].matrix
