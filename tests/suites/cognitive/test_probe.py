"""The probe's algebra against autograd, and what the stack must not change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reportgen.suites.cognitive.scoring.probe import Features, Probes, fresh, importance, make_features, train
from reportgen.suites.cognitive.suite import Recipe, preset

SMALL = replace(preset("recommended"), proj=5, hidden=7, batch=16)
N, LAYERS, HEADS, D, CLASSES = 60, 2, 3, 4, 3


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.arange(N) % CLASSES


@pytest.fixture(scope="module")
def z(labels: Tensor) -> Tensor:
    made = torch.randn(N, LAYERS, HEADS, D, generator=torch.Generator().manual_seed(0))
    made[torch.arange(N), 1, 2, labels] += 4.0  # a dimension of its own for each class
    return made


def _features(z: Tensor, mean: bool) -> Features:
    return make_features(z, torch.arange(40), standardise=True, layer_mean=mean)


def _plain(probes: Probes, member: int, own: Tensor, mean: Tensor | None) -> tuple[Tensor, Tensor]:
    """Logits [C] of one example as the formulas stand, and p [J p] with its graph; own [L H d], mean [L d]."""
    p = own.reshape(-1, own.shape[-1]) @ probes.own[member] + probes.b[member]
    if mean is not None and probes.layer is not None:
        p = p + (mean @ probes.layer[member]).repeat_interleave(own.shape[1], dim=0)
    p = p.detach().requires_grad_()
    h = p.reshape(-1) @ probes.A[member] + probes.b1[member]
    return h.relu() @ probes.W2[member] + probes.b2[member], p


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("mean_over_units", [True, False])
def test_importance_in_closed_form_is_gradient_times_activation(
    z: Tensor, labels: Tensor, mean: bool, mean_over_units: bool
) -> None:
    recipe, made = replace(SMALL, mean_over_units=mean_over_units), _features(z, mean)
    probes = train(made, labels.expand(2, N), torch.arange(40), recipe, 20, [0, 1], classes=CLASSES).probes
    rows = torch.arange(40, N)
    found = importance(probes, made, labels.expand(2, N), rows, recipe)
    for member in range(2):
        for place, row in enumerate(rows.tolist()):
            logits, p = _plain(probes, member, made.own[row], None if made.mean is None else made.mean[row])
            assert torch.allclose(logits, probes.logits(made, rows)[member, place], atol=1e-5)
            (slope,) = torch.autograd.grad(logits[labels[row]], p)
            wanted = (slope * p).sum(1) / (recipe.proj if mean_over_units else 1)
            assert torch.allclose(found.total[member, place], wanted, atol=1e-6)


@pytest.mark.parametrize("mean", [True, False])
def test_completeness_and_parts(z: Tensor, labels: Tensor, mean: bool) -> None:
    made = Features(_features(z, mean).own.double(), None if not mean else _features(z, True).mean.double())  # type: ignore[union-attr]
    probes = fresh(made, CLASSES, SMALL, [3])[0]
    probes = Probes(*(None if w is None else w.double() for w in vars(probes).values()))  # type: ignore[arg-type]
    rows = torch.arange(N)
    found = importance(probes, made, labels[None], rows, SMALL)
    parts = found.own + found.bias + (0 if found.layer is None else found.layer)
    assert torch.allclose(found.total, parts, atol=1e-12)
    assert (found.layer is None) != mean
    h = probes.hidden(made, rows)[0]
    w = probes.W2[0][:, labels].T * (h > 0)  # [n u]
    rebuilt = SMALL.proj * found.total[0].sum(1) + w @ probes.b1[0] + probes.b2[0][labels]
    assert torch.allclose(rebuilt, probes.logits(made, rows)[0, rows, labels], atol=1e-12)


def test_the_paper_s_importance_leaves_the_bias_out(z: Tensor, labels: Tensor) -> None:
    made, rows = _features(z, True), torch.arange(N)
    probes = fresh(made, CLASSES, SMALL, [0])[0]
    with_bias = importance(probes, made, labels[None], rows, SMALL)
    without = importance(probes, made, labels[None], rows, replace(SMALL, bias_counts=False))
    assert torch.allclose(with_bias.total - with_bias.bias, without.total, atol=1e-7)


def test_a_member_does_not_see_the_rest_of_the_stack(z: Tensor, labels: Tensor) -> None:
    """Same seed and order: alone or stacked, the same probe."""
    made, rows = _features(z, True), torch.arange(40)
    other = (labels + 1) % CLASSES
    alone = train(made, labels[None], rows, SMALL, 12, [5], classes=CLASSES).probes
    stacked = train(made, torch.stack([labels, other]), rows, SMALL, 12, [5, 9], classes=CLASSES).probes
    for one, both in zip(alone.weights, stacked.weights, strict=True):
        assert torch.allclose(one[0], both[0], atol=1e-5)
    assert not torch.allclose(stacked.A[0], stacked.A[1], atol=1e-2)


def test_training_is_repeatable_and_learns(z: Tensor, labels: Tensor) -> None:
    made, rows = _features(z, True), torch.arange(40)
    first, again = (train(made, labels[None], rows, SMALL, 60, [1], classes=CLASSES).probes for _ in range(2))
    assert torch.equal(first.A, again.A)
    held_out = torch.arange(40, N)
    assert float((first.predictions(made, held_out)[0] == labels[held_out]).float().mean()) > 0.6  # chance 0.33


def test_early_stopping_keeps_the_last_step_that_helped(z: Tensor, labels: Tensor) -> None:
    made = _features(z, True)
    stopped = train(
        made, labels[None], torch.arange(40), SMALL, 1000, [1], classes=CLASSES, validation=torch.arange(40, N)
    )
    assert stopped.steps % 10 == 0
    assert stopped.steps < 10 * len(stopped.validation) < 1000
    best = stopped.validation[stopped.steps // 10 - 1]
    assert min(stopped.validation) > best - 0.01 - 1e-9


def test_standardising_uses_train_rows_and_drops_constant_features(z: Tensor) -> None:
    shifted = z * 5 + 2
    shifted[:, 0, 1] = 0.25
    made = make_features(shifted, torch.arange(40), standardise=True, layer_mean=True)
    own = made.own[:40].flatten(1)
    assert torch.allclose(own.mean(0), torch.zeros(own.shape[1]), atol=1e-5)
    assert torch.count_nonzero(made.own[:, 0, 1]) == 0
    raw = make_features(shifted, torch.arange(40), standardise=False, layer_mean=True)
    assert raw.mean is not None
    assert torch.allclose(raw.mean, shifted.mean(2))


@pytest.mark.parametrize("name", ["paper", "code"])
def test_published_presets_train_one_example_at_a_time(name: str, z: Tensor, labels: Tensor) -> None:
    recipe: Recipe = replace(preset(name), proj=4, hidden=6)
    assert (recipe.batch, recipe.epochs, recipe.learning_rate, recipe.standardise) == (1, 100, 1e-4, False)
    made = _features(z, True)
    one_epoch = train(made, labels[None], torch.arange(8), recipe, 8, [0], classes=CLASSES)
    assert one_epoch.steps == 8
    again = train(made, labels[None], torch.arange(8), recipe, 8, [0], classes=CLASSES)
    assert torch.equal(one_epoch.probes.A, again.probes.A)
