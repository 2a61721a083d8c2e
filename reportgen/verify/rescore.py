"""`reportgen verify`: score a stored run's model again and compare every number with a measured tolerance."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec

from reportgen import runner, suites
from reportgen.compare.moved import Moved, SuiteApart, apart
from reportgen.config import Options
from reportgen.errors import ModelError, SettingsError, UserError, nearest, one_line
from reportgen.files import digest, is_file
from reportgen.manifest import SuiteRecord
from reportgen.runfolder import Run, RunWriter
from reportgen.selftest.record import sources
from reportgen.verify import weights
from reportgen.verify.tolerances import CERTAIN, Limits, Tolerance, beyond, tolerance

Verdict = Literal["reproduced", "differs", "not verifiable"]
CODES: Mapping[str, int] = {"reproduced": 0, "differs": 1, "not verifiable": 2}
NOT_SCORED = ("import", "comparison")  # sources of runs that no model was scored for


@dataclass(frozen=True)
class Asked:
    """What to verify and with what.

    suites      names; none = every finished suite
    model       where the weights are; empty = looked for by their hash
    device      empty = the run's, where it is here
    threads     None = the run's
    limit       in place of the measured tolerance, as a share of a score's largest value; None = the measured one
    """

    suites: tuple[str, ...] = ()
    model: str = ""
    device: str = ""
    threads: int | None = None
    offline: bool = False
    limit: float | None = None


@dataclass(frozen=True)
class SuiteVerdict:
    """One suite's answer.

    why       what the tolerance holds for; for a suite that could not be verified, the reason
    limits    the largest differences allowed; None: nothing was compared
    apart     both results compared; None: nothing was
    over      what is further apart than allowed
    captions  titles of figures whose caption is another now
    """

    suite: str
    verdict: Verdict
    why: str
    limits: Limits | None = None
    apart: SuiteApart | None = None
    over: tuple[Moved, ...] = ()
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verification:
    """The answer for a run: the worst of its suites' verdicts, and where the weights were found."""

    run: Path
    model: str
    weights: str
    suites: tuple[SuiteVerdict, ...] = field(default=())

    @property
    def verdict(self) -> Verdict:
        """differs where a suite differs, else not verifiable where one could not be compared."""
        found = {suite.verdict for suite in self.suites}
        return "differs" if "differs" in found else "not verifiable" if found != {"reproduced"} else "reproduced"

    @property
    def code(self) -> int:
        return CODES[self.verdict]


def verify(run: Run, asked: Asked, listener: runner.Listener | None = None) -> Verification:
    """Score the model of `run` again, suite by suite with the settings that it stores, and compare.

    Raises UserError: a damaged run, a suite that it has not, a model given that is another one.
    """
    names = _names(run, asked.suites)
    if run.model.source in NOT_SCORED:
        return _none(run, names, f"its scores are no model's: the run is {_an(run.model.source)}")
    records = run.manifest.scored()
    refused = {name: why for name in names if (why := _refusal(records[name]))} | {
        name: why for name in names if (why := _other_suite(name, records[name]))
    }
    wanted = [name for name in names if name not in refused]
    for name in wanted:
        run.result(name)  # a damaged one is refused before anything is scored
    place = weights.find(run.manifest, asked.model, offline=asked.offline) if wanted else weights.Found("", why="")
    if wanted and not place.name:
        return _none(run, names, place.why, refused)
    with _scored_again(run, wanted, records, place, asked, listener or runner.Silent()) as (again, why):
        if why:
            return _none(run, names, why, refused)
        found = [
            SuiteVerdict(name, "not verifiable", refused[name]) if name in refused else _judged(run, again, name, asked)
            for name in names
        ]
        found = _with_captions(run, again, found)
    return Verification(run.path, run.model.name, place.why, tuple(found))


def _names(run: Run, asked: Sequence[str]) -> list[str]:
    """The suites to verify, in the order in which they were scored; a file among them makes its suite known."""
    done = run.done()
    wanted = [suites.find(name).name if name.endswith(".py") else name for name in asked]
    for name in wanted:
        if name not in done:
            raise SettingsError(f"{run.path} has no finished suite {name!r}.", nearest(name, done or ["none"]))
    if not done:
        raise SettingsError(f"{run.path} has no finished suite.", "Score it: reportgen run")
    return [name for name in done if not wanted or name in wanted]


def _an(source: str) -> str:
    return {"import": "an import", "comparison": "a comparison"}[source]


def _none(run: Run, names: Iterable[str], why: str, refused: Mapping[str, str] | None = None) -> Verification:
    own = refused or {}
    return Verification(
        run.path, run.model.name, "", tuple(SuiteVerdict(n, "not verifiable", own.get(n, why)) for n in names)
    )


def _refusal(record: SuiteRecord) -> str:
    """Why the conditions of a stored suite are not known well enough to score it again; empty if they are."""
    lacks = [name for name in ("seed", "dtype") if getattr(record, name) in (None, "")]
    return f"an older run: it does not say its {' and '.join(lacks)}" if lacks else ""


