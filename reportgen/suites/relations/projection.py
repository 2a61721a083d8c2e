"""Ranks of targets in what heads write at run time: z W_O W_U, no bias, no final norm.

- Low rank: G = W_O W_U of a chunk of the vocabulary is made once per layer for all rows of all prompts.
- Mid-rank 1 + #{above} + #{equal} / 2 over the other columns, stored doubled; 0 = not computed (not finite). With the
  signs turned the doubled rank is 2 (V + 1) minus this one.
- The target's own column never counts: its logit comes from another product than its column's, and rounding would
  put the one above the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reportgen.suites.relations.engine import exact_float32

ROWS = 512  # rows of one tile of logits


class Projection:
    """Ranks the pairs (row, target) of `slots` in the vocabulary of one W_U [d_model vocab].

    slots    slots[j] = target ids of the j-th target of every row; rows with more than j targets come first
    """

    def __init__(self, W_U: Tensor, slots: Sequence[Tensor], *, chunk: int = 2048) -> None:
        self.W_U = W_U
        self.d_vocab = int(W_U.shape[1])
        self.spans = [(a, min(a + chunk, self.d_vocab)) for a in range(0, self.d_vocab, chunk)]
        self.slots = [slot.to(W_U.device) for slot in slots]

    def layer(self, z: Tensor, W_O: Tensor) -> list[Tensor]:
        """Doubled ranks per slot [set row head] int64 of one layer.

        z     [set row head d_head]; a set is a condition under which all rows were run
        W_O   [head d_head d_model]
        """
        n_sets, _, n_heads, d_head = z.shape
        z = z.permute(2, 0, 1, 3).contiguous()  # [head set row d_head]
        with exact_float32():
            targets = [self._targets(z, W_O, slot) for slot in self.slots]  # [head set row]
            above = [torch.zeros_like(t) for t in targets]  # float32 counts are whole up to 2^24
            level = [torch.zeros_like(t) for t in targets]
            for a, b in self.spans:
                G = (W_O.reshape(-1, W_O.shape[2]) @ self.W_U[:, a:b]).view(n_heads, d_head, b - a)
                for head in range(n_heads):
                    for s in range(n_sets):
                        counts = [
                            (t[head, s], u[head, s], w[head, s]) for t, u, w in zip(targets, above, level, strict=True)
                        ]
                        self._count(z[head, s], G[head], a, counts)
        ranks = []
        for t, u, w in zip(targets, above, level, strict=True):
            twice = (2 + u + w).long()  # `level` counts the columns above and equal
            finite = torch.isfinite(t) & torch.isfinite(z[:, :, : t.shape[2]]).all(-1)
            ranks.append(torch.where(finite, twice, 0).permute(1, 2, 0))
        return ranks

    def _targets(self, z: Tensor, W_O: Tensor, slot: Tensor) -> Tensor:
        """Logits of one slot's targets [head set row]."""
        columns = torch.einsum("hed,dr->hre", W_O, self.W_U[:, slot])  # [head row d_head]
        return torch.einsum("hsre,hre->hsr", z[:, :, : len(slot)], columns)

    def _count(self, z: Tensor, G: Tensor, a: int, counts: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Adds one chunk's columns to every slot's (targets, above, level) [row]; z [row d_head], G [d_head column]."""
        width = G.shape[1]
        for start in range(0, len(z), ROWS):
            logits = z[start : start + ROWS] @ G  # [row column]
            flags = torch.empty_like(logits)
            for slot, (target, above, level) in zip(self.slots, counts, strict=True):
                t = target[start : start + ROWS, None]
                if not len(t):
                    break
                part, mark = logits[: len(t)], flags[: len(t)]
                more = torch.gt(part, t, out=mark).sum(-1)
                as_much = torch.ge(part, t, out=mark).sum(-1)
                own = slot[start : start + ROWS] - a
                inside = (own >= 0) & (own < width)
                mine = part.gather(1, own.clamp(0, width - 1)[:, None])  # [row 1]
                above[start : start + ROWS] += more - (inside & (mine > t)[:, 0]).float()
                level[start : start + ROWS] += as_much - (inside & (mine >= t)[:, 0]).float()
