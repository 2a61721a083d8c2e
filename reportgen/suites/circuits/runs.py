"""A task's clean and corrupted runs, and the statistics over all its prompts or some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reportgen.scores import Head, HeadScores, HeadSet, NamedArray, NotComputed, Table
from reportgen.stats import template_weights, units
from reportgen.suites.base import Context
from reportgen.suites.circuits.circuit import Circuit, Effects, circuit, summarise
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.sides import Batches
from reportgen.suites.circuits.tasks import Task
from reportgen.suites.circuits.traces import Trace, trace

if TYPE_CHECKING:
    from reportgen.models.model import Model

Floats = npt.NDArray[np.float64]
Grid = npt.NDArray[np.float64]  # [layer head]
FEWEST = 16  # prompts that long ones are never cut below
PerPrompt = npt.NDArray[np.float32]  # [prompt layer head]


@dataclass
class Outcome:
    """What one task adds to the result, filled in step by step.

    effects  measure -> mean effect over mean gap [layer head], for comparing tasks
    stages   stage -> its heads: "direct", "through_movers", "through_those"
    one_family  heads whose total effect the task's own templates have and the rephrased ones have not; None: not tried
    """

    facts: dict[str, object] = field(default_factory=dict)
    scores: list[HeadScores] = field(default_factory=list)
    head_sets: list[HeadSet] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    arrays: dict[str, NamedArray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    not_computed: list[NotComputed] = field(default_factory=list)
    effects: dict[str, Grid] = field(default_factory=dict)
    stages: dict[str, tuple[Head, ...]] = field(default_factory=dict)
    one_family: tuple[Head, ...] | None = None

    def members(self) -> tuple[Head, ...]:
        """All heads of the circuit, whatever their stage."""
        return tuple(sorted({head for heads in self.stages.values() for head in heads}))


@dataclass(frozen=True, eq=False)
class Sample:
    """Some of a task's prompts.

    rows       indices into the task's pairs
    gap        [prompt] m_clean - m_corrupted
    templates  [prompt] template index
    weights    [draw prompt] bootstrap draws: templates first, then prompts within them
    """

    rows: tuple[int, ...]
    gap: Floats
    templates: npt.NDArray[np.int64]
    weights: Floats

    @property
    def units(self) -> int:
        """How many templates there are; prompts, where they are of one."""
        return units(self.templates.tolist())


@dataclass(frozen=True, eq=False)
class Runs:
    """A task's clean and corrupted runs. `whole` is the sample of all its prompts."""

    model: Model
    task: Task
    settings: Settings
    context: Context
    clean: Trace
    corrupted: Trace
    whole: Sample
    rng: np.random.Generator
    _batches: dict[tuple[int, ...], Batches] = field(default_factory=dict)
    _samples: dict[int, Sample] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        return self.model.record.n_layers, self.model.record.n_heads

    def sample(self, count: int) -> Sample:
        """The first `count` prompts, fewer where prompts are long: templates come in turn, so they are spread evenly.

        Of a user's prompts, whose order may mean something, as many are drawn.
        """
        total, limit = len(self.task.pairs), self.settings.positions
        if limit:
            longest = max(len(pair.clean) for pair in self.task.pairs)
            count = min(count, max(FEWEST, limit // longest))
        if count >= total:
            return self.whole
        if count not in self._samples:
            rows: Sequence[int] = range(count)
            if self.task.user:
                rows = sorted(int(i) for i in self.rng.choice(total, size=count, replace=False))
            self._samples[count] = _sample(self.task, rows, self.whole.gap, self.settings.resamples, self.rng)
        return self._samples[count]

    def batches(self, of: Sample) -> Batches:
        """The sample's prompts run clean and corrupted, for patching at all positions."""
        if of.rows not in self._batches:
            self._batches[of.rows] = Batches(self.model, self.task, of.rows)
        return self._batches[of.rows]

    def summarise(
        self, effects: PerPrompt, of: Sample | None = None, *, gap: Floats | None = None, family: int = 0
    ) -> Effects:
        """Effects [prompt layer head] of a sample as shares of its gap, with interval and adjusted p."""
        of, s = of or self.whole, self.settings
        gaps = of.gap if gap is None else gap
        return summarise(effects, gaps, of.templates, of.weights, s.effect_share, s.flips, self.rng, family)

    def circuit(self, effects: Effects) -> Circuit:
        """The heads that the settings' rule selects."""
        s = self.settings
        return circuit(effects, s.effect_share, s.alpha, merullo=s.rule == "merullo")

    def evidence(self, effects: PerPrompt, of: Sample | None = None) -> NamedArray:
        """Per-prompt effects [prompt layer head] as stored, with the prompts' words."""
        rows = (of or self.whole).rows
        return NamedArray(
            ("prompt", "layer", "head"), effects, {"prompt": tuple(self.task.pairs[i].text for i in rows)}
        )


def start(model: Model, task: Task, settings: Settings, context: Context) -> Runs:
    """Run every prompt of the task, clean and corrupted."""
    clean = trace(model, task, settings.batch)
    corrupted = trace(model, task, settings.batch, corrupted=True)
    rng = np.random.default_rng([context.seed, 2])
    gap = (clean.m - corrupted.m).cpu().double().numpy()
    whole = _sample(task, range(len(task.pairs)), gap, settings.resamples, rng)
    return Runs(model, task, settings, context, clean, corrupted, whole, rng)


def _sample(task: Task, rows: Sequence[int], gap: Floats, resamples: int, rng: np.random.Generator) -> Sample:
    templates = np.array([task.pairs[i].template for i in rows], np.int64)
    weights = template_weights(templates.tolist(), resamples, rng)
    return Sample(tuple(rows), gap[list(rows)], templates, weights)
