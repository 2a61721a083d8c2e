"""The plan of one phase of training: its rates, its lengths, and what the constraint allows at each step."""

from __future__ import annotations

from dataclasses import dataclass

WARMUP_STEPS = 50
_WARMUP_PART = 10  # a fitted run shorter than this many warm-ups has a shorter one
_AVERAGE = 100  # steps that the moving average of the weights reaches back
_SHORTEST = 15  # a fitted run shorter than this many of its averages has a shorter one
_CHOICES = 100  # a run is this many times as long as the steps between two choices of the kept step
_APART, _FITTED_APART = 5, 15  # steps between two of them at least: each reads all steering sequences
_DECAY = 0.6  # of the steps, at the end, over which the rate falls to zero
_FREE = 0.3  # of the last round of settling, at its end: the sparsity weight may fall as low as the loss needs


@dataclass(frozen=True)
class Schedule:
    """What a phase does: rates, lengths, and how often it looks and saves.

    After `steps` with sampled gates come `rounds` times `settle` steps with still ones. Each round starts at half the
    rate of the one before and falls to zero; the last one has no room above the slack.

    A `fitted` run starts from gates that cut already and may be some tens of steps long: it has a shorter warm-up, a
    shorter average and fewer choices. From dense weights these together cost loss (measured on a two-layer model in 240
    steps with a slack of 0.05 nats: 0.12 nats above the dense loss in place of 0.03).
    """

    steps: int
    lr: float
    batch: int  # sequences a step
    kl: float  # share of the loss that is KL to the dense model instead of the text's own loss
    seed: int
    log_every: int
    save_every: int
    settle: int = 0
    rounds: int = 1
    fitted: bool = False

    @property
    def total(self) -> int:
        return self.steps + self.rounds * self.settle

    def last_round(self, step: int) -> bool:
        """Whether `step` steps end in the last round of settling."""
        return self.settle > 0 and step > self.total - self.settle

    def has_floor(self, step: int) -> bool:
        """Whether the sparsity weight keeps its floor after `step` steps: while settling, but for the end."""
        return self.steps < step <= self.total - _FREE * self.settle

    def rate(self, step: int) -> float:
        """Learning rate of step `step` (from 0): linear warm-up, flat, then down to zero; settling: down throughout."""
        peak = self.lr
        if step < self.steps:
            left = (self.steps - step) / max(1.0, _DECAY * self.steps)
        else:
            done, step = divmod(step - self.steps, self.settle)
            left = 1 - step / self.settle
            peak = self.lr / 2**done
        warmup = min(WARMUP_STEPS, max(1, self.total // _WARMUP_PART)) if self.fitted else WARMUP_STEPS
        return peak * min(1.0, (step + 1) / warmup, left)

    def memory(self, step: int) -> float:
        """Share of the moving average of the weights that step `step` (from 0) leaves as it is."""
        reach = max(1.0, min(_AVERAGE, self.total / _SHORTEST)) if self.fitted else _AVERAGE
        return min(1 - 1 / reach, step / (step + 1))

    @property
    def choice_every(self) -> int:
        """Steps between two of those among which the kept one is chosen."""
        return max(_FITTED_APART if self.fitted else _APART, self.total // _CHOICES)

    def room(self, step: int) -> float:
        """The rate after `step` steps as a share of the highest; 0 where the rate starts anew and in the last round."""
        anew = step >= self.steps and (step - self.steps) % max(1, self.settle) == 0
        return 0.0 if anew or self.last_round(step) else self.rate(step) / self.lr
