"""Prompts run up to their last position once; from there on a head's effect is one token.

Nothing comes after the last position, so what a head does there changes no other position: the keys and values of the
positions before are kept, and a run with one head's z replaced is a continuation of a single token, from the head's
own block on. The gradient of log P(answer) with respect to every head's z there is one token, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reportgen.aliases import Float32s
from reportgen.models.prefix_cache import Past, beside_logits, last_logits, runs_beside
from reportgen.suites.icl.tasks import Prompt

if TYPE_CHECKING:
    from reportgen.models.model import HookFn, Model

KEPT = 2**27  # float32 numbers of keys and values kept between passes: 512 MB
COPIED = 2**25  # float32 numbers of keys and values that one pass copies: 128 MB
LOGITS = 2**25  # float32 logits of one pass: 128 MB
MOST_BESIDE = 256  # variants side by side: each is masked from all others
PREFILL = 2048  # positions of one prefill
UNITS = ("nats", "probability", "logit")


@dataclass(eq=False)
class Side:
    """Prompts of one length in one version, run once.

    rows     their numbers in the task;  ids [row pos];  answers [row]
    z        per layer [row head d_head] at the last position;  residual: per layer [row d_model], the block's input
    base     [unit row] log P, P and logit of the answer;  first: [row] the answer has the highest logit
    """

    model: Model
    rows: npt.NDArray[np.int64]
    ids: Tensor
    answers: Tensor
    keep: bool
    z: list[Tensor] = field(default_factory=list)
    residual: list[Tensor] = field(default_factory=list)
    base: Tensor = field(default_factory=lambda: torch.empty(0))
    first: Tensor = field(default_factory=lambda: torch.empty(0))
    _past: Past | None = None

    @property
    def past(self) -> Past:
        """The positions before the last."""
        if self._past is not None:
            return self._past
        made = Past(self.model, self.ids[:, :-1], cached=self.model.keeps_past)
        if self.keep:
            self._past = made
        return made

    @contextmanager
    def opened(self) -> Iterator[Side]:
        """Within the block the positions before the last are run once, whether they are kept or not."""
        self._past = self.past
        try:
            yield self
        finally:
            if not self.keep:
                self._past = None

    def run(self) -> Side:
        """Fill in what the plain run gives."""
        kept: dict[tuple[str, int], Tensor] = {}

        def saw(at: tuple[str, int], tensor: Tensor) -> None:
            kept[at] = tensor[:, -1].detach().clone()

        layers = range(self.model.record.n_layers)
        hooks: dict[tuple[str, int], HookFn] = {
            (kind, i): partial(saw, (kind, i)) for kind in ("z", "resid_pre") for i in layers
        }
        logits = last_logits(self.past, self.ids[:, -1:], hooks)
        self.z, self.residual = ([kept[kind, i] for i in layers] for kind in ("z", "resid_pre"))
        self.base = read(logits, self.answers)
        self.first = (logits[:, : self.model.tokens.size].argmax(1) == self.answers).cpu()
        return self

    def free(self) -> None:
        """Forget the keys and values."""
        self._past = None


def read(logits: Tensor, answers: Tensor) -> Tensor:
    """[unit row]: log P, P and logit (above the mean of all) of each row's answer; logits [row vocab]."""
    own = logits.gather(1, answers[:, None])[:, 0]
    log_p = own - torch.stack([row.logsumexp(0) for row in logits])
    return torch.stack([log_p, log_p.exp(), own - logits.mean(1)])


