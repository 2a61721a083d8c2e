from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from reportgen.errors import RunError, SettingsError
from reportgen.figures import export
from reportgen.figures.theme import Style
from reportgen.report import render as module
from reportgen.report.build import build
from reportgen.report.document import Plate
from reportgen.report.draw import Drawing, threads
from reportgen.report.render import ENDINGS, FigureFiles, render, scores_csv, write
from reportgen.runfolder import Run
from tests import fixtures
from tests.report import sample


def written(folder: Path, formats: tuple[str, ...] = tuple(ENDINGS), text: str = "Mary") -> Path:
    run = sample.run(folder, text)
    report = build(run, suites=sample.SUITES)
    return write(report, run, folder / "report", Style(), formats, lambda done, total, words: None)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_file_of_the_public_layout_is_written(tmp_path: Path) -> None:
    index = written(tmp_path)
    assert index == tmp_path / "report" / "index.html"
    ids = ("alpha-capital", "alpha-ioi", "alpha-bars")
    whole = {"index.html", "report.pdf", "report.zip", "scores.csv", "numbers.tex", "references.bib"}
    want = {f"figures/{i}.{e}" for i in ids for e in ENDINGS.values()} | whole
    found = contents(tmp_path / "report")
    assert set(found) == want
    assert all(found.values())
    assert found["scores.csv"].decode() == scores_csv(sample.run(tmp_path).results, sample.run(tmp_path).manifest.model)
    assert found["figures/alpha-ioi.svg"].startswith(b"<svg")
    assert found["figures/alpha-ioi.pdf"].startswith(b"%PDF")
    assert found["figures/alpha-ioi.png"].startswith(b"\x89PNG")


def test_a_second_rendering_is_byte_identical(tmp_path: Path) -> None:
    written(tmp_path / "a", text=sample.HOSTILE)
    written(tmp_path / "b", text=sample.HOSTILE)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_files_begun_while_figures_are_drawn_are_the_same_and_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "after")
    made: list[str] = []
    real = module.figure_files

    def counted(drawn: Drawing | Plate, *more: Any) -> dict[str, bytes]:
        made.append(f"{type(drawn).__name__} {drawn.figure.id}")
        return real(drawn, *more)

    monkeypatch.setattr(module, "figure_files", counted)
    run = sample.run(tmp_path / "beside", "Mary")
    with threads(2) as pool:
        figures = FigureFiles(pool, Style(), tuple(ENDINGS))
        report = build(run, suites=sample.SUITES, ready=figures.add)
        place, silent = run.path / "report", (lambda done, total, words: None)
        write(report, run, place, Style(), tuple(ENDINGS), silent, figures=figures)
    assert sorted(made) == sorted(f"Drawing {plate.id}" for plate in report.plates)
    assert contents(place) == contents(tmp_path / "after" / "report")


def test_the_zip_holds_every_file_of_the_report(tmp_path: Path) -> None:
    written(tmp_path)
    found = contents(tmp_path / "report")
    zipped = zipfile.ZipFile(io.BytesIO(found.pop("report.zip")))
    assert {name.removeprefix("made-up/"): zipped.read(name) for name in zipped.namelist()} == found


def test_stale_figures_go_and_strangers_stay(tmp_path: Path) -> None:
    figures = tmp_path / "report" / "figures"
    figures.mkdir(parents=True)
    (figures / "old.svg").write_text("old")
    (figures / "old.vl.json").write_text("old")
    (figures / "notes.md").write_text("mine")
    written(tmp_path, ("svg", "pdf"))
    written(tmp_path, ("svg",))
    left = sorted(p.name for p in figures.iterdir())
    assert left == ["alpha-bars.svg", "alpha-capital.svg", "alpha-ioi.svg", "notes.md"]
    assert not (tmp_path / "report" / "report.pdf").exists()


def test_each_figure_is_checked_once_and_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = export.svg
    specs: list[str] = []
    whole = export.spec
    monkeypatch.setattr(export, "svg", lambda figure, *more: calls.append(figure.id) or real(figure, *more))
    monkeypatch.setattr(export, "spec", lambda figure, *more: specs.append(figure.id) or whole(figure, *more))
    written(tmp_path)
    assert calls == specs == ["alpha-capital", "alpha-ioi", "alpha-bars"]


def test_progress_counts_figures_and_the_page(tmp_path: Path) -> None:
    fixtures.write_run(tmp_path, "homemade")
    seen: list[tuple[int, int, str]] = []
    index = render(Run.open(tmp_path), progress=lambda *step: seen.append(step))
    assert seen == [(1, 1, "index.html")]
    assert "homemade" in index.read_text("utf-8")


def test_the_page_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = module.write_atomic

    def noted(path: Path, content: bytes, synced: bool = True) -> None:
        order.append(path.name)
        real(path, content, synced)

    monkeypatch.setattr(module, "write_atomic", noted)
    written(tmp_path, ("svg",))
    assert order[-1] == "index.html"
    assert len(order) == len(set(order)) == 8


def test_unknown_formats_and_unwritable_folders_are_one_line(tmp_path: Path) -> None:
    fixtures.write_run(tmp_path, "homemade")
    with pytest.raises(SettingsError, match="'svgz'"):
        render(Run.open(tmp_path), formats=("svgz",))
    (tmp_path / "report").write_text("a file in the way")
    with pytest.raises(RunError, match="Can't write"):
        render(Run.open(tmp_path))
