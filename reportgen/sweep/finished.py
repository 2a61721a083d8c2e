"""Which members are finished already, told from run.json and digests: no model is loaded and torch is not imported.

A member is finished when every suite asked for is done (or was found not to apply) under the resume key that scoring
it again would have, and its score files are whole. Digests of checkpoints and of large score files are remembered by
(path, size, mtime_ns), so two hundred members take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reportgen.config import Options
from reportgen.errors import RunError
from reportgen.manifest import Manifest, SuiteRecord
from reportgen.models.hashing import Digests, content_hash
from reportgen.runfolder import Run, check_slug, resume_key
from reportgen.runner import Job
from reportgen.sweep.members import Member


def finished(home: Path, member: Member, jobs: Sequence[Job], options: Options, digests: Digests) -> bool:
    """Whether scoring `member` again would compute nothing. A damaged run folder counts as unfinished."""
    try:
        run = Run.open(home / member.slug)
    except RunError:
        return False
    manifest = run.manifest
    if not _same_model(manifest, member, options, digests):
        return False
    keys = data_keys(jobs, digests)
    return all(_is_whole(run, job, manifest, keys[job.suite.name], options, digests) for job in jobs)


def data_keys(jobs: Sequence[Job], digests: Digests) -> dict[str, list[str]]:
    """Digests of each suite's data files, by suite."""
    return {job.suite.name: [digests.of(path) for path in job.suite.data(job.settings)] for job in jobs}


def _same_model(manifest: Manifest, member: Member, options: Options, digests: Digests) -> bool:
    """The same weights in the number type asked for. A hub commit is trusted; `auto` keeps what there is."""
    model = manifest.model
    if options.dtype not in ("auto", model.dtype):
        return False
    if member.folder is not None:
        return model.content_hash == content_hash(member.folder, digests=digests)
    return bool(member.revision) and model.revision == member.revision


def _is_whole(
    run: Run, job: Job, manifest: Manifest, data: list[str], options: Options, digests: Digests
) -> bool:  # fmt: skip
    record = manifest.suites.get(job.suite.name)
    if record is None or record.status not in ("done", "skipped"):
        return False
    key = resume_key(
        suite=job.suite.name, version=job.suite.version, model=manifest.model.content_hash,
        weights=manifest.model.weights, dtype=manifest.model.dtype, seed=options.seed, settings=job.as_dict, data=data,
    )  # fmt: skip
    return record.resume_key == key and (record.status == "skipped" or _files_are_whole(run.path, record, digests))


def _files_are_whole(path: Path, record: SuiteRecord, digests: Digests) -> bool:
    files = {path / "scores" / check_slug(name): want for name, want in record.sha256.items()}
    return bool(files) and all(file.is_file() and digests.of(file) == want for file, want in files.items())
