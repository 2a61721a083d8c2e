"""What the terminal shows: bars on a terminal, plain lines in a pipe, JSON lines with --json.

NO_COLOR is honoured by rich.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from reportgen.errors import one_line
from reportgen.progress import duration, phase_words, took

if TYPE_CHECKING:
    from reportgen.manifest import Manifest, SuiteRecord
    from reportgen.suites.base import Suite


class Reporter:
    """Shows a run's progress; the runner's Listener. Standard error carries progress, standard output results."""

    def __init__(self, json_lines: bool = False) -> None:
        self.json_lines = json_lines
        self.console = Console(stderr=True, highlight=False)
        self.progress: Progress | None = None
        self.task: TaskID | None = None
        self._last_words = 0.0
        self.share, self.left_s = 0.0, 0.0

    @contextmanager
    def live(self) -> Iterator[Reporter]:
        """Bars for the time of the block, where there is a terminal."""
        if self.json_lines or not self.console.is_terminal:
            yield self
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as self.progress:
            yield self
        self.progress = None

    def stage(self, words: str) -> None:
        """A step of the run in words."""
        self._event("stage", words, words=words)

    def suite_started(self, suite: Suite, index: int, total: int) -> None:
        """Suite `index` of `total` begins."""
        if self.progress is not None:
            self.task = self.progress.add_task(f"[{index + 1}/{total}] {suite.title}", total=1.0)
            self.progress.update(self.task, completed=self.share)
        self._event("suite", f"[{index + 1}/{total}] {suite.title}", suite=suite.name, index=index, total=total)

    def suite_progress(self, suite: Suite, done: int, total: int, words: str) -> None:
        """`done` of `total` steps of a suite; a pipe gets a line every ten seconds at most."""
        if self.progress is not None and self.task is not None:
            line = f"{suite.title}: {words} ({done}/{total})"
            self.progress.update(self.task, completed=self.share, description=f"{line} {self._whole()}")
        elif self.json_lines or time.monotonic() - self._last_words > 10:
            self._last_words = time.monotonic()
            self._event(
                "progress",
                f"  {words} ({done}/{total}) {self._whole()}",
                suite=suite.name,
                done=done,
                total=total,
                words=words,
                share=round(self.share, 3),
                left_s=round(self.left_s),
            )

    def overall(self, share: float, left_s: float) -> None:
        """The share of the whole run that is done, and the seconds left; said with the next line."""
        self.share, self.left_s = share, left_s

    def suite_ended(self, suite: Suite, record: SuiteRecord, kept: bool) -> None:
        """A suite is done, failed or skipped, or was kept from an earlier run."""
        if self.progress is not None and self.task is not None:
            self.progress.remove_task(self.task)
            self.task = None
        line = f"  {suite.name}: {_ended(record, kept)} {self._whole()}"
        self._event("suite_end", line, style="red" if record.status == "failed" else "", suite=suite.name,
                    status=record.status, kept=kept, elapsed_s=record.elapsed_s, estimate_s=record.estimate_s,
                    phases=record.phases, error=record.error, share=round(self.share, 3))  # fmt: skip

    def rendering(self) -> None:
        """All suites are done with; page, PDF and figures are next."""
        self._event("stage", f"Rendering the report {self._whole()}", words="Rendering the report",
                    share=round(self.share, 3), left_s=round(self.left_s))  # fmt: skip

    def times(self, manifest: Manifest) -> None:
        """Where the time went: a line per suite with its estimate and its longest phases."""
        table = Table("suite", "took", "phases", box=None, pad_edge=False)
        for name, record in manifest.suites.items():
            if record.status != "skipped":
                table.add_row(name, took(record), Text(one_line(phase_words(record))))
        if table.row_count:
            self.console.print(table)

    def left_out(self, lines: Sequence[str]) -> None:
        """What the run was given or brings and does not have."""
        for line in ["Left out:", *(f"  {line}" for line in lines)] if lines else []:
            self.console.print(one_line_kept_indent(line), markup=False, soft_wrap=True)

    def failed(self, names: Sequence[str]) -> None:
        """What to do about suites that ended in an error: the other suites are whole."""
        if names:
            line = f"{', '.join(names)} failed: a fault of reportgen or of the suite. Where: the same command after"
            self.console.print(
                f"{line} 'python -X dev -m', with --suite {','.join(names)}.", markup=False, soft_wrap=True
            )

    def _whole(self) -> str:
        return f"[{self.share:.0%} of the run, {duration(self.left_s)} left]"

    def _event(self, event: str, line: str, style: str = "", **fields: object) -> None:
        if self.json_lines:
            print(json.dumps({"event": event, **fields}), flush=True)
        else:
            self.console.print(one_line_kept_indent(line), style=style or None, markup=False, soft_wrap=True)


def _ended(record: SuiteRecord, kept: bool) -> str:
    """How a suite ended; a skipped one is no fault and took no time worth naming."""
    if record.status == "skipped":
        return f"skipped: {record.error}"
    if kept:
        return "kept from the earlier run"
    return f"{record.status} in {took(record)}" + (f" ({record.error})" if record.error else "")


def one_line_kept_indent(line: str) -> str:
    """`line` with control characters escaped and its indent kept: names in it are untrusted."""
    indent = len(line) - len(line.lstrip(" "))
    return " " * indent + one_line(line)
