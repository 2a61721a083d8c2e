"""Every package that reportgen needs at run time is on docs/licences.md, under a licence that goes with its own."""

from __future__ import annotations

import re
from email.message import Message
from pathlib import Path

import pytest

from tests.licences import PAGE, accepted, licence, packages, page

ROOT = Path(__file__).parent.parent
LISTED = dict(re.findall(r"^\| ([a-z0-9-]+) \| ([^|]+) \|", PAGE.read_text("utf-8"), re.MULTILINE))
LISTED.pop("package", None)  # the table's head
TESTED = {
    name.lower().replace("_", "-"): version
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
}


def test_every_package_is_listed_under_a_licence_that_is_accepted() -> None:
    """What an older version leaves unsaid, the page knows of the tested one."""
    found = packages()
    assert {"torch", "numpy", "altair", "markupsafe"} <= {p.name for p in found}
    assert [p.name for p in found if p.name not in LISTED] == []
    silent = {p.name for p in found if p.licence == "unknown" and TESTED.get(p.name) != p.version}
    assert [(p.name, p.licence) for p in found if not accepted(p.licence) and p.name not in silent] == []
    assert [name for name, text in LISTED.items() if not accepted(text)] == []


def test_the_page_is_what_the_packages_say() -> None:
    """Those in the version of constraints.txt, since licences are written otherwise in others."""
    same = [p for p in packages() if TESTED.get(p.name) == p.version.partition("+")[0]]
    if not same:
        pytest.skip("none in that version")
    lines = page(same).splitlines()
    assert {p.name: p.licence for p in same} == {p.name: LISTED[p.name] for p in same}
    assert lines[: lines.index("|---|---|---|")] == PAGE.read_text("utf-8").splitlines()[: lines.index("|---|---|---|")]


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({"License-Expression": "MIT OR GPL-3.0-only"}, "MIT OR GPL-3.0-only"),
        ({"License": "Apache 2.0"}, "Apache-2.0"),
        ({"License": "Copyright (c) Somebody\nlong", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD"),
        ({"License": "as you like", "Classifier": "Programming Language :: Python"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_what_metadata_says(fields: dict[str, str], want: str) -> None:
    metadata = Message()
    for name, value in fields.items():
        metadata[name] = value
    assert licence(metadata) == want  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expression", "good"),
    [
        ("MIT", True),
        ("BSD-3-Clause AND (Apache-2.0 WITH LLVM-exception)", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("LicenseRef-NVIDIA", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_which_licences_are_accepted(expression: str, good: bool) -> None:
    assert accepted(expression) is good
