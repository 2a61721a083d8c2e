"""Overlap of value subspaces: the null's two moments, containment, subspaces of fewer dimensions; orders compared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from reportgen.suites.weights.scoring.heads import LayerHeads
from reportgen.suites.weights.scoring.redundancy import ValueOverlap, ValueSpaces
from reportgen.suites.weights.scoring.results import agreement, descending

D, D_HEAD = 64, 8


def overlap(layers: list[Tensor]) -> ValueOverlap:
    """Of each layer's V [group d_model d_head]."""
    spaces = ValueSpaces(len(layers), len(layers[0]), D_HEAD, D)
    for V in layers:
        none = torch.zeros(len(V), dtype=torch.bool)
        spaces.add(LayerHeads(V, V.mT, V, V, none, none, None))
    return spaces.results()


def picks(*dimensions: int) -> Tensor:
    """A value matrix [d_model d_head] that reads these dimensions of the residual stream, mixed and stretched."""
    V = torch.zeros(D, D_HEAD)
    V[list(dimensions), range(len(dimensions))] = torch.arange(1.0, len(dimensions) + 1)
    return V @ torch.randn(D_HEAD, D_HEAD, generator=torch.Generator().manual_seed(1))


def test_random_subspaces_have_the_nulls_mean_and_sd() -> None:
    g = torch.Generator().manual_seed(0)
    found = overlap([torch.randn(4, D, D_HEAD, generator=g) for _ in range(12)])
    z = found.z[np.triu_indices(48, 1)]
    assert found.pairs == len(z) == 48 * 47 // 2
    assert abs(z.mean()) < 0.15
    assert 0.9 < z.std() < 1.1


def test_a_subspace_is_told_whatever_its_basis_and_a_part_of_it_by_its_own_dimensions() -> None:
    first = torch.stack([picks(*range(8)), picks(8, 9, 10, 11, 12, 13, 14, 15)])
    second = torch.stack([picks(*range(8)).flip(1) * 3, picks(0, 1, 20)])
    found = overlap([first, second])
    want = np.array([[np.nan, 0, 1, 2 / 3], [0, np.nan, 0, 0], [1, 0, np.nan, 2 / 3], [2 / 3, 0, 2 / 3, np.nan]])
    np.testing.assert_allclose(found.overlap, want, atol=1e-5)
    a, b = 8, 3
    sd = np.sqrt(2 * a * b * (D - a) * (D - b) / (D**2 * (D - 1) * (D + 2)))
    assert found.z[0, 3] == pytest.approx((2 - a * b / D) / sd, rel=1e-4)
    most, _ = found.nearest(4)  # two query heads to a group
    np.testing.assert_allclose(most, np.array([[1, 1, 0, 0], [1, 1, 2 / 3, 2 / 3]]), atol=1e-5)


def test_a_value_matrix_of_zeros_has_no_subspace() -> None:
    found = overlap([torch.stack([picks(0, 1), torch.zeros(D, D_HEAD)]), torch.stack([picks(0, 1), picks(2, 3)])])
    assert np.isnan(found.overlap[1]).all()
    assert np.isnan(found.overlap[:, 1]).all()
    assert found.pairs == 3
    assert np.isnan(found.nearest(2)[0][0, 1])


def test_orders_of_pairs_compared() -> None:
    one = np.full((6, 6), np.nan, np.float32)
    one[:3, 3:] = np.arange(9).reshape(3, 3)
    assert descending(one)[0, 3] == 9
    assert descending(one)[2, 5] == 1
    for sign in (1.0, -1.0):
        whole, within = agreement(one, 2 * sign * one, 3)
        assert whole == pytest.approx(sign)
        assert within == pytest.approx(sign)
    assert agreement(one, np.full_like(one, np.nan), 3) == (None, None)
