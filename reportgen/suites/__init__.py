"""The suites: built-ins are a plain tuple; others come from an entry point or from one file.

Looking a suite up imports its suite.py alone, never torch or altair.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from reportgen.errors import SettingsError, nearest
from reportgen.suites.attention.suite import SUITE as ATTENTION
from reportgen.suites.base import Context, Measure, Suite
from reportgen.suites.circuits.suite import SUITE as CIRCUITS
from reportgen.suites.cognitive.suite import SUITE as COGNITIVE
from reportgen.suites.compared.suite import SUITE as COMPARED
from reportgen.suites.imported.suite import SUITE as IMPORTED
from reportgen.suites.relations.suite import SUITE as RELATIONS
from reportgen.suites.sparse.suite import SUITE as SPARSE

__all__ = ["BUILT_IN", "Context", "Measure", "Suite", "choose", "drawable", "find", "known"]

BUILT_IN: tuple[Suite, ...] = (ATTENTION, CIRCUITS, RELATIONS, COGNITIVE, SPARSE)  # in the order they are run
STORED: tuple[Suite, ...] = (IMPORTED, COMPARED)  # what only stored runs have: never scored, only drawn
ENTRY_POINTS = "reportgen.suites"
_named: dict[str, Suite] = {}  # suites from files that this process was given: a run of theirs can be drawn


def known() -> dict[str, Suite]:
    """Built-in suites and those that installed packages offer under the entry point `reportgen.suites`."""
    suites = {suite.name: suite for suite in BUILT_IN}
    for point in entry_points(group=ENTRY_POINTS):
        suite = point.load()
        if not isinstance(suite, Suite):
            raise SettingsError(f"Entry point {point.name!r} of {ENTRY_POINTS} is not a reportgen.suites.Suite.")
        suites.setdefault(suite.name, suite)
    return suites


def drawable(names: Iterable[str]) -> dict[str, Suite]:
    """The known suites, and those of `names` that only stored runs have or that came from a file given here."""
    wanted = set(names)
    return known() | {suite.name: suite for suite in (*STORED, *_named.values()) if suite.name in wanted}


def find(name: str) -> Suite:
    """The suite called `name`, or the one `Suite` in the Python file of that path. SettingsError otherwise."""
    if name.endswith(".py"):
        suite = _from_file(Path(name))
        _named[suite.name] = suite
        return suite
    suites = known()
    if name not in suites:
        raise SettingsError(f"No suite {name!r}.", nearest(name, suites))
    return suites[name]


def choose(names: Iterable[str]) -> list[Suite]:
    """The suites named (all when none is), each once, ordered so that a suite runs after those it can use."""
    wanted = list(dict.fromkeys(find(name).name if not name.endswith(".py") else name for name in names))
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
    if not path.is_file():
        raise SettingsError(f"No suite file {path}.", "Give the path of a Python file that defines one Suite.")
    name = f"reportgen_user_suite_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"{path} is not a Python file.", "Give the path of a file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that "module:function" in the suite resolves to this very file
    spec.loader.exec_module(module)
    found = [value for value in vars(module).values() if isinstance(value, Suite)]
    if len(found) != 1:
        raise SettingsError(f"{path} defines {len(found)} Suites.", "Define exactly one at the top level.")
    return found[0]
