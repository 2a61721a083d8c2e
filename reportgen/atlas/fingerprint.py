"""Fingerprints of heads: every score that a run holds for a head, on a scale that other runs share.

- A score whose random twin has a value per head is z = (value - mean of the twin's heads) / their sd, as asinh(z):
  straight near the null, a logarithm far from it. Every other score is its mid-rank among the model's heads, -1 to 1.
- Two runs are compared on the measures that both hold, each on one scale: z where both have it, else the rank.
- Weights: a suite counts as much as any other; within it each measure (20 relations are one), within that each task.
  Where a head is, its relative depth and its output norm relative to its layer, counts as one more suite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reportgen import suites
from reportgen.aliases import Bools, Floats
from reportgen.manifest import ModelRecord
from reportgen.runfolder import Run, own_name
from reportgen.scores import TWIN, HeadScores, SuiteResult
from reportgen.stats import mid_ranks

PLACE = "@place"  # no suite can have this name
DEPTH, NORM = f"{PLACE}/depth/relative", f"{PLACE}/norm/within_layer"
LEAST_SHARED = 8  # measures that two heads must have in common


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """Every head of one run; heads in layer-major order.

    run, name  folder name of the run, printed name
    shape      layers, heads per layer
    keys       score keys, then DEPTH and NORM
    ranks      [measure head] mid-ranks among the model's heads, -1 to 1; NaN = not computed
    z          [measure head] asinh of sds above the random twin's heads; NaN rows without a twin's values
    twin       [measure head] the same of the twin's own heads
    """

    run: str
    name: str
    shape: tuple[int, int]
    keys: tuple[str, ...]
    ranks: Floats
    z: Floats
    twin: Floats
    synthetic: bool = False

    @property
    def depth(self) -> Floats:
        """[head] layer / (layers - 1); 0 in a model of one layer."""
        layers, heads = self.shape
        return np.repeat(np.arange(layers) / max(1, layers - 1), heads)


def fingerprints(run: Run) -> Fingerprints:
    """The fingerprints of a stored run's heads. RunError: a damaged run."""
    model = run.model
    scores = [s for result in run.results.values() for s in result.scores]
    norm = output_norm(run.results, (model.n_layers, model.n_heads))
    return of_scores(model, scores, norm)


def of_scores(model: ModelRecord, scores: Sequence[HeadScores], norm: Floats | None = None) -> Fingerprints:
    """Fingerprints from scores [layer head] of one grid; `norm` [layer head] of the heads' outputs, in any unit."""
    shape = (model.n_layers, model.n_heads)
    rows = [_row(s) for s in scores]
    rows += [_ranked(value) for value in _places(shape, norm)]
    keys = (*(s.key for s in scores), DEPTH, NORM)
    ranks, z, twin = (np.array(part).reshape(len(keys), -1) for part in zip(*rows, strict=True))
    name = f"{model.name} ({own})" if (own := own_name(model)) else model.name
    return Fingerprints(model.slug, name, shape, keys, ranks, z, twin, model.synthetic)


def output_norm(results: Mapping[str, SuiteResult], shape: tuple[int, int]) -> Floats | None:
    """[layer head] the output norm that a suite of the run measured and declares (`Suite.norm`), None without one."""
    known = suites.drawable(results)
    for name, result in results.items():
        wanted = known[name].norm if name in known else ""
        stored = result.arrays.get(wanted) if wanted else None
        if stored is not None and stored.values.shape == shape:
            return stored.values.astype(np.float64)
        scored = next((s for s in result.scores if wanted and s.key.startswith(f"{name}/{wanted}/")), None)
        if scored is not None:
            return scored.exact_values.astype(np.float64)
    return None


