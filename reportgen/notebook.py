"""How far a run is, shown where it was called: one line that a notebook rewrites, or bars on a terminal."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reportgen.errors import one_line
from reportgen.manifest import SuiteRecord
from reportgen.progress import duration, took
from reportgen.runner import Listener, Silent
from reportgen.suites.base import Suite

EVERY_S = 0.5  # between two changes of the line


def in_notebook() -> bool:
    """Whether this is a Jupyter kernel; IPython is not imported where nobody else did."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def listening(progress: bool | None) -> Iterator[Listener]:
    """Who is told of a run's progress. None: a notebook or a terminal is, a script's log is not."""
    if progress is not False and in_notebook():
        yield Line()
        return
    if progress or (progress is None and sys.stderr.isatty()):
        from reportgen.console import Reporter

        with Reporter().live() as reporter:
            yield reporter
        return
    yield Silent()


class Line:
    """One line of HTML in a notebook: what is going on, a bar of the whole run, the time left."""

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
        """A step of the run in words."""
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
        """The share of the whole run that is done, and the seconds left."""
        self._share, self._left = share, left_s
