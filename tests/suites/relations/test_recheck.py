"""Ranks are those of float64 where extreme values take the place of a second count, and where W_O W_U isn't formed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reportgen.suites.relations import engine, recheck
from reportgen.suites.relations.engine import Ranker
from reportgen.suites.relations.pairs import PairIndex
from tests.suites.relations.plain import PlainWeights, random_weights
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


@pytest.mark.parametrize("sources", [5, 12])
@pytest.mark.parametrize("with_extremes", [False, True])
def test_columns_that_float32_cannot_tell_apart(sources: int, with_extremes: bool) -> None:
    w = nearly_doubled(3)
    w.V, w.O = w.V[:, :, :, :8], w.O[:, :, :8]  # d_model 48, d_head 8: W_O W_U is formed from 10 rows on
    ends = [*range(1, 13), *range(389, 401)]
    cases = [(s, at_rank(w, s, head, rank)) for s in range(sources) for head in range(3) for rank in ends]
    pairs = index(*map(list, zip(*cases, strict=True)))
    found = ranks(w, pairs, Extremes(LIMIT + 1) if with_extremes else None, chunk=64)
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
@pytest.mark.parametrize("with_extremes", [False, True])
def test_rows_of_zeros_tie_everywhere(rows: int, with_extremes: bool) -> None:
    w = random_weights(5, vocab=100)
    w.E[1] = 0
    pairs = index(list(range(rows)), list(range(40, 40 + rows)))
    found = ranks(w, pairs, Extremes() if with_extremes else None)
    at = int(np.flatnonzero(pairs.sources[pairs.row] == 1)[0])
    assert (found[at] == 101).all()


def test_extremes_settle_what_counts_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two ways of finding unsure pairs name the same ones."""
    w = nearly_doubled(6)
    cases = [(s, at_rank(w, s, head, rank)) for s in range(20) for head in range(3) for rank in (*range(1, 14), 200)]
    pairs = index(*map(list, zip(*cases, strict=True)))
    found: dict[str, list[Tensor]] = {"counts": [], "extremes": []}

    def counts(above: Tensor, below: Tensor, d_vocab: int, limit: int) -> Tensor:
        found["counts"].append(recheck.unsure_by_counts(above, below, d_vocab, limit))
        return found["counts"][-1]

    def extremes(top: Tensor, bottom: Tensor, high: Tensor, low: Tensor, limit: int) -> Tensor:
        found["extremes"].append(recheck.unsure_by_extremes(top, bottom, high, low, limit))
        return found["extremes"][-1]

    monkeypatch.setattr(engine, "unsure_by_counts", counts)
    monkeypatch.setattr(engine, "unsure_by_extremes", extremes)
    ranks(w, pairs)
    ranks(w, pairs, Extremes(LIMIT + 1))
    assert len(found["counts"]) == len(found["extremes"]) == 3
    for one, other in zip(found["counts"], found["extremes"], strict=True):
        assert torch.equal(one, other)
        assert 0 < int(one.sum()) < len(one)
