"""The notebook API: three lines give the figures of the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pypdf
import pytest

import reportgen
from reportgen.config import options_of
from reportgen.errors import DataError, LeftOutWarning, RunError, SettingsError
from tests.fixtures import write_run
from tests.tiny import tiny_folder

MINI = Path(__file__).parents[1] / "site" / "runs" / "mini"
TOY = str(Path(__file__).parent / "data" / "toy_suite.py")


def test_run_scores_renders_and_returns_the_run(tmp_path: Path) -> None:
    model = tiny_folder("gpt2", tmp_path / "tiny-gpt2")
    with pytest.warns(LeftOutWarning, match="attention: .* tokens of the shipped text are unknown"):
        run = reportgen.run(str(model), suites="attention", out=str(tmp_path / "runs"), threads=1)
    assert run.done() == ["attention"]
    assert (run.path / "report" / "index.html").is_file()
    again = reportgen.load_run(str(run.path))
    chart = reportgen.figure(again, "attention-induction")
    assert chart.to_dict()["$schema"].startswith("https://vega.github.io/schema/vega-lite")
    with pytest.raises(SettingsError, match="attention-induction"):
        reportgen.figure(again, "attention-inductoin")


def test_options_have_the_command_lines_names_and_near_misses_are_answered() -> None:
    asked = options_of(suite="attention,relations", set={"relations.tau": 0.2}, relations=Path("lists"), threads=1)
    assert asked.suites == ("attention", "relations")
    assert asked.settings == {"relations": {"tau": 0.2, "relations_dir": "lists"}}
    with pytest.raises(SettingsError, match="Did you mean preset"):
        reportgen.run("mini", presett="full")
    with pytest.raises(SettingsError, match="is not SUITE"):
        reportgen.run("mini", set={"tau": 0.2})


def test_report_can_be_left_out(tmp_path: Path) -> None:
    model = tiny_folder("gpt2", tmp_path / "tiny-gpt2")
    run = reportgen.run(str(model), suites=[TOY], out=str(tmp_path / "runs"), threads=1, report=False)
    assert not (run.path / "report").exists()


def test_load_run_refuses_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        reportgen.load_run(str(tmp_path))
    assert reportgen.load_run(str(write_run(tmp_path / "r", "relations").path)).done() == ["relations"]


def test_heatmap_of_an_array_with_overlays() -> None:
    values = np.random.default_rng(0).random((3, 4))
    values[0, 0] = np.nan
    spec = reportgen.heatmap(values, overlays={"Name movers": ["L1H2", "L2H3"]}, label="My score").to_dict()
    text = str(spec)
    assert "My score" in text
    assert "Name movers" in text
    assert "L1H2" in text


def test_heatmap_refuses_a_head_outside_the_grid_and_a_wrong_name() -> None:
    with pytest.raises(DataError, match="outside the 2 layers x 2 heads"):
        reportgen.heatmap(np.zeros((2, 2)), overlays={"x": ["L9H9"]})
    with pytest.raises(DataError, match="L9H6"):
        reportgen.heatmap(np.zeros((2, 2)), overlays={"x": ["nine"]})


def test_everything_exported_is_there() -> None:
    for name in reportgen.__all__:
        assert hasattr(reportgen, name)


def test_a_figure_shows_itself_without_scripts_from_the_network() -> None:
    chart = reportgen.heatmap(np.eye(3), label="My score", title="A title")
    for shown in (chart, chart.properties(title="Another")):
        bundle = shown._repr_mimebundle_()
        assert "text/html" not in bundle
        assert "My score" in bundle["image/svg+xml"]
        assert "http://www.w3.org/2000/svg" in bundle["image/svg+xml"]
        assert bundle["image/png"].startswith(b"\x89PNG")
        assert any(kind.startswith("application/vnd.vegalite.v6") for kind in bundle)
        assert shown._repr_html_() is None
    import altair as alt

    with alt.renderers.enable("mimetype"):  # the user's own choice
        assert "image/svg+xml" not in str(chart._repr_mimebundle_())


def test_a_run_shows_its_findings(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", "relations")
    html = reportgen.load_run(str(run.path))._repr_html_()
    assert "Highest head" in html
    assert "reportgen.render(run)" in html
    reportgen.render(run)
    assert "report/index.html" in reportgen.load_run(str(run.path))._repr_html_()


def test_a_legend_inside_is_refused_where_it_would_cover_a_marked_head() -> None:
    corners = {"Mine": ["L0H0", "L0H11", "L11H0", "L11H11"]}
    values = np.zeros((12, 12))
    assert reportgen.heatmap(values, overlays={"Mine": ["L5H5"]}, legend="inside").to_dict()
    with pytest.raises(SettingsError, match=r"L0H0, which is marked"):
        reportgen.heatmap(values, overlays=corners, legend="inside")
    with pytest.raises(SettingsError, match=r"'insid'.*inside"):
        reportgen.heatmap(values, legend="insid")


def test_a_stored_run_draws_legends_inside_or_says_why_not() -> None:
    run = reportgen.load_run(str(MINI))
    names = [
        layer["name"] for layer in reportgen.figure(run, "relations-name_copying", legend="inside").to_dict()["layer"]
    ]
    assert "legend0_box" in names
    assert not any(
        "box" in layer["name"] for layer in reportgen.figure(run, "relations-name_copying").to_dict()["layer"]
    )
    with pytest.raises(SettingsError, match=r"attention-induction: the legend can't be inside: it would cover L\dH\d"):
        reportgen.figure(run, "attention-induction", legend="inside")


def test_a_figure_in_python_has_the_command_lines_choices() -> None:
    run = reportgen.load_run(str(MINI))
    assert run.figures()["attention-induction"]
    plain = reportgen.figure(run, "attention-induction", overlays=False)
    own = reportgen.figure(run, "attention-induction", width="icml", cmap="magma", overlays={"Mine": ["L0H3"]})
    assert "magma" in str(own.to_dict())
    assert "Mine" in str(own.to_dict())
    assert "Mine" not in str(plain.to_dict())
    assert 'width="3.25in"' in own._repr_mimebundle_()["image/svg+xml"]
    with pytest.raises(SettingsError, match="is not a width"):
        reportgen.figure(run, "attention-induction", width="wide")
    with pytest.raises(DataError, match="outside the 6 layers x 8 heads"):
        reportgen.figure(run, "attention-induction", overlays={"Mine": ["L9H9"]})
    array = reportgen.heatmap(np.eye(3), width=3.25, cmap="magma")
    assert 'width="3.25in"' in array._repr_mimebundle_()["image/svg+xml"]


def test_a_saved_figure_has_its_printed_width(tmp_path: Path) -> None:
    run = reportgen.load_run(str(MINI))
    reportgen.save_figure(run, "attention-induction", tmp_path / "x.pdf", width="icml", overlays={"Mine": ["L0H3"]})
    assert float(pypdf.PdfReader(tmp_path / "x.pdf").pages[0].mediabox.width) == pytest.approx(3.25 * 72, abs=0.5)
    with pytest.raises(SettingsError, match="has no ending"):
        reportgen.save_figure(run, "attention-induction", tmp_path / "x")
