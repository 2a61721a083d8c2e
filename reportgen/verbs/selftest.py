"""selftest: do the scores give the answers that are known?"""

from __future__ import annotations

from typing import Annotated

import typer


def selftest_verb(threads: Annotated[int, typer.Option(help="CPU threads; 0: torch's choice.")] = 1) -> None:
    """Check the scores on planted models and identities: a line per check, offline, in seconds. Exit 1 if one fails."""
    from reportgen.models.load import set_threads
    from reportgen.selftest.checks import run_checks

    set_threads(threads)
    failed = total = 0
    for name, found in run_checks():
        total += 1
        failed += not found.holds
        print(
            f"{'ok  ' if found.holds else 'FAIL'} {name:<28} {found.measured}   (expected {found.expected})", flush=True
        )
    print(f"{total - failed} of {total} checks hold.")
    if failed:
        raise typer.Exit(1)
