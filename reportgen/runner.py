"""One run: load the model, score suite by suite, store each as soon as it is finished.

- The runner owns device, seeds, threads, the resume key and the manifest; a suite owns its method.
- A suite that fails records its reason and does not stop the others: `except Exception` is deliberate here.
- Ctrl-C keeps finished suites: each is on disk before the next begins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import platform
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from reportgen import __version__, published, suites
from reportgen.config import Given, Options
from reportgen.console import REPORT, Pace, Phases
from reportgen.errors import DataError, NotApplicable, RunError, SettingsError, one_line
from reportgen.files import check_writable, digest, is_file
from reportgen.manifest import SCHEMA_VERSION, Manifest, ModelRecord, SuiteRecord, command_line
from reportgen.runfolder import Run, RunWriter, check_slug, overlay_files, resume_key, slug_of
from reportgen.score_files import set_record
from reportgen.scores import BadScores, SuiteResult
from reportgen.selftest.record import ensured, known
from reportgen.suites.base import Context, Suite
from reportgen.suites.cost import rendering
from reportgen.suites.settings import with_switched_off

if TYPE_CHECKING:
    from reportgen.models.model import Model
    from reportgen.models.tokens import Tokens
    from reportgen.models.weights import Weights

_PACKAGES = (
    "torch",
    "transformers",
    "transformer-lens",
    "numpy",
    "altair",
    "vl-convert-python",
    "typst",
    "safetensors",
)


WriterOf = Callable[[Path, Manifest], RunWriter]


class Listener(Protocol):
    """Receives the progress of a run (the terminal, a pipe, a test)."""

    def stage(self, words: str) -> None: ...
    def suite_started(self, suite: Suite, index: int, total: int) -> None: ...
    def suite_progress(self, suite: Suite, done: int, total: int, words: str) -> None: ...
    def suite_ended(self, suite: Suite, record: SuiteRecord, kept: bool) -> None: ...
    def overall(self, share: float, left_s: float) -> None: ...


@dataclass(frozen=True)
class Silent:
    """Ignores all progress."""

    def stage(self, words: str) -> None: ...
    def suite_started(self, suite: Suite, index: int, total: int) -> None: ...
    def suite_progress(self, suite: Suite, done: int, total: int, words: str) -> None: ...
    def suite_ended(self, suite: Suite, record: SuiteRecord, kept: bool) -> None: ...
    def overall(self, share: float, left_s: float) -> None: ...


@dataclass(frozen=True)
class SuiteJob:
    """One suite with the settings of this run."""

    suite: Suite
    settings: Any
    given: Mapping[str, object] = field(default_factory=dict)

    @property
    def as_dict(self) -> dict[str, object]:
        """Settings with defaults, as stored in run.json."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self.settings).items()}

    def files(self) -> list[Path]:
        """Files whose bytes decide whether stored scores are kept: data, and the suite itself if it has no version."""
        with suites.answerable(self.suite):
            files = [Path(path) for path in self.suite.data(self.settings)]
        return files if self.suite.version or not self.suite.file else [*files, Path(self.suite.file)]

    def key(self, model: ModelRecord, seed: int, data: Sequence[str]) -> str:
        """The resume key: scores stored under the same one are kept. data: digests of `files()`."""
        return resume_key(
            suite=self.suite.name, version=self.suite.version, model=model.content_hash, weights=model.weights,
            dtype=model.dtype, seed=seed, settings=self.as_dict, data=list(data),
        )  # fmt: skip


def plan(options: Options) -> list[SuiteJob]:
    """The suites of a run with their settings; SettingsError before anything is loaded."""
    chosen = suites.choose(options.suites)
    names = {suite.name for suite in chosen}
    for name in options.settings:
        if name not in names:
            suites.find(name)  # raises for an unknown name; a known one is just not part of this run
            raise SettingsError(f"Settings for suite {name!r}, which is not part of this run.", f"Add --suite {name}.")
    if options.name:
        check_slug(options.name)
    overlay_files(options.overlays)
    published.sets_for("", options.published)
    jobs = [_job(suite, options.preset, options.settings) for suite in chosen]
    for job in jobs:
        for path in job.files():
            if not is_file(path):
                raise DataError(f"There is no file {path} (suite {job.suite.name}).", "Check the path.")
            if not os.access(path, os.R_OK):
                raise DataError(f"Can't read {path} (suite {job.suite.name}).", "Check its permissions.")
    return jobs


def _job(suite: Suite, preset: str, given: Given) -> SuiteJob:
    said = given.get(suite.name, {})
    with suites.answerable(suite):
        return SuiteJob(suite, suite.make_settings(preset, said), said)


def _says(job: SuiteJob, seed: int) -> list[str]:
    with suites.answerable(job.suite):
        return [str(line) for line in job.suite.says(job.settings, seed)]


