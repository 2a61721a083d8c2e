"""The cognitive suite: what its line lets through, and its time against the original way.

- Planted and null heads together; 40 runs on permuted labels.
- The original way (CognitiveMirrors, as released): every answer decoded with batch 1 and all head outputs kept, then a
  probe of 64 projections and 512 hidden units trained with batch 1. Timed on the same rows for the same epochs, one
  seed against one, in one process.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from benchmarks.shapes import gpt2_small_shape
from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.cognitive.scoring import dataset, null, probe, prompts
from reportgen.suites.cognitive.scoring.fit import LabelledRows
from reportgen.suites.cognitive.scoring.prompts import Encoded, Encoder
from reportgen.suites.cognitive.suite import Recipe, preset

RECIPE = preset("recommended")
SAME_SIZE = replace(RECIPE, proj=64, hidden=512, learning_rate=1e-3)
PERMUTATIONS, POOL, RUNS, SEEDS = 99, 400, 40, 5
Ints = npt.NDArray[np.int64]
PLANTED = ((0, 3), (2, 1), (3, 6), (5, 5))


def main() -> None:
    """Print everything; a model folder may be given as the first argument in place of mini."""
    torch.set_num_threads(1)
    folder = next((word for word in sys.argv[1:] if Path(word).is_dir()), "mini")
    model = load(folder, device="cpu")
    planted_and_null(10, 1)
    planted_and_null(5, SEEDS)
    rows, encoded = _rows(model, "in_vocabulary")
    z = prompts.head_outputs(model, encoded, 16, lambda *_: None)
    permuted_runs(rows, z)
    speed("mini", model, Path(folder) if folder != "mini" else None, encoded, 800)
    with tempfile.TemporaryDirectory() as scratch:
        shaped = gpt2_small_shape(Path(scratch) / "gpt2-shaped")
        big = load(shaped, device="cpu")
        _, long = _rows(big, "english")
        speed("GPT-2-small shape", big, shaped, long, 120)


def _rows(model: Model, name: str) -> tuple[dataset.DataSet, list[Encoded]]:
    data = dataset.make_dataset(name, dataset.load(name), 12, "drop", 0)
    encoder = Encoder(model.tokens, data.rows, RECIPE, 5, "predict")
    return data, [encoder.encode(row, row.answer) for row in data.rows]


def _job(z: Tensor, labels: Ints, at: Sequence[Tensor], classes: int) -> null.ProbeJob:
    """Features and labels with the number of steps that an early-stopped run on the true labels takes."""
    made = probe.make_features(z, at[0], standardise=True, layer_mean=True)
    known = torch.from_numpy(labels)
    first = probe.train(made, known[None], at[0], RECIPE, 300, [99], classes=classes, validation=at[1])
    return null.ProbeJob(made, known, at[0], at[2], at[3], classes, RECIPE, first.steps)


def _sizes(job: null.ProbeJob) -> Tensor:
    """|own importance| [function head], mean over starts, as the suite computes it."""
    found = []
    for seed in range(SEEDS):
        labels = job.labels[None]
        made = probe.train(job.features, labels, job.train, job.recipe, job.steps, [seed], classes=job.classes)
        own = probe.importance(made.probes, job.features, labels, job.selection, job.recipe).own
        found.append(null.class_means(own, labels[:, job.selection], job.classes)[0])
    return torch.stack(found).mean(0).abs()


def planted_and_null(
    sets: int, starts: int, shape: tuple[int, int] = (6, 8), d_head: int = 16, classes: int = 8
) -> None:
    """Sets of noise with four heads that have a direction per class: who is beyond the line?"""
    found, false, sets_with_false = 0, 0, 0
    at = [torch.arange(a, b) for a, b in ((0, 480), (480, 560), (560, 680), (680, 800))]
    is_planted = torch.zeros(shape, dtype=torch.bool)
    is_planted[tuple(zip(*PLANTED, strict=True))] = True
    for seed in range(sets):
        rng = np.random.default_rng(seed)
        labels = rng.permutation(np.arange(800) % classes)
        z = rng.standard_normal((800, *shape, d_head)) * np.exp(rng.normal(size=(*shape, 1)))
        for layer, head in PLANTED:
            z[:, layer, head] += 1.2 * z[:, layer, head].std() * rng.standard_normal((classes, d_head))[labels]
        job = _job(torch.from_numpy(z), labels, at, classes)
        drawn = null.train_permuted(job, np.zeros(800, np.int64), PERMUTATIONS, starts, seed, lambda done, total: None)
        beyond = (_sizes(job) > null.family_line(drawn.maxima("own"), 0.05)).any(0).view(shape)
        found += int((beyond & is_planted).sum())
        false += int((beyond & ~is_planted).sum())
        sets_with_false += bool((beyond & ~is_planted).any())
    rest = int((~is_planted).sum())
    print(f"Planted and null heads together, {sets} sets, {starts} starts per permutation: {found} of "
          f"{sets * len(PLANTED)} planted heads beyond the line; {false} of {sets * rest} null heads, in "
          f"{sets_with_false} sets (nominal 5 %)")  # fmt: skip


def permuted_runs(data: dataset.DataSet, z: Tensor) -> None:
    """The model's features with permuted labels in the place of the real ones: how many runs show a head?

    Runs and their nulls are permutations alike, so that all are drawn from one pool.
    """
    rows = LabelledRows.of(data)
    strata, _ = null.strata_of(data.rows)
    at = [torch.from_numpy(rows.at[part]) for part in ("train", "validation", "selection", "test")]
    job = _job(z, rows.labels, at, len(data.functions))
    runs = null.train_permuted(job, strata, RUNS, SEEDS, 1, lambda done, total: None).maxima("own")
    for starts in (1, SEEDS):
        pool = null.train_permuted(job, strata, POOL, starts, 2, lambda done, total: None).maxima("own")
        rng = np.random.default_rng(3)
        lines = [null.family_line(rng.choice(pool, PERMUTATIONS, replace=False), 0.05) for _ in range(RUNS)]
        shown = sum(run > line for run, line in zip(runs, lines, strict=True))
        print(f"Permuted labels, {job.steps} steps, {starts} starts per permutation: {shown} of {RUNS} runs show a "
              "head (at most 6)")  # fmt: skip


def speed(name: str, model: Model, folder: Path | None, encoded: Sequence[Encoded], count: int) -> None:
    """Features and probe, ours and the original way, on the same rows."""
    some = list(encoded)[:count]
    plain = AutoModelForCausalLM.from_pretrained(folder or _bundled(), dtype=torch.float32).eval()
    ours, z = _timed(lambda: prompts.head_outputs(model, some, 16, lambda *_: None))
    theirs, kept = _timed(lambda: decoded(plain, some, model.record.n_heads))
    difference = max(float((a - b).abs().max()) for a, b in zip(z, kept, strict=True))
    tokens = np.mean([len(e.ids) - e.first for e in some])  # what the original keeps: every decoded step
    each = z[0].numel() * z.element_size()
    print(f"{name}, features of {count} rows: {ours:.2f} s against {theirs:.2f} s, {theirs / ours:.1f}x; the same up "
          f"to {difference:.1e}; memory per example {each / 1024:.1f} KiB, "
          f"{each * tokens / 1024:.1f} KiB with every token")  # fmt: skip
    shape = (model.record.n_layers, model.record.n_heads, model.record.d_head)
    rows, classes, epochs = 480, 8, 2
    noise = torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(rows) % classes
    reference, _ = _timed(lambda: original_probe(noise, labels, classes, epochs))
    made = probe.make_features(noise, torch.arange(rows), standardise=True, layer_mean=True)
    for words, recipe in (("recommended size", RECIPE), ("the original's size", SAME_SIZE)):
        took, _ = _timed(lambda recipe=recipe: _ours(made, labels, classes, recipe, epochs))
        print(f"{name}, probe of {words} ({recipe.proj} x {recipe.hidden}), {epochs} epochs of {rows} rows: "
              f"{took:.3f} s against {reference:.2f} s, {reference / took:.0f}x")  # fmt: skip
        if recipe is RECIPE:
            scaled = ours * 800 / count, theirs * 800 / count
            print(f"{name}, total for 800 rows and these epochs: {scaled[0] + took:.1f} s against "
                  f"{scaled[1] + reference:.1f} s, {(scaled[1] + reference) / (scaled[0] + took):.1f}x")  # fmt: skip


def _ours(made: probe.Features, labels: Tensor, classes: int, recipe: Recipe, epochs: int) -> None:
    steps = -(-len(labels) // recipe.batch) * epochs
    probe.train(made, labels[None], torch.arange(len(labels)), recipe, steps, [0], classes=classes)


def _timed(work):  # type: ignore[no-untyped-def]
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def _bundled() -> Path:
    import reportgen.mini

    return Path(str(reportgen.mini.__path__[0])) / "checkpoint"


@torch.no_grad()
def decoded(plain: nn.Module, encoded: Sequence[Encoded], n_heads: int) -> list[Tensor]:
    """One row and one token after the other, with a cache; z of every layer and step is kept, then averaged."""
    blocks = plain.transformer.h  # type: ignore[union-attr]
    found: list[list[Tensor]] = [[] for _ in blocks]
    hooks = [
        block.attn.c_proj.register_forward_pre_hook(lambda module, given, i=i: found[i].append(given[0][0, -1].clone()))
        for i, block in enumerate(blocks)  # type: ignore[arg-type]
    ]
    out = []
    for row in encoded:
        for one in found:
            one.clear()
        ids, cache = torch.tensor([row.ids]), None
        given = ids[:, : row.first + 1]
        for at in range(row.first + 1, ids.shape[1] + 1):  # the answer's tokens and the one that ends it
            cache = plain(given, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values
            given = ids[:, at : at + 1]
        steps = torch.stack([torch.stack(one) for one in found])  # [layer step d_model]
        sites = [site - row.first for site in row.sites]
        out.append(steps[:, sites].mean(1).view(len(found), n_heads, -1))
    for hook in hooks:
        hook.remove()
    return out


class OriginalProbe(nn.Module):
    """The released probe: one projection for all heads, a hidden layer, a class layer."""

    def __init__(self, heads: int, width: int, classes: int) -> None:
        super().__init__()
        self.project, self.hidden = nn.Linear(width, 64), nn.Linear(64 * heads, 512)
        self.drop, self.out = nn.Dropout(0.3), nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.drop(torch.relu(self.hidden(self.project(x).flatten(1)))))


def original_probe(z: Tensor, labels: Tensor, classes: int, epochs: int) -> OriginalProbe:
    """Batch 1, AdamW at 1e-4, no shuffling."""
    mean = z.mean(2, keepdim=True).expand_as(z)
    x = torch.cat([z, mean], dim=-1).flatten(1, 2)  # [row head 2d]
    made = OriginalProbe(x.shape[1], x.shape[2], classes)
    optimiser = torch.optim.AdamW(made.parameters(), lr=1e-4)
    for _ in range(epochs):
        for i in range(len(x)):
            optimiser.zero_grad()
            nn.functional.cross_entropy(made(x[i : i + 1]), labels[i : i + 1]).backward()
            optimiser.step()
    return made


if __name__ == "__main__":
    main()
