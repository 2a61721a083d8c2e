"""Penalised logistic regressions, one per head, each at the minimum of its loss.

    loss = mean cross-entropy in nats + penalty / 2 * sum of squared weights       (the biases are not penalised)

The minimum is unique up to one number added to all biases, which no gradient moves. It is found in float64 on the CPU
to a gradient of `SETTLED`, so that features that differ in their last float32 digits give the same classifier: where a
fit stops early depends on every rounding before.

- Features are centred, rotated to their principal axes and divided by sqrt(variance / 2 + penalty). In these
  coordinates no curvature exceeds 1 (Boehning 1992, the bound of the multinomial Hessian), so that a gradient step of
  length 1 never raises the loss.
- Steps are those of L-BFGS (Nocedal and Wright 2006, algorithm 7.4) with a memory for every head; a head whose loss
  would rise takes a gradient step in its place. No line search is needed, and no head's fit depends on another's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

SETTLED = 1e-8  # largest gradient that is left, in the coordinates above: nats per unit
ROUGHLY = 1e-4  # enough to tell which of two penalties is better
MEMORY = 8  # pairs of steps and changes of the gradient
MOST = 2_000  # steps; 30 to 300 are usual
TOGETHER = 8 << 20  # bytes of features fitted side by side: what a cache holds
_NO_RISE = 1e-13  # nats: a loss that rises by less has not risen, but was rounded


def fit(
    own: Tensor, labels: Tensor, classes: int, penalty: float, settled: float = SETTLED
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Weights [head d function] and bias [head function], float64, of own [n head d] and labels [n] on the CPU.

    settled  largest gradient that may be left
    """
    truth = one_hot(labels, classes).double().T.contiguous()
    each = max(1, TOGETHER // (8 * own.shape[0] * (own.shape[2] + 1)))
    found = [_fitted(some.movedim(0, 1).double(), truth, penalty, settled) for some in torch.split(own, each, dim=1)]
    return torch.cat([weights for weights, _ in found]), torch.cat([bias for _, bias in found])


def logits(own: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """[n head function] in float64 of own [n head d], weights [head d function], bias [head function]."""
    return torch.stack([own[:, h].double() @ weights[h] + bias[h] for h in range(own.shape[1])], dim=1)


@dataclass(frozen=True)
class _Problem:
    """x [head n 1+d] in the coordinates of the module's head, a last column for the bias; ridge [head 1 1+d] the
    penalty there; truth [function n] ones and zeros."""

    x: Tensor
    ridge: Tensor
    truth: Tensor

    def at(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Loss [head] and its gradient at u [head function 1+d]."""
        n = self.truth.shape[1]
        said = (u @ self.x.transpose(1, 2)).log_softmax(1)
        held = self.ridge * u
        loss = -(said * self.truth).sum((1, 2)) / n + (held * u).sum((1, 2)) / 2
        return loss, said.exp_().sub_(self.truth) @ self.x / n + held

    def of(self, heads: Tensor) -> _Problem:
        """That of some heads."""
        return _Problem(self.x[heads], self.ridge[heads], self.truth)


def _fitted(own: Tensor, truth: Tensor, penalty: float, settled: float) -> tuple[Tensor, Tensor]:
    """Weights and bias of own [head n d]."""
    centre = own.mean(1, keepdim=True)
    x = own - centre
    variance, axes = torch.linalg.eigh(x.transpose(1, 2) @ x / x.shape[1])
    scale = (variance.clamp_min(0) / 2 + penalty).rsqrt()
    into = axes * scale[:, None]  # [head d axis]
    ones = torch.full_like(x[:, :, :1], 2**0.5)  # a bias's curvature is at most 1 / 2
    ridge = torch.cat([penalty * scale.square(), torch.zeros_like(scale[:, :1])], dim=1)
    u = _minimum(_Problem(torch.cat([x @ into, ones], dim=2), ridge[:, None], truth), settled).transpose(1, 2)
    weights = into @ u[:, :-1]
    return weights, u[:, -1] * 2**0.5 - (centre @ weights)[:, 0]


def _minimum(problem: _Problem, settled: float) -> Tensor:
    """u [head function 1+d] where no gradient is above `settled`."""
    found = problem.x.new_zeros(len(problem.x), len(problem.truth), problem.x.shape[2])
    left, u = torch.arange(len(found)), found  # heads that are not there yet, and where those are
    loss, gradient = problem.at(u)
    memory: list[tuple[Tensor, Tensor]] = []
    for _ in range(MOST):
        far = gradient.abs().amax((1, 2)) > settled
        if not bool(far.all()):
            found[left] = u
            left, u, loss, gradient, problem = left[far], u[far], loss[far], gradient[far], problem.of(far)
            memory = [(step[far], change[far]) for step, change in memory]
        if not len(left):
            break
        new = u - _direction(gradient, memory)
        new_loss, new_gradient = problem.at(new)
        risen = torch.nonzero(~(new_loss <= loss + _NO_RISE))[:, 0]
        if len(risen):
            new[risen] = u[risen] - gradient[risen]
            new_loss[risen], new_gradient[risen] = problem.of(risen).at(new[risen])
        memory = [*memory, (new - u, new_gradient - gradient)][-MEMORY:]
        u, loss, gradient = new, new_loss, new_gradient
    found[left] = u
    return found


def _direction(gradient: Tensor, memory: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The inverse curvature that the memory implies, times the gradient; a head without a curvature there adds none."""
    found, used = gradient, []
    for step, change in reversed(memory):
        curvature = _dot(step, change)
        inverse = torch.where(curvature > 0, 1 / curvature.clamp_min(1e-300), 0.0)
        share = inverse * _dot(step, found)
        found = found - share * change
        used.append((step, change, inverse, share))
    if memory:
        step, change = memory[-1]
        known = _dot(step, change) / _dot(change, change).clamp_min(1e-300)
        found = found * torch.where(known > 0, known, 1.0)
    for step, change, inverse, share in reversed(used):
        found = found + step * (share - inverse * _dot(change, found))
    return found


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """[head 1 1]"""
    return (a * b).sum((1, 2), keepdim=True)
