"""Norms, ranks and nearness to the identity of each head's maps, from d_head x d_head Grams."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from reportgen.aliases import Floats
from reportgen.suites.weights.scoring.heads import LayerHeads, phase_averaged

NUMERICAL = 1e-6  # of the largest singular value: what float32 weights say nothing about
MOST = 0.99  # of the squared singular values


def ov_squares(heads: LayerHeads) -> Tensor:
    """Squared singular values of W_V W_O [n_heads d_head], float64: eigenvalues of R_V (W_O W_O') R_V'."""
    R = heads.per_head(torch.linalg.qr(heads.V.cpu().double()).R)
    O = heads.O.cpu().double()  # noqa: E741
    squares: Tensor = torch.linalg.eigvalsh(R @ (O @ O.mT) @ R.mT).clamp_min(0)
    return squares


def ranks(squares: Tensor) -> tuple[Floats, Floats]:
    """Numerical rank, and how many of the largest hold 99 % of the sum, [n_heads]."""
    ordered = squares.flip(-1)
    numerical = (ordered > NUMERICAL**2 * ordered[:, :1]).sum(-1)
    share = ordered.cumsum(-1) / ordered.sum(-1, keepdim=True)
    return numerical.double().numpy(), ((share < MOST).sum(-1) + 1).double().numpy()


def identity(heads: LayerHeads, squares: Tensor) -> Floats:
    """cos(W_V W_O, I) = tr(W_V W_O) / (||W_V W_O|| sqrt d) [n_heads]."""
    trace = (heads.per_head(heads.V).mT * heads.O).sum((1, 2)).cpu().double()
    return (trace / (squares.sum(-1).sqrt() * math.sqrt(heads.O.shape[-1]))).numpy()


def qk_norms(heads: LayerHeads, n_ctx: int) -> tuple[Floats, Floats]:
    """||W_Q R W_K'|| averaged over phases [n_heads], and the share of its square in planes that never go round.

    The share is of rotary heads only (NaN else); dimensions that do not turn count with the slow planes.
    """
    Q, K = (W.cpu().double().mT @ W.cpu().double() for W in (heads.Q, heads.K))
    K = heads.per_head(K)
    D = phase_averaged(K, heads.turn, n_ctx)
    whole = (Q * D).sum((1, 2))
    if heads.turn is None:
        return whole.sqrt().numpy(), np.full(len(Q), np.nan)
    turning = heads.turn.wavelengths <= n_ctx
    still = torch.ones(Q.shape[-1], dtype=torch.bool)
    still[heads.turn.pairs[:, turning].flatten()] = False
    slow = (Q * K * (still[:, None] & still)).sum((1, 2))
    return whole.sqrt().numpy(), (slow / whole).numpy()
