"""Total effects of all heads: attribution, and attribution with exact verification, beside one patched pass per head.

One run: `python -m benchmarks circuits`; `python -m benchmarks.circuits cpu` does the same on one thread and counts CPU
seconds, which other work on the machine stretches little.

- Reference: for every head one forward pass of all prompts, its z swapped, from the embedding on. On the larger shapes
  it is timed on a sample of heads, spread over the layers, and scaled.
- Attribution: corrupted and clean runs, one backward pass. Verified: the same, the three rankings of the suite, and
  exact passes for their first heads and a random sample, from each head's own layer on, heads batched.
- Passes over the prompts, J heads: reference J + 2 forward; attribution 3 forward and 1 backward; verified 5 forward, 1
  backward, and one from its own layer on for each head verified.
- The models of 144 and 1,024 heads are random: their times say something, their rankings nothing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.shapes import gpt2_small_shape, mark_synthetic, wide_tokenizer
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.circuits.scoring.effects import attribution, attributions, choose_exact, total_effects
from reportgen.suites.circuits.scoring.passes import Batches
from reportgen.suites.circuits.scoring.task_runs import trace
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks import BUILDERS
from reportgen.suites.circuits.tasks.task import Pair, Task

CPU = "cpu" in sys.argv[1:]
THREADS, CLOCK = (1, time.process_time) if CPU else (2, time.perf_counter)
SETTINGS = Settings()
HEADER = """
| model | heads | prompts | one pass per head s | attribution s | ratio | verified s (heads) | ratio |
|---|---|---|---|---|---|---|---|"""
Floats = npt.NDArray[np.float32]
Head = tuple[int, int]
T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """Seconds of the three ways, heads verified, and the estimates and exact values over heads where all are known."""

    reference: float
    alone: float
    verified: float
    n_verified: int
    estimate: Floats
    exact: Floats | None


def timed(run: Callable[[], T]) -> tuple[float, T]:
    """Seconds and what `run` returns."""
    started = CLOCK()
    out = run()
    return CLOCK() - started, out


def random_task(model: Model, prompts: int, length: int) -> Task:
    """Pairs of random tokens that differ in their second and third token."""
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(prompts):
        clean = rng.integers(2, 4000, length).tolist()
        corrupted = [clean[0], *rng.integers(2, 4000, 2).tolist(), *clean[3:]]
        roles = {"answer": 1, "END": length - 1}
        pairs.append(Pair(tuple(clean), tuple(corrupted), (clean[1],), (corrupted[1],), roles, 0))
    return Task("random", "random tokens", "logit_diff", tuple(pairs), ("random",), ("answer",))


def one_pass_per_head(model: Model, task: Task, heads: Sequence[Head]) -> Floats:
    """[head prompt] m_clean - m_patched, all prompts of one length in one batch; nothing is skipped or batched."""
    clean, corrupted = (torch.tensor([getattr(p, side) for p in task.pairs]) for side in ("clean", "corrupted"))
    answers, foils = (torch.tensor([ids[0] for ids in of])[:, None] for of in zip(
        *((p.answer_ids, p.foil_ids) for p in task.pairs), strict=True))  # fmt: skip
    kept: dict[int, torch.Tensor] = {}
    layers = range(model.record.n_layers)
    model.run(corrupted, {("z", i): (lambda z, at=i: kept.__setitem__(at, z.clone())) for i in layers}, last=True)

    def m(hooks: dict[tuple[str, int], Callable[[torch.Tensor], torch.Tensor]]) -> torch.Tensor:
        logits = model.run(clean, hooks, last=True)[:, -1]
        return (logits.gather(1, answers) - logits.gather(1, foils))[:, 0]

    def patch(layer: int, head: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def write(z: torch.Tensor) -> torch.Tensor:
            out = z.clone()
            out[:, :, head] = kept[layer][:, :, head]
            return out

        return write

    base = m({})
    out = [base - m({("z", layer): patch(layer, head)}) for layer, head in heads]
    return np.stack([change.numpy() for change in out]) if out else np.empty((0, len(task.pairs)), np.float32)


def verified(model: Model, task: Task) -> tuple[int, Floats]:
    """What the suite does above `exact_heads`: rankings, choice, exact totals of the chosen. (heads, effects)."""
    prompts = Batches(model, task, range(len(task.pairs)))
    clean, corrupted = trace(model, task, SETTINGS.batch), trace(model, task, SETTINGS.batch, corrupted=True)
    estimate = attribution(prompts).mean(0)
    rankings = [
        estimate,
        attributions(model, task, clean, corrupted).metric.mean(0),
        clean.attention[:, 0].mean(0).numpy(),
    ]
    rng = np.random.default_rng(0)
    chosen = choose_exact(estimate.shape, rankings, 0, SETTINGS.verified, SETTINGS.sampled, rng)
    return int(chosen.exact.sum()), total_effects(prompts, chosen.exact, denoising=False).noising


def measure(model: Model, task: Task, sample: int) -> Measured:
    """All three ways on one model; the reference over `sample` heads (0: all), scaled."""
    shape = model.record.n_layers, model.record.n_heads
    every = [(layer, head) for layer in range(shape[0]) for head in range(shape[1])]
    heads = every[:: max(1, len(every) // sample)] if sample else every
    model.run(torch.tensor([task.pairs[0].clean]))  # nothing is timed that happens once
    setup, _ = timed(lambda: one_pass_per_head(model, task, []))
    reference, exact = timed(lambda: one_pass_per_head(model, task, heads))
    alone, estimate = timed(lambda: attribution(Batches(model, task, range(len(task.pairs)))))
    checked, (count, _) = timed(lambda: verified(model, task))
    scaled = setup + (reference - setup) * len(every) / len(heads)
    return Measured(scaled, alone, checked, count, estimate.mean(0), None if sample else exact.mean(1).reshape(shape))


def row(name: str, model: Model, task: Task, found: Measured) -> str:
    """One line of the table."""
    heads = model.record.n_layers * model.record.n_heads
    return (
        f"| {name} | {heads:,} | {len(task.pairs)} x {len(task.pairs[0].clean)} | {found.reference:.2f} | "
        f"{found.alone:.3f} | {found.reference / found.alone:.1f}x | {found.verified:.3f} ({found.n_verified}) | "
        f"{found.reference / found.verified:.1f}x |"
    )


def same_length(task: Task) -> Task:
    """The task's prompts of its most common length: the reference takes one batch."""
    lengths = [len(p.clean) for p in task.pairs]
    most = max(set(lengths), key=lengths.count)
    return replace(task, pairs=tuple(p for p in task.pairs if len(p.clean) == most))


