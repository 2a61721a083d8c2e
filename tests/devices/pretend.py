"""Makes this process believe in an accelerator: `become("cuda")` or `become("mps")`, once, before anything is loaded.

Afterwards torch.device("cuda") or ("mps") works as on a machine that has one. `seen` counts what pretend.cpp reports
as (kind, what, place): place is the innermost line of reportgen, as suites/ov.py:47.

    kind        what happened
    download    numbers were copied to the CPU, or an operator had to wait for one
    upload      numbers were copied from the CPU
    mixed       tensors of both in one operator;  float64 on mps;  a CPU generator;  an operator without kernel:
    float64     these four are refused with the error that the real device gives
    generator
    no kernel
"""

from __future__ import annotations

import atexit
import collections
import ctypes
import sys
from pathlib import Path
from typing import Any

import torch

import reportgen
from tests.devices import build

REFUSED = ("mixed", "float64", "generator", "no kernel")
MEMORY = 8 << 30
seen: collections.Counter[tuple[str, str, str]] = collections.Counter()

_PACKAGE = str(Path(reportgen.__file__).parent) + "/"
_LACKING = Path(__file__).with_name("no_mps_kernel.txt")  # in the lowest torch that is supported
_kept: list[Any] = []  # the library and the callback must not be freed


def become(kind: str) -> None:
    """From now on there is a device of this kind. Only one, and only once, in a process."""
    library = ctypes.CDLL(str(build.compiled()))
    for name in ("pretend_held", "pretend_peak"):
        getattr(library, name).restype = ctypes.c_size_t
    library.pretend_become(kind.encode())
    listener = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p)(_note)
    library.pretend_listen(listener)
    _kept.extend((library, listener))
    atexit.register(library.pretend_listen, None)
    if kind == "mps":
        for name in _LACKING.read_text().split():
            for form in (name, f"{name}.out"):
                library.pretend_lacks(f"aten::{form}".encode())
        _patch(torch.backends.mps, is_available=lambda: True)
        _patch(
            torch.mps,
            recommended_max_memory=lambda: MEMORY,
            current_allocated_memory=lambda: library.pretend_held(),
            driver_allocated_memory=lambda: library.pretend_held(),
        )
        return
    _patch(
        torch.cuda,
        is_available=lambda: True,
        device_count=lambda: 1,
        current_device=lambda: 0,
        is_initialized=lambda: True,
        _lazy_init=lambda: None,
        _is_in_bad_fork=lambda: False,
        manual_seed_all=lambda seed: None,
        mem_get_info=lambda device=None: (MEMORY - library.pretend_held(), MEMORY),
        get_device_name=lambda device=None: "pretend",
        get_device_capability=lambda device=None: (8, 0),
        memory_allocated=lambda device=None: library.pretend_held(),
        max_memory_allocated=lambda device=None: library.pretend_peak(),
        reset_peak_memory_stats=lambda device=None: library.pretend_forget_peak(),
    )


def breaks(operator: str) -> None:
    """From now on this operator, as "_softmax.out", gives results that are one percent too large."""
    _kept[0].pretend_breaks(f"aten::{operator}".encode())


def _patch(module: object, **functions: object) -> None:
    for name, function in functions.items():
        setattr(module, name, function)


def _note(kind: bytes, what: bytes) -> None:
    frame = sys._getframe()
    place = "?"
    while frame is not None:  # type: ignore[unreachable]
        path = frame.f_code.co_filename
        if path.startswith(_PACKAGE):
            place = f"{path.removeprefix(_PACKAGE)}:{frame.f_lineno}"
            break
        frame = frame.f_back  # type: ignore[assignment]
    seen[kind.decode(), what.decode(), place] += 1
