"""What a relation map is read against: the same scores where no head could have learnt anything.

copier    the identity in place of the OV map: its row is the source's own vector times W_U
twin      the model with its configuration's random initialisation
matched   each head's OV map with its singular values kept and its singular directions drawn at random
folded    not a control: the same weights with the scales of the norms around the head applied
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from reportgen.models.model import Weights


class Matched:
    """Random OV maps [one per query head] with the singular values of the model's own.

    W_V W_O = A diag(s) B' becomes Q diag(s) R' with Q, R uniform with orthonormal columns: spectrum and norms are kept.
    """

    def __init__(self, weights: Weights, seed: int) -> None:
        self.weights, self.seed = weights, seed
        self._spectra: dict[int, Tensor] = {}

    def spectrum(self, layer: int) -> Tensor:
        """Singular values [n_heads d_head] of a layer's OV maps on the CPU, computed once."""
        if layer not in self._spectra:
            self._spectra[layer] = singular_values(self.weights.W_V(layer), self.weights.W_O(layer))
        return self._spectra[layer]

    def norms(self, layer: int) -> npt.NDArray[np.float64]:
        """||W_V W_O|| of a layer's heads [n_heads]: that of their singular values."""
        found: npt.NDArray[np.float64] = self.spectrum(layer).double().norm(dim=1).numpy()
        return found

    def maps(self, layer: int) -> tuple[Tensor, Tensor]:
        """W_V [n_heads d_model d_head] and W_O [n_heads d_head d_model] of a layer, drawn anew and always alike."""
        spectrum, W_O = self.spectrum(layer), self.weights.W_O(layer)
        draw = torch.Generator().manual_seed(self.seed * 100_003 + layer)
        shape = (len(W_O), W_O.shape[2], W_O.shape[1])
        left, right = (torch.linalg.qr(torch.randn(shape, generator=draw)).Q for _ in range(2))
        device = W_O.device
        return (left * spectrum[:, None, :]).to(device), right.mT.contiguous().to(device)


class Folded:
    """Weights with diag(w_ln1) before W_V and diag(w_post) diag(w_final) after W_O; the norms' divisions left out."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    @property
    def changes(self) -> bool:
        """Whether there is any scale to apply."""
        w = self.weights
        return w.final_scale() is not None or any(
            w.ln1_scale(layer) is not None or w.post_attn_scale(layer) is not None for layer in range(w.record.n_layers)
        )

    def maps(self, layer: int) -> tuple[Tensor, Tensor]:
        """W_V [n_kv d_model d_head] and W_O [n_heads d_head d_model] of a layer."""
        W_V, W_O = self.weights.W_V(layer), self.weights.W_O(layer)
        before = self.weights.ln1_scale(layer)
        W_V = W_V if before is None else W_V * before[:, None]
        for after in (self.weights.post_attn_scale(layer), self.weights.final_scale()):
            W_O = W_O if after is None else W_O * after
        return W_V, W_O


def singular_values(W_V: Tensor, W_O: Tensor) -> Tensor:
    """Singular values of each head's W_V W_O [n_heads d_head], float32 on the CPU; NaN for weights that aren't finite.

    Without forming the product: with W_V = Q R and W_O' = P S they are those of R S'.
    """
    R = torch.linalg.qr(W_V.cpu().double()).R.repeat_interleave(len(W_O) // len(W_V), dim=0)  # [head d_head d_head]
    S = torch.linalg.qr(W_O.cpu().double().mT).R
    inner = R @ S.mT
    finite = torch.isfinite(inner).flatten(1).all(1)
    values: Tensor = torch.linalg.svdvals(torch.where(finite[:, None, None], inner, 0.0)).float()
    values[~finite] = torch.nan
    return values


def twin_of(weights: Weights) -> Callable[[int], Weights] | None:
    """How to make a randomly initialised twin from a seed; None for weights that come without a model to run."""
    if not hasattr(weights, "run"):
        return None
    from reportgen.models.load import random_twin  # the model room is heavy, and only this control needs it

    return lambda seed: cast("Weights", random_twin(cast("Any", weights), seed))
