"""What --dry-run says can be shown, held against simulations of the nulls: shares, succession, eigenvalues, means."""

from __future__ import annotations

import numpy as np
import pytest

from reportgen import suites
from reportgen.models.load import inspect
from reportgen.stats import interval_of, template_weights
from reportgen.suites.cost import ALPHA, smallest_mean, smallest_share
from reportgen.suites.weights.classes import CLASSES, KeptClass
from reportgen.suites.weights.suite import smallest_eigen, smallest_macro


@pytest.mark.parametrize(("n", "chance"), [(400, 10 / 2184), (40, 0.1), (12, 0.5)])
def test_the_smallest_share_is_beyond_the_largest_of_many_heads_that_hit_by_chance(n: int, chance: float) -> None:
    heads, draws = 48, 20_000
    share = smallest_share(heads, n, chance)
    largest = np.random.default_rng(0).binomial(n, chance, (draws, heads)).max(1)
    assert (largest >= round(share * n)).mean() <= ALPHA
    assert (largest >= round(share * n) - 1).mean() > ALPHA / 3  # a hit fewer is within the null, or nearly
    assert smallest_share(heads, 3, 0.5) == 1.0


def test_the_smallest_succession_is_about_the_95th_percentile_of_the_best_of_many_heads() -> None:
    heads, draws = 48, 4_000
    kept = [KeptClass(one, tuple(range(n)), tuple(range(n))) for one, n in zip(CLASSES[1:4], (20, 10, 7), strict=True)]
    rng = np.random.default_rng(1)
    shares = np.mean(
        [rng.binomial(len(one.after(1)), 1 / len(one.ids), (draws, heads)) / len(one.after(1)) for one in kept], axis=0
    )
    line = float(np.quantile(shares.max(1), 1 - ALPHA))
    assert smallest_macro(heads, kept) == pytest.approx(line, rel=0.15)


def test_the_smallest_eigenvalue_ratio_is_about_that_of_gaussian_maps() -> None:
    heads, d_head, d_model, draws = 24, 16, 96, 150
    rng = np.random.default_rng(2)
    largest = []
    for _ in range(draws):
        reads, writes = (rng.standard_normal((heads, d_model, d_head)) for _ in range(2))
        values = np.linalg.eigvals(writes.transpose(0, 2, 1) @ reads)
        largest.append(np.abs(values.sum(1).real / np.abs(values).sum(1)).max())
    assert smallest_eigen(heads, d_head) == pytest.approx(float(np.quantile(largest, 1 - ALPHA)), rel=0.15)


def test_a_mean_of_the_smallest_size_is_set_apart_from_0_half_of_the_time() -> None:
    units, per_unit = 7, 6
    labels = [i for i in range(units) for _ in range(per_unit)]

    def apart(size: float) -> float:
        found = 0
        for seed in range(200):
            rng = np.random.default_rng([3, seed])
            each = np.repeat(rng.standard_normal(units) + size, per_unit)  # templates differ, their prompts do not
            low, high = interval_of(each.mean(), template_weights(labels, 300, rng) @ each / len(each), units)
            found += bool(low > 0 or high < 0)
        return found / 200

    least = smallest_mean(units)
    assert 0.35 < apart(least) < 0.65
    assert apart(0.0) < 0.1
    assert apart(2 * least) > 0.9
    assert smallest_mean(1) == np.inf


def test_plans_of_weights_and_sparse_say_what_can_be_shown() -> None:
    record, _, tokens = inspect("mini", device="cpu")
    weights, sparse = suites.find("weights"), suites.find("sparse")
    said = weights.reach(record, weights.make_settings("quick"), tokens, 0)
    assert any("copying and matching: 0.0099 (100 rotations); smallest that passes: about 0.31" in w for w in said)
    assert any("about suppression by OV 0.02 of 400 words, succession 0.2" in w for w in said)
    few = weights.reach(record, weights.make_settings("quick", {"rotations": 10, "permutations": 5}), tokens, 0)
    assert sum("no head can pass" in words for words in few) == 2
    counts, smallest = sparse.reach(record, sparse.make_settings("quick"), tokens, 0)
    assert counts == "n: 42 prompts in 7 templates"
    assert f"about {smallest_mean(7):.2g} sd" in smallest
    other = inspect("mini-sparse", device="cpu")[0]
    assert sparse.reach(other, sparse.make_settings("quick"), tokens, 0) == ()  # no sparse copy of it
