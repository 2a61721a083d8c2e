"""The rules of `reportgen replicate`, against brute force and simulation."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.targets.rules import against_list, against_number, against_scores, auroc_interval


def member(shape: tuple[int, int], *heads: tuple[int, int]) -> np.ndarray:
    found = np.zeros(shape, dtype=bool)
    found[tuple(np.array(heads).T)] = True
    return found


@given(st.integers(0, 2**31), st.integers(1, 3))
def test_auroc_and_p_are_those_of_brute_force(seed: int, per_layer: int) -> None:
    """Integers, so that ties occur; two layers of five heads hold listed ones."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6, (3, 5)).astype(float)
    listed = [(layer, int(h)) for layer in (0, 2) for h in rng.permutation(5)[:per_layer]]
    inside = member((3, 5), *listed)
    found = against_list(values, inside)
    assert found is not None
    pairs = [(a > b) + (a == b) / 2 for a in values[inside] for b in values[~inside]]
    assert found.auroc == pytest.approx(np.mean(pairs))

    def share(some: np.ndarray) -> float:
        return float(np.mean([(a > b) + (a == b) / 2 for a in values[some] for b in values[~some]]))

    drawn = [
        share(member((3, 5), *((0, h) for h in first), *((2, h) for h in last)))
        for first in combinations(range(5), per_layer)
        for last in combinations(range(5), per_layer)
    ]
    assert found.p == pytest.approx(np.mean([x >= found.auroc - 1e-9 for x in drawn]))
    assert found.least == pytest.approx(1 / len(drawn))


def test_drawn_sets_agree_with_all_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=(4, 8))
    inside = member((4, 8), (1, 0), (1, 3), (2, 5), (3, 7))
    exact = against_list(values, inside)
    monkeypatch.setattr("reportgen.targets.rules.ALL_SETS", 0)
    drawn = against_list(values, inside)
    assert exact is not None
    assert drawn is not None
    assert drawn.p == pytest.approx(exact.p, abs=0.02)
    assert drawn.least == 1 / 10_000


def test_the_layer_matched_null_does_not_reward_depth() -> None:
    """All late heads score high: a list of late heads has a high AUROC and no small p."""
    values = np.repeat(np.arange(12.0)[:, None], 12, axis=1) + np.random.default_rng(0).normal(0, 1e-3, (12, 12))
    found = against_list(values, member((12, 12), (10, 0), (10, 5), (11, 3), (11, 8)))
    assert found is not None
    assert found.auroc > 0.9
    assert found.p > 0.01
    assert found.verdict == "partly"


@pytest.mark.parametrize(("m", "n", "shift"), [(3, 141, 1.5), (8, 136, 1.0), (32, 992, 0.5)])
def test_the_interval_covers(m: int, n: int, shift: float) -> None:
    rng = np.random.default_rng(m)
    truth = 0.5 * (1 + math.erf(shift / 2))
    covered = 0
    for _ in range(400):
        a, b = rng.normal(shift, 1, m), rng.normal(0, 1, n)
        auroc = float((a[:, None] > b).mean())
        low, high = auroc_interval(auroc, m, n)
        assert 0 <= low <= auroc <= high <= 1
        covered += low <= truth <= high
    assert covered / 400 >= 0.93


def test_a_perfect_list_keeps_a_width_and_a_longer_list_a_narrower_one() -> None:
    assert auroc_interval(1, 3, 141)[1] == 1
    assert 0.5 < auroc_interval(1, 3, 141)[0] < auroc_interval(1, 30, 141)[0] < 1
    low, high = auroc_interval(0, 3, 141)
    assert low == 0
    assert high == pytest.approx(1 - auroc_interval(1, 3, 141)[0], abs=1e-6)


def test_heads_without_a_score_are_no_heads() -> None:
    values = np.array([[0.9, 0.1, np.nan, 0.2], [0.3, np.nan, 0.2, 0.1]])
    found = against_list(values, member((2, 4), (0, 0), (0, 2), (1, 1)))
    assert found is not None
    assert (found.listed, found.heads, found.auroc) == (1, 6, 1.0)
    assert against_list(values, member((2, 4), (0, 2))) is None


@pytest.mark.parametrize(
    ("published", "ours", "ends", "tolerance", "verdict"),
    [
        (0.5, 0.45, (0.4, 0.52), 0, "reproduced"),
        (0.5, 0.45, (0.4, 0.49), 0, "partly"),
        (0.5, 0.46, (None, None), 0.05, "reproduced"),
        (0.5, 0.40, (0.35, 0.45), 0, "not"),
        (0.5, 0.50, (None, None), 0, "reproduced"),
    ],
)
def test_one_number(published: float, ours: float, ends: tuple[float, float], tolerance: float, verdict: str) -> None:
    assert against_number(published, ours, *ends, tolerance) == verdict


def test_numbers_head_by_head() -> None:
    published = [0.1 * i for i in range(10)]
    ours = np.array(published)
    near = against_scores(published, ours + 0.01, ours - 0.02, ours + 0.04, 0)
    ranks = against_scores(published, ours**2, ours**2 - 0.001, ours**2 + 0.001, 0)
    other = against_scores(published, ours[::-1].copy(), ours[::-1] - 0.001, ours[::-1] + 0.001, 0)
    half = against_scores(published, np.where(ours < 0.45, ours, ours[::-1]), ours - 1e-3, ours + 1e-3, 1e-6)
    blind = against_scores(published, np.full(10, np.nan), ours, ours, 0)
    assert near is not None
    assert (near.held, near.of, near.verdict) == (10, 10, "reproduced")
    assert ranks is not None
    assert (ranks.verdict, ranks.rho) == ("partly", pytest.approx(1))
    assert other is not None
    assert (other.verdict, other.rho) == ("not", pytest.approx(-1))
    assert half is not None
    assert half.verdict in ("partly", "reproduced")
    assert blind is None
