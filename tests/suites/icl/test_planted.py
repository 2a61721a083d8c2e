"""A planted function-vector head is found, exactly, and a head that is needed for something else is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportgen import published
from reportgen.figures.figure import Figure, KeptDrawing, View
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.scores import SuiteResult
from reportgen.suites import facts
from reportgen.suites.base import Context
from reportgen.suites.icl.drawing.figures import figures
from reportgen.suites.icl.facts import IclFacts
from reportgen.suites.icl.found import auroc
from reportgen.suites.icl.scoring.effects import TaskRun, run_task
from reportgen.suites.icl.scoring.score import score
from reportgen.suites.icl.suite import SUITE
from reportgen.suites.icl.tasks import FORMS, Task, load_tasks, prepared
from tests.suites.icl.planted import planted_folder, write_tasks


def layer(figure: Figure, name: str) -> list[dict[str, Any]]:
    """The rows of one layer of a figure's chart."""
    assert not isinstance(figure.chart, KeptDrawing)
    spec = figure.chart.to_dict()
    found = next(one for one in spec["layer"] if one.get("name", "").startswith(name))
    return found["data"].get("values") or spec["datasets"][found["data"]["name"]]


HEAD, FETCHES = (1, 2), (0, 1)
SMALL = {"tasks": "all", "shots": 4, "prompts": 6, "flips": 500, "resamples": 200}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def model(place: Path) -> Model:
    return load(planted_folder(place / "model"), device="cpu")


@pytest.fixture(scope="module")
def made(model: Model, place: Path) -> SuiteResult:
    given = {**SMALL, "pairs_dir": write_tasks(place, copying=True), "controls": "none"}
    return score(model, SUITE.make_settings("quick", given), Context(0, 1))


def test_the_model_learns_both_tasks_from_intact_examples_alone(made: SuiteResult) -> None:
    first, second, copying = facts.read(made, IclFacts).gate
    for gate in (first, second):
        assert (gate.accuracy, gate.deranged, gate.passed, gate.control) == (1.0, 0.0, True, False)
    assert (copying.accuracy, copying.passed, copying.control) == (1.0, True, True)


def test_copying_is_shown_and_never_part_of_the_mean(made: SuiteResult, model: Model) -> None:
    told = facts.read(made, IclFacts)
    assert [gate.task for gate in told.tasks] == ["first", "second"]
    assert made["aie/all_tasks"].n == 12
    stored = made.arrays["control_effects"]
    effect = dict(zip(stored.labels["head"], stored.values[0, 0].mean(0), strict=True))  # own mean, nats
    assert effect.pop("L1H1") > 2
    assert effect.pop("L0H1") < 0  # what it brings is the query's own, which no mean is
    assert max(map(abs, effect.values())) < 0.01
    assert made["aie/all_tasks"].values[1, 1] == pytest.approx(0, abs=0.01)
    table = next(t for t in made.tables if t.key == "icl/heads")
    (title,) = (gate.title for gate in told.controls)
    assert table.columns[-1].name == title
    assert {row[0]: row[-1] for row in table.rows}["L1H1"] == pytest.approx(float(stored.values[0, 0, :, 5].mean()))
    drawn = {figure.id: figure for figure in figures(made, View(model.record, results={"icl": made}))}["icl-tasks"]
    rows = {(row[0], row[1]): row[2] for row in drawn.data.rows}
    assert float(str(rows[title, "L1H1"])) > 2
    assert float(str(rows[title, "L1H2"])) < 0.01
    names = {row["text"]: row["y"] for row in layer(drawn, "tasks")}
    steps = np.diff([names[gate.title] for gate in (*told.tasks, *told.controls)])
    assert steps[1] > 1.4 * steps[0]  # set apart


def test_the_head_that_carries_the_task_is_the_only_one(made: SuiteResult) -> None:
    aie = made["aie/all_tasks"]
    assert aie.exact.all()
    assert aie.ranking()[0] == HEAD
    assert aie.values[HEAD] > 4
    others = np.delete(aie.values.ravel(), HEAD[0] * 4 + HEAD[1])
    assert np.abs(others).max() < 0.01
    assert made["aie_prob/all_tasks"].values[HEAD] > 0.7
    assert made["specific/all_tasks"].values[HEAD] > 4
    (first, second) = made.head_sets
    assert first.heads == second.heads == (HEAD,)
    assert first.evidence["causal effect"] == first.evidence["replicated (tasks)"] == "passed"
    held = aie.held_out
    assert held is not None
    assert held.head == "L1H2"


