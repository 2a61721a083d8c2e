"""What the engine costs, counted: products, their operations, bytes alive at once. Never seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

from reportgen.selftest.planted import PlainWeights, random_weights
from reportgen.suites.relations.scoring.near_ranks import NearRanks
from reportgen.suites.relations.scoring.ranks import PairIndex, Ranker
from reportgen.suites.relations.scoring.static import Cells, HitTables
from tests.suites.relations.memory import Allocations

ALL = np.ones(64, dtype=bool)
VOCAB, D_MODEL, D_HEAD, HEADS, ROWS = 3000, 64, 8, 6, 100


@contextmanager
def operations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Operations of every float32 product made inside."""
    made: list[float] = []
    mm = torch.mm

    def counted(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
        assert a.dtype == torch.float32
        made.append(2.0 * a.shape[0] * a.shape[1] * b.shape[1])
        return mm(a, b, out=out)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "mm", counted)
        yield made


def model() -> PlainWeights:
    return random_weights(0, vocab=VOCAB, d_model=D_MODEL, d_head=D_HEAD, heads=HEADS, kv=2)


def relations(n: int, rows: int) -> PairIndex:
    """n relations on the same sources, each with other targets."""
    sources = list(range(rows))
    return PairIndex.build({f"r{i}": (sources, [(s + 7 * i + 1) % VOCAB for s in sources]) for i in range(n)})


def rank(w: PlainWeights, pairs: PairIndex, *, null: bool = False, tile_mib: int = 1) -> None:
    ranker = Ranker(w.U, pairs, limit=11, chunk=512, tile_mib=tile_mib)
    cells = [Cells.build(stem, 10, pairs, ranker.columns) for stem in pairs.members] if null else []
    sink = HitTables(cells, ranker, HEADS, {}) if null else None
    ranker.layer(w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], ALL, sink)


LOW_RANK = 2.0 * HEADS * D_HEAD * VOCAB * (D_MODEL + ROWS)


@pytest.mark.parametrize("null", [False, True])
def test_a_layer_takes_the_operations_of_the_low_rank_form(null: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with operations(monkeypatch) as made:
        rank(model(), relations(1, ROWS), null=null)
    assert sum(made) == LOW_RANK


def test_more_relations_on_the_same_sources_take_no_more_products(monkeypatch: pytest.MonkeyPatch) -> None:
    with operations(monkeypatch) as one:
        rank(model(), relations(1, ROWS), null=True)
    with operations(monkeypatch) as many:
        rank(model(), relations(5, ROWS), null=True)
    assert many == one


def test_few_rows_take_the_direct_form_in_few_products(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 5
    assert rows * (D_MODEL - D_HEAD) < D_HEAD * D_MODEL
    with operations(monkeypatch) as made:
        rank(model(), relations(2, rows))
    assert sum(made) == 2.0 * HEADS * rows * D_MODEL * VOCAB
    assert len(made) == -(-VOCAB // 512)  # all heads of a layer in one product per chunk


@pytest.mark.parametrize("null", [False, True])
def test_memory_is_bounded_by_slabs_and_tiles(null: bool) -> None:
    w, pairs = model(), relations(1, 1000)
    w.E = w.E.double().float()  # the weights themselves are not counted
    with Allocations() as seen:
        rank(w, pairs, null=null)
    tile = 2**20
    slabs = 4 * tile  # W_O W_U of as many heads as four tiles hold
    exact = 8 * (D_MODEL * (len(pairs.sources) + 2 * 1001) + 4 * D_HEAD * 2 * 1001)  # float64 rows and columns
    tables = 1000 * 1001 * (4 + 4 + 4 * HEADS) if null else 0  # one head's logits and hits, and all heads' hits
    whole = 4 * HEADS * 1000 * VOCAB
    assert seen.peak < 3 * tile + slabs + exact + tables
    assert seen.peak - tables < whole / 3


def far_apart(vocab: int, rows: int) -> tuple[PlainWeights, PairIndex]:
    w = random_weights(1, vocab=vocab, d_model=D_MODEL, d_head=D_HEAD, heads=HEADS, kv=2)
    targets = torch.randperm(vocab, generator=torch.Generator().manual_seed(0))[:rows].tolist()
    return w, PairIndex.build({"all": (list(range(rows)), targets)})


def test_hits_alone_look_at_few_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits and operations of a pass that ranks up to a limit, against those of all ranks."""
    w, pairs = far_apart(20_000, 300)
    given = (w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], ALL)
    near, full = NearRanks.of(w.U, pairs, limit=11), Ranker(w.U, pairs, limit=11)
    looked: list[int] = []
    gt = torch.gt

    def counted(logits: Tensor, line: Tensor, *, out: Tensor) -> Tensor:
        looked.append(logits.numel())
        return gt(logits, line, out=out)

    monkeypatch.setattr(torch, "gt", counted)
    with operations(monkeypatch) as few:
        near.layer(*given)
    seen, whole = sum(looked) / 2, 300 * HEADS * 20_000  # each logit is held against both ends of the bound
    assert seen < whole / 10
    looked.clear()
    with operations(monkeypatch) as many:
        full.layer(*given)
    assert sum(looked) == whole
    assert sum(few) < sum(many) / 4


def test_memory_of_hits_alone_does_not_grow_with_the_vocabulary() -> None:
    peaks = []
    for vocab in (10_000, 40_000):
        w, pairs = far_apart(vocab, 300)
        near, given = NearRanks.of(w.U, pairs, limit=11), (w.E[torch.from_numpy(pairs.sources)], w.V[0], w.O[0], ALL)
        with Allocations() as seen:
            near.layer(*given)
        peaks.append(seen.peak)
    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < 4 * HEADS * 300 * 40_000 / 8


def test_a_second_layer_reuses_the_buffers() -> None:
    w, pairs = model(), relations(1, ROWS)
    ranker = Ranker(w.U, pairs, limit=11, chunk=512)
    x = w.E[torch.from_numpy(pairs.sources)]
    ranker.layer(x, w.V[0], w.O[0], ALL)
    slabs, tiles = [s.data_ptr() for s in ranker._slab_buffers or []], dict(ranker._tiles)
    ranker.layer(x, w.V[1], w.O[1], ALL)
    assert [s.data_ptr() for s in ranker._slab_buffers or []] == slabs
    assert ranker._tiles == tiles
