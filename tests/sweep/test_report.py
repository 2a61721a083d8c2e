"""What a sweep's report says of a run whose emergence is known."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pypdf import PdfReader

from reportgen.cli import main
from reportgen.errors import RunError, SettingsError
from reportgen.figures.curves import step_axis, step_words
from reportgen.figures.figure import Figure
from reportgen.figures.theme import Style
from reportgen.sweep.figures import MOST_FRAMES, figures, frames_of
from reportgen.sweep.render import find_figure, render
from reportgen.sweep.stored import MemberRecord, StepPoint, Sweep, Track, save, story
from tests.sweep.made_up import HEIGHT, STEPS, made_up, scores


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return made_up(tmp_path_factory.mktemp("made-up") / "made-up", family=True)


@pytest.fixture(scope="module")
def drawn(sweep: Sweep) -> dict[str, Figure]:
    return {figure.id: figure for _, found in figures(story(sweep), Style()) for make in found if (figure := make())}


@pytest.fixture(scope="module")
def folder(sweep: Sweep) -> Path:
    return render(sweep).parent


def column(figure: Figure, name: str, key: str = "relations/score/capital") -> list[object]:
    names = [c.name for c in figure.data.columns]
    return [row[names.index(name)] for row in figure.data.rows if row[names.index("key")] == key]


def test_the_best_score_and_the_bands_follow_the_steps(drawn: dict[str, Figure]) -> None:
    figure = drawn["sweep-train-relations-best"]
    assert column(figure, "step") == list(STEPS)
    assert column(figure, "best") == pytest.approx([HEIGHT[s] for s in STEPS], abs=1e-6)
    assert column(figure, "best head")[1:] == ["L1H2"] * 3
    assert column(figure, "median") == pytest.approx([0.02] * 4)
    assert "4 checkpoints from step 0 to 64" in figure.caption
    assert "SYNTHETIC" in figure.caption


def test_the_line_needs_the_null_and_the_threshold(drawn: dict[str, Figure]) -> None:
    figure = drawn["sweep-train-relations-count"]
    assert column(figure, "heads above the line") == [0, 1, 1, 1]
    assert column(figure, "heads beyond the null") == [1, 2, 2, 2]
    assert column(figure, "heads above the line", "relations/score/antonym") == [0, 0, 0, 0]
    assert (
        "p ≤ 0.05 over the heads of one checkpoint, and score ≥ 0.15; not corrected over checkpoints" in figure.caption
    )


def test_labelled_heads_appear_at_their_first_step_above_the_line(drawn: dict[str, Figure]) -> None:
    figure = drawn["sweep-train-relations-appearance"]
    rows = [dict(zip((c.name for c in figure.data.columns), row, strict=True)) for row in figure.data.rows]
    (row,) = rows  # the set of another measure has no score here to be followed by
    assert (row["set"], row["head"], row["first step above the line"], row["steps above"]) == (
        "Capital heads",
        "L1H2",
        4,
        3,
    )


def test_the_filmstrip_has_every_head_at_every_step_on_one_scale(drawn: dict[str, Figure]) -> None:
    figure = drawn["sweep-train-relations-score-capital"]
    assert len(figure.data.rows) == 4 * 12
    assert column(figure, "value").count(None) == 4
    spec = json.dumps(figure.chart.to_dict())
    assert all(f'"step {step}"' in spec for step in STEPS)
    domains = set(re.findall(r'"domain": \[0\.0, ([\d.]+)\]', spec))
    assert domains == {"1.0"} or len(domains) == 1


def test_families_are_aligned_by_relative_depth(drawn: dict[str, Figure]) -> None:
    figure = drawn["sweep-families-relations"]
    names = [c.name for c in figure.data.columns]
    rows = [dict(zip(names, row, strict=True)) for row in figure.data.rows if row[2] == "relations/score/capital"]
    peak = {row["model"]: row["relative depth"] for row in rows if float(row["best score in layer"]) > 0.5}  # type: ignore[arg-type]
    assert peak == {"train": 0.5, "deep": 0.2}
    assert "Heads of different models do not correspond" in figure.caption


def test_long_strips_are_thinned_and_keep_their_ends() -> None:
    points = tuple(
        StepPoint(MemberRecord(str(i), "m", "", "m", str(i), i), scores("capital", 0.5), (3, 4)) for i in range(100)
    )
    found = frames_of(Track("relations/score/capital", "Capital", points))
    assert len(found) == MOST_FRAMES
    assert (found[0], found[-1]) == (points[0], points[-1])


def test_every_figure_is_written_in_every_format(folder: Path, drawn: dict[str, Figure]) -> None:
    files = {path.name for path in (folder / "figures").iterdir()}
    assert files == {f"{name}.{end}" for name in drawn for end in ("svg", "pdf", "png", "csv", "tex", "vl.json")}
    assert {p.name for p in folder.iterdir()} == {"figures", "index.html", "report.pdf", "report.zip", "scores.csv"}
    assert len(PdfReader(folder / "report.pdf").pages) >= 2


def test_the_scores_of_all_members_stand_under_each_other(folder: Path) -> None:
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    assert len(rows) == 2 * (4 * 12 + 24)
    cell = [r for r in rows if (r["task"], r["head"]) == ("capital", "L1H2") and r["model"] == "train"]
    assert [(int(r["step"]), float(r["value"])) for r in cell] == [(s, np.float32(HEIGHT[s])) for s in STEPS]


def test_the_page_holds_everything_and_escapes_it(folder: Path) -> None:
    page = (folder / "index.html").read_text()
    assert "no &lt;weights&gt;" in page
    assert "capital &lt;score&gt;" in page
    assert "<score>" not in page.split("<script")[0]
    slides = json.loads(re.search(r'id="slides">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    shown = slides["sweep-train-relations-score-capital"]
    assert shown["steps"] == list(STEPS)
    assert [row[6] for row in shown["values"]] == [HEIGHT[s] for s in STEPS]
    assert [row[1] for row in shown["values"]] == [None] * 4
    assert shown["above"] == [[], [6], [6], [6]]
    assert len(shown["colours"]) > 50


def test_a_stored_sweep_is_rendered_without_torch(sweep: Sweep) -> None:
    code = f"""
