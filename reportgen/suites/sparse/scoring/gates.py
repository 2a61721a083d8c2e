"""One gate per attention edge: open where score + bias > 0, with no renormalisation of the row.

    z[q, k] = s[q, k] + bias                                s: the very tensor that enters the softmax, masked
    training   A = 1[z + n > 0], n = logit(U)               straight through: its gradient is that of sigmoid(z + n)
    settling   A = 1[z > 0]                                 the same without noise (ours)
    analysis   A = 1[z > 0]
    out[q] = sum_k A[q, k] softmax(s[q])[k] v[k]            rows sum to at most 1; a head may be silent

Our own implementation of the idea of Draye et al., arXiv 2512.05865, section 3; the gate is SPARTAN's, arXiv
2411.06890. Shapes: scores, patterns and gates are [batch head query key].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from reportgen.errors import NotApplicable
from reportgen.models.model import HookFn, Model
from reportgen.suites.sparse.facts import CONFIG_KEY, RULE, gate_numbers

MASKED = -1e4  # what a masked score counts as: sigmoid and its gradient are exactly 0 there, never NaN
EPSILON = 1e-6  # noise stays this far from 0 and 1

STILL: Final = "still"  # in place of a generator of noise: hard gates with the gradient of sigmoid(z)
Noise = torch.Generator | Literal["still"]
Rule = Callable[[Tensor, Tensor], Tensor]  # (scores, pattern) -> the pattern that is used
Edit = Callable[[int, Tensor], Tensor | None]  # (layer, used pattern) -> a replacement or None


@dataclass(frozen=True)
class Gate:
    """The gate of a sparse checkpoint: without it the weights are another model's.

    bias        added to every score; the same for all edges, not learned
    slack_nats  loss above the dense model's that training allowed
    """

    bias: float = 0.0
    slack_nats: float = 0.01
    rule: str = RULE

    def __call__(self, scores: Tensor, pattern: Tensor) -> Tensor:
        """`pattern` with the edges of closed gates at exactly 0."""
        return pattern * self.opened(scores)

    def opened(self, scores: Tensor) -> Tensor:
        """Which gates are open, bool; a masked pair's never is."""
        return scores.float() > max(-self.bias, MASKED)

    def as_config(self) -> dict[str, Any]:
        """The entry of config.json."""
        return asdict(self)


def gate_of(config: Any, label: str) -> Gate | None:
    """The gate in a model's config, None where it has none. ModelError when it is not one this program knows."""
    found = getattr(config, CONFIG_KEY, None)
    if found is None:
        return None
    return Gate(*gate_numbers(found, label))


def every_edge(scores: Tensor, pattern: Tensor) -> Tensor:
    """The dense model's rule: all gates open."""
    del scores
    return pattern


def above(threshold: float) -> Rule:
    """The control without training: edges of weight below `threshold` are dropped, rows not renormalised."""
    return lambda _, pattern: torch.where(pattern >= threshold, pattern, 0.0)


def renormalised(threshold: float) -> Rule:
    """The same with every row brought back to 1; a row without an edge stays empty."""

    def rule(scores: Tensor, pattern: Tensor) -> Tensor:
        kept = above(threshold)(scores, pattern)
        return kept / kept.sum(-1, keepdim=True).clamp_min(1e-12)

    return rule


def hooks(model: Model, rule: Rule, edit: Edit | None = None) -> dict[tuple[str, int], HookFn]:
    """Two hooks a layer that put `rule` between softmax and values; `edit` then sees, and may replace, what is used.

    Raises NotApplicable where the family's pattern cannot be written.
    """
    if not model.can_edit_pattern:
        raise NotApplicable(f"Attention edges can't be gated in {model.record.family} models: their scores are hidden.")
    made: dict[tuple[str, int], HookFn] = {}
    for layer in range(model.record.n_layers):
        made["scores", layer], made["pattern", layer] = _two(layer, rule, edit)
    return made


def _two(layer: int, rule: Rule, edit: Edit | None) -> tuple[HookFn, HookFn]:
    seen: list[Tensor] = []

    def remember(scores: Tensor) -> None:
        seen[:] = [scores]

    def apply(pattern: Tensor) -> Tensor:
        used = rule(seen.pop(), pattern).to(pattern.dtype)
        if edit is None:
            return used
        edited = edit(layer, used)
        return used if edited is None else edited

    return remember, apply


def uniform_of(noise: Noise, scores: Tensor) -> Tensor:
    """The noise of `straight_through` for scores of any shape: drawn, or 0.5 throughout (logit 0) for STILL."""
    if isinstance(noise, torch.Generator):
        return torch.rand(scores.shape, generator=noise, device=scores.device)
    return torch.full(scores.shape, 0.5, device=scores.device)


def straight_through(scores: Tensor, bias: float, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """(sampled gates, expected gates) of scores with noise `uniform` in (0, 1), all [batch head query key].

    Sampled gates are 0 or 1 with the gradient of sigmoid(z + logit(uniform)); expected ones are sigmoid(z).
    """
    z = scores.float().clamp_min(MASKED) + bias
    soft = torch.sigmoid(z + uniform.clamp(EPSILON, 1 - EPSILON).logit())
    return (soft > 0.5).float() + (soft - soft.detach()), torch.sigmoid(z)  # the bracket is exactly 0
