"""Trains the bundled model from an integer seed, on the CPU, with no data file.

- The schedule goes by step, never by time, so that a run can be repeated.
- Documents are generated on the fly: chunk c of a run is `corpus.windows(chunk_seed(seed, c), ...)`.
- Bit-identical for the same configuration, thread count, torch version and kind of processor; not across thread counts.
- A run that was cut off goes on from its last checkpoint, with the same result as an uninterrupted one.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor
from torch.optim import Optimizer

from reportgen.errors import RunError, SettingsError, nearest
from reportgen.files import write_atomic
from reportgen.mini import corpus, evaluate, network, vocab, words
from reportgen.mini.network import Network, Shape
from reportgen.mini.vocab import vocabulary

CHUNK_STEPS = 32  # steps whose windows are generated together
HELDOUT_SEED = 0  # of the windows that the held-out loss is measured on
HELDOUT_WINDOWS = 64
STATE = "state.safetensors"  # weights, optimizer state and step; removed after the last step

Log = Callable[[str], None]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the weights, and how often to look at them. The defaults made the shipped model."""

    steps: int = 10_000  # the cosine ends here
    seed: int = 1  # initial weights and documents
    optimizer: str = "muon"  # adamw | muon
    lr: float = 3e-3  # peak learning rate
    warmup_steps: int = 200  # linear from zero to the peak
    final_share: float = 0.02  # the cosine ends at this share of the peak
    betas: tuple[float, float] = (0.9, 0.98)  # AdamW's
    weight_decay: float = 0.1  # on matrices only
    clip: float = 1.0  # largest gradient norm
    windows: int = 32  # windows a step
    length: int = 128  # tokens a window
    n_embd: int = 128
    n_layer: int = 6
    n_head: int = 8
    n_inner: int = 256  # of the first layer's MLP, the only one
    threads: int = 1  # part of the recipe: another count gives other weights
    bfloat16: bool = True  # bfloat16 autocast over float32 weights
    compiled: bool = True  # torch.compile (needs a C++ compiler): about 1.4 times as fast, other rounding
    log_every: int = 50  # steps
    evaluate_every: int = 1000  # steps; 0: only at the end
    checkpoint_every: int = 500  # steps
    save_steps: tuple[int, ...] = ()  # steps after which OUT/step-N gets an exported copy


SMOKE = TrainConfig(
    steps=24, windows=8, n_embd=32, n_layer=2, n_head=4, n_inner=64, warmup_steps=4, bfloat16=False, compiled=False,
    log_every=8, evaluate_every=0, checkpoint_every=8,
)  # fmt: skip


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rate of step `step` (from 0): linear warm-up, then a cosine down to `final_share` of the peak."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.lr * (config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * done)))


def chunk_seed(seed: int, chunk: int) -> int:
    """The corpus seed of one chunk of one run."""
    return int(np.random.SeedSequence([seed, chunk]).generate_state(1)[0])


def batches(config: TrainConfig, start: int) -> Iterator[Tensor]:
    """ids [windows length] of step `start`, `start` + 1, ... to the last step."""
    chunk, windows = -1, np.empty((0, config.length), dtype=np.int16)
    for step in range(start, config.steps):
        if step // CHUNK_STEPS != chunk:
            chunk = step // CHUNK_STEPS
            windows = corpus.windows(chunk_seed(config.seed, chunk), CHUNK_STEPS * config.windows, config.length)
        first = step % CHUNK_STEPS * config.windows
        yield torch.from_numpy(windows[first : first + config.windows].astype(np.int64))


