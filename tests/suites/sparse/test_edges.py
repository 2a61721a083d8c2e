"""Edge attribution against finite differences, patching against its ends, and the counts on small arrays."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.sparse.scoring import edges
from reportgen.suites.sparse.scoring.compare import take
from reportgen.suites.sparse.scoring.edges import ModelColumn
from reportgen.suites.sparse.scoring.gates import Gate, every_edge, hooks
from reportgen.suites.sparse.scoring.prompts import PromptGroup
from tests.tiny import tiny_folder

GROUP = PromptGroup(
    template="", ids=np.array([[2, 7, 9, 4, 11, 5, 3]]), answers=np.array([20]), foils=np.array([21]),
    corrupted=np.array([[2, 7, 15, 4, 11, 5, 3]]), key=2,
)  # fmt: skip


def one(column: ModelColumn, group: PromptGroup, scanning: edges.Scanning) -> edges.Scan:
    return edges.run_scans(column, group, [(0, scanning)])[0]


@pytest.fixture(scope="module", params=["gpt2", "qwen2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_folder(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


@pytest.fixture(params=["dense", "sparse"])
def column(request: pytest.FixtureRequest, model: Model) -> ModelColumn:
    return ModelColumn(request.param, model, every_edge if request.param == "dense" else Gate(bias=0.1))


def m_with(column: ModelColumn, layer: int, head: int, query: int, key: int, factor: float) -> float:
    """m with one edge's weight scaled."""

    def edit(at: int, used: torch.Tensor) -> torch.Tensor | None:
        if at != layer:
            return None
        out = used.clone()
        out[:, head, query, key] *= factor
        return out

    logits = column.model.run(torch.as_tensor(GROUP.ids), hooks(column.model, column.rule, edit), last=True)[:, -1]
    return float(logits[0, 20] - logits[0, 21])


def test_attribution_is_the_slope_of_m_in_each_edge(column: ModelColumn) -> None:
    found = edges.trace(column, GROUP)
    attribution = found.attribution()[0]  # [layer head query key]
    assert float(found.m[0]) == pytest.approx(m_with(column, 0, 0, 0, 0, 1.0), abs=1e-5)
    step = 0.02
    for layer, head, query, key in [(0, 1, 6, 2), (1, 0, 4, 4), (2, 3, 6, 5), (1, 2, 6, 0), (2, 1, 3, 1)]:
        slope = (
            m_with(column, layer, head, query, key, 1 + step) - m_with(column, layer, head, query, key, 1 - step)
        ) / (2 * step)
        assert float(attribution[layer, head, query, key]) == pytest.approx(slope, abs=2e-3)


def test_a_closed_gate_has_no_attribution(model: Model) -> None:
    found = edges.trace(ModelColumn("sparse", model, Gate(bias=0.1)), GROUP)
    closed = found.pattern == 0
    assert 0.3 < closed.float().mean() < 1
    assert (found.attribution()[closed] == 0).all()


def test_without_a_foil_m_is_against_the_mean_logit() -> None:
    logits = torch.tensor([[1.0, 3.0, 8.0]])
    answers = torch.tensor([2])
    assert float(edges.metric(logits, answers, None)) == 4.0
    assert float(edges.metric(logits, answers, torch.tensor([1]))) == 5.0


def patched_z(column: ModelColumn, group: PromptGroup, source: edges.EdgeTrace) -> float:
    """m with every head's output replaced by that of `source`, computed here from its messages."""
    z = torch.einsum("lhqk,lkhd->lqhd", source.pattern[0], source.values[0])
    made = hooks(column.model, column.rule)
    for layer in range(column.model.record.n_layers):
        made["z", layer] = lambda out, layer=layer: z[layer][None]
    logits = column.model.run(torch.as_tensor(group.ids), made, last=True)[:, -1]
    return float(logits[0, 20] - logits[0, 21])


def test_patching_all_edges_gives_every_head_the_other_run_s_output(model: Model) -> None:
    column = ModelColumn("dense", model, every_edge)
    clean, twin = edges.trace(column, GROUP), edges.trace(column, GROUP, corrupted=True)
    scan = one(column, GROUP, edges.fewest_edges(clean, twin, whole=True))
    base, full = patched_z(column, GROUP, twin), float(clean.m[0])
    if full <= base:  # the gap must be positive: read it the other way round
        flipped = PromptGroup("", GROUP.ids, GROUP.foils, GROUP.corrupted, GROUP.answers, 2)  # type: ignore[arg-type]
        clean = edges.trace(column, flipped)
        scan = one(column, flipped, edges.fewest_edges(clean, twin, whole=True))
    assert scan.kept[0] == 0
    assert scan.share[0] == pytest.approx(0.0, abs=1e-5)
    assert scan.share[-1] == pytest.approx(1.0, abs=1e-4)
    assert scan.kept[-1] == model.record.n_layers * model.record.n_heads * 28
    assert scan.reached == scan.kept[np.flatnonzero(scan.share >= 0.9)[0]]


