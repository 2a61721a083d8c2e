"""Continuations after a kept past are what whole passes give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reportgen.models.past import Past, check_cache
from tests.suites.relations.runnable import tiny
from tests.tiny import FAMILIES


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
    plain = Past(model, ids[:, :-3], cached=False).run(ids[:, -3:].repeat(2, 1), hooks)
    torch.testing.assert_close(plain, whole.repeat(2, 1, 1), atol=5e-5, rtol=1e-4)
    torch.testing.assert_close(model.run(ids), model.run(ids))
    assert not torch.allclose(model.run(ids)[:, -1], whole[:, -1])  # no hook is left behind


def test_a_continuation_beyond_the_context_is_refused(tmp_path: Path) -> None:
    model = tiny("gpt2", tmp_path)
    with pytest.raises(ValueError, match="60 \\+ 5 positions"):
        Past(model, torch.zeros(1, 60, dtype=torch.long)).run(torch.zeros(1, 5, dtype=torch.long))
