"""Heads on natural text: how much the next-token loss rises when one head is mean-ablated.

- Mean ablation: z becomes the head's mean over the text's positions but the first of each window, which stays as it is
  (it is the sink). Total: everything downstream recomputes. Direct: every other head keeps its z; MLPs and the final
  norm recompute. Direct minus total is what the other heads make up for: self-repair (McGrath et al. 2023).
- In nats per token; above 0 the head helps. Attribution is the first-order estimate of either, for all heads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.suites.circuits import sides

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
SHARES = (0.25, 0.75)  # on the way to the mean, where gradients are taken: at the text itself they rank worse
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class Losses:
    """Change of the loss in nats per token, [window layer head]; exact ones NaN where not asked for.

    clean  [window] loss of the whole model
    """

    clean: Floats
    total: Floats
    direct: Floats
    total_estimate: Floats
    direct_estimate: Floats


@dataclass(frozen=True, eq=False)
class Part:
    """Some windows [window pos] with what their clean run left: z and residual per layer, loss [window]."""

    ids: Tensor
    z: list[Tensor]
    residual: list[Tensor]
    loss: Tensor


def nats(logits: Tensor, ids: Tensor) -> Tensor:
    """Mean next-token loss [row] of logits [row pos vocab]."""
    picked = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return -picked.mean(1)


def parts(model: Model, ids: Tensor) -> list[Part]:
    """The windows in parts that fit one forward pass, each run once."""
    size = max(1, sides.ROWS // ids.shape[1])
    return [_part(model, some) for some in torch.split(ids.to(model.device), size)]


def _part(model: Model, ids: Tensor) -> Part:
    layers = range(model.record.n_layers)
    kept: dict[tuple[str, int], Tensor] = {}

    def keep(at: tuple[str, int]) -> HookFn:
        def hook(tensor: Tensor) -> None:
            kept[at] = tensor.clone()

        return hook

    hooks = {(kind, layer): keep((kind, layer)) for kind in ("z", "resid_pre") for layer in layers}
    loss = nats(model.run(ids, hooks), ids)
    return Part(ids, [kept["z", i] for i in layers], [kept["resid_pre", i] for i in layers], loss)


def means(found: list[Part], ablation: str = "mean") -> list[Tensor]:
    """Per layer the mean z [head d_head] over all windows and positions but the first, or zero."""
    layers = range(len(found[0].z))
    if ablation == "zero":
        return [torch.zeros_like(z[0, 0]) for z in found[0].z]
    return [torch.cat([part.z[i][:, 1:].flatten(0, 1) for part in found]).mean(0) for i in layers]


def estimates(
    model: Model, found: list[Part], mean: list[Tensor], shares: Sequence[float] = SHARES
) -> tuple[Floats, Floats]:
    """First-order estimates of the total and the direct change, [window layer head] each.

    shares  how far every head is moved to its mean where the gradient is taken; several are averaged
    """
    both = [[_mean(model, part, mean, held, shares) for part in found] for held in (False, True)]
    total, direct = (torch.cat(of).cpu().numpy() for of in both)
    return total, direct


def _mean(model: Model, part: Part, mean: list[Tensor], held: bool, shares: Sequence[float]) -> Tensor:
    return torch.stack([_estimate(model, part, mean, held, share) for share in shares]).mean(0)


def _estimate(model: Model, part: Part, mean: list[Tensor], held: bool, share: float) -> Tensor:
    """(mean - z) . d loss / dz, summed over positions; with `held` every other head's z is a constant."""
    seen: list[Tensor] = []
    layers = range(len(part.z))

    def keep(layer: int) -> HookFn:
        def hook(z: Tensor) -> Tensor:
            moved = torch.lerp(part.z[layer] if held else z, _ablated(part.z[layer], mean[layer]), share)
            seen.append(moved.requires_grad_() if held else moved)
            return seen[-1]

        return hook

    logits = model.run(part.ids, {("z", layer): keep(layer) for layer in layers}, grad=True)
    gradients = torch.autograd.grad(nats(logits, part.ids).sum(), seen)
    changes = [_ablated(z, m) - z for z, m in zip(part.z, mean, strict=True)]
    return torch.stack(
        [(g.float() * change.float()).sum((1, 3)) for g, change in zip(gradients, changes, strict=True)], 1
    )


def _ablated(z: Tensor, mean: Tensor) -> Tensor:
    out = mean.to(z.dtype).expand_as(z).clone()
    out[:, 0] = z[:, 0]
    return out


def exact(
    model: Model, found: list[Part], mean: list[Tensor], heads: Bools, *, held: bool, progress: Progress, words: str
) -> Floats:
    """Exact change of the loss for these heads [layer head], total or (`held`) direct: [window layer head]."""
    out = []
    for number, part in enumerate(found):
        progress(number, len(found), words)
        change = torch.full((len(part.ids), *heads.shape), torch.nan)
        for layer in range(len(heads)):
            some = np.flatnonzero(heads[layer]).tolist()
            size = max(1, sides.ROWS // part.ids.numel())
            for start in range(0, len(some), size):
                own = some[start : start + size]
                loss = _loss(model, part, mean, layer, own, held)  # [head window]
                change[:, layer, own] = (loss - part.loss).T.cpu()
        out.append(change)
    progress(len(found), len(found), words)
    result: Floats = torch.cat(out).numpy()
    return result


def _loss(model: Model, part: Part, mean: list[Tensor], layer: int, heads: list[int], held: bool) -> Tensor:
    times = len(heads)
    donor = _ablated(part.z[layer], mean[layer])
    hooks: dict[tuple[str, int], HookFn] = {("z", layer): sides.swap(heads, donor)}
    if held:
        for later in range(layer + 1, len(part.z)):
            hooks["z", later] = _constant(part.z[later], times)
    start = (layer, sides.repeat(part.residual[layer], times))
    ids = sides.repeat(part.ids, times)
    return nats(model.run(ids, hooks, start=start), ids).view(times, -1)


def _constant(values: Tensor, times: int) -> HookFn:
    return lambda z: sides.repeat(values, times).to(z.dtype)
