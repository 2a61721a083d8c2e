"""Verbs that read stored runs and tables: render, figure, import, compare, site, check, and the lists. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reportgen.errors import FigureError, SettingsError, UnknownFigure, one_line
from reportgen.verbs.options import (
    Cmap,
    Legend,
    NoOverlayOnce,
    Overlays,
    OverlaysOnce,
    Palette,
    Published,
    RunDir,
    SuiteFiles,
    checked_style,
    finish,
    marks_once,
    render_run,
    tell_empty,
)

if TYPE_CHECKING:
    from reportgen.figures.figure import Figure
    from reportgen.figures.theme import Style
    from reportgen.report.build import Marks
    from reportgen.runfolder import Run


# suites and published: what there is.


def suites_verb(name: Annotated[str, typer.Argument(help="Show one suite's settings and measures.")] = "") -> None:
    """List the suites, or one suite's settings, measures and formulas."""
    from reportgen.terminal_lists import print_suite, print_suites

    if name:
        print_suite(name)
    else:
        print_suites()


def published_verb(model: Annotated[str, typer.Argument(help="Hub id or catalogue key.")] = "") -> None:
    """List heads classified in papers, with their sources."""
    from reportgen.terminal_lists import print_published

    print_published(model)


# check: whether a LaTeX paper still says what its runs say.


def check_verb(
    paper: Annotated[Path, typer.Argument(metavar="PAPER.tex", help="The paper's main LaTeX file.")],
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Run to compare with. (default: the run of numbers.tex)")
    ] = None,
    overlay: OverlaysOnce = None,
    no_overlay: NoOverlayOnce = False,
) -> None:
    """Compare a paper's numbers, captions and figures with their run; exit 1 if any no longer matches."""
    from reportgen.report.paper import check_paper
    from reportgen.report.text import plural
    from reportgen.runfolder import Run

    found = check_paper(paper, Run.open(run) if run else None, marks_once(overlay, no_overlay))
    compared = f"{plural(found.numbers, 'number')} and {plural(found.figures, 'figure')}"
    for problem in found.problems:
        print(problem)
    for name in found.unchecked:
        print(f"not checked: {name}")
    if found.problems:
        print(f"{paper}: {compared} compared, {plural(len(found.problems), 'problem')}.")
        raise typer.Exit(1)
    left = f"; {len(found.unchecked)} not checked" if found.unchecked else ""
    print(f"{paper}: {compared} agree with the run{left}.")


# import, compare and site: what is made of scores and runs that are there already; torch is never imported.

Out = Annotated[Path, typer.Option(help="Folder for the run folder.")]
Name = Annotated[str, typer.Option(help="Name of the run folder. (default: from the model's name)")]


def import_verb(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, TSV, Parquet or NPY file.")],
    model_name: Annotated[str, typer.Option(help="Name of the scored model.")],
    layers: Annotated[int, typer.Option(metavar="L", help="Number of layers.")],
    heads: Annotated[int, typer.Option(metavar="H", help="Query heads per layer.")],
    base: Annotated[
        str,
        typer.Option(metavar="0|1|layer|head", help="Layers and heads count from 0 or 1, or only one of them from 1."),
    ] = "",
    out: Out = Path("runs"),
    name: Name = "",
    overlay: Overlays = None,
    published: Published = "",
    cmap: Cmap = "viridis",
    palette: Palette = "published",
) -> None:
    """Make a run, with figures and report, from scores computed elsewhere.

    The table names its heads (columns layer and head, or names like L9H6), has a column per head or per layer, or one
    row per head in layer-major order; one line says how it was read.
    """
    from reportgen.imported.store import TableSource, import_table

    style = checked_style(cmap, palette)
    tell_empty(overlay)
    source = TableSource(model_name, layers, heads, published, base)
    run = import_table(table, source, out, name, tuple(overlay or ()), lambda words: typer.echo(words, err=True))
    finish(*render_run(run, style))


DEFAULT_MEASURES = (
    "Measure to draw; repeat for more. (default: each suite's first; all of a suite whose measures have one task each, "
    "as attention's)"
)


# export: a run as JSON for other front ends.


