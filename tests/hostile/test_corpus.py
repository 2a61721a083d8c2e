"""Every hostile input ends in exit 2 and one line that names the place, or is taken whole; nothing else is touched."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from tests.hostile import bases, corpus
from tests.hostile.case import Case
from tests.hostile.conftest import Command, tree

LEAST = 200
_ESCAPES = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)
def test_it_is_refused_in_one_line_or_taken(case: Case, command: Command, store: Path, tmp_path: Path) -> None:
    if case.needs_permissions and os.geteuid() == 0:
        pytest.skip("root may read everything")
    case.write(tmp_path)
    for base in case.base:
        bases.copy(base, store, tmp_path)
    if case.damage is not None:
        case.damage(tmp_path)
    before = tree(tmp_path)
    found = command(*case.argv(tmp_path))
    after = tree(tmp_path)

    assert found.code == case.code, found.err + found.out
    assert not _ESCAPES.search(found.err + found.out)
    assert "Traceback" not in found.err
    assert not found.strayed
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    if case.code == 2:
        lines = [line for line in found.err.splitlines() if line.startswith("reportgen: ")]
        assert len(lines) == 1, found.err
        assert len(lines[0]) < 2_000
        assert lines[0] == found.err.splitlines()[-1]
        assert re.search(case.says, lines[0]), lines[0]
        assert not {path for path in changed if path != "out" and not path.startswith("out/")}
        assert not [path for path in changed if path.endswith((".part", "index.html"))]
    if case.check is not None:
        case.check(found, tmp_path)


def test_there_are_two_hundred_distinct_inputs() -> None:
    """Distinct by what is given: words, files, bases and (by name) the damage done to them."""
    names = [case.name for case in corpus.CASES]
    assert len(set(names)) == len(names)
    given = {_digest(case) for case in corpus.CASES if case.code == 2}
    assert len(given) >= LEAST, len(given)


def _digest(case: Case) -> str:
    """The case's input; damage is code, and named by the case."""
    damage = case.name if case.damage is not None else ""
    return hashlib.sha256(repr((case.words, sorted(case.files.items()), case.base, damage)).encode()).hexdigest()
