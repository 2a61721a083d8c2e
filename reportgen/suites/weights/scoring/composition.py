"""Composition of every pair of heads, and the overlap of what one writes with what the other reads.

C^2 = ||W_in W_OV1||^2 / (||W_in||^2 ||W_OV1||^2) (Elhage et al. 2021), with W_in the map of a later head that reads the
residual through its queries (Q), keys (K) or values (V). Nothing of the size d x d is made: W_O1 = L B with B's rows
orthonormal and W_2 = B_2 R with B_2's columns, so that

    C^2 = tr(N' X N Y) / (tr X tr Y),  N = B B_2,  X = L' W_V1' W_V1 L,  Y = R D R'

and D is W_K' W_K (Q), W_Q' W_Q (K) or W_O2 W_O2' (V), d_head x d_head. With rotary positions D is averaged over phases.
The overlap is ||N||^2 / min(a, b): the projection kernel of the two subspaces over its largest value.

Null: the reader turned against the writer by a uniform rotation of the residual stream, both spectra kept. Then
E[C^2] = 1/d, and Var[C^2] = 2 |X0|^2 |Y0|^2 / ((d-1)(d+2) (tr X tr Y)^2) with |X0|^2 = tr X^2 - (tr X)^2 / d; of the
projection kernel E = a b / d and Var = 2 a b (d-a)(d-b) / (d^2 (d-1)(d+2)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Floats
from reportgen.suites.weights.scoring.heads import LayerHeads, phase_averaged, qr
from reportgen.suites.weights.suite import LARGE

KINDS = ("q", "k", "v")
FEWEST = 8  # pairs of two layers that a median and a MAD are taken over
MAD = 1.4826  # a normal distribution's sd over its MAD
Pairs = npt.NDArray[np.float32]  # [writer reader], NaN where the writer is in no earlier layer


@dataclass(frozen=True, eq=False)
class Writer:
    """What is kept of a layer once it is past.

    basis  [n_heads*d_head d_model] orthonormal rows of each W_O
    X      [n_heads d_head d_head], divided by its trace
    spread |X0|^2 of each head
    """

    basis: Tensor
    X: Tensor
    spread: Floats


def writer(heads: LayerHeads, dtype: torch.dtype) -> Writer:
    """A layer as a writer."""
    B, R = qr(heads.O.mT)  # [n_heads d_model d_head], [n_heads d_head d_head]
    gram = heads.per_head(heads.V.mT @ heads.V)
    X = _over_trace(R @ gram @ R.mT)
    return Writer(B.mT.reshape(-1, B.shape[1]).to(dtype), X, _spread(X, B.shape[1]))


@dataclass(frozen=True, eq=False)
class Reader:
    """One way in of a layer: basis [n_shared d_model d_head], Y [n_heads d_head d_head] over its trace, |Y0|^2."""

    basis: Tensor
    Y: Tensor
    spread: Floats


def readers(heads: LayerHeads, kinds: Sequence[str], n_ctx: int) -> dict[str, Reader]:
    """A layer's ways in. Heads of a group share the basis of keys and values, not Y."""
    found = {}
    Q, K = (W.mT @ W for W in (heads.Q, heads.K))
    for kind in kinds:
        W = {"q": heads.Q, "k": heads.K, "v": heads.V}[kind]
        B, R = qr(W)
        if kind == "q":
            D = phase_averaged(heads.per_head(K), heads.turn, n_ctx)
        else:
            D = phase_averaged(Q, heads.turn, n_ctx) if kind == "k" else heads.O @ heads.O.mT
            R = heads.per_head(R)
        Y = _over_trace(R @ D @ R.mT)
        found[kind] = Reader(B, Y, _spread(Y, B.shape[1]))
    return found


def _over_trace(gram: Tensor) -> Tensor:
    return gram / gram.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]


def _spread(gram: Tensor, d: int) -> Floats:
    """tr G^2 - 1/d of a Gram of trace 1."""
    return (gram.cpu().double().square().sum((1, 2)) - 1 / d).clamp_min(0).numpy()


def between(one: Writer, others: Mapping[str, Reader]) -> dict[str, tuple[Floats, Floats]]:
    """C^2 and the projection kernel [writing head, reading head] of two layers, through each way in."""
    heads, d_head = one.X.shape[:2]
    flat = torch.cat([other.basis.transpose(0, 1).flatten(1) for other in others.values()], 1)
    N = (one.basis.to(flat.dtype) @ flat).view(heads, d_head, -1, d_head).permute(2, 0, 1, 3)
    sizes = [len(other.basis) for other in others.values()]  # N [shared writer d_head d_head]
    return {
        kind: _pairs(one, other, own) for (kind, other), own in zip(others.items(), torch.split(N, sizes), strict=True)
    }


