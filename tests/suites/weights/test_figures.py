"""The figures of the suite, from a run of the bundled model and from what such a run may lack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.figures import export
from reportgen.figures.figure import Figure, View
from reportgen.models.load import load
from reportgen.scores import HeadScores, HeadSet, SuiteResult, head_name
from reportgen.suites.base import Context
from reportgen.suites.ranked import ranked
from reportgen.suites.weights.drawing.figures import figures
from reportgen.suites.weights.drawing.matrix import MOST, PairMatrix
from reportgen.suites.weights.drawing.pairs import induction_pairs
from reportgen.suites.weights.found import spearman
from reportgen.suites.weights.scoring.score import score
from reportgen.suites.weights.suite import SUITE

SMALL = {"rotations": 40, "permutations": 99, "words": 100, "keys": 200}
PREVIOUS, INDUCTION = (3, 6), (4, 1)  # the bundled model's, by their attention
HEADS = {"previous_token_heads": (PREVIOUS,), "induction_heads": (INDUCTION, (4, 5))}


def found_on_prompts() -> list[HeadSet]:
    """Sets as another suite of the run names them."""
    return [
        HeadSet(f"other/words/{name}", name.replace("_", " ").capitalize(), heads, "Found", "computed: words", "a rule")
        for name, heads in HEADS.items()
    ]


@pytest.fixture(scope="module")
def result() -> SuiteResult:
    torch.set_num_threads(1)
    return score(load("mini", device="cpu"), SUITE.make_settings("quick", SMALL), Context(seed=0, threads=1))


@pytest.fixture(scope="module")
def view() -> View:
    from reportgen.models.load import inspect

    record = inspect("mini", device="cpu")[0]
    return View(record, settings=dict(SMALL), overlays=tuple(found_on_prompts()))


def made(result: SuiteResult, view: View) -> dict[str, Figure]:
    return {figure.id: figure for figure in figures(result, view)}


def test_every_figure_is_drawn_and_says_what_it_shows(result: SuiteResult, view: View) -> None:
    drawn = made(result, view)
    assert len(drawn) >= 18
    for figure in drawn.values():
        assert 5 < len(figure.caption.split()) <= 60, figure.id
        assert figure.alt
        assert figure.notes
        assert figure.data.rows
        assert export.spec(figure)["$schema"]
    assert {"weights-copying", "weights-suppression", "weights-successor", "weights-sink", "weights-overlap"} <= set(
        drawn
    )
    assert "weights-profile" not in drawn  # learned positions


def test_composition_points_at_the_pair_that_prompts_found(result: SuiteResult, view: View) -> None:
    pairs = induction_pairs(result, view)
    assert [(one.writer, one.reader) for one in pairs] == [(PREVIOUS, INDUCTION), (PREVIOUS, (4, 5))]
    assert pairs[0].rank <= 10
    assert pairs[0].pairs == 6 * 5 // 2 * 8 * 8
    figure = made(result, view)["weights-composition-k"]
    assert f"L3H6 to L4H1 ranks {pairs[0].rank} of 960" in figure.caption
    graph = made(result, view)["weights-composition-graph"]
    roles = {row[1]: row[2] for row in graph.data.rows} | {row[3]: row[4] for row in graph.data.rows}
    assert roles[head_name(*PREVIOUS)] == "Previous token heads"
    assert roles[head_name(*INDUCTION)] == "Induction heads"


def test_without_other_suites_no_pair_is_claimed(result: SuiteResult, view: View) -> None:
    alone = made(result, replace(view, overlays=()))
    assert "weights-found" not in alone
    assert "ranks" not in alone["weights-composition-k"].caption
    assert any("no pair to look for" in note for note in alone["weights-composition-k"].notes)


def test_what_a_run_lacks_is_left_out(result: SuiteResult, view: View) -> None:
    bare = replace(
        result, arrays={}, scores=tuple(s for s in result.scores if s.measure in ("copying", "composition_in"))
    )
    assert set(made(bare, view)) == {
        "weights-copying", "weights-composition-graph", "weights-composition-heads", "weights-found",
    }  # fmt: skip


def test_the_largest_pairs_are_drawn_and_the_rest_is_bounded() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(90, 90))
    values[30:, :30] = np.nan
    pairs, left = PairMatrix(values, np.zeros((90, 90), np.bool_), 9, "z").drawn()
    assert len(pairs) == MOST
    sizes = np.abs(values[pairs[:, 0], pairs[:, 1]])
    assert sizes.min() >= left
    assert np.sum(np.abs(values) > left) == MOST


def test_auroc_of_a_set_against_layer_matched_sets() -> None:
    values = np.zeros((4, 4), np.float32)
    values[2, 1], values[3, 2], values[1] = 1.0, 0.9, 0.5
    scores = HeadScores("own/share/words", "Share", values, 1, no_null="made up")
    one = ranked(scores, HeadSet("a/b/movers", "Movers", ((2, 1), (3, 2)), "", "computed: x", ""))
    assert one is not None
    assert one.ranks == {(2, 1): 1.0, (3, 2): 2.0}
    assert (one.auroc, one.hits, one.listed, one.total) == (1.0, 2, 2, 16)
    assert one.p == pytest.approx(1 / 16, abs=0.02)  # one set in 4 x 4 is as high
    low = ranked(scores, HeadSet("a/b/movers", "Movers", ((0, 0),), "", "computed: x", ""))
    assert low is not None
    assert low.auroc < 0.5
    assert ranked(scores, HeadSet("a/b/movers", "Movers", ((9, 9),), "", "computed: x", "")) is None


def test_rank_correlation_needs_three_heads_that_differ() -> None:
    a = np.array([[1.0, 2.0], [3.0, np.nan]])
    assert spearman(a, a * 2) == pytest.approx(1)
    assert np.isnan(spearman(a, np.ones((2, 2))))
    assert np.isnan(spearman(a[:1], a[:1]))


def test_a_figure_can_be_made_narrow(result: SuiteResult, view: View, tmp_path: Path) -> None:
    narrow = replace(view, style=replace(view.style, width_in=3.25))
    for name in ("weights-composition-k", "weights-composition-graph", "weights-corner", "weights-found"):
        assert export.spec(made(result, narrow)[name])