def _places(shape: tuple[int, int], norm: Floats | None) -> tuple[Floats, Floats]:
    """Relative depth [head], and output norm over the layer's mean [head], NaN where no suite measured it."""
    layers, heads = shape
    depth = np.repeat(np.arange(layers, dtype=np.float64), heads)
    if norm is None:
        return depth, np.full(layers * heads, np.nan)
    known = np.isfinite(norm)
    mean = np.where(known, norm, 0).sum(1, keepdims=True) / np.maximum(1, known.sum(1, keepdims=True))
    return depth, np.where(known & (mean > 0), norm / np.where(mean > 0, mean, 1), np.nan).ravel()


def _row(scores: HeadScores) -> tuple[Floats, Floats, Floats]:
    """Ranks, z and the twin's z of one score, [head] each."""
    values = scores.exact_values.astype(np.float64).ravel()
    ranks, none, _ = _ranked(values)
    twin = next((c.values for c in scores.controls if c.name == TWIN and c.values is not None), None)
    null = np.full(values.shape, np.nan) if twin is None else twin.astype(np.float64).ravel()
    known = null[np.isfinite(null)]
    if known.size < 2 or not known.std() > 0:
        return ranks, none, none
    return ranks, *(np.arcsinh((x - known.mean()) / known.std()) for x in (values, null))


def _ranked(values: Floats) -> tuple[Floats, Floats, Floats]:
    """A score without a twin: its ranks, and NaN."""
    known = int(np.isfinite(values).sum())
    ranks = 2 * (mid_ranks(values) - 0.5) / max(1, known) - 1
    return ranks, np.full(values.shape, np.nan), np.full(values.shape, np.nan)


def weights(keys: Sequence[str]) -> Floats:
    """[measure] weights that sum to 1: equal over suites, in a suite over measures, in a measure over tasks."""
    parts = [tuple(key.split("/")) for key in keys]
    measures = Counter(suite for suite, _ in {part[:2] for part in parts})
    tasks = Counter(part[:2] for part in parts)
    return np.array([1 / (len(measures) * measures[p[0]] * tasks[p[:2]]) for p in parts])


@dataclass(frozen=True, eq=False)
class Shared:
    """Two runs on the measures that both hold, weighted: a squared length is a weighted mean square.

    keys, weight   the measures, and the weight of each
    is_z           [measure] z of the random twin; else ranks
    first, second  [measure head] NaN = not computed
    twin           [measure head] the second run's random twin; NaN where it has no values
    depths         [head] relative depth of the first run's heads, of the second's
    """

    keys: tuple[str, ...]
    weight: Floats
    is_z: Bools
    first: Floats
    second: Floats
    twin: Floats
    depths: tuple[Floats, Floats]

    @property
    def measures(self) -> int:
        """Scores in common, without the place of a head."""
        return sum(not key.startswith(PLACE) for key in self.keys)


def shared(first: Fingerprints, second: Fingerprints) -> Shared:
    """What both runs hold; measures that do not vary over the heads of both are left out."""
    kept: list[tuple[str, bool, Floats, Floats, Floats, float]] = []
    for i, key in enumerate(first.keys):
        if key not in second.keys:
            continue
        j = second.keys.index(key)
        is_z = bool(np.isfinite(first.z[i]).any() and np.isfinite(second.z[j]).any())
        a, b = (first.z[i], second.z[j]) if is_z else (first.ranks[i], second.ranks[j])
        known = np.concatenate([a[np.isfinite(a)], b[np.isfinite(b)]])
        size = float(np.sqrt(np.mean(known**2))) if known.size else 0.0
        if size > 0 and np.isfinite(a).any() and np.isfinite(b).any():
            twin = second.twin[j] if is_z else np.full(b.shape, np.nan)
            kept.append((key, is_z, a / size, b / size, twin / size, size))
    keys = tuple(entry[0] for entry in kept)
    weight = weights(keys)
    scale = np.sqrt(weight)[:, None]
    a, b, twin = (scale * np.array([e[i] for e in kept]).reshape(len(kept), -1) for i in (2, 3, 4))
    return Shared(keys, weight, np.array([e[1] for e in kept], bool), a, b, twin, (first.depth, second.depth))
