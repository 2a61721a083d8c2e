"""What the terminal shows of a sweep: one bar on a terminal, plain lines in a pipe, JSON lines with --json."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from reportgen.console import one_line_kept_indent

if TYPE_CHECKING:
    from reportgen.manifest import SuiteRecord
    from reportgen.suites.base import Suite
    from reportgen.sweep.driver import Tally
    from reportgen.sweep.stored import MemberRecord


def about(seconds: float | None) -> str:
    """`about 4 min`, for an estimate."""
    if seconds is None:
        return "unknown"
    if seconds < 100:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


class SweepReporter:
    """Shows a sweep's progress; the driver's Listener. Standard error carries progress, standard output results."""

    def __init__(self, json_lines: bool = False) -> None:
        self.json_lines = json_lines
        self.console = Console(stderr=True, highlight=False)
        self.progress: Progress | None = None
        self.task: TaskID | None = None
        self.member = ""
        self._last_words = 0.0

    @contextmanager
    def live(self) -> Iterator[SweepReporter]:
        """A bar for the time of the block, where there is a terminal."""
        if self.json_lines or not self.console.is_terminal:
            yield self
            return
        columns = (
            SpinnerColumn(), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )  # fmt: skip
        with Progress(*columns, console=self.console, transient=True) as self.progress:
            yield self
        self.progress = None

    def stage(self, words: str) -> None:
        """A step of the sweep in words; the stages of single members are left to the bar."""
        if not self.member:
            self._event("stage", words, words=words)

    def planned(self, name: str, engine: str, tally: Tally) -> None:
        """What is there to do."""
        if self.progress is not None:
            self.task = self.progress.add_task("", total=tally.total, completed=tally.kept)
        left = tally.total - tally.kept
        line = f"{name}: {tally.total} members, {tally.kept} finished already, {left} to score ({engine})"
        self._event("sweep", line, name=name, engine=engine, **_numbers(tally))

    def member_started(self, slug: str) -> None:
        """A member begins, in this process."""
        self.member = slug
        if self.progress is None:
            self._event("member", f"{slug}", member=slug)

    def member_ended(self, member: MemberRecord, tally: Tally) -> None:
        """A member is done or failed."""
        words = f"{tally.done} done, {tally.running} running, {tally.failed} failed"
        if tally.done + tally.failed < tally.total:
            words += f", {about(tally.eta_s)} left"
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=tally.done + tally.failed, description=words)
        why = f": {member.error}" if member.error else ""
        line = f"  {member.slug} {member.status} in {member.elapsed_s:.1f} s{why}  [{words}]"
        self._event("member_end", line, member=member.slug, status=member.status, elapsed_s=member.elapsed_s,
                    error=member.error, **_numbers(tally))  # fmt: skip
        self.member = ""

    def suite_started(self, suite: Suite, index: int, total: int) -> None:
        """A suite of the present member begins."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, description=f"{self.member}: {suite.title}")

    def suite_progress(self, suite: Suite, done: int, total: int, words: str) -> None:
        """A step of a suite; a pipe gets a line every ten seconds at most."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, description=f"{self.member}: {suite.title}, {words}")
        elif time.monotonic() - self._last_words > 10:
            self._last_words = time.monotonic()
            self._event("progress", f"  {self.member}: {words} ({done}/{total})", member=self.member,
                        suite=suite.name, done=done, total=total, words=words)  # fmt: skip

    def overall(self, share: float, left_s: float) -> None:
        """The share of a member's own run; a sweep shows how many members are done."""

    def suite_ended(self, suite: Suite, record: SuiteRecord, kept: bool) -> None:
        """A suite is done, failed or skipped, or was kept from an earlier sweep."""
        if self.json_lines:
            self._event("suite_end", "", member=self.member, suite=suite.name, status=record.status, kept=kept,
                        elapsed_s=record.elapsed_s, error=record.error)  # fmt: skip

    def _event(self, event: str, line: str, **fields: object) -> None:
        if self.json_lines:
            print(json.dumps({"event": event, **fields}), flush=True)
        else:
            self.console.print(one_line_kept_indent(line), markup=False, soft_wrap=True)


def _numbers(tally: Tally) -> dict[str, object]:
    return {
        "total": tally.total, "n_done": tally.done, "n_failed": tally.failed, "n_running": tally.running,
        "n_kept": tally.kept, "eta_s": tally.eta_s,
    }  # fmt: skip
