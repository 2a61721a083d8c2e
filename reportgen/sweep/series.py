"""A stored sweep's scores along its training steps: what the figures draw. No torch.

"Above the line": the head beats its null (family-wise adjusted p <= 0.05 within its checkpoint, or a value above the
family-wise line), and its score reaches the suite's own threshold where the suite has one. The correction is over the
heads of one checkpoint, never over checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reportgen import suites as registry
from reportgen.report.text import cleaned
from reportgen.scores import Head, HeadScores, HeadSet, SuiteResult, head_name
from reportgen.sweep.stored import MemberRecord, Sweep

ALPHA = 0.05
FOLLOWED = {  # suite -> sets that its leading score is evidence for; circuits also names heads that act through others
    "circuits": frozenset(("direct", "movers", "name_movers", "negative_movers", "subject", "foil")),
}
THRESHOLDS = {"attention": "threshold", "relations": "tau", "circuits": "effect_share"}  # suite -> its setting
Mask = npt.NDArray[np.bool_]  # [layer head]


@dataclass(frozen=True, eq=False)
class Point:
    """One score of one checkpoint. `threshold`: the suite's own, in units of the score; None where it has none."""

    member: MemberRecord
    scores: HeadScores
    threshold: float | None
    shape: Head

    @property
    def sizes(self) -> npt.NDArray[np.float32]:
        """[layer head]: the value, or its size where values are signed; NaN for estimates."""
        return np.abs(self.scores.exact_values) if self.signed else self.scores.exact_values

    @property
    def signed(self) -> bool:
        return self.scores.range[0] < 0

    def beats_null(self) -> Mask | None:
        """[layer head]; None where the score has no null."""
        if self.scores.p is not None:
            return np.asarray(np.nan_to_num(self.scores.p, nan=1.0) <= ALPHA)
        if self.scores.line is not None:
            return np.asarray(np.nan_to_num(self.sizes, nan=-np.inf) > self.scores.line)
        return None

    def above(self) -> Mask | None:
        """[layer head]: beats the null and reaches the threshold; None where the score has no null."""
        beats = self.beats_null()
        if beats is None or self.threshold is None:
            return beats
        return np.asarray(beats & (np.nan_to_num(self.sizes, nan=-np.inf) >= self.threshold))

    def best(self) -> Head | None:
        """The head with the largest size; None where no head has a value."""
        if not np.isfinite(self.sizes).any():
            return None
        at = np.unravel_index(int(np.nanargmax(self.sizes)), self.sizes.shape)
        return int(at[0]), int(at[1])


@dataclass(frozen=True, eq=False)
class Track:
    """One score along a training run, steps ascending."""

    key: str
    label: str
    points: tuple[Point, ...]

    @property
    def task(self) -> str:
        """The task in words."""
        name = self.key.rsplit("/", 1)[-1].replace("_", " ")
        return name.upper() if len(name) <= 3 else name

    @property
    def steps(self) -> tuple[int, ...]:
        return tuple(point.member.step or 0 for point in self.points)

    @property
    def signed(self) -> bool:
        return self.points[0].signed

    def first_above(self, head: Head) -> int | None:
        """The first step at which `head` is above the line."""
        for point in self.points:
            above = point.above()
            if above is not None and above[head]:
                return point.member.step
        return None


@dataclass(frozen=True)
class Labelled:
    """A head of a computed set of the last checkpoint, and the score it is followed by."""

    head: Head
    heads: HeadSet
    track: Track

    @property
    def name(self) -> str:
        return head_name(*self.head)


@dataclass(frozen=True, eq=False)
class Training:
    """The checkpoints of one model that say their steps; `tracks` by suite, those that figures draw."""

    label: str
    members: tuple[MemberRecord, ...]
    tracks: Mapping[str, tuple[Track, ...]]
    labelled: Mapping[str, tuple[Labelled, ...]]


@dataclass(frozen=True, eq=False)
class Story:
    """Everything a sweep's report draws.

    trainings  models with at least two checkpoints
    families   the last checkpoint of every model, where there are two models or more: suite -> score -> its points
    titles     suite -> its title;  synthetic: some model's weights were never trained
    """

    trainings: tuple[Training, ...]
    families: Mapping[str, Mapping[str, tuple[Point, ...]]]
    titles: Mapping[str, str]
    synthetic: bool


@dataclass(frozen=True, eq=False)
class _Read:
    """One run, as much of it as is drawn."""

    member: MemberRecord
    points: Mapping[str, tuple[Point, ...]]  # suite -> its leading scores
    sets: Mapping[str, tuple[HeadSet, ...]]
    synthetic: bool


