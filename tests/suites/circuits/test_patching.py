"""Total effects, attribution and paths between heads against brute force on random checkpoints of several families."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.scores import Head
from reportgen.suites.circuits.scoring import passes
from reportgen.suites.circuits.scoring.effects import attribution, choose_exact, rank_correlation, total_effects
from reportgen.suites.circuits.scoring.passes import Batches
from reportgen.suites.circuits.scoring.path_patching import below, path_effects
from reportgen.suites.circuits.tasks.task import Pair
from tests.suites.circuits.test_effects import brute_force, keep, metric_of, random_task
from tests.tiny import tiny_folder

FAMILIES = ("gpt2", "gemma2", "gptj", "opt", "qwen2", "gpt_neox")
EVERY = range(6)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_folder(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_folder("gpt2", tmp_path_factory.mktemp("plain")), device="cpu")


def shape(model: Model) -> tuple[int, int]:
    return model.record.n_layers, model.record.n_heads


def swapped(pair: Pair) -> Pair:
    return Pair(pair.corrupted, pair.clean, pair.answer_ids, pair.foil_ids, pair.roles, pair.template, pair.text)


def test_total_effects_are_activation_patching(model: Model) -> None:
    task = random_task(count=3)
    found = total_effects(Batches(model, task, range(3)), np.ones(shape(model), bool), denoising=True)
    noising = np.stack([brute_force(model, pair, frozen=False) for pair in task.pairs])
    # denoising is noising the other way round: m_corrupted - m_patched with the prompts exchanged
    denoising = -np.stack([brute_force(model, swapped(pair), frozen=False) for pair in task.pairs])
    scale = np.abs(noising).max()
    np.testing.assert_allclose(found.noising, noising, rtol=0, atol=2e-3 * scale)
    np.testing.assert_allclose(found.denoising, denoising, rtol=0, atol=2e-3 * scale)


def test_only_the_heads_asked_for_are_run(gpt2: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    task, heads = random_task(), np.zeros(shape(gpt2), bool)
    heads[1, 2] = heads[2, 0] = True
    whole = total_effects(Batches(gpt2, task, EVERY), np.ones(shape(gpt2), bool), denoising=False).noising
    monkeypatch.setattr(passes, "ROWS", 7)  # one prompt and one head a pass
    monkeypatch.setattr(passes, "KEPT", 1)  # nothing is kept between uses
    some = total_effects(Batches(gpt2, task, [4, 1]), heads, denoising=False).noising
    np.testing.assert_allclose(some[:, heads], whole[[4, 1]][:, heads], atol=1e-5)
    assert np.isnan(some[:, ~heads]).all()


def test_attribution_is_the_derivative_of_the_patched_metric(model: Model) -> None:
    """z moved a hundredth of the way to its corrupted value moves m by a hundredth of the estimate."""
    task, step = random_task(), 0.01
    estimate = attribution(Batches(model, task, EVERY))
    scale = float(np.abs(estimate).max())
    for batch in Batches(model, task, [0, 3]):
        for layer, head in ((0, 1), (1, 3), (2, 2)):
            moved = batch.clean.z[layer].clone()
            moved[:, :, head] += step * (batch.corrupted.z[layer] - batch.clean.z[layer])[:, :, head]
            logits = model.run(batch.clean.ids, {("z", layer): lambda z, given=moved: given})
            for row, index in enumerate(batch.rows.tolist()):
                change = float(batch.clean.m[row]) - metric_of(model, task.pairs[index], logits[row : row + 1])
                assert change / step == pytest.approx(float(estimate[index, layer, head]), abs=0.05 * scale)


def test_more_steps_average_the_gradient_between_the_prompts(gpt2: Model) -> None:
    """With many steps the parts of all heads of layer 0 come near their joint total effect where m is smooth."""
    task = random_task()
    one, many = (attribution(Batches(gpt2, task, EVERY), steps) for steps in (1, 8))
    assert not np.allclose(one, many)
    again = attribution(Batches(gpt2, task, EVERY), 8)
    np.testing.assert_array_equal(many, again)


def through(model: Model, pair: Pair, sender: Head, receivers: list[Head]) -> float:
    """m_clean - m with the receivers' z as it is when the sender alone is corrupted, all else of a clean run.

    The sender stands in the layer right below the receivers, so that no other head's z is between them.
    """
    layer, above = sender[0], receivers[0][0]
    clean, corrupted = torch.tensor([pair.clean]), torch.tensor([pair.corrupted])
    seen: dict[int, torch.Tensor] = {}
    model.run(corrupted, {("z", layer): keep(seen, 0)})
    model.run(clean, {("z", layer): keep(seen, 1), ("z", above): keep(seen, 2)})
    mixed = seen[1].clone()
    mixed[:, :, sender[1]] = seen[0][:, :, sender[1]]
    model.run(clean, {("z", layer): lambda z: mixed, ("z", above): keep(seen, 3)})
    written = seen[2].clone()
    for _, head in receivers:
        written[:, :, head] = seen[3][:, :, head]
    m_clean = metric_of(model, pair, model.run(clean))
    return m_clean - metric_of(model, pair, model.run(clean, {("z", above): lambda z: written}))


def test_all_inputs_of_a_layer_carry_what_its_heads_then_do(model: Model) -> None:
    task, senders = random_task(count=2), [(1, head) for head in range(shape(model)[1])]
    receivers = [(2, head) for head in range(shape(model)[1])]
    found = path_effects(Batches(model, task, range(2)), senders, receivers, ["qkv"])["qkv"]
    wanted = np.array([[through(model, pair, sender, receivers) for sender in senders] for pair in task.pairs])
    np.testing.assert_allclose(found[:, 1], wanted, rtol=0, atol=2e-3 * np.abs(wanted).max())
    assert np.isnan(found[:, [0, 2]]).all()


def test_one_receiver_alone_and_its_inputs_apart(gpt2: Model) -> None:
    task, sender, receiver = random_task(), [(1, 2)], [(2, 1)]
    found = path_effects(Batches(gpt2, task, EVERY), sender, receiver, ["qkv", "q", "k", "v", "kv"])
    wanted = [through(gpt2, pair, sender[0], receiver) for pair in task.pairs]
    np.testing.assert_allclose(found["qkv"][:, 1, 2], wanted, atol=1e-4)
    parts = {kind: found[kind][:, 1, 2] for kind in "qkv"}
    assert all(np.abs(part).max() > 1e-4 for part in parts.values())
    assert not np.allclose(parts["q"], parts["k"], atol=1e-4)
    assert not np.allclose(found["kv"][:, 1, 2], found["qkv"][:, 1, 2], atol=1e-4)


def test_a_key_of_grouped_queries_is_the_whole_groups(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = load(tiny_folder("mistral", tmp_path_factory.mktemp("grouped")), device="cpu")
    assert model.record.n_kv_heads == model.record.n_heads // 2
    task, sender = random_task(), [(1, 0)]
    one, other, far = (
        path_effects(Batches(model, task, EVERY), sender, [(2, head)], ["k"])["k"][:, 1, 0] for head in (0, 1, 2)
    )
    np.testing.assert_array_equal(one, other)
    assert not np.allclose(one, far, atol=1e-5)


def test_senders_stand_below_a_receiver() -> None:
    allowed = np.ones((3, 2), bool)
    allowed[0, 1] = False
    assert below([(1, 0), (2, 1)], allowed) == [(0, 0), (1, 0), (1, 1)]
    assert below([], allowed) == below([(0, 1)], allowed) == []


def test_small_models_are_exact_and_large_ones_verified() -> None:
    rng = np.random.default_rng(0)
    ranking, other = np.arange(12.0).reshape(3, 4), -np.arange(12.0)[::-1].reshape(3, 4)
    small = choose_exact((3, 4), [ranking], 12, 2, 2, rng)
    assert small.exact.all()
    assert small.random.all()
    large = choose_exact((3, 4), [ranking, other], 11, 2, 3, rng)
    assert {tuple(at) for at in np.argwhere(large.exact)} >= {(2, 3), (2, 2), (0, 0), (0, 1)}
    assert int(large.random.sum()) == 3
    assert not (large.random & ~large.exact).any()
    member = np.zeros((3, 4), bool)
    member[1, 1] = True
    assert choose_exact((3, 4), [ranking], 11, 1, 1, np.random.default_rng(2), member).exact[1, 1]
    assert not choose_exact((3, 4), [ranking], 11, 1, 1, np.random.default_rng(2)).exact[1, 1]


def test_rank_correlation_is_over_the_heads_named() -> None:
    exact = np.array([[1.0, 2.0, 3.0, 9.0]])
    estimate = np.array([[2.0, 4.0, 6.0, -9.0]])
    over = np.array([[True, True, True, False]])
    assert rank_correlation(estimate, exact, over) == pytest.approx(1.0)
    assert rank_correlation(estimate, exact, ~over) is None
    assert rank_correlation(np.zeros((1, 4)), exact, over) is None
