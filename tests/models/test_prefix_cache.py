"""Continuations after a kept past are what whole passes give."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch

from reportgen.models import prefix_cache
from reportgen.models.model import HookFn
from reportgen.models.prefix_cache import Branch, Past, check_branches, check_cache
from tests.suites.relations.runnable import tiny
from tests.tiny import FAMILIES

SLIDING = ("gemma2", "gemma3_text", "starcoder2", "gpt_neo")  # a cache may hold a window's positions only


@pytest.mark.parametrize("family", FAMILIES)
def test_continuations_are_exact_in_every_family(family: str, tmp_path: Path) -> None:
    """Eight positions before, three after, hooks included; the sliding window of Gemma 2 is six."""
    model = tiny(family, tmp_path)
    assert check_cache(model)
    ids = torch.randint(2, 150, (4, 11), generator=torch.Generator().manual_seed(1))

    def edit(z: torch.Tensor) -> torch.Tensor:
        out = z.clone()
        out[:, -1, 1] = 0.5
        return out

    hooks = {("z", 1): edit}
    whole = model.run(ids, hooks)[:, -3:]
    past = Past(model, ids[:, :-3])
    for _ in range(2):  # the past is not extended by use
        torch.testing.assert_close(
            past.run(ids[:, -3:].repeat(2, 1), hooks), whole.repeat(2, 1, 1), atol=5e-5, rtol=1e-4
        )
    uncached = Past(model, ids[:, :-3], cached=False)
    plain = uncached.run(ids[:, -3:].repeat(2, 1), hooks)
    torch.testing.assert_close(plain, whole.repeat(2, 1, 1), atol=5e-5, rtol=1e-4)
    for one in (past, uncached):
        torch.testing.assert_close(one.run(ids[:, -3:], hooks, last=True), whole[:, -1:], atol=5e-5, rtol=1e-4)
    torch.testing.assert_close(model.run(ids), model.run(ids))
    assert not torch.allclose(model.run(ids)[:, -1], whole[:, -1])  # no hook is left behind


@pytest.mark.parametrize("family", FAMILIES)
def test_a_past_is_freed_with_its_last_name(family: str, tmp_path: Path) -> None:
    """Not when Python next looks for circles: keys and values of texts would pile up until then."""
    past = Past(tiny(family, tmp_path), torch.zeros(1, 5, dtype=torch.long))
    past.run(torch.tensor([[3]]))
    held = weakref.ref(past.cache)
    assert held() is not None
    gc.disable()
    try:
        del past
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_run_in_chunks_gives_the_same_patterns_and_values(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine positions in chunks of four, two after; patterns of the two see every key, with a cache and without."""
    monkeypatch.setattr(prefix_cache, "CHUNK", 4)
    model = tiny(family, tmp_path)
    ids = torch.randint(2, 150, (1, 11), generator=torch.Generator().manual_seed(2))
    seen: list[torch.Tensor] = []
    whole = model.run(ids, {("pattern", 1): keep(seen), ("v", 1): keep(seen)})[:, -2:]
    order = [tensor for tensor in seen if tensor.shape[-1] == 11] + [t for t in seen if t.shape[-1] != 11]
    for cached in (True, False):
        past, found = Past(model, ids[:, :-2], cached=cached), list[torch.Tensor]()
        logits = past.run(ids[:, -2:].repeat(3, 1), {("pattern", 1): keep(found)})
        torch.testing.assert_close(logits, whole.repeat(3, 1, 1), atol=5e-5, rtol=1e-4)
        if family in SLIDING:
            continue
        torch.testing.assert_close(found[0], order[0][:, :, -2:].repeat(3, 1, 1, 1), atol=5e-5, rtol=1e-4)
        values = past.values(torch.tensor([1, 5]))[1]
        torch.testing.assert_close(values, order[1][:, [1, 5]].view_as(values), atol=5e-5, rtol=1e-4)


def keep(into: list[torch.Tensor]) -> HookFn:
    def hook(tensor: torch.Tensor) -> None:
        into.append(tensor.clone())

    return hook


@pytest.mark.parametrize("family", FAMILIES)
def test_branches_are_whole_prompts_in_every_family(family: str, tmp_path: Path) -> None:
    """Two beginnings of a text, two lengths, a hook on one of them; side by side wherever the family can."""
    model = tiny(family, tmp_path)
    packed = check_branches(model)
    assert packed == (family != "bloom")
    draw = torch.Generator().manual_seed(1)
    text = torch.randint(2, 150, (1, 9), generator=draw)
    scale = torch.linspace(0, 1, 3)[:, None, None, None]
    branches = [
        Branch(9, torch.randint(2, 150, (3, 2), generator=draw), {("z", 1): lambda z: z * scale}),
        Branch(4, torch.randint(2, 150, (2, 3), generator=draw), {}),
    ]
    for branch, logits in zip(branches, Past(model, text, packed=packed).branches(branches), strict=True):
        hooks = {("z", 1): lambda z: torch.cat([z[:, :9], z[:, 9:] * scale], dim=1)} if branch.hooks else {}
        prompts = torch.cat([text[:, : branch.start].expand(len(branch.ids), -1), branch.ids], dim=1)
        whole = model.run(prompts, hooks)[:, branch.start :]
        torch.testing.assert_close(logits, whole, atol=5e-5, rtol=1e-4)


def test_a_continuation_beyond_the_context_is_refused(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    with pytest.raises(ValueError, match="60 \\+ 5 positions"):
        Past(model, torch.zeros(1, 60, dtype=torch.long)).run(torch.zeros(1, 5, dtype=torch.long))
