"""One question answered many times, each time with other heads changed at the answer sites.

- Heads are changed where importance was read: at the last prompt token and at every answer token but the last. The
  prompt before is the same in every variant, so that its keys and values are computed once per question.
- Answers are teacher-forced: the log-probability of the right answer's tokens, whether greedy decoding would give that
  answer (every token the most likely one), and whether it would give what the intact model says. The last two are
  different things: a wrong answer may stay as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.models.past import Past
from reportgen.suites.cognitive.prompts import Encoded

if TYPE_CHECKING:
    from reportgen.models.model import Hooks, Model

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
_STACK_BYTES = 256 << 20  # logits of one forward pass


@dataclass(frozen=True)
class Variants:
    """What is done to z in each variant: z -> keep * z + fill_in * mean. keep, fill_in [variant layer head]."""

    keep: npt.NDArray[np.float32]
    fill_in: npt.NDArray[np.float32]

    @staticmethod
    def removed(sets: Sequence[Sequence[int]], shape: tuple[int, int], how: str, scale: float) -> Variants:
        """Sets of flat head numbers: replaced by the mean (`how` = "mean") or scaled to `scale` (`how` = "scale")."""
        flat = np.zeros((len(sets), shape[0] * shape[1]), np.float32)
        for row, heads in zip(flat, sets, strict=True):
            row[list(heads)] = 1
        off = flat.reshape(-1, *shape)
        return Variants(1 - off, off) if how == "mean" else Variants(1 - (1 - scale) * off, np.zeros_like(off))

    @staticmethod
    def stacked(parts: Sequence[Variants]) -> Variants:
        """All variants of several plans, in order."""
        return Variants(np.concatenate([p.keep for p in parts]), np.concatenate([p.fill_in for p in parts]))

    def __len__(self) -> int:
        return len(self.keep)

    def __getitem__(self, part: slice) -> Variants:
        return Variants(self.keep[part], self.fill_in[part])


@dataclass(frozen=True)
class Outcome:
    """Per variant: log-probability of the right answer in nats, right, and the same as the intact model's answer."""

    logprob: Floats
    right: Bools
    unchanged: Bools


class Question:
    """One encoded row whose answer is read again and again."""

    def __init__(self, model: Model, row: Encoded, mean: Tensor, *, cached: bool) -> None:
        """mean [layer head d_head]: what a head's z is replaced by."""
        self.model, self.mean = model, mean.to(model.device)
        ids = torch.tensor([row.ids])
        self.past = Past(model, ids[:, : row.first], cached=cached)
        self.answer = ids[:, row.first + 1 :].to(model.device)  # [1 token]
        self.asked = ids[:, row.first : -1].to(model.device)  # [1 token], the last prompt token first
        nothing = Variants(*(np.zeros((1, *mean.shape[:2]), np.float32) + x for x in (1, 0)))
        logits = self._logits(self.asked, nothing)
        self.intact = float(_logprob(logits, self.answer)[0])
        self.said = self._greedy(logits)
        self.right = bool((self.said == self.answer).all())

    def _greedy(self, logits: Tensor) -> Tensor:
        """What the intact model says, as many tokens as the right answer has: [1 token]."""
        said = logits.argmax(-1)
        if bool((said == self.answer).all()):
            return said
        given = self.asked[:, :1]
        while given.shape[1] <= self.answer.shape[1]:
            given = torch.cat([given, self.past.run(given)[:, -1:].argmax(-1)], dim=1)
        return given[:, 1:]

    def outcome(self, variants: Variants) -> Outcome:
        """The answer under every variant."""
        parts = []
        vocabulary = self.model.record.d_vocab
        step = max(1, min(128, _STACK_BYTES // (4 * vocabulary * self.answer.shape[1])))
        for start in range(0, len(variants), step):
            some = variants[start : start + step]
            logits = self._logits(self.asked, some)  # [variant token vocab]
            greedy = logits.argmax(-1)
            right = (greedy == self.answer).all(1)
            unchanged = right if self.right else self._unchanged(some, greedy)
            parts.append(torch.stack([_logprob(logits, self.answer), right.float(), unchanged.float()]))
        logprob, right, unchanged = torch.cat(parts, 1).cpu()  # [variant] each, copied from the device at once
        return Outcome(logprob.double().numpy(), right.bool().numpy(), unchanged.bool().numpy())

    def _unchanged(self, variants: Variants, greedy: Tensor) -> Tensor:
        if self.answer.shape[1] == 1:
            return (greedy == self.said).all(1)
        given = torch.cat([self.asked[:, :1], self.said[:, :-1]], dim=1)
        return (self._logits(given, variants).argmax(-1) == self.said).all(1)

    def _logits(self, given: Tensor, variants: Variants) -> Tensor:
        return self.past.run(given.expand(len(variants), -1), self._hooks(variants))

    def _hooks(self, variants: Variants) -> Hooks:
        return _edits(variants, self.mean)


def _edits(variants: Variants, mean: Tensor) -> Hooks:
    """Hooks on the layers that any variant touches; mean [layer head d_head] lies on the model's device."""
    touched = (variants.keep != 1).any((0, 2)) | (variants.fill_in != 0).any((0, 2))
    keep, filled = (torch.from_numpy(part).to(mean.device) for part in (variants.keep, variants.fill_in))
    return {
        ("z", layer): _Edit(keep[:, layer, None, :, None], filled[:, layer, None, :, None] * mean[layer])
        for layer in np.flatnonzero(touched).tolist()
    }


@dataclass(frozen=True)
class _Edit:
    keep: Tensor  # [variant 1 head 1]
    fill: Tensor  # [variant 1 head d_head]

    def __call__(self, z: Tensor) -> Tensor:
        return (z * self.keep + self.fill).to(z.dtype)


def _logprob(logits: Tensor, answer: Tensor) -> Tensor:
    """[variant] summed over the answer's tokens [1 token]."""
    chosen = logits.log_softmax(-1).gather(-1, answer.expand(len(logits), -1)[..., None])
    return chosen[..., 0].sum(1)


def neutral_loss(model: Model, texts: Sequence[Sequence[int]], mean: Tensor, variants: Variants, batch: int) -> Floats:
    """Mean next-token loss in nats on plain texts, every position changed: what removing heads costs in general."""
    total, tokens = np.zeros(len(variants)), 0
    mean = mean.to(model.device)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), batch):
        some = [list(texts[i]) for i in order[start : start + batch]]
        length = max(len(t) for t in some)
        ids = torch.tensor([t + t[-1:] * (length - len(t)) for t in some], device=model.device)
        real = torch.arange(1, length)[None] < torch.tensor([len(t) for t in some])[:, None]
        tokens += int(real.sum())
        places = real.flatten().nonzero()[:, 0].to(model.device)
        sums = []
        for v in range(len(variants)):
            logits = model.run(ids, _edits(variants[v : v + 1], mean))[:, :-1]
            losses = -logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
            sums.append(losses.flatten()[places].sum())
        total += torch.stack(sums).cpu().double().numpy()
    return total / max(tokens, 1)
