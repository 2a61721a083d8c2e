"""Intervals against scipy, clustered ones against Wilson's, families against brute force and by simulation."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, rankdata

from reportgen import stats
from reportgen.stats import two_way_wilson, wilson

Adjust = Callable[..., np.ndarray[tuple[int, ...], np.dtype[np.float64]]]


@given(n=st.integers(1, 400), data=st.data())
def test_wilson_is_scipys(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    low, high = stats.wilson(hits, n)
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_has_no_interval_for_nothing() -> None:
    low, high = stats.wilson([3, np.nan, 0], [10, 10, 0])
    assert np.isfinite([low[0], high[0]]).all()
    assert np.isnan([*low[1:], *high[1:]]).all()
    with pytest.raises(ValueError, match="outside"):
        stats.wilson(5, 4)


def test_clusters_that_agree_count_once() -> None:
    hits = [1] * 10 + [0] * 10
    alone = stats.clustered_wilson(hits, range(20))
    assert alone == pytest.approx([float(x) for x in stats.wilson(10, 20)])
    together = stats.clustered_wilson(hits, [i // 5 for i in range(20)])  # 4 clusters, each of one mind
    assert together == pytest.approx([float(x) for x in stats.wilson(2, 4)])
    mixed = stats.clustered_wilson(hits, [i % 10 for i in range(20)])  # clusters that spread evenly
    assert mixed == pytest.approx(alone)
    assert stats.clustered_wilson([1] * 6, [0, 0, 0, 1, 1, 1]) == pytest.approx([float(x) for x in stats.wilson(2, 2)])
    assert np.isnan(stats.clustered_wilson([], [])).all()


def test_clustered_intervals_cover_where_plain_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(12), 8)
    covered = np.zeros(2)
    for _ in range(300):
        hits = (rng.random(12) < 0.4)[clusters].astype(float)
        low, high = stats.clustered_wilson(hits, clusters.tolist())
        plain_low, plain_high = stats.wilson(hits.sum(), len(hits))
        covered += [low <= 0.4 <= high, plain_low <= 0.4 <= plain_high]
    assert covered[0] / 300 > 0.9
    assert covered[1] / 300 < 0.7


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), st.integers(0, 99))
def test_halves_keep_clusters_whole_and_even(clusters: list[int], seed: int) -> None:
    first = stats.halves(clusters, np.random.default_rng(seed))
    for cluster in set(clusters):
        assert len({bool(f) for f, c in zip(first, clusters, strict=True) if c == cluster}) == 1
    largest = max(clusters.count(c) for c in set(clusters))
    assert abs(int(first.sum()) - int((~first).sum())) <= largest


def test_halves_follow_their_generator() -> None:
    clusters = list(range(30))
    draws = [stats.halves(clusters, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).any()


def brute_max_t(observed: np.ndarray, null: np.ndarray, floor: float) -> np.ndarray:
    """Step-down max-T by its definition."""
    pooled = np.vstack([observed, null])
    z = (pooled - pooled.mean(0)) / np.maximum(pooled.std(0), floor)
    order = np.argsort(-z[0], kind="stable")
    p, least = np.empty(len(observed)), 0.0
    for place, head in enumerate(order):
        rest = order[place:]
        reached = sum(row[rest].max() >= z[0, head] - 1e-9 for row in z[1:])
        least = max(least, (1 + reached) / len(pooled))
        p[head] = least
    return p


@given(seed=st.integers(0, 10**6), floor=st.sampled_from([0.0, 0.3]))
def test_step_down_max_t_is_its_definition(seed: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    null = rng.normal(size=(40, 6)).astype(np.float32)
    observed = (rng.normal(size=6) + np.array([0, 0, 0, 1, 2, 4])).astype(np.float32).astype(float)
    np.testing.assert_allclose(
        stats.step_down_max_t(observed, null, floor=floor), brute_max_t(observed, null, floor), atol=1e-12
    )


def test_a_null_that_does_not_vary_and_a_missing_head_are_no_members() -> None:
    rng = np.random.default_rng(0)
    null = np.column_stack([np.ones(99), rng.normal(size=(99, 2)), np.zeros(99)])
    observed = np.array([1.0, 9.0, np.nan, 5.0])
    p = stats.step_down_max_t(observed, null)
    assert p[[0, 3]].tolist() == [1.0, 1.0]
    assert p[1] == pytest.approx(0.01)
    assert np.isnan(p[2])
    alone = stats.step_down_max_t(observed[1:2], null[:, 1:2])
    assert p[1] == alone[0]


def test_one_head_that_always_scores_does_not_hide_the_others() -> None:
    """A plain maximum of raw scores would give the second head p = 1."""
    rng = np.random.default_rng(1)
    null = np.column_stack([0.9 + 0.01 * rng.normal(size=999), 0.02 * rng.random(999)])
    p = stats.step_down_max_t([0.9, 0.3], null)
    assert p[0] > 0.3
    assert p[1] == pytest.approx(0.001)


def test_a_family_without_effects_is_rarely_significant() -> None:
    rng = np.random.default_rng(2)
    smallest = []
    for _ in range(300):
        draws = rng.binomial(20, [0.02, 0.1, 0.5, 0.9], size=(100, 4)).astype(float)
        smallest.append(stats.step_down_max_t(draws[0], draws[1:]).min())
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(smallest) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 300)
    assert np.mean(np.array(smallest) <= 0.5) > 0.2


def test_permutation_p_counts_the_observed_draw() -> None:
    p = stats.permutation_p([2.0, 0.0, np.nan], [[1, 0, 0], [2, 0, 0], [3, 0, 0]])
    assert p[:2].tolist() == [0.75, 1.0]
    assert np.isnan(p[2])


def test_benjamini_hochberg_says_when_it_cannot_resolve() -> None:
    p = np.array([0.001, 0.2, 0.9, np.nan])
    assert stats.benjamini_hochberg(p, draws=999) == 1
    assert stats.benjamini_hochberg(p, draws=58) is None  # 3 tests at 0.05 take 59 draws
    assert stats.benjamini_hochberg(p, draws=59) == 1
    assert stats.benjamini_hochberg([np.nan], draws=999) is None
    p = np.full(144, 0.5)
    assert stats.benjamini_hochberg(p, draws=2878) is None
    assert stats.benjamini_hochberg(p, draws=2879) == 0


def test_sign_flips_are_shared_and_centred() -> None:
    effects = np.array([[1.0, 2.0], [3.0, 6.0], [-2.0, -4.0]])
    null = stats.sign_flip_null(effects, 500, np.random.default_rng(0))
    np.testing.assert_allclose(null[:, 1], 2 * null[:, 0])
    possible = {round(sum(s * e for s, e in zip(signs, (1, 3, -2), strict=True)) / 3, 9)
                for signs in itertools.product((1, -1), repeat=3)}  # fmt: skip
    assert {round(float(x), 9) for x in null[:, 0]} == possible


def test_template_weights_draw_templates_then_prompts() -> None:
    templates = ["a"] * 3 + ["b"] * 5
    weights = stats.template_weights(templates, 4000, np.random.default_rng(0))
    assert weights.shape == (4000, 8)
    first = weights[:, :3].sum(axis=1)
    assert set(first) <= {0.0, 3.0, 6.0}
    assert np.mean(first == 0) == pytest.approx(0.25, abs=0.03)
    np.testing.assert_allclose(weights.mean(axis=0), 1.0, atol=0.1)


def test_the_interval_grows_with_the_spread_of_templates() -> None:
    rng = np.random.default_rng(0)
    templates = np.repeat(np.arange(6), 20)
    noise = rng.normal(size=120)
    alike = stats.bootstrap_interval(noise, templates.tolist(), np.random.default_rng(1))
    spread = stats.bootstrap_interval(noise + 3.0 * templates, templates.tolist(), np.random.default_rng(1))
    assert (spread[1] - spread[0]) > 3 * (alike[1] - alike[0])


@pytest.mark.parametrize("count", [3, 4, 8])
def test_few_templates_get_the_interval_that_they_need(count: int) -> None:
    """Simulated template and prompt spread: Student's interval holds the truth 95 times in 100, percentiles do not."""
    rng = np.random.default_rng(0)
    names = np.repeat(np.arange(count), 6).tolist()
    held, percentiles = 0, 0
    for _ in range(300):
        values = 1 + rng.normal(0, 1, (count, 1)) + rng.normal(0, 0.5, (count, 6))
        low, high = stats.bootstrap_interval(values.ravel(), names, rng, draws=200)
        held += bool(low <= 1 <= high)
        draws = stats.template_weights(names, 200, rng) @ values.ravel() / values.size
        low, high = np.quantile(draws, (0.025, 0.975))
        percentiles += bool(low <= 1 <= high)
    assert held >= 0.92 * 300
    assert percentiles < 0.92 * 300


