from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from reportgen import cli, suites
from reportgen.errors import DataError, SettingsError
from reportgen.figures import export
from reportgen.figures.theme import Style
from reportgen.imported.store import TableSource, import_table
from reportgen.report.build import all_figures, find_figure
from reportgen.report.paper import _numbers, check_paper, expected, numbers_tex, read
from reportgen.runfolder import keep_marks
from tests.report import sample

BODY = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{graphicx}
\usepackage{textcomp}
\input{numbers.tex}
\begin{document}
Head \rghead{made-up/alpha-capital/best} of \rgnum{made-up/alpha-capital/n} pairs \rghash{made-up}. % \rgnum{not/used}
L1H2: \rgscore{made-up/alpha/score/capital/L1H2}
[\rgscorelow{made-up/alpha/score/capital/L1H2}, \rgscorehigh{made-up/alpha/score/capital/L1H2}].
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
    (tmp_path / "numbers.tex").write_text(numbers_tex(run, figures), "utf-8")
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
    assert (found.numbers, found.figures) == (7, 1)


def test_a_number_a_caption_and_a_figure_of_an_older_run_are_named(paper: Path, run: sample.FakeRun) -> None:
    problems = " ".join(check_paper(paper, changed(run)).problems)
    assert "made-up/alpha-capital/n: the paper has 40, the run has 41." in problems
    assert "made-up/alpha-capital/caption: the paper has" in problems
    assert "alpha-capital.pdf: the run's figure has different numbers, words: write it again" in problems


def test_a_name_that_came_to_mean_something_else_is_caught_though_its_value_agrees(
    paper: Path, run: sample.FakeRun
) -> None:
    """The figure shows another score, or its suite measures it in another way: both sides are named."""
    suite = msgspec.structs.replace(run.manifest.suites["alpha"], version=7)
    manifest = msgspec.structs.replace(run.manifest, suites={**run.manifest.suites, "alpha": suite})
    problems = [p for p in check_paper(paper, dataclasses.replace(run, manifest=manifest)).problems if "/n:" in p]
    (problem,) = problems
    assert problem == (
        "made-up/alpha-capital/n: in the paper it is examples behind each value of alpha/score/capital, version 1 of "
        "its suite; in the run, examples behind each value of alpha/score/capital, version 7 of its suite."
    )


def test_a_key_by_place_is_refused_with_what_it_was_and_the_names_there_are(paper: Path, run: sample.FakeRun) -> None:
    paper.write_text("\\input{numbers}\\rgnum{made-up/alpha-capital/2}")
    (paper.parent / "numbers.tex").write_text("\\rgdefine{made-up/alpha-capital/2}{0.72}% AUROC of\n")
    (problem,) = check_paper(paper, run).problems
    assert "the run has no number of this name" in problem
    assert "In the paper it is 0.72, number 2 of a caption, after 'AUROC of'" in problem
    assert "Near: made-up/alpha-capital/" in problem


@pytest.mark.parametrize("at", [0, 30, 80, 200, 399])
def test_the_two_sides_of_a_mismatch_never_read_the_same(paper: Path, run: sample.FakeRun, at: int) -> None:
    words = "m" * 400
    (old,) = [n for key, n in expected(run, all_figures(run)).items() if key == "made-up/alpha-capital/caption"]
    numbers = (paper.parent / "numbers.tex").read_text("utf-8")
    for name, text in (("paper", words), ("run", f"{words[:at]}X{words[at + 1 :]}")):
        (paper.parent / f"{name}.txt").write_text(numbers.replace(old.text, text), "utf-8")
    held, now = (read((paper.parent / f"{name}.txt").read_text("utf-8")) for name in ("paper", "run"))
    (problem,) = _numbers(["made-up/alpha-capital/caption"], held, now)
    left, right = problem.split("the paper has ")[1].split(", the run has ")
    assert left != right.rstrip(".")
    assert "X" in right
    assert len(problem) < 250


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("alpha-capital/n}", "alpha-capital/m}", "made-up/alpha-capital/m: the run has no number of this name. Near: "),
        (
            "rgscore{made-up/alpha/score/capital/L1H2",
            "rgscore{made-up/alpha/score/capital/L9H2",
            "L9H2: the run has no",
        ),
        ("rghead{made-up/alpha-capital/best", "rghead{made-up/alpha-capital/bets", "bets/head: the run has no number"),
        ("\\rgnum{made-up", "\\rgnum{other", "no run 'other' to compare with; known: made-up"),
        ("\\input{numbers.tex}", "", "no numbers.tex of the paper defines it"),
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


def test_files_of_other_programs_are_told_apart_from_those_that_agree(paper: Path, run: sample.FakeRun) -> None:
    paper.write_text(BODY.replace("figures/alpha-capital}", "logo}"))
    assert check_paper(paper, run).problems == ("logo: there is no such file beside the paper.",)
    for name, content in (("logo.pdf", b"garbage"), ("logo.png", b"\x89PNG"), ("logo.svg", b"<svg/>")):
        (paper.parent / name).write_bytes(content)
        found = check_paper(paper, run)
        assert (found.problems, found.numbers, found.figures) == ((), 7, 0)
        assert found.unchecked[0].startswith("logo: ")
        (paper.parent / name).unlink()


