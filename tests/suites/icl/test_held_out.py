"""Function vectors and ablated sets of heads on the planted model, and how sets are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reportgen.figures.figure import KeptDrawing, View
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.scores import HeadScores, SuiteResult
from reportgen.suites import facts
from reportgen.suites.base import Context
from reportgen.suites.icl.drawing.figures import figures
from reportgen.suites.icl.facts import IclFacts
from reportgen.suites.icl.scoring.everywhere import hooks_of, mean_everywhere
from reportgen.suites.icl.scoring.held_out import RANKINGS, SHARES, matched, ranked_sets
from reportgen.suites.icl.scoring.score import score
from reportgen.suites.icl.suite import SUITE
from tests.suites.icl.planted import planted_folder, write_tasks

GIVEN = {"tasks": "all", "shots": 4, "prompts": 6, "flips": 100, "resamples": 100, "twins": 0, "random_vectors": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(planted_folder(tmp_path_factory.mktemp("planted")), device="cpu")


@pytest.fixture(scope="module")
def made(model: Model, tmp_path_factory: pytest.TempPathFactory) -> SuiteResult:
    lists = write_tasks(tmp_path_factory.mktemp("lists"))
    more = {"held_prompts": 6, "ablation_sets": 4, "vector_heads": 1, "pairs_dir": lists}
    values = np.zeros((2, 4), np.float32)
    values[0, 3] = 0.9
    own = HeadScores("attention/induction/x", "Induction", values, 8, no_null="made up", range=(0.0, 1.0))
    context = Context(0, 1, results={"attention": SuiteResult("attention", (own,))})
    return score(model, SUITE.make_settings("quick", {**GIVEN, **more}), context)


def outcomes(made: SuiteResult, condition: str) -> dict[str, float]:
    told = facts.read(made, IclFacts)
    return {o.name: o.accuracy for o in told.vector_outcomes if o.condition == condition}


def test_the_vector_of_a_task_answers_without_examples(made: SuiteResult) -> None:
    """It is added behind block 0, from where MLP 1 puts it together with the query; no other vector does that."""
    told = facts.read(made, IclFacts)
    assert told.vector_heads == ["L1H2"]
    assert told.vector_layers == [0, 0]
    for condition in ("zero-shot", "deranged examples"):
        found = outcomes(made, condition)
        assert found["own task"] == 1.0
        assert found["none"] == found["another task"] == 0.0
        assert found["random heads"] == 0.0


def test_without_the_head_the_task_is_lost_and_without_others_it_is_not(made: SuiteResult) -> None:
    told = facts.read(made, IclFacts)
    found = {(o.name, round(float(o.share), 2)): o.accuracy for o in told.ablation}
    assert found["whole model", 0.0] == 1.0
    assert found["effect", 0.01] == 0.0
    assert found["induction", 0.01] == 1.0
    assert found["induction without effect", 0.01] == 1.0
    assert found["random", 0.01] == 1.0
    assert told.ablation_sets == 4


def test_at_all_positions_the_same_head_loses_the_task_and_so_do_those_before_it(made: SuiteResult) -> None:
    """What brings a shot's input to its output is needed there, and not at the last position."""
    told = facts.read(made, IclFacts)
    found = {o.name: o for o in told.everywhere}
    assert set(found) == {"whole model", "effect", "induction", "random"}
    assert {o.condition for o in found.values()} == {"all positions"}
    assert found["whole model"].accuracy == 1.0
    assert found["effect"].accuracy == 0.0
    assert found["induction"].accuracy == 1.0
    each = made.arrays["everywhere"]
    assert each.labels["set"][:3] == ("whole model", "effect", "induction")
    assert each.values.shape == (2, 3 + 4, 2 * 6)
    table = next(t for t in made.tables if t.key == "icl/ablation")
    assert sum(row[2] == "all positions" for row in table.rows) == 4


def test_every_position_but_the_first_is_at_the_mean(model: Model) -> None:
    rng = np.random.default_rng(0)
    ids = [torch.from_numpy(rng.integers(2, 60, (2, n))) for n in (8, 11)]
    z: dict[int, list[torch.Tensor]] = {0: [], 1: []}
    for some in ids:
        model.run(some, {("z", i): (lambda t, i=i: z[i].append(t[:, 1:].flatten(0, 1).clone())) for i in z})
    mean = mean_everywhere(model, ids)
    for i in z:
        torch.testing.assert_close(mean[i], torch.cat(z[i]).mean(0), atol=1e-5, rtol=1e-5)
    mask = np.zeros((2, 4), bool)
    mask[0, 0] = mask[0, 3] = True
    hooks = hooks_of(mask, mean)
    assert set(hooks) == {("z", 0)}
    out = hooks["z", 0](torch.ones(2, 5, 4, mean[0].shape[1]))
    assert out is not None
    assert torch.equal(out[:, 1:, 3], mean[0][3].expand(2, 4, -1))
    assert bool((out[:, 0] == 1).all())
    assert bool((out[:, :, 1:3] == 1).all())


def test_figures_of_held_out_queries(made: SuiteResult, model: Model) -> None:
    drawn = {figure.id: figure for figure in figures(made, View(model.record, results={"icl": made}))}
    assert {"icl-vectors", "icl-ablation"} <= set(drawn)
    for name in ("icl-vectors", "icl-ablation"):
        assert len(drawn[name].caption.split()) <= 60, name
        chart = drawn[name].chart
        assert not isinstance(chart, KeptDrawing)
        assert chart.to_dict()["layer"]


def test_random_sets_have_as_many_heads_of_each_layer_and_none_of_the_set() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((4, 6), bool)
    mask[1, :2] = mask[3, :4] = True
    for _ in range(20):
        found, moved = matched(mask, rng)
        assert not (found & mask).any()
        assert found.sum() == 6
        assert found[1].sum() == 2
        assert (found[3].sum(), found[2].sum(), moved) == (2, 2, 2)  # two are left of four wanted


def test_rankings_leave_out_the_other_ones_highest() -> None:
    effect, induction = np.arange(100.0).reshape(10, 10), np.arange(100.0)[::-1].reshape(10, 10)
    induction[9, 9] = 200.0
    sets = ranked_sets(effect.astype(np.float32), induction.astype(np.float32))
    assert [int(mask.sum()) for mask in sets[RANKINGS[0]]] == [round(100 * share) for share in SHARES]
    assert sets["effect"][0][9, 9]
    assert not sets["effect without induction"][0][9, 9]
    assert sets["effect without induction"][0][9, 8]
    assert set(ranked_sets(effect.astype(np.float32), None)) == {"effect"}
