"""The two recipes: AdamW for every parameter, or Muon for the matrices inside the layers and AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from reportgen.mini.network import Network

NAMES = ("adamw", "muon")
# Coefficients of the quintic Newton-Schulz step (Jordan et al. 2024, 'Muon: an optimizer for hidden layers').
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
# Scales an orthogonal update to the root mean square of an AdamW update, so both share one learning rate (Liu et al.
# 2025, 'Muon is scalable for LLM training').
MATCHED_RMS = 0.2


class Muon(Optimizer):
    """Momentum, orthogonalised, for 2-D weights. c_attn [d_model 3 d_model] counts as three square ones (Q, K, V)."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient. `closure` is not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            pieces: list[Tensor] = []
            owners: list[Tensor] = []
            for p in params:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                look_ahead = torch.lerp(p.grad, buffer, group["momentum"])  # Nesterov
                rows, columns = p.shape
                count = 3 if columns == 3 * rows else 1
                pieces += look_ahead.chunk(count, dim=1)
                owners += p.chunk(count, dim=1)
            for shape in {piece.shape: None for piece in pieces}:  # one batch per shape, in a fixed order
                chosen = [i for i, piece in enumerate(pieces) if piece.shape == shape]
                updates = orthogonalize(torch.stack([pieces[i] for i in chosen]))
                for i, update in zip(chosen, updates, strict=True):
                    owners[i].add_(update, alpha=-group["lr"] * MATCHED_RMS * math.sqrt(max(shape)))


def orthogonalize(matrices: Tensor) -> Tensor:
    """matrices [n rows columns] -> nearly the nearest semi-orthogonal ones, singular values in about 0.7-1.2."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT  # [n rows rows]
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()


def build(network: Network, name: str, lr: float, betas: tuple[float, float], weight_decay: float) -> list[Optimizer]:
    """Optimizers that together own every parameter once; `name` is one of NAMES. Weight decay on matrices only."""
    named = list(network.named_parameters())
    vectors = [p for _, p in named if p.ndim < 2]
    embeddings = [p for key, p in named if p.ndim == 2 and not key.startswith("h.")]
    inner = [p for key, p in named if p.ndim == 2 and key.startswith("h.")]
    decayed = embeddings + (inner if name == "adamw" else [])
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizers: list[Optimizer] = [AdamW(groups, lr=lr, betas=betas, fused=True)]
    if name == "muon":
        optimizers.append(Muon(inner, lr, momentum=0.95, weight_decay=weight_decay))
    return optimizers
