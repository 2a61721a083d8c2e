"""The engine `local`: one member after another, in this process."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from reportgen import runner
from reportgen.errors import UserError, one_line
from reportgen.manifest import Manifest
from reportgen.sweep.work import Task


@dataclass(frozen=True)
class Ended:
    """A member's end: its run folder's manifest, or the reason why there is none."""

    slug: str
    manifest: Manifest | None
    error: str = ""
    elapsed_s: float = 0.0


class Engine(Protocol):
    """Who scores the members. Entered before the first member, left after the last one or on Ctrl-C."""

    words: str  # for sweep.json

    @property
    def slots(self) -> int:
        """How many members run at once."""
        ...

    def __enter__(self) -> Engine: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    def score(self, tasks: Sequence[Task]) -> Iterator[Ended]:
        """Score every task and yield each as it ends, its run.json written. A failure never stops the others."""
        ...


class Watcher(runner.Listener, Protocol):
    """A runner's listener that is also told which member begins."""

    def member_started(self, slug: str) -> None: ...


class Local:
    """Scores in this process; a member's suites are told to `watcher` as they go."""

    words = "local"
    slots = 1

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher

    def __enter__(self) -> Local:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def score(self, tasks: Sequence[Task]) -> Iterator[Ended]:
        """Each task in turn."""
        for task in tasks:
            self.watcher.member_started(task.slug)
            started = time.monotonic()
            manifest, error = self._attempt(task)
            yield Ended(task.slug, manifest, error, time.monotonic() - started)

    def _attempt(self, task: Task) -> tuple[Manifest | None, str]:
        try:
            return runner.run(task.options, self.watcher).manifest, ""
        except UserError as error:
            return None, str(error)
        except Exception as error:  # noqa: BLE001  the boundary: one member's bug must not stop the sweep
            if sys.flags.dev_mode:  # python -X dev shows where it broke
                traceback.print_exc()
            return None, one_line(f"{type(error).__name__}: {error}")