@pytest.mark.parametrize("kind", ["pdf", "png"])
def test_a_file_under_the_name_or_caption_of_another_figure_is_named(
    paper: Path, run: sample.FakeRun, kind: str
) -> None:
    figure = next(f for f in all_figures(run) if f.id != "alpha-capital")
    other = paper.parent / "figures" / f"other.{kind}"
    other.write_bytes(export.FORMATS[kind](figure, Style()))
    body = BODY.replace("figures/alpha-capital}", f"figures/other.{kind}}}")
    paper.write_text(body)
    assert check_paper(paper, run).problems == (f"\\rgcaption{{made-up/alpha-capital}} stands under {figure.id}.",)
    paper.write_text(body.replace("\\begin{figure}", "\\begin{figure}\\includegraphics{figures/alpha-capital}"))
    assert check_paper(paper, run).problems == ()  # its caption is of one of two
    shutil.copy(other, other.with_stem("alpha-capital"))
    paper.write_text(BODY.replace("figures/alpha-capital}", f"figures/alpha-capital.{kind}}}"))
    assert (
        f"alpha-capital.{kind} holds another figure than its name says: {figure.id}."
        in check_paper(paper, run).problems
    )


@pytest.mark.parametrize("kind", ["pdf", "png"])
def test_an_edited_drawing_and_one_without_a_digest_are_named(paper: Path, run: sample.FakeRun, kind: str) -> None:
    path = paper.parent / "figures" / f"alpha-capital.{kind}"
    paper.write_text(BODY.replace("figures/alpha-capital}", f"figures/alpha-capital.{kind}}}"))
    whole = path.read_bytes()
    assert check_paper(paper, run).problems == ()
    at = whole.index(b"IDAT" if kind == "png" else b"stream") + 20
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert "was changed after reportgen wrote it" in check_paper(paper, run).problems[0]
    path.write_bytes(re.sub(rb"(reportgen:alpha-capital:[0-9a-f]{16}):[0-9a-f]{16}", rb"\1", whole))
    assert "says nothing of its drawing" in check_paper(paper, run).problems[0]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("Nothing.", "Nothing to compare: cite numbers with \\rgnum{made-up/heads}"),
        ("\\newcommand{\\best}[1]{\\rgnum{made-up/#1/best}}", "Nothing to compare"),
        ("\\rgnum{made-up/heads}\\rgset{made-up/heads}{13}{heads}", "paper.tex defines \\rgset itself"),
        ("\\rgnum{made-up/heads}\\def\\rgnum#1{13}", "paper.tex defines \\rgnum itself"),
        ("\\rgnum{made-up/heads}\\renewcommand*{\\rgset}[3]{}", "paper.tex defines \\rgset itself"),
    ],
)
def test_a_paper_that_cites_nothing_or_defines_its_own_numbers_does_not_pass(
    paper: Path, run: sample.FakeRun, body: str, problem: str
) -> None:
    paper.write_text(f"\\input{{numbers}}{body}")
    (told,) = check_paper(paper, run).problems
    assert told.startswith(problem)


def test_a_key_that_a_macro_puts_together_is_not_checked_and_said_so(paper: Path, run: sample.FakeRun) -> None:
    paper.write_text(BODY + "\\newcommand{\\best}[1]{\\rgnum{made-up/#1/best}}\\includegraphics{\\folder/a}")
    found = check_paper(paper, run)
    assert (found.problems, found.numbers) == ((), 7)
    assert [line.split(":")[0] for line in found.unchecked] == ["made-up/#1/best", "\\folder/a"]


def test_graphicspath_and_inputs_are_followed_once(paper: Path, run: sample.FakeRun) -> None:
    body = BODY.replace("figures/alpha-capital}", "alpha-capital.pdf}").replace("\\begin{document}", "\\input{more}")
    paper.write_text(body.replace("\\input{numbers", "\\graphicspath{{./}{figures/}}\\input{numbers"))
    (paper.parent / "more.tex").write_text("\\begin{document}\\input{paper}\\rgnum{made-up/alpha-capital/nn}")
    found = check_paper(paper, changed(run))
    assert any("alpha-capital.pdf: the run's figure has different" in p for p in found.problems)
    assert any("/nn: the run has no number" in p for p in found.problems)


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
    paper.write_text(BODY.replace("capital/L1H2}", "capital/L9H2}"))
    broken = subprocess.run(words, cwd=paper.parent, capture_output=True, text=True, check=False, timeout=120)
    assert broken.returncode != 0
    assert "No number 'made-up/alpha/score/capital/L9H2'" in broken.stdout


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
    run = import_table(table, TableSource("m", 2, 3), tmp_path / "runs")
    figures = all_figures(run)
    numbers = numbers_tex(run, figures)
    (tmp_path / "numbers.tex").write_text(numbers)
    (tmp_path / "imported-induction.pdf").write_bytes(export.FORMATS["pdf"](figures[0], Style()))
    paper = tmp_path / "p.tex"
    paper.write_text("\\input{numbers.tex}\\rgscore{m/imported/induction/L1H2}\\includegraphics{imported-induction}")
    words = ["check", str(paper), "--run", str(run.path)]
    assert cli.app(words, standalone_mode=False) in (0, None)
    assert "1 number and 1 figure agree with the run" in capsys.readouterr().out
    (tmp_path / "numbers.tex").write_text(numbers.replace("{L1H2}{0.750}", "{L1H2}{0.850}"))
    (tmp_path / "imported-induction.pdf").write_bytes(b"%PDF")
    assert cli.app(words, standalone_mode=False) == 1
    said = capsys.readouterr().out
    assert "m/imported/induction/L1H2: the paper has 0.850, the run has 0.750." in said
    assert "imported-induction.pdf: no stamp of a reportgen figure" in said
    assert "2 problems" in said