def _pairs(one: Writer, other: Reader, N: Tensor) -> tuple[Floats, Floats]:
    """tr(N' X N Y) and |N|^2 [writing head, reading head]; N [shared writer d_head d_head]."""
    shared, heads, d_head = N.shape[:3]
    group = len(other.Y) // shared
    moved = (N.mT @ (one.X @ N)).view(shared, heads, -1)  # N' X N, symmetric as Y is
    c2 = moved @ other.Y.view(shared, group, d_head * d_head).mT  # [shared writer group]
    kernel = N.square().sum((2, 3))[..., None].expand(-1, -1, group)
    return tuple(t.transpose(0, 1).reshape(heads, -1).cpu().double().numpy() for t in (c2, kernel))  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Composition:
    """One kind, [writer reader] each: C^2, its z, z within the two layers, the overlap and its z; log p of C^2.

    excess  C^2 d - 1
    log_p   natural logarithm of the tail of a gamma distribution with the null's two moments
    """

    excess: Pairs
    z: Pairs
    within: Pairs
    overlap: Pairs
    overlap_z: Pairs
    log_p: Pairs

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        return np.isfinite(self.z)


class Compositions:
    """Takes the layers one after another, first to last."""

    def __init__(self, n_layers: int, n_heads: int, d_head: int, d_model: int, kinds: Sequence[str], n_ctx: int):
        self.kinds, self.n_ctx, self.shape = kinds, n_ctx, (n_layers, n_heads, d_head, d_model)
        J = n_layers * n_heads
        self.found = {kind: {n: np.full((J, J), np.nan) for n in ("c2", "sd", "kernel")} for kind in kinds}
        self.writers: list[tuple[Writer, npt.NDArray[np.bool_]]] = []
        large = 4 * J * d_head * d_model > LARGE
        self.dtype = torch.bfloat16 if large else torch.float32

    def add(self, heads: LayerHeads) -> None:
        """One layer: read by it, everything earlier heads write; then it is kept as a writer."""
        _, n_heads, _, d = self.shape
        at, broken_ov = len(self.writers), heads.broken_ov.cpu().numpy()
        ways = readers(heads, self.kinds, self.n_ctx) if at else {}
        bad = {"v": broken_ov, "q": heads.broken_qk.cpu().numpy(), "k": heads.broken_qk.cpu().numpy()}
        for before, (sender, lost) in enumerate(self.writers):
            for kind, (c2, kernel) in between(sender, ways).items():
                way = ways[kind]
                var = 2 * np.outer(sender.spread, way.spread) / ((d - 1) * (d + 2))
                gone = lost[:, None] | bad[kind][None]
                block = np.s_[before * n_heads : (before + 1) * n_heads, at * n_heads : (at + 1) * n_heads]
                for name, values in (("c2", c2), ("sd", np.sqrt(var)), ("kernel", kernel)):
                    self.found[kind][name][block] = np.where(gone, np.nan, values)
        self.writers.append((writer(heads, self.dtype), broken_ov))

    def results(self) -> dict[str, Composition]:
        """Every kind, once all layers are in."""
        return {kind: self._one(**self.found[kind]) for kind in self.kinds}

    def _one(self, c2: Floats, sd: Floats, kernel: Floats) -> Composition:
        _, _, a, d = self.shape
        sd_kernel = math.sqrt(2) * a * (d - a) / (d * math.sqrt((d - 1) * (d + 2))) if a < d else math.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(sd > 0, (c2 - 1 / d) / sd, np.nan)
        within = self._within(c2)
        arrays = (c2 * d - 1, z, within, kernel / a, (kernel - a * a / d) / sd_kernel, gamma_log_p(c2, sd, d))
        return Composition(*(x.astype(np.float32) for x in arrays))

    def _within(self, c2: Floats) -> Floats:
        """(C^2 - median) / (1.4826 MAD) over the pairs of the same two layers; NaN for fewer than eight."""
        n_layers, n_heads = self.shape[:2]
        blocks = c2.reshape(n_layers, n_heads, n_layers, n_heads).transpose(0, 2, 1, 3).reshape(n_layers, n_layers, -1)
        out = np.full(blocks.shape, np.nan)
        for i, j in zip(*np.triu_indices(n_layers, 1), strict=True):
            values = blocks[i, j]
            known = values[np.isfinite(values)]
            if len(known) >= FEWEST:
                middle = np.median(known)
                mad = MAD * np.median(np.abs(known - middle))
                out[i, j] = (values - middle) / mad if mad > 0 else np.nan
        back = out.reshape(n_layers, n_layers, n_heads, n_heads).transpose(0, 2, 1, 3)
        return np.asarray(back.reshape(c2.shape))


def gamma_log_p(c2: Floats, sd: Floats, d: int) -> Floats:
    """log P(C^2 at least this large) of a gamma distribution with mean 1/d and the null's sd."""
    from scipy.stats import gamma

    with np.errstate(divide="ignore", invalid="ignore"):
        shape = (1 / d / sd) ** 2
        found = gamma.logsf(c2, shape, scale=1 / (d * shape))
    return np.where(np.isfinite(c2), np.maximum(found, -1e4), np.nan)
