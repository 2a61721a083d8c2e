"""One phase of training: the constrained one with gates, or the control's without. Cut off, it goes on where it was.

Losses are looked at, steered by and saved with a moving average of the weights: at a useful learning rate the noise of
single steps costs more loss than the slack (measured: 0.027 nats on the bundled model at 5e-4, nothing else changed).

What is kept is not the last step but the one with the fewest edges whose loss on the steering text is surely within the
slack; the reporting text has no part in that choice.

Noise, batches and dual steps go by step number, so an interrupted phase ends in the same weights as an unbroken one
(same device, thread count and torch version).
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from reportgen.errors import RunError
from reportgen.suites.sparse import dual, state
from reportgen.suites.sparse.dual import Dual
from reportgen.suites.sparse.gates import STILL, Gate, Noise
from reportgen.suites.sparse.schedule import Schedule
from reportgen.suites.sparse.texts import Ids, Text
from reportgen.suites.sparse.trainees import Trainee, divergence, loss

_BETAS = (0.9, 0.98)
_CLIP = 1.0
_CHUNKS = 16  # the steering sequences are used in turns, one chunk a dual step
_CHOOSE = 0.3  # of the steps, at the end, among which the kept one is chosen; with settling: the last round
_TIGHTER = tuple(round(0.1 * i, 1) for i in range(13))  # below the trained bias, tried at the end
_LOOK = 128  # reporting sequences behind a line of the log
_EVAL = 16  # sequences per forward pass without gradients
_TOKENS = 1024  # per backward pass: on a CPU, smaller tensors stay in its caches and take a third less time

Progress = Callable[[int, int, str], None]


class Phase:
    """A trainee, its optimiser and its dual; `gate` None trains the dense model on."""

    def __init__(
        self, trainee: Trainee, gate: Gate | None, text: Text, schedule: Schedule, state: Path,
        reference: Trainee | None = None,
    ) -> None:  # fmt: skip
        """`reference`: the dense model that `schedule.kl` pulls towards; `state`: where weights and step are kept."""
        self.trainee, self.gate, self.text, self.schedule, self.state = trainee, gate, text, schedule, state
        self.reference = reference
        self.device = next(iter(trainee.parameters.values())).device
        self.optimizer = AdamW(list(trainee.parameters.values()), lr=schedule.lr, betas=_BETAS, weight_decay=0.0)
        self.average = {name: tensor.detach().clone() for name, tensor in trainee.parameters.items()}
        self.dual, self.step, self.sampled = Dual(_CHUNKS, 0.0), 0, [0.0, 0]
        self.dense_chunks: list[float] = []
        self.every = 0.0  # edges per token with every gate open
        self.dense_nats = 0.0  # the dense model's loss on the log's sequences
        self.best = {name: tensor.clone() for name, tensor in self.average.items()}
        self.chosen: dict[str, float] = {}  # step, excess_nats, edges_per_token of `best`
        self.seconds = 0.0  # spent, interruptions left out

    def run(self, progress: Progress, words: str) -> None:
        """Train to the last step, from the kept state where there is one."""
        self._steer_by_dense()
        self._restore()
        self.since = time.monotonic() - self.seconds
        while self.step < self.schedule.total:
            if self.step % 10 == 0:
                progress(self.step, self.schedule.total, words + self._last())
            self._one_step()
            if self.gate is not None and self.step % dual.EVERY == 0:
                self._dual_step()
            if self.gate is not None and self._may_be_kept():
                self._choose()
            if self.gate is not None and (self.step % self.schedule.log_every == 0 or self._is_last()):
                self._log()
            if self.step % self.schedule.save_every == 0 or self._is_last():
                self._save()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The trainee with the averaged weights for the time of the block."""
        own = {name: tensor.detach().clone() for name, tensor in self.trainee.parameters.items()}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.trainee.parameters.items():
            tensor.copy_(tensors[name])

    def _is_last(self) -> bool:
        return self.step == self.schedule.total

    def _one_step(self) -> None:
        ids = self._on_device(self.text.batch(self.step, self.schedule.batch))
        noise: Noise = STILL
        if self.step < self.schedule.steps:
            noise = torch.Generator(self.device).manual_seed(self.schedule.seed * 1_000_003 + self.step)
        value = 0.0
        for rows in torch.split(ids, max(1, _TOKENS // ids.shape[1])):
            value += self._backward(rows, noise, len(rows) / len(ids))
        if not math.isfinite(value):
            raise RunError(f"Training diverged at step {self.step}: loss {value}.", "Try a smaller --lr.")
        torch.nn.utils.clip_grad_norm_(self.trainee.parameters.values(), _CLIP)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        memory = self.schedule.memory(self.step)
        for name, tensor in self.trainee.parameters.items():
            self.average[name].lerp_(tensor.detach(), 1 - memory)
        self.sampled = [self.sampled[0] + value, self.sampled[1] + 1]
        self.step += 1
        self.seconds = time.monotonic() - self.since

    def _backward(self, ids: Tensor, noise: Noise, share: float) -> float:
        """Add the gradient of `share` times the loss on `ids`; returns `share` times the text's own loss."""
        found = self.trainee(ids, self.gate, None if self.gate is None else noise)
        own = loss(found.logits, ids)
        total = own
        if self.schedule.kl > 0 and self.reference is not None:
            with torch.no_grad():
                wanted = self.reference(ids, None).logits
            total = (1 - self.schedule.kl) * own + self.schedule.kl * divergence(wanted, found.logits).mean()
        if self.gate is not None:
            total = total + self.dual.weight * found.expected.sum()
        (share * total).backward()  # type: ignore[no-untyped-call]
        return share * float(own.detach())

    def _steer_by_dense(self) -> None:
        """The dense model's loss on each steering chunk and on the log's sequences, before anything is trained."""
        if self.gate is not None:
            dense = self.reference or self.trainee  # the same before the first step, unless it starts from a fit
            self.dense_chunks = [self._loss(self._chunk(i), None, dense) for i in range(_CHUNKS)]
            self.dense_nats = self._loss(self.text.reporting[:_LOOK], None, dense)
            self.every = float(next(self._passes(self.text.steering[:1], None))[1].sum())
            self.dual = Dual.start(_CHUNKS, self.every, self.schedule.steps)

    def _chunk(self, index: int) -> Ids:
        rows = len(self.text.steering) // _CHUNKS
        return self.text.steering[index * rows : (index + 1) * rows]

    def _dual_step(self) -> None:
        assert self.gate is not None
        if self.step <= min(dual.HOLD, self.schedule.steps // 10):
            return
        index = self.step // dual.EVERY % _CHUNKS
        with self.averaged():
            found = self._loss(self._chunk(index), self.gate)
        if self.step > self.schedule.steps:
            self.dual.pace(self.schedule.settle)
            self.dual.keep(self.every if self.schedule.has_floor(self.step) else None)
        aim = dual.AIM if self.schedule.last_round(self.step) else 1.0
        room = dual.ROOM * self.schedule.room(self.step)
        self.dual.step(found - self.dense_chunks[index] - aim * self.gate.slack_nats - room)

    def _may_be_kept(self) -> bool:
        schedule = self.schedule
        late = schedule.last_round(self.step) if schedule.settle else self.step > (1 - _CHOOSE) * schedule.total
        return self._is_last() or (late and self.step % schedule.choice_every == 0)

    def _choose(self) -> None:
        """Keep the averaged weights if they beat those kept: see `better`."""
        assert self.gate is not None
        with self.averaged():
            found = self._on_steering(self.gate)
        if better(found, self.chosen, self.gate.slack_nats):
            self.chosen = {"step": self.step, **found}
            for name, tensor in self.average.items():
                self.best[name].copy_(tensor)

    def _on_steering(self, gate: Gate) -> dict[str, float]:
        """Loss above the dense model's with its standard error added, and edges, of the present weights."""
        excess, edges = [], 0.0
        for index in range(_CHUNKS):
            chunk = self._chunk(index)
            passes = [(value, opened, len(rows)) for value, opened, rows in self._passes(chunk, gate)]
            excess.append(sum(value * count for value, _, count in passes) / len(chunk) - self.dense_chunks[index])
            edges += sum(opened.sum().item() * count for _, opened, count in passes) / len(chunk) / _CHUNKS
        mean = statistics.fmean(excess)
        error = statistics.stdev(excess) / math.sqrt(_CHUNKS)
        return {"bias": gate.bias, "excess_nats": mean, "sure_nats": mean + error, "edges_per_token": edges}

    def tightened(self) -> Gate:
        """The gate for the chosen weights: of biases at and below the trained one, the best by `better`.

        Many open gates stand just above zero and carry nothing; a lower bias closes them at no cost.
        """
        assert self.gate is not None
        for lower in _TIGHTER:
            found = self._on_steering(dataclasses.replace(self.gate, bias=self.gate.bias - lower))
            if self.schedule.fitted and lower > 0 and found["sure_nats"] > self.gate.slack_nats:
                break  # to read all steering sequences at every bias can cost as much as a short run
            if lower == 0 or better(found, self.chosen, self.gate.slack_nats):
                self.chosen = {"step": self.chosen["step"], **found}
        return dataclasses.replace(self.gate, bias=self.chosen["bias"])

    def on_reporting(self) -> float:
        """Loss of the present weights on all reporting sequences."""
        return self._loss(self.text.reporting, self.gate)

    def _loss(self, ids: Ids, gate: Gate | None, model: Trainee | None = None) -> float:
        return sum(found * len(rows) for found, _, rows in self._passes(ids, gate, model)) / len(ids)

    def _passes(
        self, ids: Ids, gate: Gate | None, model: Trainee | None = None
    ) -> Iterator[tuple[float, Tensor, Tensor]]:
        """(loss, open edges per token of all heads, rows) of `ids` with hard gates, some sequences at a time."""
        for start in range(0, len(ids), _EVAL):
            rows = self._on_device(ids[start : start + _EVAL])
            with torch.no_grad():
                found = (model or self.trainee)(rows, gate)
                yield float(loss(found.logits, rows)), found.opened, rows

    def _on_device(self, ids: Ids) -> Tensor:
        return torch.as_tensor(ids, device=self.device)

    def finish(self) -> None:
        """Put the chosen weights into the trainee for good; without gates, the last averaged ones."""
        self._put(self.average if self.gate is None else self.best)

    def look(self) -> dict[str, float]:
        """Hard-gate loss and open edges on the log's sequences, as one line of the log."""
        ids = self.text.reporting[:_LOOK]
        with self.averaged():
            passes = [(value, opened, len(rows)) for value, opened, rows in self._passes(ids, self.gate)]
        edges = sum(opened.sum().item() * count for _, opened, count in passes) / len(ids)
        causal = passes[0][1].numel() * (ids.shape[1] + 1) / 2
        return {
            "step": self.step,
            "loss_hard_nats": sum(value * count for value, _, count in passes) / len(ids),
            "loss_sampled_nats": self.sampled[0] / max(1, self.sampled[1]),
            "edges_percent": 100 * edges / causal,
            "edges_per_token": edges,
            "weight": self.dual.weight,
        }

    def _log(self) -> None:
        state.append(self.state, self.look())
        self.sampled = [0.0, 0]

    def lines(self) -> list[dict[str, float]]:
        """The log so far, up to the present step."""
        return state.lines(self.state, self.step)

    def _last(self) -> str:
        lines = self.lines()
        if not lines:
            return ""
        last = lines[-1]
        return f": loss {last['loss_hard_nats']:.4f}, {last['edges_percent']:.2f} % of edges, w {last['weight']:.1e}"

    def _save(self) -> None:
        named = {tensor: name for name, tensor in self.trainee.parameters.items()}
        moments = {f"{named[parameter]}/{key}": value for parameter, kept in self.optimizer.state.items()
                   for key, value in kept.items()}  # fmt: skip
        groups = {"weight": self.trainee.parameters, "average": self.average, "optimizer": moments,
                  "best": self.best if self.chosen else {}}  # fmt: skip
        numbers = {"step": self.step, "log_weight": self.dual.log_weight, "recent": self.dual.recent,
                   "sampled": self.sampled[0], "count": self.sampled[1], "seconds": self.seconds,
                   "chosen": self.chosen}  # fmt: skip
        state.write(self.state, groups, numbers)

    def _restore(self) -> None:
        """Fill weights, optimiser and dual from the state file, and drop log lines written after it."""
        if self.state.exists():
            groups, numbers = state.read(self.state, self.device)
            try:
                self._fill(groups, numbers)
            except (KeyError, ValueError, RuntimeError) as error:
                raise state.unreadable(self.state, error) from error
        state.cut(self.state, self.step)

    @torch.no_grad()
    def _fill(self, groups: state.Groups, numbers: Mapping[str, Any]) -> None:
        parameters = self.trainee.parameters
        for group, own in {"weight": parameters, "average": self.average, "best": self.best}.items():
            for name, tensor in groups.get(group, {}).items():
                own[name].copy_(tensor)
        for key, tensor in groups.get("optimizer", {}).items():
            name, _, part = key.rpartition("/")
            self.optimizer.state[parameters[name]][part] = tensor
        self.step, self.seconds = int(numbers["step"]), numbers["seconds"]
        self.sampled = [numbers["sampled"], numbers["count"]]
        self.chosen = {str(name): float(value) for name, value in numbers["chosen"].items()}
        recent = [float(d) for d in numbers["recent"]]
        self.dual = Dual(_CHUNKS, float(numbers["log_weight"]), recent, self.schedule.steps)


def better(found: Mapping[str, float], kept: Mapping[str, float], slack_nats: float) -> bool:
    """Whether weights with `found` are kept in place of `kept` ({}: none).

    Surely within the slack (mean excess plus its standard error over the chunks) comes before not; among those within,
    fewer edges; among the others, less loss.
    """
    if not kept:
        return True
    within = found["sure_nats"] <= slack_nats
    if within != (kept["sure_nats"] <= slack_nats):
        return within
    measured = "edges_per_token" if within else "sure_nats"
    return found[measured] < kept[measured]
