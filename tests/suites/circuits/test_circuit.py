"""Who is in a circuit: size, significance, replication, and ratios of means."""

from __future__ import annotations

import numpy as np
import pytest

from reportgen.stats import template_weights
from reportgen.suites.circuits.scoring.circuit import Effects, circuit, halves, ratio_of_means, replicated, summarise


def effects(value: list[float], p: list[float], halved: list[list[float]]) -> Effects:
    grid = np.array([value])
    zero = np.zeros_like(grid)
    return Effects(grid, zero, zero, zero, zero, zero, np.array([p]), zero, np.array(halved)[:, None])


def test_the_circuit_needs_size_and_significance() -> None:
    found = effects([0.02, -0.03, 0.019, 0.5], [0.05, 0.01, 0.001, 0.06], [[0.0] * 4, [0.0] * 4])
    assert circuit(found, 0.02, 0.05).heads() == ((0, 0), (0, 1))
    assert int(circuit(found, 0.02, 0.05).large.sum()) == 3
    assert int(circuit(found, 0.02, 0.05).beyond.sum()) == 3


def test_replication_needs_both_halves_of_the_templates() -> None:
    found = effects([0.1] * 4, [0.01] * 4, [[0.1, 0.1, 0.1, np.nan], [0.1, -0.1, 0.01, 0.1]])
    assert replicated(found, 0.02).tolist() == [[True, False, False, False]]


def test_halves_split_by_template() -> None:
    each = np.array([1.0, 2.0, 3.0, 4.0])[:, None, None]
    split = halves(each, np.array([1.0, 1.0, 2.0, 2.0]), np.array([0, 1, 2, 1]))
    assert split[:, 0, 0].tolist() == pytest.approx([4 / 3, 6 / 3])


def test_ratios_are_of_means_in_every_draw() -> None:
    weights = np.array([[1.0, 1.0], [2.0, 0.0]])
    low, high, draws = ratio_of_means([[1.0], [3.0]], [1.0, 1.5], weights, 2)
    assert draws[:, 0].tolist() == pytest.approx([4.0 / 2.5, 1.0])
    assert low[0] < high[0]
    assert (low[0] + high[0]) / 2 == pytest.approx(4.0 / 2.5)


def test_effects_of_noise_stay_out_and_planted_ones_come_in() -> None:
    rng = np.random.default_rng(0)
    each = rng.normal(0, 1.0, size=(80, 3, 4))
    each[:, 0, 0] += 2.0
    each[:, 2, 3] -= 2.0
    each[:, 1, 1] = 1e-9  # rounding of one sign
    each[:, 1, 2] = 0.0
    templates = np.arange(80) % 8
    weights = template_weights(templates.tolist(), 200, rng)
    found = summarise(each, np.full(80, 4.0), templates, weights, 0.02, 500, rng)
    assert circuit(found, 0.02, 0.05).heads() == ((0, 0), (2, 3))
    assert found.p[1, 1] == pytest.approx(1.0, abs=0.2)
    assert found.p[1, 2] == 1.0
    assert found.p_each is not None
    assert found.p_each[1, 1] == found.p_each[1, 2] == 1.0
    assert found.p_each[0, 0] == found.p_each[2, 3] == 1 / 501
    assert found.value[0, 0] == pytest.approx(0.5, abs=0.1)
    assert found.stability[0, 0] == found.stability[2, 3] == 1.0
    np.testing.assert_allclose(found.raw, found.value * 4.0)


def test_all_signs_swapped_is_the_same_circuit() -> None:
    rng = np.random.default_rng(1)
    each, templates = rng.normal(0.3, 1.0, size=(40, 2, 3)), np.arange(40) % 4
    weights = template_weights(templates.tolist(), 50, rng)
    one = summarise(each, np.ones(40), templates, weights, 0.02, 200, np.random.default_rng(2))
    other = summarise(-each, np.ones(40), templates, weights, 0.02, 200, np.random.default_rng(2))
    np.testing.assert_allclose(one.value, -other.value)
    np.testing.assert_array_equal(one.p, other.p)
