"""The figure relations-k: scores at every k follow from the stored ranks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reportgen.figures import export
from reportgen.figures.figure import Figure
from reportgen.scores import NamedArray, SuiteResult
from reportgen.suites.relations.drawing.experiments import k_figure
from tests.figures import samples
from tests.suites.relations.made_up import result, scores


def made(stem: str = "capital", k: int = 4) -> SuiteResult:
    """Ten pairs: L0H0's targets at ranks 1, 2, ..., 9 and 3.5, all others' at 100; L0H3 is not computed."""
    twice = np.full((10, 3, 4), 200, np.uint32)
    twice[:, 0, 0] = [2 * rank for rank in range(1, 10)] + [7]
    twice[:, 0, 3] = 0
    of = result(scores("score", stem, 10, {(0, 0): 5}, dead=[(0, 3)]), **{stem: "Knowledge"})
    about = {stem: {**of.facts["relations"][stem], "k": k}}  # type: ignore[index]
    arrays = {f"ranks/{stem}": NamedArray(("pair", "layer", "head"), twice)}
    return replace(of, facts={**of.facts, "relations": about}, arrays=arrays)


def figure(of: SuiteResult, **record: object) -> Figure:
    found = k_figure(of, samples.view(**record))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_the_curve_counts_ranks_up_to_k_and_a_half_rank_from_the_next() -> None:
    rows = figure(made()).data.rows
    assert [row[4] for row in rows] == list(range(1, 11))
    assert [row[5] for row in rows] == [0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0]
    assert {row[6] for row in rows} == {0.0}
    assert rows[0][:4] == ("capital", "L0H0", 4, 10)


def test_the_caption_says_what_half_of_k_leaves() -> None:
    caption = figure(made()).caption
    assert "At half of k it still reaches τ = 0.15 on 1 of 1 relation." in caption
    assert "(n = 10 pairs)" in caption
    said = samples.said(figure(made()))
    for fact in ("has rank ≤ k", "Wilson's 95 % interval", "not corrected for its selection", "the median over heads"):
        assert fact in said
    assert "Shown:" not in said
    assert "SYNTHETIC" in figure(made(), synthetic=True).caption


def test_it_draws_and_marks_the_k_used() -> None:
    spec = export.spec(figure(made()))
    named = samples.layers_of(spec)
    assert len(samples.values_of(spec, named["dots"])) == 1
    words = str(spec)
    assert "L0H0, k = 4: 0.50, n = 10" in words


def test_without_ranks_or_k_there_is_no_figure() -> None:
    assert k_figure(replace(made(), arrays={}), samples.view()) is None
    assert k_figure(replace(made(), facts={"tau": 0.15}), samples.view()) is None