def export_verb(
    run: RunDir,
    json_dir: Annotated[Path, typer.Option("--json", metavar="DIR", help="Folder for index.json and a file per head.")],
    heads: Annotated[str, typer.Option(help="Heads to write, e.g. L9H6,L10H7. (default: all)")] = "",
    suite: SuiteFiles = None,
) -> None:
    """Write a stored run's heads as JSON: an index, and a file per head with scores, sets and examples."""
    from reportgen.report.build import AS_STORED, scene
    from reportgen.report.heads_json import export
    from reportgen.runfolder import Run
    from reportgen.suites import find, listed

    for name in listed(suite or ()):
        find(name)
    found = scene(Run.open(run), None, None, AS_STORED)
    index, count = export(found, json_dir, [word for word in heads.split(",") if word.strip()])
    print(f"{index}: {count} heads")


def compare_verb(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Two to eight run folders.")],
    measure: Annotated[
        list[str] | None,
        typer.Option(metavar="SUITE/MEASURE", help=DEFAULT_MEASURES),
    ] = None,
    lineage: Annotated[
        bool, typer.Option("--lineage", help="The runs share a lineage: L1H2 is the same head in all of them.")
    ] = False,
    fail_over: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Only check, draw nothing: exit 1 if a head's score moved by more than this share of the score's "
            "largest value in the first run.",
        ),
    ] = None,
    out: Out = Path("runs"),
    name: Annotated[str, typer.Option(help="Name of the comparison's folder. (default: from the runs' names)")] = "",
    cmap: Cmap = "viridis",
    palette: Palette = "published",
    as_json: Annotated[bool, typer.Option("--json", help="With --fail-over: what moved, as JSON.")] = False,
) -> None:
    """Compare runs: difference maps within one lineage, otherwise depth profiles and ranks; or only check."""
    if fail_over is not None:
        _gate(runs, fail_over, tuple(measure or ()), lineage, as_json)
        return
    if as_json:
        raise SettingsError("--json is the answer of a check.", "Add --fail-over, for example --fail-over 0.02")
    from reportgen.compare.store import ComparisonRequest, compare
    from reportgen.runfolder import Run

    style = checked_style(cmap, palette)
    found = compare([Run.open(path) for path in runs], ComparisonRequest(tuple(measure or ()), lineage), out, name)
    finish(*render_run(found, style))


def _gate(runs: Sequence[Path], limit: float, measures: tuple[str, ...], lineage: bool, as_json: bool) -> None:
    """Print what moved; exit 1 if anything moved too far."""
    import json

    from reportgen.compare import gate
    from reportgen.compare.store import names_of
    from reportgen.runfolder import Run

    opened = [Run.open(path) for path in runs]
    found = gate.gate(opened, gate.Gate(limit, measures, lineage))
    first = names_of(opened)[0]
    if as_json:
        print(json.dumps(gate.as_json(found, first, limit)))
    else:
        for one in found:
            for line in gate.lines(one, first, limit):
                print(one_line(line) if not line.startswith(" ") else f"  {one_line(line)}")
    if any(one.failed for one in found):
        raise typer.Exit(1)


def site_verb(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN...", help="Run folders, or folders of run folders.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="site.toml: title, description, url, runs.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the site; replaces an earlier site there.")] = Path("public"),
    title: Annotated[str, typer.Option(help="Title of the gallery.")] = "",
    url: Annotated[str, typer.Option(help="Address of the site; needed for sitemap.xml.")] = "",
    suite: SuiteFiles = None,
    no_overlay: NoOverlayOnce = False,
) -> None:
    """Build a static site: a gallery, a report per run, a permalink per figure."""
    from dataclasses import replace

    from reportgen import suites
    from reportgen.site import Site, build_site, open_runs, read_site

    suites.choose(suite or ())
    site, listed = read_site(config) if config else (Site(), [])
    site = replace(site, title=title or site.title, url=url or site.url)
    found = open_runs([*listed, *(runs or ())])
    undrawn: list[str] = []
    say = partial(typer.echo, err=True)
    marks = marks_once((), no_overlay)
    index = build_site(found, out, site, lambda *step: say("[{}/{}] {}".format(*step)), undrawn.append, marks)
    if not site.url:
        typer.echo("No sitemap.xml: give the site's address with --url https://...", err=True)
    finish(index, undrawn)


