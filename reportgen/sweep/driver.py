"""The sweep itself: remaining members, scoring, results. The only process that writes run.json and sweep.json.

After any interruption (Ctrl-C, a kill, a lost machine), rerunning the command resumes.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol

import msgspec
from filelock import FileLock, Timeout

from reportgen import runner
from reportgen.config import Options
from reportgen.errors import RunError, UserError, one_line
from reportgen.files import expanded, is_file, is_folder, unwritable, write_atomic
from reportgen.manifest import Manifest, SuiteRecord, command_line
from reportgen.models.hub import Digests, content_hash
from reportgen.report.render import scores_csv
from reportgen.runfolder import MANIFEST, Run, RunWriter, check_slug, slug_of
from reportgen.runner import SuiteJob, sets_read
from reportgen.scores import SuiteResult
from reportgen.sweep.spec import Member, SweepSpec, members
from reportgen.sweep.stored import SCHEMA_VERSION, MemberRecord, Sweep, SweepRecord, SweepTally, is_sweep, now, save

# Finished members, from run.json and digests: no model is loaded and torch is not imported.
#
# A member is finished if every requested suite is done (or not applicable) under the resume key that scoring
# it again would have, and its score files are intact. Digests of checkpoints and of large score files are cached by
# (path, size, mtime_ns), so two hundred members take seconds.


def finished(home: Path, member: Member, jobs: Sequence[SuiteJob], options: Options, digests: Digests) -> bool:
    """Whether rescoring `member` would compute nothing. A damaged run folder counts as unfinished."""
    try:
        run = Run.open(home / member.slug)
    except RunError:
        return False
    manifest = run.manifest
    if not _same_model(manifest, member, options, digests):
        return False
    return all(_is_whole(run, job, options.seed, digests) for job in jobs)


def _same_model(manifest: Manifest, member: Member, options: Options, digests: Digests) -> bool:
    """Whether weights and dtype are those requested. A hub commit is trusted; `auto` accepts the stored dtype."""
    model = manifest.model
    if options.dtype not in ("auto", model.dtype):
        return False
    if member.folder is not None:
        return model.content_hash == content_hash(member.folder, digests=digests)
    return bool(member.revision) and model.revision == member.revision


def _is_whole(run: Run, job: SuiteJob, seed: int, digests: Digests) -> bool:
    record = run.manifest.suites.get(job.suite.name)
    if record is None or record.status not in ("done", "skipped"):
        return False
    data = [digests.of(path) for path in job.files()] + sets_read(job.suite, run)
    key = job.key(run.manifest.model, seed, data)
    return record.resume_key == key and (record.status == "skipped" or _files_are_whole(run.path, record, digests))


def _files_are_whole(path: Path, record: SuiteRecord, digests: Digests) -> bool:
    files = {path / "scores" / check_slug(name): want for name, want in record.sha256.items()}
    return bool(files) and all(file.is_file() and digests.of(file) == want for file, want in files.items())


# The scoring of one member. On a cluster a worker runs `score`: a task comes as JSON, its outcome goes back as JSON.
#
# A worker writes scores/<suite>.* and nothing else; the driver alone writes run.json. scores/<suite>.record.json says
# under which resume key a suite was finished: a task that is started again elsewhere, or by the next sweep, computes
# only what is left. The driver removes these records once run.json has them.

_RECORD = ".record.json"


class MemberTask(msgspec.Struct, frozen=True):
    """What is sent to a worker: names, settings and paths. No code, no weights, no scores."""

    slug: str
    options: Options  # of this member; `name` is its slug, `out` the sweep's folder
    cwd: str  # the driver's, for relative paths in settings
    alone: bool = False  # one suite of several tasks: results of the member's other suites stay unseen


class MemberOutcome(msgspec.Struct, frozen=True):
    """What a worker returns: the manifest of what was scored, or the reason why nothing was."""

    slug: str
    manifest: Manifest | None = None
    error: str = ""


class _Left(msgspec.Struct, frozen=True):
    """scores/<suite>.record.json: a finished suite that run.json does not have yet."""

    model: str  # content hash
    record: SuiteRecord


class ScoresOnly(RunWriter):
    """Writes a run folder's scores; keeps the manifest in memory."""

    def __init__(self, path: Path, manifest: Manifest, only: Sequence[str] = ()) -> None:
        super().__init__(path, manifest)
        self.only = only

    def __enter__(self) -> ScoresOnly:
        try:
            (self.path / "scores").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._keep_finished()
        suites = {**self.manifest.suites, **_left(self.path, self.manifest.model.content_hash)}
        if self.only:
            suites = {name: record for name, record in suites.items() if name in self.only}
        self.manifest = msgspec.structs.replace(self.manifest, suites=suites)
        return self

    def store(self, suite: str, result: SuiteResult, record: SuiteRecord) -> None:
        """Write a finished suite's two files, then its record."""
        super().store(suite, result, record)
        content = msgspec.json.encode(_Left(self.manifest.model.content_hash, self.manifest.suites[suite]))
        write_atomic(self.path / "scores" / f"{suite}{_RECORD}", content)

    def save(self, manifest: Manifest | None = None) -> None:
        """Remember the manifest; run.json is the driver's."""
        self.manifest = manifest or self.manifest


