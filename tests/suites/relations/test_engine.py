"""The ranks are those of a plain float64 reference, whatever the layout of the work."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reportgen.selftest.planted import PlainWeights, random_weights
from reportgen.suites.relations.scoring import ranks as engine
from reportgen.suites.relations.scoring import ranks as recheck
from reportgen.suites.relations.scoring.ranks import PairIndex, Ranker, exact_float32
from tests.suites.relations.plain import reference_logits, reference_twice

ALL = np.ones(64, dtype=bool)
Ranks = npt.NDArray[np.uint32]


def index(sources: list[int], targets: list[int]) -> PairIndex:
    return PairIndex.build({"all": (sources, targets)})


def some_pairs(seed: int, vocab: int, n: int = 25) -> PairIndex:
    rng = np.random.default_rng(seed)
    sources, targets = rng.integers(0, vocab, n).tolist(), rng.integers(0, vocab, n).tolist()
    return PairIndex.build({"a": (sources, targets), "b": (sources[: n // 2], targets[-(n // 2) :])})


def ranks(w: PlainWeights, pairs: PairIndex, limit: int = 11, **options: int) -> Ranks:
    ranker = Ranker(w.U, pairs, limit=limit, **options)
    return ranker.layer(w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], ALL).twice


def expected(w: PlainWeights, pairs: PairIndex) -> Ranks:
    out = np.zeros((len(pairs.targets), w.O.shape[1]), dtype=np.uint32)
    for head in range(w.O.shape[1]):
        for pair, (row, target) in enumerate(zip(pairs.row, pairs.targets, strict=True)):
            logits = reference_logits(w.E[pairs.sources[row]], w.V[0], w.O[0], w.U, head)
            out[pair, head] = reference_twice(logits, int(target))
    return out


def at_rank(w: PlainWeights, source: int, head: int, rank: int) -> int:
    """The token that truly stands at this rank."""
    return int(np.argsort(-reference_logits(w.E[source], w.V[0], w.O[0], w.U, head))[rank - 1])


@given(seed=st.integers(0, 10**6), chunk=st.sampled_from([32, 64, 2048]), heads_per_kv=st.integers(1, 3))
def test_ranks_are_those_of_the_reference(seed: int, chunk: int, heads_per_kv: int) -> None:
    w = random_weights(seed, heads=2 * heads_per_kv, kv=2, vocab=70 + seed % 60)
    pairs = some_pairs(seed, w.E.shape[0])
    np.testing.assert_array_equal(ranks(w, pairs, limit=200, chunk=chunk), expected(w, pairs))


def test_targets_around_the_boundary_are_decided_as_in_float64() -> None:
    w = random_weights(1, vocab=3000, d_model=96, d_head=24, heads=4, kv=4)
    cases = [(s, at_rank(w, s, head, rank)) for s in range(0, 400, 20) for head in range(4) for rank in range(7, 13)]
    pairs = index(*map(list, zip(*cases, strict=True)))
    twice, truth = ranks(w, pairs, limit=11, chunk=512), expected(w, pairs)
    near = truth <= 2 * 11
    assert near.sum() > 400
    assert {int(rank) // 2 for rank in truth[near]} >= {7, 8, 9, 10, 11}
    np.testing.assert_array_equal(twice[near], truth[near])
    np.testing.assert_array_equal(twice <= 2 * 10, truth <= 2 * 10)


def nearly_doubled(seed: int) -> PlainWeights:
    """Every second column differs from the one before it in the last bit of one entry: float32 products tie or swap."""
    w = random_weights(seed, vocab=400, d_model=48, d_head=12)
    w.U[:, 1::2] = w.U[:, ::2]
    w.U[0, 1::2] = torch.nextafter(w.U[0, ::2], torch.tensor(torch.inf))
    return w


def test_columns_that_float32_cannot_tell_apart_are_ranked_in_float64() -> None:
    w = nearly_doubled(2)
    cases = [(s, at_rank(w, s, head, rank)) for s in range(8) for head in range(3) for rank in range(1, 12)]
    cases += [(s, at_rank(w, s, head, 400 - rank)) for s in range(8) for head in range(3) for rank in range(11)]
    pairs = index(*map(list, zip(*cases, strict=True)))
    truth = expected(w, pairs)
    nearer = np.minimum(truth, 2 * 401 - truth)
    exact = nearer <= 2 * 11
    assert exact.mean() > 0.2
    np.testing.assert_array_equal(ranks(w, pairs, limit=11)[exact], truth[exact])


def test_without_the_recheck_those_ranks_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    w = nearly_doubled(2)
    pairs = index([0] * 8, [at_rank(w, 0, 0, rank) for rank in range(1, 9)])
    monkeypatch.setattr(engine, "unsure_by_extremes", lambda *given: torch.zeros_like(given[2], dtype=torch.bool))
    assert (ranks(w, pairs, limit=11)[:, 0] != expected(w, pairs)[:, 0]).any()


def test_the_rounding_bound_holds_and_is_no_larger_than_needed() -> None:
    w = random_weights(3, vocab=4000, d_model=256, d_head=32, heads=2, kv=2)
    x = w.E[:50]
    for head in range(2):
        z, O = x.double() @ w.V[0, head].double(), w.O[0, head].double()  # noqa: E741
        truth = z @ O @ w.U.double()
        with exact_float32():
            found = z.float() @ (w.O[0, head] @ w.U)
        scale = (z.abs() @ O.norm(dim=1))[:, None] * float(w.U.norm(dim=0).max()) * engine.U32
        used = ((found.double() - truth).abs() / scale).max()
        assert used < engine.LAMBDA * (256**0.5 + 32**0.5) / 4
        assert used > 0.1


def test_ties_share_the_middle_of_their_ranks() -> None:
    # Logits of source 0: 3, 2, 2, 2, 1, 0, 0
    w = PlainWeights(
        E=torch.eye(7)[:, :1].repeat(1, 1),
        V=torch.ones(1, 1, 1, 1),
        O=torch.ones(1, 1, 1, 1),
        U=torch.tensor([[3.0, 2.0, 2.0, 2.0, 1.0, 0.0, 0.0]]),
    )
    pairs = index([0] * 7, list(range(7)))
    np.testing.assert_array_equal(ranks(w, pairs, limit=3)[:, 0], [2, 6, 6, 6, 10, 13, 13])


def test_a_source_without_any_logit_ties_with_everything() -> None:
    w = random_weights(4, vocab=41)
    w.E[3] = 0.0
    pairs = index([3, 3, 5], [0, 40, 7])
    twice = ranks(w, pairs)
    of_three = pairs.sources[pairs.row] == 3
    assert (twice[of_three] == 41 + 1).all()
    np.testing.assert_array_equal(twice[~of_three], expected(w, pairs)[~of_three])


def test_the_suppression_rank_mirrors_the_rank() -> None:
    w = random_weights(5, vocab=90)
    pairs = some_pairs(5, 90)
    turned = PlainWeights(E=w.E, V=w.V, O=-w.O, U=w.U)
    np.testing.assert_array_equal(ranks(w, pairs, limit=90) + ranks(turned, pairs, limit=90), 2 * 91)


@pytest.mark.parametrize("options", [{"chunk": 32}, {"chunk": 96, "tile_mib": 1}, {"chunk": 4096}])
def test_chunks_and_tiles_change_nothing(options: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    w = random_weights(6, vocab=777, heads=6, kv=2)
    pairs = some_pairs(6, 777, n=90)
    whole = ranks(w, pairs, limit=11)
    monkeypatch.setattr(engine, "CPU_ROWS", 20)
    monkeypatch.setattr(engine, "CPU_COLUMNS", 160)
    monkeypatch.setattr(recheck, "ROWS", 3)
    monkeypatch.setattr(recheck, "COLUMNS", 2)
    np.testing.assert_array_equal(ranks(w, pairs, limit=11, **options), whole)


def test_grouped_queries_are_the_expanded_model() -> None:
    w = random_weights(7, heads=6, kv=2)
    full = PlainWeights(E=w.E, V=w.V.repeat_interleave(3, dim=1), O=w.O, U=w.U)
    pairs = some_pairs(7, 200)
    np.testing.assert_array_equal(ranks(w, pairs), ranks(full, pairs))


def test_permuting_the_vocabulary_permutes_nothing_else() -> None:
    w = random_weights(8, vocab=150)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    place = torch.argsort(order)  # token t becomes place[t]
    rng = np.random.default_rng(8)
    sources, targets = rng.integers(0, 150, (2, 40)).tolist()
    moved = PlainWeights(E=w.E[order], V=w.V, O=w.O, U=w.U[:, order])
    before, after = index(sources, targets), index(place[sources].tolist(), place[targets].tolist())
    np.testing.assert_array_equal(ranks(w, before)[before.members["all"]], ranks(moved, after)[after.members["all"]])


def test_what_is_not_finite_is_marked_and_harms_nothing_else() -> None:
    w = random_weights(9)
    pairs = index([1, 2, 3], [4, 5, 6])
    clean = ranks(w, pairs)
    w.E[2, 0] = torch.nan
    w.O[0, 1, 0, 0] = torch.inf
    ranker = Ranker(w.U, pairs, limit=11)
    found = ranker.layer(w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], ALL)
    bad = np.zeros_like(found.broken)
    bad[pairs.sources[pairs.row] == 2] = True
    bad[:, 1] = True
    np.testing.assert_array_equal(found.broken, bad)
    assert (found.twice[bad] == 0).all()
    np.testing.assert_array_equal(found.twice[~bad], clean[~bad])


def test_heads_left_out_have_no_ranks() -> None:
    w = random_weights(10)
    pairs = some_pairs(10, 200)
    active = np.array([True, False, True])
    found = Ranker(w.U, pairs, limit=11).layer(w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], active)
    assert (found.twice[:, 1] == 0).all()
    assert (found.twice[:, [0, 2]] > 0).all()


def test_the_sources_own_column_is_compared() -> None:
    w = random_weights(11, vocab=60)
    pairs = index([*range(20), 30], [*range(20, 40), 30])
    found = Ranker(w.U, pairs, limit=60).layer(w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], ALL)
    for pair, (row, target) in enumerate(zip(pairs.row, pairs.targets, strict=True)):
        source = int(pairs.sources[row])
        for head in range(3):
            logits = reference_logits(w.E[source], w.V[0], w.O[0], w.U, head)
            assert found.above[pair, head] == (2 if logits[source] > logits[target] else 0)
            if source != target:
                without = reference_twice(logits, int(target), without=source)
                assert found.twice[pair, head] - found.above[pair, head] == without


def test_the_copier_ranks_by_its_own_vector() -> None:
    w = random_weights(12)
    pairs = some_pairs(12, 200)
    x = w.E[torch.from_numpy(pairs.sources)]
    found = Ranker(w.U, pairs, limit=200).copier(x).twice
    logits = (x.double() @ w.U.double()).numpy()
    truth = [reference_twice(logits[row], int(t)) for row, t in zip(pairs.row, pairs.targets, strict=True)]
    np.testing.assert_array_equal(found[:, 0], truth)


class Extremes:
    """Keeps what the engine hands to a sink."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.top: list[Tensor] = []
        self.bottom: list[Tensor] = []

    def add(self, head: int, z: Tensor, g: Tensor, top: Tensor, bottom: Tensor, bound: Tensor) -> None:
        self.top.append(top.clone())
        self.bottom.append(bottom.clone())

    def finish(self) -> None: ...


