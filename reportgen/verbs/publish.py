"""import, compare and site: what is made of scores and runs that are there already; torch is never imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reportgen.verbs.options import Cmap, Overlays, Palette, Published, checked_style, render_run

Out = Annotated[Path, typer.Option(help="Folder that the run folder goes into.")]
Name = Annotated[str, typer.Option(help="Name of the run folder. [default: from the model's name]")]


def import_verb(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, Parquet or NPY file, one row per head.")],
    model_name: Annotated[str, typer.Option(help="The model that the scores are of.")],
    layers: Annotated[int, typer.Option(metavar="L", help="Its layers.")],
    heads: Annotated[int, typer.Option(metavar="H", help="Its query heads per layer.")],
    out: Out = Path("runs"),
    name: Name = "",
    overlay: Overlays = None,
    published: Published = "",
    cmap: Cmap = "viridis",
    palette: Palette = "published",
) -> None:
    """Make a run, with figures and report, from scores computed elsewhere.

    The table has columns layer and head and one column per measure, or one row per head in layer-major order.
    """
    from reportgen.imported.store import Source, import_table

    style = checked_style(cmap, palette)
    run = import_table(table, Source(model_name, layers, heads, published), out, name, tuple(overlay or ()))
    print(render_run(run, style))
