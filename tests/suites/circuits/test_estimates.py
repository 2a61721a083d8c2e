"""Above `exact_heads`: estimates stand in on the map of total effects, marked, and nothing is read off them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from reportgen import score_files
from reportgen.figures import captions
from reportgen.figures.figure import View
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.report.labels import beyond, order
from reportgen.report.render import scores_csv
from reportgen.scores import HeadScores, SuiteResult
from reportgen.suites.circuits.drawing.figures import figures
from reportgen.suites.circuits.scoring.effects import attribution
from reportgen.suites.circuits.scoring.passes import Batches
from reportgen.suites.circuits.scoring.score import score
from reportgen.suites.circuits.settings import Settings
from tests.figures.samples import values_of
from tests.suites.circuits.planted import ioi_folder
from tests.suites.circuits.test_effects import random_task
from tests.suites.circuits.test_score import CONTEXT, QUICKLY, facts, sets
from tests.tiny import tiny_folder

LARGE = dataclasses.replace(QUICKLY, exact_heads=8, verified=1, sampled=3, denoising=True, twins=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(ioi_folder(tmp_path_factory.mktemp("ioi")), device="cpu")


@pytest.fixture(scope="module")
def large(model: Model) -> SuiteResult:
    return score(model, LARGE, CONTEXT)


@pytest.fixture(scope="module")
def small(model: Model) -> SuiteResult:
    return score(model, dataclasses.replace(LARGE, exact_heads=16), CONTEXT)


def test_direct_effects_are_exact_for_every_head_of_a_large_model(large: SuiteResult, small: SuiteResult) -> None:
    direct = large["direct/ioi"]
    assert direct.exact.all()
    assert direct.estimated is None
    np.testing.assert_array_equal(direct.values, small["direct/ioi"].values)


def test_total_effects_are_exact_where_verified_and_marked_estimates_elsewhere(
    large: SuiteResult, small: SuiteResult
) -> None:
    total, whole, estimate = large["total/ioi"], small["total/ioi"], large["attribution/ioi"]
    assert whole.estimated is None
    assert total.estimated is not None
    assert total.p is not None
    assert np.isfinite(total.values).all()  # no grey cell
    exact = total.exact
    attribution_facts = facts(large)["attribution"]
    assert isinstance(attribution_facts, dict)
    assert int(exact.sum()) == attribution_facts["n_exact"] < 16
    np.testing.assert_allclose(total.values[exact], whole.values[exact], atol=1e-5)
    np.testing.assert_array_equal(total.values[~exact], estimate.values[~exact])
    for grid in (total.low, total.high, total.p):
        assert grid is not None
        assert np.isnan(grid[~exact]).all()
        assert np.isfinite(grid[exact]).all()
    assert np.isnan(large.arrays["ioi/total"].values[:, ~exact]).all()
    assert all(exact[head] for s in large.head_sets if s.key == "circuits/ioi/direct" for head in s.heads)


def test_denoising_has_estimates_of_its_own(large: SuiteResult, small: SuiteResult) -> None:
    back, whole = large["total_denoising/ioi"], small["total_denoising/ioi"]
    assert np.isfinite(back.values).all()
    np.testing.assert_array_equal(back.exact, large["total/ioi"].exact)
    np.testing.assert_allclose(back.values[back.exact], whole.values[back.exact], atol=1e-5)
    assert not np.allclose(back.values[~back.exact], large["attribution/ioi"].values[~back.exact])
    assert "spearman" in facts(large)["attribution_denoising"]  # type: ignore[operator]


def test_denoising_estimates_are_the_derivative_at_the_corrupted_prompt(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A hundredth of the way from corrupted to clean z moves the corrupted prompt's m by a hundredth of it."""
    model = load(tiny_folder("llama", tmp_path_factory.mktemp("llama")), device="cpu")
    task, step = random_task(), 0.01
    prompts = Batches(model, task, range(6))
    estimate = attribution(prompts, denoising=True)
    for batch in prompts:
        for layer, head in ((0, 1), (2, 2)):
            z = batch.corrupted.z[layer].clone()
            z[:, :, head] += step * (batch.clean.z[layer] - batch.corrupted.z[layer])[:, :, head]
            logits = model.run(batch.corrupted.ids, {("z", layer): lambda _, given=z: given})[:, -1]
            change = (prompts.metric(logits, batch.rows) - batch.corrupted.m).numpy() / step
            wanted = estimate[prompts.places(batch), layer, head]
            np.testing.assert_allclose(change, wanted, atol=0.05 * np.abs(estimate).max())
    assert not np.allclose(estimate, attribution(prompts), atol=0.05 * np.abs(estimate).max())


