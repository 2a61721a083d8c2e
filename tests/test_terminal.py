"""What goes into a pipe: nothing is cut, and every encoding is survived."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from reportgen import suites
from reportgen.published import load_catalogue

LISTS = [["suites"], ["published"], ["published", "gpt2"], ["--help"], ["import", "--help"], ["run", "--help"],
         ["published", "nobody/knows-\u4e2d"], *(["suites", name] for name in suites.known())]  # fmt: skip
EACH = """
import json, sys
from reportgen.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["reportgen", *words]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\\x1e%d\\x1e" % code)
"""


def environment(encoding: str) -> dict[str, str]:
    return {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "60"}


def piped(words: list[str], encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    """`reportgen WORDS` with standard output in a pipe of that encoding."""
    command = [sys.executable, "-m", "reportgen", *words]
    return subprocess.run(command, capture_output=True, env=environment(encoding), timeout=120, check=False)


@cache
def listed(encoding: str) -> list[tuple[bytes, int]]:
    """What each of LISTS prints into a pipe of that encoding, and its exit code: one process, one after another."""
    command = [sys.executable, "-c", EACH, json.dumps(LISTS)]
    done = subprocess.run(command, capture_output=True, env=environment(encoding), timeout=240, check=True)
    assert b"Traceback" not in done.stderr
    parts = done.stdout.split(b"\x1e")
    return list(zip(parts[:-1:2], map(int, parts[1::2]), strict=True))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_every_list_survives_every_encoding(encoding: str) -> None:
    for words, (said, code), (whole, _) in zip(LISTS, listed(encoding), listed("utf-8"), strict=True):
        assert code == (2 if "nobody" in words[-1] else 0), words
        text = said.decode(encoding)
        if words[-1] != "--help":
            assert text == whole.decode().encode(encoding, "backslashreplace").decode(encoding)
            assert text or code


def test_a_plan_survives_an_encoding_without_its_letters(tmp_path: Path) -> None:
    folder = tmp_path / "\u4e2d\u6587"
    folder.mkdir()
    (folder / "reportgen.toml").write_text('model = "mini"\n')
    done = piped(["run", "--config", str(folder / "reportgen.toml"), "--dry-run", "--out", str(folder)], "ascii")
    assert done.returncode == 0, done.stderr
    table = tmp_path / "t.csv"
    table.write_text("score\n" + "0.5\n" * 4)
    words = ["import", str(table), "--model-name", "m", "--layers", "2", "--heads", "2", "--out", str(folder)]
    done = piped(words, "ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii").encode().decode("unicode_escape").strip().startswith(str(folder))


def test_nothing_is_cut_or_wrapped_in_a_pipe() -> None:
    printed = {tuple(words): said.decode() for words, (said, _) in zip(LISTS, listed("utf-8"), strict=True)}
    text = printed["published",]
    entries = load_catalogue().entries
    lines = text.splitlines()
    assert len(lines) == 1 + len(entries)
    for line, entry in zip(lines[1:], entries, strict=True):
        assert entry.paper in line
        assert all(f"L{layer}H{head}" in line for layer, head in entry.heads)
    for name, suite in suites.known().items():
        text = printed["suites", name]
        assert all(measure.formula in text for measure in suite.measures)
        assert all(len(line) == len(line.rstrip()) for line in text.splitlines())
