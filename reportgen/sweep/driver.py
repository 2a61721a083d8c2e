"""The sweep itself: who is left, who scores them, what came back. The one process that writes run.json and sweep.json.

Whatever ends it (Ctrl-C, a kill, a lost machine), the same command goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import msgspec
from filelock import FileLock, Timeout

from reportgen import runner
from reportgen.errors import RunError
from reportgen.files import unwritable, write_atomic
from reportgen.manifest import Manifest, command_line
from reportgen.models.hashing import Digests
from reportgen.reading import expanded, is_file, is_folder
from reportgen.report.csv import scores_csv
from reportgen.runfolder import MANIFEST, Run, check_slug, slug_of
from reportgen.runner import Job
from reportgen.sweep.finished import finished
from reportgen.sweep.local import Ended, Engine, Local, Watcher
from reportgen.sweep.members import Member, members
from reportgen.sweep.spec import SweepSpec
from reportgen.sweep.stored import SCHEMA_VERSION, MemberRecord, Sweep, SweepRecord, is_sweep, now, save
from reportgen.sweep.work import Task


@dataclass(frozen=True)
class Tally:
    """Where a sweep stands. `eta_s`: seconds to its end at the speed so far; None before the first member ended."""

    total: int
    done: int
    failed: int
    running: int
    kept: int
    eta_s: float | None


class Listener(Watcher, Protocol):
    """Who is told of a sweep's progress (the terminal, a pipe, a test)."""

    def planned(self, name: str, engine: str, tally: Tally) -> None: ...
    def member_ended(self, member: MemberRecord, tally: Tally) -> None: ...


def home_of(spec: SweepSpec) -> Path:
    """The sweep's folder: <out>/<name>; the name of a sweep of one model is the model's."""
    name = spec.name or (f"{_slug(spec)}-sweep" if len(spec.models) == 1 else "sweep")
    return expanded(spec.options.out).absolute() / check_slug(name)


def _slug(spec: SweepSpec) -> str:
    first = spec.models[0]
    folder = expanded(first.model)
    own = folder.resolve().name if is_folder(folder) else folder.stem if is_file(folder) else first.model
    return slug_of(first.label or own)


def sweep(spec: SweepSpec, listener: Listener) -> Sweep:
    """Score every member that is not finished, each into its run folder, and return the sweep.

    Raises UserError for what stops the whole sweep (a misspelt revision, a cluster out of reach). A member that fails
    is in `Sweep.failed()`.
    """
    jobs = runner.plan(spec.options)
    home = home_of(spec)
    before = Sweep.open(home).record.members if is_sweep(home) else []
    every = members(spec, {(m.model, m.name): m.revision for m in before if m.revision})
    if (home / MANIFEST).exists():
        raise RunError(f"{home} is a run folder, not a sweep's.", "Choose another name with --name.")
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".lock", timeout=0):
            return _locked(spec, home, jobs, every, listener)
    except Timeout as error:
        raise RunError(f"Another sweep is writing {home}.", "Wait for it, or choose another --name.") from error
    except OSError as error:
        raise unwritable(home, error) from error


def _locked(
    spec: SweepSpec, home: Path, jobs: Sequence[Job], every: Sequence[Member], listener: Listener
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
    spec: SweepSpec, home: Path, jobs: Sequence[Job], every: Sequence[Member], listener: Listener
) -> Engine:  # fmt: skip
    if spec.engine == "local":
        return Local(listener)
    from reportgen.sweep.on_ray import OnRay

    folders = sorted({str(m.folder) for m in every if m.folder is not None})
    return OnRay(spec.ray, spec.options.threads, home, folders, jobs, listener)


def _task(spec: SweepSpec, home: Path, member: Member) -> Task:
    options = replace(
        spec.options, model=member.model, revision=member.revision, name=member.slug, out=str(home)
    )  # fmt: skip
    return Task(member.slug, options, str(Path.cwd()))


def _clear(home: Path, tasks: Sequence[Task]) -> None:
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
    """How every member stands; written to sweep.json whenever one ends."""

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

    def tally(self, slots: int) -> Tally:
        """Where the sweep stands with `slots` members at once."""
        every = list(self.members.values())
        count = {status: sum(m.status == status for m in every) for status in ("done", "failed", "waiting")}
        kept = sum(m.kept for m in every)
        ended = count["done"] + count["failed"] - kept
        eta = (time.monotonic() - self.started) / ended * count["waiting"] if ended else None
        running = min(slots, count["waiting"])
        return Tally(len(every), count["done"], count["failed"], running, kept, None if eta is None else round(eta, 1))


def _failed(manifest: Manifest | None, suites: Sequence[str]) -> str:
    """Which of the suites failed and why, on one line; empty when none did."""
    found = manifest.suites if manifest is not None else {}
    return "; ".join(f"{n}: {found[n].error}" for n in suites if n in found and found[n].status == "failed")
