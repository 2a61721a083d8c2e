"""Every bound of pyproject.toml is tested: the lowest by constraints-min.txt, the newest by constraints.txt."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"].values()
DIRECT = [*map(Requirement, [*PROJECT["dependencies"], *(need for extra in EXTRAS for need in extra)])]


def pinned(name: str) -> dict[str, Version]:
    found = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", (ROOT / name).read_text("utf-8"), re.MULTILINE)
    return {canonicalize_name(package): Version(version) for package, version in found}


@pytest.mark.parametrize("need", DIRECT, ids=str)
def test_bounds_are_tested(need: Requirement) -> None:
    name = canonicalize_name(need.name)
    (lowest,) = (Version(s.version) for s in need.specifier if s.operator == ">=")
    assert pinned("constraints-min.txt")[name] == lowest
    assert need.specifier.contains(pinned("constraints.txt")[name])


def test_actions_are_pinned_by_hash() -> None:
    used = [
        line.strip()
        for file in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in file.read_text("utf-8").splitlines()
        if re.match(r"\s*-?\s*uses:", line)
    ]
    assert len(used) > 3
    assert [line for line in used if not re.search(r"uses: (\./|[\w/.-]+@[0-9a-f]{40} # v\d)", line)] == []
