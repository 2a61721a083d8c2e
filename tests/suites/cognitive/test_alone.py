"""Each head alone: what its classifier finds, its area, interval and null."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu, rankdata

from reportgen.suites.cognitive.scoring import logistic, per_head_probe

CLASSES, HEADS, WIDTH, ROWS = 3, 6, 5, 300
PLANTED = 4


def _data(seed: int, signal: float) -> tuple[torch.Tensor, np.ndarray, dict[str, np.ndarray], list[str]]:
    """Noise in every head but one, which has a direction per class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(ROWS) % CLASSES)
    own = rng.standard_normal((ROWS, HEADS, WIDTH))
    own[:, PLANTED] += signal * rng.standard_normal((CLASSES, WIDTH))[labels]
    cuts = {"train": (0, 160), "validation": (160, 190), "test": (190, ROWS)}
    at = {part: np.arange(a, b) for part, (a, b) in cuts.items()}
    return torch.from_numpy(own).float(), labels, at, [f"c{i // 3}" for i in range(ROWS)]


def _measured(seed: int, signal: float, permutations: int = 99) -> per_head_probe.Alone:
    own, labels, at, chains = _data(seed, signal)
    return per_head_probe.measure(
        own, labels, at, chains, np.zeros(ROWS, np.int64), CLASSES, permutations, np.ones(HEADS, bool),
        np.random.default_rng(seed),
    )  # fmt: skip


def test_a_planted_head_is_found_and_noise_is_not() -> None:
    false = 0
    for seed in range(4):
        found = _measured(seed, 1.5)
        assert found.p is not None
        assert (found.area.argmax(1) == PLANTED).all()
        assert (found.p[:, PLANTED] == 0.01).all()
        false += bool((np.delete(found.p, PLANTED, 1) <= 0.05).any())
    assert false <= 1  # nominal 5 % of 4


def test_areas_are_those_of_mann_whitney_ties_included() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (40, 2, CLASSES)).astype(float)
    labels = rng.integers(0, CLASSES, 40)
    got = per_head_probe.areas(rankdata(scores, axis=0), labels[None], CLASSES)[0]
    for c in range(CLASSES):
        for head in range(2):
            mine, rest = scores[labels == c, head, c], scores[labels != c, head, c]
            assert got[c, head] == pytest.approx(mannwhitneyu(mine, rest).statistic / len(mine) / len(rest))


def test_a_head_that_always_says_the_same_is_at_chance() -> None:
    ranks = rankdata(np.zeros((30, 1, CLASSES)), axis=0)
    labels = np.arange(30) % CLASSES
    assert per_head_probe.areas(ranks, labels[None], CLASSES) == pytest.approx(0.5)
    drawn = np.full((99, CLASSES, 1), 0.5)
    assert (per_head_probe.family_p(np.full((CLASSES, 1), 0.5), drawn, np.ones(1, bool)) == 1).all()


def test_intervals_hold_the_area_and_cover_the_truth() -> None:
    """Two normals one deviation apart have the area Phi(1 / sqrt 2) = .760; rows of a chain are alike."""
    rng, hits = np.random.default_rng(1), 0
    for _ in range(200):
        labels = np.arange(90) % CLASSES
        scores = rng.standard_normal((90, 1, CLASSES)) + (labels == 0)[:, None, None]
        area = per_head_probe.areas(rankdata(scores, axis=0), labels[None], CLASSES)[0]
        low, high = per_head_probe.intervals(scores, area, labels, [f"c{i // 3}" for i in range(90)], CLASSES)
        assert (low <= area).all()
        assert (area <= high).all()
        hits += low[0, 0] <= 0.760 <= high[0, 0]
    assert hits >= 180


def test_the_interval_of_a_perfect_order_says_little_and_does_not_jump() -> None:
    labels, chains = np.arange(9) % CLASSES, [f"c{i}" for i in range(9)]
    scores = (labels == 0).astype(float)[:, None, None] + np.zeros((9, 1, CLASSES))

    def ends() -> tuple[float, float, float]:
        area = per_head_probe.areas(per_head_probe.soft_ranks(scores), labels[None], CLASSES)[0]
        low, high = per_head_probe.intervals(scores, area, labels, chains, CLASSES)
        return float(low[0, 0]), float(area[0, 0]), float(high[0, 0])

    low, area, high = ends()
    assert (area, high) == (1.0, 1.0)
    assert 0.3 < low < 0.6  # three rows without an error say little
    scores[0] = per_head_probe.NEAR * (1 - 1e-4)  # all but above the others
    near = ends()
    assert 0 < area - near[1] < 1e-4
    assert near[0] == pytest.approx(low, abs=0.01)


def test_soft_ranks_are_ranks_where_nothing_is_near() -> None:
    scores = np.random.default_rng(0).integers(0, 20, (50, 3, 2)).astype(float)
    assert per_head_probe.soft_ranks(scores) == pytest.approx(rankdata(scores, axis=0), abs=1e-6)
    near = per_head_probe.NEAR
    assert per_head_probe.soft_ranks(np.array([0.0, near / 2, 5.0])) == pytest.approx([1.25, 1.75, 3])


def test_noise_in_the_last_digits_moves_no_area(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that another order of summation gives: here 1e-6 apart. Fits that stop early turn that into scores."""
    own, labels, at, chains = _data(2, 0.5)
    own[:, :, 1] = own[:, :, 0] + 0.01 * own[:, :, 1]  # and some are nearly alike
    noise = 1e-6 * torch.randn(own.shape, generator=torch.Generator().manual_seed(0))

    def moved() -> float:
        both = [
            per_head_probe.measure(
                some, labels, at, chains, np.zeros(ROWS, np.int64), CLASSES, 0, np.ones(HEADS, bool),
                np.random.default_rng(0),
            )
            for some in (own, own * (1 + noise))
        ]  # fmt: skip
        assert both[0].penalty == both[1].penalty
        ends = max(float(np.abs(getattr(both[0], end) - getattr(both[1], end)).max()) for end in ("low", "high"))
        return max(ends, float(np.abs(both[0].area - both[1].area).max()))

    assert moved() < 1e-4
    monkeypatch.setattr(per_head_probe, "NEAR", 1e-12)  # an order that the last digit decides
    assert moved() < 1e-2


def test_the_penalty_is_the_best_on_the_validation_rows() -> None:
    """Where no head knows anything the strongest; where all do a weaker one."""

    def chosen(signal: float) -> tuple[float, list[float]]:
        own, labels, at, chains = _data(0, signal)
        own = own[:, [PLANTED] * HEADS]
        found = per_head_probe.measure(
            own, labels, at, chains, np.zeros(ROWS, np.int64), CLASSES, 0, np.ones(HEADS, bool),
            np.random.default_rng(0),
        )  # fmt: skip
        known, some = torch.from_numpy(labels), {part: torch.from_numpy(rows) for part, rows in at.items()}
        losses = []
        for penalty in per_head_probe.PENALTIES:
            fitted = logistic.fit(own[some["train"]], known[some["train"]], CLASSES, penalty)
            loss = per_head_probe.losses(own[some["validation"]], known[some["validation"]], *fitted)
            losses.append(float(loss.mean()))
        return found.penalty, losses

    for signal, best in ((0.0, 0), (1.0, 2)):
        penalty, losses = chosen(signal)
        assert per_head_probe.PENALTIES.index(penalty) == int(np.argmin(losses)) == best


def test_without_permutations_there_is_no_p() -> None:
    assert _measured(0, 1.5, permutations=0).p is None
