"""The gate: its formula, its gradient, and that open gates change nothing."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reportgen.errors import ModelError, NotApplicable
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.sparse.scoring import gates
from reportgen.suites.sparse.scoring.gates import Gate
from tests.suites.sparse.plain import soft_gate
from tests.tiny import tiny_folder

SEAMS = ("gpt2", "gpt_neox", "llama", "qwen2", "phi3", "gemma2")


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    base = tmp_path_factory.mktemp("families")
    made: dict[str, Model] = {}

    def make(family: str) -> Model:
        if family not in made:
            made[family] = load(tiny_folder(family, base / family), device="cpu")
        return made[family]

    return make


def scores_of(size: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    found = 3 * torch.randn(2, 3, size, size, generator=generator)
    return found.masked_fill(torch.ones(size, size, dtype=torch.bool).triu(1), -torch.inf)


@given(bias=st.floats(-3, 3), seed=st.integers(0, 99))
def test_straight_through_is_the_formula_with_the_gradient_of_the_relaxed_gate(bias: float, seed: int) -> None:
    scores, generator = scores_of(), torch.Generator().manual_seed(seed)
    uniform = torch.rand(scores.shape, generator=generator).clamp(1e-5, 1 - 1e-5)
    weight = torch.randn(scores.shape, generator=generator)
    leaf = scores.clone().requires_grad_()
    sampled, expected = gates.straight_through(leaf, bias, uniform)
    (sampled * weight).sum().backward()
    allowed = torch.isfinite(scores)
    z = (scores + bias).double()
    soft = soft_gate(z, uniform.double())
    assert torch.equal(sampled[allowed].detach(), (soft > 0.5)[allowed].float())
    assert (sampled[~allowed] == 0).all()
    assert torch.allclose(expected[allowed].double(), torch.sigmoid(z)[allowed], atol=1e-6)
    slope = (soft * (1 - soft) * weight).masked_fill(~allowed, 0.0)
    assert leaf.grad is not None
    assert torch.allclose(leaf.grad.double(), slope, atol=1e-4)


def test_without_noise_a_gate_has_the_slope_of_its_sigmoid() -> None:
    scores = torch.tensor([[[[-2.0, -0.1, 0.1, 3.0]]]], requires_grad=True)
    made, _ = gates.straight_through(scores, 0.0, gates.uniform_of(gates.STILL, scores))
    assert made.tolist() == [[[[0.0, 0.0, 1.0, 1.0]]]]
    made.sum().backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    open_ = torch.sigmoid(scores.detach())
    assert torch.allclose(scores.grad, open_ * (1 - open_))


def test_noise_at_its_ends_gives_no_nan() -> None:
    leaf = scores_of().requires_grad_()
    sampled, _ = gates.straight_through(leaf, 0.0, torch.zeros(leaf.shape))
    (sampled.sum() + gates.straight_through(leaf, 0.0, torch.ones(leaf.shape))[0].sum()).backward()
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()


def test_hard_gates_close_exactly_and_rows_are_not_renormalised() -> None:
    scores = scores_of()
    pattern = scores.softmax(-1)
    used = Gate(bias=0.5)(scores, pattern)
    closed = ~(scores + 0.5 > 0)
    assert (used[closed] == 0).all()
    assert torch.equal(used[~closed], pattern[~closed])
    assert used.sum(-1).min() < 0.9


def test_a_masked_pair_is_never_open_whatever_the_bias() -> None:
    scores = scores_of()
    lowest = scores.masked_fill(torch.isinf(scores), torch.finfo(torch.float32).min)
    for masked in (scores, lowest):
        assert not Gate(bias=1e6).opened(masked)[torch.isinf(scores)].any()


@pytest.mark.parametrize("family", SEAMS)
def test_all_gates_open_is_the_dense_model_bit_for_bit(model_of: Callable[[str], Model], family: str) -> None:
    model = model_of(family)
    ids = torch.arange(24).view(2, 12) + 2
    dense = model.logits(ids)
    for rule in (gates.every_edge, Gate(bias=1e6)):
        assert torch.equal(model.run(ids, gates.hooks(model, rule)), dense)
    assert not torch.equal(model.run(ids, gates.hooks(model, Gate(bias=0.0))), dense)


@pytest.mark.parametrize("family", ["opt", "gptj"])
def test_a_hidden_pattern_is_not_applicable(model_of: Callable[[str], Model], family: str) -> None:
    with pytest.raises(NotApplicable, match=family):
        gates.hooks(model_of(family), gates.every_edge)


def test_the_edit_sees_what_is_used_and_may_replace_it(model_of: Callable[[str], Model]) -> None:
    model, ids = model_of("gpt2"), torch.arange(10)[None] + 2
    seen = {}

    def edit(layer: int, used: torch.Tensor) -> torch.Tensor | None:
        seen[layer] = used
        return used * 0 if layer == 1 else None

    out = model.run(ids, gates.hooks(model, Gate(), edit))
    silent = model.run(ids, {**gates.hooks(model, Gate()), ("z", 1): lambda z: z * 0})
    assert torch.allclose(out, silent, atol=1e-6)
    assert (seen[0] == 0).any()


def test_cutting_the_pattern_keeps_weights_and_renormalising_restores_rows() -> None:
    pattern = scores_of().softmax(-1)
    kept = gates.above(0.2)(pattern, pattern)
    assert torch.equal(kept > 0, pattern >= 0.2)
    assert torch.equal(kept[kept > 0], pattern[pattern >= 0.2])
    sums = gates.renormalised(0.2)(pattern, pattern).sum(-1)
    assert torch.allclose(sums[(kept > 0).any(-1)], torch.ones(()))


def test_the_gate_travels_in_the_config() -> None:
    gate = Gate(bias=2.0, slack_nats=0.02)
    assert gates.gate_of(SimpleNamespace(attention_gate=gate.as_config()), "m") == gate
    assert gates.gate_of(SimpleNamespace(), "m") is None


@pytest.mark.parametrize(
    "entry", ["on", {"rule": "score > 1"}, {"rule": gates.RULE}, {"rule": gates.RULE, "bias": "x", "slack_nats": 0.1},
              {"rule": gates.RULE, "bias": float("nan"), "slack_nats": 0.1},
              {"rule": gates.RULE, "bias": True, "slack_nats": 0.1}]
)  # fmt: skip
def test_a_gate_of_another_kind_is_refused(entry: object) -> None:
    with pytest.raises(ModelError, match="gate"):
        gates.gate_of(SimpleNamespace(attention_gate=entry), "m")
