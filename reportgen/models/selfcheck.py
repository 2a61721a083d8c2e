"""Whether a model's numbers can be trusted: its logits against Hugging Face's own, and what is done where they are NaN.

The self-check compares one batch's logits through the bridge, on the run's device, with Hugging Face's own forward pass
on the CPU. The reference is computed before the weights are moved and before the bridge rewires the model: weights are
in memory only once, and errors of the device are detected.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.errors import NotApplicable
from reportgen.manifest import SelfCheck
from reportgen.scores import head_name

if TYPE_CHECKING:
    from reportgen.models.model import Model


FP32_TOLERANCE = 1e-3  # |logit difference|
HALF_TOLERANCE = 0.01  # of the reference logits' standard deviation
STEPS = 4  # of the number type at the largest logit: what the order of sums changes in half precision
BATCH, POSITIONS = 2, 32
NOT_FINITE = "logits are not finite: weights or activations hold NaN or infinite values"


def sample_ids(size: int, n_ctx: int) -> Tensor:
    """[2 32] ids spread over the vocabulary, the same every time; shorter for a shorter context."""
    count = min(POSITIONS, n_ctx)
    steps = torch.arange(BATCH * count) * 7919 + 11  # 7919 is prime: neighbours are far apart
    return (steps % size).view(BATCH, count)  # [batch pos]


@torch.no_grad()
def reference(hf_model: Any, ids: Tensor) -> Tensor:
    """[batch pos vocab] float32 on the CPU, by Hugging Face's own forward pass on the device of the weights."""
    out: Tensor = hf_model(ids.to(hf_model.device), use_cache=False).logits
    return out.float().cpu().clone()


def compare(expected: Tensor, got: Tensor, dtype: torch.dtype) -> SelfCheck:
    """The distance of the bridge's logits from the reference, and whether it is within the tolerance for `dtype`."""
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


# How suites handle non-finite numbers: they refuse in one line, or leave out the affected heads.
#
# A NaN compares false with everything, so a damaged head would look inactive, or like one that no permuted score ever
# reaches. Every suite checks first:
#
# relations   reads weights, head by head: a head whose own are not finite is left out, the others are scored
# attention   reads activations: heads whose attention is not finite are left out
# circuits, cognitive, sparse   compare logits: a model whose logits are not finite is refused

SHOWN = 3  # names in a reason


def require_finite_logits(model: Model) -> None:
    """NotApplicable if the self-check found non-finite logits."""
    check = model.record.self_check
    if check is not None and check.note == NOT_FINITE:
        raise NotApplicable(f"the model's logits are not finite: {why_not_finite(model)}")


def require_finite(model: Model, what: str, *values: torch.Tensor | npt.NDArray[np.floating]) -> None:
    """NotApplicable if any of `values` is NaN or infinite; `what` names them in the plural."""
    if not all(bool(torch.as_tensor(value).isfinite().all()) for value in values):
        raise NotApplicable(f"{what} are not finite: {why_not_finite(model)}")


def why_not_finite(model: Model) -> str:
    """Which weights are not finite, or that activations overflow."""
    tensors: dict[str, torch.Tensor] = getattr(model.source, "tensors", {})
    broken = [name for name, t in tensors.items() if t.is_floating_point() and not bool(t.isfinite().all())]
    if broken:
        more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        return f"NaN or infinite values in {', '.join(broken[:SHOWN])}{more}."
    number = model.record.dtype
    hint = " Try --dtype float32." if number != "float32" else ""
    return f"all weights are finite, so activations overflow {number}.{hint}"


def reasons_for(left_out: npt.NDArray[np.bool_], words: str) -> dict[str, str]:
    """Head name -> `words` for every head that `left_out` [layer head] marks."""
    marked: Iterable[list[int]] = np.argwhere(left_out).tolist()
    return {head_name(layer, head): words for layer, head in marked}
