"""The figures relations-dynamic and relations-ablation from made-up results."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from reportgen.figures import export
from reportgen.figures.figure import Figure
from reportgen.scores import Cell, Column, HeadScores, SuiteResult, Table
from reportgen.suites.relations.drawing.experiments import ablation_figure, dynamic_figure
from reportgen.suites.relations.drawing.figures import figures
from reportgen.suites.relations.scoring.ablation import AblationOptions, curve_table
from reportgen.suites.relations.scoring.correlation import CorrelationRow, ScoreAgreement, correlation_table
from tests.figures import samples
from tests.suites.relations.made_up import result, scores

NAN = float("nan")


def texts(figure: Figure, layer: str) -> list[str]:
    """The texts of a layer, panel by panel."""
    return [row["text"] for row in samples.rows_of(export.spec(figure), layer)]


def made(*stems: str, **hits: int) -> SuiteResult:
    """Every relation with static and dynamic scores and correlations; `hits` are L0H0's static ones."""
    found: list[HeadScores] = []
    for stem in stems:
        found.append(scores("score", stem, 40, {(0, 0): hits.get(stem, 20), (1, 1): 10}, dead=[(0, 3)]))
        found += [scores(m, stem, 160, {(0, 0): 40, (1, 1): 8}, dead=[(0, 3)]) for m in ("dynamic", "dynamic_context")]
    of = result(*found, **dict.fromkeys(stems, "Knowledge"))
    rows = []
    for stem in stems:
        without = ScoreAgreement(0.825, 0.71, 0.9, 0.61, 0.5, 0.7, 11)
        within = ScoreAgreement(-0.05, -0.2, 0.1, 1.0, NAN, NAN, 11)
        title = stem.capitalize()
        rows += [CorrelationRow("Knowledge", title, without, within, 0.5),
                 CorrelationRow("Knowledge", f"(suppression) {title}", within, without, 0.1)]  # fmt: skip
    facts = {**of.facts, "dynamic": {"templates": ["a", "b", "c", "d"]}}
    return replace(of, tables=correlation_table(rows, "dynamic_correlation", 4), facts=facts)


def dynamic(of: SuiteResult, **record: object) -> Figure:
    found = dynamic_figure(of, samples.view(**record))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_every_relation_has_a_panel_with_r_and_rho_and_their_intervals() -> None:
    figure = dynamic(made("capital", "language"))
    assert figure.id == "relations-dynamic"
    assert texts(figure, "panel_titles") == ["Capital", "Language"]
    assert texts(figure, "panel_subtitles") == ["○ r .82 [.71, .90]  ρ .61 [.50, .70]"] * 2
    assert texts(figure, "panel_subtitles1") == ["× r −.05 [−.20, .10]  ρ 1.00 [–, –]"] * 2


def test_the_caption_of_the_scatter_is_computed() -> None:
    figure = dynamic(made("capital", "language"))
    for said in (
        "scores of n = 11 heads of GPT-2 (3 layers × 4 heads) on 2 relations.",
        "Without context (circles) median r is 0.825, with (crosses) −0.050;",
        "interval is above 0 on 2 and 0 of all 2.",
    ):
        assert said in figure.caption
    for said in (
        "averaged over 4 templates",
        "correlation over n = 11 heads, with 95 % bootstrap intervals",
        "Without context: median r 0.825, ρ 0.610; r's interval is above 0 on 2 of 2 relations.",
        "With context: median r −0.050, ρ 1.000; r's interval is above 0 on 0 of 2 relations.",
    ):
        assert said in samples.said(figure)
    assert "Shown:" not in samples.said(figure)


def test_the_strongest_relations_are_shown_and_the_data_have_all() -> None:
    stems = [f"r{i}" for i in range(15)]
    figure = dynamic(made(*stems, r0=1, r7=2, r14=3))
    assert texts(figure, "panel_titles") == [f"R{i}" for i in range(15) if i not in (0, 7, 14)]
    assert "Shown: the 12 of 15 relations" in samples.said(figure)
    assert "on 12 of 15 relations" in figure.caption
    assert len(figure.data.rows) == 15 * 12
    assert figure.data.rows[0] == ("r0", "L0H0", 0.025, 0.25, 0.25)
    assert figure.data.rows[3] == ("r0", "L0H3", None, None, None)


def test_a_run_without_dynamic_scores_or_without_correlations() -> None:
    of = made("capital")
    old = replace(of, scores=of.scores[:1])
    assert dynamic_figure(old, samples.view()) is None
    figure = dynamic(replace(of, tables=()))
    assert texts(figure, "panel_subtitles") == ["○ r not computed"]
    assert "median" not in samples.said(figure)


