"""Terminal output of a run and of a sweep: progress bars on a terminal, plain lines in a pipe, JSON lines with --json.

NO_COLOR is honoured by rich.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from reportgen.errors import one_line
from reportgen.manifest import SuiteRecord

if TYPE_CHECKING:
    from reportgen.manifest import Manifest
    from reportgen.suites.base import Suite
    from reportgen.sweep.stored import MemberRecord, SweepTally


# Progress of a run: seconds per phase of a suite, the share of the run done, and the time left.

REPORT = "report"  # the part of a run after its suites
OTHER = "other"  # time of a suite before its first progress message
MOST = 0.95  # largest share done of a part that takes longer than estimated
FACTORS = (0.2, 5.0)  # limits for correcting estimates by the time of finished parts
_TASK = re.compile(r"^[^:]*: ")
Clock = Callable[[], float]


def phase_of(words: str) -> str:
    """The phase that a progress line names: "IOI: faithfulness" is "faithfulness"."""
    return _TASK.sub("", words).strip() or OTHER


@dataclass
class Phases:
    """Seconds by phase. Time before a progress message counts for its phase, or for an earlier unfinished one."""

    clock: Clock = time.monotonic
    seconds: dict[str, float] = field(default_factory=dict)
    _at: float = -1.0
    _phase: str = OTHER
    _ended: bool = False

    def start(self) -> None:
        """The suite begins."""
        self._at = self.clock()

    def word(self, done: int, total: int, words: str) -> None:
        """A suite's call of progress(done, total, words)."""
        phase = phase_of(words)
        self._add(phase if self._ended else self._phase)
        self._phase, self._ended = phase, done >= total

    def end(self) -> dict[str, float]:
        """Seconds by phase, longest first; they add up to the suite's time."""
        self._add(OTHER if self._ended else self._phase)
        return dict(sorted(((name, round(s, 3)) for name, s in self.seconds.items()), key=lambda item: -item[1]))

    def _add(self, phase: str) -> None:
        now = self.clock()
        if self._at >= 0:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._at
        self._at = now


def long_phases(seconds: Mapping[str, float]) -> list[str]:
    """Phases that took more than half of the total time."""
    whole = sum(seconds.values())
    return [name for name, s in seconds.items() if whole > 0 and s > whole / 2]


@dataclass
class Pace:
    """The share of a run that is done, and the time left.

    estimates  part -> seconds, in the order they run, the report last; None = not estimated, taken as the others' mean

    Finished parts count with their actual time; the others with their estimate, scaled by how much longer than
    estimated the finished ones took.
    """

    estimates: Mapping[str, float | None]
    clock: Clock = time.monotonic
    took: dict[str, float] = field(default_factory=dict)
    _part: str = ""
    _since: float = 0.0
    _share: float = 0.0

    def start(self, part: str) -> None:
        """A part begins."""
        self._part, self._since = part, self.clock()

    def end(self, part: str, seconds: float) -> None:
        """A part is done, kept or skipped; `seconds` is 0 if it took none."""
        self.took[part] = seconds
        self._part = ""

    def now(self) -> tuple[float, float]:
        """(share done from 0 to 1, seconds left). The share never falls, and is 1 only when every part is done."""
        weights = {part: self.took.get(part, self._expected(part)) for part in self.estimates}
        running = self.clock() - self._since if self._part else 0.0
        expected = weights.get(self._part, 0.0)
        own = min(running, MOST * expected) if running <= expected else running * MOST
        if self._part:
            weights[self._part] = max(expected, running)
        done = sum(self.took[part] for part in self.estimates if part in self.took) + own
        whole = sum(weights.values())
        share = done / whole if whole > 0 else 1.0
        if len(self.took) < len(self.estimates):
            share = min(share, 0.999)
        self._share = max(self._share, share)
        return self._share, max(0.0, whole - done)

    def rounded(self, part: str) -> float | None:
        """The estimate of a part to a tenth of a second, for the record."""
        estimate = self.estimates[part]
        return None if estimate is None else round(estimate, 1)

    def _expected(self, part: str) -> float:
        known = [s for s in self.estimates.values() if s is not None]
        estimate = self.estimates[part]
        return self._factor() * (estimate if estimate is not None else sum(known) / len(known) if known else 60.0)

    def _factor(self) -> float:
        """How much longer than estimated the finished parts took."""
        both = [(s, e) for part, s in self.took.items() if s > 0 and (e := self.estimates.get(part))]
        took, estimated = (sum(side) for side in zip(*both, strict=True)) if both else (1.0, 1.0)
        return min(max(took / estimated, FACTORS[0]), FACTORS[1])


