"""render and figure: a stored run drawn again; torch is never imported."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reportgen.errors import FigureError, SettingsError, UnknownFigure
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
)

if TYPE_CHECKING:
    from reportgen.figures.figure import Figure, Style
    from reportgen.report.scene import Marks
    from reportgen.runfolder import Run


def render_verb(
    run: RunDir,
    overlay: Overlays = None,
    no_overlay: Annotated[
        bool, typer.Option("--no-overlay", help="Draw no published and no own head sets until the next render.")
    ] = False,
    published: Published = "",
    cmap: Cmap = "viridis",
    palette: Palette = "published",
    legend: Legend = "outside",
    suite: SuiteFiles = None,
) -> None:
    """Write the report of a stored run or sweep again; torch is not needed."""
    from reportgen import suites
    from reportgen.runfolder import Run
    from reportgen.sweep.stored import Sweep, is_sweep

    suites.choose(suite or ())

    style = checked_style(cmap, palette, legend=legend)
    if is_sweep(run):
        from reportgen.sweep.render import render as render_sweep

        _no_marks(run, overlay, no_overlay or bool(published))
        undrawn: list[str] = []
        finish(render_sweep(Sweep.open(run), style, tell=undrawn.append), undrawn)
        return
    finish(*render_run(_marked(Run.open(run), overlay or (), published, no_overlay), style))


def _marked(run: Run, overlay: Sequence[Path], published: str, no_overlay: bool) -> Run:
    """The run with the head sets asked for kept in it; what was put in whose place is said on standard error."""
    from reportgen.runfolder import keep_marks

    if no_overlay and (overlay or published):
        raise SettingsError("--no-overlay contradicts --overlay and --published.", "Give one of them.")
    return keep_marks(run, overlay, published, no_overlay=no_overlay, tell=partial(typer.echo, err=True))


def _no_marks(folder: Path, overlay: Sequence[Path] | None, other: bool) -> None:
    if overlay or other:
        raise SettingsError(f"{folder} is a sweep, whose figures mark no head sets.", "Render a member's own folder.")


def figure_verb(
    run: RunDir,
    figure_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="Figure id, e.g. relations-name_copying; without it all are listed.")
    ] = "",
    format_: Annotated[
        str, typer.Option("--format", help="svg, pdf, png, csv, tex or json. [default: the ending of --out, else svg]")
    ] = "",
    width: Annotated[str, typer.Option(help="Printed width: 3.25in, 8.3cm, or a column: icml, acl, neurips ...")] = "",
    font_size: Annotated[float, typer.Option(help="Text size in points at that width; enlarged below 6 pt.")] = 10.0,
    out: Annotated[Path | None, typer.Option(help="File to write. [default: ID.FORMAT here]")] = None,
    overlay: OverlaysOnce = None,
    no_overlay: NoOverlayOnce = False,
    cmap: Cmap = "viridis",
    palette: Palette = "published",
    legend: Legend = "outside",
    suite: SuiteFiles = None,
) -> None:
    """Write one figure of a stored run or sweep, or list the figures there are."""
    from reportgen import suites
    from reportgen.figures.alone import attempt
    from reportgen.figures.export import FORMATS, as_drawn, format_of
    from reportgen.figures.figure import Kept
    from reportgen.figures.widths import inches
    from reportgen.files import write_atomic
    from reportgen.report.render import ENDINGS

    suites.choose(suite or ())
    marks = marks_once(overlay, no_overlay)
    if not figure_id:
        for line in _listed(run):
            print(line)
        return
    name = format_of(out, format_)
    style = checked_style(cmap, palette, legend=legend, width_in=inches(width), font_size=font_size)
    try:
        figure, style = _printed(run, figure_id, style, marks)
    except UnknownFigure:
        for line in _listed(run):  # to standard output: the line on standard error stays alone
            print(line)
        raise
    if name == "json" and isinstance(figure.chart, Kept):
        raise as_drawn(figure)
    path = out or Path(f"{figure_id}.{ENDINGS[name]}")
    content, problem = attempt(lambda: FORMATS[name](figure, style))
    if content is None:
        raise FigureError(f"Figure {figure_id} could not be drawn: {problem}")
    write_atomic(path, content)
    print(path)


def _printed(run: Path, figure_id: str, style: Style, marks: Marks) -> tuple[Figure, Style]:
    from reportgen.report.build import printed_figure
    from reportgen.runfolder import Run
    from reportgen.sweep.stored import Sweep, is_sweep

    if is_sweep(run):
        from reportgen.sweep.render import printed_figure as of_sweep

        _no_marks(run, marks.overlay_files, marks.overlays is not None)
        return of_sweep(Sweep.open(run), figure_id, style)
    return printed_figure(Run.open(run), figure_id, style, marks)


def _listed(run: Path) -> list[str]:
    """A line for each figure of a run or sweep: its id and its title."""
    from reportgen.errors import one_line
    from reportgen.report.build import all_figures
    from reportgen.runfolder import Run
    from reportgen.sweep.stored import Sweep, is_sweep

    if is_sweep(run):
        from reportgen.sweep.render import all_figures as of_sweep

        found = of_sweep(Sweep.open(run))
    else:
        found = all_figures(Run.open(run))
    wide = max((len(figure.id) for figure in found), default=0)
    return [one_line(figure.id).ljust(wide) + "  " + one_line(figure.title) for figure in found]
