"""The search: what was planted is found, what is unrelated is found as often as the level says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportgen.atlas.fingerprint import LEAST_SHARED, of_scores
from reportgen.atlas.nearest import ALPHA, MOST, Blends, around, distances, nearest, search
from reportgen.stats import false_discovery
from tests.atlas import made_up
from tests.fixtures import model_record


def test_distance_is_one_minus_the_cosine_on_what_both_have() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((12, 5)), rng.standard_normal((12, 7))
    a[2, 3], b[4, 1], b[:6, 6] = np.nan, np.nan, np.nan
    found, common = distances(a, b)
    known = np.isfinite(a[:, 3]) & np.isfinite(b[:, 1])
    x, y = a[known, 3], b[known, 1]
    assert found[3, 1] == pytest.approx(1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert common[3, 1] == 10
    assert np.isnan(found[:, 6]).all()  # 6 measures in common
    assert common[0, 6] == 6 < LEAST_SHARED
    assert distances(a, a)[0].diagonal() == pytest.approx(0)


def test_the_nearest_come_first_and_gaps_never() -> None:
    distance = np.array([[0.5, np.nan, 0.1, 0.5], [np.nan] * 4])
    index, near = nearest(distance)
    assert index.tolist() == [[2, 0, 3], [-1, -1, -1]]
    assert near[0].tolist() == [0.1, 0.5, 0.5]
    assert np.isnan(near[1]).all()
    assert nearest(distance[:, 2:3])[0].tolist() == [[2 - 2, -1, -1], [-1, -1, -1]]


def test_heads_of_about_the_same_depth_are_whole_layers() -> None:
    depths = np.repeat(np.linspace(0, 1, 5), 4)
    assert around(depths, least=6)[0].tolist() == list(range(8))
    assert around(depths, least=6)[9].tolist() == list(range(4, 16))
    assert all(len(each) == 20 for each in around(depths, least=100))


def test_blends_keep_what_the_null_is_said_to_keep() -> None:
    rng = np.random.default_rng(3)
    values = made_up.values(rng, 12, 16).reshape(-1, made_up.MEASURES).T  # [measure head]
    values[5, 7] = np.nan
    depths = np.repeat(np.linspace(0, 1, 12), 16)
    kept = np.zeros(len(values), bool)
    kept[1] = True
    blends = Blends(values, depths, kept)
    made = np.stack([blends.draw(rng) for _ in range(20)])
    assert np.isnan(made[:, 5, 7]).all()
    assert np.isfinite(made).sum() == np.isfinite(values).sum() * 20
    np.testing.assert_array_equal(made[:, 1], np.broadcast_to(values[1], (20, 192)))
    assert made[:, 0].min() >= values[0].min()
    assert made[:, 0].max() <= values[0].max()
    flat = made[:, [0, 2, 3]].transpose(1, 0, 2).reshape(3, -1)
    np.testing.assert_allclose(np.corrcoef(flat), np.corrcoef(values[[0, 2, 3]]), atol=0.15)
    by_layer = made[:, 0].mean(0).reshape(12, 16).mean(1)
    assert np.corrcoef(by_layer, values[0].reshape(12, 16).mean(1))[0, 1] > 0.9  # the depth profile
    assert np.abs(made[:, 0] - values[0]).mean() > 0.3 * values[0].std()  # and no head in particular


def test_planted_partners_are_found_wherever_they_stand() -> None:
    nearest_is, found, others = 0, 0, 0
    planted = {(1, 2): (1, 5), (4, 0): (4, 7), (5, 3): (5, 1), (3, 3): (3, 0), (2, 6): (2, 2)}
    for seed in range(4):
        rng = np.random.default_rng(seed)
        a, b = made_up.values(rng, 6, 8), made_up.values(rng, 6, 8)
        for here, there in planted.items():
            b[there] = a[here] + 0.1 * rng.standard_normal(made_up.MEASURES)
        m = search(made_up.prints("a", a), made_up.prints("b", b), draws=59)
        assert m.head.shape == (48, MOST)
        places = [layer * 8 + head for layer, head in planted]
        nearest_is += sum(divmod(int(m.head[i, 0]), 8) == planted[divmod(i, 8)] for i in places)
        found += int(m.found[places, 0].sum())
        others += int(m.found[:, 0].sum()) - int(m.found[places, 0].sum())
    assert nearest_is >= 19  # of 20; 0.4 by chance
    assert found >= 10
    assert others <= 2


@pytest.mark.parametrize("has_twin", [False, True])
def test_unrelated_heads_match_at_the_nominal_rate_and_none_is_called_a_partner(has_twin: bool) -> None:
    near, partners, heads = 0, 0, 0
    for seed in range(10):
        rng = np.random.default_rng(100 + seed)
        grids = [made_up.values(rng, 8, 12) for _ in range(4)]
        twins = grids[2:] if has_twin else [None, None]
        a, b = (made_up.prints(name, grid, twin) for name, grid, twin in zip("ab", grids, twins, strict=False))
        m = search(a, b, seed, draws=39)
        assert np.isnan(m.twin).all() != has_twin
        near += int((m.chance[:, 0] <= ALPHA).sum())
        partners += int(m.found[:, 0].sum())
        heads += len(m.head)
    assert heads == 960
    assert 0.02 < near / heads < 0.085  # 0.05 by chance; heads of one model are not independent
    assert partners <= 2


def test_a_run_s_heads_are_no_nearer_to_a_random_twin_that_is_like_them() -> None:
    """Where the other model's heads are no more than its twin's, the twin refuses what blends would let pass."""
    rng = np.random.default_rng(9)
    a, b = made_up.values(rng, 6, 8), made_up.values(rng, 6, 8)
    b[2, 2] = a[2, 3] + 0.05
    twin = made_up.values(rng, 6, 8)
    twin[...] = a  # a twin that has every head already
    m = search(made_up.prints("a", a, rng.permutation(twin)), made_up.prints("b", b, twin), draws=39)
    assert (m.twin[:, 0] > ALPHA).all()
    assert not m.found.any()


def test_too_few_scores_in_common_are_no_search() -> None:
    rng = np.random.default_rng(0)
    found = made_up.values(rng, 2, 3)
    one = of_scores(model_record(2, 3, slug="few"), made_up.scores(found)[:5])
    m = search(one, made_up.prints("b", found))
    assert m.draws == 0
    assert m.measures == 5
    assert not m.found.any()


def test_the_same_seed_gives_the_same_search() -> None:
    rng = np.random.default_rng(2)
    a, b = made_up.prints("a", made_up.values(rng, 3, 6)), made_up.prints("b", made_up.values(rng, 4, 5))
    one, two, other = search(a, b, 1, 19), search(a, b, 1, 19), search(a, b, 2, 19)
    np.testing.assert_array_equal(one.chance, two.chance)
    np.testing.assert_array_equal(one.head, other.head)
    assert not np.array_equal(one.chance, other.chance)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0001, 1), min_size=1, max_size=30))
def test_false_discovery_is_what_scipy_says(p: list[float]) -> None:
    from scipy.stats import false_discovery_control

    with_gap = np.array([*p, np.nan])
    found = false_discovery(with_gap)
    np.testing.assert_allclose(found[:-1], false_discovery_control(p))
    assert np.isnan(found[-1])
