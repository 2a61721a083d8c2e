"""Ranks to the last decision: which ones float32 cannot settle, and those again in float64.

A float32 logit is off by at most `reach`; so a column is surely above the target, surely below, or within the bound.
The target's own column always is within. Where another one is, and a rank <= limit could change, float64 decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 64  # rows looked at again at once
COLUMNS = 1024  # logits done again in float64 at once


@dataclass(frozen=True, eq=False)
class Targets:
    """One head's target logits and what rounding may do to them, [pair] each.

    logit, tolerance  float64, and the bound of its own rounding
    high, low         float32, logit + reach and logit - reach: columns between the two are within the bound
    """

    logit: Tensor
    tolerance: Tensor
    high: Tensor
    low: Tensor


def unsure_by_counts(above: Tensor, below: Tensor, d_vocab: int, limit: int) -> Tensor:
    """[pair] bool from the columns above `high` and above `low`: neither end of the row is settled."""
    nearer = torch.minimum(above, d_vocab - below)  # columns surely ahead, at the nearer end
    return (below - above > 1) & (nearer < limit)


def unsure_by_extremes(top: Tensor, bottom: Tensor, high: Tensor, low: Tensor, limit: int) -> Tensor:
    """The same from the row's extreme values [pair depth], more than `limit` of them, by size.

    With fewer than `limit` columns surely ahead, and only the target's own within the bound, all of them are extreme.
    """
    high, low = high[:, None], low[:, None]
    ahead, ahead_or_near = (top > high).sum(1), (top > low).sum(1)
    behind, behind_or_near = (bottom <= low).sum(1), (bottom <= high).sum(1)
    at_top = (ahead < limit) & (ahead_or_near - ahead > 1)
    return at_top | ((behind < limit) & (behind_or_near - behind > 1))


def midranks(z: Tensor, rows: Tensor, slabs: Sequence[Tensor], W_U: Tensor, t: Targets, some: Tensor) -> Tensor:
    """Twice the mid-ranks of float64 for the pairs `some`; nearer than float64's own rounding is a tie.

    z [some d_head] float32 and slabs [d_head chunk] give all logits once more, rows [some d_model] float64 and the
    columns of W_U the few within the bound.
    """
    wide = rows.device
    out = torch.empty(len(some), dtype=torch.long, device=wide)
    for start in range(0, len(some), ROWS):
        these = slice(start, start + ROWS)
        pick = some[these]
        high, low = t.high[pick, None], t.low[pick, None]
        logit, near = t.logit[pick], t.tolerance[pick]
        tied = torch.full_like(pick, -1)  # the own column ties with itself
        ahead, within = [], []
        for slab in slabs:
            logits = z[these] @ slab  # [pair column]
            ahead.append((logits > high).sum(1))
            within.append((logits > low) & (logits <= high))
        above = torch.stack(ahead).sum(0).to(wide)
        pair, column = torch.nonzero(torch.cat(within, 1), as_tuple=True)  # the one wait for a GPU here
        for i in range(0, len(pair), COLUMNS):
            p, c = pair[i : i + COLUMNS].to(wide), column[i : i + COLUMNS]
            gap = (rows[these][p] * W_U[:, c].to(wide).double().mT).sum(1) - logit[p]
            above.index_add_(0, p, (gap > near[p]).long())
            tied.index_add_(0, p, (gap.abs() <= near[p]).long())
        out[these] = 2 + 2 * above + tied
    return out
