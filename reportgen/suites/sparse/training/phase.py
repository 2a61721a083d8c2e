"""One phase of training: constrained, with gates, or the control's without. An interrupted phase can be resumed.

Losses are monitored, steered and saved with a moving average of the weights: at a useful learning rate the noise of
single steps costs more loss than the slack (measured: 0.027 nats on the bundled model at 5e-4, nothing else changed).

The saved step is not the last one but the one with the fewest edges whose loss on the steering text is reliably within
the slack; the reporting text plays no part in that choice.

Noise, batches and dual steps go by step number, so an interrupted phase ends in the same weights as an unbroken one
(same device, thread count and torch version).
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor
from torch.optim import AdamW

from reportgen.aliases import Progress
from reportgen.errors import RunError
from reportgen.files import convert, parse_json, read_text, write_atomic
from reportgen.suites.sparse.scoring.gates import STILL, Gate, Noise
from reportgen.suites.sparse.training.networks import Trainee, divergence, loss
from reportgen.suites.sparse.training.texts import Ids, Text

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
        """The rate after `step` steps as a share of the highest; 0 where the rate restarts and in the last round."""
        anew = step >= self.steps and (step - self.steps) % max(1, self.settle) == 0
        return 0.0 if anew or self.last_round(step) else self.rate(step) / self.lr


# The constraint: how strongly sparsity is asked for, steered so that the loss stays within the slack.
#
#     minimise over weights   CE(sampled gates) + w * S        S: expected edges per token, all heads together
#     every few steps         d = CE(hard gates) - CE(dense) - limit on the next chunk of held-out text
#                             log w -= rate * clip(mean of d over the last round of chunks)
#                             limit = slack + ROOM * rate / highest rate
#
# - The loss of SAMPLED gates cannot steer: gate noise alone costs more than the slack, and w would fall to its floor
#   (measured). Steering by hard gates on held-out text is ours, not the paper's.
# - w starts low, so that edges close one after the other while the loss can follow: a gate that was shut in a rush has
#   no
#   gradient left to open it again (measured: 12 % of the edges left and the loss stuck 0.05 nats above the limit).
# - The limit is wider while the learning rate is high: what its noise costs comes back when the rate falls, and with
#   the
#   bare slack w sank to nothing (measured on the bundled model: 0.02 nats above the dense loss with every edge
#     allowed).
# - The first steps have a fixed w: gates that shut on a model that never saw them cost whole nats until it has
#   adapted.
# - While settling, w keeps a floor until the last steps: with none it sank so low that edges opened again for next to
#   no
#   loss (measured on the bundled model: from 0.95 % to 2.4 % of them in one round). It goes in time for a loss that is
#   still too high to come down.
# - A whole round is averaged before it is clipped: d varies between chunks by more than the slack and is skewed, and
#   clipping single chunks steers by their median, which lets the mean drift above the slack (measured).

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


# What an interrupted phase goes on from: tensors and numbers in one safetensors file, and the log beside it.

Groups = Mapping[str, Mapping[str, Tensor]]


def write_state(path: Path, groups: Groups, numbers: Mapping[str, Any]) -> None:
    """Keep tensors by group and name, and numbers that JSON can hold."""
    kept = {f"{group}/{name}": t.detach().contiguous() for group, named in groups.items() for name, t in named.items()}
    write_atomic(path, to_safetensors(kept, metadata={name: json.dumps(value) for name, value in numbers.items()}))


def read_state(path: Path, device: torch.device) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(tensors by group and name, numbers) of a file by `write`. Raises RunError when it can't be read."""
    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safetensors.safe_open(path, "pt", device=str(device)) as file:
            for key in file.keys():  # noqa: SIM118  not a dict
                group, name = key.split("/", 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
            numbers = {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
    except (safetensors.SafetensorError, ValueError) as error:
        raise unreadable(path, error) from error
    return groups, numbers


def unreadable(path: Path, error: Exception) -> RunError:
    """The error for a state file that is damaged or of another training."""
    return RunError(f"{path} can't be read: {error}.", "Delete it and start again.")


def log_of(path: Path) -> Path:
    """The log beside a state file: one JSON object a line."""
    return path.with_suffix(".jsonl")


def append_log(path: Path, line: Mapping[str, float]) -> None:
    """Add one line to the log of the state file `path`."""
    with log_of(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def log_lines(path: Path, step: int) -> list[dict[str, float]]:
    """The log of the state file `path` up to `step`."""
    file = log_of(path)
    if not file.exists():
        return []
    again = "Delete it and start again."
    text = read_text(file, again, error=RunError).splitlines()
    found = [parse_json(line, f"{file}, line {i}", again, error=RunError) for i, line in enumerate(text, 1)]
    points = convert(found, list[dict[str, int | float]], str(file), again, error=RunError)
    return [point for point in points if point.get("step", 0.0) <= step]


def cut_log(path: Path, step: int) -> None:
    """Drop lines of the log written after the state at `step`."""
    write_atomic(log_of(path), "".join(json.dumps(line) + "\n" for line in log_lines(path, step)).encode())


_BETAS = (0.9, 0.98)
_CLIP = 1.0
_CHUNKS = 16  # the steering sequences are used in turns, one chunk a dual step
_CHOOSE = 0.3  # of the steps, at the end, among which the kept one is chosen; with settling: the last round
_TIGHTER = tuple(round(0.1 * i, 1) for i in range(13))  # below the trained bias, tried at the end
_LOOK = 128  # reporting sequences behind a line of the log
_EVAL = 16  # sequences per forward pass without gradients
_TOKENS = 1024  # per backward pass: on a CPU, smaller tensors stay in its caches and take a third less time


class TrainingPhase:
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
            if self.gate is not None and self.step % EVERY == 0:
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
        if self.step <= min(HOLD, self.schedule.steps // 10):
            return
        index = self.step // EVERY % _CHUNKS
        with self.averaged():
            found = self._loss(self._chunk(index), self.gate)
        if self.step > self.schedule.steps:
            self.dual.pace(self.schedule.settle)
            self.dual.keep(self.every if self.schedule.has_floor(self.step) else None)
        aim = AIM if self.schedule.last_round(self.step) else 1.0
        room = ROOM * self.schedule.room(self.step)
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
        append_log(self.state, self.look())
        self.sampled = [0.0, 0]

    def lines(self) -> list[dict[str, float]]:
        """The log so far, up to the present step."""
        return log_lines(self.state, self.step)

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
        write_state(self.state, groups, numbers)

    def _restore(self) -> None:
        """Fill weights, optimiser and dual from the state file, and drop log lines written after it."""
        if self.state.exists():
            groups, numbers = read_state(self.state, self.device)
            try:
                self._fill(groups, numbers)
            except (KeyError, ValueError, RuntimeError) as error:
                raise unreadable(self.state, error) from error
        cut_log(self.state, self.step)

    @torch.no_grad()
    def _fill(self, groups: Groups, numbers: Mapping[str, Any]) -> None:
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
