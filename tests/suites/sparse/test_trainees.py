"""Both ways of training against a reference written out by hand, and every family's weights there and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reportgen.errors import NotApplicable
from reportgen.models.load import load
from reportgen.suites.sparse.scoring import checkpoint
from reportgen.suites.sparse.scoring.gates import STILL, Gate
from reportgen.suites.sparse.training.networks import Trainee, divergence, loss, trainee
from tests.suites.sparse.plain import gated_gpt2
from tests.tiny import tiny_folder

IDS = torch.arange(30).view(3, 10) % 23 + 2
GATE = Gate(bias=0.3)
LAYERS, HEADS = 3, 4


def noise_of(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand((3, HEADS, 10, 10), generator=generator) for _ in range(LAYERS)]


def grads(made: Trainee, gate: Gate | None, seed: int | None) -> tuple[float, float, dict[int, torch.Tensor]]:
    """Loss, expected edges and the gradients of loss + 0.01 edges, by the storage and place of their tensor."""
    noise = None if seed is None else torch.Generator().manual_seed(seed)
    found = made(IDS, gate, noise)
    total = loss(found.logits, IDS) + 0.01 * found.expected.sum()
    total.backward()  # type: ignore[no-untyped-call]
    kept = {}
    for tensor in made.parameters.values():
        assert tensor.grad is not None
        kept[tensor.data_ptr()] = tensor.grad
        tensor.grad = None
    return float(loss(found.logits, IDS).detach()), float(found.expected.detach().sum()), kept


@pytest.mark.parametrize("seed", [None, 5])
def test_both_ways_have_the_reference_s_loss_and_gradient(tmp_path: Path, seed: int | None) -> None:
    folder = tiny_folder("gpt2", tmp_path)
    fast, general = trainee(load(folder, device="cpu")), trainee(load(folder, device="cpu"), general=True)
    tensors = {name: t.clone().requires_grad_() for name, t in fast.tensors().items()}
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    logits, edges = gated_gpt2(tensors, IDS, LAYERS, HEADS, GATE.bias, None if seed is None else noise_of(seed))
    (loss(logits, IDS) + 0.01 * edges).backward()  # type: ignore[no-untyped-call]
    wanted = {name: t.grad for name, t in tensors.items()}
    for made in (fast, general):
        value, expected, found = grads(made, GATE, seed)
        assert value == pytest.approx(float(loss(logits, IDS).detach()), abs=1e-5)
        assert expected == pytest.approx(float(edges.detach()), rel=1e-5)
        whole = _joined(made, found)
        assert len(whole) > 30
        for name, grad in whole.items():
            reference = wanted[name]
            assert reference is not None, name
            assert torch.allclose(grad, reference, atol=2e-5), name


def _joined(made: Trainee, found: dict[int, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gradients by Hugging Face's names; the bridge's q, k and v side by side as c_attn holds them."""
    whole: dict[str, torch.Tensor] = {}
    turned = {p.data_ptr() for p in made.parameters.values() if p.ndim == 2 and p.stride(0) == 1}  # views transposed
    for name, tensor in made.tensors().items():
        if name == "lm_head.weight":
            continue
        if tensor.data_ptr() in found and found[tensor.data_ptr()].shape == tensor.shape:
            whole[name] = found[tensor.data_ptr()]
        elif "c_attn" in name:
            width = tensor.shape[-1] // 3
            places = [tensor[..., i * width :].data_ptr() for i in range(3)]
            whole[name] = torch.cat([found[at].T if at in turned else found[at] for at in places], -1)
    return whole


