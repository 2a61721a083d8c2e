"""docs/glossary.md from what the suites declare, docs/cli.md from the command line itself.

`python -m tests.docs.pages` writes both anew.
"""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from reportgen import suites
from reportgen.cli import app
from reportgen.report.about import source
from reportgen.suites.base import Measure, Suite

DOCS = Path(__file__).parents[2] / "docs"


def glossary() -> str:
    """Every score of every suite."""
    parts = [
        "# Glossary of scores",
        "",
        "Every score is one number per query head and task, with n. The key of a score is `suite/measure/task`.",
        "Intervals are 95 %. The family-wise adjusted p, or the line, comes from the null; captions say how",
        "many draws. `reportgen suites NAME` prints the same formulas and the settings they depend on.",
        "",
        "This page is generated from the suites' declarations: `python -m tests.docs.pages`.",
    ]
    for suite in (*suites.BUILT_IN, *suites.STORED):
        parts += _suite(suite)
    return "\n".join(parts) + "\n"


def _suite(suite: Suite) -> Iterator[str]:
    if not suite.measures:
        return
    yield from ("", f"## `{suite.name}`: {suite.title}", "", suite.summary)
    for measure in suite.measures:
        yield from ("", f"### `{suite.name}/{measure.name}`", "", f"**{measure.title}.** {measure.meaning}", "")
        yield f"- formula: `{measure.formula}`"
        yield f"- range: {_range(measure)}"
        yield f"- null: {measure.null or 'that of the underlying scores'}"
        if measure.source:
            yield f"- source: {source(measure.source)}"


def _range(measure: Measure) -> str:
    low, high = measure.range
    unit = f", {measure.unit}" if measure.unit else ""
    if math.isinf(low) and math.isinf(high):
        return f"no bound{unit}"
    if math.isinf(high):
        return f"from {low:g}{unit}"
    return f"{low:g} to {high:g}{unit}"


def root() -> Any:
    """The command line as click sees it."""
    return typer.main.get_command(app)


def commands(command: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb with its words: (("mini", "train"), command)."""
    command = command or root()
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from commands(inner, (*words, name))
        else:
            yield (*words, name), inner


def cli() -> str:
    """Every verb with its arguments and options."""
    parts = [
        "# The command line",
        "",
        "The output of `reportgen VERB --help`, on one page. `reportgen --version` prints the version.",
        "",
        "Exit codes: 0 success; 1 a suite or check failed; 2 bad input, named in one line; 130 Ctrl-C;",
        "143 SIGTERM.",
        "",
        "This page is generated from the command line: `python -m tests.docs.pages`.",
    ]
    for words, command in commands():
        parts += _verb(words, command)
    return "\n".join(parts) + "\n"


def _verb(words: tuple[str, ...], command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    shown = [_name(p) if p.required else f"[{_name(p)}]" for p in arguments]
    yield from ("", f"## reportgen {' '.join(words)}", "", f"`{' '.join(['reportgen', *words, *shown])} [OPTIONS]`")
    yield from ("", " ".join(command.help.split()), "")
    yield from (f"- `{_name(p)}`: {_help(p)}" for p in arguments)
    hints = typing.get_type_hints(inspect.unwrap(command.callback))
    yield from (f"- `{_option(p, str(hints.get(p.name, '')))}`: {_help(p)}" for p in options)


def _name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _option(option: Any, hint: str) -> str:
    names = "/".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    kinds = {"int": "N", "float": "X", "Path": "PATH"}
    kind = next((word for part, word in kinds.items() if part in hint), "WORD")
    return f"{names} {option.metavar or kind}"


def _help(parameter: Any) -> str:
    text = " ".join((parameter.help or "").split())
    default = parameter.default
    if "[default:" in text or default in (None, "", False, ()) or callable(default) or parameter.required:
        return text
    return f"{text} [default: {default}]"


if __name__ == "__main__":
    (DOCS / "glossary.md").write_text(glossary(), "utf-8")
    (DOCS / "cli.md").write_text(cli(), "utf-8")
