"""`reportgen` in processes that can be killed: forked from one that has torch imported, so that each costs little.

started = start("run", folder, out=tmp_path / "said")  # main() in a process of its own
started.wait_until(cpu_s=0.4)  # of its own CPU time, whatever else the machine does
started.send(signal.SIGKILL)
started.end()  # its exit code; minus the signal that ended it
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_METHOD = multiprocessing.get_context("forkserver")
_METHOD.set_forkserver_preload(["tests.faults.preload"])
LIMIT_S = 120.0


@dataclass
class Started:
    """A running `reportgen`."""

    process: Any
    out: Path
    cpu_s: float = 0.0

    def wait_until(self, cpu_s: float = float("inf"), said: str = "", exists: Path | None = None) -> bool:
        """Wait for CPU time, for words in its output or for a file; False when it ended before."""
        end = time.monotonic() + LIMIT_S
        while self.process.is_alive():
            assert time.monotonic() < end, self.text
            with contextlib.suppress(OSError):  # it may end between the two lines
                self.cpu_s = time.clock_gettime((~self.process.pid << 3) | 2)  # clock_getcpuclockid(3) on Linux
            if self.cpu_s >= cpu_s or (said and said in self.text) or (exists is not None and exists.exists()):
                return True
            time.sleep(0.001)
        return False

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.kill(self.process.pid, number)

    def end(self) -> int:
        """Wait for the end; the exit code, or minus the signal."""
        self.wait_until()
        self.process.join()
        return int(self.process.exitcode)

    @property
    def text(self) -> str:
        return self.out.read_text() if self.out.exists() else ""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines it printed whole."""
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{") and line.endswith("}")]

    def ended(self, kept: bool | None = None) -> list[str]:
        """Suites that it said are done; with `kept`, those it kept (or did not keep) from an earlier run."""
        found = [e for e in self.events if e["event"] == "suite_end" and e["status"] == "done"]
        return [e["suite"] for e in found if kept is None or e["kept"] is kept]

    @property
    def complaints(self) -> list[str]:
        """What it printed beside JSON lines."""
        return [line for line in self.text.splitlines() if line and not line.startswith("{")]


def start(*words: str, out: Path, file_limit: int = 0) -> Started:
    """Start `reportgen WORDS`, its output into `out`; no file may grow beyond `file_limit` bytes, when given."""
    process = _METHOD.Process(target=_child, args=(words, out, file_limit))
    process.start()
    return Started(process, out)


def _child(words: tuple[str, ...], out: Path, file_limit: int) -> None:
    from reportgen.cli import main
    from tests.faults.preload import ATTEMPTS

    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    print(*ATTEMPTS, sep="\n", end="", file=sys.stderr)
    sys.argv = ["reportgen", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts with & has it ignored
    if file_limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails with EFBIG instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    main()
