"""Each head alone: what its classifier finds, its area, interval and null."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu, rankdata

from reportgen.suites.cognitive.scoring import per_head_probe

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
        ranks = rankdata(scores, axis=0)
        area = per_head_probe.areas(ranks, labels[None], CLASSES)[0]
        low, high = per_head_probe.intervals(ranks, area, labels, [f"c{i // 3}" for i in range(90)], CLASSES)
        assert (low <= area).all()
        assert (area <= high).all()
        hits += low[0, 0] <= 0.760 <= high[0, 0]
    assert hits >= 180
    perfect = rankdata((np.arange(9) % CLASSES == 0).astype(float)[:, None, None] + np.zeros((9, 1, CLASSES)), axis=0)
    area = per_head_probe.areas(perfect, (np.arange(9) % CLASSES)[None], CLASSES)[0]
    low, high = per_head_probe.intervals(perfect, area, np.arange(9) % CLASSES, list("abcabcabc"), CLASSES)
    assert (area[0, 0], high[0, 0]) == (1.0, 1.0)
    assert 0.3 < low[0, 0] < 0.6  # three rows without an error say little


def test_the_fit_is_at_its_minimum() -> None:
    own, labels, at, _ = _data(0, 1.5)
    some, known = own[at["train"]], torch.from_numpy(labels[at["train"]])
    weights, bias = (w.requires_grad_() for w in per_head_probe.fit(some, known, CLASSES, 0.1))
    value = per_head_probe.losses(some, known, weights, bias).sum() + 0.05 * weights.square().sum()
    torch.autograd.backward(value)
    assert weights.grad is not None
    assert float(weights.grad.abs().max()) < 1e-3
    assert float(per_head_probe.losses(some, known, weights, bias).detach()[PLANTED]) < 0.7 < np.log(CLASSES)


def test_without_permutations_there_is_no_p() -> None:
    assert _measured(0, 1.5, permutations=0).p is None