def test_zeroing_all_edges_silences_every_head(model: Model) -> None:
    column = ModelColumn("dense", model, every_edge)
    clean = edges.trace(column, GROUP)
    silent = column.model.run(
        torch.as_tensor(GROUP.ids), {("z", layer): lambda z: z * 0 for layer in range(model.record.n_layers)}, last=True
    )[:, -1]
    scan = one(column, GROUP, edges.fewest_edges(clean, None, whole=True))
    if np.isnan(scan.share).any():
        assert float(clean.m[0]) <= 0
    else:
        assert scan.share[0] == pytest.approx(float(silent[0, 20] - silent[0, 21]) / float(clean.m[0]), abs=1e-4)
        assert scan.share[-1] == pytest.approx(1.0, abs=1e-4)


def test_resampling_from_the_prompt_itself_changes_nothing(column: ModelColumn) -> None:
    clean = edges.trace(column, GROUP)

    def make(layer: int, rows: torch.Tensor) -> edges.Patch:
        none = torch.zeros(2, column.model.record.n_heads, 7, 7, dtype=torch.bool)
        return edges.without(layer, none, clean, rows * 0, clean)

    def ask() -> edges.Scanning:
        m.extend((yield edges.Ask(2, make)))
        return edges.Scan(np.array([0]), np.array([0.0]), 0.0)

    m: list[float] = []
    one(column, GROUP, ask())
    assert m == pytest.approx([float(clean.m[0])] * 2, abs=1e-4)