@pytest.mark.parametrize(("vocab", "chunk"), [(40, 32), (200, 64), (1000, 2048), (1001, 96)])
def test_extreme_values_are_those_of_a_sort(vocab: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    w = random_weights(13, vocab=vocab, heads=2, kv=2)
    w.U[:, 5:9] = w.U[:, 4:5]  # ties
    pairs = some_pairs(13, vocab)
    x, sink = w.E[torch.from_numpy(pairs.sources)], Extremes(12)
    ranker = Ranker(w.U, pairs, limit=11, chunk=chunk)
    ranker.tile = 7
    ranker.layer(x, w.V[0], w.O[0], ALL, sink)
    for head in range(2):
        ordered = torch.from_numpy(reference_logits(x, w.V[0], w.O[0], w.U, head)).float().sort(dim=1).values
        torch.testing.assert_close(sink.top[head], ordered.flip(1)[:, :12], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(sink.bottom[head], ordered[:, :12], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_columns_that_fill_up_a_block_are_no_values(sign: float) -> None:
    """All logits on one side of 0, and a last block that is not full."""
    w = random_weights(15, vocab=70)
    w.U = sign * w.U.abs()
    w.U[:, 64:] = w.U.mean(1, keepdim=True)  # neither the largest nor the smallest is in the last block
    w.E, w.V, w.O = w.E.abs(), w.V.abs(), w.O.abs()
    pairs, sink = index(list(range(12)), [2] * 12), Extremes(1)  # fewer values than blocks: a block must win
    x = w.E[torch.from_numpy(pairs.sources)]
    Ranker(w.U, pairs, limit=2, chunk=32).layer(x, w.V[0], w.O[0], ALL, sink)
    truth = torch.from_numpy(reference_logits(x, w.V[0], w.O[0], w.U, 1)).float()
    torch.testing.assert_close(sink.top[1][:, 0], truth.amax(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sink.bottom[1][:, 0], truth.amin(1), rtol=1e-4, atol=1e-4)


def test_fewer_columns_than_wanted_leave_infinities() -> None:
    w = random_weights(14, vocab=9)
    pairs, sink = index([0, 1], [2, 3]), Extremes(12)
    Ranker(w.U, pairs, limit=3).layer(w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], ALL, sink)
    assert torch.isfinite(sink.top[0]).sum(1).tolist() == [9, 9]
    assert (sink.bottom[0][:, 9:] == torch.inf).all()


def test_pairs_are_unique_and_those_with_most_targets_come_first() -> None:
    pairs = PairIndex.build({"a": ([5, 7, 5, 5], [1, 1, 2, 1]), "b": ([7, 9], [1, 3])})
    assert pairs.sources.tolist() == [5, 7, 9]
    assert list(zip(pairs.sources[pairs.row].tolist(), pairs.targets.tolist(), strict=True)) == [
        (5, 1),
        (5, 2),
        (7, 1),
        (9, 3),
    ]
    assert [slot.tolist() for slot in pairs.slots] == [[0, 2, 3], [1]]
    assert pairs.members["a"].tolist() == [0, 2, 1, 0]
    assert pairs.members["b"].tolist() == [2, 3]


def test_full_float32_is_asked_for_and_given_back() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with exact_float32():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


class TopTwo:
    """A sink that keeps each head's two largest values of every row."""

    depth = 2

    def __init__(self) -> None:
        self.top: dict[int, Tensor] = {}

    def add(self, head: int, z: Tensor, g: Tensor, top: Tensor, bottom: Tensor, bound: Tensor) -> None:
        assert len(z) == len(top) == len(bottom) == len(bound)
        self.top[head] = top.clone()

    def finish(self) -> None: ...


def test_few_rows_take_several_heads_at_once_and_a_last_group_may_be_smaller() -> None:
    """One relation of one's own: 30 rows, so that 8 heads fill a tile and the ninth is alone."""
    w = random_weights(3, vocab=90, d_model=48, d_head=24, heads=9, kv=9)
    pairs = index(list(range(30)), list(range(30, 60)))
    sink = TopTwo()
    ranker = Ranker(w.U, pairs, limit=11)
    assert 9 % (ranker.tile // 30) > 1 or ranker.tile // 30 < 9
    ranker.layer(w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], ALL, sink)
    for head in range(9):
        for row, source in enumerate(pairs.sources):
            wanted = np.sort(reference_logits(w.E[int(source)], w.V[0], w.O[0], w.U, head))[::-1][:2]
            np.testing.assert_allclose(sink.top[head][row, :2].numpy(), wanted, rtol=1e-4, atol=1e-4)