def many_heads(folder: Path) -> Path:
    """32 layers x 32 heads of width 2, d_model 64, random."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=8000, n_positions=64, n_embd=64, n_layer=32, n_head=32, n_inner=128)
    GPT2LMHeadModel(config).eval().save_pretrained(folder)
    mark_synthetic(folder)
    wide_tokenizer(8000).save_pretrained(folder)
    return folder


def main() -> None:
    """Print the table, and how the rankings agree on the bundled model."""
    torch.set_num_threads(THREADS)
    print(f"{THREADS} thread(s), {'CPU' if CPU else 'wall'} seconds, torch {torch.__version__}{HEADER}")
    mini = load("mini", device="cpu")
    rankings = []
    for name in ("ioi", "colored_objects", "capitals", "greater_than"):
        task = same_length(BUILDERS[name](mini.tokens, 64, 0))
        if name == "ioi":
            found = measure(mini, task, 0)
            print(row("mini, IOI", mini, task, found), flush=True)
            exact = found.exact
        else:
            prompts = Batches(mini, task, range(len(task.pairs)))
            exact = total_effects(prompts, np.ones((mini.record.n_layers, mini.record.n_heads), bool), denoising=False)\
                .noising.mean(0)  # fmt: skip
        rankings.append((task.title, len(task.pairs), *(_rank(mini, task, steps, exact) for steps in (1, 5))))
    with tempfile.TemporaryDirectory() as folder:
        small = load(gpt2_small_shape(Path(folder) / "gpt2"), device="cpu")
        task = random_task(small, 16, 16)
        print(row("GPT-2 small shape, random", small, task, measure(small, task, 12)), flush=True)
        del small
        many = load(many_heads(Path(folder) / "many"), device="cpu")
        task = random_task(many, 16, 16)
        print(row("1,024 heads, random", many, task, measure(many, task, 64)), flush=True)
    print("\nRank of heads on mini, estimate against exact noising (Spearman over all heads):")
    for title, count, one, five in rankings:
        print(f"  {title}: {one:.2f} with one gradient, {five:.2f} with five inputs ({count} prompts)")


def _rank(model: Model, task: Task, steps: int, exact: Floats | None) -> float:
    assert exact is not None
    estimate = attribution(Batches(model, task, range(len(task.pairs))), steps).mean(0)
    return float(spearmanr(estimate.ravel(), exact.ravel()).statistic)


if __name__ == "__main__":
    main()
