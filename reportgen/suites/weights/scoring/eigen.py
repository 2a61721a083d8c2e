"""Copying and matching by eigenvalues, after Elhage et al. 2021, and their null.

A head's token-to-token map has rank d_head at most, and eig(A B) = eig(B A) up to zeros: the eigenvalues of
E W_V W_O U are those of W_O (U E) W_V, a d_head x d_head problem. Singular values and Frobenius norms may not be
cycled so (the erratum of 2023).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reportgen.aliases import Floats
from reportgen.suites.weights.scoring.heads import LayerHeads, turned

NOISE = 1e-9  # of the largest entry: far below what float32 weights hold
DISTANCES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


def ov_core(heads: LayerHeads, between: Tensor | None) -> Tensor:
    """W_O K W_V [n_heads d_head d_head], whose eigenvalues are those of W_V W_O K; K = None: the identity."""
    values = heads.V if between is None else between @ heads.V  # once per key-value head
    return heads.O @ heads.per_head(values)


def qk_core(heads: LayerHeads, between: Tensor) -> Tensor:
    """W_K' G W_Q [n_heads d_head d_head], whose eigenvalues are those of W_Q W_K' G, at distance 0."""
    keys = heads.K.mT @ between
    return heads.per_head(keys) @ heads.Q


def signed_share(core: Tensor) -> tuple[Floats, Floats]:
    """sum(lambda) / sum|lambda| in -1..1 and the participation (sum|lambda|)^2 / sum|lambda|^2, per matrix [...].

    In float64 on the CPU. NaN where every eigenvalue is 0, or where LAPACK finds none.
    """
    found = _eigenvalues(core.cpu().double())
    sizes = found.abs()
    total, squares = sizes.sum(-1), sizes.square().sum(-1)
    none = total == 0
    share = torch.where(none, torch.nan, found.real.sum(-1) / total)
    taking_part = torch.where(none, torch.nan, total.square() / squares)
    return share.numpy(), taking_part.numpy()


def _eigenvalues(core: Tensor) -> Tensor:
    """Complex, [... d_head]; NaN for a matrix that is not finite, on which LAPACK aborts.

    A matrix whose iteration does not converge is tried again with rounding noise added.
    """
    finite = core.isfinite().all(-1).all(-1)
    if not bool(finite.all()):
        some = torch.full(core.shape[:-1], torch.nan, dtype=torch.complex128)
        if bool(finite.any()):
            some[finite] = _eigenvalues(core[finite])
        return some
    try:
        whole: Tensor = torch.linalg.eigvals(core)
    except RuntimeError:  # a LinAlgError
        return torch.stack([_one(matrix) for matrix in core.reshape(-1, *core.shape[-2:])]).reshape(core.shape[:-1])
    return whole


def _one(matrix: Tensor) -> Tensor:
    noise = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(0), dtype=matrix.dtype)
    for tried in (matrix, matrix + NOISE * matrix.abs().max() * noise):
        with contextlib.suppress(RuntimeError):
            found: Tensor = torch.linalg.eigvals(tried)
            return found
    return torch.full(matrix.shape[:1], torch.nan, dtype=torch.complex128)


def profile(heads: LayerHeads, between: Tensor, n_ctx: int) -> Floats:
    """The matching score at each distance of DISTANCES within the context, [n_heads distance]; NaN beyond it.

    Without rotary positions it is the same at every distance.
    """
    core = qk_core(heads, between).cpu().double()
    out = np.full((len(core), len(DISTANCES)), np.nan)
    for i, distance in enumerate(DISTANCES):
        if distance < n_ctx:
            turn = core if heads.turn is None else turned(heads.turn, core.shape[-1], distance) @ core
            out[:, i] = signed_share(turn)[0]
    return out


@dataclass(frozen=True, eq=False)
class Spectra:
    """Singular values of each head's two halves, [n_heads d_head] float64 on the CPU."""

    V: Tensor
    O: Tensor  # noqa: E741
    Q: Tensor
    K: Tensor


def spectra(heads: LayerHeads) -> Spectra:
    """From the d_head x d_head Grams."""

    def of(gram: Tensor) -> Tensor:
        values: Tensor = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
        return values

    V, Q, K = ((W.cpu().double().mT @ W.cpu().double()) for W in (heads.V, heads.Q, heads.K))
    O = heads.O.cpu().double() @ heads.O.cpu().double().mT  # noqa: E741
    return Spectra(heads.per_head(of(V)), of(O), of(Q), heads.per_head(of(K)))


class RotatedNull:
    """Signed shares of heads with the model's singular values and none of its directions.

    The d_head sides are turned against each other, and both outer sides turned in the residual stream, by uniform
    (Haar) rotations; what stands between, U E or E' E, is the model's own. The same rotations serve every layer and
    score, so that draws are shared over the family; draw b takes the spectrum of head b mod n_heads of each layer.
    """

    def __init__(self, between: Mapping[str, Tensor], d_model: int, d_head: int, draws: int, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        self.draws = draws
        self.inner = [_haar(d_head, d_head, g) for _ in range(draws)]
        self.cores: dict[str, list[Tensor]] = {name: [] for name in between}
        for _ in range(draws):
            left, right = (_haar(d_model, d_head, g).float() for _ in range(2))  # orthonormal columns
            for name, K in between.items():
                self.cores[name].append((left.T.to(K) @ (K @ right.to(K))).cpu().double())

    def layer(self, name: str, outer: Tensor, inner: Tensor) -> Floats:
        """Draws of one layer [draw]; outer, inner: singular values [head d_head] of W_O and W_V, or of W_K and W_Q."""
        at = [b % len(outer) for b in range(self.draws)]
        cores = torch.stack(self.cores[name])
        core = outer[at][:, :, None] * cores * inner[at][:, None, :]
        return signed_share(core @ torch.stack(self.inner))[0]


def _haar(rows: int, columns: int, g: torch.Generator) -> Tensor:
    """Uniform with orthonormal columns [rows columns], float64."""
    found, R = torch.linalg.qr(torch.randn(rows, columns, generator=g, dtype=torch.float64))
    frame: Tensor = found * R.diagonal().sign()
    return frame


def induction_core(Q: Tensor, K: Tensor, O: Tensor, values: Tensor) -> Tensor:  # noqa: E741
    """W_K' (W_V1 W_O1)' (E' E) W_Q [d_head d_head]: matching of what the writer moved (Elhage et al. 2021).

    Q, K [d_model d_head] of the reader; O [d_head d_model] of the writer, values W_V1' (E' E) [d_head d_model]
    """
    return (O @ K).T @ (values @ Q)
