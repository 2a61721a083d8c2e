"""Nulls and intervals on random twins: 20 of one suite here, 200 of every suite in `make soak`."""

from __future__ import annotations

import numpy as np
import pytest

from tests.soak.calibrate import ALPHA, BEGIN, END, Held, all_held, all_nominal, held, nominal, tables
from tests.soak.coverage import COVERAGE, Covered
from tests.soak.nulls import NULLS

TWINS = 200


def uniform(twins: int, power: float = 1.0) -> list[np.ndarray]:
    """One p-value for each twin, uniform to a power: below 1 is conservative, above 1 false."""
    return [np.asarray([p]) for p in np.random.default_rng(3).random(twins) ** power]


def test_uniform_p_values_hold_and_smaller_ones_do_not() -> None:
    assert nominal("uniform", uniform(TWINS)).holds
    assert nominal("conservative", uniform(TWINS, 0.5)).holds
    assert not nominal("false", uniform(TWINS, 1.5)).holds


def test_too_many_small_ones_alone_are_seen() -> None:
    """19 of 200 at .05 are within what the whole distribution may differ by, and beyond what the level allows."""
    p = np.linspace(0.051, 1, TWINS)
    p[:19] = 0.04
    found = nominal("tail", [np.asarray([x]) for x in p])
    assert (found.false, found.most_false) == (19, 18)
    assert found.above <= found.most_above
    assert not found.holds


def test_the_smallest_p_of_a_twin_counts_and_nan_is_no_test() -> None:
    found = nominal("grid", [np.array([[0.9, np.nan], [ALPHA, 0.5]]), np.array([[np.nan, np.nan], [0.7, 0.2]])])
    assert (found.twins, found.tests, found.false) == (2, 3, 1)


def test_coverage_counts() -> None:
    found = held("best", [Covered(True, False, 0.5), Covered(True, True, 1.0), Covered(False, False, 0.75)])
    assert (found.twins, found.covered, found.face_value, found.every) == (3, 2, 1, 0.75)
    assert Held("x", TWINS, 182, 0, 0.95).holds
    assert not Held("x", TWINS, 181, 0, 0.95).holds
    assert not Held("x", TWINS, 182, 0, 0.9).holds
    assert "**x**" in tables([], [Held("x", TWINS, 181, 0, 0.95)])


def test_relations_on_20_twins() -> None:
    found = all_nominal(20, ["relations"])
    assert len(found) == 8
    assert [one.name for one in found if one.false > one.most_false] == []  # 20 are too few for the whole distribution
    chosen = all_held(20, ["relations"])
    assert [one.name for one in chosen if not one.holds] == []


@pytest.mark.soak
@pytest.mark.parametrize("suite", NULLS)
def test_p_values_where_nothing_is_to_be_found(suite: str) -> None:
    found = all_nominal(TWINS, [suite])
    assert [one for one in found if not one.holds] == []


@pytest.mark.soak
@pytest.mark.parametrize("suite", COVERAGE)
def test_the_best_heads_interval(suite: str) -> None:
    found = all_held(TWINS, [suite])
    assert [one for one in found if not one.holds] == []


def test_the_published_page_has_the_tables_of_today() -> None:
    """Every null and estimate that there is, by name."""
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "calibration.md").read_text("utf-8")
    text = page.partition(BEGIN)[2].partition(END)[0]
    for measured in (*all_nominal(1), *all_held(1)):
        assert f"| {measured.name}" in text.replace("**", "")