def train(config: TrainConfig, out: Path, log: Log = print) -> Path:
    """Train and export to the Hugging Face folder `out`/model, which it returns. Goes on from `out`/state.safetensors.

    Writes `out`/train.json (configuration), log.jsonl (one record a line) and properties.json (of the final weights).
    SettingsError: a configuration out of range; RunError: `out` holds another configuration's run or cannot be written.
    """
    check(config)
    settings = json.dumps(asdict(config), indent=2)
    recorded = out / "train.json"
    if recorded.exists() and recorded.read_text(encoding="utf-8") != settings:
        raise RunError(f"{out} holds a run with other settings.", "Choose another folder with --out DIR.")
    write_atomic(recorded, settings.encode())
    with threads(config.threads):
        model = Network(shape(config), config.seed)
        optimizer = network.build_optimizer(model, config.optimizer, config.lr, config.betas, config.weight_decay)
        start = restore(out / STATE, model, optimizer)
        trainer = Trainer(config, model, optimizer, out, log)
        for step, ids in enumerate(batches(config, start), start + 1):
            trainer.step(step, ids)
        export(model, out / "model")
        write_atomic(out / "properties.json", json.dumps(trainer.evaluate(config.steps), indent=2).encode())
    (out / STATE).unlink(missing_ok=True)
    return out / "model"


class Trainer:
    """One run: a step, and what is due after it."""

    def __init__(self, config: TrainConfig, model: Network, optimizer: list[Optimizer], out: Path, log: Log) -> None:
        self.config, self.model, self.optimizer, self.out, self.log = config, model, optimizer, out, log
        self.loss = torch.compile(model.loss, dynamic=False) if config.compiled else model.loss
        self.losses: list[Tensor] = []
        self.since = time.perf_counter()

    def step(self, step: int, ids: Tensor) -> None:
        """Update on ids [windows length] as step number `step` (from 1), then log, evaluate and save as configured."""
        rate = learning_rate(self.config, step - 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bfloat16):
            loss = self.loss(ids)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        for optimizer in self.optimizer:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss.detach())
        if step % self.config.log_every == 0:
            self.report(step)
        if step in self.config.save_steps:
            export(self.model, self.out / f"step-{step}")
        if self.config.evaluate_every and step % self.config.evaluate_every == 0 and step < self.config.steps:
            self.evaluate(step)
        if step % self.config.checkpoint_every == 0 and step < self.config.steps:
            save(self.out / STATE, self.model, self.optimizer, step)

    def report(self, step: int) -> None:
        """Log the mean loss and the rate since the last report."""
        loss = float(torch.stack(self.losses).mean())
        if not math.isfinite(loss):
            raise RunError(f"Training diverged before step {step}: loss {loss}.", "Try a smaller --lr.")
        elapsed = time.perf_counter() - self.since
        rate = len(self.losses) * self.config.windows * self.config.length / elapsed
        self.record({"step": step, "loss_nats": loss, "tokens_per_s": round(rate)})
        self.log(f"step {step}/{self.config.steps}  loss {loss:.4f}  {rate / 1000:.1f} ktok/s")
        self.losses, self.since = [], time.perf_counter()

    def evaluate(self, step: int) -> dict[str, object]:
        """Held-out loss and properties of the present weights, logged; the time is not counted in the token rate."""
        began = time.perf_counter()
        properties: dict[str, object] = {"heldout_loss_nats": heldout_loss(self.model)}
        properties |= evaluate.measure(self.model)
        self.record({"step": step, "properties": properties})
        self.log(f"step {step}/{self.config.steps}  {evaluate.summary(properties)}")
        self.since += time.perf_counter() - began
        return properties

    def record(self, entry: dict[str, object]) -> None:
        """Append one line to log.jsonl."""
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def check(config: TrainConfig) -> None:
    """SettingsError where a number is out of range."""
    least = dict.fromkeys(("steps", "windows", "threads", "warmup_steps", "log_every", "checkpoint_every"), 1)
    least |= {"seed": 0, "evaluate_every": 0, "length": corpus.LENGTH}  # the longest documents need the length
    for name, low in least.items():
        if getattr(config, name) < low:
            raise SettingsError(f"{name} is {getattr(config, name)}.", f"Give at least {low}.")
    if config.optimizer not in network.OPTIMIZERS:
        raise SettingsError(f"Unknown optimizer '{config.optimizer}'.", nearest(config.optimizer, network.OPTIMIZERS))
    if not 0 < config.lr < 1:
        raise SettingsError(f"lr is {config.lr}.", "Give a rate above 0 and below 1, say 3e-3.")
    if config.n_embd % config.n_head:
        raise SettingsError(f"n_embd {config.n_embd} is no multiple of n_head {config.n_head}.", "Change one of them.")


