"""Two-way clustered intervals: equal to Wilson's without clusters, and covering with them."""

from __future__ import annotations

import itertools

import numpy as np

from reportgen.stats import wilson
from reportgen.suites.relations.clustered import two_way_wilson


def test_two_way_interval_of_independent_pairs_is_wilson_s() -> None:
    hits = (np.arange(200) % 4 == 0)[None, :, None]
    low, high = two_way_wilson(hits, np.arange(200))
    expected = wilson(50 * 199 / 200, 199)
    np.testing.assert_allclose([low[0], high[0]], expected, atol=1e-9)


def test_two_way_interval_covers_clustered_shares() -> None:
    """Shares that vary by target: the plain interval over all prompts covers far too seldom."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 5)
    effect = rng.beta(1, 3, size=(400, 40))  # mean 0.25
    chance = np.repeat(effect, 5, axis=1)[None].repeat(4, 0)  # [template draw pair]
    hits = (rng.random(chance.shape) < chance).transpose(0, 2, 1)  # [template pair draw]
    low, high = two_way_wilson(hits, clusters)
    naive = wilson(hits.sum((0, 1)), 800)
    assert 0.91 < np.mean((low <= 0.25) & (high >= 0.25)) < 0.99
    assert np.mean((naive[0] <= 0.25) & (naive[1] >= 0.25)) < 0.75


def test_two_way_variance_is_the_sum_over_shared_targets_and_templates() -> None:
    """Every prompt with every other that shares its target or its template, in a plain loop."""
    rng = np.random.default_rng(1)
    clusters = np.arange(30) // 3
    chance = 0.5 * (rng.random(10) < 0.5)[clusters] + 0.5 * np.array([0, 0.3, 0.7, 1])[:, None]
    hits = rng.random(chance.shape) < chance  # [template pair]
    left = hits - hits.mean()
    terms = {"target": 0.0, "template": 0.0, "both": 0.0}
    for (t, i), (u, j) in itertools.product(np.ndindex(4, 30), repeat=2):
        part = left[t, i] * left[u, j] / 120**2
        terms["target"] += part * (clusters[i] == clusters[j]) * 10 / 9
        terms["template"] += part * (t == u) * 4 / 3
        terms["both"] += part * (clusters[i] == clusters[j]) * (t == u) * 40 / 39
    V = terms["target"] + terms["template"] - terms["both"]
    assert max(terms["target"], terms["template"]) < V
    p = hits.mean()
    n = p * (1 - p) / V
    low, high = two_way_wilson(hits[:, :, None], clusters)
    assert n < 30  # else n would be the number of pairs
    np.testing.assert_allclose((low[0], high[0]), wilson(p * n, n))


def test_two_way_interval_sees_templates_and_extremes() -> None:
    hits = np.zeros((4, 60, 3))
    hits[0, :, 0] = 1  # everything hangs on one template
    hits[:, :15, 1] = 1  # the same share, by pairs
    low, high = two_way_wilson(hits, np.arange(60) // 6)
    assert high[0] - low[0] > high[1] - low[1] > 0.2
    np.testing.assert_allclose((low[2], high[2]), wilson(0, 10))
