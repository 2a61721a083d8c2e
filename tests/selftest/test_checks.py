"""The self-test holds on this copy, says what it measured, and fails when a score is off."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reportgen.cli import app
from reportgen.selftest import checks
from reportgen.selftest.checks import CHECKS
from reportgen.selftest.models import Bench
from reportgen.selftest.record import at_most, exactly, within


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("selftest"))


@pytest.mark.parametrize("name", CHECKS)
def test_it_holds(bench: Bench, name: str) -> None:
    found = CHECKS[name](bench)
    assert found.holds, f"{found.measured}, expected {found.expected}"


def test_nan_never_holds() -> None:
    nan = float("nan")
    assert not within(1.0, nan, 0.1).holds
    assert not at_most(1.0, nan).holds
    assert not exactly(nan, nan).holds
    assert within(1.0, 1.1, 0.2).holds
    assert not within(1.0, 1.3, 0.2).holds


@pytest.mark.parametrize(("measured", "code"), [("37 of 60", None), ("36 of 60", 1)])
def test_a_line_per_check_and_the_exit_code(
    measured: str, code: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checks, "CHECKS", {"planted relation": lambda bench: exactly("37 of 60", measured)})
    assert app(["selftest"], standalone_mode=False) == code
    line, total = capsys.readouterr().out.splitlines()
    assert "planted relation" in line
    assert line.endswith(f"{measured}   (expected 37 of 60)")
    assert total == f"{int(code is None)} of 1 checks pass."


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    fresh = Bench(tmp_path)
    for model in (fresh.planted, fresh.even, fresh.gpt2, fresh.llama):
        assert model.logits(torch.tensor([[0, 3]])).shape[:2] == (1, 2)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    name = "planted relation"
    monkeypatch.setattr(checks, "CHECKS", {name: CHECKS[name]})
    assert [found.holds for _, found in checks.run_checks()] == [True]
    assert list(tmp_path.iterdir()) == []