def test_the_prompts_of_one_template_are_what_is_drawn_anew() -> None:
    assert (stats.units([0, 0, 0]), stats.units(["a", "b", "a"]), stats.units([0])) == (3, 2, 1)
    x = np.random.default_rng(0).normal(0.0, 1.0, 12)
    low, high = stats.bootstrap_interval(x, [0] * 12, np.random.default_rng(1), draws=20_000)
    half = 2.201 * x.std(ddof=1) / np.sqrt(12)  # Student's t for 11 degrees of freedom
    assert (float(low), float(high)) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.02)
    assert np.isnan(stats.interval_of(0.5, np.full(9, 0.5), 1)).all()


def test_an_interval_ends_where_no_mean_can_be() -> None:
    low, high = stats.bootstrap_interval([0.0, 0.0, 0.9], [0] * 3, np.random.default_rng(0), bounds=(0.0, 1.0))
    assert (float(low), 0.5 < float(high) <= 1.0) == (0.0, True)


def test_many_templates_are_nearly_normal() -> None:
    draws = np.random.default_rng(0).normal(0.0, 1.0, (20_000, 2))
    low, high = stats.interval_of([3.0, -3.0], draws, 400)
    np.testing.assert_allclose(high - low, 2 * 1.966, atol=0.05)
    np.testing.assert_allclose((high + low) / 2, [3.0, -3.0])


