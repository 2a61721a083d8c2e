"""Whether the pretend device refuses what a real one refuses: `python -m tests.devices.tried cuda` prints JSON.

Name of the trial -> the error's class, or "" where there was none; and what the self-check of mini said on the device,
before and after one of its operators was broken.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import torch

from tests.devices import pretend


def trials(kind: str) -> dict[str, Callable[[], object]]:
    """What is tried."""
    here, there = torch.rand(3, 3), torch.rand(3, 3).to(kind)
    return {
        "product of both": lambda: there @ here,
        "sum of both": lambda: there + here,
        "number of the CPU": lambda: there + here[0, 0],
        "float64": lambda: there.double(),
        "generator of the CPU": lambda: torch.rand(3, generator=torch.Generator(), device=kind),
        "numpy": lambda: there.numpy(),
        "entr": lambda: torch.special.entr(there),
        "qr": lambda: torch.linalg.qr(there),
    }


def error_of(trial: Callable[[], object]) -> str:
    """The class of what it raises."""
    try:
        trial()
    except (RuntimeError, TypeError) as error:  # NotImplementedError is a RuntimeError
        return type(error).__name__
    return ""


def counted(kind: str) -> dict[str, dict[str, int]]:
    """Transfers of one line each."""
    there = torch.rand(3, 3).to(kind)
    lines: dict[str, Callable[[], object]] = {
        "item": lambda: there[0, 0].item(),
        "mask": lambda: there[there > 0.5],
        "copy": lambda: there.cpu(),
        "list as index": lambda: there[[0, 1]],
        "upload": lambda: torch.ones(3).to(kind),
        "nothing": lambda: (there @ there).softmax(-1),
        "filled by mask": lambda: there.masked_fill(there > 2, 1.0),
    }
    found = {}
    for name, line in lines.items():
        pretend.seen.clear()
        line()
        kinds = {kind for kind, _, _ in pretend.seen}
        found[name] = {k: sum(n for (kind, _, _), n in pretend.seen.items() if kind == k) for k in sorted(kinds)}
    return found


def main(kind: str) -> None:
    """Print what came of it."""
    pretend.become(kind)
    from reportgen.models.load import load

    record = load("mini", device="auto").record
    pretend.breaks("_softmax.out")
    broken = load("mini", device=kind).record
    found = {
        "errors": {name: error_of(trial) for name, trial in trials(kind).items()},
        "counted": counted(kind),
        "dtype": record.dtype,
        "check": record.self_check is not None and record.self_check.passed,
        "broken": broken.self_check is not None and broken.self_check.passed,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
