"""Whether the interval of a model's best head, chosen and measured on different halves, holds its true value.

Truth is computed, not assumed: over all pairs of words for relations, over 1,024 further sequences or 150 further
templates of prompts for attention and circuits. Beside it the same head's interval at face value, from all the data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reportgen.models.model import Model
from reportgen.scores import HeadScores, parse_head
from reportgen.suites.attention.scoring import patterns
from reportgen.suites.attention.scoring.score import score as attention_score
from reportgen.suites.attention.suite import Settings as Attention
from reportgen.suites.base import Context
from reportgen.suites.circuits.scoring import task_runs as runs
from reportgen.suites.circuits.scoring.effects import direct_effects
from reportgen.suites.circuits.scoring.score import _top_head
from reportgen.suites.circuits.scoring.task_runs import PerPrompt, Runs
from reportgen.suites.circuits.settings import Settings as Circuits
from reportgen.suites.circuits.tasks import user
from reportgen.suites.circuits.tasks.task import Task
from reportgen.suites.relations.scoring.score import score as relations_score
from reportgen.suites.relations.scoring.static import read_inputs
from reportgen.suites.relations.suite import RelationsSettings
from tests.soak.nulls import LAGS, SEQUENCES
from tests.soak.twins import WORDS

Grid = npt.NDArray[np.float64]  # [layer head]
PAIRS, K = 80, 60
TEMPLATES = {16: 6, 8: 12}  # templates as the tasks with the most and the fewest have them -> prompts of each
LONG_SEQUENCES, LONG_TEMPLATES, LONG_EACH = 1024, 150, 2


@dataclass(frozen=True)
class Covered:
    """Whether the held-out interval of the best head holds the truth, and the same head's at face value; and the share
    of all heads whose own interval does."""

    held_out: bool
    face_value: bool
    every: float


def _covered(low: float, high: float, truth: float) -> bool:
    return bool(low - 1e-9 <= truth <= high + 1e-9)


def _outcome(is_held: bool, values: Any, low: Any, high: Any, truth: Grid) -> Covered:
    """With the best head of all the data, and every head, by their own intervals; all [layer head]."""
    holds = (low - 1e-9 <= truth) & (truth <= high + 1e-9)
    best = np.unravel_index(int(np.nanargmax(np.abs(values))), values.shape)
    return Covered(is_held, bool(holds[best]), float(holds.mean()))


def relations(twin: Model, seed: int, folder: Path) -> dict[str, Covered]:
    """Targets drawn at random; and half of them drawn from what one head writes."""
    rng = np.random.default_rng([seed, 11])
    ids = [int(twin.tokens.word_id(word) or 0) for word in WORDS]
    hits = _hits(twin, ids)  # [layer head source target]
    planted = hits[1, 2]
    sources = rng.integers(0, len(WORDS), PAIRS)
    at_random = rng.integers(0, len(WORDS), PAIRS)
    written = [int(rng.choice(np.flatnonzero(planted[s]))) for s in sources]
    mixed = np.where(rng.random(PAIRS) < 0.5, written, at_random)
    for name, targets in (("random", at_random), ("planted", mixed)):
        pairs = [[WORDS[s], WORDS[t]] for s, t in zip(sources, targets, strict=True)]
        (folder / f"{name}.json").write_text(json.dumps(pairs))
    chance = hits.mean((2, 3))
    both = (hits & planted).sum(3) / planted.sum(1)  # [layer head source]
    truth = {"random": chance, "planted": 0.5 * chance + 0.5 * both.mean(2)}
    settings = RelationsSettings(
        relations_dir=str(folder), k=K, permutations=0, folded=False, twins=0, matched=0, dynamic=False,
        multi_token=False, ablation=False, salient_tokens=0,
    )  # fmt: skip
    found = relations_score(twin, settings, Context(seed, 1))
    out = {}
    for scores in found.scores:
        if scores.measure == "score":
            out[f"relations: score, {scores.task} targets"] = _both(scores, truth[scores.task])
    return out


def _both(scores: HeadScores, truth: Grid) -> Covered:
    held = scores.held_out
    assert held is not None
    is_held = _covered(held.low, held.high, float(truth[parse_head(held.head)]))
    return _outcome(is_held, scores.values, scores.low, scores.high, truth)


def _hits(twin: Model, ids: Sequence[int]) -> npt.NDArray[np.bool_]:
    """[layer head source target] whether the word is among the K first of the source's row, over all words."""
    inputs = read_inputs(twin, np.asarray(ids), first_mlp=True)
    W_U = twin.W_U().double()
    layers = []
    for layer in range(twin.record.n_layers):
        maps = torch.einsum("hde,hef->hdf", twin.W_V(layer).double(), twin.W_O(layer).double())
        logits = torch.einsum("sd,hdf,fv->hsv", inputs.of(layer).double(), maps, W_U)
        layers.append((logits >= logits.topk(K).values[..., -1:])[..., list(ids)].numpy())
    return np.stack(layers)


