"""How fast this machine is, measured in a fraction of a second before a run: what estimates of time are made with."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from reportgen.suites.cost import Speeds

REPEATS = 5  # the median of so many


def measure(device: torch.device) -> Speeds:
    """Multiply-adds per second of one float32 product, numbers per second, seconds per small operation; about 0.2 s."""
    size = 768 if device.type == "cpu" else 4096
    square, row = torch.ones(size, size, device=device), torch.ones(2**22, device=device)
    small, weight = torch.ones(64, 128, device=device), torch.ones(128, 128, device=device)

    def calls() -> torch.Tensor:
        x = small
        for _ in range(100):
            x = torch.nn.functional.layer_norm(x @ weight, (128,))
        return x

    product = _seconds(lambda: square @ square)
    element = _seconds(lambda: (row * row).sum())
    return Speeds(size**3 / product, row.numel() / element, _seconds(calls) / 200)


def _seconds(work: Callable[[], torch.Tensor]) -> float:
    """Median seconds of `work`, its result read so that a GPU has finished."""
    work().flatten()[0].item()
    took = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work().flatten()[0].item()
        took.append(time.perf_counter() - started)
    return sorted(took)[REPEATS // 2]
