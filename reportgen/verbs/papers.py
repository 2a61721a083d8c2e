"""Verbs for who writes a paper about a stored run: methods. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reportgen.errors import SettingsError, nearest
from reportgen.verbs.options import RunDir

FORMATS = ("text", "md", "latex", "card")


def methods_verb(
    run: RunDir,
    format_: Annotated[
        str, typer.Option("--format", help="text, md, latex, or card: a section of a Hugging Face model card.")
    ] = "text",
    suite: Annotated[
        list[str] | None,
        typer.Option("--suite", metavar="NAME,FILE.py", help="Suites to describe; files of your own. (default: all)"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write. (default: print it)")] = None,
    crate: Annotated[
        bool, typer.Option("--crate", help="Write ro-crate-metadata.json into the run folder instead.")
    ] = False,
) -> None:
    """Write what was done, for a paper: methods, compute table, error bars, licences, sources; or a model card."""
    from reportgen import suites
    from reportgen.files import write_atomic
    from reportgen.methods import crate as crates
    from reportgen.methods.account import account
    from reportgen.methods.card import card
    from reportgen.methods.write import FORMATS as WRITERS
    from reportgen.runfolder import Run

    if format_ not in FORMATS:
        raise SettingsError(f"--format {format_!r}.", nearest(format_, FORMATS))
    names = [suites.find(name).name if name.endswith(".py") else name for name in suites.listed(suite or ())]
    opened = Run.open(run)
    if crate:
        print(crates.write(opened))
        return
    found = account(opened, names)
    written = (
        card(opened, found, [row.suite for row in found.compute]) if format_ == "card" else WRITERS[format_](found)
    )
    if out is None:
        typer.echo(written, nl=False)
    else:
        write_atomic(out, written.encode())
        print(out)
