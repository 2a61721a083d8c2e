"""suite check: does a suite keep to the rules, on small models?"""

from __future__ import annotations

from typing import Annotated

import typer

from reportgen.verbs.options import Sets


def suite_check_verb(
    suite: Annotated[str, typer.Argument(metavar="FILE.py|NAME", help="A file with one Suite, or a suite's name.")],
    model: Annotated[
        str, typer.Option(help="Check on this model. [default: two random ones of 3 layers of 4 heads]")
    ] = "",
    set_: Sets = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: torch's choice.")] = 1,
) -> None:
    """Run a suite on small seeded models and check shapes, ranges, repeats, inputs, figures. Exit 1 if one fails."""
    from reportgen import suites
    from reportgen.config import parse_set
    from reportgen.errors import SettingsError

    found = suites.find(suite)
    given = parse_set(set_ or ())
    for name in given.keys() - {found.name}:
        raise SettingsError(
            f"--set {name}.*: the suite is called {found.name}.", f"Type --set {found.name}.FIELD=VALUE."
        )
    found.make_settings("quick", {**found.check.settings, **given.get(found.name, {})})  # told before a model is made

    from reportgen.models.load import set_threads
    from reportgen.suitecheck.checks import Asked, run_checks
    from reportgen.suitecheck.line import FAIL, NOT_RUN

    set_threads(threads)
    lines = []
    for line in run_checks(Asked(found, suite, given.get(found.name, {})), model=model):
        print(line, flush=True)
        lines.append(line.status)
    failed, left_out = lines.count(FAIL), lines.count(NOT_RUN)
    print(f"{found.name}: {len(lines) - failed - left_out} checks hold, {failed} fail, {left_out} were not run.")
    if failed:
        raise typer.Exit(1)
