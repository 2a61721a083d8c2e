"""Lists for the terminal: suites, their settings and formulas, published heads."""

from __future__ import annotations

import dataclasses
import io
import sys

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from reportgen import suites
from reportgen.errors import SettingsError, nearest
from reportgen.scores import head_name
from reportgen.suites.settings import help_of

MOST_COLUMNS = 100_000  # of a line in a pipe: nothing is cut or wrapped there


def table(*names: str) -> Table:
    """An empty table whose cells are wrapped where they have to be and never cut."""
    made = Table(box=None, pad_edge=False)
    for name in names:
        made.add_column(name, overflow="fold")
    return made


def show(*parts: RenderableType) -> None:
    """Print to standard output: as wide as the terminal, and a whole row per line where there is none."""
    if sys.stdout.isatty():
        Console(highlight=False).print(*parts, sep="\n")
        return
    text = io.StringIO()
    Console(file=text, width=MOST_COLUMNS, highlight=False, color_system=None).print(*parts, sep="\n")
    print("\n".join(line.rstrip() for line in text.getvalue().rstrip("\n").split("\n")))


def print_suites() -> None:
    """A line per suite: name, measures, what it does."""
    rows = table("suite", "measures", "what it does")
    for suite in suites.known().values():
        rows.add_row(suite.name, ", ".join(m.name for m in suite.measures), Text(suite.summary))
    show(rows)


def print_suite(name: str) -> None:
    """One suite's settings (with defaults and help) and its measures (with formulas)."""
    suite = suites.find(name)
    settings = table("setting", "default", "meaning")
    for f in dataclasses.fields(suite.settings):
        settings.add_row(f"{suite.name}.{f.name}", Text(repr(f.default)), Text(help_of(f)))
    measures = table("measure", "formula")
    for measure in suite.measures:
        measures.add_row(measure.name, Text(measure.formula))
    show(Text(f"{suite.name}: {suite.title}\n{suite.summary}\n"), settings, "", measures)


def print_published(model: str) -> None:
    """The catalogue, or one model's entries: class, heads, whether confirmed, source."""
    from reportgen.published.catalogue import load_catalogue

    catalogue = load_catalogue()
    entries = [e for e in catalogue.entries if model in ("", e.model, e.tl_official_name)]
    if not entries:
        names = {e.model for e in catalogue.entries} | {e.tl_official_name for e in catalogue.entries}
        raise SettingsError(f"No published heads for {model!r}.", nearest(model, names))
    rows = table("model", "class", "heads", "list", "source")
    for e in entries:
        heads = " ".join(head_name(layer, head) for layer, head in e.heads) or "none known"
        rows.add_row(e.model, Text(e.label), heads, "confirmed" if e.verified else "unconfirmed", Text(e.paper))
    show(rows)