import sys
from reportgen.sweep.stored import Sweep
from reportgen.sweep.render import build
from reportgen.figures.figure import Style
assert len(build(Sweep.open({str(sweep.path)!r}), Style()).plates) == 6
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_one_checkpoint_has_a_page_without_figures(tmp_path: Path) -> None:
    made = made_up(tmp_path / "one")
    kept = [m for m in made.record.members if m.step in (64, 99)]
    save(made.path, made.record, kept, 1.0)
    page = render(Sweep.open(made.path))
    assert "there is nothing to draw over the sweep" in page.read_text()


def test_an_unknown_figure_is_answered_with_those_there_are(sweep: Sweep) -> None:
    assert find_figure(sweep, "sweep-train-relations-best", Style()).suite == "relations"
    with pytest.raises(SettingsError, match=r"Did you mean .*sweep-train-relations-best"):
        find_figure(sweep, "sweep-train-relations-bests", Style())


def test_render_and_figure_take_a_sweep_as_they_take_a_run(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "best.svg"
    words = ["figure", str(sweep.path), "sweep-train-relations-best", "--width", "6.75in", "--out", str(out)]
    for typed in (words, ["render", str(sweep.path)]):
        monkeypatch.setattr("sys.argv", ["reportgen", *typed])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
    assert ' width="6.75in"' in out.read_text()


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "is damaged"), ('{"schema_version": 99}', "reads up to 1"), ('{"schema_version": 1}', "is damaged")],
)
def test_a_damaged_or_newer_sweep_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(RunError, match=words):
        Sweep.open(tmp_path)
    with pytest.raises(RunError, match="is not a sweep"):
        Sweep.open(tmp_path / "none")


def test_the_axis_is_logarithmic_with_a_place_for_step_zero() -> None:
    axis = step_axis([0, 1, 10, 100])
    shares = [axis.share(s) for s in (0, 1, 10, 100)]
    assert shares == sorted(shares)
    assert shares[2] - shares[1] == pytest.approx(shares[3] - shares[2])
    assert [text for _, text in axis.shown(400, 9)] == ["0", "1", "10", "100"]
    assert 0 <= min(shares) < max(shares) <= 1
    assert len(axis.shown(20, 9)) < 4
    assert step_axis([5]).share(5) == pytest.approx(0.03)


@pytest.mark.parametrize(("step", "words"), [(999, "999"), (1000, "1k"), (2500, "2.5k"), (1448, "1448"), (10**6, "1M")])
def test_steps_in_words(step: int, words: str) -> None:
    assert step_words(step) == words


def test_a_figure_that_fails_is_named_in_its_section_and_the_others_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reportgen.sweep import figures as module

    def broken(*args: object, **more: object) -> Figure:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(module, "best", broken)
    told: list[str] = []
    index = render(made_up(tmp_path / "made-up"), tell=told.append)
    assert len(told) == 1
    assert "ZeroDivisionError: a bug" in told[0]
    assert index.read_text().count("ZeroDivisionError: a bug") == 1
    names = {path.name for path in (index.parent / "figures").iterdir()}
    assert len([name for name in names if name.endswith(".svg")]) >= 2
    assert not any(name.endswith("-best.svg") for name in names)
