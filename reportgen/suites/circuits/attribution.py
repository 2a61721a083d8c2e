"""Attribution patching: first-order estimates of every head's effect from one backward pass.

- Total effect (noising): (z_clean - z_corrupted) . dm/dz, summed over positions (Nanda 2023). With several steps the
  gradient is averaged over inputs between the two prompts, as in integrated gradients (Hanna et al. 2024).
- An estimate: a saturated softmax has no gradient, so it can miss the strongest mover. It ranks; exact values decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.suites.circuits.sides import Batch, Batches
from reportgen.suites.circuits.traces import Metric

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model

Floats = npt.NDArray[np.float32]


def attribution(prompts: Batches, steps: int = 1, *, denoising: bool = False) -> Floats:
    """Estimated total effects of all heads in units of the metric, [prompt layer head].

    steps      1 takes the gradient at the prompt that is patched, the clean one; more average it at as many midpoints
               between the two prompts' inputs to block 0
    denoising  with one step, at the corrupted prompt, which is patched there
    """
    record = prompts.model.record
    out = np.zeros((len(prompts), record.n_layers, record.n_heads), np.float32)
    for batch in prompts:
        shares = [float(denoising)] if steps == 1 else [(step + 0.5) / steps for step in range(steps)]
        found = torch.stack([_estimate(prompts.model, batch, prompts.metric, share) for share in shares])
        out[prompts.places(batch)] = found.mean(0).cpu().numpy()
    return out


def _estimate(model: Model, batch: Batch, metric: Metric, share: float) -> Tensor:
    """[prompt layer head] with the gradient at the input `share` of the way from clean to corrupted."""
    kept: list[Tensor] = []

    def keep(z: Tensor) -> None:
        kept.append(z)

    hooks: dict[tuple[str, int], HookFn] = {("z", layer): keep for layer in range(model.record.n_layers)}
    if share > 0:
        between = torch.lerp(batch.clean.residual[0], batch.corrupted.residual[0], share)
        hooks["resid_pre", 0] = lambda given: between.to(given.dtype).requires_grad_()
    logits = model.run(batch.clean.ids, hooks, last=True, grad=True)[:, -1]
    gradients = torch.autograd.grad(metric(logits, batch.rows).sum(), kept)
    changes = [a - b for a, b in zip(batch.clean.z, batch.corrupted.z, strict=True)]
    parts = [(g.float() * change.float()).sum((1, 3)) for g, change in zip(gradients, changes, strict=True)]
    return torch.stack(parts, 1)
