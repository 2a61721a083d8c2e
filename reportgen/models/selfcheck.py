"""One batch's logits through the bridge, on the run's device, against Hugging Face's own forward pass on the CPU.

The reference is taken before the weights are moved and before the bridge rewires the model: they are in memory once,
and what a device computes wrongly is seen.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from reportgen.manifest import SelfCheck

FP32_TOLERANCE = 1e-3  # |logit difference|
HALF_TOLERANCE = 0.01  # of the reference logits' standard deviation
STEPS = 4  # of the number type at the largest logit: what the order of sums changes in half precision
BATCH, POSITIONS = 2, 32
NOT_FINITE = "logits are not finite: weights or activations hold NaN or infinite values"


def sample_ids(size: int, n_ctx: int) -> Tensor:
    """[2 32] ids spread over the vocabulary, the same every time; shorter where the context is."""
    count = min(POSITIONS, n_ctx)
    steps = torch.arange(BATCH * count) * 7919 + 11  # 7919 is prime: neighbours are far apart
    return (steps % size).view(BATCH, count)  # [batch pos]


@torch.no_grad()
def reference(hf_model: Any, ids: Tensor) -> Tensor:
    """[batch pos vocab] float32 on the CPU, by Hugging Face's own forward on the device where the weights lie."""
    out: Tensor = hf_model(ids.to(hf_model.device), use_cache=False).logits
    return out.float().cpu().clone()


def compare(expected: Tensor, got: Tensor, dtype: torch.dtype) -> SelfCheck:
    """How far the bridge's logits are from the reference, and whether that is close enough for `dtype`."""
    got = got.float().cpu()
    tokens = expected.shape[0] * expected.shape[1]
    if not (torch.isfinite(expected).all() and torch.isfinite(got).all()):
        return SelfCheck(0.0, 0.0, 0.0, 0, False, NOT_FINITE)
    std = float(expected.std())
    tolerance = FP32_TOLERANCE if dtype == torch.float32 else HALF_TOLERANCE * std
    tolerance = max(tolerance, STEPS * step_at(float(expected.abs().max()), dtype))
    largest = float((expected - got).abs().max())
    return SelfCheck(largest, std, tolerance, tokens, largest < tolerance)


def step_at(value: float, dtype: torch.dtype) -> float:
    """The distance from `value` to the next larger number of this type (in subnormals: at most)."""
    exponent = math.frexp(abs(value))[1] - 1  # value in [2^exponent, 2^(exponent + 1))
    return float(torch.finfo(dtype).eps) * 2.0**exponent if value else 0.0


def not_run(why: str) -> SelfCheck:
    """A self-check that could not be run, with the reason."""
    return SelfCheck(0.0, 0.0, 0.0, 0, False, why)