COLUMNS = ("Relation", "Heads removed", "Accuracy", "low", "high", "Random heads", "5 %", "95 %", "Controls")
ROWS: tuple[tuple[Cell, ...], ...] = (
    ("capital", 0, 0.8, 0.7, 0.9, 0.8, 0.8, 0.8, 0.75),
    ("capital", 1, 0.2, 0.1, 0.3, 0.78, 0.7, 0.82, 0.7),
    ("language", 0, 0.5, 0.4, 0.6, None, None, None, None),
    ("language", 1, 0.0, 0.0, 0.1, None, None, None, None),
)
ABOUT = {
    "mode": "mean", "n_random": 20,
    "relations": {
        "capital": {"removed": 1, "draws": 20, "layer_fallbacks": 1, "norm_fallbacks": 4},
        "language": {"removed": 1, "draws": 0, "layer_fallbacks": None, "norm_fallbacks": None},
    },
}  # fmt: skip


def ablated(facts: dict[str, Any] | None = None) -> SuiteResult:
    of = made("capital", "language")
    table = Table("ablation_curves", "Curves", tuple(Column(name) for name in COLUMNS), ROWS)
    return replace(of, tables=(*of.tables, table), facts={**of.facts, "ablation": ABOUT if facts is None else facts})


def ablation(of: SuiteResult, **record: object) -> Figure:
    found = ablation_figure(of, samples.view(**record))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_the_columns_are_those_that_the_suite_writes() -> None:
    assert tuple(c.name for c in curve_table([], AblationOptions()).columns) == COLUMNS


def test_every_ablated_relation_has_a_curve_with_the_reported_number() -> None:
    figure = ablation(ablated())
    assert figure.id == "relations-ablation"
    assert texts(figure, "panel_titles") == ["Capital", "Language"]
    assert texts(figure, "panel_subtitles") == ["1 head: 0.20, random 0.78 [0.70, 0.82]", "1 head: 0.00"]
    assert figure.data.rows == ROWS


def test_where_fewer_other_heads_are_left_the_last_band_is_printed() -> None:
    rows = (*ROWS[:2], ("capital", 2, 0.1, 0.0, 0.2, None, None, None, None))
    about = {**ABOUT, "relations": {"capital": {"removed": 2}}}
    of = ablated(about)
    of = replace(of, tables=(replace(of.tables[-1], rows=rows),))
    assert texts(ablation(of), "panel_subtitles") == ["2: 0.10, 1 random 0.78 [0.70, 0.82]"]


def test_the_caption_of_the_curves_is_computed() -> None:
    figure = ablation(ablated())
    assert "Accuracy of GPT-2 (3 layers × 4 heads) on 2 relations" in figure.caption
    assert "accuracy is below the band of random heads on 1 of 1 relation." in figure.caption
    for said in (
        "the share of prompts whose most likely next token is the target",
        "output set to its mean over the relation's prompts",
        "mean and 5 to 95 % of 20 random sets",
        "Dashed: mean accuracy of other tasks",
        "Dotted: the reported number of heads",
        "Of 20 random heads, 5 % came from the nearest layer with heads left and 20 % were not within",
    ):
        assert said in samples.said(figure)
    without = tuple((*row[:-1], None) for row in ROWS)
    lonely = replace(ablated(), tables=(replace(ablated().tables[-1], rows=without),))
    assert "No other task" in samples.said(ablation(lonely))
    bare = samples.said(ablation(ablated(facts={})))
    assert "mean over" not in bare
    assert "random sets" not in bare
    assert "set to zero" in samples.said(ablation(ablated(facts={**ABOUT, "mode": "zero"})))
    counted = {**ABOUT, "relations": {"capital": {"n_prompts": 40}, "language": {"n_prompts": 100}}}
    assert "on 2 relations (n = 40 to 100 prompts each)" in ablation(ablated(facts=counted)).caption


def test_a_run_without_curves_or_with_other_columns_has_no_such_figure() -> None:
    assert ablation_figure(made("capital"), samples.view()) is None
    other = Table("ablation_curves", "Curves", (Column("Relation"), Column("Accuracy")), (("capital", 0.5),))
    assert ablation_figure(replace(made("capital"), tables=(other,)), samples.view()) is None


@pytest.mark.parametrize("synthetic", [False, True])
def test_both_say_when_numbers_are_synthetic(synthetic: bool) -> None:
    for figure in (dynamic(made("capital"), synthetic=synthetic), ablation(ablated(), synthetic=synthetic)):
        assert ("SYNTHETIC" in figure.caption) is synthetic
        assert ("SYNTHETIC" in json.dumps(export.spec(figure))) is synthetic


def test_the_suite_draws_what_a_run_has_in_order() -> None:
    ids = [figure.id for figure in figures(ablated(), samples.view())]
    assert ids == [
        "relations-categories",
        "relations-dynamic",
        "relations-ablation",
        "relations-capital",
        "relations-language",
    ]
    plain = replace(ablated(), tables=(), scores=(ablated()["score/capital"],), facts={})
    assert [figure.id for figure in figures(plain, samples.view())] == ["relations-capital"]


def test_drawing_imports_neither_torch_nor_scipy() -> None:
    heavy = "[m for m in ('torch', 'scipy') if m in sys.modules]"
    code = f"import sys; import reportgen.suites.relations.drawing.figures; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
