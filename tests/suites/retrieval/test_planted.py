"""Planted heads: one copies the fact that is asked for, one points to it and copies nothing, one copies another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.figures.figure import View
from reportgen.figures.head_points import CROSS
from reportgen.models.load import set_threads
from reportgen.models.model import Model
from reportgen.scores import Control, HeadScores, HeadSet, SuiteResult, head_name, parse_head
from reportgen.suites import facts
from reportgen.suites.base import Context
from reportgen.suites.retrieval.drawing.figures import figures
from reportgen.suites.retrieval.facts import RetrievalFacts
from reportgen.suites.retrieval.scoring import ablation
from reportgen.suites.retrieval.scoring.documents import Asked
from reportgen.suites.retrieval.scoring.patched import UNVERIFIED
from reportgen.suites.retrieval.scoring.score import score
from reportgen.suites.retrieval.scoring.sets import patched
from reportgen.suites.retrieval.suite import SUITE
from tests.figures.samples import rows_of
from tests.suites.retrieval.toy import COPIER, POINTER, WRONG, planted
from tests.suites.retrieval.toy import facts as written

SMALL = {"permutations": 999, "resamples": 200}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    set_threads(1)
    return planted(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def made(model: Model, tmp_path_factory: pytest.TempPathFactory) -> SuiteResult:
    path = written(tmp_path_factory.mktemp("facts"))
    return score(model, SUITE.make_settings("quick", {**SMALL, "needles": str(path)}), Context(0, 1))


def heads(made: SuiteResult, name: str) -> set[tuple[int, int]]:
    return {head for s in made.head_sets if s.key.endswith(f"/{name}") for head in s.heads}


def test_the_model_answers_and_its_twin_does_not(made: SuiteResult) -> None:
    told = facts.read(made, RetrievalFacts)
    assert (told.recall.right, told.recall.asked) == (48, 48)
    assert told.recall.twin[0] < 5
    assert told.dropped == []
    assert told.recall.other_document[0] < 10  # the same things have other values there


def test_the_copier_is_found_and_no_other(made: SuiteResult) -> None:
    copy, mass = made["copy/needles"], made["copy_mass/needles"]
    assert copy.p is not None
    assert float(copy.values[COPIER]) == pytest.approx(1.0)
    assert float(copy.p[COPIER]) <= 0.05
    assert float(mass.values[COPIER]) > 0.99
    assert heads(made, "retrieval_heads") == {COPIER}
    assert copy.held_out is not None
    assert copy.held_out.head == "L1H0"


def test_a_head_that_points_is_no_copier(made: SuiteResult) -> None:
    assert float(made["copy/needles"].values[POINTER]) == 0
    point = made["point/needles"]
    assert point.p is not None
    assert 0.15 < float(point.values[POINTER]) < 0.3
    assert float(point.p[POINTER]) <= 0.05
    assert heads(made, "pointing_heads") == {COPIER, POINTER}
    assert abs(float(made["write/needles"].values[POINTER])) < 1e-4


def test_a_head_that_copies_another_fact_does_not_pass(made: SuiteResult) -> None:
    copy, mass = made["copy/needles"], made["copy_mass/needles"]
    assert copy.p is not None
    assert mass.p is not None
    assert float(copy.values[WRONG]) == 0
    assert float(copy.p[WRONG]) > 0.5
    assert float(mass.values[WRONG]) < -0.1
    assert float(mass.p[WRONG]) > 0.5
    tables = made.arrays["tables"]
    wrong = tables.values[tables.labels["measure"].index("copy")][..., 1, 2]  # [document question needle]
    assert float(wrong.sum()) == 2 * 48  # both tokens of every answer, always of the other fact
    assert WRONG not in heads(made, "retrieval_heads") | heads(made, "pointing_heads")


def test_only_the_copier_writes_the_answer(made: SuiteResult) -> None:
    write = made["write/needles"].values
    assert write.argmax() == 4 * COPIER[0] + COPIER[1]
    assert float(write[COPIER]) > 1
    assert np.delete(np.abs(write).ravel(), 4 * COPIER[0] + COPIER[1]).max() < 1e-3


def test_figures_say_what_they_show(made: SuiteResult, model: Model) -> None:
    listed = HeadSet("optional/wu2024retrieval/heads", "Listed", (COPIER,), "l", "wu2024retrieval", "r", "published")
    induction = HeadSet("other/words/induction_heads", "Induction", (WRONG, POINTER), "l", "computed: x", "r")
    view = View(model.record, settings=dict(SMALL), overlays=(*made.head_sets, listed, induction))
    drawn = {figure.id: figure for figure in figures(made, view)}
    assert next(iter(drawn)) == "retrieval-recall"
    maps = {f"retrieval-{m.name}" for m in SUITE.measures if not m.name.startswith("concept")}  # no names here
    assert maps | {"retrieval-clouds", "retrieval-table", "retrieval-patched"} <= set(drawn)
    for figure in drawn.values():
        assert 5 < len(figure.caption.split()) <= 60, figure.caption
        assert figure.alt
        assert figure.data.rows
        assert figure.chart is not None
    lines = {(row[0], row[1]): row[5] for row in drawn["retrieval-published"].data.rows}
    assert lines[listed.key, "retrieval/copy/needles"] == 1
    assert len(lines) == 8
    assert listed in drawn["retrieval-copy"].head_sets or "Listed" in str(drawn["retrieval-copy"].notes)
    assert "48 of 48 questions" in drawn["retrieval-recall"].caption
    assert "L1H0 at 1.000" in drawn["retrieval-copy"].caption
    square = drawn["retrieval-table"].data.rows
    own = [row[2] for row in square if row[0] == row[1]]
    assert min(float(x) for x in own if isinstance(x, float)) > 0.99


def test_copying_is_drawn_against_what_other_suites_scored(made: SuiteResult, model: Model) -> None:
    values = np.zeros((2, 4), np.float32)
    values[COPIER], values[POINTER] = 0.9, 0.5
    induction = HeadScores("other/induction/words", "Induction (mass)", values, 9, no_null="made up")
    aie = HeadScores(
        "third/aie/all", "Effect (nats)", values, 9, no_null="made up", estimated=values == 0.5, estimator="a gradient"
    )
    results = {"other": SuiteResult("other", (induction,)), "third": SuiteResult("third", (aie,)), "retrieval": made}
    drawn = {f.id: f for f in figures(made, View(model.record, overlays=made.head_sets, results=results))}
    figure = drawn["retrieval-elsewhere"]
    assert [column.name for column in figure.data.columns[1:4]] == [
        made["copy/needles"].label,
        *(s.label for s in (induction, aie)),
    ]
    rows = {row[0]: row for row in figure.data.rows}
    assert rows["L1H0"][2:5] == (pytest.approx(0.9), pytest.approx(0.9), True)
    assert rows["L1H1"][3] is None  # an estimate
    assert "Of the 1 highest in copying, among the highest: 1 in induction, 1 in effect." in figure.caption
    assert {row["shape"] for row in rows_of(figure.chart.to_dict(), "points")} == {"circle", CROSS}
    assert "retrieval-elsewhere" not in {f.id for f in figures(made, View(model.record, results={"retrieval": made}))}


def test_heads_that_are_not_patched_have_no_value_and_say_so(model: Model, tmp_path: Path) -> None:
    given = {**SMALL, "needles": str(written(tmp_path, 2)), "twins": 0, "random_tokens": False, "shuffled": False,
             "sequences": 8, "verified": 3, "sampled": 2}  # fmt: skip
    found = score(model, SUITE.make_settings("quick", given), Context(0, 1))
    effect, told = found["token_effect/random_tokens"], facts.read(found, RetrievalFacts)
    one = told.patched[0]
    assert (one.of, one.entities, len(one.highest), len(one.random)) == ("token", 8, 3, 2)
    assert one.highest == [head_name(*head) for head in found["token/random_tokens"].ranking()[:3]]
    assert set(one.highest + one.random) == {head_name(*head) for head in effect.ranking()}
    assert effect.p is not None
    assert effect.low is not None
    assert int(np.isnan(effect.values).sum()) == int(np.isnan(effect.p).sum()) == int(np.isnan(effect.low).sum()) == 3
    assert set(effect.reasons.values()) == {UNVERIFIED}
    assert effect.controls[0].value == max(float(effect.values[parse_head(name)]) for name in one.random)
    stored = found.arrays["patched/token"]
    assert stored.values.shape == (2, 8, 5)
    mean = dict(zip(stored.labels["head"], stored.values[0].mean(0).tolist(), strict=True))
    for head in effect.ranking():
        assert float(effect.values[head]) == pytest.approx(mean[head_name(*head)], abs=1e-6)
    off = score(model, SUITE.make_settings("quick", {**given, "verified": 0}), Context(0, 1))
    assert "patching" in str([x.what for x in off.not_computed])
    assert not [s for s in off.scores if s.measure.endswith("_effect")]


@pytest.mark.parametrize(
    ("value", "p", "outcome"),
    [(0.5, 0.01, "passed"), (0.5, 0.2, "failed"), (0.1, 0.01, "failed"), (float("nan"), float("nan"), "not run")],
)
def test_a_patched_head_passes_beyond_its_null_and_beyond_random_heads(value: float, p: float, outcome: str) -> None:
    values, ps = (np.full((1, 2), x, np.float32) for x in (value, p))
    scores = HeadScores(
        "retrieval/token_effect/random_tokens", "x", values, 8, p=ps, reasons={"*": UNVERIFIED},
        controls=(Control("random heads", 0.2),),
    )  # fmt: skip
    assert patched(scores, (0, 1), 0.05) == outcome


def test_without_the_copier_no_question_is_answered(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One head of eight is removed on the other half; random sets of one head of layer 1 change nothing."""
    monkeypatch.setattr(ablation, "MOST_SHARE", 0.25)
    monkeypatch.setattr(ablation, "COMPARED", (1,))
    monkeypatch.setattr(ablation, "EVERYWHERE", 2)
    given = {**SMALL, "needles": str(written(tmp_path)), "random_sets": 4, "twins": 0, "random_tokens": False}
    found = score(model, SUITE.make_settings("quick", given), Context(0, 1))
    told = facts.read(found, RetrievalFacts)
    assert (told.whole_recall, told.removed_on) == (1.0, 3)
    one = next(each for each in told.ablated if each.by == "copy" and each.heads == 1)
    assert one.recall == 0
    assert set(one.random_recall) == {1.0}
    assert one.low > 0
    assert one.p == pytest.approx(0.2)
    assert (told.everywhere, told.everywhere_recall) == (2, 0.0)
    drawn = {figure.id: figure for figure in figures(found, View(model.record, overlays=found.head_sets))}
    assert "0.000 of 1.000; without random heads: 1.000" in drawn["retrieval-removed"].caption
    assert len(drawn["retrieval-removed"].caption.split()) <= 60
    causal = [s.evidence["causal effect"] for s in found.head_sets if s.key.endswith("/retrieval_heads")]
    assert causal == ["failed"]  # the planted copier copies at short range, too


def test_a_removed_head_takes_the_mean_of_other_questions_at_such_positions() -> None:
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(3, 6, 2, 4, generator=draw)
    asked = [Asked(np.arange(n), answer) for n, answer in ((5, 3), (7, 4), (6, 4))]
    out = ablation._without(z, asked, [1])(z)
    assert out is not None
    torch.testing.assert_close(out[:, :, 0], z[:, :, 0])
    others = torch.cat([z[1, :3, 1], z[2, :3, 1]]).mean(0)
    torch.testing.assert_close(out[0, 1, 1], others)
    answers = torch.cat([z[0, 2:4, 1], z[2, 3:5, 1]]).mean(0)
    torch.testing.assert_close(out[1, 4, 1], answers)
