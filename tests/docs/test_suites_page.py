"""docs/suites.md holds the examples that tests run, and names the checks there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportgen import suites
from reportgen.cli import app
from reportgen.report.build import build
from reportgen.runfolder import Run
from reportgen.suites import samples
from reportgen.suites.base import Context, Measure
from reportgen.suites.samples import Samples
from tests.docs.reading import DOCS, ROOT, blocks, steps, tables

PAGE = DOCS / "suites.md"


def test_the_examples_are_the_files_that_tests_run() -> None:
    """tests/suitecheck runs the long one."""
    short, _, whole = blocks(PAGE, "python")
    assert short == (DOCS / "first_token.py").read_text("utf-8")
    assert whole == (DOCS / "my_suite.py").read_text("utf-8")


def test_the_short_one_is_about_twenty_lines() -> None:
    lines = [line for line in blocks(PAGE, "python")[0].splitlines() if line.strip()]
    assert len(lines) <= 22


def test_the_short_one_does_what_the_page_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first_token.py").write_text(blocks(PAGE, "python")[0], "utf-8")
    for words, _ in steps(blocks(PAGE, "sh")[0]):
        assert words[0] == "reportgen"
        monkeypatch.setattr(suites, "_named", {})  # as in a process of its own
        assert app(words[1:], standalone_mode=False) in (0, None), words
    assert ", 0 fail, " in capsys.readouterr().out
    assert (tmp_path / "first_token-share.svg").is_file()
    run = Run.open(tmp_path / "runs" / "mini")
    (score,) = run.result("first_token").scores
    assert (score.n, score.p) == (64, None)
    assert score.low is not None
    assert np.isfinite(score.low).all()
    monkeypatch.setattr(suites, "_named", {})
    (tmp_path / "first_token.py").unlink()
    report = build(run)
    (section,) = report.sections
    assert section.measures[0].formula == "mean over queries q >= 1 of pattern[q, 0]"
    (plate,) = section.plates
    for words in ("mean over queries q >= 1", "n = 64 sequences of 32 random tokens", "bootstrap", "No null"):
        assert words in " ".join((plate.caption, *plate.notes))


def test_the_null_of_the_page_finds_what_is_there_and_nothing_else() -> None:
    """One head has an effect; the others have none, whatever their spread."""
    rng = np.random.default_rng(0)
    effect = rng.normal(0, [1.0, 5.0, 1.0, 20.0], (60, 2, 4))
    effect[:, 1, 2] += 1.0
    space: dict[str, Any] = {"np": np, "Samples": Samples, "paired_effect": lambda model: effect}
    space["shuffled_effect"] = lambda model: np.full((2, 4), 0.1)
    exec(blocks(PAGE, "python")[1], space)  # the page's own text
    found = space["score"](None, Context(seed=0, threads=1))
    score = samples.result("mine", (Measure("effect", "E", "x", "y"),), found, (2, 4), 0).scores[0]
    p, (control,) = score.p, score.controls
    assert (control.name, control.value, np.shape(control.values)) == ("shuffled prompts", np.float32(0.1), (2, 4))
    assert p is not None
    assert p[1, 2] == pytest.approx(1 / 1000)
    assert (np.delete(p.ravel(), 6) > 0.05).all()


def test_every_check_is_in_the_table() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "reportgen" / "suitecheck").glob("*.py"))
    made = set(re.findall(r'(?:Line|judged)\(\s*"(\w+)"', sources)) - {"others"}
    assert tables(PAGE)["reportgen suite check"] == made
