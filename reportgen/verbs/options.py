"""Options that several verbs share, and what they do with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from reportgen.figures.figure import Style
    from reportgen.report.scene import Marks, RunLike

Sets = Annotated[list[str] | None, typer.Option("--set", metavar="SUITE.FIELD=VALUE", help="A suite's setting.")]
Suites = Annotated[
    list[str] | None,
    typer.Option("--suite", metavar="NAME,FILE.py", help="Suites to run, or files of your own. [default: all]"),
]
SuiteFiles = Annotated[
    list[str] | None,
    typer.Option("--suite", metavar="FILE.py", help="Files of suites of your own that the run used: drawn anew."),
]
Overlays = Annotated[
    list[Path] | None,
    typer.Option("--overlay", help="TOML file with your own head sets; the run keeps it in place of those it has."),
]
OverlaysOnce = Annotated[
    list[Path] | None,
    typer.Option("--overlay", help="TOML file with head sets, for this call in place of those that the run keeps."),
]
NoOverlayOnce = Annotated[
    bool, typer.Option("--no-overlay", help="For this call, draw no published and no own head sets.")
]
Published = Annotated[str, typer.Option(metavar="KEY", help="Draw the published heads of this catalogue model.")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/mini.")]
Cmap = Annotated[str, typer.Option(help="Colour scheme of score maps.")]
Legend = Annotated[
    str,
    typer.Option(
        help="Where score maps have their legend: outside, or inside, as published, where it hides no marked head."
    ),
]
Palette = Annotated[str, typer.Option(help="published or safe.")]


def checked_style(cmap: str, palette: str, **more: Any) -> Style:
    """The style of these options; SettingsError names the schemes there are."""
    from reportgen.figures.figure import Style
    from reportgen.figures.marks import check_style

    return check_style(Style(cmap=cmap, palette=palette, **more))


def marks_once(overlay: Sequence[Path] | None, no_overlay: bool) -> Marks:
    """The head sets of this call: those given, none, or those that the run's report draws. SettingsError for both."""
    from reportgen.errors import SettingsError
    from reportgen.report.scene import Marks

    if overlay and no_overlay:
        raise SettingsError("--overlay and --no-overlay contradict each other.", "Give one of them.")
    return Marks(overlays=False if no_overlay else None, overlay_files=tuple(overlay or ()))


def render_run(run: RunLike, style: Style, **options: Any) -> tuple[Path, list[str]]:
    """Write a run's report: the page's path, and a line for each figure that could not be drawn.

    A legend that can't stand inside as asked is said on standard error.
    """
    from reportgen.report.render import render

    undrawn: list[str] = []
    return render(run, style=style, tell=undrawn.append, warn=lambda why: _say([why], ""), **options), undrawn


def finish(page: Path, undrawn: Sequence[str]) -> None:
    """Print where the page is; exit code 1, with the reasons on standard error, where a figure could not be drawn."""
    say_undrawn(undrawn)
    print(page)
    if undrawn:
        raise typer.Exit(1)


def say_undrawn(undrawn: Sequence[str]) -> None:
    """The reasons on standard error, where they are seen last."""
    _say(undrawn, "reportgen: ")


def _say(lines: Sequence[str], before: str) -> None:
    from reportgen.errors import one_line

    for why in lines:
        typer.echo(f"{before}{one_line(why)}", err=True)
