"""Prompts around a source word, and what every head does with them at two positions.

- `<X>` stands for the source. A prompt is used only where the source's own token stands alone in it: the words before
  <X>, the token, the words after; otherwise the position that the score is about would be a guess.
- Prompts of one beginning and one length are run together, the shared beginning once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reportgen.models.past import Past

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.tokens import Tokens

SLOT = "<X>"
LOGITS_MIB = 256  # memory for the logits of one batch
MAX_ROWS = 512  # rows of one batch, however small the vocabulary


@dataclass(frozen=True)
class Prompt:
    """One prompt's ids: those before the source, and the rest; `source` is the source's last token in `after`."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    source: int = 0

    @property
    def ids(self) -> tuple[int, ...]:
        return self.before + self.after


def make_prompts(tokens: Tokens, template: str, sources: Iterable[tuple[str, int]], n_ctx: int) -> list[Prompt | None]:
    """The template about every (word, its token); None where that token does not stand alone after the beginning."""
    before = tuple(tokens.prompt_ids(template.split(SLOT)[0].rstrip(" ")))
    at = len(before)
    prompts: list[Prompt | None] = []
    for word, token in sources:
        ids = tuple(tokens.prompt_ids(template.replace(SLOT, word)))
        whole = at < len(ids) <= n_ctx and ids[:at] == before and ids[at] == token
        prompts.append(Prompt(before, ids[at:]) if whole else None)
    return prompts


def batches(prompts: Sequence[Prompt], size: int) -> list[list[int]]:
    """Places of the prompts that can be run together: one beginning, one length, at most `size`."""
    alike: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for i, prompt in enumerate(prompts):
        alike.setdefault((prompt.before, len(prompt.after)), []).append(i)
    return [places[a : a + size] for places in alike.values() for a in range(0, len(places), size)]


def batch_rows(model: Model, positions: int) -> int:
    """Rows of a batch whose logits at `positions` positions take at most LOGITS_MIB."""
    return min(MAX_ROWS, max(1, LOGITS_MIB * 2**20 // (4 * model.record.d_vocab * max(1, positions))))


@torch.no_grad()
def read_heads(model: Model, prompts: Sequence[Prompt], *, cached: bool) -> tuple[Tensor, Tensor]:
    """z [row layer head d_head] at the last position and v [row layer kv d_head] at the source of a clean run."""
    r = model.record
    z = torch.empty(len(prompts), r.n_layers, r.n_heads, r.d_head, device=model.device)
    v = torch.empty(len(prompts), r.n_layers, r.n_kv_heads, r.d_head, device=model.device)
    longest = max((len(p.after) if cached else len(p.ids) for p in prompts), default=1)
    pasts: dict[tuple[int, ...], Past] = {}
    for rows in batches(prompts, batch_rows(model, longest)):
        first = prompts[rows[0]]
        if first.before not in pasts:
            before = torch.tensor([first.before], dtype=torch.long)  # [1 pos]
            pasts = {first.before: Past(model, before, cached=cached)}
        ids = torch.tensor([prompts[i].after for i in rows])  # [row pos]
        at = torch.tensor([prompts[i].source for i in rows], device=model.device)
        places = torch.tensor(rows, device=model.device)
        hooks = {("z", layer): _keep(z, layer, places, None) for layer in range(r.n_layers)}
        hooks |= {("v", layer): _keep(v, layer, places, at) for layer in range(r.n_layers)}
        pasts[first.before].run(ids, hooks)
    return z, v


def _keep(into: Tensor, layer: int, rows: Tensor, at: Tensor | None) -> Callable[[Tensor], None]:
    """A hook that writes position `at` of every row (None: the last) into `into` [row layer head d_head]."""

    def hook(tensor: Tensor) -> None:
        picked = tensor[:, -1] if at is None else tensor[torch.arange(len(at), device=at.device), at]
        into[rows, layer] = picked.float()

    return hook
