"""A run of a user's suite shows what it drew wherever it is opened; with the suite's file it is drawn anew."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import reportgen
from reportgen import cli, suites
from reportgen.errors import SettingsError
from reportgen.figures.export import stamp
from reportgen.figures.figure import KeptDrawing
from reportgen.figures.svg import checked, from_outside, size
from reportgen.figures.theme import Style
from reportgen.files import digest
from reportgen.report import about, draw
from reportgen.report.build import Marks, build, find_figure, printed_figure
from reportgen.report.render import render
from reportgen.runfolder import Run
from reportgen.site import Site, build_site
from reportgen.suites.base import Suite
from tests import fixtures
from tests.report import sample

ID = "mine-share"
FILE = """
import numpy as np
from reportgen.suites import Measure, Suite

def score(model):
    return np.zeros((3, 4))

SUITE = Suite("mine", score=score, measures=Measure("share", "Anew", "mean of x", "High.", range=(0, 1)))
"""


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No suite's file was given in this process."""
    monkeypatch.setattr(suites, "_named", {})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return fixtures.write_kept(tmp_path / "kept")


def own() -> dict[str, Suite]:
    return {"mine": fixtures.own_suite()}


def test_it_is_shown_as_drawn_with_its_words_and_measures(run: Run) -> None:
    (there,), (here,) = build(run, suites=own()).sections, build(run, suites={}).sections
    (plate,), (drawn,) = here.plates, there.plates
    assert isinstance(plate.figure.chart, KeptDrawing)
    assert (here.title, here.summary, here.measures) == (there.title, there.summary, there.measures)
    assert here.undrawn == ()
    assert draw.KEPT_NOTE in here.notes
    assert draw.KEPT_NOTE not in there.notes
    assert (plate.title, plate.caption, plate.alt, plate.twins) == (drawn.title, drawn.caption, drawn.alt, drawn.twins)
    assert (plate.width, plate.height, plate.keys) == (drawn.width, drawn.height, drawn.keys)
    assert stamp(plate.figure) == stamp(drawn.figure)  # its permalink and a paper's copy stay right
    assert plate.svg.replace(" />", "/>") == drawn.svg.replace(" />", "/>")


def test_cells_of_a_kept_map_answer_to_pointer_and_keys(run: Run) -> None:
    here, there = build(run, suites={}), build(run, suites=own())
    assert here.frames[ID].panels == there.frames[ID].panels
    assert len(here.frames[ID].panels) == 1


def test_every_file_but_the_specification_is_written(run: Run) -> None:
    page = render(run)
    assert sorted(p.name for p in (page.parent / "figures").iterdir()) == [
        f"{ID}.{ending}" for ending in ("csv", "pdf", "png", "svg", "tex")
    ]
    text = page.read_text("utf-8")
    assert f'figures/{ID}.svg"' in text
    assert f"{ID}.vl.json" not in text
    before = (run.path / "drawn" / "mine.json").read_bytes()
    render(run, Style(cmap="magma"))
    assert (run.path / "drawn" / "mine.json").read_bytes() == before


def test_one_figure_of_it(run: Run) -> None:
    assert find_figure(run, ID).id == ID
    assert printed_figure(run, ID, Style())[0].caption
    shown = reportgen.figure(run, ID)
    assert isinstance(shown, KeptDrawing)
    assert shown._repr_svg_().startswith("<svg")
    for style in (Style(width_in=3.25), Style(cmap="magma"), Style(font_size=8)):
        with pytest.raises(SettingsError, match=r"kept in the run as it was drawn.*--suite FILE\.py"):
            printed_figure(run, ID, style)
    (run.path / "mine.toml").write_text('[[entry]]\nclass = "Mine"\nheads = ["L1H1"]\n')
    for marks in (Marks(overlays=False), Marks(overlay_files=[run.path / "mine.toml"])):
        with pytest.raises(SettingsError, match="other size, style or head sets"):
            printed_figure(run, ID, Style(), marks)
    assert cli.app(["figure", str(run.path), ID, "--out", str(run.path / "x.svg")], standalone_mode=False) in (0, None)
    with pytest.raises(SettingsError, match="kept in the run"):
        cli.app(["figure", str(run.path), ID, "--format", "json"], standalone_mode=False)


