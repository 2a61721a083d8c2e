"""The matrices of a layer's heads, with the scales of the norms around them folded in, and the vocabulary's products.

Row vectors: a head adds x W_V W_O to the residual, and scores a query x_q against a key x_k by (x_q W_Q)(x_k W_K)'.
Folded: what reads the residual has the norm's scale (and LayerNorm's centring) in front, the unembedding those of the
last norm, W_O the scale of a norm behind it. A norm's division by each token's size is left out, as are biases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from reportgen.models.rotary import Rotary
    from reportgen.models.weights import Weights

CHUNK = 4096  # tokens of the vocabulary at once
BLOCK = 1024  # rows of a Gram matrix at once


@dataclass(frozen=True, eq=False)
class LayerHeads:
    """A layer's maps; n_kv of V and K, n_heads of O and Q.

    V, K  [n_kv d_model d_head];  Q  [n_heads d_model d_head];  O  [n_heads d_head d_model]
    broken_ov, broken_qk  [n_heads] bool: weights that are not finite, which are zeros here
    turn  rotary positions, or None
    """

    V: Tensor
    O: Tensor  # noqa: E741
    Q: Tensor
    K: Tensor
    broken_ov: Tensor
    broken_qk: Tensor
    turn: Rotary | None

    @property
    def group(self) -> int:
        """Query heads to a key-value head."""
        return len(self.O) // len(self.V)

    def per_head(self, shared: Tensor) -> Tensor:
        """What key-value heads have, for every query head."""
        return shared.repeat_interleave(self.group, dim=0)


def raw_map(weights: Weights, layer: int, name: str) -> Tensor:
    """One of V, O, Q, K of a layer, from a model or from disk; scales on queries and keys are applied."""
    read = {"V": weights.W_V, "O": weights.W_O, "Q": weights.W_Q, "K": weights.W_K}
    W = read[name](layer)
    if name in "VO":
        return W
    scale = weights.qk_norm_scales(layer)["QK".index(name)]
    return W if scale is None else W * scale[:, None]


def folded_map(weights: Weights, layer: int, name: str, raw: Tensor) -> Tensor:
    """The same with the norm before attention folded into V, Q and K, and the norm behind it into O."""
    if name == "O":
        after = weights.post_attn_scale(layer)
        return raw if after is None else raw * after
    return _behind_norm(raw, weights.ln1_scale(layer), centred=weights.centres)


def read_layer(weights: Weights, layer: int) -> LayerHeads:
    """A layer's raw maps, each read once."""
    V, O, Q, K = (raw_map(weights, layer, name) for name in "VOQK")  # noqa: E741
    none = torch.zeros(len(O), dtype=torch.bool, device=O.device)
    return _sound(LayerHeads(V, O, Q, K, none, none, weights.rotary(layer)))


def _sound(heads: LayerHeads) -> LayerHeads:
    """The same with zeros for matrices that are not finite, whose heads are marked: LAPACK may abort on a NaN."""
    matrices = {"V": heads.V, "O": heads.O, "Q": heads.Q, "K": heads.K}
    bad = {name: ~W.isfinite().flatten(1).all(1) for name, W in matrices.items()}
    if not any(bool(found.any()) for found in bad.values()):
        return heads
    clean = {name: torch.where(bad[name][:, None, None], torch.zeros_like(W), W) for name, W in matrices.items()}
    return replace(
        heads,
        V=clean["V"],
        O=clean["O"],
        Q=clean["Q"],
        K=clean["K"],
        broken_ov=heads.broken_ov | bad["O"] | heads.per_head(bad["V"]),
        broken_qk=heads.broken_qk | bad["Q"] | heads.per_head(bad["K"]),
    )


def fold(weights: Weights, layer: int, raw: LayerHeads) -> LayerHeads:
    """The same heads with the norms before and behind attention folded in."""
    V, O, Q, K = (folded_map(weights, layer, name, getattr(raw, name)) for name in "VOQK")  # noqa: E741
    return _sound(replace(raw, V=V, O=O, Q=Q, K=K))


def _behind_norm(W: Tensor, scale: Tensor | None, *, centred: bool) -> Tensor:
    """C diag(scale) W, with C = I - 11'/d where the norm subtracts the mean, so that x W' reads what norm(x) W does."""
    W = W if scale is None else W * scale[:, None]
    return W - W.mean(-2, keepdim=True) if centred else W


