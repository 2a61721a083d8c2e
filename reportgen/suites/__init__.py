"""The suites: built-ins are a plain tuple; others come from an entry point or from one file.

Looking a suite up imports its suite.py alone, never torch or altair.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

from reportgen.errors import SettingsError, UserError, nearest
from reportgen.reading import is_file
from reportgen.suites.attention.suite import SUITE as ATTENTION
from reportgen.suites.base import HOW, Context, Measure, Suite
from reportgen.suites.circuits.suite import SUITE as CIRCUITS
from reportgen.suites.cognitive.suite import SUITE as COGNITIVE
from reportgen.suites.compared.suite import SUITE as COMPARED
from reportgen.suites.imported.suite import SUITE as IMPORTED
from reportgen.suites.relations.suite import SUITE as RELATIONS
from reportgen.suites.samples import Samples
from reportgen.suites.sparse.suite import SUITE as SPARSE

__all__ = [
    "BUILT_IN", "Context", "Measure", "Samples", "Suite", "answerable", "choose", "drawable", "find", "known", "listed",
    "shipped",
]  # fmt: skip

BUILT_IN: tuple[Suite, ...] = (ATTENTION, CIRCUITS, RELATIONS, COGNITIVE, SPARSE)  # in the order they are run
STORED: tuple[Suite, ...] = (IMPORTED, COMPARED)  # what only stored runs have: never scored, only drawn
ENTRY_POINTS = "reportgen.suites"
_named: dict[str, Suite] = {}  # suites from files that this process was given: a run of theirs can be drawn


_files: dict[str, Path] = {}  # suite -> the file it came from


def known() -> dict[str, Suite]:
    """Built-in suites and those that installed packages offer under the entry point `reportgen.suites`."""
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


def shipped(suite: Suite) -> bool:
    """Whether every installation has this suite."""
    return any(suite is other for other in (*BUILT_IN, *STORED))


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
    """The suites named (all when none is), each once, ordered so that a suite runs after those it can use.

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
    """Whatever a user's file raises, as one line with the file, its line and the error; `passing` goes through."""
    try:
        yield
    except passing:
        raise
    except SyntaxError as error:
        raise SettingsError(f"{path}, line {error.lineno or 1}: {error.msg}.", f"Mend the file; {HOW}") from error
    except (Exception, SystemExit) as error:
        if sys.flags.dev_mode:  # python -X dev shows the whole way there
            traceback.print_exc()
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path.absolute())]
        at = f"{path}, line {frames[-1].lineno}" if frames else str(path)
        said = traceback.format_exception_only(error)[-1]  # also where the error cannot be put into words
        words = str(error) if isinstance(error, UserError) else said.strip()
        hint = "" if HOW in words else f"; {HOW}"
        raise SettingsError(
            f"{at}: {words}", f"Mend the file ('python -X dev -m reportgen' shows more){hint or '.'}"
        ) from error
