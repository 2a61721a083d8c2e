"""The scoring of one member. On a cluster a worker runs `score`: a task comes as JSON, its outcome goes back as JSON.

A worker writes scores/<suite>.* and nothing else; the driver alone writes run.json. scores/<suite>.record.json says
under which resume key a suite was finished: a task that is started again elsewhere, or by the next sweep, computes only
what is left. The driver removes these records once run.json has them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from reportgen import runner
from reportgen.config import Options
from reportgen.errors import UserError
from reportgen.files import unwritable, write_atomic
from reportgen.manifest import Manifest, SuiteRecord
from reportgen.runfolder import RunWriter
from reportgen.scores import SuiteResult

_RECORD = ".record.json"


class Task(msgspec.Struct, frozen=True):
    """What is shipped to a worker: names, settings and paths. No code, no weights, no scores."""

    slug: str
    options: Options  # of this member; `name` is its slug, `out` the sweep's folder
    cwd: str  # the driver's, for relative paths in settings
    alone: bool = False  # one suite of several tasks: results of the member's other suites stay unseen


class Outcome(msgspec.Struct, frozen=True):
    """What comes back: the manifest of what was scored, or the reason why nothing was."""

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


def score(task: bytes) -> bytes:
    """Score one member's suites, those not finished yet. Only bugs raise; what a user can mend is in the outcome."""
    job = msgspec.json.decode(task, type=Task)
    if Path(job.cwd).is_dir():
        os.chdir(job.cwd)
    only = [name.suite.name for name in runner.plan(job.options)] if job.alone else ()
    try:
        run = runner.run(job.options, writer_of=partial(ScoresOnly, only=only))
    except UserError as error:
        return msgspec.json.encode(Outcome(job.slug, error=str(error)))
    return msgspec.json.encode(Outcome(job.slug, manifest=run.manifest))


def absorb(path: Path, found: Sequence[Manifest], argv: Sequence[str]) -> Manifest:
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
    """Records that workers left for this model, by suite; one that can't be read is as good as none."""
    found: dict[str, SuiteRecord] = {}
    for file in sorted((path / "scores").glob(f"*{_RECORD}")):
        try:
            left = msgspec.json.decode(file.read_bytes(), type=_Left)
        except (OSError, msgspec.DecodeError, RecursionError):
            continue
        if left.model == model:
            found[file.name.removesuffix(_RECORD)] = left.record
    return found
