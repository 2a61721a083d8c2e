"""Permuted labels find what belongs to an example's own label, and nothing that all examples share."""

from __future__ import annotations

import itertools

import numpy as np

from reportgen.stats import step_down_max_t
from reportgen.suites.attention.scoring.score import permuted_labels


def test_null_agrees_with_every_permutation() -> None:
    rng = np.random.default_rng(0)
    cells, labels = rng.normal(size=(6, 2, 3)), np.array([0, 0, 0, 1, 1, 1])
    observed, null = permuted_labels(cells, labels, 20_000, rng)
    every = [cells[np.arange(6), list(order)].mean(0) for order in set(itertools.permutations(labels.tolist()))]
    np.testing.assert_allclose(observed, cells[np.arange(6), labels].mean(0))
    np.testing.assert_allclose(null.mean(0), np.mean(every, axis=0), atol=0.01)
    np.testing.assert_allclose(null.std(0), np.std(every, axis=0), atol=0.01)


def test_only_the_own_label_counts() -> None:
    rng = np.random.default_rng(3)
    labels = np.tile(np.arange(3), 8)
    cells = rng.normal(size=(24, 3, 3))  # [example label head]
    cells[np.arange(24), labels, 1] += 3.0
    cells[:, 1, 2] += 5.0  # one label high for every example: says nothing of the example's own
    p = step_down_max_t(*permuted_labels(cells, labels, 400, rng))
    assert p[1] < 0.01
    assert min(p[0], p[2]) > 0.05
