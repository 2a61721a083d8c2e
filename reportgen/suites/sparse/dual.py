"""The constraint: how strongly sparsity is asked for, steered so that the loss stays within the slack.

    minimise over weights   CE(sampled gates) + w * S        S: expected edges per token, all heads together
    every few steps         d = CE(hard gates) - CE(dense) - slack on the next chunk of held-out text
                            log w -= RATE * clip(mean of d over the last round of chunks)

- The loss of SAMPLED gates cannot steer: gate noise alone costs more than the slack, and w would fall to its floor
  (measured). Steering by hard gates on held-out text is ours, not the paper's.
- w starts low, so that edges close one after the other while the loss can follow: a gate that was shut in a rush has no
  gradient left to open it again (measured: 12 % of the edges left and the loss stuck 0.05 nats above the limit).
- A whole round is averaged before it is clipped: d varies between chunks by more than the slack and is skewed, and
  clipping single chunks steers by their median, which lets the mean drift above the slack (measured).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

EVERY = 5  # training steps between two dual steps
_START = 0.1  # nats that all gates open would cost at first
_LOW, _HIGH = -14.0, 3.0  # bounds of log w
_RATE = 0.05
_FULL = 0.02  # nats of excess at which the step is full


class Dual:
    """The multiplier: `weight` is w; `recent` holds d of the last round of `chunks` dual steps."""

    def __init__(self, chunks: int, log_weight: float, recent: Sequence[float] = ()) -> None:
        self.chunks, self.log_weight, self.recent = chunks, log_weight, list(recent)

    @classmethod
    def start(cls, chunks: int, edges_per_token: float) -> Dual:
        """The first one; `edges_per_token` is S with every gate open."""
        return cls(chunks, math.log(_START / edges_per_token))

    @property
    def weight(self) -> float:
        return math.exp(self.log_weight)

    def step(self, excess_nats: float) -> None:
        """One dual step with d = `excess_nats`: above zero the weight of sparsity shrinks, below it grows."""
        self.recent = [*self.recent, excess_nats][-self.chunks :]
        mean = sum(self.recent) / len(self.recent)
        moved = self.log_weight - _RATE * max(-1.0, min(1.0, mean / _FULL))
        self.log_weight = max(_LOW, min(_HIGH, moved))