def _other_suite(name: str, record: SuiteRecord) -> str:
    """Why the installed suite is not the one that scored; empty if it is: version, settings and data files agree."""
    suite = suites.drawable([name]).get(name)
    if suite is None:
        return "the suite is not installed; give its file: --suite FILE.py"
    if suite.version != record.version:
        return f"scored by version {record.version} of the suite, here is version {suite.version}"
    try:
        job = runner.SuiteJob(suite, suite.make_settings(record.preset or "full", record.settings), record.settings)
        files = job.files()
    except UserError as error:
        return one_line(str(error))
    now = {path.name: digest(path) if is_file(path) else "" for path in files}
    for file in dict.fromkeys((*record.data, *now)):
        if record.data and record.data.get(file) != now.get(file):
            state = "is not here" if not now.get(file) else "is another one" if file in record.data else "was not read"
            return f"data file {file} {state}"
    return ""


@contextmanager
def _scored_again(
    run: Run, names: Sequence[str], records: Mapping[str, SuiteRecord], place: weights.Found, asked: Asked,
    listener: runner.Listener,
) -> Iterator[tuple[Run, str]]:  # fmt: skip
    """A run of these suites in a folder for the time of the block, or the reason why there is none.

    The suites that are not scored again are copied, since some read the others' results.
    """
    with tempfile.TemporaryDirectory(prefix="reportgen-verify-") as folder:
        again = _copied(run, Path(folder) / "again", names)
        try:
            why = weights.other_model(run.model, place, offline=asked.offline) if names else ""
            for some in _groups(names, records) if not why else ():
                again = runner.run(_options(some, records, place, asked, Path(folder)), listener)
        except ModelError as error:
            if asked.model:
                raise
            why = one_line(str(error))
        yield again, why


def _copied(run: Run, into: Path, names: Sequence[str]) -> Run:
    """The run without the suites `names`; of a damaged suite nothing is copied."""
    kept = {}
    for name, record in run.manifest.suites.items():
        if name not in names and record.status == "done":
            try:
                run.result(name)
            except UserError:
                continue
            kept[name] = record
    manifest = msgspec.structs.replace(run.manifest, suites=kept, overlays=[])
    (into / "scores").mkdir(parents=True)
    for record in kept.values():
        for file in record.sha256:
            shutil.copy(run.path / "scores" / file, into / "scores" / file)
    with RunWriter(into, manifest) as writer:
        writer.save()
        return writer.run


def _groups(names: Sequence[str], records: Mapping[str, SuiteRecord]) -> list[list[str]]:
    """Suites scored under the same conditions, together, in the order of the first of each."""
    found: dict[object, list[str]] = {}
    for name in names:
        record = records[name]
        found.setdefault((record.seed, record.preset, record.threads, record.device, record.dtype), []).append(name)
    return list(found.values())


def _options(
    names: Sequence[str], records: Mapping[str, SuiteRecord], place: weights.Found, asked: Asked, out: Path
) -> Options:
    """The stored conditions as options of a run, in place of which go those asked for."""
    record = records[names[0]]
    given = suites.drawable(names)
    files = [str(suites.file_of(given[name]) or name) for name in names]
    return Options(
        model=place.name, revision=place.revision, suites=tuple(files), preset=record.preset or "full",
        settings={name: dict(records[name].settings) for name in names}, device=asked.device or device(record.device),
        dtype=record.dtype, threads=record.threads if asked.threads is None else asked.threads, out=str(out),
        name="again", seed=record.seed or 0, offline=asked.offline, selftest=False,
    )  # fmt: skip


def device(stored: str) -> str:
    """The stored device where this machine has it, else the CPU; the tolerance then says that devices differ."""
    import torch

    kind = stored.partition(":")[0]
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return stored if here.get(kind, False) else "cpu"


def _judged(run: Run, again: Run, name: str, asked: Asked) -> SuiteVerdict:
    now = again.manifest.scored()[name]
    if now.status != "done":
        return SuiteVerdict(name, "not verifiable", f"{now.status} when scored again: {now.error}")
    held = tolerance(name, run.manifest.scored()[name], now, same_code=_same_code(run))
    if asked.limit is not None:
        held = Tolerance(Limits(*[asked.limit] * 4), f"--tolerance {asked.limit:g}")
    found = apart(run.result(name), again.result(name))
    over = tuple(beyond(found, held.limits))
    if not over and not found.gone and not found.added:
        return SuiteVerdict(name, "reproduced", held.why, held.limits, found)
    far = any(moved.share > CERTAIN for moved in over) or bool(found.gone or found.added)
    verdict: Verdict = "differs" if held.measured or far else "not verifiable"
    return SuiteVerdict(name, verdict, held.why, held.limits, found, over)


def _same_code(run: Run) -> bool:
    """Whether every suite of the run was scored by the sources that are installed: it was one command's, of theirs."""
    manifest = run.manifest
    tested = manifest.self_test
    return tested is not None and tested.sources == sources() and manifest.created == manifest.updated


def _with_captions(run: Run, again: Run, found: Sequence[SuiteVerdict]) -> list[SuiteVerdict]:
    """The verdicts with the figures whose captions change; nothing is drawn where all is reproduced."""
    moved = {one.suite for one in found if one.apart is not None and (one.over or one.apart.gone or one.apart.added)}
    if not moved:
        return list(found)
    from reportgen.report.build import all_figures

    before = {figure.id: figure for figure in all_figures(run) if figure.suite in moved}
    after = {figure.id: figure for figure in all_figures(again) if figure.suite in moved}
    changed: dict[str, list[str]] = {name: [] for name in moved}
    for key in dict.fromkeys((*before, *after)):
        a, b = before.get(key), after.get(key)
        if a is None or b is None or a.caption != b.caption:
            changed[(a or b).suite].append(key)  # type: ignore[union-attr]
    return [replace(one, captions=tuple(changed.get(one.suite, ()))) for one in found]
