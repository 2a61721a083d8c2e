"""The run folder: a public format, and the only connection between scoring and rendering.

    <out>/<slug>/
      run.json                     the manifest, written last, by one process
      scores/<suite>.safetensors   arrays;  scores/<suite>.json  what they mean
      overlays/*.toml              the user's head sets, copied so that the run can be rendered anywhere
      report/                      index.html, report.pdf, scores.csv, figures/

- Every file is written to a temporary name, fsynced and renamed; a suite is finished when run.json says so and the
  digests agree. A crash leaves finished suites complete and unfinished ones absent.
- One process at a time owns a folder (a lock that dies with the process).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec
from filelock import FileLock, Timeout

from reportgen import score_files, suites
from reportgen.errors import RunError, SettingsError, UnknownScore, UserError, nearest
from reportgen.files import (
    as_text,
    check_inside,
    convert,
    digest,
    parse_json,
    read_bytes,
    there,
    unwritable,
    write_atomic,
)
from reportgen.manifest import SCHEMA_VERSION, Manifest, ModelRecord, SuiteRecord
from reportgen.published import load_user, sets_for
from reportgen.rows import Rows, rows_of
from reportgen.scores import Head, HeadScores, SuiteResult, head_name, parse_head

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+=-]*")
MANIFEST = "run.json"
T = TypeVar("T")


def slug_of(model_id: str, revision: str = "") -> str:
    """The folder name of a model: '/' becomes '--', the revision follows '@'."""
    name = model_id.strip("/").replace("/", "--") + (f"@{revision}" if revision else "")
    return re.sub(r"[^A-Za-z0-9._@+=-]", "-", name).lstrip("._-@+=") or "model"


def own_name(model: ModelRecord) -> str:
    """The run's name if --name gave it one that differs from the model's; else ""."""
    of_model = (slug_of(model.id, model.revision), slug_of(model.id), slug_of(model.title), slug_of(model.hub_id))
    follows = model.slug.lower() in {name.lower() for name in of_model} or model.source == "comparison"
    return "" if follows else model.slug


def is_slug(name: str) -> bool:
    """Whether `name` is one plain folder or file name."""
    return _SLUG.fullmatch(name) is not None and len(name) <= 200


def check_slug(slug: str) -> str:
    """`slug` if it is a safe folder name, else RunError."""
    if not is_slug(slug):
        raise RunError(f"--name {slug!r} is not a plain folder name.", "Use letters, digits, '.', '-', '_' or '@'.")
    return slug


def resume_key(**parts: object) -> str:
    """sha256 of the canonical JSON of everything that determines a suite's scores (not device, threads or version)."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