def test_ratios_are_of_means() -> None:
    values = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    per = np.array([2.0, 2.0, 2.0])
    low, high = stats.bootstrap_interval(values, [0, 1, 2], np.random.default_rng(0), per=per)
    plain = stats.bootstrap_interval(values / 2, [0, 1, 2], np.random.default_rng(0))
    np.testing.assert_allclose(low, plain[0])
    np.testing.assert_allclose(high, plain[1])
    assert low.shape == (2,)


def test_holm_multiplies_by_the_tests_that_are_left() -> None:
    assert stats.holm([0.01, np.nan, 0.04, 0.03]).tolist() == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert stats.holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert stats.holm([]).tolist() == []


def in_set(*flat: int) -> np.ndarray:
    return np.isin(np.arange(8), flat).reshape(2, 4)


def test_overlap_by_chance_counts_every_set_with_as_many_heads_per_layer() -> None:
    a, b = in_set(0, 1, 7), in_set(1, 7, 4)
    expected, p = stats.overlap_by_chance(a, b)
    pairs = list(itertools.combinations(range(4, 8), 2))
    counts = [int((a & in_set(upper, *lower)).sum()) for upper in range(4) for lower in pairs]
    assert expected == pytest.approx(np.mean(counts))
    assert p == pytest.approx(np.mean(np.array(counts) >= 2))


@given(st.integers(0, 2**32 - 1))
def test_overlap_by_chance_lies_between_nothing_and_certainty(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 3, 5)) < rng.random()
    expected, p = stats.overlap_by_chance(a, b)
    assert 0 < p <= 1
    assert 0 <= expected <= min(a.sum(), b.sum()) + 1e-9
    if not (a & b).any():
        assert p == pytest.approx(1.0)


@given(st.lists(st.one_of(st.integers(0, 4), st.just(None)), max_size=12))
def test_mid_ranks_are_scipys(values: list[int | None]) -> None:
    x = np.array([np.nan if v is None else float(v) for v in values])
    np.testing.assert_array_equal(stats.mid_ranks(x), rankdata(x, nan_policy="omit") if len(x) else x)


def test_a_share_that_a_float_cannot_hold_reaches_its_threshold() -> None:
    assert stats.reaches([6, 5, np.nan], 40, 0.15).tolist() == [True, False, False]
    assert not stats.reaches(0, 0, 0.15)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("adjust", [stats.step_down_max_t, stats.permutation_p])
def test_numbers_that_are_not_finite_are_no_members_of_the_family(adjust: Adjust, bad: float) -> None:
    """The others' p are those of the family without them, whether the value or a single draw is not finite."""
    rng = np.random.default_rng(4)
    observed, null = rng.normal(size=6) + np.array([0, 3, 0, 5, 0, 2]), rng.normal(size=(199, 6))
    others = [0, 1, 3, 5]
    wanted = adjust(observed[others], null[:, others])
    assert wanted.min() < 0.02 < wanted.max()
    in_value, in_draw = observed.copy(), null.copy()
    in_value[2] = bad
    in_draw[7, 4] = bad
    in_draw[9, 2] = bad
    p = adjust(in_value, in_draw)
    np.testing.assert_array_equal(p[others], wanted)
    assert np.isnan(p[[2, 4]]).all()


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
