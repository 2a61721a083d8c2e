"""Runs that begin in the middle: blocks before the start are skipped, and nothing else changes."""

from __future__ import annotations

import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from tests.tiny import tiny_folder

IDS = torch.randint(2, 90, (3, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=["gpt2", "llama", "gemma2", "gptj", "gpt_neo", "opt"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_folder(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


def residual(model: Model, layer: int) -> torch.Tensor:
    kept: list[torch.Tensor] = []
    model.run(IDS, {("resid_pre", layer): lambda given: kept.append(given.clone())})
    return kept[0]


def test_a_start_gives_the_whole_run_back(model: Model) -> None:
    whole = model.run(IDS)
    for layer in range(model.record.n_layers):
        assert torch.equal(model.run(IDS, start=(layer, residual(model, layer))), whole)
    assert torch.equal(model.run(IDS), whole)  # nothing stays skipped


def test_blocks_before_the_start_do_not_run(model: Model) -> None:
    seen: list[int] = []
    hooks = {("z", layer): (lambda z, at=layer: seen.append(at)) for layer in range(model.record.n_layers)}
    model.run(IDS, hooks, start=(1, residual(model, 1)))
    assert seen == list(range(1, model.record.n_layers))
    other = residual(model, 1) + 1.0
    assert not torch.allclose(model.run(IDS, start=(1, other)), model.run(IDS))


def test_a_start_goes_with_a_stop_and_a_hook_on_the_residual(model: Model) -> None:
    seen: list[int] = []
    hooks = {("z", layer): (lambda z, at=layer: seen.append(at)) for layer in range(model.record.n_layers)}
    model.run_until(IDS, hooks, 2, start=(1, residual(model, 1)))
    assert seen == [1]
    taken = model.run(IDS, {("resid_pre", 1): lambda given: given * 0}, start=(1, residual(model, 1)))
    assert torch.equal(taken, model.run(IDS, {("resid_pre", 1): lambda given: given * 0}))


def test_an_error_leaves_the_blocks_whole(model: Model) -> None:
    whole = model.run(IDS)

    def fail(_: torch.Tensor) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        model.run(IDS, {("z", 1): fail}, start=(1, residual(model, 1)))
    assert torch.equal(model.run(IDS), whole)