def test_without_noise_the_gates_are_hard_and_pass_the_gradient_of_the_sigmoid(tmp_path: Path) -> None:
    folder = tiny_folder("gpt2", tmp_path)
    for general in (False, True):
        made = trainee(load(folder, device="cpu"), general=general)
        found = made(IDS, GATE, STILL)
        assert torch.allclose(found.logits, made(IDS, GATE).logits, atol=1e-6)
        assert torch.equal(found.opened, made(IDS, GATE).opened)
        assert not torch.allclose(found.expected, found.opened)
        found.expected.sum().backward()  # type: ignore[no-untyped-call]
        assert any(p.grad is not None and bool(p.grad.any()) for p in made.parameters.values())


def test_ways_agree_on_edges_and_open_gates(tmp_path: Path) -> None:
    folder = tiny_folder("gpt2", tmp_path)
    fast, general = trainee(load(folder, device="cpu")), trainee(load(folder, device="cpu"), general=True)
    for gate in (None, GATE):
        one, other = fast(IDS, gate), general(IDS, gate)
        assert torch.allclose(one.logits, other.logits, atol=1e-5)
        assert torch.allclose(one.opened, other.opened, atol=1e-6)
    assert float(fast(IDS, None).opened.sum()) == pytest.approx(LAYERS * HEADS * 5.5)


@pytest.mark.parametrize("general", [False, True])
def test_an_mlp_of_zeros_stays_zero(tmp_path: Path, general: bool) -> None:
    model = load(tiny_folder("gpt2", tmp_path), device="cpu")
    with torch.no_grad():
        for name, tensor in model.source.tensors.items():  # type: ignore[attr-defined]
            if ".h.1.mlp." in name:
                tensor.zero_()
    made = trainee(model, general=general)
    optimizer = torch.optim.AdamW(list(made.parameters.values()), lr=1e-2, weight_decay=0.0)
    loss(made(IDS, GATE, torch.Generator().manual_seed(0)).logits, IDS).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    after = made.tensors()
    assert not any(bool(t.any()) for name, t in after.items() if ".h.1.mlp." in name)
    assert bool(after["transformer.h.0.mlp.c_fc.weight"].any())


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "phi3", "gemma2", "falcon", "gpt_bigcode", "bloom"])
def test_a_step_changes_the_weights_and_they_come_back_from_the_disk(tmp_path: Path, family: str) -> None:
    source = tiny_folder(family, tmp_path / "dense")
    dense = load(source, device="cpu")
    model = load(source, device="cpu")
    made = trainee(model, general=True)
    optimizer = torch.optim.AdamW(list(made.parameters.values()), lr=1e-2)
    loss(made(IDS, GATE, torch.Generator().manual_seed(0)).logits, IDS).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    with torch.no_grad():
        wanted = made(IDS, GATE).logits
    checkpoint.save(dense.config, made.tensors(), GATE, str(source), tmp_path / "sparse")
    back, gate = checkpoint.load_sparse(str(tmp_path / "sparse"), device="cpu")
    assert gate == GATE
    assert back.record.self_check is not None
    assert back.record.self_check.passed
    checkpoint.check_reload(back, made.tensors(), GATE, tmp_path / "sparse")
    with torch.no_grad():
        assert torch.allclose(trainee(back, general=True)(IDS, GATE).logits, wanted, atol=1e-5)
        assert not torch.allclose(trainee(dense, general=True)(IDS, GATE).logits, wanted, atol=1e-2)


def test_a_family_with_hidden_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="gptj"):
        trainee(load(tiny_folder("gptj", tmp_path), device="cpu"))


def test_loss_and_divergence_by_hand() -> None:
    logits = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [0.0, 5.0]]])
    ids = torch.tensor([[0, 1, 0]])
    expected = (torch.log(torch.tensor(2.0)) + torch.log1p(torch.exp(torch.tensor(-2.0)))) / 2
    assert float(loss(logits, ids)) == pytest.approx(float(expected))
    p = torch.softmax(logits, -1)
    other = torch.zeros_like(logits)
    by_hand = (p * (torch.log(p) - torch.log(torch.full_like(p, 0.5)))).sum(-1)
    assert torch.allclose(divergence(logits, other), by_hand, atol=1e-6)
