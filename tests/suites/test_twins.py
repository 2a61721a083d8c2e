"""Random twins: one in memory at a time, and none that nobody needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reportgen.models import load as loading
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.base import Context
from reportgen.suites.circuits.scoring.score import score as score_circuits
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.twins import random_twins
from tests.suites.circuits.planted import ioi_folder
from tests.tiny import tiny_folder

IDS = torch.tensor([[1, 2, 3, 4]])


def held(model: Model) -> int:
    """Bytes of a model's weights."""
    tensors = [*model.source.tensors.values(), *model.bridge.parameters(), *model.bridge.buffers()]  # type: ignore[attr-defined]
    return sum(tensor.nbytes for tensor in tensors)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "mixtral"])
def test_a_twin_is_let_go_before_the_next_is_drawn(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tiny_folder(family, tmp_path), device="cpu")
    before, drawn, make = model.logits(IDS), list[Model](), loading.random_twin

    def draw(of: Model, seed: int) -> Model:
        assert not any(held(twin) for twin in drawn)
        drawn.append(make(of, seed))
        return drawn[-1]

    monkeypatch.setattr(loading, "random_twin", draw)
    found = [twin.logits(IDS) for twin in random_twins(model, [3, 4])]
    assert [held(twin) for twin in drawn] == [0, 0]
    assert not torch.equal(*found)
    assert torch.equal(model.logits(IDS), before)


def test_a_twin_is_let_go_where_its_loop_ends_early(tmp_path: Path) -> None:
    model = load(tiny_folder("llama", tmp_path), device="cpu")
    for twin in random_twins(model, [3, 4]):
        assert held(twin) > 0
        break
    assert held(twin) == 0


def test_circuits_draws_no_twin_where_no_task_is_done_and_none_before_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(ioi_folder(tmp_path), device="cpu")
    told: list[str] = []
    context = Context(seed=0, threads=1, progress=lambda done, total, words: told.append(words))
    settings = Settings(
        tasks=("ioi",), prompts=32, flips=50, resamples=50, patch_prompts=8, edge_prompts=0, curve_prompts=8,
        random_sets=3, bands=0, rephrased=0, denoising=False, text=False,
    )  # fmt: skip
    at: list[int] = []
    make = loading.random_twin

    def draw(of: Model, seed: int) -> Model:
        at.append(len(told))
        return make(of, seed)

    monkeypatch.setattr(loading, "random_twin", draw)
    score_circuits(model, replace(settings, min_pairs=33), context)
    assert not at
    told.clear()
    score_circuits(model, settings, context)
    assert len(at) == 1
    assert "IOI: faithfulness" in told[: at[0]]
    assert set(told[at[0] :]) == {"IOI: direct effects"}  # the twin's own
