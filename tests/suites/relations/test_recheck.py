"""Ranks are those of float64 where extreme values take the place of a second count, where W_O W_U isn't formed, and
where most columns are never looked at."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reportgen.selftest.planted import PlainWeights, random_weights
from reportgen.suites.relations.scoring import near_ranks
from reportgen.suites.relations.scoring.near_ranks import NearRanks
from reportgen.suites.relations.scoring.ranks import PairIndex, Ranker, unsure_by_counts, unsure_by_extremes
from tests.suites.relations.plain import reference_twice
from tests.suites.relations.test_engine import ALL, at_rank, expected, index, nearly_doubled, some_pairs

LIMIT = 11


@dataclass
class Extremes:
    """A sink that keeps the extreme values it is given."""

    depth: int = 1
    top: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict)
    bottom: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict)

    def add(self, head: int, z: Tensor, g: Tensor, top: Tensor, bottom: Tensor, bound: Tensor) -> None:
        assert len(z) == len(top) == len(bottom) == len(bound)
        self.top[head], self.bottom[head] = top.numpy().copy(), bottom.numpy().copy()

    def finish(self) -> None: ...


def ranks(w: PlainWeights, pairs: PairIndex, sink: Extremes | None = None, **options: int) -> npt.NDArray[np.uint32]:
    ranker = Ranker(w.U, pairs, limit=LIMIT, **options)
    return ranker.layer(w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], ALL, sink).twice


def near(w: PlainWeights, pairs: PairIndex, chunk: int = 2048) -> npt.NDArray[np.uint32]:
    ranker = NearRanks.of(w.U, pairs, limit=LIMIT, chunk=chunk)
    return ranker.layer(w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], ALL).twice


def assert_exact_to_the_limit(found: npt.NDArray[np.uint32], truth: npt.NDArray[np.uint32], vocab: int) -> None:
    """Equal up to the limit at both ends; no other rank crosses it."""
    nearer = np.minimum(truth.astype(int), 2 * (vocab + 1) - truth)
    exact = nearer <= 2 * LIMIT
    np.testing.assert_array_equal(found[exact], truth[exact])
    far = np.minimum(found.astype(int), 2 * (vocab + 1) - found)
    np.testing.assert_array_equal(far <= 2 * LIMIT, exact)


@given(seed=st.integers(0, 10**6), chunk=st.sampled_from([32, 64, 2048]), depth=st.integers(1, 30))
def test_ranks_from_extreme_values(seed: int, chunk: int, depth: int) -> None:
    w = random_weights(seed, vocab=70 + seed % 60)
    pairs = some_pairs(seed, w.E.shape[0])
    truth = expected(w, pairs)
    assert_exact_to_the_limit(ranks(w, pairs, Extremes(depth), chunk=chunk), truth, w.E.shape[0])


@given(seed=st.integers(0, 10**6), chunk=st.sampled_from([32, 96, 2048]), screen=st.sampled_from([1, 3, 96]))
def test_what_a_sample_settles_is_settled(seed: int, chunk: int, screen: int) -> None:
    """Samples of 11, 33 and all columns; grouped queries; targets at every rank of some head."""
    w = random_weights(seed, vocab=300 + seed % 60, heads=4, kv=2)
    cases = [(s, at_rank(w, s, s % 4, 1 + (7 * s + i) % 40)) for s in range(12) for i in range(4)]
    pairs = index(*map(list, zip(*cases, strict=True)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_ranks, "SCREEN", screen)
        assert_exact_to_the_limit(near(w, pairs, chunk), expected(w, pairs), w.E.shape[0])


def test_near_ranks_say_what_ranks_say_of_the_source_and_of_what_is_not_finite() -> None:
    w = random_weights(11, vocab=300, heads=4, kv=2)
    pairs = index([*range(20), 30], [*range(20, 40), 30])
    w.E[2, 0] = torch.nan
    w.O[0, 1, 0, 0] = torch.inf
    given_ = (w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], np.array([True, True, False, True]))
    full, quick = Ranker(w.U, pairs, limit=LIMIT).layer(*given_), NearRanks.of(w.U, pairs, limit=LIMIT).layer(*given_)
    np.testing.assert_array_equal(quick.above, full.above)
    np.testing.assert_array_equal(quick.broken, full.broken)
    np.testing.assert_array_equal(quick.twice == 0, full.twice == 0)
    x = w.E[torch.from_numpy(pairs.sources)]
    full, quick = Ranker(w.U, pairs, limit=LIMIT).copier(x), NearRanks.of(w.U, pairs, limit=LIMIT).copier(x)
    assert_exact_to_the_limit(quick.twice[full.twice > 0], full.twice[full.twice > 0], 300)
    np.testing.assert_array_equal(quick.above, full.above)


@pytest.mark.parametrize("sources", [5, 12])
@pytest.mark.parametrize("kind", ["plain", "with extremes", "near"])
def test_columns_that_float32_cannot_tell_apart(sources: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    w = nearly_doubled(3)
    w.V, w.O = w.V[:, :, :, :8], w.O[:, :, :8]  # d_model 48, d_head 8: W_O W_U is formed from 10 rows on
    ends = [*range(1, 13), *range(389, 401)]
    cases = [(s, at_rank(w, s, head, rank)) for s in range(sources) for head in range(3) for rank in ends]
    pairs = index(*map(list, zip(*cases, strict=True)))
    monkeypatch.setattr(near_ranks, "SCREEN", 4)  # a sample of 50 columns
    sink = Extremes(LIMIT + 1) if kind == "with extremes" else None
    found = near(w, pairs, 64) if kind == "near" else ranks(w, pairs, sink, chunk=64)
    assert_exact_to_the_limit(found, expected(w, pairs), 400)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 5), tile_mib=st.sampled_from([1, 64]))
def test_few_rows_rank_as_many(seed: int, n: int, tile_mib: int) -> None:
    w = random_weights(seed, vocab=90, heads=6, kv=2)
    rng = np.random.default_rng(seed)
    few = PairIndex.build({"few": ([*range(n), 0, 0], rng.integers(0, 90, n + 2).tolist())})
    sink = Extremes(13)
    found = ranks(w, few, sink, tile_mib=tile_mib)
    assert_exact_to_the_limit(found, expected(w, few), 90)
    for head in range(6):
        logits = (w.E[few.sources] @ w.V[0, head // 3] @ w.O[0, head] @ w.U).sort(dim=1, descending=True).values
        np.testing.assert_allclose(sink.top[head][:, :13], logits[:, :13], atol=1e-4)
        np.testing.assert_allclose(sink.bottom[head][:, :13], logits.flip(1)[:, :13], atol=1e-4)


def test_inactive_heads_are_left_out_of_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    w = random_weights(4, heads=6, kv=2)
    pairs = index([0, 1, 2], [5, 6, 7])
    active = np.array([True, False, True, True, False, True])
    ranker = Ranker(w.U, pairs, limit=LIMIT)
    found = ranker.layer(w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], active).twice
    whole = expected(w, pairs)
    np.testing.assert_array_equal(found[:, active], whole[:, active])
    assert (found[:, ~active] == 0).all()


@pytest.mark.parametrize("rows", [3, 30])
@pytest.mark.parametrize("kind", ["plain", "with extremes", "near"])
def test_rows_of_zeros_tie_everywhere(rows: int, kind: str) -> None:
    w = random_weights(5, vocab=100)
    w.E[1] = 0
    pairs = index(list(range(rows)), list(range(40, 40 + rows)))
    found = near(w, pairs) if kind == "near" else ranks(w, pairs, Extremes() if kind == "with extremes" else None)
    at = int(np.flatnonzero(pairs.sources[pairs.row] == 1)[0])
    assert (found[at] == 101).all()


def test_extremes_settle_what_counts_settle() -> None:
    """The two ways of finding unsure pairs name the same ones."""
    draw = torch.Generator().manual_seed(6)
    logits = torch.randn(400, 200, generator=draw)
    logits[:, 1::2] = logits[:, ::2] + 0.01 * torch.randint(0, 2, (400, 100), generator=draw)
    own = logits.sort(1).values[torch.arange(400), torch.randint(0, 200, (400,), generator=draw)]
    high, low = own + 0.005, own - 0.005
    ordered = logits.sort(1, descending=True).values
    above, below = ((logits > line[:, None]).sum(1) for line in (high, low))
    counts = unsure_by_counts(above, below, 200, LIMIT)
    extremes = unsure_by_extremes(ordered[:, : LIMIT + 1], ordered.flip(1)[:, : LIMIT + 1], high, low, LIMIT)
    assert torch.equal(counts, extremes)
    assert 10 < int(counts.sum()) < 100


def test_heads_that_read_rows_of_their_own_and_dead_and_broken_ones() -> None:
    """As scores on prompts use it: z given per head, no sources."""
    W_U = torch.randn(8, 100, generator=torch.Generator().manual_seed(0))
    z = torch.zeros(3, 3, 4)  # [head row d_head]
    z[0] = 1.0
    z[2] = torch.nan
    W_O = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(1))
    targets = np.array([3, 50, 99])
    twice = NearRanks(W_U, np.arange(3), targets, limit=50).heads(list(z), W_O).twice
    assert (twice[:, 1] == 101).all()  # all 100 columns tie: rank 50.5
    assert (twice[:, 2] == 0).all()
    row = (z[0, 0].double() @ W_O[0].double() @ W_U.double()).numpy()
    assert twice[:, 0].tolist() == [reference_twice(row, t) for t in targets]
