"""What position 0 holds, and what heads do with it: it attends to itself, so its residual is a constant of the model.

Descriptions, without a null. Queries and keys are compared by their content: no position is applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reportgen.aliases import Floats
from reportgen.suites.weights.scoring.heads import LayerHeads, decomposable, normalised, qr

if TYPE_CHECKING:
    from reportgen.models.weights import Weights


@dataclass(frozen=True, eq=False)
class Sink:
    """x [n_layers + 1 d_model]: the residual at position 0 before each block and after the last; start: its embedding.

    direction  [d_model] unit vector of what the blocks add up to where it is longest
    """

    x: Tensor
    direction: Tensor

    @staticmethod
    def build(x: Tensor) -> Sink:
        """From the residuals."""
        longest = int(x.norm(dim=1).argmax())
        added = x[longest] - x[0]
        return Sink(x, added / added.norm().clamp_min(1e-12))

    def value(self, weights: Weights, layer: int, heads: LayerHeads, words: Tensor) -> Floats:
        """||n(x_0) W_V W_O|| over the median of ||n(x_t) W_V W_O|| over the words [token d_model], per head."""
        rows = torch.cat([self.x[layer][None], words])
        out = heads.per_head(normalised(weights, rows) @ heads.V) @ heads.O  # [head 1+token d_model]
        sizes = out.norm(dim=-1)
        return np.asarray((sizes[:, 0] / sizes[:, 1:].median(dim=1).values).cpu().double())

    def preferred(
        self,
        weights: Weights,
        layer: int,
        heads: LayerHeads,
        words: Tensor,
        b_Q: Tensor | None,
    ) -> Floats:
        """How many sd the score of k_0 stands above the words' keys, for the words' mean query, per head."""
        rows = normalised(weights, torch.cat([self.x[layer][None], words]))
        query = rows[1:].mean(0) @ heads.Q  # [head d_head]
        query = query if b_Q is None else query + b_Q
        scores = (heads.per_head(rows @ heads.K) @ query[..., None])[..., 0]  # [head 1+token]
        found = (scores[:, 0] - scores[:, 1:].mean(1)) / scores[:, 1:].std(1)
        return np.asarray(found.cpu().double())

    def write(self, heads: LayerHeads) -> Floats:
        """|cos| of the leading output direction of W_V W_O and the direction that position 0 grows in, per head."""
        B, R = qr(heads.O.mT)  # O = R' B'
        gram = heads.per_head(heads.V.mT @ heads.V)
        values = torch.linalg.eigh(decomposable(R @ gram @ R.mT))
        leading = values.eigenvectors[..., -1].to(B.device)  # [head d_head]
        out = (B @ leading[..., None])[..., 0]
        return np.asarray((out @ self.direction).abs().cpu().double())
