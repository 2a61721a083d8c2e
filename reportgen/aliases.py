"""Type aliases used by many modules. Shapes are documented where the arrays are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Rows = list[dict[str, Any]]  # data of a chart: one dictionary per mark
Facts = Mapping[str, Any]  # a suite's facts about a result, as JSON values
Progress = Callable[[int, int, str], None]  # done, total, phase
