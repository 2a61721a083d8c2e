"""The engine on a CUDA device: every decision is that of float64, as on the CPU. Skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reportgen.selftest.planted import random_weights
from reportgen.suites.relations.scoring.ranks import Ranker
from reportgen.suites.relations.scoring.static import Cells, HitTables
from tests.suites.relations.test_engine import ALL, at_rank, expected, index
from tests.suites.relations.test_recheck import LIMIT, assert_exact_to_the_limit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("sources", [8, 200])  # without and with W_O W_U
def test_boundary_ranks_and_hit_tables_on_a_gpu(null: bool, sources: int) -> None:
    w = random_weights(5, vocab=3000, d_model=96, d_head=24, heads=4, kv=2)
    cases = [(s, at_rank(w, s, s % 4, 7 + s % 6)) for s in range(sources)]
    pairs = index(*map(list, zip(*cases, strict=True)))
    tables = {}
    for device in ("cpu", "cuda"):
        ranker = Ranker(w.U.to(device), pairs, limit=LIMIT, chunk=512)
        sink = HitTables([Cells.build("all", 10, pairs, ranker.columns)], ranker, 4, {}) if null else None
        rows = w.E[torch.from_numpy(pairs.sources)].to(device)
        found = ranker.layer(rows, w.V[0].to(device), w.O[0].to(device), ALL, sink)
        assert_exact_to_the_limit(found.twice, expected(w, pairs), 3000)
        tables[device] = sink.tables["all"].copy() if sink is not None else np.zeros(1)
    assert (tables["cpu"] != tables["cuda"]).mean() < 1e-4  # cells within the rounding bound count as hits on either