def attention(twin: Model, seed: int, folder: Path) -> dict[str, Covered]:
    """Repeated random tokens, as the suite has them."""
    settings = Attention(
        lags=LAGS, sequences=SEQUENCES, permutations=1, resamples=1000, text_windows=0, batch=256, copy_tokens=1000
    )
    found = attention_score(twin, settings, Context(seed, 1))
    rng = np.random.default_rng([seed, 12])
    words = patterns.plain_words(twin.tokens, twin.tokens.size, 1000, rng)
    made = patterns.repeated(words, LAGS, LONG_SEQUENCES, None, rng)
    tally = patterns.measure(twin, made, 256)
    at = np.arange(len(made.which))
    truth = {
        "previous_token": tally.previous,
        "first_token": tally.first,
        "duplicate_token": tally.duplicate[at, made.which],
        "induction": tally.induction[at, made.which],
    }
    by_name = {s.measure: s for s in found.scores}
    return {f"attention: {name}": _both(by_name[name], each.mean(0, dtype=np.float64)) for name, each in truth.items()}


def circuits(twin: Model, seed: int, folder: Path) -> dict[str, Covered]:
    """One word of the prompt changed; answer and foil are the two words that this moves most. Templates are random
    contexts, two words of which differ between a template's prompts."""
    rng = np.random.default_rng([seed, 13])
    first, second, *ends = rng.permutation(WORDS)[:4].tolist()
    ends = _moved(twin, _task(twin, rng, (first, second), ends, folder, 40, 1))
    long, far = _effects(twin, _task(twin, rng, (first, second), ends, folder, LONG_TEMPLATES, LONG_EACH), seed)
    truth = far.mean(0, dtype=np.float64) / long.whole.gap.mean()
    out = {}
    for count, prompts in TEMPLATES.items():
        of, each = _effects(twin, _task(twin, rng, (first, second), ends, folder, count, prompts), seed)
        effects = of.summarise(each)
        top = _top_head(effects, of, each)
        assert top is not None
        is_held = _covered(top.low, top.high, float(truth[parse_head(top.head)]))
        found = _outcome(is_held, effects.value, effects.low, effects.high, truth)
        out[f"circuits: direct effect, {count} templates"] = found
    return out


def _moved(twin: Model, task: Task) -> tuple[str, str]:
    """The words whose logits the changed word raises and lowers most, on average."""
    sides = [[pair.clean for pair in task.pairs], [pair.corrupted for pair in task.pairs]]
    clean, corrupted = (twin.run(torch.tensor(side), last=True)[:, -1].mean(0) for side in sides)
    by_word = (clean - corrupted)[[int(twin.tokens.word_id(word) or 0) for word in WORDS]]
    return WORDS[int(by_word.argmax())], WORDS[int(by_word.argmin())]


def _task(
    twin: Model, rng: np.random.Generator, changed: Sequence[str], ends: Sequence[str], folder: Path, count: int,
    each: int,
) -> Task:  # fmt: skip
    """`count` templates in turn, `each` prompts of every one."""
    free = [word for word in WORDS if word not in (*changed, *ends)]
    contexts = [rng.choice(free, 6, replace=False).tolist() for _ in range(count)]
    lines = []
    for _ in range(each):
        for number, context in enumerate(contexts):
            words = [*context[:4], *rng.choice(free, 2, replace=False).tolist(), *context[4:]]
            clean, corrupted = [*words[:6], changed[0], *words[6:]], [*words[:6], changed[1], *words[6:]]
            lines.append(
                {"task": "moved", "clean": " ".join(clean), "corrupted": " ".join(corrupted), "answer": ends[0],
                 "foil": ends[1], "template": str(number)}
            )  # fmt: skip
    path = folder / "moved.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return user.build(twin.tokens, "moved", user.read(str(path), ())["moved"], len(lines))


def _effects(twin: Model, task: Task, seed: int) -> tuple[Runs, PerPrompt]:
    settings = Circuits(prompts=LONG_TEMPLATES * LONG_EACH, flips=1, resamples=1000, positions=0, text=False)
    of = runs.start(twin, task, settings, Context(seed, 1))
    return of, direct_effects(twin, task, of.clean, of.corrupted).effects


Coverage = Callable[[Model, int, Path], dict[str, Covered]]
COVERAGE: dict[str, Coverage] = {"relations": relations, "attention": attention, "circuits": circuits}
