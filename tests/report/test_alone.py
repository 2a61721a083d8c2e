"""Each figure stands alone: one that fails is named on the page, on standard error and in the exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reportgen import cli
from reportgen.compare import drawing as compared
from reportgen.figures import export
from reportgen.figures.figure import OneByOne, made
from reportgen.imported.store import TableSource, import_table
from reportgen.suites import maps

BAD = "imported-two"


def spoil(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *, when: Callable[..., bool]) -> None:
    """Make `module.name` raise for some calls."""
    real = getattr(module, name)

    def broken(*args: Any, **more: Any) -> Any:
        if when(*args):
            raise ZeroDivisionError("a bug")
        return real(*args, **more)

    monkeypatch.setattr(module, name, broken)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    table = tmp_path / "t.csv"
    table.write_text(
        "layer,head,one,two,three\n" + "".join(f"{i},{j},{i}.5,{j}.5,0.5\n" for i in (0, 1) for j in (0, 1))
    )
    return import_table(table, TableSource("m", 2, 2), tmp_path / "runs").path


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["reportgen", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("stage", ["chart", "svg", "pdf"])
def test_the_others_are_drawn_and_a_note_stands_in_its_place(
    run: Path, stage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if stage == "chart":
        spoil(monkeypatch, maps, "heatmap", when=lambda scores, *_: scores.label == "two")
    elif stage == "svg":
        spoil(monkeypatch, export, "svg", when=lambda figure, *_: figure.id == BAD)
    else:
        spoil(monkeypatch, export, "pdf", when=lambda svg, title, *_: title.endswith("two"))
    assert command(monkeypatch, "render", str(run)) == 1
    said = capsys.readouterr()
    assert said.out.strip() == str(run / "report" / "index.html")
    (line,) = said.err.strip().splitlines()
    assert "two" in line
    assert "ZeroDivisionError: a bug" in line
    page = (run / "report" / "index.html").read_text()
    places = [page.index(f'id="fig-{name}"' if f'id="fig-{name}"' in page else f'data-figure="{name}"')
              for name in ("imported-one", "imported-three")]  # fmt: skip
    note = page.index('<p class="alert" role="note">', places[0])
    assert places[0] < note < places[1]
    assert f'data-figure="{BAD}"' not in page
    names = {path.name for path in (run / "report" / "figures").iterdir()}
    assert {"imported-one.pdf", "imported-three.pdf"} <= names
    assert not {name for name in names if name.startswith(BAD)}
    assert (run / "report" / "report.pdf").stat().st_size > 1000
    assert command(monkeypatch, "site", str(run), "--out", str(tmp_path / "public")) == 1
    assert "two" in capsys.readouterr().err
    assert len(list((tmp_path / "public").rglob("imported-one*.html"))) == 1


def test_figure_ends_with_1_for_the_one_that_fails_alone(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil(monkeypatch, maps, "heatmap", when=lambda scores, *_: scores.label == "two")
    assert command(monkeypatch, "figure", str(run), "imported-three") == 0
    assert command(monkeypatch, "figure", str(run), BAD) == 1
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err
    assert command(monkeypatch, "figure", str(run), "nothing") == 2


def test_import_and_compare_end_with_1_and_draw_the_rest(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spoil(monkeypatch, compared, "_rank", when=lambda result, view, name, keys: True)
    other = import_table(tmp_path / "t.csv", TableSource("m", 2, 2), tmp_path / "runs", "again").path
    words = ["compare", str(run), str(other), "--lineage", "--out", str(tmp_path / "c"), "--name", "c"]
    assert command(monkeypatch, *words) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    names = {path.stem for path in (tmp_path / "c" / "c" / "report" / "figures").glob("*.svg")}
    assert any(name.endswith("-depth") for name in names)
    assert not any(name.endswith("-rank") for name in names)


def test_a_plan_that_breaks_off_keeps_what_came_before() -> None:
    def plan(result: object, view: object) -> Any:
        yield lambda: "first"
        raise ValueError("half way")

    found = list(made(OneByOne(plan).plan(None, None)))  # type: ignore[arg-type]
    assert found[0] == "first"
    assert "half way" in str(found[1])
    assert len(found) == 2


def test_a_list_of_figures_makes_no_chart_and_one_figure_its_own_alone(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made: list[str] = []
    spoil(monkeypatch, maps, "heatmap", when=lambda scores, *_: made.append(scores.label) or scores.label == "two")
    assert command(monkeypatch, "figure", str(run)) == 0
    listed = capsys.readouterr().out
    assert command(monkeypatch, "figure", str(run), "imported-four") == 2
    assert capsys.readouterr().out == listed
    assert [line.split()[0] for line in listed.splitlines()] == ["imported-one", BAD, "imported-three"]
    assert made == []
    assert command(monkeypatch, "figure", str(run), "imported-one", "--out", str(tmp_path / "one.svg")) == 0
    assert made == ["one"]
    assert command(monkeypatch, "figure", str(run), BAD, "--out", str(tmp_path / "two.svg")) == 1
    assert f"Figure {BAD} could not be drawn: ZeroDivisionError: a bug" in capsys.readouterr().err
