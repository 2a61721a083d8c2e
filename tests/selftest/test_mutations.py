"""Every seeded bug is caught by the check that docs/mutations.md names."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from reportgen.selftest.checks import CHECKS
from reportgen.selftest.models import Bench
from reportgen.selftest.record import Found
from tests.selftest.mutants import MUTANTS, PAGE, Mutant, page


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("mutants"))


@cache
def sound(bench: Bench, check: str) -> Found:
    """The check's outcome without any bug."""
    return CHECKS[check](bench)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.bug for mutant in MUTANTS])
def test_the_bug_is_caught(bench: Bench, mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sound(bench, mutant.check)
    assert before.holds
    with monkeypatch.context() as patch:  # compiled anew with nothing changed: the same numbers
        replace(mutant, after=mutant.before).apply(patch)
        assert CHECKS[mutant.check](bench) == before
    with monkeypatch.context() as patch:
        mutant.apply(patch)
        found = CHECKS[mutant.check](bench)
    assert not found.holds, found
    assert found.measured != before.measured


def test_the_page_says_what_was_done() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
    assert len({mutant.bug for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.function, mutant.before, mutant.after) for mutant in MUTANTS}) == len(MUTANTS)