def normalised(weights: Weights, x: Tensor) -> Tensor:
    """Rows x [token d_model] as the model's norms divide them, without scale and bias."""
    x = x - x.mean(-1, keepdim=True) if weights.centres else x
    return x / x.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)


def unembedding(weights: Weights) -> Tensor:
    """[d_model token] of the tokens that there are, folded, as a copy of their own."""
    U, scale = weights.W_U(own=True)[:, : vocabulary_size(weights)], weights.final_scale()
    if scale is not None:
        U *= scale[:, None]
    if weights.centres:
        U -= U.mean(0)
    return U


def decomposable(x: Tensor) -> Tensor:
    """x, on the CPU where its device has no decompositions (MPS)."""
    return x.cpu() if x.device.type == "mps" else x


def qr(W: Tensor) -> tuple[Tensor, Tensor]:
    """W [... rows columns] as orthonormal columns times a triangle, both where W is."""
    B, R = torch.linalg.qr(decomposable(W))
    return B.to(W.device), R.to(W.device)


def vocabulary_size(weights: Weights) -> int:
    """Tokens with an embedding and a logit; padding columns are none."""
    return min(weights.tokens.size, weights.record.d_vocab)


@dataclass(frozen=True, eq=False)
class Products:
    """Sums over the vocabulary, each d_model x d_model, that stand between the two halves of a head.

    copying   sum over tokens of (column of U)(row of E): U E
    matching  E' E; empty where it was not asked for
    n         tokens in the sums
    """

    copying: Tensor
    matching: Tensor
    n: int


def products(
    U: Tensor, rows: Callable[[Tensor], Tensor], ids: Tensor, *, centred: bool, matching: bool = True
) -> Products:
    """Products over the tokens `ids`, whose vectors `rows` gives [token d_model]; centred: the means are taken off.

    A shift of all columns of U changes no softmax, and the mean of E is in every prompt.
    """
    d = U.shape[0]
    copying, gram = (torch.zeros(d, d, device=U.device) for _ in range(2))
    wide = torch.device("cpu") if U.device.type == "mps" else U.device  # MPS has no float64
    sum_u, sum_e = (torch.zeros(d, dtype=torch.float64, device=wide) for _ in range(2))
    for part in torch.split(ids, CHUNK):
        u, e = U[:, part], rows(part)
        copying += u @ e
        if matching:
            _add_gram(gram, e)
        sum_u += u.to(wide).sum(1, dtype=torch.float64)
        sum_e += e.to(wide).sum(0, dtype=torch.float64)
    gram = gram.triu() + gram.triu(1).T
    if centred:
        copying -= torch.outer(sum_u, sum_e / len(ids)).float().to(U.device)
        gram -= torch.outer(sum_e, sum_e / len(ids)).float().to(U.device)
    return Products(copying, gram if matching else gram[:0], len(ids))


def _add_gram(gram: Tensor, e: Tensor) -> None:
    """Adds e' e, of which what lies on and above the diagonal is used; e [token d_model]."""
    for a in range(0, len(gram), BLOCK):
        gram[a : a + BLOCK, a:] += e[:, a : a + BLOCK].T @ e[:, a:]


def turned(turn: Rotary, d_head: int, distance: float) -> Tensor:
    """R with (x_q W_Q) R (x_k W_K)' the score of a key that stands `distance` positions before its query.

    [d_head d_head] float64. Dimensions that do not turn keep their 1.
    """
    R = torch.eye(d_head, dtype=torch.float64)
    angle = turn.frequencies * distance
    one, other = turn.pairs
    R[one, one], R[other, other] = angle.cos(), angle.cos()
    R[one, other], R[other, one] = angle.sin(), -angle.sin()
    return R


def phase_averaged(gram: Tensor, turn: Rotary | None, n_ctx: int) -> Tensor:
    """E[R G R'] over independent uniform phases of the turning planes; gram [... d_head d_head].

    Each turning plane keeps half its trace, and nothing else of it is left. Dimensions that do not turn, and planes
    whose wavelength exceeds the context so that they never go round, keep their block.
    """
    if turn is None:
        return gram
    turning = turn.wavelengths <= n_ctx
    one, other = (side[turning].to(gram.device) for side in turn.pairs)
    still = torch.ones(gram.shape[-1], dtype=torch.bool, device=gram.device)
    still[one] = still[other] = False
    out = gram * (still[:, None] & still)
    half = (gram[..., one, one] + gram[..., other, other]) / 2
    out[..., one, one] = half
    out[..., other, other] = half
    return out
