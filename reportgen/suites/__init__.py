"""The suites: built-ins are a plain tuple; others come from an entry point or from one file.

Looking a suite up imports only its suite.py, never torch or altair.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

from reportgen.errors import SettingsError, UserError, nearest
from reportgen.files import is_file
from reportgen.scores import SuiteResult
from reportgen.suites.attention.suite import SUITE as ATTENTION
from reportgen.suites.base import HOW, Context, Measure, Suite
from reportgen.suites.circuits.suite import SUITE as CIRCUITS
from reportgen.suites.cognitive.suite import SUITE as COGNITIVE
from reportgen.suites.facts import upgraded as _upgraded
from reportgen.suites.icl.suite import SUITE as ICL
from reportgen.suites.relations.suite import SUITE as RELATIONS
from reportgen.suites.retrieval.suite import SUITE as RETRIEVAL
from reportgen.suites.samples import Samples
from reportgen.suites.sparse.suite import SUITE as SPARSE
from reportgen.suites.text.suite import SUITE as TEXT
from reportgen.suites.weights.suite import SUITE as WEIGHTS

# Imported scores: computed elsewhere, without interval, null or n.

IMPORTED_NAME = "imported"
NOT_GIVEN = "not given: the scores were computed elsewhere and imported as they are"


@dataclass(frozen=True)
class ImportSettings:
    """Options of an import."""

    table: str = field(default="", metadata={"help": "file that the scores were read from"})
    sha256: str = field(default="", metadata={"help": "digest of that file"})
    columns: tuple[str, ...] = field(default=(), metadata={"help": "its measures, in order"})
    reading: str = field(default="", metadata={"help": "how each value was assigned to a head"})


IMPORTED = Suite(
    name=IMPORTED_NAME,
    title="Imported scores",
    summary="Scores computed elsewhere and imported from a table. Interval, null and n were not given; nothing on this "
    "page tests the scores.",
    version=1,
    settings=ImportSettings,
    score="reportgen.imported.store:score",
    figures="reportgen.suites.maps:imported_figures",
    measures=(),
)


# Comparisons.

COMPARED_NAME = "compared"


@dataclass(frozen=True)
class ComparisonSettings:
    """What was compared."""

    runs: tuple[str, ...] = field(default=(), metadata={"help": "the runs, in order"})
    hashes: tuple[str, ...] = field(default=(), metadata={"help": "one hash of each run's results"})
    measures: tuple[str, ...] = field(default=(), metadata={"help": "measures compared, as suite/measure"})
    lineage: str = field(default="", metadata={"help": "why heads may be subtracted, or why not"})


COMPARED = Suite(
    name=COMPARED_NAME,
    title="Comparison",
    summary="The same scores in several runs. Heads are subtracted only within one lineage; different models are "
    "compared by relative depth and by rank.",
    version=1,
    settings=ComparisonSettings,
    score="reportgen.compare.drawing:figures",
    figures="reportgen.compare.drawing:figures",
    measures=(
        Measure(
            "difference",
            "Difference",
            "score in the later run minus score in the first",
            "Positive: the head scores higher in the later run. Its interval treats the runs as independent.",
            source="ours",
        ),
    ),
)


__all__ = [
    "BUILT_IN", "Context", "Measure", "Samples", "Suite", "answerable", "choose", "drawable", "file_of", "find",
    "known", "listed", "shipped", "upgraded",
]  # fmt: skip

BUILT_IN: tuple[Suite, ...] = (
    ATTENTION,
    CIRCUITS,
    RELATIONS,
    WEIGHTS,
    COGNITIVE,
    SPARSE,
    RETRIEVAL,
    ICL,
    TEXT,
)  # in the order they are run
STORED: tuple[Suite, ...] = (IMPORTED, COMPARED)  # only in stored runs: drawn, never scored
ENTRY_POINTS = "reportgen.suites"
_named: dict[str, Suite] = {}  # suites from files given to this process, so that their runs can be drawn


_files: dict[str, Path] = {}  # suite -> the file it came from


def known() -> dict[str, Suite]:
    """Built-in suites and those of installed packages with the entry point `reportgen.suites`."""
    suites = {suite.name: suite for suite in BUILT_IN}
    for point in entry_points(group=ENTRY_POINTS):
        with _blamed(Path(point.value)):
            suite = point.load()
        if not isinstance(suite, Suite):
            raise SettingsError(f"Entry point {point.name!r} of {ENTRY_POINTS} is not a reportgen.suites.Suite.")
        suites.setdefault(suite.name, suite)
    return suites


def drawable(names: Iterable[str]) -> dict[str, Suite]:
    """The known suites, and those of `names` that only stored runs have or that came from a file given here."""
    wanted = set(names)
    return known() | {suite.name: suite for suite in (*STORED, *_named.values()) if suite.name in wanted}


def file_of(suite: Suite) -> Path | None:
    """The file that the suite was given by in this process; None for an installed one."""
    return _files.get(suite.name) if _named.get(suite.name) is suite else None


def shipped(suite: Suite) -> bool:
    """Whether every installation has this suite."""
    return any(suite is other for other in (*BUILT_IN, *STORED))


def upgraded(result: SuiteResult, settings: Mapping[str, object]) -> SuiteResult:
    """A stored result with what reportgen 0.1 had no fields for; `settings` are those that it was scored with."""
    suite = next((suite for suite in BUILT_IN if suite.name == result.suite), None)
    return _upgraded(result, suite, settings)


def listed(given: Iterable[str]) -> tuple[str, ...]:
    """The names and files in `given`, each of which may hold several with commas between; a file may have one."""
    found: list[str] = []
    for text in given:
        found += [text] if is_file(Path(text)) else [name.strip() for name in text.split(",")]
    return tuple(name for name in found if name)


def find(name: str) -> Suite:
    """The suite called `name`, or the one `Suite` in the Python file of that path. SettingsError otherwise."""
    if name.endswith(".py"):
        suite = _from_file(Path(name))
        _named[suite.name] = suite
        return suite
    suites = known()
    if name not in suites:
        beside = {name + ".py"} if is_file(Path(name + ".py")) else set()
        raise SettingsError(f"No suite {name!r}.", nearest(name, suites.keys() | beside))
    return suites[name]


def choose(names: Iterable[str]) -> list[Suite]:
    """The named suites (default: all), each once, ordered so that a suite runs after those it can use.

    names  of suites or of files, each of which may hold several with commas between
    """
    wanted = list(dict.fromkeys(find(name).name if not name.endswith(".py") else name for name in listed(names)))
    suites = [find(name) for name in wanted] if wanted else list(known().values())
    order = {suite.name: i for i, suite in enumerate(suites)}
    ordered: list[Suite] = []
    for suite in suites:
        before = [s for s in suites if s.name in suite.needs and s not in ordered]
        ordered += sorted(before, key=lambda s: order[s.name])
        if suite not in ordered:
            ordered.append(suite)
    return ordered


def _from_file(path: Path) -> Suite:
    if not is_file(path):
        raise SettingsError(f"No suite file {path}.", _beside(path))
    name = f"reportgen_user_suite_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"{path} is not a Python file.", "Give the path of a file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that "module:function" in the suite resolves to this very file
    with _blamed(path):
        spec.loader.exec_module(module)
    found = [value for value in vars(module).values() if isinstance(value, Suite)]
    if len(found) != 1:
        raise SettingsError(f"{path} defines {len(found)} Suites.", f"Define exactly one at the top level; {HOW}")
    _files[found[0].name] = path
    return found[0]


def _beside(path: Path) -> str:
    """A hint that names the Python files most like the missing `path` in its folder, where there are any."""
    try:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py") if is_file(p)], n=3)
    except OSError:  # a folder that can't be read
        near = []
    if near:
        return f"Did you mean {', '.join(str(path.parent / name) for name in near)}?"
    return f"Give the path of a Python file that defines one Suite; {HOW}"


@contextlib.contextmanager
def answerable(suite: Suite) -> Iterator[None]:
    """What a suite from a user's file raises in the block, one line with the file; of other suites it is a bug."""
    if _named.get(suite.name) is not suite:
        yield
        return
    with _blamed(_files[suite.name], passing=(UserError,)):
        yield


@contextlib.contextmanager
def _blamed(path: Path, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Any exception of a user's file, as one line with the file, its line and the error; `passing` is re-raised."""
    try:
        yield
    except passing:
        raise
    except SyntaxError as error:
        raise SettingsError(f"{path}, line {error.lineno or 1}: {error.msg}.", f"Fix the file; {HOW}") from error
    except (Exception, SystemExit) as error:
        if sys.flags.dev_mode:  # python -X dev shows the full traceback
            traceback.print_exc()
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path.absolute())]
        at = f"{path}, line {frames[-1].lineno}" if frames else str(path)
        said = traceback.format_exception_only(error)[-1]  # also where the error cannot be put into words
        words = str(error) if isinstance(error, UserError) else said.strip()
        hint = "" if HOW in words else f"; {HOW}"
        raise SettingsError(
            f"{at}: {words}", f"Fix the file ('python -X dev -m reportgen' shows more){hint or '.'}"
        ) from error
