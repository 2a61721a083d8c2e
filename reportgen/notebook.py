"""A run in a notebook: the progress of one called from Python, and what a finished one found."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from reportgen.console import duration, took
from reportgen.errors import one_line
from reportgen.manifest import SuiteRecord
from reportgen.runner import Listener, Silent
from reportgen.scores import head_name
from reportgen.suites.base import Suite

if TYPE_CHECKING:
    from reportgen.report.build import RunLike

EVERY_S = 0.5  # between two changes of the line


def in_notebook() -> bool:
    """Whether this is a Jupyter kernel; IPython is not imported if nothing else did."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def listening(progress: bool | None) -> Iterator[Listener]:
    """The listener for a run's progress. None: only in a notebook or on a terminal, not in a script's log."""
    if progress is not False and in_notebook():
        yield ProgressLine()
        return
    if progress or (progress is None and sys.stderr.isatty()):
        from reportgen.console import Reporter

        with Reporter().live() as reporter:
            yield reporter
        return
    yield Silent()


class ProgressLine:
    """One line of HTML in a notebook: the current step, a bar for the run, the time left."""

    def __init__(self) -> None:
        from IPython import display as ipython

        self._said, self._suite, self._at = "", "", 0.0
        self._share, self._left = 0.0, 0.0
        show: Any = ipython.display  # IPython has no types
        self._handle: Any = show(self, display_id=True)

    def _repr_html_(self) -> str:
        bar = f'<progress value="{self._share:.3f}" max="1"></progress>'
        left = f", {duration(self._left)} left" if self._share < 1 else ""
        return f"{bar} {self._share:.0%}{left}. {html.escape(one_line(self._said))}"

    def __repr__(self) -> str:
        return f"{self._share:.0%} {one_line(self._said)}"

    def _tell(self, words: str, *, now: bool = True) -> None:
        self._said = words
        if now or time.monotonic() - self._at > EVERY_S:
            self._at = time.monotonic()
            self._handle.update(self)

    def stage(self, words: str) -> None:
        """A named step of the run."""
        self._tell(words.strip())

    def suite_started(self, suite: Suite, index: int, total: int) -> None:
        """Suite `index` of `total` begins."""
        self._suite = f"[{index + 1}/{total}] {suite.title}"
        self._tell(self._suite)

    def suite_progress(self, suite: Suite, done: int, total: int, words: str) -> None:
        """`done` of `total` steps of a suite."""
        self._tell(f"{self._suite}: {words} ({done}/{total})", now=False)

    def suite_ended(self, suite: Suite, record: SuiteRecord, kept: bool) -> None:
        """A suite is done, failed or skipped, or was kept from an earlier run."""
        how = "kept from the earlier run" if kept else f"{record.status} in {took(record)}"
        self._tell(f"{self._suite}: {how}{f' ({record.error})' if record.error else ''}")

    def overall(self, share: float, left_s: float) -> None:
        """The share of the run that is done, and the seconds left."""
        self._share, self._left = share, left_s


# A run as a notebook shows it: what it found, the highest heads, and where its page is. No figure is drawn.

MOST_ROWS = 8


def first_screen(run: RunLike) -> str:
    """HTML of a few lines; every word from the run is escaped. Raises UserError for a damaged run."""
    from reportgen.figures.captions import model_name
    from reportgen.report.build import Marks, scene
    from reportgen.report.labels import score_names
    from reportgen.report.text import clean, interval, number
    from reportgen.report.verdicts import FIRST, ranked, verdicts

    seen = scene(run, None, None, Marks(overlays=False))
    done = [name for name in seen.names if name in seen.results]
    lines = ranked([v for name in done for v in verdicts(seen.suites.get(name), seen.results[name], "")])
    findings = Markup("").join(Markup("<li>{}</li>").format(clean(v.text)) for v in lines[:FIRST])
    names = score_names(seen.results.values())
    rows = []
    for scores in (s for name in done for s in seen.results[name].scores):
        order = scores.ranking()
        if order:
            best = order[0]
            low, high = (None if grid is None else float(grid[best]) for grid in (scores.low, scores.high))
            cells = (names[scores.key], head_name(*best), number(float(scores.values[best])), interval(low, high))
            rows.append(Markup("").join(Markup("<td>{}</td>").format(clean(cell)) for cell in cells))
    table = Markup("").join(Markup("<tr>{}</tr>").format(row) for row in rows[:MOST_ROWS])
    more = Markup("<p>and {} more scores</p>").format(len(rows) - MOST_ROWS) if len(rows) > MOST_ROWS else ""
    name = model_name(seen.view(done[0])) if done else clean(run.manifest.model.name)
    head = Markup("<tr><th>Score</th><th>Highest head</th><th>Value</th><th>95 %</th></tr>")
    top = Markup("<h3>Attention heads of {}</h3><ul>{}</ul>").format(clean(name), findings)
    return str(top + Markup("<table>{}{}</table>").format(head, table) + escape(more) + _link(run.path))


def _link(folder: Path) -> Markup:
    page = folder / "report" / "index.html"
    if page.is_file():
        return Markup('<p><a href="{}">The full report</a></p>').format(page.as_posix())
    return Markup("<p>No report yet: <code>reportgen.render(run)</code></p>")