@dataclass(frozen=True, repr=False)
class Run:
    """A run folder, for reading. Scores are read on demand and checked against the manifest's digests."""

    path: Path
    manifest: Manifest
    _cache: dict[str, SuiteResult] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """The run at `path`; RunError in one line if it is missing, damaged, or written by a newer reportgen."""
        path = Path(path)
        return cls(path, _read_manifest(path))

    @property
    def model(self) -> ModelRecord:
        return self.manifest.model

    def _repr_html_(self) -> str:
        """Notebook display: findings, the highest heads, the page's path."""
        from reportgen.notebook import first_screen  # drawing is imported on demand

        return first_screen(self)

    def done(self) -> list[str]:
        """Names of the finished suites, in the order they were run."""
        return [name for name, record in self.manifest.suites.items() if record.status == "done"]

    def result(self, suite: str) -> SuiteResult:
        """The result of `suite`. RunError if it is not finished or its files are damaged."""
        if suite in self._cache:
            return self._cache[suite]
        record = self.manifest.suites.get(suite)
        if record is None or record.status != "done":
            raise RunError(f"{self.path} has no finished suite {suite!r}.", nearest(suite, self.done()))
        blobs = {}
        for name, want in record.sha256.items():
            blobs[name] = _read_checked(self.path / "scores" / name, want)
        try:
            meaning, arrays = blobs[f"{suite}.json"], blobs[f"{suite}.safetensors"]
        except KeyError as error:
            raise RunError(f"{self.path / MANIFEST} has no {error} for suite {suite!r}.", _AGAIN) from error
        where = self.path / "scores" / suite
        found = self._fitting(score_files.decode(meaning, arrays, str(where)), where)
        self._cache[suite] = suites.upgraded(found, record.settings)
        return self._cache[suite]

    def _fitting(self, result: SuiteResult, where: Path) -> SuiteResult:
        """`result` if its scores and head sets are on the model's grid, else RunError."""
        shape = (self.model.n_layers, self.model.n_heads)
        grid = f"the model has {shape[0]} layers x {shape[1]} heads"
        if result.suite != where.name:
            raise RunError(f"{where} is damaged: it holds the suite {result.suite!r}.", _AGAIN)
        for score in result.scores:
            if score.values.shape != shape:
                raise RunError(f"{where} is damaged: {score.key} is {score.values.shape}, {grid}.", _AGAIN)
        for found in result.head_sets:
            for layer, head in found.heads:
                if not (0 <= layer < shape[0] and 0 <= head < shape[1]):
                    raise RunError(f"{where} is damaged: {found.key} has {head_name(layer, head)}, {grid}.", _AGAIN)
        return result

    @cached_property
    def results(self) -> Mapping[str, SuiteResult]:
        """All finished suites' results, by name."""
        return {name: self.result(name) for name in self.done()}

    def beside(self) -> tuple[list[Run], dict[str, str]]:
        """The runs named with --beside, and why some of them are not there, by name. They lie in the same folder."""
        found: list[Run] = []
        missing: dict[str, str] = {}
        for name in self.manifest.beside:
            try:
                other = Run.open(self.path.parent / name)
                other.results  # noqa: B018  read now: what is damaged is missing
            except UserError as error:
                missing[name] = str(error)
                continue
            if other.model.content_hash == self.model.content_hash:
                found.append(other)
            else:
                missing[name] = "a run of other weights"
        return found, missing

    def __repr__(self) -> str:
        grid = f"{self.model.n_layers} layers x {self.model.n_heads} heads"
        return f"<Run {self.path}: {self.model.name}, {grid}; {', '.join(self.done()) or 'no suite done'}>"

    def __getitem__(self, key: str) -> HeadScores:
        """The score of a key, suite/measure/task, or of a beginning of one: run["my_suite/share"].

        An exact measure name takes precedence over longer ones. UnknownScore names the candidates.
        """
        known = {score.key: score for score in self._every()}
        if key in known:
            return known[key]
        parts = key.split("/")
        whole = [name for name in known if name.split("/")[: len(parts)] == parts]
        found = whole or [name for name in known if name.startswith(key)]
        if len(found) == 1:
            return known[found[0]]
        if found:
            more = ", \u2026" if len(found) > 12 else "."
            raise UnknownScore(f"{key!r} names {len(found)} scores.", f"Say which: {', '.join(found[:12])}{more}")
        raise UnknownScore(f"There is no score {key!r}.", nearest(key, known))

    def _ipython_key_completions_(self) -> list[str]:
        """Completions of a notebook after run[" ."""
        return [score.key for score in self._every()]

    def scores(self, key: str = "", head: str = "") -> Rows:
        """Rows of all scores whose key begins with `key`, optionally of one head ("L4H5").

        SettingsError if none match; `.to_pandas()` makes a data frame.
        """
        every = self._every()
        some = [score for score in every if score.key.startswith(key)]
        if every and not some:
            raise UnknownScore(f"There is no score {key!r}.", nearest(key, [score.key for score in every]))
        return rows_of(some, [self._head(head)] if head else None)

    def _every(self) -> list[HeadScores]:
        return [score for result in self.results.values() for score in result.scores]

    def _head(self, name: str) -> Head:
        try:
            layer, head = parse_head(name)
        except ValueError as error:
            raise SettingsError(f"{error}.") from error
        if not (layer < self.model.n_layers and head < self.model.n_heads):
            raise SettingsError(f"{name} is outside the {self.model.n_layers} layers x {self.model.n_heads} heads.")
        return layer, head

    def figures(self) -> dict[str, str]:
        """Ids and titles of the run's figures, in the report's order; nothing is drawn."""
        from reportgen.report.build import all_figures  # drawing is imported on demand

        return {figure.id: figure.title for figure in all_figures(self)}

    def left_out(self) -> list[str]:
        """`suite: words` for everything left out of this run: data that could not be encoded, parts that could not be
        computed. It excludes what settings switched off."""
        lines = []
        for name, record in self.manifest.suites.items():
            missing = self.result(name).not_computed if record.status == "done" else ()
            gone = [f"{n.what}: {n.why}" for n in missing if not n.is_switched_off]
            lines += [f"{name}: {words}" for words in dict.fromkeys([*record.dropped, *gone])]
        return lines

    def overlay_files(self) -> list[Path]:
        """The user's overlay files stored in the run."""
        return [self.path / "overlays" / check_slug(name) for name in self.manifest.overlays]

    def is_finished(self, suite: str, key: str) -> bool:
        """Whether `suite` is done under this resume key and its files are intact."""
        record = self.manifest.suites.get(suite)
        if record is None or record.status != "done" or record.resume_key != key or not record.sha256:
            return False
        files = {name: self.path / "scores" / check_slug(name) for name in record.sha256}
        try:
            return all(p.is_file() and digest(p) == record.sha256[n] for n, p in files.items())
        except OSError:
            return False


