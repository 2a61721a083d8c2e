"""Permuted scores are those of the permuted pairs, with p as rare as it says; controls keep what they claim to keep."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from reportgen.selftest.planted import PlainWeights, random_weights
from reportgen.stats import step_down_max_t
from reportgen.suites.relations.scoring.ranks import PairIndex, Ranker
from reportgen.suites.relations.scoring.static import (
    ADJUSTED,
    MEASURES,
    STRICT,
    Cells,
    Folded,
    HitTables,
    MatchedSpectra,
    Permutations,
    singular_values,
)
from reportgen.suites.twins import has_twin, random_twins
from tests.suites.relations.plain import reference_logits, reference_twice

ALL = np.ones(64, dtype=bool)


def tables(w: PlainWeights, pairs: PairIndex, ks: dict[str, int]) -> tuple[list[Cells], HitTables]:
    """Layer 0's hit tables, after the copier's."""
    ranker = Ranker(w.U, pairs, limit=max(ks.values()) + 1, chunk=64)
    x = w.E[torch.from_numpy(pairs.sources)]
    cells = [Cells.build(stem, k, pairs, ranker.columns) for stem, k in ks.items()]
    copier = HitTables(cells, ranker, 1, {})
    ranker.copier(x, copier)
    copied = {c.stem: copier.tables[c.stem][:, :, ADJUSTED, 0].astype(bool) for c in cells}
    found = HitTables(cells, ranker, w.O.shape[1], copied)
    ranker.layer(x, w.V[0], w.O[0], ALL, found)
    return cells, found


def reference_hit(w: PlainWeights, k: int, source: int, target: int, head: int) -> list[bool]:
    """score, suppression, strict, adjusted of one pair under one head."""
    row = reference_logits(w.E[source], w.V[0], w.O[0], w.U, head)
    copy = (w.E[source].double() @ w.U.double()).numpy()
    apart = source != target
    return [
        reference_twice(row, target) <= 2 * k,
        reference_twice(-row, target) <= 2 * k,
        apart and reference_twice(row, target, without=source) == 2,
        apart
        and reference_twice(row, target, without=source) <= 2 * k
        and reference_twice(copy, target, without=source) > 2 * k,
    ]


def some_relations(seed: int, vocab: int) -> PairIndex:
    rng = np.random.default_rng(seed)
    shared = rng.integers(0, vocab, 4)
    return PairIndex.build(
        {
            "few_targets": (rng.integers(0, vocab, 20).tolist(), rng.choice(shared, 20).tolist()),
            "near_copies": ([*range(15), 3, 3], [*range(10), 20, 21, 22, 23, 24, 4, 4]),
        }
    )


@pytest.mark.parametrize("seed", range(4))
def test_tables_hold_every_cell_of_the_reference(seed: int) -> None:
    w = random_weights(seed, vocab=60, d_model=8)
    pairs = some_relations(seed, 60)
    ks = {"few_targets": 10, "near_copies": 3}
    cells, found = tables(w, pairs, ks)
    seen = np.zeros(len(MEASURES), dtype=int)
    for c in cells:
        sources, targets = pairs.sources[c.rows], np.unique(pairs.targets[pairs.members[c.stem]])
        for i, source in enumerate(sources):
            for j, target in enumerate(targets):
                for head in range(3):
                    want = reference_hit(w, ks[c.stem], int(source), int(target), head)
                    assert found.tables[c.stem][i, j, :, head].tolist() == want
                    seen += want
    assert (seen > 0).all()


def test_permuted_scores_are_scores_of_permuted_pairs() -> None:
    w = random_weights(5, vocab=60, d_model=8)
    pairs = some_relations(5, 60)
    cells, found = tables(w, pairs, {"near_copies": 5})
    c = cells[0]
    null = Permutations(c, 25, 2, 3, np.random.default_rng(0))
    null.fill(1, found.tables[c.stem])
    targets = np.unique(pairs.targets[pairs.members[c.stem]])
    sources = pairs.sources[c.rows][c.source]
    for draw in range(25):
        drawn = targets[null.targets[:, draw]]
        assert sorted(drawn) == sorted(pairs.targets[pairs.members[c.stem]])
        assert null.eligible[draw] == (drawn != sources).sum()
        for head in range(3):
            hits = [reference_hit(w, 5, int(s), int(t), head) for s, t in zip(sources, drawn, strict=True)]
            assert null.counts[draw, :, 1, head].tolist() == np.sum(hits, axis=0).tolist()
    assert (null.counts[:, :, 0] == 0).all()
    assert null.shares("score").shape == (25, 6)
    for measure, of in (("score", len(sources)), ("strict", null.eligible[3])):
        counts = null.counts[3, MEASURES.index(measure)].ravel()
        np.testing.assert_allclose(null.shares(measure)[3], counts / of, rtol=1e-6)


def test_counts_beyond_a_byte_are_carried_over() -> None:
    n = 700
    pairs = PairIndex.build({"all": (list(range(n)), [n] * n)})
    c = Cells.build("all", 1, pairs, np.arange(n + 1))
    null = Permutations(c, 3, 1, 2, np.random.default_rng(0))
    table = np.zeros((*c.same.shape, len(MEASURES), 2), dtype=np.uint8)
    table[:, :, 0, 0] = 1
    null.fill(0, table)
    np.testing.assert_array_equal(null.counts[:, 0, 0], [[n, 0]] * 3)


def test_a_tie_across_rank_k_is_a_hit_in_the_null() -> None:
    w = random_weights(6, vocab=50)
    w.U[:, 1] = w.U[:, 0]
    source = int(np.argmax(reference_logits(w.E, w.V[0], w.O[0], w.U, 0)[:, 0]))
    logits = reference_logits(w.E[source], w.V[0], w.O[0], w.U, 0)
    k = int((logits > logits[0]).sum()) + 1  # tokens 0 and 1 stand at k and k + 1
    pairs = PairIndex.build({"all": ([source] * 3, [0, 1, int(np.argmin(logits))])})
    cells, found = tables(w, pairs, {"all": k})
    targets = np.unique(pairs.targets)
    assert found.tables["all"][0, np.searchsorted(targets, [0, 1]), 0, 0].tolist() == [1, 1]
    assert found.tables["all"][0, np.searchsorted(targets, np.argmin(logits)), 0, 0] == 0
    assert cells[0].k == k


def smallest_p(seed: int) -> npt.NDArray[np.float64]:
    """Smallest adjusted p of each measure over the heads of a random model, for a relation that is no relation."""
    w = random_weights(seed, vocab=80, d_model=8, heads=8, kv=8)
    rng = np.random.default_rng(seed)
    targets = rng.choice(rng.integers(0, 80, 12), 40)
    pairs = PairIndex.build({"all": (rng.permutation(80)[:40].tolist(), targets.tolist())})
    cells, found = tables(w, pairs, {"all": 10})
    c, table = cells[0], found.tables["all"]
    null = Permutations(c, 99, 1, 8, rng)
    null.fill(0, table)
    apart = ~c.same[c.source, c.target]
    out = []
    for i, measure in enumerate(MEASURES):
        n = apart.sum() if i in (STRICT, ADJUSTED) else len(apart)
        observed = table[c.source, c.target, i].sum(axis=0) / n
        out.append(np.nanmin(step_down_max_t(observed, null.shares(measure), floor=1 / n)))
    return np.array(out)


def test_no_head_of_a_random_model_is_significant_more_often_than_it_should() -> None:
    p = np.array([smallest_p(seed) for seed in range(150)])
    for measure in range(len(MEASURES)):
        for level in (0.05, 0.2, 0.5):
            # Three standard errors above the level; a null that is too low fails by far.
            assert (p[:, measure] <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / 150)
    assert (p[:, 0] <= 0.5).mean() > 0.25  # and it is no constant 1


def products(W_V: torch.Tensor, W_O: torch.Tensor) -> torch.Tensor:
    return W_V.repeat_interleave(len(W_O) // len(W_V), dim=0) @ W_O  # [head d_model d_model]


def test_matched_maps_keep_the_singular_values_and_nothing_else() -> None:
    w = random_weights(0, heads=4, kv=2)
    own = products(w.V[1], w.O[1])
    drawn = products(*MatchedSpectra(w, seed=3).maps(1))
    torch.testing.assert_close(
        torch.linalg.svdvals(drawn)[:, :4], torch.linalg.svdvals(own)[:, :4], rtol=1e-4, atol=1e-4
    )
    overlap = (drawn * own).sum((1, 2)) / own.norm(dim=(1, 2)) / drawn.norm(dim=(1, 2))
    assert overlap.abs().max() < 0.5


def test_matched_maps_follow_their_seed_and_layer() -> None:
    w = random_weights(0)
    first = MatchedSpectra(w, seed=3)
    torch.testing.assert_close(first.maps(0), MatchedSpectra(w, seed=3).maps(0), rtol=0, atol=0)
    assert not torch.allclose(first.maps(0)[1], first.maps(1)[1])
    assert not torch.allclose(first.maps(0)[1], MatchedSpectra(w, seed=4).maps(0)[1])


def test_singular_values_are_those_of_the_product() -> None:
    w = random_weights(1, heads=4, kv=2)
    expected = torch.linalg.svdvals(products(w.V[0], w.O[0]).double())[:, :4].float()
    torch.testing.assert_close(singular_values(w.V[0], w.O[0]), expected, rtol=1e-5, atol=1e-5)


def test_folding_is_what_the_scaled_vectors_give() -> None:
    w = random_weights(2)
    assert not Folded(w).changes
    w.ln1, w.final, w.post = torch.rand(2, 16) + 0.5, torch.rand(16) + 0.5, torch.rand(2, 16) + 0.5
    assert Folded(w).changes
    x = torch.randn(5, 16)
    W_V, W_O = Folded(w).maps(1)
    by_hand = ((x * w.ln1[1]) @ w.V[1] @ w.O[1]) * w.post[1] * w.final
    torch.testing.assert_close(x @ W_V @ W_O, by_hand, rtol=1e-4, atol=1e-4)


def test_weights_without_a_model_have_no_twin() -> None:
    assert not has_twin(random_weights(0))
    assert not list(random_twins(random_weights(0), [0]))
