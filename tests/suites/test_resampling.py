"""Nulls keep their level and find what is there; the bootstrap draws templates as wholes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.suites.resampling import bootstrap_ratio, bootstrap_weights, permuted_labels_p, sign_flip_p


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_sign_flip_agrees_with_full_enumeration() -> None:
    effects = rng(1).normal(0.4, 1.0, size=(9, 3))
    count = len(effects)

    def t(values: np.ndarray) -> np.ndarray:
        return np.abs(values.mean(0)) / (values.std(0, ddof=1) / np.sqrt(count))

    every = [t(effects * np.array(signs)[:, None]).max() for signs in itertools.product((-1, 1), repeat=count)]
    exact = [(np.array(every) >= value - 1e-9).mean() for value in t(effects)]
    np.testing.assert_allclose(sign_flip_p(effects, 20_000, rng()), exact, atol=0.012)


def test_sign_flip_one_sided_ignores_negative_means() -> None:
    effects = rng(2).normal(0.0, 0.1, size=(40, 2)) + np.array([1.0, -1.0])
    assert sign_flip_p(effects, 500, rng(), two_sided=False) == pytest.approx([1 / 501, 1.0])
    assert sign_flip_p(effects, 500, rng()) == pytest.approx([1 / 501, 1 / 501])


def test_sign_flip_keeps_its_family_wise_level() -> None:
    false_alarms = sum(
        (sign_flip_p(rng(seed).normal(size=(30, 20)), 200, rng(seed)) <= 0.05).any() for seed in range(200)
    )
    assert 1 <= false_alarms <= 22  # 10 expected of 200; beyond 22 has probability below 0.0005


def test_dead_heads_have_p_one_and_do_not_raise_warnings() -> None:
    effects = np.stack([np.zeros(20), np.full(20, 1e-9), np.full(20, 1.0) + rng().normal(size=20) * 0.1], axis=1)
    p = sign_flip_p(effects, 200, rng(), floor=1e-6)
    assert p.tolist() == [1.0, 1.0, pytest.approx(1 / 201)]


@given(st.integers(0, 2**16), st.floats(1e-3, 1e3))
def test_sign_flip_p_does_not_depend_on_units(seed: int, unit: float) -> None:
    effects = rng(seed).normal(0.3, 1.0, size=(12, 4))
    np.testing.assert_array_equal(sign_flip_p(effects, 100, rng()), sign_flip_p(effects * unit, 100, rng()))


def test_permuted_labels_find_the_label_and_nothing_else() -> None:
    labels = np.tile(np.arange(3), 8)
    cells = rng(3).normal(size=(24, 3, 2, 2))  # [example label layer head]
    cells[:, :, 0, 1] = 0.0
    cells[np.arange(24), labels, 1, 0] += 3.0
    cells[:, 1, 1, 1] += 5.0  # one label high for every example: says nothing of the example's own
    p = permuted_labels_p(cells, labels, 400, rng())
    assert p.shape == (2, 2)
    assert p[1, 0] == pytest.approx(1 / 401)
    assert p[0, 1] == 1.0
    assert min(p[0, 0], p[1, 1]) > 0.05


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 100))
def test_bootstrap_draws_templates_as_wholes(clusters: list[int], seed: int) -> None:
    labels = np.array(clusters)
    weights = bootstrap_weights(labels, 5, rng(seed))
    for draw in weights:
        total = 0
        for label in np.unique(labels):
            size = (labels == label).sum()
            drawn = draw[labels == label].sum()
            assert drawn % size == 0  # a template drawn r times brings r times its number of prompts
            total += drawn // size
        assert total == len(np.unique(labels))


def test_bootstrap_ratio_is_a_ratio_of_means() -> None:
    numerator, denominator = np.array([[1.0], [3.0]]), np.array([1.0, 1.5])
    low, high, draws = bootstrap_ratio(numerator, denominator, np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert draws[:, 0].tolist() == pytest.approx([4.0 / 2.5, 1.0])
    assert 1.0 <= low[0] <= high[0] <= 1.6


def test_template_spread_widens_the_interval() -> None:
    templates = np.repeat(np.arange(8), 25)
    values = rng(4).normal(size=8)[templates] + rng(5).normal(0, 0.2, size=200)
    widths = []
    for clusters in (np.zeros(200, np.int64), templates):
        low, high, _ = bootstrap_ratio(values, np.ones(200), bootstrap_weights(clusters, 400, rng()))
        widths.append(float(high - low))
    assert widths[1] > 2 * widths[0]
