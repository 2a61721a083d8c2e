from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reportgen import cli, suites
from reportgen.errors import DataError
from reportgen.figures import export
from reportgen.figures.figure import Style
from reportgen.imported.store import Source, import_table
from reportgen.report.build import all_figures
from reportgen.report.numbers import numbers_tex
from reportgen.report.paper import check_paper
from tests.report import sample

BODY = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{graphicx}
\usepackage{textcomp}
\input{numbers.tex}
\begin{document}
Head L1H2 of \rgnum{made-up/alpha-capital/1} pairs \rghash{made-up}. % \rgnum{not/used/1}
\begin{figure}\includegraphics[width=\linewidth]{figures/alpha-capital}
\caption{\rgcaption{made-up/alpha-capital}}\end{figure}
\end{document}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sample.FakeRun:
    monkeypatch.setattr(suites, "known", lambda: sample.SUITES)
    return sample.run(tmp_path / "run", sample.HOSTILE)


@pytest.fixture
def paper(tmp_path: Path, run: sample.FakeRun) -> Path:
    """A paper with copies of a figure and of the numbers."""
    figures = all_figures(run)
    (tmp_path / "figures").mkdir()
    for kind in ("pdf", "png"):
        content = export.FORMATS[kind](figures[0], Style(width_in=3.25))
        (tmp_path / "figures" / f"alpha-capital.{kind}").write_bytes(content)
    (tmp_path / "numbers.tex").write_text(numbers_tex(run.manifest, figures), "utf-8")
    path = tmp_path / "paper.tex"
    path.write_text(BODY)
    return path


def changed(run: sample.FakeRun) -> sample.FakeRun:
    """The run with other scores of the same heads."""
    alpha = run.results["alpha"]
    capital = dataclasses.replace(alpha.scores[0], n=41)
    found = dataclasses.replace(alpha, scores=(capital, *alpha.scores[1:]))
    return dataclasses.replace(run, results={**run.results, "alpha": found})


def test_a_paper_that_says_what_its_run_says_passes(paper: Path, run: sample.FakeRun) -> None:
    found = check_paper(paper, run)
    assert found.problems == ()
    assert (found.numbers, found.figures) == (3, 1)


def test_a_number_a_caption_and_a_figure_of_an_older_run_are_named(paper: Path, run: sample.FakeRun) -> None:
    problems = " ".join(check_paper(paper, changed(run)).problems)
    assert "made-up/alpha-capital/1: the paper has 40, the run has 41." in problems
    assert "made-up/alpha-capital/caption: the paper has" in problems
    assert "alpha-capital.pdf: drawn from other numbers than the run's" in problems


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("alpha-capital/1}", "alpha-capital/99}", "made-up/alpha-capital/99: the run has no such number any more."),
        ("\\rgnum{made-up", "\\rgnum{other", "no run 'other' to compare with; there is made-up"),
        ("\\input{numbers.tex}", "", "the paper inputs no numbers.tex that defines it"),
    ],
)
def test_keys_that_lead_nowhere_are_named(paper: Path, run: sample.FakeRun, old: str, new: str, problem: str) -> None:
    paper.write_text(BODY.replace(old, new))
    assert any(problem in p for p in check_paper(paper, run).problems)


def test_png_copies_are_checked_and_files_without_a_stamp_are_named(paper: Path, run: sample.FakeRun) -> None:
    paper.write_text(BODY.replace("figures/alpha-capital}", "figures/alpha-capital.png}"))
    assert check_paper(paper, run).problems == ()
    (paper.parent / "figures" / "alpha-capital.png").write_bytes(b"\x89PNG")
    (problem,) = check_paper(paper, run).problems
    assert "no stamp" in problem
    paper.write_text(BODY.replace("figures/alpha-capital}", "logo}"))
    assert check_paper(paper, run).problems == ()