def run(options: Options, listener: Listener | None = None, writer_of: WriterOf = RunWriter) -> Run:
    """Score a model with the requested suites and return its run folder, opened.

    writer_of  makes the folder's writer; a sweep's worker has one that leaves run.json to the driver

    Raises UserError for errors the user can fix. Failed suites are recorded in `run.manifest.suites`, not raised.
    """
    listener = listener or Silent()
    jobs = plan(options)
    overlays = overlay_files(options.overlays)
    check_writable(Path(options.out))
    slug = check_slug(options.name) if options.name else ""
    for job in jobs:
        for line in _says(job, options.seed):
            listener.stage(line)
    listener.stage(f"Loading {options.model}")
    model = _load(options, twin=needs_twin(jobs))
    slug = slug or slug_of(model.record.id, options.revision)
    with writer_of(Path(options.out) / slug, _manifest(model, slug, options)) as writer:
        tested = ensured(listener.stage) if options.selftest else known()
        writer.save(msgspec.structs.replace(writer.manifest, self_test=tested))
        if overlays:
            listener.stage(writer.keep_overlays(overlays))
        pace = Pace(_estimates(model, jobs))
        for index, job in enumerate(jobs):
            listener.suite_started(job.suite, index, len(jobs))
            pace.start(job.suite.name)
            _one_suite(model, job, writer, Told(listener, pace), options.offline)
        return writer.run


@dataclass(frozen=True)
class Told:
    """The listener, updated with the run's share before each progress message of a suite."""

    listener: Listener
    pace: Pace

    def progress(self, suite: Suite, phases: Phases) -> Callable[[int, int, str], None]:
        """The progress function passed to a suite."""

        def tell(done: int, total: int, words: str) -> None:
            phases.word(done, total, words)
            self.listener.overall(*self.pace.now())
            self.listener.suite_progress(suite, done, total, words)

        return tell

    def ended(self, suite: Suite, record: SuiteRecord, *, kept: bool) -> None:
        """A suite has finished; kept suites took no time in this run."""
        self.pace.end(suite.name, 0.0 if kept else record.elapsed_s)
        self.listener.overall(*self.pace.now())
        self.listener.suite_ended(suite, record, kept)


def _estimates(model: Model | Weights, jobs: Sequence[SuiteJob]) -> dict[str, float | None]:
    """Estimated seconds per suite in the order they run, and for the report."""
    from reportgen.models.memory import measure

    speeds = measure(model.device)
    found: dict[str, float | None] = {}
    for job in jobs:
        with suites.answerable(job.suite):
            estimate = job.suite.estimate(model.record, job.settings, speeds) if is_scored(job, model) else 0.0
            found[job.suite.name] = estimate
    return found | {REPORT: rendering(len(jobs), speeds)}


def is_scored(job: SuiteJob, model: Model | Weights) -> bool:
    """Whether the suite can score what was loaded: streamed weights have no forward pass."""
    return job.suite.static or hasattr(model, "run")


def drops(job: SuiteJob, tokens: Tokens, seed: int) -> list[str]:
    """Data of the suite that this tokenizer cannot encode, in words, before anything is scored."""
    with suites.answerable(job.suite):
        return [one_line(words) for words in job.suite.drops(job.settings, tokens, seed)]


def needs_twin(jobs: Sequence[SuiteJob]) -> bool:
    """Whether a suite will also load a randomly initialised twin: such suites have a setting `twins`."""
    return any(getattr(job.settings, "twins", 0) for job in jobs)


def _load(options: Options, *, twin: bool) -> Model | Weights:
    """The model, or only its static weights with --stream; torch is imported here, once the settings are valid."""
    from reportgen.models import load

    load.set_threads(options.threads)
    place = {"device": options.device, "revision": options.revision}
    if options.stream:
        return load.stream(options.model, **place, offline=options.offline)
    return load.load(
        options.model,
        dtype=options.dtype,
        **place,
        offline=options.offline,
        trust_remote_code=options.trust_remote_code,
        twin=twin,
    )


def _one_suite(model: Model | Weights, job: SuiteJob, writer: RunWriter, told: Told, offline: bool) -> None:
    """Score one suite, or keep the finished one; either way its record goes into the manifest."""
    from reportgen.models import memory

    suite, seed = job.suite, writer.manifest.seed
    data = [(path.name, digest(path)) for path in job.files()]
    key = job.key(model.record, seed, [sha for _, sha in data] + sets_read(suite, writer.run))
    if writer.run.is_finished(suite.name, key):
        told.ended(suite, writer.manifest.suites[suite.name], kept=True)
        return
    dropped = drops(job, model.tokens, seed) if is_scored(job, model) else []
    for words in dropped:
        told.listener.stage(f"  left out of {suite.name}: {words}")
    done, phases = _whole(writer.run, but=suite.name), Phases()
    context = Context(
        seed=seed,
        threads=writer.manifest.threads,
        head_sets={name: result.head_sets for name, result in done.items()},
        results=done,
        progress=told.progress(suite, phases),
        offline=offline,
    )
    record = _replace(_as_planned(job, key, dict(data), writer.manifest), dropped=dropped)
    started = time.monotonic()
    phases.start()
    memory.forget_peak(model.device)
    record, store = _guarded(model, job, context, record)
    record = _measured(record, time.monotonic() - started, memory.peak_bytes(model.device))
    record = _replace(record, estimate_s=told.pace.rounded(suite.name), phases=phases.end())
    if store is None:
        writer.note(suite.name, record)
    else:
        store(writer, record)
    told.ended(suite, writer.manifest.suites[suite.name], kept=False)