def batches(model: Model, prompts: Sequence[Prompt], version: str) -> list[tuple[list[int], Tensor]]:
    """(numbers of the prompts, ids [row pos] of the version `clean` or `deranged`) in batches of one length."""
    by_length: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompts):
        by_length.setdefault(len(getattr(prompt, version)), []).append(row)
    made = []
    for length, rows in sorted(by_length.items()):
        size = max(1, PREFILL // length)
        for some in (rows[at : at + size] for at in range(0, len(rows), size)):
            ids = [getattr(prompts[i], version) for i in some]
            made.append((some, torch.tensor(ids, device=model.device)))
    return made


def sides(
    model: Model, prompts: Sequence[Prompt], version: str, keep: bool, told: Callable[[int], None] = lambda done: None
) -> list[Side]:
    """The prompts (`clean` or `deranged`) in batches of one length, each run once."""
    made = []
    for rows, ids in batches(model, prompts, version):
        answers = torch.tensor([prompts[i].answer for i in rows], device=model.device)
        made.append(Side(model, np.asarray(rows), ids, answers, keep).run())
        told(len(rows))
    return made


def numbers(model: Model, positions: int) -> int:
    """Numbers that the keys and values of so many positions are."""
    record = model.record
    return 2 * record.n_layers * record.n_kv_heads * record.d_head * positions


def stacked(found: Sequence[Side], n: int) -> Tensor:
    """z of all prompts of a task, [row layer head d_head] float32."""
    first = found[0].z
    out = torch.empty(n, len(first), *first[0].shape[1:], device=first[0].device)
    for side in found:
        out[torch.from_numpy(side.rows).to(out.device)] = torch.stack(side.z, 1).float()
    return out


def of_rows(found: Sequence[Side], n: int) -> Tensor:
    """[unit row] of all prompts of a task."""
    out = torch.empty(len(UNITS), n)
    for side in found:
        out[:, torch.from_numpy(side.rows)] = side.base.cpu()
    return out


def without_own(z: Tensor) -> Tensor:
    """Mean over the other prompts, per prompt: z [row ...] -> [row ...]. A prompt's own z holds its answer."""
    return (z.sum(0) - z) / (len(z) - 1)


# Gradients.

SHARES = (0.0, 0.5)  # on the way from z to the mean, all heads moved together, where gradients are taken


def screen(side: Side, toward: Tensor) -> Tensor:
    """(mean - z) . d log P(answer) / d z of every head at the last position, [row layer head].

    toward  [row layer head d_head], the means of the side's rows
    """
    change = [toward[:, i] - z.float() for i, z in enumerate(side.z)]
    parts = []
    for share in SHARES:
        seen: list[Tensor] = []

        def move(shift: Tensor, seen: list[Tensor], share: float, z: Tensor) -> Tensor:
            seen.append(z + share * shift[:, None].to(z.dtype))
            return seen[-1]

        hooks: dict[tuple[str, int], HookFn] = {
            ("z", i): partial(move, shift, seen, share) for i, shift in enumerate(change)
        }
        logits = last_logits(side.past, side.ids[:, -1:], hooks, grad=True)
        own = logits.gather(1, side.answers[:, None])[:, 0] - logits.logsumexp(1)
        gradients = torch.autograd.grad(own.sum(), seen)
        parts.append(torch.stack([(g[:, -1].float() * c).sum(-1) for g, c in zip(gradients, change, strict=True)], 1))
    return torch.stack(parts).mean(0).detach()


# Exact effects.


@dataclass(frozen=True, eq=False)
class Variant:
    """What one head's z at the last position becomes: given [row d_head]."""

    head: int
    given: Tensor


def most_rows(side: Side) -> int:
    """Rows of one pass, whose keys, values and logits fit."""
    record = side.model.record
    copied = 2 * record.n_heads * record.d_head * max(1, side.ids.shape[1])  # repeated for every query head
    return max(len(side.rows), min(COPIED // copied, LOGITS // record.d_vocab))


def most_beside(side: Side) -> int:
    """Variants side by side in each row of one pass."""
    record = side.model.record
    room = min(MOST_BESIDE, record.n_ctx - side.ids.shape[1])
    return max(1, min(room, LOGITS // (len(side.rows) * record.d_vocab)))


def replaced(side: Side, layer: int, variants: Sequence[Variant]) -> Tensor:
    """[unit variant row] of runs with one head of `layer` replaced at the last position, later blocks recomputed."""
    beside = runs_beside(side.model, side.ids.shape[1])
    size = most_beside(side) if beside else max(1, most_rows(side) // len(side.rows))
    run = _beside if beside else _repeated
    return torch.cat([run(side, layer, variants[at : at + size]) for at in range(0, len(variants), size)], 1)


def _beside(side: Side, layer: int, variants: Sequence[Variant]) -> Tensor:
    """As positions of each row that do not see each other."""
    count, which = len(variants), torch.tensor([v.head for v in variants], device=side.ids.device)
    given = torch.stack([v.given for v in variants], 1)  # [row variant d_head]

    def write(z: Tensor) -> Tensor:
        out = z.clone()
        out[:, torch.arange(count, device=z.device), which] = given.to(z.dtype)
        return out

    start = (layer, side.residual[layer][:, None].expand(-1, count, -1))
    logits = beside_logits(side.past, side.ids[:, -1:], count, {("z", layer): write}, start=start)
    found = read(logits.flatten(0, 1), side.answers.repeat_interleave(count))
    return found.view(len(UNITS), len(side.rows), count).transpose(1, 2)


def _repeated(side: Side, layer: int, variants: Sequence[Variant]) -> Tensor:
    """As rows of a batch, variants outermost."""
    n, times = len(side.rows), len(variants)
    which = torch.tensor([v.head for v in variants], device=side.ids.device)
    given = torch.stack([v.given for v in variants])  # [variant row d_head]

    def write(z: Tensor) -> Tensor:
        out = z.clone()
        each = torch.arange(times, device=z.device)
        out.view(times, n, *z.shape[1:])[each, :, -1, which] = given.to(z.dtype)
        return out

    past, ids = side.past, side.ids[:, -1:].repeat(times, 1)
    start = None
    if past.cache is not None:
        start = (layer, side.residual[layer][:, None].repeat(times, 1, 1))
    logits = last_logits(past, ids, {("z", layer): write}, start=start)
    return read(logits, side.answers.repeat(times)).view(len(UNITS), times, n)


def sets_replaced(side: Side, masks: npt.NDArray[np.bool_], given: Tensor) -> tuple[Tensor, Tensor]:
    """([unit set row], [set row] the answer is first) with the heads of each set [set layer head] at `given`.

    given  [row layer head d_head]
    """
    n = len(side.rows)
    beside = runs_beside(side.model, side.ids.shape[1])
    size = most_beside(side) if beside else max(1, most_rows(side) // n)
    run = _sets_beside if beside else _sets_repeated
    values, firsts = [], []
    for at in range(0, len(masks), size):
        some = torch.from_numpy(masks[at : at + size]).to(side.ids.device)
        logits = run(side, some, given)  # [set*row vocab]
        answers = side.answers.repeat(len(some))
        values.append(read(logits, answers).view(len(UNITS), len(some), n))
        firsts.append((logits[:, : side.model.tokens.size].argmax(1) == answers).view(len(some), n))
    return torch.cat(values, 1), torch.cat(firsts)


def _in_sets(some: Tensor) -> list[int]:
    """The layers that have a head in one of the sets [set layer head]."""
    return [i for i in range(some.shape[1]) if bool(some[:, i].any())]


def _sets_beside(side: Side, some: Tensor, given: Tensor) -> Tensor:
    """As positions of each row that do not see each other."""

    def write(layer: int, z: Tensor) -> Tensor:
        own = given[:, None, layer].to(z.dtype)
        return torch.where(some[None, :, layer, :, None], own, z)  # [row set head d_head]

    hooks: dict[tuple[str, int], HookFn] = {("z", i): partial(write, i) for i in _in_sets(some)}
    return beside_logits(side.past, side.ids[:, -1:], len(some), hooks).transpose(0, 1).flatten(0, 1)


def _sets_repeated(side: Side, some: Tensor, given: Tensor) -> Tensor:
    """As rows of a batch, sets outermost."""

    def write(layer: int, z: Tensor) -> Tensor:
        out = z.clone()
        view = out.view(len(some), len(side.rows), *z.shape[1:])  # [set row pos head d_head]
        own = given[None, :, layer].to(z.dtype)
        view[:, :, -1] = torch.where(some[:, None, layer, :, None], own, view[:, :, -1])
        return out

    hooks: dict[tuple[str, int], HookFn] = {("z", i): partial(write, i) for i in _in_sets(some)}
    return last_logits(side.past, side.ids[:, -1:].repeat(len(some), 1), hooks)


def layers_of(heads: npt.NDArray[np.bool_]) -> Iterator[tuple[int, list[int]]]:
    """The layers that have a head in [layer head], with their heads."""
    for layer in range(len(heads)):
        own = np.flatnonzero(heads[layer]).tolist()
        if own:
            yield layer, own


def as_floats(tensor: Tensor) -> Float32s:
    return tensor.detach().float().cpu().numpy()
