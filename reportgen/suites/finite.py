"""What suites do about numbers that are not finite: they refuse in one line, or leave the heads concerned out.

A NaN compares false with everything, so a damaged head would pass for one that does nothing, or for one that no
permuted score ever reaches. Every suite looks before it counts:

relations   reads weights, head by head: a head whose own are not finite is left out, the others are scored
attention   reads activations: heads whose attention is not finite are left out
circuits, cognitive, sparse   compare logits: a model whose logits are not finite is refused
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from reportgen.errors import NotApplicable
from reportgen.models.selfcheck import NOT_FINITE
from reportgen.scores import head_name

if TYPE_CHECKING:
    from reportgen.models.model import Model

SHOWN = 3  # names in a reason


def require_logits(model: Model) -> None:
    """NotApplicable where the self-check found logits that are not finite."""
    check = model.record.self_check
    if check is not None and check.note == NOT_FINITE:
        raise NotApplicable(f"the model's logits are not finite: {why(model)}")


def require(model: Model, what: str, *values: torch.Tensor | npt.NDArray[np.floating]) -> None:
    """NotApplicable where any of `values` is NaN or infinite; `what` names them in the plural."""
    if not all(bool(torch.as_tensor(value).isfinite().all()) for value in values):
        raise NotApplicable(f"{what} are not finite: {why(model)}")


def why(model: Model) -> str:
    """Which weights are not finite, or that activations overflow."""
    tensors: dict[str, torch.Tensor] = getattr(model.source, "tensors", {})
    broken = [name for name, t in tensors.items() if t.is_floating_point() and not bool(t.isfinite().all())]
    if broken:
        more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        return f"NaN or infinite values in {', '.join(broken[:SHOWN])}{more}."
    number = model.record.dtype
    hint = " Try --dtype float32." if number != "float32" else ""
    return f"all weights are finite, so activations overflow {number}.{hint}"


def reasons(left_out: npt.NDArray[np.bool_], words: str) -> dict[str, str]:
    """Head name -> `words` for every head that `left_out` [layer head] marks."""
    marked: Iterable[list[int]] = np.argwhere(left_out).tolist()
    return {head_name(layer, head): words for layer, head in marked}