def story(sweep: Sweep) -> Story:
    """Read the scores of every member, one run at a time. Raises RunError where a run is damaged."""
    found = []
    for member, run in sweep.runs():
        results = {name: result for name, result in cleaned(dict(run.results)).items() if result.scores}
        settings = {name: run.manifest.suites[name].settings for name in results}
        points = {n: _points(member, r, settings[n]) for n, r in results.items()}
        sets = {name: result.head_sets for name, result in results.items()}
        synthetic = run.manifest.synthetic or run.manifest.model.synthetic
        found.append(_Read(member, points, sets, synthetic))
    labels = list(dict.fromkeys(read.member.label for read in found))
    by_label = {label: [read for read in found if read.member.label == label] for label in labels}
    trainings = tuple(made for label in labels if (made := _training(label, by_label[label])) is not None)
    last = [reads[-1] for reads in by_label.values()]
    known = registry.known()
    names = list(dict.fromkeys(name for read in found for name in read.points))
    return Story(
        trainings=trainings,
        families=_families(last) if len(last) > 1 else {},
        titles={name: known[name].title if name in known else name for name in names},
        synthetic=any(read.synthetic for read in found),
    )


def _points(member: MemberRecord, result: SuiteResult, settings: Mapping[str, object]) -> tuple[Point, ...]:
    """The scores that stand for a suite: all tasks of its first measure, or its measures where each has one task."""
    measures = list(dict.fromkeys(score.measure for score in result.scores))
    first = [score for score in result.scores if score.measure == measures[0]]
    chosen = first if len(first) > 1 else [next(s for s in result.scores if s.measure == m) for m in measures]
    value = settings.get(THRESHOLDS.get(result.suite, ""))
    limit = float(value) if isinstance(value, int | float) else None
    return tuple(
        Point(member, s, None if s.p is None and s.line is None else limit, (s.values.shape[0], s.values.shape[1]))
        for s in chosen
    )


def _training(label: str, reads: Sequence[_Read]) -> Training | None:
    """The training run that these checkpoints show; None where fewer than two of one shape say their step."""
    stepped = [read for read in reads if read.member.step is not None]
    steps = [read.member.step for read in stepped]
    if len(set(steps)) < 2 or len(set(steps)) != len(steps):
        return None
    names = list(dict.fromkeys(name for read in stepped for name in read.points))
    tracks = {name: _tracks(name, stepped) for name in names}
    last = {name: [read.sets[name] for read in stepped if name in read.sets][-1] for name in names}
    labelled = {name: _labelled(last[name], tracks[name]) for name in names}
    return Training(label, tuple(r.member for r in stepped), {n: t for n, t in tracks.items() if t}, labelled)


def _tracks(suite: str, reads: Sequence[_Read]) -> tuple[Track, ...]:
    """Scores that at least two checkpoints have, as the last one orders them; another shape of model is left out."""
    last = [read.points[suite] for read in reads if suite in read.points][-1]
    tracks = []
    for final in last:
        along = [p for read in reads for p in read.points.get(suite, ()) if p.scores.key == final.scores.key]
        same = tuple(point for point in along if point.shape == final.shape)
        if len(same) > 1:
            tracks.append(Track(final.scores.key, final.scores.label, same))
    labels = [track.label for track in tracks]
    return tuple(replace(t, label=f"{t.label}: {t.task}") if labels.count(t.label) > 1 else t for t in tracks)


def _labelled(sets: Sequence[HeadSet], tracks: Sequence[Track]) -> tuple[Labelled, ...]:
    """Heads of the computed sets whose score is followed, each set's by their last value."""
    found = []
    for heads in sets:
        track = _track_of(heads, tracks)
        if track is None or track.points[-1].above() is None:
            continue
        sizes = track.points[-1].sizes
        order = sorted(heads.heads, key=lambda head: -float(np.nan_to_num(sizes[head])))
        found += [Labelled(head, heads, track) for head in order]
    return tuple(found)


def _track_of(heads: HeadSet, tracks: Sequence[Track]) -> Track | None:
    """The score a set was read from: its key names the task, and no other measure of the suite than the score's."""
    suite, *parts = heads.key.split("/")
    if suite in FOLLOWED and parts[-1] not in FOLLOWED[suite]:
        return None
    known = registry.known()
    measures = {m.name for m in known[suite].measures} if suite in known else set()
    named = {m for part in parts for m in measures if part in (m, f"{m}_heads")}
    for track in tracks:
        _, measure, task = track.key.split("/")
        if task in parts and named <= {measure}:
            return track
    return None


def _families(last: Sequence[_Read]) -> Mapping[str, Mapping[str, tuple[Point, ...]]]:
    """suite -> score -> the points of the models that have it, where two or more do."""
    found: dict[str, dict[str, list[Point]]] = {}
    for read in last:
        for suite, points in read.points.items():
            for point in points:
                found.setdefault(suite, {}).setdefault(point.scores.key, []).append(point)
    return {
        suite: {key: tuple(points) for key, points in keys.items() if len(points) > 1}
        for suite, keys in found.items()
        if any(len(points) > 1 for points in keys.values())
    }
