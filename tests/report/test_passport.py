from __future__ import annotations

import json

import numpy as np
import pytest

from reportgen.report.passport import pack, passport, unpack
from tests import fixtures
from tests.report import sample


@pytest.mark.parametrize(("scale", "kind"), [(1.0, "e"), (1e-3, "e"), (1e6, "f")])
def test_grids_keep_three_digits(scale: float, kind: str) -> None:
    grid = sample.grid(0, -1.0) * np.float32(scale)
    grid[1, 2] = np.nan
    packed = pack(grid)
    assert packed[0] == kind
    np.testing.assert_allclose(unpack(packed), grid.ravel(), rtol=1e-3)


def test_what_a_score_lacks_is_left_out() -> None:
    result = sample.result()
    known = passport(result.scores, result.head_sets)
    json.dumps(known)
    capital, names, effect = known["scores"]  # type: ignore[misc]
    assert {"value", "low", "high", "p"} <= set(capital)
    assert not {"low", "high", "p"} & set(names)
    assert "p" not in effect


def test_no_scores_no_panel() -> None:
    assert passport((), ()) == {}


def test_scores_of_another_grid_stay_out() -> None:
    known = passport((fixtures.head_scores(), fixtures.head_scores("a/b/c", layers=2)), ())
    assert len(known["scores"]) == 1  # type: ignore[arg-type]
