"""suites and published: what there is."""

from __future__ import annotations

from typing import Annotated

import typer


def suites_verb(name: Annotated[str, typer.Argument(help="Show one suite's settings and measures.")] = "") -> None:
    """List the suites, or one suite's settings, measures and formulas."""
    from reportgen.listing import print_suite, print_suites

    if name:
        print_suite(name)
    else:
        print_suites()


def published_verb(model: Annotated[str, typer.Argument(help="Hub id or catalogue key.")] = "") -> None:
    """List the heads that papers have classified, with their sources."""
    from reportgen.listing import print_published

    print_published(model)