def shape(config: TrainConfig) -> Shape:
    """The network's sizes; the vocabulary is the corpus's own."""
    return Shape(len(vocabulary()), config.length, config.n_embd, config.n_layer, config.n_head, config.n_inner)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads, then on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def heldout_loss(model: Network) -> float:
    """Mean next-token loss in nats on windows of held-out documents, float32."""
    windows = corpus.windows(HELDOUT_SEED, HELDOUT_WINDOWS, model.shape.n_positions, heldout=True)
    return float(model.loss(torch.from_numpy(windows.astype(np.int64))))


def save(path: Path, model: Network, optimizer: list[Optimizer], step: int) -> None:
    """Write weights, optimizer state and `step` to `path`, whole or not at all."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {f"weight/{name}": parameter.detach() for parameter, name in names.items()}
    for each in optimizer:
        for parameter, state in each.state.items():
            tensors |= {f"optimizer/{names[parameter]}/{key}": value for key, value in state.items()}
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_atomic(path, to_safetensors(contiguous, metadata={"step": str(step)}))


def restore(path: Path, model: Network, optimizer: list[Optimizer]) -> int:
    """Fill model and optimizers from `path`; the step it was written after, 0 when there is no such file."""
    if not path.exists():
        return 0
    parameters = dict(model.named_parameters())
    owner = {parameter: each for each in optimizer for group in each.param_groups for parameter in group["params"]}
    try:
        with safetensors.safe_open(path, "pt") as file, torch.no_grad():
            for key in file.keys():  # noqa: SIM118 (not a dict)
                kind, name, *rest = key.split("/")
                if kind == "weight":
                    parameters[name].copy_(file.get_tensor(key))
                else:
                    owner[parameters[name]].state[parameters[name]][rest[0]] = file.get_tensor(key)
            return int(file.metadata()["step"])
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise RunError(f"{path} cannot be read: {error}.", f"Delete {path.parent} and start again.") from None


def export(model: Network, folder: Path) -> None:
    """Write an ordinary Hugging Face GPT-2 folder, weights in float16, with the tokenizer."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    end_id = vocabulary().index(words.END)
    with quiet_progress():
        network.hugging_face(model, end_id).half().save_pretrained(part)
    vocab.save_tokenizer(part)
    for file in part.iterdir():
        file.chmod(0o644)  # safetensors makes its file private
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)


@contextmanager
def quiet_progress() -> Iterator[None]:
    """No progress bar for a file of two megabytes."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def main(arguments: list[str] | None = None) -> None:
    """`python -m reportgen.mini.train --steps N --seed S --out DIR`."""
    default = TrainConfig()
    parser = argparse.ArgumentParser(prog="python -m reportgen.mini.train", description="Train the bundled model.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the log, the state and the model")
    parser.add_argument("--optimizer", choices=network.OPTIMIZERS, default=default.optimizer)
    parser.add_argument("--save-steps", type=int, nargs="*", default=(), help="steps to keep an exported copy of")
    whole = ("steps", "seed", "threads", "windows", "warmup_steps", "evaluate_every", "checkpoint_every", "log_every")
    for name in whole:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(default, name))
    for name in ("lr", "weight_decay"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(default, name))
    given = vars(parser.parse_args(arguments))
    out, save_steps = given.pop("out"), tuple(given.pop("save_steps"))
    train(replace(default, **given, save_steps=save_steps), out, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
