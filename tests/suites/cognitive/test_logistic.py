"""Logistic regressions: at their minimum, whatever the scale of the features, and each by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn.functional import cross_entropy

from reportgen.suites.cognitive.scoring import logistic

CLASSES, HEADS, WIDTH, ROWS = 3, 5, 4, 90


@pytest.fixture
def own() -> torch.Tensor:
    """[row head d] with a signal, one constant feature, one far from zero, one very large and two nearly alike."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, HEADS, WIDTH)) + 0.7 * rng.standard_normal((CLASSES, HEADS, WIDTH))[_labels()]
    x[:, 0, 0], x[:, 1, 1] = 3.0, x[:, 1, 1] + 1_000
    x[:, 2, 2] *= 100
    x[:, 3, 3] = x[:, 3, 2] + 1e-4 * x[:, 3, 3]
    return torch.from_numpy(x)


def _labels() -> np.ndarray:
    return np.arange(ROWS) % CLASSES


def _loss(x: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor, penalty: float) -> torch.Tensor:
    said = cross_entropy(x @ weights + bias, torch.from_numpy(_labels()))
    return said + penalty / 2 * weights.square().sum()


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0])
def test_no_gradient_is_left(own: torch.Tensor, penalty: float) -> None:
    weights, bias = logistic.fit(own, torch.from_numpy(_labels()), CLASSES, penalty)
    assert weights.dtype == torch.float64
    for h in range(HEADS):
        w, b = weights[h].clone().requires_grad_(), bias[h].clone().requires_grad_()
        torch.autograd.backward(_loss(own[:, h], w, b, penalty))
        assert w.grad is not None
        assert b.grad is not None
        size = own[:, h].abs().amax(0)[:, None]
        assert float((w.grad / size).abs().max()) < 1e-7
        assert float(b.grad.abs().max()) < 1e-7


def test_another_optimiser_finds_nothing_lower(own: torch.Tensor) -> None:
    penalty, head = 1e-2, 3
    weights, bias = logistic.fit(own, torch.from_numpy(_labels()), CLASSES, penalty)

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(flat).requires_grad_()
        loss = _loss(own[:, head], point[CLASSES:].view(WIDTH, CLASSES), point[:CLASSES], penalty)
        torch.autograd.backward(loss)
        assert point.grad is not None
        return float(loss.detach()), point.grad.numpy()

    found = minimize(value, np.zeros((WIDTH + 1) * CLASSES), jac=True, method="BFGS", options={"gtol": 1e-9})
    assert float(_loss(own[:, head], weights[head], bias[head], penalty)) <= found.fun + 1e-12
    assert weights[head].flatten().numpy() == pytest.approx(found.x[CLASSES:], abs=1e-4)


def test_no_head_depends_on_another(own: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.from_numpy(_labels())
    weights, bias = logistic.fit(own, labels, CLASSES, 1e-3)
    monkeypatch.setattr(logistic, "TOGETHER", 1)  # one at a time
    alone = logistic.fit(own, labels, CLASSES, 1e-3)
    assert alone[0] == pytest.approx(weights, abs=1e-6)
    assert alone[1] == pytest.approx(bias, abs=1e-6 * 1_000)  # of the head whose feature is 1,000 from zero
    said = logistic.logits(own, weights, bias)
    assert said.shape == (ROWS, HEADS, CLASSES)
    assert said[:, 2] == pytest.approx(own[:, 2] @ weights[2] + bias[2])
