"""What a run records of its command."""

from __future__ import annotations

import sys

import pytest

from reportgen.manifest import command_line


@pytest.mark.parametrize(
    ("home", "typed", "kept"),
    [
        ("/home/mary", "/home/mary/m.gguf", "~/m.gguf"),
        ("/home/mary", "/home/marys/m", "/home/marys/m"),
        ("/", "a/", "a/"),
    ],
)
def test_the_home_folder_is_not_published(monkeypatch: pytest.MonkeyPatch, home: str, typed: str, kept: str) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/reportgen", "run", typed])
    assert command_line() == ["reportgen", "run", kept]