def score_member(task: bytes) -> bytes:
    """Score one member's unfinished suites. Only bugs raise; errors the user can fix are in the outcome."""
    job = msgspec.json.decode(task, type=MemberTask)
    if Path(job.cwd).is_dir():
        os.chdir(job.cwd)
    only = [name.suite.name for name in runner.plan(job.options)] if job.alone else ()
    try:
        run = runner.run(job.options, writer_of=partial(ScoresOnly, only=only))
    except UserError as error:
        return msgspec.json.encode(MemberOutcome(job.slug, error=str(error)))
    return msgspec.json.encode(MemberOutcome(job.slug, manifest=run.manifest))


def absorb_outcome(path: Path, found: Sequence[Manifest], argv: Sequence[str]) -> Manifest:
    """Write run.json with what workers found beside what the folder had; returns it. Raises RunError as RunWriter."""
    with RunWriter(path, msgspec.structs.replace(found[0], argv=[Path(argv[0]).name, *argv[1:]])) as writer:
        suites = dict(writer.manifest.suites)
        for manifest in found:
            suites |= manifest.suites
        writer.save(msgspec.structs.replace(writer.manifest, suites=suites))
        for name in suites:
            (path / "scores" / f"{name}{_RECORD}").unlink(missing_ok=True)
        return writer.manifest


def _left(path: Path, model: str) -> dict[str, SuiteRecord]:
    """Records that workers left for this model, by suite; unreadable ones are ignored."""
    found: dict[str, SuiteRecord] = {}
    for file in sorted((path / "scores").glob(f"*{_RECORD}")):
        try:
            left = msgspec.json.decode(file.read_bytes(), type=_Left)
        except (OSError, msgspec.DecodeError, RecursionError):
            continue
        if left.model == model:
            found[file.name.removesuffix(_RECORD)] = left.record
    return found


# The engine `local`: one member after another, in this process.


@dataclass(frozen=True)
class Ended:
    """A member's end: its run folder's manifest, or the reason why there is none."""

    slug: str
    manifest: Manifest | None
    error: str = ""
    elapsed_s: float = 0.0


class Engine(Protocol):
    """Scores the members. A context manager around all members, left after the last one or on Ctrl-C."""

    words: str  # for sweep.json

    @property
    def slots(self) -> int:
        """How many members run at once."""
        ...

    def __enter__(self) -> Engine: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    def score(self, tasks: Sequence[MemberTask]) -> Iterator[Ended]:
        """Score every task and yield each as it ends, its run.json written. A failure never stops the others."""
        ...


class Watcher(runner.Listener, Protocol):
    """A runner's listener that is also notified when a member begins."""

    def member_started(self, slug: str) -> None: ...


class Local:
    """Scores in this process; a member's suites are told to `watcher` as they go."""

    words = "local"
    slots = 1

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher

    def __enter__(self) -> Local:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def score(self, tasks: Sequence[MemberTask]) -> Iterator[Ended]:
        """Each task in turn."""
        for task in tasks:
            self.watcher.member_started(task.slug)
            started = time.monotonic()
            manifest, error = self._attempt(task)
            yield Ended(task.slug, manifest, error, time.monotonic() - started)

    def _attempt(self, task: MemberTask) -> tuple[Manifest | None, str]:
        try:
            return runner.run(task.options, self.watcher).manifest, ""
        except UserError as error:
            return None, str(error)
        except Exception as error:  # noqa: BLE001  the boundary: one member's bug must not stop the sweep
            if sys.flags.dev_mode:  # python -X dev shows the traceback
                traceback.print_exc()
            return None, one_line(f"{type(error).__name__}: {error}")


class SweepListener(Watcher, Protocol):
    """Receives the progress of a sweep (the terminal, a pipe, a test)."""

    def planned(self, name: str, engine: str, tally: SweepTally) -> None: ...
    def member_ended(self, member: MemberRecord, tally: SweepTally) -> None: ...


def home_of(spec: SweepSpec) -> Path:
    """The sweep's folder: <out>/<name>; the name of a sweep of one model is the model's."""
    name = spec.name or (f"{_slug(spec)}-sweep" if len(spec.models) == 1 else "sweep")
    return expanded(spec.options.out).absolute() / check_slug(name)


def _slug(spec: SweepSpec) -> str:
    first = spec.models[0]
    folder = expanded(first.model)
    own = folder.resolve().name if is_folder(folder) else folder.stem if is_file(folder) else first.model
    return slug_of(first.label or own)


def sweep(spec: SweepSpec, listener: SweepListener) -> Sweep:
    """Score every member that is not finished, each into its run folder, and return the sweep.

    Raises UserError for what stops the whole sweep (a misspelt revision, an unreachable cluster). A member that fails
    is in `Sweep.failed()`.
    """
    jobs = runner.plan(spec.options)
    home = home_of(spec)
    before = Sweep.open(home).record.members if is_sweep(home) else []
    every = members(spec, {(m.model, m.name): m.revision for m in before if m.revision})
    if (home / MANIFEST).exists():
        raise RunError(f"{home} is a run folder, not a sweep.", "Choose another name with --name.")
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".lock", timeout=0):
            return _locked(spec, home, jobs, every, listener)
    except Timeout as error:
        raise RunError(f"Another sweep is writing {home}.", "Wait for it, or choose another --name.") from error
    except OSError as error:
        raise unwritable(home, error) from error