# atlas: heads of many runs.


def atlas_verb(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or folders of run folders.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables and figures.")] = Path("atlas"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the null searches.")] = 0,
) -> None:
    """Find the heads of each run that are most like heads of the others, and in how many ways each finding holds.

    Other runs of the same model (another seed, dtype or setting; give them another --name) count as ways of their own.
    """
    from reportgen.atlas.drawing import robustness_figure, write_figure
    from reportgen.atlas.pairs import make_atlas, write_atlas
    from reportgen.atlas.robustness import findings, robustness_csv
    from reportgen.files import write_atomic
    from reportgen.site import open_runs

    say = partial(typer.echo, err=True)
    opened = open_runs(runs)
    atlas = make_atlas(opened, seed, lambda *step: say("[{}/{}] {}".format(*step)))
    held = {
        run.model.slug: (run, findings(run, opened, tell=lambda suite, why: say(f"{suite}: {why}"))) for run in opened
    }
    index = write_atlas(atlas, out, needs_pairs=not any(found for _, found in held.values()))
    write_atomic(out / "robustness.csv", robustness_csv([one for _, found in held.values() for one in found]).encode())
    for run, found in held.values():
        if found:
            figure = robustness_figure(run, found)
            write_figure(figure, out)
            print(one_line(figure.caption))
    for pair in atlas.pairs():
        where = f"{pair.first} in {pair.second} ({pair.measures} scores, {pair.draws} null searches)"
        print(one_line(f"{where}: {pair.words()}"))
    print(index)


# render and figure: a stored run drawn again; torch is never imported.


def render_verb(
    run: RunDir,
    overlay: Overlays = None,
    no_overlay: Annotated[
        bool, typer.Option("--no-overlay", help="Draw neither published nor user head sets until the next render.")
    ] = False,
    published: Published = "",
    cmap: Cmap = "viridis",
    palette: Palette = "published",
    legend: Legend = "outside",
    suite: SuiteFiles = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            "--beside", metavar="RUN", help="Other runs of the model in the same folder: do findings hold there, too?"
        ),
    ] = None,
) -> None:
    """Redraw the report of a stored run or sweep; torch is not needed."""
    from reportgen import suites
    from reportgen.figures.theme import Style
    from reportgen.report.draw import as_drawn
    from reportgen.runfolder import Run
    from reportgen.sweep.stored import Sweep, is_sweep

    suites.choose(suite or ())

    style = checked_style(cmap, palette, legend=legend)
    if is_sweep(run):
        from reportgen.sweep.render import render as render_sweep

        _no_marks(run, overlay, no_overlay or bool(published or beside))
        undrawn: list[str] = []
        finish(render_sweep(Sweep.open(run), style, tell=undrawn.append), undrawn)
        return
    marked = _marked(Run.open(run), overlay or (), published, no_overlay, beside or ())
    if overlay or published or no_overlay or style != Style():
        kept = as_drawn(marked.path, marked.manifest, suites.drawable(marked.manifest.suites))
        if kept:
            typer.echo(kept, err=True)
    finish(*render_run(marked, style))


def _marked(run: Run, overlay: Sequence[Path], published: str, no_overlay: bool, beside: Sequence[Path] = ()) -> Run:
    """The run with the requested head sets and runs stored in it; replacements are reported on standard error."""
    from reportgen.runfolder import keep_marks

    if no_overlay and (overlay or published):
        raise SettingsError("--no-overlay contradicts --overlay and --published.", "Give one of them.")
    tell_empty(overlay)
    tell = partial(typer.echo, err=True)
    return keep_marks(run, overlay, published, no_overlay=no_overlay, beside=beside, tell=tell)


def _no_marks(folder: Path, overlay: Sequence[Path] | None, other: bool) -> None:
    if overlay or other:
        raise SettingsError(f"{folder} is a sweep; its figures show no head sets.", "Render a member's folder.")


