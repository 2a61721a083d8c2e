"""Options shared by several verbs, and how they are applied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from reportgen.figures.theme import Style
    from reportgen.report.build import Marks, RunLike

Sets = Annotated[list[str] | None, typer.Option("--set", metavar="SUITE.FIELD=VALUE", help="Change a suite setting.")]
Suites = Annotated[
    list[str] | None,
    typer.Option("--suite", metavar="NAME,FILE.py", help="Suites to run, by name or your own files. (default: all)"),
]
SuiteFiles = Annotated[
    list[str] | None,
    typer.Option("--suite", metavar="FILE.py", help="Files of your own suites used by the run, to redraw them."),
]
Overlays = Annotated[
    list[Path] | None,
    typer.Option("--overlay", help="TOML file of your own head sets; replaces those stored in the run."),
]
OverlaysOnce = Annotated[
    list[Path] | None,
    typer.Option("--overlay", help="TOML file of head sets, for this call only, instead of those stored in the run."),
]
NoOverlayOnce = Annotated[
    bool, typer.Option("--no-overlay", help="For this call, draw neither published nor user head sets.")
]
Published = Annotated[str, typer.Option(metavar="KEY", help="Draw the published heads of this catalogue model.")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/mini.")]
Cmap = Annotated[str, typer.Option(help="Colour scheme of score maps.")]
Legend = Annotated[
    str,
    typer.Option(help="Legend of score maps: outside, or inside as in the papers, unless it would hide a marked head."),
]
Palette = Annotated[str, typer.Option(help="published or safe.")]


def checked_style(cmap: str, palette: str, **more: Any) -> Style:
    """The style of these options; SettingsError lists the available schemes."""
    from reportgen.figures.chart_data import check_style
    from reportgen.figures.theme import Style

    return check_style(Style(cmap=cmap, palette=palette, **more))


def tell_empty(overlay: Sequence[Path] | None) -> None:
    """Classes without heads in the user's files, on standard error; the files are checked."""
    from reportgen.published import empty_classes, load_user

    for path in overlay or ():
        load_user(path)
        _say(empty_classes(path), "")


def marks_once(overlay: Sequence[Path] | None, no_overlay: bool) -> Marks:
    """The head sets of this call: those given, none, or those of the run's report. SettingsError if both are given."""
    from reportgen.errors import SettingsError
    from reportgen.report.build import Marks

    if overlay and no_overlay:
        raise SettingsError("--overlay and --no-overlay contradict each other.", "Give one of them.")
    tell_empty(overlay)
    return Marks(overlays=False if no_overlay else None, overlay_files=tuple(overlay or ()))


def render_run(run: RunLike, style: Style, **options: Any) -> tuple[Path, list[str]]:
    """Write a run's report; returns the page's path, and a line for each figure that could not be drawn.

    A legend that can't stand inside as asked is said on standard error.
    """
    from reportgen.report.render import render

    undrawn: list[str] = []
    return render(run, style=style, tell=undrawn.append, warn=lambda why: _say([why], ""), **options), undrawn


def finish(page: Path, undrawn: Sequence[str]) -> None:
    """Print the page's path; exit 1, with the reasons on standard error, if a figure could not be drawn."""
    say_undrawn(undrawn)
    print(page)
    if undrawn:
        raise typer.Exit(1)


def say_undrawn(undrawn: Sequence[str]) -> None:
    """Print the reasons on standard error, last, where they are seen."""
    _say(undrawn, "reportgen: ")


def _say(lines: Sequence[str], before: str) -> None:
    from reportgen.errors import one_line

    for why in lines:
        typer.echo(f"{before}{one_line(why)}", err=True)
