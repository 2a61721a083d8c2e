"""Runs in which attention outputs are given, and logits of some tokens: in every family what whole runs give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.suites.relations.runnable import tiny
from tests.tiny import FAMILIES

IDS = torch.randint(2, 90, (3, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_given_attention_is_frozen_heads(family: str, tmp_path: Path) -> None:
    """With the residual moved, as path patching moves it, and one head replaced."""
    model = tiny(family, tmp_path)
    layers = range(model.record.n_layers)
    z: dict[int, torch.Tensor] = {}
    residual: dict[int, torch.Tensor] = {}
    hooks = {("z", i): (lambda given, at=i: z.__setitem__(at, given.clone())) for i in layers}
    keep = {("resid_pre", i): (lambda given, at=i: residual.__setitem__(at, given.clone())) for i in layers}
    whole = model.run(IDS, {**hooks, **keep})
    z[1][:, :, 2] = 0.3
    start = (1, residual[1] * 1.1)
    frozen = model.run(IDS, {("z", i): (lambda _, at=i: z[at]) for i in layers}, start=start)
    given = {i: model.attention_output(i, z[i]) for i in layers if i >= 1}
    torch.testing.assert_close(model.run(IDS, start=start, attention=given), frozen, atol=5e-5, rtol=1e-4)
    assert not torch.allclose(frozen, whole, atol=1e-3)
    at_end = {i: out[:, -1:] for i, out in given.items()}  # nothing mixes positions, so one suffices
    alone = model.run(IDS[:, -1:], start=(1, start[1][:, -1:]), attention=at_end)
    torch.testing.assert_close(alone, frozen[:, -1:], atol=5e-5, rtol=1e-4)
    assert torch.equal(model.run(IDS), whole)  # nothing stays replaced


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_some_tokens_are_those_of_all(family: str, tmp_path: Path) -> None:
    model = tiny(family, tmp_path)
    some, whole = torch.tensor([5, 3, 70]), model.run(IDS)
    torch.testing.assert_close(model.run(IDS, vocab=some), whole[..., some], atol=1e-5, rtol=1e-5)
    assert torch.equal(model.run(IDS), whole)
