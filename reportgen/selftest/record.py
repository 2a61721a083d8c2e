"""Outcomes of the self-test's checks, and their result stored per installation, so that every run can report it.

One small file in the user's cache folder per installation and machine. It is valid for the sources and versions that it
names; after a change of either the self-test is run again. Imports torch only to run it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from reportgen import __version__
from reportgen.errors import RunError, one_line
from reportgen.files import write_atomic
from reportgen.manifest import SelfTest

PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "scipy")  # that scores are computed with
PACKAGE = Path(__file__).parents[1]


def known() -> SelfTest | None:
    """The stored result; None if it is for other sources or versions, damaged, or missing."""
    try:
        found = msgspec.json.decode(cache_file().read_bytes(), type=SelfTest)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.total and (found.sources, found.versions) == (sources(), versions()) else None


def ensured(tell: Callable[[str], None]) -> SelfTest:
    """The stored result, else that of a run now (about 6 s), which is announced and reported."""
    found = known()
    if found is not None:
        return found
    tell("Self-test of this installation, once")
    found = _run()
    tell(f"  {in_words(found)}")
    return found


def keep(outcomes: dict[str, bool]) -> SelfTest:
    """The outcome of all checks by name, as a result of this moment; a cache that can't be written is no error."""
    failed = [name for name, holds in outcomes.items() if not holds]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = SelfTest(now, sources(), versions(), len(outcomes), failed)
    try:
        write_atomic(cache_file(), msgspec.json.encode(found))
    except RunError:
        return found
    return found


def in_words(found: SelfTest | None) -> str:
    """E.g. "33 of 33 checks passed (2026-11-20, reportgen 0.1.0, torch 2.13.0)"; names those that failed."""
    if found is None or not found.total:
        return f"not run: {found.note}" if found and found.note else "not run"
    with_what = ", ".join([found.date[:10], *(f"{name} {value}" for name, value in found.versions.items())])
    words = f"{found.total - len(found.failed)} of {found.total} checks passed ({with_what})"
    return words + (f"; FAILED: {', '.join(found.failed)}" if found.failed else "")


def cache_file() -> Path:
    """Where the result is kept: $XDG_CACHE_HOME or ~/.cache, a file per installation and machine."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    place = "\n".join((str(PACKAGE), sys.prefix, platform.node()))
    return Path(base) / "reportgen" / f"selftest-{hashlib.sha256(place.encode()).hexdigest()[:12]}.json"


@cache
def sources() -> str:
    """sha256 over the package's Python files and their places."""
    found = hashlib.sha256()
    for path in sorted(PACKAGE.glob("**/*.py")):
        found.update(f"{path.relative_to(PACKAGE).as_posix()}\n{path.stat().st_size}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def versions() -> dict[str, str]:
    """What the result holds for, by package."""
    found = {"reportgen": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _run() -> SelfTest:
    import torch

    from reportgen.selftest.checks import run_checks

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            return keep({name: found.holds for name, found in run_checks()})
    except OSError as error:
        return SelfTest("", sources(), versions(), 0, [], one_line(str(error)))
    finally:
        torch.set_num_threads(threads)


# One check's measured and expected value.


@dataclass(frozen=True)
class Found:
    """One check's outcome: expected, measured, and whether the two agree."""

    expected: str
    measured: str
    holds: bool


def exactly(expected: object, measured: object) -> Found:
    """The two must be equal."""
    return Found(str(expected), str(measured), bool(expected == measured))


def within(expected: float, measured: float, tolerance: float) -> Found:
    """A number, up to a stated tolerance. NaN is never within."""
    return Found(f"{expected:.6g} +- {tolerance:g}", f"{measured:.6g}", abs(measured - expected) <= tolerance)


def at_most(limit: float, measured: float) -> Found:
    """A largest difference, with the rounding that is allowed. NaN is never allowed."""
    return Found(f"0, rounding up to {limit:g}", f"{measured:.2g}", measured <= limit)
