"""The ranks are those of a plain float64 reference, whatever the layout of the work."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from reportgen.suites.relations.engine import PairIndex, Ranker
from tests.suites.relations.plain import PlainWeights, random_weights, reference_logits, reference_twice

ALL = np.ones(64, dtype=bool)


def pairs_of(rng: np.random.Generator, vocab: int, n: int) -> PairIndex:
    sources = rng.integers(0, vocab, n).tolist()
    targets = rng.integers(0, vocab, n).tolist()
    return PairIndex.build({"a": (sources, targets), "b": (sources[: n // 2], targets[-(n // 2) :])})


def rank(w: PlainWeights, pairs: PairIndex, limit: int = 11, **options: int) -> np.ndarray:
    ranker = Ranker(w.U, pairs, limit=limit, **options)
    return ranker.layer(w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], ALL).twice


def expected(w: PlainWeights, pairs: PairIndex) -> np.ndarray:
    out = np.zeros((len(pairs.targets), w.O.shape[1]), dtype=np.uint32)
    for head in range(w.O.shape[1]):
        for pair, (row, target) in enumerate(zip(pairs.row, pairs.targets, strict=True)):
            logits = reference_logits(w.E[pairs.sources[row]], w.V[0], w.O[0], w.U, head)
            out[pair, head] = reference_twice(logits, int(target))
    return out


@given(seed=st.integers(0, 10**6), chunk=st.sampled_from([32, 64, 2048]), heads_per_kv=st.integers(1, 3))
def test_ranks_are_those_of_the_reference(seed: int, chunk: int, heads_per_kv: int) -> None:
    w = random_weights(seed, heads=2 * heads_per_kv, kv=2, vocab=70 + seed % 60)
    pairs = pairs_of(np.random.default_rng(seed), w.E.shape[0], 25)
    np.testing.assert_array_equal(rank(w, pairs, limit=200, chunk=chunk), expected(w, pairs))
