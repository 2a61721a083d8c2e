"""render and figure: a stored run drawn again; torch is never imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reportgen.errors import FigureError, SettingsError, nearest
from reportgen.verbs.options import (
    Cmap,
    Legend,
    Overlays,
    Palette,
    Published,
    RunDir,
    SuiteFiles,
    checked_style,
    finish,
    render_run,
)


def render_verb(
    run: RunDir,
    overlay: Overlays = None,
    no_overlay: Annotated[bool, typer.Option("--no-overlay", help="Draw no head sets.")] = False,
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

        undrawn: list[str] = []
        finish(render_sweep(Sweep.open(run), style, tell=undrawn.append), undrawn)
        return
    files = tuple(overlay or ())
    finish(*render_run(Run.open(run), style, overlays=not no_overlay, overlay_files=files, published=published))


def figure_verb(
    run: RunDir,
    figure_id: Annotated[str, typer.Argument(metavar="ID", help="Figure id, e.g. relations-name_copying.")],
    format_: Annotated[str, typer.Option("--format", help="svg, pdf, png, csv, tex or json.")] = "svg",
    width: Annotated[str, typer.Option(help="Printed width: 3.25in, 8.3cm, or a column: icml, acl, neurips ...")] = "",
    font_size: Annotated[float, typer.Option(help="Text size in points at that width; enlarged below 6 pt.")] = 10.0,
    out: Annotated[Path | None, typer.Option(help="File to write. [default: ID.FORMAT here]")] = None,
    cmap: Cmap = "viridis",
    palette: Palette = "published",
    legend: Legend = "outside",
    suite: SuiteFiles = None,
) -> None:
    """Write one figure of a stored run or sweep."""
    from reportgen import suites
    from reportgen.figures.alone import attempt
    from reportgen.figures.export import FORMATS, as_drawn
    from reportgen.figures.figure import Kept
    from reportgen.figures.widths import inches
    from reportgen.files import write_atomic
    from reportgen.report.build import printed_figure
    from reportgen.report.render import ENDINGS
    from reportgen.runfolder import Run
    from reportgen.sweep.stored import Sweep, is_sweep

    if format_ not in FORMATS:
        raise SettingsError(f"No format {format_!r}.", nearest(format_, FORMATS))
    suites.choose(suite or ())
    style = checked_style(cmap, palette, legend=legend, width_in=inches(width), font_size=font_size)
    if is_sweep(run):
        from reportgen.sweep.render import printed_figure as of_sweep

        figure, style = of_sweep(Sweep.open(run), figure_id, style)
    else:
        figure, style = printed_figure(Run.open(run), figure_id, style)
    if format_ == "json" and isinstance(figure.chart, Kept):
        raise as_drawn(figure)
    path = out or Path(f"{figure_id}.{ENDINGS[format_]}")
    content, problem = attempt(lambda: FORMATS[format_](figure, style))
    if content is None:
        raise FigureError(f"Figure {figure_id} could not be drawn: {problem}")
    write_atomic(path, content)
    print(path)
