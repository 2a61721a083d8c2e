"""Continuations of one token against plain patched runs of whole prompts, on models of two families."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.models.prefix_cache import Past, last_logits, runs_beside
from reportgen.suites.icl.scoring import passes
from reportgen.suites.icl.scoring.passes import Side, Variant
from tests.tiny import tiny_folder

LENGTH, ROWS = 9, 3
FAMILIES = ("mini", "llama_grouped", "gpt2")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    if request.param == "mini":
        return load("mini", device="cpu")
    family = "qwen2" if request.param == "llama_grouped" else request.param
    return load(tiny_folder(family, tmp_path_factory.mktemp(request.param)), device="cpu")


@pytest.fixture(scope="module")
def side(model: Model) -> Side:
    rng = np.random.default_rng(5)
    ids = torch.from_numpy(rng.integers(2, model.tokens.size, (ROWS, LENGTH)))
    answers = torch.from_numpy(rng.integers(2, model.tokens.size, ROWS))
    return Side(model, np.arange(ROWS), ids, answers, True).run()


def plain(model: Model, side: Side, layer: int, head: int, given: torch.Tensor) -> torch.Tensor:
    """[unit row] of whole prompts with the head's z at the last position given, without any cache."""

    def write(z: torch.Tensor) -> torch.Tensor:
        out = z.clone()
        out[:, -1, head] = given
        return out

    return passes.read(model.run(side.ids, {("z", layer): write})[:, -1], side.answers)


def donors(model: Model) -> torch.Tensor:
    shape = (ROWS, model.record.n_layers, model.record.n_heads, model.record.d_head)
    return torch.from_numpy(np.random.default_rng(6).standard_normal(shape).astype(np.float32))


def test_what_the_plain_run_gives(model: Model, side: Side) -> None:
    logits = model.run(side.ids)[:, -1]
    torch.testing.assert_close(side.base, passes.read(logits, side.answers), atol=2e-4, rtol=1e-4)
    assert model.keeps_past
    assert runs_beside(model, LENGTH)


def test_logits_at_some_positions_are_those_of_all(model: Model, side: Side) -> None:
    at = torch.tensor([1, 4, LENGTH - 1])
    torch.testing.assert_close(model.run(side.ids, at=at), model.run(side.ids)[:, at], atol=2e-5, rtol=1e-5)
    residual: list[torch.Tensor] = []
    model.run(side.ids, {("resid_pre", 1): lambda stream: residual.append(stream.clone())}, last=True)
    got = model.run(side.ids, start=(1, residual[0]), at=at)
    torch.testing.assert_close(got, model.run(side.ids)[:, at], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("how", ["beside", "repeated", "uncached"])
def test_every_head_as_in_whole_patched_runs(model: Model, side: Side, how: str) -> None:
    given = donors(model)
    one = side
    if how == "uncached":
        one = Side(model, side.rows, side.ids, side.answers, True)
        one._past = Past(model, side.ids[:, :-1], cached=False)
        one.run()
    run = passes._beside if how == "beside" else passes._repeated
    for layer in range(model.record.n_layers):
        variants = [Variant(head, given[:, layer, head]) for head in range(model.record.n_heads)]
        got = run(one, layer, variants)
        want = torch.stack([plain(model, side, layer, v.head, v.given) for v in variants], 1)
        torch.testing.assert_close(got, want, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("beside", [True, False])
def test_sets_of_heads_as_in_whole_patched_runs(
    model: Model, side: Side, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "runs_beside", lambda *_: beside)
    given = donors(model)
    shape = (model.record.n_layers, model.record.n_heads)
    masks = np.zeros((3, *shape), bool)
    masks[1, 0, 1] = masks[1, -1, 0] = True
    masks[2] = True
    got, _ = passes.sets_replaced(side, masks, given)
    torch.testing.assert_close(got[:, 0], side.base, atol=2e-4, rtol=1e-4)

    def write(layer: int) -> object:
        def hook(z: torch.Tensor) -> torch.Tensor:
            out = z.clone()
            out[:, -1, masks[1, layer]] = given[:, layer][:, masks[1, layer]]
            return out

        return hook

    whole = model.run(side.ids, {("z", i): write(i) for i in (0, shape[0] - 1)})[:, -1]  # type: ignore[misc]
    torch.testing.assert_close(got[:, 1], passes.read(whole, side.answers), atol=2e-4, rtol=1e-3)


def test_the_screen_is_the_gradient_of_whole_prompts(model: Model, side: Side) -> None:
    toward = torch.stack(side.z, 1) + 0.3 * donors(model)
    one = Side(model, side.rows, side.ids, side.answers, True)
    one._past = Past(model, side.ids[:, :-1], cached=False)
    torch.testing.assert_close(passes.screen(side, toward), passes.screen(one.run(), toward), atol=2e-4, rtol=2e-3)


def test_the_screen_of_a_small_step_is_its_effect(model: Model, side: Side) -> None:
    for layer in range(model.record.n_layers):
        z = torch.stack(side.z, 1)
        toward = z.clone()
        toward[:, layer, 1] += 0.01 * donors(model)[:, layer, 1]
        estimate = passes.screen(side, toward)
        exact = passes.replaced(side, layer, [Variant(1, toward[:, layer, 1])])[0, 0] - side.base[0]
        torch.testing.assert_close(estimate[:, layer, 1], exact, atol=5e-5, rtol=0.05)
        rest = estimate.clone()
        rest[:, layer, 1] = 0
        assert float(rest.abs().max()) < 1e-6


def test_a_start_needs_the_cache(model: Model, side: Side) -> None:
    past = Past(model, side.ids[:, :-1], cached=False)
    with pytest.raises(ValueError, match="whole prompts"):
        last_logits(past, side.ids[:, -1:], start=(0, side.residual[0][:, None]))


def test_means_leave_the_own_prompt_out() -> None:
    z = torch.arange(12.0).reshape(4, 3)
    got = passes.without_own(z)
    for row in range(4):
        torch.testing.assert_close(got[row], z[[i for i in range(4) if i != row]].mean(0))


def test_tiny_folder_is_grouped(tmp_path: Path) -> None:
    record = load(tiny_folder("qwen2", tmp_path), device="cpu").record
    assert record.n_kv_heads < record.n_heads
