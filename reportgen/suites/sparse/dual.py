"""The constraint: how strongly sparsity is asked for, steered so that the loss stays within the slack.

    minimise over weights   CE(sampled gates) + w * S        S: expected edges per token, all heads together
    every few steps         d = CE(hard gates) - CE(dense) - slack on held-out text;   log w -= RATE * clip(ema(d))

The loss of SAMPLED gates cannot steer: gate noise alone costs more than the slack, and w would fall to its floor
(measured). Steering by hard gates on held-out text is ours, not the paper's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

EVERY = 5  # steps between two dual steps
_START = math.log(1e-3)
_LOW, _HIGH = -10.0, 3.0  # bounds of log w
_RATE = 0.15
_MEMORY = 0.8  # of the moving mean of d
_FULL = 0.01  # nats of excess at which the step is full


@dataclass
class Dual:
    """The multiplier: `weight` is w; `excess_nats` is the moving mean of d."""

    log_weight: float = _START
    excess_nats: float = 0.0

    @property
    def weight(self) -> float:
        return math.exp(self.log_weight)

    def step(self, excess_nats: float) -> None:
        """One dual step with d = `excess_nats`: above zero the weight of sparsity shrinks, below it grows."""
        self.excess_nats = _MEMORY * self.excess_nats + (1 - _MEMORY) * excess_nats
        moved = self.log_weight - _RATE * max(-1.0, min(1.0, self.excess_nats / _FULL))
        self.log_weight = max(_LOW, min(_HIGH, moved))
