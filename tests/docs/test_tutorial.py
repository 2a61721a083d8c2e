"""The tutorial, typed: its files are written and its commands run in order, in a folder of their own.

Left out: what needs a network or a fresh machine. `reportgen run mini` stands for site/'s stored run, which it made.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reportgen.cli import app
from reportgen.report.build import find_figure
from reportgen.report.paper import numbers_tex
from reportgen.runfolder import Run
from tests.docs.reading import DOCS, ROOT, blocks, prose, steps

PAGE = DOCS / "tutorial.md"
STORED = ROOT / "site" / "runs" / "mini"
ELSEWHERE = {"git", "cd", "make", "."}
DRAWN = re.compile(r'fill="(#[0-9a-fA-F]+)"|>([^<>]+)</text>')


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after everything was typed."""
    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(
            "reportgen.verbs.run.render_run", lambda run, style, **how: (run.path / "report" / "index.html", [])
        )
        for block in blocks(PAGE, "sh"):
            for words, text in steps(block):
                type_in(words, text)
    return folder


def type_in(words: list[str], text: str) -> None:
    if words[0] in ELSEWHERE:
        return
    if words[:2] == ["cat", ">"]:
        Path(words[2]).write_text(text, "utf-8")
    elif words[:2] == ["mkdir", "-p"]:
        Path(words[2]).mkdir(parents=True, exist_ok=True)
    elif words == ["reportgen", "run", "mini"]:
        stored()
    elif words[0] == "reportgen":
        assert not app(words[1:], standalone_mode=False), words
    elif words[0] == "pdflatex":
        if shutil.which("pdflatex"):
            subprocess.run(words, check=True, capture_output=True)
    else:
        raise AssertionError(f"nobody knows how to type {words}")


def stored() -> None:
    run = Run.open(shutil.copytree(STORED, Path("runs/mini"), ignore=shutil.ignore_patterns("report")))
    (run.path / "report").mkdir()
    (run.path / "report" / "numbers.tex").write_text(
        numbers_tex(run, [find_figure(run, "attention-induction")]), "utf-8"
    )


def test_every_command_was_typed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("attention-induction.svg", "attention-induction.pdf", "relations-name_copying.svg", "my_heads.toml"):
        assert (place / name).stat().st_size > 50
    assert list((place / "runs").iterdir()) != []


def test_the_figures_shown_are_the_ones_made(place: Path) -> None:
    """Colours and words in order; where they stand may differ by a version of the renderer."""
    shown = re.findall(r"\]\((figures/[\w.-]+)\)", prose(PAGE))
    assert len(shown) == 3
    for name in shown:
        text = (DOCS / name).read_text("utf-8")
        drawn = DRAWN.findall(text)
        assert drawn == DRAWN.findall((place / Path(name).name).read_text("utf-8")), name
        assert len(drawn) > 48
        assert len(text) < 40_000


def test_the_numbers_said_are_the_run_s(place: Path) -> None:
    score = Run.open(place / "runs" / "my-lists").result("relations")["score/capital_to_country"]
    assert score.ranking()[0] == (5, 7)
    assert (score.n, float(score.values[5, 7])) == (10, 1.0)
    assert score.low is not None
    assert round(float(score.low[5, 7]), 2) == 0.72
    assert score.ranking()[1] == (4, 1)
    text = " ".join(prose(PAGE).split())
    assert "L5H7 puts the country among its top 10 for 10 of 10 capitals, 95 % interval 0.72 to 1" in text
