"""How much heads read alike: the overlap of their value subspaces, for every pair of key-value heads of the model.

The projection kernel |B_1' B_2|^2 of the column spaces of two W_V, with orthonormal bases of a and b dimensions, over
its largest value min(a, b): the mean squared cosine of the principal angles (Yamagiwa et al. 2026). Null: one subspace
turned against the other by a uniform rotation of the residual stream; then E = a b / d and
Var = 2 a b (d-a)(d-b) / (d^2 (d-1)(d+2)), exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reportgen.aliases import Floats
from reportgen.suites.weights.scoring.heads import LayerHeads, qr
from reportgen.suites.weights.suite import LARGE

RANK = 1e-6  # of the largest singular value: directions below it are not counted


@dataclass(frozen=True, eq=False)
class ValueOverlap:
    """Key-value heads layer by layer, [group group], symmetric; NaN on the diagonal and where a W_V is 0 or not finite.

    overlap  0..1;  z  of the projection kernel under the null, NaN also where a subspace is the whole residual stream
    """

    overlap: Floats
    z: Floats
    n_kv: int

    @property
    def pairs(self) -> int:
        """Pairs of key-value heads that have an overlap."""
        return int(np.isfinite(np.triu(self.overlap, 1)[np.triu_indices(len(self.overlap), 1)]).sum())

    def nearest(self, n_heads: int) -> tuple[Floats, Floats]:
        """Largest overlap with another key-value head, and the largest z, of each query head [layer head]."""
        found = []
        for grid in (self.overlap, self.z):
            with np.errstate(invalid="ignore"):
                most = np.where(np.isfinite(grid).any(1), np.nan_to_num(grid, nan=-np.inf).max(1), np.nan)
            found.append(most.reshape(-1, self.n_kv).repeat(n_heads // self.n_kv, axis=1))
        return found[0], found[1]


class ValueSpaces:
    """Takes the layers one after another."""

    def __init__(self, n_layers: int, n_kv: int, d_head: int, d_model: int) -> None:
        groups, self.n_kv, self.d = n_layers * n_kv, n_kv, d_model
        self.kernel = np.zeros((groups, groups))
        self.ranks = np.zeros(groups)
        self.bases: list[Tensor] = []
        self.dtype = torch.bfloat16 if 4 * groups * d_head * d_model > LARGE else torch.float32

    def add(self, heads: LayerHeads) -> None:
        """One layer against itself and every earlier one."""
        basis, ranks = _basis(heads.V)
        flat = basis.transpose(0, 1).flatten(1)  # [d_model group*d_head]
        at, count = len(self.bases) * self.n_kv, self.n_kv
        self.ranks[at : at + count] = ranks.cpu().numpy()
        self.bases.append(flat.to(self.dtype))
        for before, other in enumerate(self.bases):
            N = (other.to(flat.dtype).T @ flat).view(count, -1, count, basis.shape[2])
            block = N.square().sum((1, 3)).cpu().double().numpy()
            self.kernel[before * count : (before + 1) * count, at : at + count] = block

    def results(self) -> ValueOverlap:
        """Once all layers are in."""
        kernel = np.triu(self.kernel, 1)
        kernel, d = kernel + kernel.T, self.d
        a, b = self.ranks[:, None], self.ranks[None]
        with np.errstate(divide="ignore", invalid="ignore"):
            sd = np.sqrt(2 * a * b * (d - a) * (d - b) / (d * d * (d - 1) * (d + 2)))
            overlap, z = kernel / np.minimum(a, b), np.where(sd > 0, (kernel - a * b / d) / sd, np.nan)
        none = np.eye(len(kernel), dtype=np.bool_) | (np.minimum(a, b) == 0)
        return ValueOverlap(np.where(none, np.nan, overlap), np.where(none, np.nan, z), self.n_kv)


def _basis(V: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal columns [group d_model d_head] that span each V, zeros beyond its numerical rank [group]."""
    B, R = qr(V)
    U, sizes, _ = torch.linalg.svd(R.cpu().double())
    kept = (sizes > RANK * sizes[:, :1]) & (sizes[:, :1] > 0)
    return B @ (U * kept[:, None]).to(B), kept.sum(1)
