"""Lists for the terminal: suites, their settings and formulas, published heads."""

from __future__ import annotations

import dataclasses

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reportgen import suites
from reportgen.errors import SettingsError, nearest
from reportgen.scores import head_name
from reportgen.suites.settings import help_of


def print_suites() -> None:
    """A line per suite: name, measures, what it does."""
    table = Table("suite", "measures", "what it does", box=None, pad_edge=False)
    for suite in suites.known().values():
        table.add_row(suite.name, ", ".join(m.name for m in suite.measures), Text(suite.summary))
    Console(highlight=False).print(table)


def print_suite(name: str) -> None:
    """One suite's settings (with defaults and help) and its measures (with formulas)."""
    suite, console = suites.find(name), Console(highlight=False)
    console.print(Text(f"{suite.name}: {suite.title}\n{suite.summary}\n"))
    table = Table("setting", "default", "meaning", box=None, pad_edge=False)
    for f in dataclasses.fields(suite.settings):
        table.add_row(f"{suite.name}.{f.name}", Text(repr(f.default)), Text(help_of(f)))
    console.print(table)
    console.print()
    measures = Table("measure", "formula", box=None, pad_edge=False)
    for measure in suite.measures:
        measures.add_row(measure.name, Text(measure.formula))
    console.print(measures)


def print_published(model: str) -> None:
    """The catalogue, or one model's entries: class, heads, whether confirmed, source."""
    from reportgen.published.catalogue import load_catalogue

    catalogue = load_catalogue()
    entries = [e for e in catalogue.entries if model in ("", e.model, e.tl_official_name)]
    if not entries:
        names = {e.model for e in catalogue.entries} | {e.tl_official_name for e in catalogue.entries}
        raise SettingsError(f"No published heads for {model!r}.", nearest(model, names))
    table = Table("model", "class", "heads", "list", "source", box=None, pad_edge=False)
    for e in entries:
        heads = " ".join(head_name(layer, head) for layer, head in e.heads) or "none known"
        table.add_row(e.model, Text(e.label), heads, "confirmed" if e.verified else "unconfirmed", Text(e.paper))
    Console(highlight=False).print(table)