def _locked(
    spec: SweepSpec, home: Path, jobs: Sequence[SuiteJob], every: Sequence[Member], listener: SweepListener
) -> Sweep:  # fmt: skip
    listener.stage("Looking for finished members")
    digests = Digests()
    kept = {m.slug for m in every if finished(home, m, jobs, spec.options, digests)}
    digests.keep()
    book = _Book(spec, home, [job.suite.name for job in jobs], every, kept)
    for slug in kept:
        _scores_file(home / slug, again=False)
    listener.planned(home.name, spec.engine, book.tally(0))
    tasks = [_task(spec, home, member) for member in every if member.slug not in kept]
    if tasks:
        _clear(home, tasks)
        with _engine(spec, home, jobs, every, listener) as engine:
            book.begin(engine.words)
            for ended in engine.score(tasks):
                if ended.manifest is not None:
                    _scores_file(home / ended.slug, again=True)
                listener.member_ended(book.note(ended), book.tally(engine.slots))
    book.save()
    return Sweep.open(home)


def _engine(
    spec: SweepSpec, home: Path, jobs: Sequence[SuiteJob], every: Sequence[Member], listener: SweepListener
) -> Engine:  # fmt: skip
    if spec.engine == "local":
        return Local(listener)
    from reportgen.sweep.on_ray import OnRay

    folders = sorted({str(m.folder) for m in every if m.folder is not None})
    return OnRay(spec.ray, spec.options.threads, home, folders, jobs, listener)


def _task(spec: SweepSpec, home: Path, member: Member) -> MemberTask:
    options = replace(
        spec.options, model=member.model, revision=member.revision, name=member.slug, out=str(home)
    )  # fmt: skip
    return MemberTask(member.slug, options, str(Path.cwd()))


def _clear(home: Path, tasks: Sequence[MemberTask]) -> None:
    """Remove what a crash left half-written in the folders that are about to be filled."""
    for task in tasks:
        for part in (home / task.slug).glob("**/.*.part"):
            part.unlink(missing_ok=True)


def _scores_file(path: Path, *, again: bool) -> None:
    """The run's report/scores.csv, as `reportgen run` writes it."""
    file = path / "report" / "scores.csv"
    if again or not file.exists():
        run = Run.open(path)
        write_atomic(file, scores_csv(run.results, run.manifest.model).encode())


class _Book:
    """The status of every member; written to sweep.json whenever one ends."""

    def __init__(
        self, spec: SweepSpec, home: Path, suites: list[str], every: Sequence[Member], kept: set[str]
    ) -> None:  # fmt: skip
        self.home, self.suites, self.started = home, suites, time.monotonic()
        created = Sweep.open(home).record.created if is_sweep(home) else now()
        self.members = {
            m.slug: MemberRecord(
                m.slug, m.model, m.revision, m.label, m.name, m.step,
                status="done" if m.slug in kept else "waiting", kept=m.slug in kept,
            )
            for m in every
        }  # fmt: skip
        argv = command_line()
        self.record = SweepRecord(SCHEMA_VERSION, home.name, created, now(), argv, spec.engine, suites, [])
        self.save()

    def begin(self, engine: str) -> None:
        """The engine is ready: time counts from here."""
        self.record = msgspec.structs.replace(self.record, engine=engine)
        self.started = time.monotonic()
        self.save()

    def note(self, ended: Ended) -> MemberRecord:
        """Write down how a member ended."""
        error = ended.error or _failed(ended.manifest, self.suites)
        record = msgspec.structs.replace(
            self.members[ended.slug], status="failed" if error else "done", error=error,
            elapsed_s=round(ended.elapsed_s, 3),
        )  # fmt: skip
        self.members[ended.slug] = record
        self.save()
        return record

    def save(self) -> None:
        """Write sweep.json."""
        self.record = save(self.home, self.record, list(self.members.values()), time.monotonic() - self.started)

    def tally(self, slots: int) -> SweepTally:
        """Where the sweep stands with `slots` members at once."""
        every = list(self.members.values())
        count = {status: sum(m.status == status for m in every) for status in ("done", "failed", "waiting")}
        kept = sum(m.kept for m in every)
        ended = count["done"] + count["failed"] - kept
        eta = (time.monotonic() - self.started) / ended * count["waiting"] if ended else None
        running = min(slots, count["waiting"])
        return SweepTally(
            len(every), count["done"], count["failed"], running, kept, None if eta is None else round(eta, 1)
        )


def _failed(manifest: Manifest | None, suites: Sequence[str]) -> str:
    """Which of the suites failed and why, on one line; empty when none did."""
    found = manifest.suites if manifest is not None else {}
    return "; ".join(f"{n}: {found[n].error}" for n in suites if n in found and found[n].status == "failed")