def _as_planned(job: SuiteJob, key: str, data: dict[str, str], now: Manifest) -> SuiteRecord:
    """The record of a suite about to be scored under the conditions in `now`."""
    settings, given = job.as_dict, dict(job.given)
    return now.as_now(SuiteRecord("done", job.suite.version, settings, given, resume_key=key, data=data))


def _whole(run: Run, but: str) -> dict[str, SuiteResult]:
    """The results of the finished suites other than `but`, without those whose files were damaged since.

    In the order that suites are run in, whichever was scored last: what reads them must not depend on that.
    """
    found: dict[str, SuiteResult] = {}
    places = {suite.name: place for place, suite in enumerate(suites.BUILT_IN)}
    for name in sorted(run.done(), key=lambda name: places.get(name, len(places))):
        if name != but:
            with contextlib.suppress(RunError):
                found[name] = run.result(name)
    return found


def sets_read(suite: Suite, run: Run) -> list[str]:
    """A digest of the head sets in `run` that a suite's result depends on, for its resume key; empty for others."""
    if not suite.reads_sets:
        return []
    results = _whole(run, but=suite.name)
    sets = [msgspec.json.encode(set_record(heads)) for name in sorted(results) for heads in results[name].head_sets]
    return [hashlib.sha256(b"\n".join(sets)).hexdigest()]


_Store = Callable[[RunWriter, SuiteRecord], None]


def _guarded(
    model: Model | Weights, job: SuiteJob, context: Context, record: SuiteRecord
) -> tuple[SuiteRecord, _Store | None]:
    suite = job.suite
    found = attempt(model, suite, job.settings, context)
    if isinstance(found, NotApplicable):
        return _replace(record, status="skipped", error=one_line(str(found))), None
    if isinstance(found, Exception):
        return _replace(record, status="failed", error=one_line(f"{type(found).__name__}: {found}")), None
    named = with_switched_off(suite.name, job.settings, job.given, found)
    return record, lambda writer, rec: writer.store(suite.name, named, rec)


def attempt(model: Model | Weights, suite: Suite, settings: Any, context: Context) -> SuiteResult | Exception:
    """The boundary: the suite's result, or the exception it raised. Ctrl-C passes through."""
    try:
        if not suite.static and not hasattr(model, "run"):
            raise NotApplicable("not computed: streamed weights have no forward pass", "Leave --stream out.")
        result = suite.load_score()(model, settings, context)
        for score in result.scores:
            if stray := score.stray():
                raise BadScores("NaN", f"{score.key}: {', '.join(stray)} for heads without a value")
        return result
    except NotApplicable as reason:
        return reason
    except Exception as error:  # noqa: BLE001  the one boundary: a suite's bug must not lose the other suites' work
        if sys.flags.dev_mode:  # python -X dev shows the traceback
            traceback.print_exc()
        return error


def _replace(record: SuiteRecord, **changes: object) -> SuiteRecord:
    return msgspec.structs.replace(record, **changes)


def _measured(record: SuiteRecord, elapsed_s: float, device_bytes: int) -> SuiteRecord:
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    return _replace(record, elapsed_s=round(elapsed_s, 3), peak_memory_bytes=peak, device_memory_bytes=device_bytes)


def _manifest(model: Model | Weights, slug: str, options: Options) -> Manifest:
    import torch

    from reportgen.models.memory import device_name

    now = datetime.now(UTC).isoformat(timespec="seconds")
    record: ModelRecord = msgspec.structs.replace(model.record, slug=slug)
    commit, dirty = _git()
    return Manifest(
        schema_version=SCHEMA_VERSION,
        model=record,
        device=str(model.device),
        device_name=device_name(model.device),
        threads=torch.get_num_threads(),
        seed=options.seed,
        preset=options.preset,
        created=now,
        updated=now,
        argv=command_line(),
        versions=_versions(),
        git_commit=commit,
        git_dirty=dirty,
        synthetic=record.synthetic,
        published_as=options.published,
        no_overlay=options.no_overlay,
    )


def _versions() -> dict[str, str]:
    found = {"reportgen": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git() -> tuple[str, bool]:
    """Commit and dirty flag of the working folder, if it is a git checkout."""

    def git(*words: str) -> str:
        try:
            done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=5, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    return commit, bool(commit and git("status", "--porcelain", "--untracked-files=no"))
