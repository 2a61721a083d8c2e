"""Ranks of what heads write, at the edges; test_dynamic.py compares whole scores."""

from __future__ import annotations

import torch

from reportgen.suites.relations.projection import Projection
from tests.suites.relations.plain import reference_twice


def test_dead_heads_and_broken_heads_hit_nothing() -> None:
    W_U = torch.randn(8, 100, generator=torch.Generator().manual_seed(0))
    z = torch.zeros(1, 3, 3, 4)
    z[..., 2, :] = torch.nan
    z[..., 0, :] = 1.0
    W_O = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(1))
    (twice,) = Projection(W_U, [torch.tensor([3, 50, 99])]).layer(z, W_O)
    assert (twice[:, :, 1] == 101).all()  # all 100 columns tie: rank 50.5
    assert (twice[:, :, 2] == 0).all()
    row = (z[0, 0, 0].double() @ W_O[0].double() @ W_U.double()).numpy()
    assert twice[0, :, 0].tolist() == [reference_twice(row, t) for t in (3, 50, 99)]