@pytest.mark.parametrize("words", [("--no-overlay",), ("--cmap", "magma"), ("--overlay", "mine.toml"), ()])
def test_what_render_cannot_change_is_said(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('[[entry]]\nclass = "Mine"\nheads = ["L1H1"]\n')
    assert cli.app(["render", str(run.path), *words], standalone_mode=False) in (0, None)
    assert ("mine: kept as drawn, so head sets and colours are of then." in capsys.readouterr().err) == bool(words)


def test_scores_of_another_version_of_the_file_are_told(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    manifest = json.loads((run.path / "run.json").read_text("utf-8"))

    def told(version: int = 0, **data: str) -> bool:
        manifest["suites"]["mine"] |= {"version": version, "data": data}
        (run.path / "run.json").write_text(json.dumps(manifest), "utf-8")
        cli.app(["render", str(run.path), "--suite", str(file)], standalone_mode=False)
        noted = about.OTHER_FILE in " ".join(build(Run.open(run.path)).sections[0].notes)
        assert (f"mine: {about.OTHER_FILE}" in capsys.readouterr().err) == noted
        one = ["figure", str(run.path), ID, "--suite", str(file), "--out", str(tmp_path / "x.svg")]
        cli.app(one, standalone_mode=False)
        assert (f"mine: {about.OTHER_FILE}" in capsys.readouterr().err) == noted
        return noted

    assert not told(**{"mine.py": digest(file)})
    assert told(**{"mine.py": "0" * 64})
    assert not told()  # an older run, which does not say
    file.write_text(FILE.replace('"mine", ', '"mine", version=2, '))
    assert not told(2)
    assert told(1)


@pytest.mark.parametrize("verb", ["render", "figure", "site"])
def test_with_the_file_it_is_drawn_anew(run: Run, tmp_path: Path, verb: str) -> None:
    file, out = tmp_path / "mine.py", tmp_path / ("out.svg" if verb == "figure" else "out")
    file.write_text(FILE)
    more = {"render": [], "figure": [ID, "--width", "icml", "--out", str(out)], "site": ["--out", str(out)]}[verb]
    assert cli.app([verb, str(run.path), *more, "--suite", str(file)], standalone_mode=False) in (0, None)
    made = {"render": run.path / "report", "figure": out, "site": out / "made-up"}[verb]
    text = (made if made.is_file() else made / "figures" / f"{ID}.svg").read_text("utf-8")
    assert "Anew" in text
    title = json.loads((run.path / "drawn" / "mine.json").read_text("utf-8"))["figures"][0]["title"]
    assert ("Anew" in title) == (verb == "render")  # what render draws is kept


def test_a_site_of_it(run: Run, tmp_path: Path) -> None:
    index = build_site([Run.open(run.path)], tmp_path / "public", Site("T"))
    assert "data:image/png" in index.read_text("utf-8")  # the gallery's small map
    assert list((tmp_path / "public" / "made-up" / "at").rglob("*.html"))


def test_drawings_of_other_scores_are_not_shown(run: Run) -> None:
    file = run.path / "drawn" / "mine.json"
    value = json.loads(file.read_text("utf-8"))
    value["scores"]["mine.json"] = "0" * 64
    file.write_text(json.dumps(value), "utf-8")
    (section,) = build(run, suites={}).sections
    assert section.plates == ()
    assert "--suite FILE.py" in section.undrawn[0]


def test_shipped_suites_and_failed_ones_keep_nothing(tmp_path: Path) -> None:
    run = fixtures.write_run(tmp_path / "run", "relations")
    render(run, formats=("svg",))
    assert not (run.path / "drawn").exists()


def test_a_run_without_what_was_drawn_still_renders(run: Run) -> None:
    shutil.rmtree(run.path / "drawn")
    (section,) = build(run, suites={}).sections
    assert "--suite FILE.py" in section.undrawn[0]


def test_every_drawing_of_the_house_passes_its_own_check(tmp_path: Path) -> None:
    for plate in build(sample.run(tmp_path), suites=sample.SUITES).plates:
        assert size(checked(plate.svg, plate.id)) == pytest.approx((plate.width, plate.height), abs=0.5)
        again = from_outside(plate.svg, plate.id)
        assert from_outside(again, plate.id) == again


def test_a_set_that_the_model_has_is_kept_with_the_figure(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "own.toml"
    mine.write_text('[[entry]]\nclass = "Mine"\nheads = ["L1H2"]\n')
    (section,) = build(run, suites=own(), marks=Marks(overlay_files=[mine])).sections
    (plate,) = section.plates
    draw.keep_drawings(run.path, run.manifest, own()["mine"], [(plate.figure, plate.svg)])
    report = build(run, suites={})
    assert [s.label for s in report.overlays] == ["Mine"]
    assert replace(report.overlays[0], marker="", color="") == replace(plate.figure.head_sets[0], marker="", color="")