def overlay_files(paths: Iterable[Path | str], shape: tuple[int, int] | None = None) -> dict[str, bytes]:
    """The user's overlay files by their name in the run, read and checked; `shape` as in `load_user`.

    Raises DataError for a malformed one, SettingsError if two would have the same name.
    """
    files: dict[str, bytes] = {}
    for path in map(Path, paths):
        load_user(path, shape)
        name = slug_of(path.stem)[:100] + ".toml"
        if name in files:
            raise SettingsError(f"Two overlay files are called {name}.", "Rename one of them.")
        files[name] = read_bytes(path)
    return files


_AGAIN = "Rescore it with 'reportgen run', or restore the folder from a copy."


def _read_manifest(path: Path) -> Manifest:
    if not there(path / MANIFEST):
        raise RunError(f"{path} is not a run folder (no {MANIFEST}).", "Make one with 'reportgen run'.")
    file = path / MANIFEST
    manifest = read_versioned(file, Manifest, SCHEMA_VERSION, _AGAIN)
    names = [manifest.model.slug, *manifest.overlays, *manifest.beside]
    names += [name for suite, record in manifest.suites.items() for name in (suite, *record.sha256)]
    for name in names:
        if not is_slug(name):
            raise RunError(f"{file} has a file name {name!r} that is not a plain name.", _AGAIN)
    return manifest


class _Versioned(msgspec.Struct):
    schema_version: int


def read_versioned(file: Path, kind: type[T], newest: int, again: str) -> T:
    """A JSON file with a schema_version, as a `kind`; RunError if it is damaged or newer than `newest`."""
    place = f"{file} is damaged"
    text = as_text(read_bytes(file, again, error=RunError), place, error=RunError)
    value = parse_json(text, place, again, error=RunError)
    version = convert(value, _Versioned, place, again, error=RunError).schema_version
    if version > newest:
        raise RunError(
            f"{file} has schema {version}; this reportgen reads up to {newest}.", "Upgrade: pip install -U reportgen."
        )
    return convert(value, kind, place, again, error=RunError)


def _read_checked(path: Path, want: str) -> bytes:
    raw = read_bytes(path, _AGAIN, error=RunError)
    if hashlib.sha256(raw).hexdigest() != want:
        raise RunError(f"{path} differs from the digest in {MANIFEST}: it was changed or truncated.", _AGAIN)
    return raw


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Lock the run folder `path` for the block. RunError if another process holds it, or it can't be written."""
    lock = FileLock(path / ".lock")
    try:
        check_inside(path)
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(
            f"Another reportgen is writing {path}.", "Wait for it, or give this run another --name."
        ) from error
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()


