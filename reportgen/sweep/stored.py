"""A stored sweep: sweep.json and the run folders beside it. Nothing here imports torch.

sweep.json    the members and their status; written only by the driver, after every member
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from reportgen import __version__
from reportgen import suites as registry
from reportgen.errors import RunError
from reportgen.files import is_file, there, write_atomic
from reportgen.report.text import cleaned
from reportgen.runfolder import MANIFEST, Run, is_slug, read_versioned
from reportgen.scores import Head, HeadScores, HeadSet, SuiteResult, head_name

SCHEMA_VERSION = 1
RECORD = "sweep.json"


Step = Annotated[int, msgspec.Meta(ge=0, lt=10**12)]


class MemberRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One (model, revision) and how it ended."""

    slug: str  # run folder beside sweep.json
    model: str
    revision: str  # hub commit; empty for folders
    label: str  # the model in words
    name: str  # the revision as typed
    step: Step | None = None  # training step
    status: Literal["waiting", "done", "failed"] = "waiting"
    error: str = ""  # reason of a failure, one line
    elapsed_s: float = 0.0  # of the attempt that ended it, 0 where it was kept
    kept: bool = False  # finished by an earlier sweep

    @property
    def title(self) -> str:
        """`pythia-70m @ step1000`."""
        return f"{self.label} @ {self.name}" if self.name else self.label


class SweepRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The whole of sweep.json."""

    schema_version: int
    name: str
    created: str  # ISO 8601, UTC
    updated: str
    argv: list[str]
    engine: str  # "local" | "ray", with its settings in words
    suites: list[str]
    members: list[MemberRecord]
    elapsed_s: float = 0.0  # wall time of the last sweep
    version: str = ""


@dataclass(frozen=True)
class SweepTally:
    """Progress of a sweep. `eta_s`: estimated seconds left at the speed so far; None before the first member ended."""

    total: int
    done: int
    failed: int
    running: int
    kept: int
    eta_s: float | None


@dataclass(frozen=True)
class Sweep:
    """A sweep folder, read."""

    path: Path
    record: SweepRecord

    @classmethod
    def open(cls, path: Path | str) -> Sweep:
        """The sweep at `path`; RunError in one line when there is none, it is damaged or of a newer reportgen."""
        path = Path(path)
        file = path / RECORD
        again = "Rerun the 'reportgen sweep' command."
        if not there(file):
            raise RunError(f"{path} is not a sweep (no {RECORD}).", "Make one with 'reportgen sweep'.")
        record = read_versioned(file, SweepRecord, SCHEMA_VERSION, again)
        names = [record.name, *(member.slug for member in record.members)]
        for name in names:
            if not is_slug(name):
                raise RunError(f"{file} has a folder name {name!r} that is not a plain name.", again)
        if doubles := sorted(name for name, count in Counter(names[1:]).items() if count > 1):
            raise RunError(f"{file} has the member {doubles[0]!r} twice.", again)
        return cls(path, record)

    def runs(self) -> list[tuple[MemberRecord, Run]]:
        """Members with a run folder, in order; those that never got one are left out."""
        found = [(m, self.path / m.slug) for m in self.record.members]
        return [(member, Run.open(path)) for member, path in found if is_file(path / MANIFEST)]

    def failed(self) -> list[MemberRecord]:
        """Members that could not be scored, or a suite of which failed."""
        return [member for member in self.record.members if member.status == "failed"]


def is_sweep(path: Path) -> bool:
    """Whether the folder is a sweep's."""
    return is_file(path / RECORD)


def save(path: Path, record: SweepRecord, members: Sequence[MemberRecord], elapsed_s: float) -> SweepRecord:
    """Write sweep.json with these members; returns what was written."""
    new = msgspec.structs.replace(
        record, members=list(members), updated=now(), elapsed_s=round(elapsed_s, 3), version=__version__
    )
    write_atomic(path / RECORD, msgspec.json.format(msgspec.json.encode(new), indent=1) + b"\n")
    return new


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


# A stored sweep's scores along its training steps: what the figures draw. No torch.
#
# "Above the line": the head beats its null (family-wise adjusted p <= 0.05 within its checkpoint, or a value above the
# family-wise line), and its score reaches its own threshold where it has one. The correction is over
# the heads of one checkpoint, never over checkpoints.

ALPHA = 0.05
Mask = npt.NDArray[np.bool_]  # [layer head]