def figure_verb(
    run: RunDir,
    figure_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="Figure id, e.g. relations-name_copying; without it, list all.")
    ] = "",
    format_: Annotated[
        str,
        typer.Option("--format", help="svg, pdf, png, csv, tex or json. (default: extension of --out, else svg)"),
    ] = "",
    width: Annotated[str, typer.Option(help="Printed width: 3.25in, 8.3cm, or a column: icml, acl, neurips ...")] = "",
    font_size: Annotated[float, typer.Option(help="Text size in points at that width; enlarged below 6 pt.")] = 10.0,
    out: Annotated[Path | None, typer.Option(help="File to write. (default: ID.FORMAT here)")] = None,
    overlay: OverlaysOnce = None,
    no_overlay: NoOverlayOnce = False,
    cmap: Cmap = "viridis",
    palette: Palette = "published",
    legend: Legend = "outside",
    suite: SuiteFiles = None,
) -> None:
    """Write one figure of a stored run or sweep, or list its figures."""
    from reportgen import suites
    from reportgen.figures.export import FORMATS, as_drawn, format_of, inches, tex
    from reportgen.figures.figure import KeptDrawing, attempt
    from reportgen.files import write_atomic
    from reportgen.report.render import ENDINGS

    suites.choose(suite or ())
    marks = marks_once(overlay, no_overlay)
    if not figure_id:
        _list(_titles(run))
        return
    name = format_of(out, format_)
    style = checked_style(cmap, palette, legend=legend, width_in=inches(width), font_size=font_size)
    try:
        figure, style = _printed(run, figure_id, style, marks)
    except UnknownFigure as error:
        _list(error.titles)  # to standard output: the line on standard error stays alone
        raise
    if name == "json" and isinstance(figure.chart, KeptDrawing):
        raise as_drawn(figure)
    path = out or Path(f"{figure_id}.{ENDINGS[name]}")
    beside = _beside(run, path, figure_id) if name == "tex" else ""
    content, problem = attempt(lambda: FORMATS[name](figure, style) if name != "tex" else tex(figure, beside).encode())
    if content is None:
        raise FigureError(f"Figure {figure_id} could not be drawn: {problem}")
    write_atomic(path, content)
    print(path)


def _beside(run: Path, path: Path, figure_id: str) -> str:
    """The folder with the figure's PDF as the LaTeX file at `path` names it: its own, figures/, or the run's report."""
    here = path.parent.resolve()
    places = (here, here / "figures", run.resolve() / "report" / "figures")
    found = next((place for place in places if (place / f"{figure_id}.pdf").is_file()), places[1])
    return "" if found == here else os.path.relpath(found, here).replace(os.sep, "/")


def _printed(run: Path, figure_id: str, style: Style, marks: Marks) -> tuple[Figure, Style]:
    from reportgen import suites
    from reportgen.report.about import other_files
    from reportgen.report.build import printed_figure
    from reportgen.runfolder import Run
    from reportgen.sweep.stored import Sweep, is_sweep

    if is_sweep(run):
        from reportgen.sweep.render import printed_figure as of_sweep

        _no_marks(run, marks.overlay_files, marks.overlays is not None)
        return of_sweep(Sweep.open(run), figure_id, style)
    stored = Run.open(run)
    found = printed_figure(stored, figure_id, style, marks)
    for words in other_files(suites.drawable([found[0].suite]), stored.manifest):
        typer.echo(words, err=True)
    return found


def _titles(run: Path) -> dict[str, str]:
    """The title of each figure of a run or sweep, by id."""
    from reportgen.report.build import all_figures
    from reportgen.runfolder import Run
    from reportgen.sweep.stored import Sweep, is_sweep

    if is_sweep(run):
        from reportgen.sweep.render import all_figures as of_sweep

        found = of_sweep(Sweep.open(run))
    else:
        found = all_figures(Run.open(run))
    return {figure.id: figure.title for figure in found}


def _list(titles: Mapping[str, str]) -> None:
    """Print a line for each figure: its id and its title."""
    wide = max(map(len, titles), default=0)
    for name, title in titles.items():
        print(one_line(name).ljust(wide) + "  " + one_line(title))
