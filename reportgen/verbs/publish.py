"""import, compare and site: what is made of scores and runs that are there already; torch is never imported."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from reportgen.verbs.options import (
    Cmap,
    NoOverlayOnce,
    Overlays,
    Palette,
    Published,
    SuiteFiles,
    checked_style,
    finish,
    marks_once,
    render_run,
)

Out = Annotated[Path, typer.Option(help="Folder that the run folder goes into.")]
Name = Annotated[str, typer.Option(help="Name of the run folder. [default: from the model's name]")]


def import_verb(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, TSV, Parquet or NPY file.")],
    model_name: Annotated[str, typer.Option(help="The model that the scores are of.")],
    layers: Annotated[int, typer.Option(metavar="L", help="Its layers.")],
    heads: Annotated[int, typer.Option(metavar="H", help="Its query heads per layer.")],
    base: Annotated[
        str,
        typer.Option(metavar="0|1|layer|head", help="Layers and heads count from 0, from 1, or that one alone from 1."),
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
    from reportgen.imported.store import Source, import_table

    style = checked_style(cmap, palette)
    source = Source(model_name, layers, heads, published, base)
    run = import_table(table, source, out, name, tuple(overlay or ()), lambda words: typer.echo(words, err=True))
    finish(*render_run(run, style))


def compare_verb(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Two to eight run folders.")],
    measure: Annotated[
        list[str] | None,
        typer.Option(metavar="SUITE/MEASURE", help="Measure to draw; repeat for more. [default: each suite's first]"),
    ] = None,
    lineage: Annotated[
        bool, typer.Option("--lineage", help="The runs are of one lineage: L1H2 is the same head in all of them.")
    ] = False,
    out: Out = Path("runs"),
    name: Annotated[str, typer.Option(help="Name of the comparison's folder. [default: from the runs' names]")] = "",
    cmap: Cmap = "viridis",
    palette: Palette = "published",
) -> None:
    """Compare runs: difference maps within one lineage, else depth profiles and ranks."""
    from reportgen.compare.store import Asked, compare
    from reportgen.runfolder import Run

    style = checked_style(cmap, palette)
    found = compare([Run.open(path) for path in runs], Asked(tuple(measure or ()), lineage), out, name)
    finish(*render_run(found, style))


def site_verb(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN...", help="Run folders, or folders of run folders.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="site.toml: title, description, url, runs.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the site; an earlier site there is replaced.")] = Path("public"),
    title: Annotated[str, typer.Option(help="Title of the gallery.")] = "",
    url: Annotated[str, typer.Option(help="Address the site will have; needed for sitemap.xml.")] = "",
    suite: SuiteFiles = None,
    no_overlay: NoOverlayOnce = False,
) -> None:
    """Build a static site: a gallery, a report per run, a permalink per figure."""
    from dataclasses import replace

    from reportgen import suites
    from reportgen.site.build import build_site
    from reportgen.site.settings import Site, open_runs, read_site

    suites.choose(suite or ())
    site, listed = read_site(config) if config else (Site(), [])
    site = replace(site, title=title or site.title, url=url or site.url)
    found = open_runs([*listed, *(runs or ())])
    undrawn: list[str] = []
    say = partial(typer.echo, err=True)
    marks = marks_once((), no_overlay)
    index = build_site(found, out, site, lambda *step: say("[{}/{}] {}".format(*step)), undrawn.append, marks)
    if not site.url:
        typer.echo("No sitemap.xml: say where the site will stand with --url https://...", err=True)
    finish(index, undrawn)