def test_scans_together_find_what_they_find_alone(column: ModelColumn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two prompts, three scans each, in passes of a few rows of several scans; as many passes as the rows need."""
    pair = PromptGroup(
        template="", ids=np.array([[2, 7, 9, 4, 11, 5, 3], [2, 8, 9, 6, 11, 5, 3]]), answers=np.array([20, 22]),
        foils=np.array([21, 23]), corrupted=np.array([[2, 7, 15, 4, 11, 5, 3], [2, 8, 15, 6, 11, 5, 3]]), key=2,
    )  # fmt: skip
    clean, twins = edges.trace(column, pair), edges.trace(column, pair, corrupted=True)

    def jobs(i: int) -> list[tuple[int, edges.Scanning]]:
        own, twin = take(clean, slice(i, i + 1)), take(twins, slice(i, i + 1))
        return [
            (i, s)
            for s in (
                edges.fewest_edges(own, twin, whole=True),
                edges.fewest_heads(own, twin),
                edges.fewest_edges(own, None),
            )
        ]

    alone = [one(column, pair.row(i), s) for i in (0, 1) for _, s in jobs(i)]
    passes: list[int] = []
    run = Model.run

    def counted(self: Model, ids: torch.Tensor, *rest: object, **named: object) -> torch.Tensor:
        passes.append(len(ids))
        return run(self, ids, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "run", counted)
    monkeypatch.setattr(edges, "TOKENS", 7 * 50)
    together = edges.run_scans(column, pair, jobs(0) + jobs(1))
    assert max(passes) == 50
    for found, wanted in zip(together, alone, strict=True):
        assert found.kept.tolist() == wanted.kept.tolist()
        np.testing.assert_allclose(found.share, wanted.share, atol=2e-4)


def test_heads_are_counted_by_patching_their_outputs(model: Model) -> None:
    column = ModelColumn("dense", model, every_edge)
    clean, twin = edges.trace(column, GROUP), edges.trace(column, GROUP, corrupted=True)
    scan = one(column, GROUP, edges.fewest_heads(clean, twin))
    base = patched_z(column, GROUP, twin)
    if float(clean.m[0]) <= base:
        assert np.isnan(scan.reached)
    else:
        assert 1 <= scan.reached <= model.record.n_layers * model.record.n_heads


def test_many_heads_are_ranked_by_first_order_effect(model: Model) -> None:
    """Each head's own by hand: its output's change times the gradient, summed over positions."""
    column = ModelColumn("dense", model, every_edge)
    clean, twin = edges.trace(column, GROUP), edges.trace(column, GROUP, corrupted=True)
    exact = one(column, GROUP, edges.fewest_heads(clean, twin))
    fast = one(column, GROUP, edges.fewest_heads(clean, twin, exact_heads=1))
    assert float(fast.share[0]) == pytest.approx(float(exact.share[0]), nan_ok=True)
    outputs = [torch.einsum("lhqk,lkhd->lqhd", t.pattern[0], t.values[0]) for t in (clean, twin)]
    by_hand = ((outputs[0] - outputs[1]) * clean.pull[0]).sum((1, 3))
    torch.testing.assert_close(clean.attribution(twin)[0].sum((-2, -1)), by_hand, atol=1e-4, rtol=1e-4)


def answered(sizes: list[int], told: Callable[[int], float], *, whole: bool) -> tuple[edges.Scan, list[int]]:
    """A scan told `told` of each size, and the sizes it asked for."""
    asked: list[int] = []

    def ask(some: list[int]) -> edges.Ask:
        asked.extend(some)
        return edges.Ask(len(some), lambda layer, rows: pytest.fail("no model here"))

    scanning = edges.scan(sizes, ask, 10.0, resampled=True, whole=whole)
    wanted = next(scanning)
    try:
        while True:
            wanted = scanning.send(np.array([told(n) for n in asked[-wanted.count :]]))
    except StopIteration as done:
        return done.value, asked


def fake(curve: dict[int, float]) -> edges.Scan:
    return answered(sorted(curve), curve.__getitem__, whole=True)[0]


def test_the_scan_takes_the_first_crossing_of_a_curve_that_is_not_monotone() -> None:
    assert fake({0: 0.0, 1: 3.0, 2: 9.5, 3: 4.0, 4: 10.0}).reached == 2.0
    assert fake({0: 1.0, 1: 3.0, 2: 9.0, 3: 9.2}).reached == 3.0  # the gap is 9, so 9.1 is needed
    never = fake({0: 0.0, 1: 3.0, 2: 8.9})
    assert np.isnan(never.reached)
    assert never.share.tolist() == pytest.approx([0.0, 0.3, 0.89])
    assert np.isnan(fake({0: 11.0, 1: 12.0}).reached)  # no gap


def test_the_scan_stops_where_it_is_enough() -> None:
    found, asked = answered(list(range(200)), lambda n: 10.0 if n else 0.0, whole=False)
    assert found.reached == 1.0
    assert len(asked) < 60
    assert answered(list(range(200)), lambda n: 10.0 if n else 0.0, whole=True)[1][-1] == 199


@given(st.integers(1, 5000))
def test_the_grid_rises_to_the_total(total: int) -> None:
    found = edges.grid(total)
    assert found[-1] == total
    assert found == sorted(set(found))
    assert found[: min(24, total)] == list(range(1, min(24, total) + 1))
    assert all(b <= 1.11 * a + 1 for a, b in pairwise(found[23:]))


def test_fewest_heads_of_a_link_by_hand() -> None:
    attribution = np.zeros((2, 3, 4, 4))
    attribution[:, :, 3, 1] = [[5.0, -9.0, 1.0], [3.0, 1.0, 0.0]]
    assert edges.heads_for_link(attribution, 3, 1) == [(0, 0), (1, 0)]  # 8 of 10
    assert edges.heads_for_link(attribution, 3, 1, share=0.81) == [(0, 0), (1, 0), (0, 2)]
    assert edges.heads_for_link(attribution, 2, 1) == []


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_fewest_edges_hold_their_share_and_one_fewer_does_not(values: list[float]) -> None:
    array = np.array(values)
    sizes = np.sort(np.abs(array))[::-1]
    if sizes.sum() <= 0:
        assert np.isnan(edges.edges_holding(array, 0.9))
        return
    count = int(edges.edges_holding(array, 0.9))
    assert sizes[:count].sum() >= 0.9 * sizes.sum() * (1 - 1e-6)
    assert count == 1 or sizes[: count - 1].sum() <= 0.9 * sizes.sum()


def test_the_main_link_leaves_out_position_0_and_the_query_itself() -> None:
    one = np.zeros((1, 1, 5, 5))
    one[0, 0, 4, 0], one[0, 0, 4, 4], one[0, 0, 4, 2], one[0, 0, 3, 1] = 50.0, 40.0, -3.0, 2.0
    assert edges.main_link([one]) == (2, 4)
    other = np.zeros((1, 1, 5, 5))
    other[0, 0, 3, 1] = 0.5  # all of this model's attribution
    assert edges.main_link([one, other]) == (1, 3)


def test_columns_can_share_one_forward_pass_shape(tmp_path: Path) -> None:
    """Traces of grouped queries have one value vector per query head."""
    model = load(tiny_folder("qwen2", tmp_path), device="cpu")
    found = edges.trace(ModelColumn("dense", model, every_edge), GROUP)
    assert found.values.shape == (1, 3, 7, 4, 8)
    assert torch.equal(found.values[:, :, :, 0], found.values[:, :, :, 1])
