"""The plain Llama against the general way, what it freezes, its number types, the KL term, and the fitted start."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.sparse.scoring import checkpoint
from reportgen.suites.sparse.scoring.gates import STILL, Gate, Noise
from reportgen.suites.sparse.training import fitted_start, networks
from reportgen.suites.sparse.training.networks import QK, Llama, Trainee, loss, own_tensors, trainee
from reportgen.suites.sparse.training.phase import Schedule, TrainingPhase
from reportgen.suites.sparse.training.texts import Text
from tests.tiny import tiny_folder

IDS = torch.arange(40).view(4, 10) % 23 + 2
GATE = Gate(bias=0.3)


@pytest.fixture(scope="module", params=["plain", "biased"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    extra = {"attention_bias": True, "tie_word_embeddings": True} if request.param == "biased" else {}
    path = tmp_path_factory.mktemp(request.param)
    return tiny_folder("llama", path, num_key_value_heads=2, **extra)


def noise_of(seed: int | None) -> Noise | None:
    return None if seed is None else torch.Generator().manual_seed(seed)


def gradients(made: Trainee, noise: Noise | None) -> dict[tuple[int, ...], torch.Tensor]:
    found = made(IDS, GATE, noise)
    (loss(found.logits, IDS) + 0.01 * found.expected.sum()).backward()  # type: ignore[no-untyped-call]
    return {(p.data_ptr(), *p.shape): p.grad for p in made.parameters.values() if p.grad is not None}


@pytest.mark.parametrize("gate", [None, GATE])
def test_both_ways_agree_on_logits_and_edges(folder: Path, gate: Gate | None) -> None:
    fast, general = trainee(load(folder, device="cpu")), trainee(load(folder, device="cpu"), general=True)
    assert isinstance(fast.network, Llama)  # type: ignore[attr-defined]
    one, other = fast(IDS, gate), general(IDS, gate)
    assert torch.allclose(one.logits, other.logits, atol=1e-5)
    assert torch.allclose(one.opened, other.opened, atol=1e-6)
    assert torch.allclose(one.expected, other.expected, atol=1e-6)


@pytest.mark.parametrize("noise", [STILL, 5])
def test_both_ways_have_the_same_gradient(folder: Path, noise: str | int) -> None:
    source = [STILL if noise == STILL else noise_of(5) for _ in range(2)]
    model = load(folder, device="cpu")
    fast, general = gradients(trainee(model), source[0]), None
    for tensor in own_tensors(model).values():
        tensor.grad = None
    general = gradients(trainee(model, general=True), source[1])  # the same tensors: told apart by their address
    assert len(fast) >= 3 * 9
    assert fast.keys() == general.keys()
    for key, grad in fast.items():
        assert torch.allclose(grad, general[key], atol=2e-5)
    assert any(bool(grad.abs().max() > 1e-3) for grad in fast.values())


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_what_is_frozen_is_byte_for_byte_the_same_afterwards(tmp_path: Path, family: str, general: bool) -> None:
    extra = {} if family == "gpt2" else {"num_key_value_heads": 2}
    model = load(tiny_folder(family, tmp_path, **extra), device="cpu")
    made = trainee(model, general=general, train=QK)
    before = {name: tensor.clone() for name, tensor in made.tensors().items()}
    optimizer = torch.optim.AdamW(list(made.parameters.values()), lr=1e-2)
    found = made(IDS, GATE, torch.Generator().manual_seed(0))
    (loss(found.logits, IDS) + found.expected.sum()).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    after = made.tensors()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    if family == "gpt2":
        assert changed == {f"transformer.h.{i}.attn.c_attn.{part}" for i in range(3) for part in ("weight", "bias")}
        values = slice(2 * 32, None)  # Q and K stand before V
        for name in changed:
            assert torch.equal(before[name][..., values], after[name][..., values])
        return
    kinds = {name.split(".", 3)[-1] for name in changed}
    wanted = {"self_attn.q_proj.weight", "self_attn.k_proj.weight"}
    assert kinds == wanted | ({"self_attn.q_norm.weight", "self_attn.k_norm.weight"} if family == "qwen3" else set())
    assert len(changed) == 3 * len(kinds)


def test_rounding_touches_frozen_products_alone(folder: Path) -> None:
    exact = trainee(load(folder, device="cpu"), train=QK)
    rounded = trainee(load(folder, device="cpu"), train=QK, number=torch.bfloat16)
    one, other = exact(IDS, None).logits, rounded(IDS, None).logits
    assert not torch.equal(one, other)
    assert torch.allclose(one, other, atol=0.2)
    network = rounded.network  # type: ignore[attr-defined]
    assert network.rounded
    assert not any("q_proj" in name or "k_proj" in name for name in network.rounded)
    assert all(tensor.dtype == torch.float32 for tensor in rounded.tensors().values())
    whole = trainee(load(folder, device="cpu"), number=torch.bfloat16)  # all is trained: nothing is rounded
    assert torch.allclose(whole(IDS, None).logits, one, atol=1e-5)


def test_other_models_are_left_to_the_general_way(folder: Path) -> None:
    config = load(folder, device="cpu").config
    assert networks.fits_llama(config)
    for name, value in (("hidden_act", "gelu"), ("mlp_bias", True), ("rope_parameters", {"rope_type": "llama3"})):
        other = copy.deepcopy(config)
        setattr(other, name, value)
        assert not networks.fits_llama(other)


def text_of(ids: np.ndarray) -> Text:  # type: ignore[type-arg]
    return Text("made up", "", ids.size, lambda step, size: ids[:size], np.tile(ids, (8, 1)), ids)


@pytest.mark.parametrize("general", [False, True])
def test_the_kl_term_s_gradient_is_what_plain_float64_says(folder: Path, tmp_path: Path, general: bool) -> None:
    dense, model = load(folder, device="cpu"), load(folder, device="cpu")
    reference, learner = trainee(dense, general=general), trainee(model, general=general)
    with torch.no_grad():
        for tensor in learner.parameters.values():  # away from the dense model, or there is no gradient
            tensor += 0.05 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(tensor.numel()))
    schedule = Schedule(1, lr=1e-3, batch=4, kl=1.0, seed=0, log_every=1, save_every=1)
    gate = Gate(bias=100.0)  # all open, with no gradient of their own
    phase = TrainingPhase(learner, gate, text_of(IDS.numpy()), schedule, tmp_path / "state", reference)
    phase.dual.log_weight = -math.inf  # the KL term alone
    phase._backward(IDS, STILL, 1.0)
    gradient = {name: tensor.grad for name, tensor in learner.parameters.items() if tensor.grad is not None}
    norm = math.sqrt(sum(float((grad.double() ** 2).sum()) for grad in gradient.values()))
    p, step = reference(IDS, None).logits.detach().double().numpy(), 1e-2
    found = []
    for size in (step, -2 * step):  # once forward, then back to the other side
        with torch.no_grad():
            for name, grad in gradient.items():
                learner.parameters[name] += size / norm * grad
            found.append(by_hand(p, learner(IDS, gate).logits.double().numpy()))
    assert found[1] > 1e-3
    assert (found[0] - found[1]) / (2 * step) == pytest.approx(norm, rel=0.02)


def by_hand(p: np.ndarray, q: np.ndarray) -> float:  # type: ignore[type-arg]
    """Mean KL(p || q) in nats of two float64 logits [batch pos vocab]."""
    total = 0.0
    for one, other in zip(p.reshape(-1, p.shape[-1]), q.reshape(-1, q.shape[-1]), strict=True):
        one, other = one - one.max(), other - other.max()
        chances = np.exp(one) / np.exp(one).sum()
        total += float((chances * ((one - np.log(np.exp(one).sum())) - (other - np.log(np.exp(other).sum())))).sum())
    return total / (p.shape[0] * p.shape[1])


def fitted(model: Model, cut: float) -> fitted_start.Start:
    ids = np.random.default_rng(0).integers(2, model.tokens.size, (64, 16))
    return fitted_start.cut_start(own_tensors(model), model.config, cut, ids, torch.float32)


def test_a_fitted_start_moves_the_scores_of_every_query_by_the_least_squares_shift(tmp_path: Path) -> None:
    model = load(tiny_folder("llama", tmp_path, num_key_value_heads=2), device="cpu")
    ids = np.random.default_rng(0).integers(2, model.tokens.size, (64, 16))
    start = fitted_start.cut_start(own_tensors(model), model.config, 0.05, ids, torch.float32)
    dense = watched(Llama(own_tensors(model), model.config), ids)
    moved = watched(Llama(start.tensors, start.config), ids)
    x = dense[0][0].flatten(0, 1).double().numpy()
    inputs = np.concatenate((x, np.ones_like(x[:, :1])), 1)
    for head in range(4):
        scores = dense[0][1][:, head].double()
        shift = -(scores.logsumexp(-1) + math.log(0.05)).flatten().numpy()
        weight = np.where(np.arange(len(shift)) % 16 == 0, 17.0, 1.0)  # first positions weigh as much again as all
        root = np.sqrt(weight)
        predicted = inputs @ np.linalg.lstsq(inputs * root[:, None], shift * root, rcond=None)[0]
        spread = (weight * (shift - np.average(shift, weights=weight)) ** 2).sum()
        explained = 1 - (weight * (shift - predicted) ** 2).sum() / spread
        assert float(start.explained[0, head]) == pytest.approx(explained, abs=0.01)
        change = (moved[0][1][:, head] - dense[0][1][:, head]).double()
        change[torch.isnan(change)] = 0  # masked pairs
        found = (change.sum(-1) / torch.arange(1, 17)).flatten().numpy()  # mean over the keys of a query
        assert np.corrcoef(found, predicted)[0, 1] > 0.8
        moves = (found - predicted).round(1)  # by a constant of the head
        assert any(abs(np.median(moves) - move) < 0.3 for move in fitted_start._MOVES)


def watched(network: Llama, ids: np.ndarray) -> list[tuple[torch.Tensor, torch.Tensor]]:  # type: ignore[type-arg]
    """What attention reads and its masked scores, layer by layer."""
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    network.seen = lambda layer, x, scores: found.append((x, scores))  # type: ignore[method-assign]
    with torch.no_grad():
        network(torch.as_tensor(ids), None)
    return found


def test_a_higher_cut_starts_with_fewer_open_gates(tmp_path: Path) -> None:
    model = load(tiny_folder("llama", tmp_path, num_key_value_heads=2), device="cpu")
    opened = [Llama((start := fitted(model, cut)).tensors, start.config)(IDS, Gate())[2].sum() for cut in (0.01, 0.2)]
    assert float(opened[1]) < 0.7 * float(opened[0])


def test_a_fitted_start_is_a_hugging_face_model_with_query_and_key_biases(tmp_path: Path) -> None:
    source = tiny_folder("llama", tmp_path / "dense", num_key_value_heads=2)
    model = load(source, device="cpu")
    start = fitted(model, 0.1)
    checkpoint.save(start.config, start.tensors, None, str(source), tmp_path / "start", torch.float32)
    back = load(tmp_path / "start", device="cpu")
    assert json.loads((tmp_path / "start" / "config.json").read_text())["attention_bias"] is True
    for general in (False, True):
        made = trainee(back, general=general, train=QK)(IDS, GATE)
        assert torch.allclose(made.logits, Llama(start.tensors, start.config)(IDS, GATE)[0], atol=1e-4)
    untouched = [name for name, tensor in own_tensors(model).items() if torch.equal(tensor, start.tensors[name])]
    assert len(untouched) == len(own_tensors(model)) - 6  # all but W_Q and W_K of three layers
    for name in ("v_proj", "o_proj"):
        assert not start.tensors[f"model.layers.1.self_attn.{name}.bias"].any()
