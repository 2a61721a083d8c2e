"""`make bench`, or `python -m benchmarks NAME ...`: run benchmarks by name, all when none is given."""

from __future__ import annotations

import importlib
import sys

NAMES = ("circuits", "cognitive", "relations", "render", "report", "sparse", "sweep")

for name in sys.argv[1:] or NAMES:
    importlib.import_module(f"benchmarks.{name}").main()