class RunWriter:
    """Writes a run folder; a context manager that holds the folder's lock.

    Raises RunError when another process holds it, the folder can't be written, or it holds another model's run.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._held = ExitStack()

    def __enter__(self) -> RunWriter:
        with ExitStack() as stack:  # the lock is released if the folder can't be taken over
            stack.enter_context(owned(self.path))
            self._take_over()
            self._held = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._held.close()

    def _take_over(self) -> None:
        """Remove leftovers of a crash, and keep an earlier run's finished suites."""
        for part in self.path.glob("**/.*.part"):
            try:
                part.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(part, error) from error
        self._keep_finished()

    def _keep_finished(self) -> None:
        """Keep an earlier run's finished suites if it is of the same model, else RunError."""
        if not there(self.path / MANIFEST):
            return
        old = _read_manifest(self.path)
        new = self.manifest.model
        if old.model.content_hash != new.content_hash:
            raise RunError(
                f"{self.path} holds another model's run ({old.model.id}, hash {old.model.content_hash[:12]}, "
                f"not {new.content_hash[:12]}).",
                f"Type --name {slug_of(new.id)}-{new.content_hash[:8]} to keep both.",
            )
        self.manifest = msgspec.structs.replace(
            self.manifest, created=old.created, suites=old.scored(), overlays=old.overlays,
            published_as=self.manifest.published_as or old.published_as,
        )  # fmt: skip

    @property
    def run(self) -> Run:
        """The run in its current state."""
        return Run(self.path, self.manifest)

    def store(self, suite: str, result: SuiteResult, record: SuiteRecord) -> None:
        """Write a finished suite's two files, then the manifest that names their digests."""
        meaning, arrays = score_files.encode(result)
        blobs = {f"{suite}.safetensors": arrays, f"{suite}.json": meaning}
        for name, blob in blobs.items():
            write_atomic(self.path / "scores" / name, blob)
        sums = {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()}
        self.note(suite, msgspec.structs.replace(record, status="done", sha256=sums, n=len(result.scores)))

    def note(self, suite: str, record: SuiteRecord) -> None:
        """Put one suite's record into the manifest and write it."""
        suites = dict(self.manifest.suites)
        suites[suite] = record
        self.save(msgspec.structs.replace(self.manifest, suites=suites))

    def save(self, manifest: Manifest | None = None) -> None:
        """Write run.json."""
        self.manifest = manifest or self.manifest
        write_atomic(self.path / MANIFEST, msgspec.json.format(msgspec.json.encode(self.manifest), indent=2) + b"\n")

    def keep_overlays(self, files: Mapping[str, bytes]) -> str:
        """Store these overlay files in the run, replacing its own; returns a description of the change, "" for none."""
        before = self.manifest.overlays
        for name in files:
            check_slug(name)
        for name, content in files.items():
            write_atomic(self.path / "overlays" / name, content)
        self.save(msgspec.structs.replace(self.manifest, overlays=list(files)))
        gone = [name for name in before if name not in files]
        for name in gone:
            (self.path / "overlays" / check_slug(name)).unlink(missing_ok=True)
        instead = f" instead of {', '.join(gone)}" if gone else ""
        return f"{self.path} now stores {', '.join(files)}{instead}." if files else ""


def keep_marks(
    run: Run,
    overlays: Iterable[Path] = (),
    published: str = "",
    *,
    no_overlay: bool = False,
    beside: Iterable[Path] = (),
    tell: Callable[[str], None] = lambda words: None,
) -> Run:
    """The run with the head sets to mark from now on, stored in run.json: for `render`, `figure`, `check` and `site`.

    overlays    TOML files that replace the stored ones; none = keep them
    published   key of a catalogue model; "" = keep the stored one
    no_overlay  draw none of them until this is called again
    beside      other runs of the model, in the same folder, that say whether findings hold; none = keep those stored
    tell        called with a message about stored and replaced files

    Raises UserError for a malformed file or unknown key (nothing is changed then), or a folder in use.
    """
    shape = (run.model.n_layers, run.model.n_heads)
    files = overlay_files(overlays, shape)
    sets_for("", published, shape)
    others = [_neighbour(run, path) for path in beside]
    with owned(run.path):
        manifest = _read_manifest(run.path)
        writer = RunWriter(run.path, manifest)
        if files:
            tell(writer.keep_overlays(files))
        key = published or manifest.published_as
        marked = msgspec.structs.replace(
            writer.manifest, published_as=key, no_overlay=no_overlay, beside=others or manifest.beside
        )
        if marked != writer.manifest:
            writer.save(marked)
    return Run(run.path, marked)


def _neighbour(run: Run, path: Path) -> str:
    """The name of another run's folder beside the run's; SettingsError: elsewhere, or of other weights."""
    other = Run.open(path)
    if other.path.resolve().parent != run.path.resolve().parent or other.path.resolve() == run.path.resolve():
        raise SettingsError(f"--beside {path}: not another run in {run.path.resolve().parent}.", "Copy it there.")
    if other.model.content_hash != run.model.content_hash:
        raise SettingsError(f"--beside {path}: a run of other weights than {run.path}.", "Name runs of the same model.")
    name = other.path.resolve().name
    if not is_slug(name):
        raise SettingsError(f"--beside {path}: {name!r} is no plain name.", "Rename the folder.")
    return name
