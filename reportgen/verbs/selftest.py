"""selftest: do the scores give the answers that are known?"""

from __future__ import annotations

from typing import Annotated

import typer


def selftest_verb(threads: Annotated[int, typer.Option(help="CPU threads; 0: torch's choice.")] = 1) -> None:
    """Check the scores on planted models and identities: a line per check, offline, in seconds. Exit 1 if one fails.

    The result is kept in the user's cache folder, and runs of the same sources and versions record it.
    """
    from reportgen.models.load import set_threads
    from reportgen.selftest import record
    from reportgen.selftest.checks import run_checks

    set_threads(threads)
    outcomes: dict[str, bool] = {}
    for name, found in run_checks():
        outcomes[name] = found.holds
        print(
            f"{'ok  ' if found.holds else 'FAIL'} {name:<28} {found.measured}   (expected {found.expected})", flush=True
        )
    kept = record.keep(outcomes)
    print(f"{kept.total - len(kept.failed)} of {kept.total} checks hold.")
    if kept.failed:
        raise typer.Exit(1)