def test_figures_that_mark_other_heads_agree_only_with_the_same_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`figure` and `check` draw what the run's report draws; --overlay and --no-overlay are for one call."""
    table, mine = tmp_path / "t.csv", tmp_path / "mine.toml"
    table.write_text("induction\n" + "0.5\n" * 5 + "0.75\n")
    mine.write_text('[[entry]]\nclass = "Mine"\nheads = ["L1H1"]\n')
    run = import_table(table, TableSource("m", 2, 3), tmp_path / "runs")
    paper, out = tmp_path / "p.tex", tmp_path / "f.pdf"
    paper.write_text("\\includegraphics{f}")

    def typed(*words: str) -> int:
        return int(cli.app([*words], standalone_mode=False) or 0)

    def agrees(*words: str) -> bool:
        return typed("check", str(paper), "--run", str(run.path), *words) == 0

    drawn = ("figure", str(run.path), "imported-induction", "--out", str(out))
    assert typed(*drawn, "--overlay", str(mine)) == 0
    assert (agrees(), agrees("--overlay", str(mine)), agrees("--no-overlay")) == (False, True, False)
    keep_marks(run, [mine])
    assert (agrees(), agrees("--no-overlay")) == (True, False)
    keep_marks(run, no_overlay=True)  # as `render --no-overlay` does: figure and check know of it
    assert not agrees()
    assert typed(*drawn) == 0
    assert (agrees(), agrees("--no-overlay"), agrees("--overlay", str(mine))) == (True, True, False)
    with pytest.raises(SettingsError, match="contradict"):
        typed(*drawn, "--overlay", str(mine), "--no-overlay")
    capsys.readouterr()


def test_small_numbers_are_powers_of_ten_and_read_back(paper: Path, run: sample.FakeRun) -> None:
    alpha = run.results["alpha"]
    values = np.full(alpha.scores[0].values.shape, 2.5e-4, np.float32)
    ends = {"low": -values, "high": np.float32(1.6) * values}
    small = dataclasses.replace(alpha.scores[0], values=values, estimated=None, reasons={}, **ends)
    with_small = dataclasses.replace(alpha, scores=(small, *alpha.scores[1:]))
    tiny = dataclasses.replace(run, results={**run.results, "alpha": with_small})
    found, place = expected(tiny, all_figures(tiny)), "made-up/alpha/score/capital/L1H2"
    assert found[place].text == r"\ensuremath{2.50 \times 10^{-4}}"
    assert found[f"{place}/low"].text == r"\ensuremath{-2.50 \times 10^{-4}}"
    assert found["made-up/alpha-capital/best/high"].text == r"\ensuremath{4.00 \times 10^{-4}}"


def test_a_class_without_heads_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, mine = tmp_path / "t.csv", tmp_path / "mine.toml"
    table.write_text("induction\n" + "0.5\n" * 5 + "0.75\n")
    mine.write_text('[[entry]]\nclass = "Mine"\nheads = []\n[[entry]]\nclass = "Other"\nheads = ["L1H1"]\n')
    run = import_table(table, TableSource("m", 2, 3), tmp_path / "runs")
    for words in (["render"], ["figure", "imported-induction", "--out", str(tmp_path / "x.svg")]):
        cli.app([words[0], str(run.path), *words[1:], "--overlay", str(mine)], standalone_mode=False)
        assert "mine.toml: the class 'Mine' lists no heads and marks none." in capsys.readouterr().err


def test_a_stamp_says_which_of_numbers_words_and_heads_changed(run: sample.FakeRun) -> None:
    figure = find_figure(run, "alpha-capital")
    other = dataclasses.replace(figure, head_sets=())
    digits = [export.stamp(f).rsplit(":", 1)[1] for f in (figure, dataclasses.replace(figure, caption="x"), other)]
    assert [digits[0][part] == digits[1][part] for part in export.PARTS.values()] == [True, False, True]
    assert [digits[0][part] == digits[2][part] for part in export.PARTS.values()] == [True, True, False]