def test_nothing_ranks_counts_or_claims_an_estimate(large: SuiteResult) -> None:
    total = large["total/ioi"]
    some = {(int(layer), int(head)) for layer, head in np.argwhere(~total.exact)}
    assert some
    assert not some & set(total.ranking())
    assert not some & set(order(total))
    # even an estimate above all others, with a null line below it, is not counted
    loud = dataclasses.replace(total, values=np.where(total.exact, total.values, np.float32(9)), p=None, line=1.0)
    sizes = np.abs(loud.values[loud.exact])
    assert beyond(loud) == str(int((sizes > 1.0).sum()))
    assert f"{int((loud.values[loud.exact] > 1.0).sum())} of {loud.exact.sum()} heads" in captions.beats_null(loud)
    assert not any(name in captions.best_head(loud) for name in (f"L{a}H{b}" for a, b in some))
    by_total = (
        "direct",
        "movers",
        "through_movers",
        "through_those",
    )  # backups and unseen heads have measures of their own
    assert not some & {head for s in large.head_sets if s.key.endswith(by_total) for head in s.heads}


def test_the_planted_heads_are_found_among_estimates(large: SuiteResult, small: SuiteResult) -> None:
    named = ("direct", "name_movers", "negative_movers", "backups")
    assert {name: sets(large)[name] for name in named} == {name: sets(small)[name] for name in named}
    assert sets(large)["name_movers"] == ((2, 0),)


def test_files_and_figure_tell_them_apart(model: Model, large: SuiteResult) -> None:
    total = score_files.decode(*score_files.encode(large), where="test")["total/ioi"]
    assert isinstance(total, HeadScores)
    lines = [
        line
        for line in scores_csv({"circuits": large}, model.record).splitlines()
        if line.startswith("circuits,total,ioi")
    ]
    told = ["estimated by attribution: no interval and no p" in line for line in lines]
    np.testing.assert_array_equal(np.reshape(told, (4, 4)), ~total.exact)
    drawn = {f.id: f for f in figures(large, View(model.record, overlays=large.head_sets, results={}))}
    figure = drawn["circuits-ioi-total"]
    spec = figure.chart.to_dict()
    layers = [layer for panel in spec["hconcat"] for layer in panel["layer"]]
    assert not any(layer["name"].startswith("missing") for layer in layers)
    corners = [values_of(spec, layer) for layer in layers if layer["name"].startswith("exact")]
    assert [len(rows) for rows in corners] == [total.exact.sum()] * 2  # noising and denoising
    words = f"exact ({total.exact.sum()} heads). The other {(~total.exact).sum()} are estimated by attribution"
    assert any(words in note for note in figure.notes)
    assert "Filled corner: exact." in figure.caption
    assert not any("Grey" in said for said in (drawn["circuits-ioi"].caption, *drawn["circuits-ioi"].notes))


def test_settings_of_large_models_are_about_totals_alone() -> None:
    helps = {f.name: f.metadata["help"] for f in dataclasses.fields(Settings)}
    assert "total effects" in helps["exact_heads"]
    assert "direct effects are always exact" in helps["exact_heads"]
    assert "total effects" in helps["verified"]
