"""check: whether a LaTeX paper still says what its runs say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reportgen.verbs.options import NoOverlayOnce, OverlaysOnce, marks_once


def check_verb(
    paper: Annotated[Path, typer.Argument(metavar="PAPER.tex", help="The paper's main LaTeX file.")],
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Run to compare with. [default: where numbers.tex lies]")
    ] = None,
    overlay: OverlaysOnce = None,
    no_overlay: NoOverlayOnce = False,
) -> None:
    """Compare a paper's numbers, captions and figures with their run; exit 1 where one no longer matches."""
    from reportgen.report.paper import check_paper
    from reportgen.report.text import plural
    from reportgen.runfolder import Run

    found = check_paper(paper, Run.open(run) if run else None, marks_once(overlay, no_overlay))
    compared = f"{plural(found.numbers, 'number')} and {plural(found.figures, 'figure')}"
    for problem in found.problems:
        print(problem)
    if found.problems:
        print(f"{paper}: {compared} compared, {plural(len(found.problems), 'problem')}.")
        raise typer.Exit(1)
    print(f"{paper}: {compared} agree with the run.")