def took(record: SuiteRecord) -> str:
    """`12.3 s (estimated 10 s)`."""
    about = "not estimated" if record.estimate_s is None else f"estimated {duration(record.estimate_s)}"
    return f"{record.elapsed_s:.1f} s ({about})"


def phase_words(record: SuiteRecord, most: int = 3) -> str:
    """The longest phases with seconds and share; a phase of more than half the time is flagged."""
    whole = sum(record.phases.values()) or 1.0
    shown = [f"{name} {s:.1f} s ({s / whole:.0%})" for name, s in list(record.phases.items())[:most]]
    long = [f"more than half: {name}" for name in long_phases(record.phases) if len(record.phases) > 1]
    return "; ".join([", ".join(shown), *long]) if shown else ""


def duration(seconds: float) -> str:
    """`4 s`, `3 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


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
        """Progress bars for the duration of the block, on a terminal."""
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
        """A named step of the run."""
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
        """The share of the run that is done, and the seconds left; printed with the next line."""
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
        """All suites have finished; page, PDF and figures are next."""
        self._event("stage", f"Rendering the report {self._whole()}", words="Rendering the report",
                    share=round(self.share, 3), left_s=round(self.left_s))  # fmt: skip

    def times(self, manifest: Manifest) -> None:
        """Time by suite: a line per suite with its estimate and its longest phases."""
        table = Table("suite", "took", "phases", box=None, pad_edge=False)
        for name, record in manifest.suites.items():
            if record.status != "skipped":
                table.add_row(name, took(record), Text(one_line(phase_words(record))))
        if table.row_count:
            self.console.print(table)

    def left_out(self, lines: Sequence[str]) -> None:
        """Print the data and results that were left out."""
        for line in ["Left out:", *(f"  {line}" for line in lines)] if lines else []:
            self.console.print(one_line_kept_indent(line), markup=False, soft_wrap=True)

    def failed(self, names: Sequence[str]) -> None:
        """Say how to investigate failed suites; the other suites are complete."""
        if names:
            line = f"{', '.join(names)} failed: a bug in reportgen or in the suite. To see where, run it again after"
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
    """How a suite ended; a skipped one is not a failure and shows no time."""
    if record.status == "skipped":
        return f"skipped: {record.error}"
    if kept:
        return "kept from the earlier run"
    return f"{record.status} in {took(record)}" + (f" ({record.error})" if record.error else "")


def one_line_kept_indent(line: str) -> str:
    """`line` with control characters escaped and its indent kept: names in it are untrusted."""
    indent = len(line) - len(line.lstrip(" "))
    return " " * indent + one_line(line)


# What the terminal shows of a sweep: one bar on a terminal, plain lines in a pipe, JSON lines with --json.


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

    def planned(self, name: str, engine: str, tally: SweepTally) -> None:
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

    def member_ended(self, member: MemberRecord, tally: SweepTally) -> None:
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


def _numbers(tally: SweepTally) -> dict[str, object]:
    return {
        "total": tally.total, "n_done": tally.done, "n_failed": tally.failed, "n_running": tally.running,
        "n_kept": tally.kept, "eta_s": tally.eta_s,
    }  # fmt: skip