def test_graphicspath_and_inputs_are_followed_once(paper: Path, run: sample.FakeRun) -> None:
    body = BODY.replace("figures/alpha-capital}", "alpha-capital.pdf}").replace("\\begin{document}", "\\input{more}")
    paper.write_text(body.replace("\\input{numbers", "\\graphicspath{{./}{figures/}}\\input{numbers"))
    (paper.parent / "more.tex").write_text("\\begin{document}\\input{paper}\\rgnum{made-up/alpha-capital/99}")
    found = check_paper(paper, changed(run))
    assert any("alpha-capital.pdf: drawn" in p for p in found.problems)
    assert any("/99: the run has no such" in p for p in found.problems)


def test_without_a_run_there_is_a_line_that_says_what_to_type(paper: Path) -> None:
    with pytest.raises(DataError, match="--run runs/mini"):
        check_paper(paper)
    with pytest.raises(DataError, match="Can't read"):
        check_paper(paper.parent / "missing.tex")


def test_the_stamp_is_of_numbers_and_words_not_of_size(run: sample.FakeRun) -> None:
    figure = all_figures(run)[0]
    wide = next(f for f in all_figures(run, Style(width_in=7, font_size=8)) if f.id == figure.id)
    assert export.stamp(wide) == export.stamp(figure)
    assert export.stamp(dataclasses.replace(figure, caption="other")) != export.stamp(figure)


@pytest.mark.skipif(
    shutil.which("pdflatex") is None and os.environ.get("CI") != "true",
    reason="no LaTeX: apt-get install texlive-latex-recommended",
)
def test_latex_sets_numbers_captions_and_hostile_words(paper: Path) -> None:
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", paper.name]
    done = subprocess.run(words, cwd=paper.parent, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    paper.write_text(BODY.replace("alpha-capital/1}", "alpha-capital/99}"))
    broken = subprocess.run(words, cwd=paper.parent, capture_output=True, text=True, check=False, timeout=120)
    assert broken.returncode != 0
    assert "No number 'made-up/alpha-capital/99'" in broken.stdout


def test_a_numbers_file_of_another_scoring_is_named_even_where_its_numbers_agree(
    paper: Path, run: sample.FakeRun
) -> None:
    held = paper.parent / "numbers.tex"
    held.write_text(re.sub(r"(made-up/hash\}\{)[0-9a-f]{64}", rf"\g<1>{'0' * 64}", held.read_text("utf-8")), "utf-8")
    (problem,) = check_paper(paper, run).problems
    assert problem.startswith("numbers.tex is of made-up, run 000000000000; the run is now ")


def test_the_verb_exits_with_1_and_names_every_mismatch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t.csv"
    table.write_text("induction\n" + "0.5\n" * 5 + "0.75\n")
    run = import_table(table, Source("m", 2, 3), tmp_path / "runs")
    figures = all_figures(run)
    numbers = numbers_tex(run.manifest, figures)
    (tmp_path / "numbers.tex").write_text(numbers)
    (tmp_path / "imported-induction.pdf").write_bytes(export.FORMATS["pdf"](figures[0], Style()))
    paper = tmp_path / "p.tex"
    paper.write_text("\\input{numbers.tex}\\rgnum{m/imported-induction/1}\\includegraphics{imported-induction}")
    words = ["check", str(paper), "--run", str(run.path)]
    assert cli.app(words, standalone_mode=False) in (0, None)
    assert "1 number and 1 figure agree with the run" in capsys.readouterr().out
    (tmp_path / "numbers.tex").write_text(numbers.replace("induction/1}{2}", "induction/1}{4}"))
    (tmp_path / "imported-induction.pdf").write_bytes(b"%PDF")
    assert cli.app(words, standalone_mode=False) == 1
    said = capsys.readouterr().out
    assert "m/imported-induction/1: the paper has 4, the run has 2." in said
    assert "imported-induction.pdf: no stamp" in said
    assert "2 problems" in said
