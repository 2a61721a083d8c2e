"""Hooks: shapes, per-head writes, nothing left behind, gradients; continuations are what whole passes give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reportgen.models.load import load
from reportgen.models.model import POINTS, Model

IDS = (torch.arange(24).view(2, 12) * 5 + 4) % 200  # [batch pos]
ModelOf = Callable[[str], Model]


def hook_count(model: Model) -> int:
    return sum(len(p.fwd_hooks) + len(p.bwd_hooks) for p in model.bridge.hook_dict.values())


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gemma2"])
def test_shapes(family: str, model_of: ModelOf) -> None:
    model = model_of(family)
    r = model.record
    shapes: dict[str, tuple[int, ...]] = {}

    def note(kind: str) -> Callable[[Tensor], None]:
        return lambda t: shapes.__setitem__(kind, tuple(t.shape))

    model.run(IDS, {(kind, 2): note(kind) for kind in POINTS})
    heads, groups, square = (2, 12, r.n_heads, r.d_head), (2, 12, r.n_kv_heads, r.d_head), (2, r.n_heads, 12, 12)
    stream = dict.fromkeys(["attn_out", "mlp_out", "resid_pre", "resid_post"], (2, 12, 32))
    assert shapes == {"z": heads, "q": heads, "k": groups, "v": groups, "pattern": square, "scores": square, **stream}


def test_z_is_per_query_head_under_grouped_queries(model_of: ModelOf) -> None:
    """Silencing one query head takes exactly its own output away, not its group's."""
    model = model_of("mistral")
    seen: dict[str, Tensor] = {}
    model.run(
        IDS, {("z", 1): lambda t: seen.__setitem__("z", t), ("attn_out", 1): lambda t: seen.__setitem__("all", t)}
    )

    def silence(z: Tensor) -> Tensor:
        return torch.where(torch.arange(4)[:, None] == 3, 0.0, z)

    model.run(IDS, {("z", 1): silence, ("attn_out", 1): lambda t: seen.__setitem__("less", t)})
    own = seen["z"][:, :, 3] @ model.W_O(1)[3]  # [batch pos d_model]
    torch.testing.assert_close(seen["all"] - seen["less"], own, atol=1e-5, rtol=0)


def test_hooks_are_gone_after_an_exception(model_of: ModelOf) -> None:
    model = model_of("llama")
    before = model.logits(IDS)
    clean = hook_count(model)

    def fail(t: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        model.run(IDS, {("z", 0): torch.zeros_like, ("v", 1): fail, ("pattern", 2): torch.zeros_like})
    assert hook_count(model) == clean
    assert torch.equal(model.logits(IDS), before)


def test_hooks_are_gone_after_a_run_and_an_early_stop(model_of: ModelOf) -> None:
    model = model_of("gpt_neox")
    before = model.logits(IDS)
    clean = hook_count(model)
    model.run(IDS, {("z", 0): torch.zeros_like})
    model.run_until(IDS, {("z", 0): torch.zeros_like}, 1)
    assert hook_count(model) == clean
    assert torch.equal(model.logits(IDS), before)


def test_run_until_stops_before_its_layer(model_of: ModelOf) -> None:
    model = model_of("gpt2")
    ran: list[int] = []
    model.run_until(IDS, {("z", layer): (lambda t, layer=layer: ran.append(layer)) for layer in range(3)}, 2)
    assert ran == [0, 1]


def test_unknown_kinds_layers_and_lengths_are_named(model_of: ModelOf) -> None:
    model = model_of("gpt2")
    with pytest.raises(ValueError, match="no hook of kind 'zed'"):
        model.run(IDS, {("zed", 0): torch.zeros_like})
    with pytest.raises(ValueError, match="layer 3 of a model with 3"):
        model.run(IDS, {("z", 3): torch.zeros_like})
    with pytest.raises(ValueError, match="at most 64"):
        model.run(torch.zeros(1, 65, dtype=torch.long))
    with pytest.raises(ValueError, match="batch pos"):
        model.run(torch.zeros(5, dtype=torch.long))


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma2", "opt"])
def test_gradients_of_head_outputs(family: str, model_of: ModelOf) -> None:
    """d logit / d z by backward equals the difference quotient; weights stay without gradients."""
    model = model_of(family)
    held: list[Tensor] = []
    direction = torch.randn(2, 12, 4, model.record.d_head, generator=torch.Generator().manual_seed(1))

    def metric(logits: Tensor) -> Tensor:
        return (logits[:, -1, 7] - logits[:, -1, 9]).sum()

    logits = model.run(IDS, {("z", 0): held.append}, grad=True)
    (slope,) = torch.autograd.grad(metric(logits), held)
    step = 1e-3
    up, down = (metric(model.run(IDS, {("z", 0): lambda z, s=s: z + s * direction})) for s in (step, -step))
    expected = float(up - down) / (2 * step)
    assert float((slope * direction).sum()) == pytest.approx(expected, rel=0.05, abs=0.02)
    assert abs(expected) > 0.05
    assert all(p.grad is None and not p.requires_grad for p in model.bridge.parameters())


def test_without_grad_nothing_keeps_a_graph(model_of: ModelOf) -> None:
    held: list[Tensor] = []
    logits = model_of("gpt2").run(IDS, {("z", 0): held.append})
    assert not logits.requires_grad
    assert not held[0].requires_grad
    assert not held[0].is_inference()  # may take part in a later run with gradients


def test_a_thawed_model_trains_its_embedding(folder_of: Callable[[str], Path]) -> None:
    model = load(folder_of("gpt2"), device="cpu")
    for parameter in model.bridge.parameters():
        parameter.requires_grad_(True)
    model.run(IDS, grad=True).sum().backward()
    embedding = model.source.tensors["transformer.wte.weight"]
    assert embedding.grad is not None
    assert embedding.grad[IDS.flatten()].abs().max() > 0
