"""All hostile inputs, a module per kind of input."""

from __future__ import annotations

import importlib
import pkgutil

from tests.hostile.case import Case

CASES: tuple[Case, ...] = tuple(
    case
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__))
    for case in importlib.import_module(f"{__name__}.{module}").CASES
)