@dataclass(frozen=True, eq=False)
class StepPoint:
    """One score of one checkpoint."""

    member: MemberRecord
    scores: HeadScores
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
        if beats is None or self.scores.threshold is None:
            return beats
        return np.asarray(beats & (np.nan_to_num(self.sizes, nan=-np.inf) >= self.scores.threshold))

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
    points: tuple[StepPoint, ...]

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
    """The checkpoints of one model that say their steps.

    tracks    by suite, those that figures draw
    together  by suite, the two scores that it wants followed together, at the checkpoints that have both
    """

    label: str
    members: tuple[MemberRecord, ...]
    tracks: Mapping[str, tuple[Track, ...]]
    labelled: Mapping[str, tuple[Labelled, ...]]
    together: Mapping[str, tuple[Track, Track]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Story:
    """Everything a sweep's report draws.

    trainings  models with at least two checkpoints
    families   the last checkpoint of every model, where there are two models or more: suite -> score -> its points
    titles     suite -> its title;  synthetic: some model's weights were never trained
    """

    trainings: tuple[Training, ...]
    families: Mapping[str, Mapping[str, tuple[StepPoint, ...]]]
    titles: Mapping[str, str]
    synthetic: bool


@dataclass(frozen=True, eq=False)
class _Read:
    """One run, as much of it as is drawn."""

    member: MemberRecord
    points: Mapping[str, tuple[StepPoint, ...]]  # suite -> its leading scores
    sets: Mapping[str, tuple[HeadSet, ...]]
    together: Mapping[str, tuple[StepPoint, StepPoint]]  # suite -> the two scores that it wants followed
    synthetic: bool


def story(sweep: Sweep) -> Story:
    """Read the scores of every member, one run at a time. Raises RunError where a run is damaged."""
    found, known = [], registry.known()
    for member, run in sweep.runs():
        results = {name: result for name, result in cleaned(dict(run.results)).items() if result.scores}
        points = {name: _points(member, result) for name, result in results.items()}
        sets = {name: result.head_sets for name, result in results.items()}
        wanted = {name: known[name].together for name in results if name in known}
        pairs = {name: pair for name, keys in wanted.items() if (pair := _pair(member, results, keys)) is not None}
        synthetic = run.manifest.synthetic or run.manifest.model.synthetic
        found.append(_Read(member, points, sets, pairs, synthetic))
    labels = list(dict.fromkeys(read.member.label for read in found))
    by_label = {label: [read for read in found if read.member.label == label] for label in labels}
    trainings = tuple(made for label in labels if (made := _training(label, by_label[label])) is not None)
    last = [reads[-1] for reads in by_label.values()]
    names = list(dict.fromkeys(name for read in found for name in read.points))
    return Story(
        trainings=trainings,
        families=_families(last) if len(last) > 1 else {},
        titles={name: known[name].title if name in known else name for name in names},
        synthetic=any(read.synthetic for read in found),
    )


def _points(member: MemberRecord, result: SuiteResult) -> tuple[StepPoint, ...]:
    """The scores that stand for a suite: all tasks of its first measure, or its measures where each has one task."""
    measures = list(dict.fromkeys(score.measure for score in result.scores))
    first = [score for score in result.scores if score.measure == measures[0]]
    chosen = first if len(first) > 1 else [next(s for s in result.scores if s.measure == m) for m in measures]
    return tuple(_point(member, score) for score in chosen)


def _point(member: MemberRecord, scores: HeadScores) -> StepPoint:
    return StepPoint(member, scores, (scores.values.shape[0], scores.values.shape[1]))


def _pair(
    member: MemberRecord, results: Mapping[str, SuiteResult], keys: tuple[str, ...]
) -> tuple[StepPoint, StepPoint] | None:
    """The first score whose key begins with each of the two; None where a checkpoint lacks one."""
    every = [score for result in results.values() for score in result.scores]
    found = [next((s for s in every if s.key.startswith(key)), None) for key in keys]
    if len(found) != 2 or found[0] is None or found[1] is None:
        return None
    return _point(member, found[0]), _point(member, found[1])


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
    pairs = {name: _together(name, stepped) for name in tracks}
    return Training(
        label, tuple(r.member for r in stepped), {n: t for n, t in tracks.items() if t}, labelled,
        {name: pair for name, pair in pairs.items() if pair is not None},
    )  # fmt: skip


def _together(suite: str, reads: Sequence[_Read]) -> tuple[Track, Track] | None:
    """The two scores that the suite wants followed, at checkpoints that have both in the last one's shape."""
    pairs = [read.together[suite] for read in reads if suite in read.together]
    same = [pair for pair in pairs if all(one.shape == pairs[-1][0].shape for one in pair)]
    if len(same) < 2:
        return None
    first, second = zip(*same, strict=True)
    return tuple(Track(way[-1].scores.key, way[-1].scores.label, way) for way in (first, second))  # type: ignore[return-value]


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
        track = next((track for track in tracks if track.key == heads.score), None)
        if track is None or track.points[-1].above() is None:
            continue
        sizes = track.points[-1].sizes
        order = sorted(heads.heads, key=lambda head: -float(np.nan_to_num(sizes[head])))
        found += [Labelled(head, heads, track) for head in order]
    return tuple(found)


def _families(last: Sequence[_Read]) -> Mapping[str, Mapping[str, tuple[StepPoint, ...]]]:
    """suite -> score -> the points of the models that have it, where two or more do."""
    found: dict[str, dict[str, list[StepPoint]]] = {}
    for read in last:
        for suite, points in read.points.items():
            for point in points:
                found.setdefault(suite, {}).setdefault(point.scores.key, []).append(point)
    return {
        suite: {key: tuple(points) for key, points in keys.items() if len(points) > 1}
        for suite, keys in found.items()
        if any(len(points) > 1 for points in keys.values())
    }
