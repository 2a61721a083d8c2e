"""Options that several verbs share, and what they do with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from reportgen.figures.figure import Style
    from reportgen.report.scene import RunLike

Sets = Annotated[list[str] | None, typer.Option("--set", metavar="SUITE.FIELD=VALUE", help="A suite's setting.")]
Overlays = Annotated[list[Path] | None, typer.Option("--overlay", help="TOML file with your own head sets.")]
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


def render_run(run: RunLike, style: Style, **options: Any) -> Path:
    """Write a run's report; the page's path. What could not be drawn as asked is said on stderr."""
    from reportgen.report.render import render

    return render(run, style=style, warn=lambda words: print(words, file=sys.stderr), **options)
