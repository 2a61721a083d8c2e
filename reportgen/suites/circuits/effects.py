"""Direct effects of heads on the logits, by path patching, and direct logit attribution.

- With the z of every other head held at its clean value nothing mixes positions: what happens at the position read
  depends on the residual stream there and on nothing else, and below the sender nothing changes. So one token per
  prompt runs from the sender's block on, whose clean input is written in, and all heads of a layer share a batch.
  `frozen_error` says how exactly that returns the clean m.
- Cost: one token per head and prompt, through the blocks from the sender's on (half of them on average) and the
  unembedding. A patched pass over the whole prompt would take as many times that as the prompt has tokens.
- Source: Wang et al. 2022 (arXiv 2211.00593), section 3.1 (sender head -> logits; MLPs and final norm recompute).
- Sign: m_clean - m_patched, so what supports the answer is positive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.errors import NotApplicable
from reportgen.suites.circuits.tasks import Task
from reportgen.suites.circuits.traces import Metric, Trace

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model

Floats = npt.NDArray[np.float32]
LOGIT_BUDGET = 2**26  # logits per forward pass: 256 MB as float32


@dataclass(frozen=True, eq=False)
class Direct:
    """Direct effects, in units of the metric.

    effects       [prompt layer head] m_clean - m_patched
    frozen_error  largest |m - m_clean| when every head keeps its clean z: 0 but for rounding
    """

    effects: Floats
    frozen_error: float


def direct_effects(
    model: Model,
    task: Task,
    clean: Trace,
    corrupted: Trace,
    batch: int,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Direct:
    """Path patching sender -> logits, for every prompt and every head: exact, whatever the model's size.

    Raises NotApplicable when holding every head at its clean output does not give the clean run back.
    """
    frozen = _Frozen(model, task, clean, corrupted)
    count, layers, heads, _ = clean.z.shape
    effects = np.empty((count, layers, heads), np.float32)
    size = max(1, min(batch * heads, LOGIT_BUDGET // model.record.d_vocab))
    everyone = torch.arange(count, device=model.device)
    error = float(torch.cat([(frozen.m(part) - clean.m[part]).abs() for part in torch.split(everyone, size)]).max())
    if error > _tolerance(model, clean):
        raise NotApplicable(f"with every head held at its clean output the metric is off by up to {error:.2g}")
    rows = everyone.repeat(heads)  # all prompts for the first head, then for the second, ...
    senders = torch.arange(heads, device=model.device).repeat_interleave(count)
    for layer in range(layers):
        progress(layer, layers, f"{task.title}: direct effects")
        both = zip(torch.split(rows, size), torch.split(senders, size), strict=True)
        change = clean.m[rows] - torch.cat([frozen.m(r, layer, s) for r, s in both])
        effects[:, layer] = change.reshape(heads, count).T.cpu().numpy()
    progress(layers, layers, f"{task.title}: direct effects")
    return Direct(effects, error)


class _Frozen:
    """Runs of the position read alone, with every head's z given."""

    def __init__(self, model: Model, task: Task, clean: Trace, corrupted: Trace) -> None:
        self.model, self.clean, self.corrupted = model, clean, corrupted
        self.metric = Metric(task, model.device)
        self.ends = torch.tensor([pair.clean[pair.read] for pair in task.pairs], device=model.device)

    def m(self, rows: Tensor, layer: int = 0, senders: Tensor | None = None) -> Tensor:
        """m [row] from block `layer` on with every z clean, but for its head `senders[i]` in row i."""
        hooks: dict[tuple[str, int], HookFn] = {
            ("z", above): self._write(rows, above, senders if above == layer else None)
            for above in range(layer, self.clean.z.shape[1])
        }
        start = (layer, self.clean.residual[rows, layer, None])
        return self.metric(self.model.run(self.ends[rows, None], hooks, start=start)[:, 0], rows)

    def _write(self, rows: Tensor, layer: int, senders: Tensor | None) -> HookFn:
        """A hook that writes a layer's clean z, and in row i the corrupted z of head `senders[i]`."""

        def write(given: Tensor) -> Tensor:
            z = self.clean.z[rows, layer]  # [row head d_head]
            if senders is not None:
                each = torch.arange(len(rows), device=self.model.device)
                z[each, senders] = self.corrupted.z[rows, layer, senders]
            return z[:, None].to(given.dtype)

        return write


