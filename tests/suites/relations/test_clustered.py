"""Two-way clustered intervals: equal to Wilson's without clusters, and covering with them."""

from __future__ import annotations

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


def test_two_way_interval_sees_templates_and_extremes() -> None:
    hits = np.zeros((4, 60, 3))
    hits[0, :, 0] = 1  # everything hangs on one template
    hits[:, :15, 1] = 1  # the same share, by pairs
    low, high = two_way_wilson(hits, np.arange(60) // 6)
    assert high[0] - low[0] > high[1] - low[1] > 0.2
    np.testing.assert_allclose((low[2], high[2]), wilson(0, 10))
