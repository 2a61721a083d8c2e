"""The suite on models that learn nothing in context: the page says so; and with the gate open, on all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reportgen.errors import NotApplicable
from reportgen.figures.figure import KeptDrawing, View
from reportgen.models.load import load
from reportgen.scores import HeadScores, HeadSet, SuiteResult
from reportgen.suites import facts, ranked
from reportgen.suites.base import Context
from reportgen.suites.icl import found
from reportgen.suites.icl.drawing.figures import figures
from reportgen.suites.icl.facts import IclFacts
from reportgen.suites.icl.scoring.effects import choose, directions
from reportgen.suites.icl.scoring.score import score
from reportgen.suites.icl.suite import SUITE
from tests.suites.icl.planted import FIRST, INPUTS, SECOND, write_tasks
from tests.tiny import tiny_folder

OPEN = {"tasks": "all", "accuracy": 0, "gain": -1, "shots": 3, "prompts": 6, "flips": 200, "resamples": 100}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[SuiteResult, View]:
    place = tmp_path_factory.mktemp("open")
    folder = tiny_folder("qwen2", place / "model", words=[*INPUTS, *FIRST, *SECOND])
    model = load(folder, device="cpu")
    rng = np.random.default_rng(0)
    values = rng.random((model.record.n_layers, model.record.n_heads)).astype(np.float32)
    own = HeadScores("attention/induction/x", "Induction", values, 8, no_null="made up", range=(0.0, 1.0))
    earlier = SuiteResult("attention", (own,))
    settings = SUITE.make_settings(
        "quick",
        {**OPEN, "pairs_dir": write_tasks(place), "exact_heads": 1, "verified": 4, "verified_task": 1, "sampled": 8},
    )
    result = score(model, settings, Context(0, 1, results={"attention": earlier}))
    return result, View(model.record, overlays=result.head_sets, results={"icl": result, "attention": earlier})


def test_mini_learns_none_of_the_tasks_and_no_claim_is_made() -> None:
    model = load("mini", device="cpu")
    result = score(model, SUITE.make_settings("quick"), Context(0, 1))
    assert not result.scores
    assert not result.head_sets
    assert result.notes[0].startswith("No claim about heads: none of")
    assert {missing.what for missing in result.not_computed} == {measure.title for measure in SUITE.measures}
    told = facts.read(result, IclFacts)
    assert told.form == "Q: x / A: y"
    assert not told.tasks
    assert sum(not gate.why and not gate.control for gate in told.gate) == 5
    assert sum(gate.control for gate in told.gate) == 2
    (gate,) = figures(result, View(model.record, results={"icl": result}))
    assert (gate.id, "no claim" in gate.caption) == ("icl-gate", True)


def test_a_tokenizer_without_the_marks_is_not_asked(tmp_path: Path) -> None:
    model = load(tiny_folder("gpt2", tmp_path, words=["a", "b"]), device="cpu")
    with pytest.raises(NotApplicable, match="no task can be asked"):
        score(model, SUITE.make_settings("quick"), Context(0, 1))


def test_fewer_examples_where_the_context_is_short(tmp_path: Path) -> None:
    words = [*INPUTS, *FIRST, *SECOND]
    lists = write_tasks(tmp_path)
    short = load(tiny_folder("gpt2", tmp_path / "short", words=words, n_positions=20), device="cpu")
    settings = SUITE.make_settings("quick", {**OPEN, "shots": 10, "twins": 0, "pairs_dir": lists})
    result = score(short, settings, Context(0, 1))
    told = facts.read(result, IclFacts)
    assert (told.shots, told.shots_wanted) == (3, 10)
    assert any("3 examples, not 10" in note for note in result.notes)
    tiny = load(tiny_folder("gpt2", tmp_path / "tiny", words=words, n_positions=12), device="cpu")
    with pytest.raises(NotApplicable, match="no room for 3 examples"):
        score(tiny, settings, Context(0, 1))


def test_heads_without_an_exact_effect_say_so(made: tuple[SuiteResult, View]) -> None:
    result, _ = made
    told = facts.read(result, IclFacts)
    aie, needed = result["aie/all_tasks"], result["needed/all_tasks"]
    assert told.exact == int(aie.exact.sum()) < told.heads
    assert (aie.estimated is not None) == told.screened
    assert np.isnan(needed.values[~aie.exact]).all()
    assert "not among the" in needed.reason(*np.argwhere(np.isnan(needed.values))[0].tolist())
    if told.screened:
        estimate = result.arrays["screen"].values.mean(0)
        np.testing.assert_allclose(aie.values[~aie.exact], estimate[~aie.exact], rtol=1e-5)


def test_scores_are_the_means_of_what_is_stored(made: tuple[SuiteResult, View]) -> None:
    result, _ = made
    stored = result.arrays["effects"]
    heads = [tuple(map(int, name[1:].split("H"))) for name in stored.labels["head"]]
    for name, (kind, unit) in {"aie": (0, 0), "aie_prob": (0, 1), "needed": (4, 0)}.items():
        score_ = result[f"{name}/all_tasks"]
        got = [score_.values[head] for head in heads]
        np.testing.assert_allclose(got, stored.values[kind, unit].mean(0), rtol=1e-4, atol=1e-7)
        assert score_.n == stored.values.shape[2] == 12
    own, other = stored.values[0, 0], stored.values[2, 0]
    np.testing.assert_allclose(
        [result["specific/all_tasks"].values[head] for head in heads], (own - other).mean(0), rtol=1e-3, atol=1e-6
    )


def test_the_same_seed_gives_the_same_numbers(made: tuple[SuiteResult, View]) -> None:
    result, view = made
    drawn = {figure.id: figure for figure in figures(result, view)}
    assert {"icl-induction", "icl-depth"} <= set(drawn)
    for figure in drawn.values():
        assert len(figure.caption.split()) <= 60, figure.id
        assert not isinstance(figure.chart, KeptDrawing)
        assert figure.chart.to_dict()["layer"]
        assert all("nan" not in note.split() for note in figure.notes), figure.id


def test_heads_that_copy_by_another_suite_are_ringed(made: tuple[SuiteResult, View]) -> None:
    result, view = made
    shape = result["aie/all_tasks"].values.shape
    values = np.arange(float(np.prod(shape))).reshape(shape).astype(np.float32)
    copies, concepts = (
        HeadScores(f"retrieval/{name}/x", name, values, 8, no_null="made up") for name in ("copy", "concept")
    )
    known = np.argwhere(result["aie/all_tasks"].exact)
    heads = (tuple(known[0].tolist()), tuple(known[-1].tolist()))
    of = HeadSet("retrieval/x/concept_copiers", "Concept Copiers", heads, "x", "x", "x", score=concepts.key)
    other = SuiteResult("retrieval", (copies, concepts), (of,))
    rings = found.rings({"retrieval": other}, (shape[0], shape[1]))
    assert [ring.name for ring in rings] == ["copying from a text, top 2 %", "copying concepts"]
    np.testing.assert_array_equal(rings[0].member, ranked.top(values.astype(np.float64)))
    assert sorted(map(tuple, np.argwhere(rings[1].member).tolist())) == sorted(heads)
    assert found.rings({"retrieval": other}, (1, 1)) == []
    plain, ringed = (
        next(f for f in figures(result, one) if f.id == "icl-induction")
        for one in (view, replace(view, results={**view.results, "retrieval": other}))
    )
    assert not any("Ringed" in note for note in plain.notes)
    assert sum("Ringed" in note for note in ringed.notes) == 2
    assert [column.name for column in ringed.data.columns[-2:]] == [ring.name for ring in rings]
    marked = [row[0] for row in ringed.data.rows if row[-1]]
    assert sorted(marked) == sorted(f"L{layer}H{head}" for layer, head in heads)
    assert not isinstance(ringed.chart, KeptDrawing)
    text = str(ringed.chart.to_dict())
    assert "copying concepts (2)" in text


@pytest.mark.parametrize(("prompts", "wanted", "each"), [(24, 6, 5), (8, 4, 10), (6, 9, 20), (7, 1, 3)])
def test_random_vectors_go_round_the_prompts(prompts: int, wanted: int, each: int) -> None:
    settings = SUITE.make_settings("full", {"vector_prompts": wanted})
    which = directions(prompts, settings)
    assert which.shape == (prompts, each)
    times = np.bincount(which.ravel(), minlength=20)
    assert times.min() >= min(wanted, prompts)
    assert times.max() - times.min() <= 1
    assert all(len(set(row)) == each for row in which.tolist())
    assert directions(prompts, SUITE.make_settings("full", {"random_vectors": 0})).shape == (prompts, 0)


def test_heads_to_verify_are_those_of_the_screen_of_each_task_and_of_induction() -> None:
    screen = np.zeros((4, 10, 10), np.float32)
    screen[:2, 3, 4], screen[2:, 5, 6] = 1.0, -2.0
    induction = np.zeros((10, 10), np.float32)
    induction[7, 8] = 0.9
    settings = SUITE.make_settings("quick", {"exact_heads": 1, "verified": 4, "verified_task": 1, "sampled": 8})
    got = choose(screen, ["a", "a", "b", "b"], induction, settings, np.random.default_rng(0))
    assert got.exact[3, 4]
    assert got.exact[5, 6]
    assert got.exact[7, 8]
    assert got.random.sum() == 8
    assert got.exact[got.random].all()


def test_agreement_counts_top_heads_and_what_chance_gives() -> None:
    a = np.arange(100.0).reshape(10, 10)
    same = found.agreement(a, a)
    assert (same.both, same.first, same.second) == (3, 0, 0)
    assert same.rho == pytest.approx(1)
    assert same.expected == pytest.approx(0.9)  # three of the ten heads of the last layer
    assert found.agreement(a, -a).both == 0


def test_depth_is_the_mean_layer_weighted_by_scores() -> None:
    induction = np.zeros((4, 2))
    induction[1] = 1.0
    of = found.depth(induction, np.array([[1.0, 3.0], [1.0, 3.0]]), [(0, 0), (2, 1)])
    assert of.first == 1.0
    assert of.second == pytest.approx(1.5)
    assert of.low == of.high == pytest.approx(0.5)


def test_the_papers_list_is_the_first_heads_by_probability_without_a_null(tmp_path: Path) -> None:
    folder = tiny_folder("qwen2", tmp_path / "model", words=[*INPUTS, *FIRST, *SECOND])
    paper = {"preset": "todd", "shots": 10, "prompts": 25, "vector_heads": 3}
    given = {**OPEN, **paper, "pairs_dir": write_tasks(tmp_path)}
    result = score(load(folder, device="cpu"), SUITE.make_settings("quick", given), Context(0, 1))
    told = facts.read(result, IclFacts)
    if not told.tasks:
        pytest.skip("no task has room for ten examples")
    (heads,) = result.head_sets
    assert heads.heads == tuple(result["aie_prob/all_tasks"].ranking()[:3])
    assert "no null" in heads.rule
    assert told.preset == "todd"