def _tolerance(model: Model, clean: Trace) -> float:
    """How far the frozen run may be from the clean one: rounding, by the precision the model runs in."""
    scale = max(1.0, float(clean.m.abs().max()))
    return scale * (1e-3 if model.record.dtype in ("float32", "float64") else 0.1)


@dataclass(frozen=True, eq=False)
class Attributions:
    """Direct logit attribution of each head's change between the prompts, [prompt layer head], in logits.

    answer, foil  to the answer's and to the foil's logit, each less the mean over the task's words:
                  (z_clean - z_corrupted) W_O through the clean prompt's final norm, its scale frozen, onto the
                  unembedding (means over sets); past no MLP
    """

    answer: Floats
    foil: Floats

    @property
    def metric(self) -> Floats:
        """To the logit difference: what is written for the answer, less what is written for the foil."""
        return self.answer - self.foil


def attributions(model: Model, task: Task, clean: Trace, corrupted: Trace) -> Attributions:
    """Direct logit attribution of every head.

    Raises NotApplicable where a norm stands between W_O and the residual stream: one head's part is not linear then.
    """
    if model.post_attn_scale(0) is not None:
        raise NotApplicable("a norm follows W_O in this family, so one head's part of the logits is not linear")
    toward = directions(model, task, clean.final)  # two of [prompt d_model]
    out = np.empty((2, *clean.z.shape[:3]), np.float32)
    for layer in range(model.record.n_layers):
        change = clean.z[:, layer] - corrupted.z[:, layer]  # [prompt head d_head]
        W_O = model.W_O(layer)
        for which, direction in enumerate(toward):
            reader = torch.einsum("nhd,pd->pnh", W_O, direction)
            out[which, :, layer] = (change * reader).sum(-1).cpu().numpy()
    return Attributions(out[0], out[1])


def directions(model: Model, task: Task, final: Tensor) -> tuple[Tensor, Tensor]:
    """Per prompt, the residual-stream directions [prompt d_model] whose product with an addend is its part of the
    answer's and of the foil's logit, each less the mean over the task's words; the final norm frozen at `final`."""
    W_U = model.W_U()
    answer = torch.stack([W_U[:, list(pair.answer_ids)].mean(1) for pair in task.pairs])
    foil = torch.stack([W_U[:, list(pair.foil_ids)].mean(1) for pair in task.pairs])
    words = W_U[:, list(task.words)].mean(1) if task.words else W_U.mean(1)
    return _through_norm(model, final, answer - words), _through_norm(model, final, foil - words)


def _through_norm(model: Model, final: Tensor, toward: Tensor) -> Tensor:
    """`toward` [prompt d_model], given after the final norm, as a direction before it."""
    scale = model.final_scale()
    toward = toward if scale is None else toward * scale
    eps = norm_epsilon(model)
    if is_rms(model):
        return toward / (final.square().mean(1, keepdim=True) + eps).sqrt()
    toward = toward - toward.mean(1, keepdim=True)  # centring the addend is centring the direction
    return toward / (final.var(1, unbiased=False, keepdim=True) + eps).sqrt()


def is_rms(model: Model) -> bool:
    """Whether the final norm divides by the root mean square without centring (Hugging Face names its epsilon so)."""
    return hasattr(model.config, "rms_norm_eps")


def norm_epsilon(model: Model) -> float:
    """The final norm's epsilon."""
    names = ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon")
    return float(next((getattr(model.config, name) for name in names if hasattr(model.config, name)), 1e-5))
