"""The constraint: how strongly sparsity is asked for, steered so that the loss stays within the slack.

    minimise over weights   CE(sampled gates) + w * S        S: expected edges per token, all heads together
    every few steps         d = CE(hard gates) - CE(dense) - limit on the next chunk of held-out text
                            log w -= rate * clip(mean of d over the last round of chunks)
                            limit = slack + ROOM * rate / highest rate

- The loss of SAMPLED gates cannot steer: gate noise alone costs more than the slack, and w would fall to its floor
  (measured). Steering by hard gates on held-out text is ours, not the paper's.
- w starts low, so that edges close one after the other while the loss can follow: a gate that was shut in a rush has no
  gradient left to open it again (measured: 12 % of the edges left and the loss stuck 0.05 nats above the limit).
- The limit is wider while the learning rate is high: what its noise costs comes back when the rate falls, and with the
  bare slack w sank to nothing (measured on the bundled model: 0.02 nats above the dense loss with every edge allowed).
- The first steps have a fixed w: gates that shut on a model that never saw them cost whole nats until it has adapted.
- While settling, w keeps a floor until the last steps: with none it sank so low that edges opened again for next to no
  loss (measured on the bundled model: from 0.95 % to 2.4 % of them in one round). It goes in time for a loss that is
  still too high to come down.
- A whole round is averaged before it is clipped: d varies between chunks by more than the slack and is skewed, and
  clipping single chunks steers by their median, which lets the mean drift above the slack (measured).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

EVERY = 5  # training steps between two dual steps
ROOM = 0.03  # nats added to the slack at the highest learning rate
AIM = 0.75  # share of the slack that the last round of settling is steered to, so that a step surely within it is found
HOLD = 150  # steps before the first dual step, at most a tenth of all
_START = 0.2  # nats that all gates open would cost at first
_LEAST = 0.3  # nats that they cost at least while w has its floor
_LOW, _HIGH = -14.0, 3.0  # bounds of log w
_FASTEST = 0.2  # most that one dual step moves log w
_TRAVEL = 100.0  # that times the training steps: longer runs go slower and overshoot less
_FULL = 0.02  # nats of excess at which the step is full


class Dual:
    """The multiplier: `weight` is w; `recent` holds d of the last round of `chunks` dual steps."""

    def __init__(self, chunks: int, log_weight: float, recent: Sequence[float] = (), steps: int = 0) -> None:
        self.chunks, self.log_weight, self.recent = chunks, log_weight, list(recent)
        self.floor = _LOW
        self.pace(steps)

    @classmethod
    def start(cls, chunks: int, edges_per_token: float, steps: int = 0) -> Dual:
        """The first one of a run of `steps` training steps; `edges_per_token` is S with every gate open."""
        return cls(chunks, math.log(_START / edges_per_token), steps=steps)

    def keep(self, edges_per_token: float | None) -> None:
        """Give w its floor, or take it away (None); `edges_per_token` is S with every gate open."""
        self.floor = _LOW if edges_per_token is None else math.log(_LEAST / edges_per_token)

    def pace(self, steps: int) -> None:
        """Set the speed for `steps` training steps."""
        self.rate = min(_FASTEST, _TRAVEL / max(1, steps))

    @property
    def weight(self) -> float:
        return math.exp(self.log_weight)

    def step(self, excess_nats: float) -> None:
        """One dual step with d = `excess_nats`: above zero the weight of sparsity shrinks, below it grows."""
        self.recent = [*self.recent, excess_nats][-self.chunks :]
        mean = sum(self.recent) / len(self.recent)
        moved = self.log_weight - self.rate * max(-1.0, min(1.0, mean / _FULL))
        self.log_weight = max(self.floor, min(_HIGH, moved))
