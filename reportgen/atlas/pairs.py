"""All pairs of some runs: who is most like whom, how many heads have a partner, and how that compares with chance."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from reportgen import __version__
from reportgen.aliases import Progress
from reportgen.atlas.fingerprint import LEAST_SHARED, Fingerprints, fingerprints, weights
from reportgen.atlas.nearest import ALPHA, MOST, Matches, search
from reportgen.errors import SettingsError
from reportgen.files import check_writable, write_atomic
from reportgen.runfolder import Run
from reportgen.scores import head_name
from reportgen.stats import wilson

MOST_OTHERS = 8  # runs in which the heads of one run are looked for: those with the most measures in common
VERSION = "reportgen-atlas-1"


@dataclass(frozen=True)
class Alike:
    """A head elsewhere that is most like one here.

    run, name  folder and printed name of its run
    head       "L9H6"
    distance   1 - cosine of the fingerprints
    chance     share of searches among depth-matched null heads at least as near, of `draws`
    twin       the same in the random twin; None where the runs do not hold its values
    measures   scores that both heads have
    """

    run: str
    name: str
    head: str
    distance: float
    chance: float
    twin: float | None
    measures: int
    draws: int


@dataclass(frozen=True)
class Pair:
    """One run's heads looked for in another.

    heads       heads that were compared
    partners    those whose nearest head beats the nulls, with a false-discovery rate of at most ALPHA
    near        those whose nearest head is as near as at most ALPHA of its null searches; expected: as many by chance
    same        on one grid: heads whose nearest is the head of the same name; None on different grids
    low, high   95 % interval of that share
    same_three  the head of the same name is among the nearest three
    same_layer  the nearest is in the same layer
    """

    first: str
    second: str
    measures: int
    draws: int
    heads: int
    partners: int
    near: int
    expected: float
    same: int | None = None
    low: float | None = None
    high: float | None = None
    same_three: int | None = None
    same_layer: int | None = None
    grid: tuple[int, int] | None = None

    def words(self) -> str:
        """The pair in one line, with chance beside each number."""
        if not self.heads:
            return f"{self.measures} scores in common: {LEAST_SHARED} are needed"
        line = (
            f"{self.partners} of {self.heads} heads have a partner (false-discovery rate {ALPHA:.0%}); "
            f"nearest within {ALPHA:.0%} of its null: {self.near}, by chance {self.expected:.1f}"
        )
        if self.same is None or self.grid is None:
            return line
        share, every = self.same / self.heads, self.grid[0] * self.grid[1]
        return (
            f"{line}; same name nearest: {self.same} of {self.heads} = {share:.0%} [{self.low:.0%}, {self.high:.0%}], "
            f"by chance {1 / every:.1%}, {1 / self.grid[1]:.1%} if the layer is given; among the nearest {MOST}: "
            f"{self.same_three}; same layer: {self.same_layer}"
        )


@dataclass(frozen=True, eq=False)
class Atlas:
    """Some runs' fingerprints, and the searches between them by the folder names of the two runs."""

    prints: dict[str, Fingerprints]
    matches: dict[tuple[str, str], Matches]
    seed: int

    def alike(self, run: str) -> dict[str, tuple[Alike, ...]]:
        """Head name -> up to three heads of other runs that are nearer than the nulls, nearest first; () for none."""
        mine = [found for (first, _), found in self.matches.items() if first == run and found.draws]
        if not mine:
            return {}
        layers, heads = self.prints[run].shape
        return {head_name(*divmod(i, heads)): self._best(mine, i) for i in range(layers * heads)}

    def _best(self, mine: Sequence[Matches], i: int) -> tuple[Alike, ...]:
        found = [self._one(m, i, place) for m in mine for place in np.flatnonzero(m.found[i]).tolist()]
        return tuple(sorted(found, key=lambda one: (one.distance, one.run, one.head))[:MOST])

    def _one(self, m: Matches, i: int, place: int) -> Alike:
        other = self.prints[m.second]
        twin = float(m.twin[i, place])
        return Alike(
            run=m.second,
            name=other.name,
            head=head_name(*divmod(int(m.head[i, place]), other.shape[1])),
            distance=round(float(m.distance[i, place]), 4),
            chance=round(float(m.chance[i, place]), 4),
            twin=None if np.isnan(twin) else round(twin, 4),
            measures=int(m.common[i, place]),
            draws=m.draws,
        )

    def pairs(self) -> list[Pair]:
        """A summary of every search, in the order of the runs."""
        return [self._pair(m) for m in self.matches.values()]

    def _pair(self, m: Matches) -> Pair:
        known = m.head[:, 0] >= 0 if m.draws else np.zeros(len(m.head), bool)
        count = int(known.sum())
        partners, near = int(m.found[known, 0].sum()), int((m.chance[known, 0] <= ALPHA).sum())
        found = Pair(m.first, m.second, m.measures, m.draws, count, partners, near, ALPHA * count)
        grid = self.prints[m.first].shape
        if grid != self.prints[m.second].shape or not count:
            return found
        own = np.arange(len(m.head))
        same = int((m.head[known, 0] == own[known]).sum())
        low, high = wilson(same, count)
        three = int((m.head[known] == own[known, None]).any(1).sum())
        layer = int((m.head[known, 0] // grid[1] == own[known] // grid[1]).sum())
        told = {"same": same, "low": float(low), "high": float(high), "same_three": three, "same_layer": layer}
        return Pair(**{**asdict(found), **told, "grid": grid})


def make_atlas(runs: Sequence[Run], seed: int = 0, progress: Progress | None = None, draws: int = 0) -> Atlas:
    """Search the heads of every run in the others; comparisons and runs with too few scores in common are left out.

    progress  progress(done, total, words) after every search
    """
    every = [fingerprints(run) for run in runs if run.model.source != "comparison"]
    return between(every, seed, progress, draws)


def between(every: Sequence[Fingerprints], seed: int = 0, progress: Progress | None = None, draws: int = 0) -> Atlas:
    """The atlas of these fingerprints."""
    wanted = [(a, b) for a in every for b in _others(a, every)]
    matches = {}
    for done, (a, b) in enumerate(wanted, start=1):
        matches[a.run, b.run] = search(a, b, seed, draws)
        if progress is not None:
            progress(done, len(wanted), f"{a.run} in {b.run}")
    return Atlas({one.run: one for one in every}, matches, seed)


def _others(one: Fingerprints, every: Iterable[Fingerprints]) -> list[Fingerprints]:
    """The runs to look in: at most MOST_OTHERS, those that have the most scores in common, in the order given.

    Heads of made-up models are looked for among made-up ones alone, and no others are.
    """
    mine = set(one.keys)
    others = [other for other in every if other is not one and other.synthetic == one.synthetic]
    kept = sorted(others, key=lambda other: -len(mine & set(other.keys)))[:MOST_OTHERS]
    return [other for other in others if any(other is k for k in kept)]


COLUMNS = (
    "run", "head", "other_run", "other_head", "place", "distance", "chance", "rate", "twin", "measures", "draws",
    "beyond_nulls",
)  # fmt: skip


def nearest_csv(atlas: Atlas) -> str:
    """Every search's nearest heads, a row each: also those that do not beat the nulls."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for m in atlas.matches.values():
        heads, others = atlas.prints[m.first].shape[1], atlas.prints[m.second].shape[1]
        for i, place in np.argwhere(m.head >= 0).tolist() if m.draws else []:
            rate = m.rate[i] if place == 0 else np.nan
            numbers = (m.distance[i, place], m.chance[i, place], rate, m.twin[i, place])
            names = (head_name(*divmod(i, heads)), head_name(*divmod(int(m.head[i, place]), others)))
            cells = ("" if np.isnan(x) else f"{x:.5g}" for x in numbers)
            yes = "yes" if m.found[i, place] else "no"
            writer.writerow(
                (m.first, names[0], m.second, names[1], place + 1, *cells, m.common[i, place], m.draws, yes)
            )
    return out.getvalue()


def weight_rows(one: Fingerprints) -> list[tuple[str, str, int, float]]:
    """Suite, measure, number of tasks, and weight together: a run's own weights, which sum to 1."""
    found: dict[tuple[str, str], list[float]] = {}
    for key, weight in zip(one.keys, weights(one.keys), strict=True):
        suite, measure, _ = key.split("/")
        found.setdefault((suite.removeprefix("@"), measure), []).append(float(weight))
    return [(*name, len(each), sum(each)) for name, each in found.items()]


def weights_csv(atlas: Atlas) -> str:
    """The weight of every measure in every run's own fingerprint; a pair uses those of the scores it shares."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("run", "suite", "measure", "tasks", "weight"))
    for run, one in atlas.prints.items():
        writer.writerows((run, *row[:3], f"{row[3]:.5g}") for row in weight_rows(one))
    return out.getvalue()


def write_atlas(atlas: Atlas, out: Path, *, needs_pairs: bool = True) -> Path:
    """Write nearest.csv, weights.csv and atlas.json into the folder `out`; returns the last.

    Raises SettingsError if no two runs can be compared and `needs_pairs`, RunError if the folder can't be written.
    """
    if needs_pairs and not any(m.draws for m in atlas.matches.values()):
        raise SettingsError(
            f"No two of these runs have {LEAST_SHARED} scores in common.", "Score them with the same suites."
        )
    check_writable(out)
    told = {
        "format": VERSION,
        "reportgen": __version__,
        "seed": atlas.seed,
        "level": ALPHA,
        "least_measures": LEAST_SHARED,
        "pairs": [asdict(pair) for pair in atlas.pairs()],
        "heads": {run: _plain(atlas, run) for run in atlas.prints},
    }
    write_atomic(out / "nearest.csv", nearest_csv(atlas).encode())
    write_atomic(out / "weights.csv", weights_csv(atlas).encode())
    write_atomic(out / "atlas.json", (json.dumps(told, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return out / "atlas.json"


def _plain(atlas: Atlas, run: str) -> dict[str, list[dict[str, object]]]:
    return {head: [asdict(one) for one in found] for head, found in atlas.alike(run).items() if found}