def test_what_is_needed_need_not_carry_the_task(made: SuiteResult) -> None:
    needed = made["needed/all_tasks"]
    assert needed.values[HEAD] > 4
    assert needed.values[FETCHES] > 4
    assert made["aie/all_tasks"].values[FETCHES] == pytest.approx(0, abs=0.01)
    assert np.abs(np.delete(needed.values.ravel(), [1, 6])).max() < 0.01


def test_controls_do_not_bring_the_task_back(made: SuiteResult) -> None:
    found = {c.name: c for c in made["aie/all_tasks"].controls}
    assert set(found) == {"deranged labels", "another task's mean", "random vector", "random twin"}
    for name in ("deranged labels", "another task's mean"):
        values = found[name].values
        assert values is not None
        assert values[HEAD] < 0.5
    assert found["random twin"].value < 0.5


def test_figures_are_drawn_and_captions_are_short(made: SuiteResult, model: Model) -> None:
    view = View(model.record, overlays=made.head_sets, results={"icl": made})
    drawn = {figure.id: figure for figure in figures(made, view)}
    assert set(drawn) == {"icl-gate", "icl-aie", "icl-aie_prob", "icl-specific", "icl-needed", "icl-tasks"}
    for figure in drawn.values():
        assert len(figure.caption.split()) <= 60
        assert not isinstance(figure.chart, KeptDrawing)
        assert figure.chart.to_dict()["layer"]
    assert "L1H2" in drawn["icl-aie"].caption
    assert {row[1] for row in drawn["icl-tasks"].data.rows if float(str(row[2])) > 1} == {"L1H2", "L1H1"}


def test_keys_and_values_of_deranged_prompts_alone_are_kept(model: Model, place: Path) -> None:
    settings = SUITE.make_settings("quick", SMALL)
    for keep in (True, False):
        (task, _) = load_tasks(write_tasks(place))
        made = prepared(task, FORMS[1], model.tokens)
        assert isinstance(made, Task)
        run = run_task(model, made, FORMS[1], settings, 0, keep, lambda done: None)
        assert isinstance(run, TaskRun)
        assert not any(side._past for side in run.clean)
        assert all((side._past is not None) is keep for side in run.deranged)
        run.free()
        assert not any(side._past for side in run.deranged)


CATALOGUE = """
[[paper]]
key = "a2020"
authors = "Ann Able"
year = 2020
title = "T"
venue = "V"

[[entry]]
model = "planted"
tl_official_name = "able/planted"
n_layers = 2
n_heads = 4
paper = "a2020"
class = "Function Vector Heads"
heads = [[1, 2], [0, 3]]
where = "Fig. 1"
verified = true
source = "read"
overlay = "default"
"""


def test_a_published_list_of_the_model_is_ranked_by_each_score(
    made: SuiteResult, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head that the list has right is above all others; the other listed one is among those that do nothing."""
    listed = published.read_catalogue(CATALOGUE, "own.toml")
    monkeypatch.setattr(published, "load_catalogue", lambda: listed)
    (one,) = published.sets_for("able/planted", shape=(2, 4))
    values = made["aie/all_tasks"].values
    rest = np.delete(values.ravel(), [3, 6])
    want = (6 + float((values[0, 3] > rest).sum()) + 0.5 * float((values[0, 3] == rest).sum())) / 12
    assert auroc(values, one) == pytest.approx(want)
    view = View(model.record, overlays=(one, *made.head_sets), results={"icl": made})
    drawn = {figure.id: figure for figure in figures(made, view)}
    for name in ("icl-aie", "icl-needed"):
        assert one.key in {s.key for s in drawn[name].head_sets}
        note = next(note for note in drawn[name].notes if note.startswith("Published lists"))
        value = auroc(made[f"{name.removeprefix('icl-')}/all_tasks"].values, one)
        assert f"(2): AUROC {value:.2f}" in note
    assert auroc(values, replace(one, heads=((1, 2),))) == 1.0
    assert np.isnan(auroc(values, replace(one, heads=())))
