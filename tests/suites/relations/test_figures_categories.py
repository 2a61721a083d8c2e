"""The figure relations-categories from made-up results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reportgen.figures import export
from reportgen.figures.figure import Figure
from reportgen.figures.theme import Style
from reportgen.scores import SuiteResult
from reportgen.suites.relations.drawing.figures import category_figure
from tests.figures import samples
from tests.suites.relations.made_up import result, scores


def made(**facts: object) -> SuiteResult:
    of = result(
        scores("score", "copying", 40, {(2, 0): 20, (0, 0): 40, (1, 1): 5}, dead=[(0, 3)]),
        scores("score", "capital", 40, {(2, 0): 40}, dead=[(0, 3)]),
        scores("adjusted", "copying", 0, {}, dead=[(0, 3)]),
        scores("adjusted", "capital", 36, {(2, 0): 36}, dead=[(0, 3)]),
        copying="Algorithmic", capital="Knowledge",
    )  # fmt: skip
    return replace(of, facts={**of.facts, **facts})


def figure(of: SuiteResult, **record: object) -> Figure:
    found = category_figure(of, samples.view(**record))  # type: ignore[arg-type]
    assert found is not None
    return found


def words(of: Figure, layer: str) -> list[str]:
    return [row["text"] for row in samples.rows_of(export.spec(of), layer)]


def test_panels_follow_the_paper_in_a_row_per_rule() -> None:
    found = figure(made())
    assert found.id == "relations-categories"
    assert words(found, "row_titles") == ["GPT-2: relation score ≥ 0.15", "GPT-2: copier-adjusted score ≥ 0.15"]
    assert words(found, "panel_titles") == ["All Categories", "Algorithmic", "Knowledge"] * 2
    assert words(found, "panel_subtitles") == ["2 heads", "2 heads", "1 head", "1 head", "no pairs", "1 head"]
    classes = [(row["panel"], row["name"], row["class"]) for row in samples.rows_of(export.spec(found), "cells")]
    assert classes[:2] == [("All Categories", "L0H0", "Algorithmic"), ("All Categories", "L2H0", "2 categories")]


def test_the_caption_is_computed() -> None:
    found = figure(made())
    assert "Heads of GPT-2 (3 layers × 4 heads) by category of relations (n = 40 pairs each)" in found.caption
    assert "In a category: 2 of 11 heads; copier-adjusted (second row) 1." in found.caption
    for said in (
        "score ≥ τ = 0.15, counted in whole pairs (100 × hits ≥ 15 × n)",
        "heads of both show 2",
        "By the relation score, in a category: 2 of 11 heads (Algorithmic 2, Knowledge 1).",
        "By the copier-adjusted score (second row), in a category: 1 of 11 heads (Algorithmic 0, Knowledge 1).",
        "1 head is in several categories: L2H0 (2)",
        "No randomly initialised twin was scored in this run.",
        "(1 head in the first panel)",
        "Light grey, struck through: 1 head not computed.",
        "in the second row: Copying.",
    ):
        assert said in samples.said(found)
    assert "Brackets" not in samples.said(found)
    assert "Brackets: the 2 heads of a key-value group share W_V" in samples.said(figure(made(), n_kv_heads=2))


def test_a_random_twins_heads_are_in_subtitles_and_caption() -> None:
    counts = {"score": {"All Categories": 1.5, "Algorithmic": 1.5, "Knowledge": 0.0}}
    found = figure(made(control_categories={"twin": counts}))
    assert words(found, "panel_subtitles")[:3] == ["2 heads, twin 1.5", "2 heads, twin 1.5", "1 head, twin 0"]
    said = "heads that reach τ by the relation score: All Categories 1.5, Algorithmic 1.5, Knowledge 0."
    assert said in samples.said(found)
    assert "With a randomly initialised twin: 1.5." in found.caption
    nothing = figure(made(control_categories={"twin": {"score": {"All Categories": 0.0, "Knowledge": 0.0}}}))
    assert "With a randomly initialised twin no head reaches τ." in samples.said(nothing)
    assert "With a randomly initialised twin: none." in nothing.caption
    relations = {
        stem: {**about, "twin": {"draws": 1, "n_heads": 12, "measures": {"score": {"n_at_tau": 2}}}}
        for stem, about in made().facts["relations"].items()  # type: ignore[attr-defined]
    }
    bounded = figure(made(relations=relations))
    assert words(bounded, "panel_subtitles")[:2] == ["2 heads, twin ≤ 4", "2 heads, twin 2"]
    assert "All Categories 2 to 4, Algorithmic 2" in samples.said(bounded)
    assert "With a randomly initialised twin: 2 to 4." in bounded.caption


def test_without_a_twin_the_random_maps_are_in_the_subtitles() -> None:
    counts = {"score": {"All Categories": 1.0, "Algorithmic": 0.0, "Knowledge": 1.0}}
    found = figure(made(control_categories={"matched": counts}))
    assert words(found, "panel_subtitles")[:3] == [
        "2 heads, random OV 1",
        "2 heads, random OV 0",
        "1 head, random OV 1",
    ]
    assert "No randomly initialised twin was scored in this run. With random OV maps" in samples.said(found)
    assert "With random OV maps of the same spectra: 1." in found.caption


@pytest.mark.parametrize("facts", [{"tau": None}, {"relations": {}}, {"relations": {"copying": {"title": "Copying"}}}])
def test_a_run_without_threshold_or_categories_has_no_such_figure(facts: dict[str, object]) -> None:
    assert category_figure(made(**facts), samples.view()) is None


def test_a_run_without_adjusted_scores_has_one_row() -> None:
    old = replace(made(), scores=made().scores[:2])
    assert words(figure(old), "row_titles") == ["GPT-2: relation score ≥ 0.15"]
    assert "second row" not in samples.said(figure(old))


def test_the_safe_palette_is_used() -> None:
    view = replace(samples.view(), style=Style(palette="safe"))
    safe = category_figure(made(), view)
    assert safe is not None
    assert {row["colour"] for row in samples.rows_of(export.spec(safe), "backgrounds")} == {"#999999"}


def test_the_data_are_a_table_of_heads_and_no_map_of_one_score() -> None:
    data = figure(made()).data
    assert len(data.rows) == 2 * 12
    assert data.rows[0][:3] == ("relation score", "L2H0", "2 categories")


def test_synthetic_runs_say_so() -> None:
    found = figure(made(), synthetic=True)
    assert "SYNTHETIC" in found.caption
    assert set(words(found, "watermark")) == {"SYNTHETIC"}
