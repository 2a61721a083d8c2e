"""Many sets of heads at once: what each gives is that of a plain full pass, and what is run is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reportgen.models.load import load
from reportgen.models.model import Model
from reportgen.suites.base import Context
from reportgen.suites.circuits.scoring import passes
from reportgen.suites.circuits.scoring.effects import direct_effects, total_effects
from reportgen.suites.circuits.scoring.faithfulness import Ablation
from reportgen.suites.circuits.scoring.missed_heads import MissedHeadSearch
from reportgen.suites.circuits.scoring.passes import Batches, Metric, patched
from reportgen.suites.circuits.scoring.task_runs import Means, start, trace
from reportgen.suites.circuits.settings import Settings
from reportgen.suites.circuits.tasks import ioi
from reportgen.suites.circuits.tasks.task import Task
from tests.suites.circuits.test_effects import metric_of, random_task
from tests.suites.relations.memory import Allocations
from tests.suites.relations.runnable import tiny
from tests.tiny import FAMILIES, tiny_folder


@pytest.fixture(scope="module", params=["mini", "mistral"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Task]:
    """The bundled model on IOI, and a random one with grouped queries on random prompts."""
    if request.param == "mini":
        model = load("mini", device="cpu")
        return model, ioi.build(model.tokens, 8, 0)
    model = load(tiny_folder("mistral", tmp_path_factory.mktemp("grouped")), device="cpu")
    assert model.record.n_kv_heads < model.record.n_heads
    return model, random_task()


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_folder("mistral", tmp_path_factory.mktemp("alone")), device="cpu")


def shape(model: Model) -> tuple[int, int]:
    return model.record.n_layers, model.record.n_heads


def some_sets(size: tuple[int, int]) -> np.ndarray:
    """None, all, each layer's first head, nested ones, one twice, random ones: in no order."""
    rng = np.random.default_rng(0)
    nested = np.tril(np.ones((size[0] * size[1],) * 2, bool))[:: size[1]].reshape(-1, *size)
    single = np.zeros((size[0], *size), bool)
    single[np.arange(size[0]), np.arange(size[0]), 0] = True
    drawn = rng.random((8, *size)) < 0.3
    sets = np.concatenate([np.zeros((1, *size), bool), np.ones((1, *size), bool), nested, ~nested, single, single])
    found: np.ndarray = rng.permutation(np.concatenate([sets, drawn]))
    return found


def whole_passes(model: Model, task: Task, donor: list[torch.Tensor], sets: np.ndarray, row: int) -> list[float]:
    """m of each set for a prompt: the whole prompt from the embedding on, all logits."""
    found = []
    for ablated in torch.from_numpy(sets):
        hooks = {
            ("z", i): (lambda z, i=i, mask=mask: torch.where(mask[:, None], donor[i], z))
            for i, mask in enumerate(ablated)
        }
        logits = model.run(torch.tensor([task.pairs[row].clean]), hooks)
        found.append(metric_of(model, task.pairs[row], logits, task.metric))
    return found


@pytest.mark.parametrize("rows", [passes.ROWS, 40])
@pytest.mark.parametrize("states", [passes.STATES, 1])
def test_every_set_gives_what_a_plain_full_pass_gives(
    case: tuple[Model, Task], rows: int, states: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, task = case
    monkeypatch.setattr(passes, "ROWS", rows)
    monkeypatch.setattr(passes, "STATES", states)
    sets = some_sets(shape(model))
    for batch in Batches(model, task, range(4)):
        found = patched(model, batch.clean, batch.rows, batch.corrupted.z, sets, Metric(task, model.device))
        for at, row in enumerate(batch.rows.tolist()):
            donor = [z[at : at + 1] for z in batch.corrupted.z]
            wanted = whole_passes(model, task, donor, sets, row)
            scale = max(1.0, np.abs(wanted).max())
            np.testing.assert_allclose(found[:, at].numpy(), wanted, rtol=0, atol=2e-5 * scale)


def test_a_runs_prompts_are_those_run_alone_and_not_run_again(
    case: tuple[Model, Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, task = case
    settings = Settings(tasks=(), tasks_file="", resamples=20, batch=3)
    of = start(model, task, settings, Context(seed=0, threads=1))
    with counted(model) as run:
        some = list(of.batches(of.sample(3)))
        gone = of.knocked_out([(1, 0), (2, 3)])
    positions = sum(len(pair.clean) for pair in task.pairs)
    assert run.blocks == dict.fromkeys(range(1, model.record.n_layers), 2 * positions)  # none below L1
    alone = {int(row): batch for batch in Batches(model, task, range(3)) for row in batch.rows}
    for batch in some:
        for at, row in enumerate(batch.rows.tolist()):
            own = alone[row].rows.tolist().index(row)
            for side in ("clean", "corrupted"):
                a, b = getattr(batch, side), getattr(alone[row], side)
                torch.testing.assert_close(a.m[at], b.m[own], atol=1e-4, rtol=1e-5)
                for i in range(model.record.n_layers):
                    torch.testing.assert_close(a.z[i][at], b.z[i][own], atol=1e-4, rtol=1e-4)
                    torch.testing.assert_close(a.residual[i][at], b.residual[i][own], atol=1e-4, rtol=1e-4)
    monkeypatch.setattr(passes, "KEPT", 1)  # nothing fits: whole runs, the same numbers
    again = start(model, task, settings, Context(seed=0, threads=1))
    assert again.kept is None
    for one, other in zip(gone, again.knocked_out([(1, 0), (2, 3)]), strict=True):
        torch.testing.assert_close(one.m, other.m, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(one.z, other.z, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one.attention, other.attention, atol=1e-5, rtol=1e-4)


def beginning_alike(task: Task, count: int) -> Task:
    """The task with this many first tokens of every corrupted prompt as in the clean one, the same in all prompts."""
    first = task.pairs[0].clean[:count]
    pairs = [replace(p, clean=first + p.clean[count:], corrupted=first + p.corrupted[count:]) for p in task.pairs]
    return replace(task, pairs=tuple(pairs))


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_before_the_first_difference_are_run_once(family: str, tmp_path: Path) -> None:
    model, task = tiny(family, tmp_path), beginning_alike(random_task(), 3)
    assert model.keeps_past
    sets, prompts = some_sets(shape(model)), Batches(model, task, range(3))
    found = ablation(model, task, range(3))
    for batch in prompts:
        assert batch.same == found.means.same(batch.pairs) == 3
        metric = Metric(task, model.device)
        with counted(model) as apart:
            wanted = patched(model, batch.clean, batch.rows, batch.corrupted.z, sets, metric)
        with counted(model) as run:
            m = patched(model, batch.clean, batch.rows, batch.corrupted.z, sets, metric, batch.same)
        np.testing.assert_allclose(m, wanted, atol=2e-5 * max(1.0, float(wanted.abs().max())))
        before = 3 * len(batch.pairs) * model.record.n_layers
        assert run.layers - before == apart.layers * (batch.pos - 3) // batch.pos
    whole = np.concatenate([whole_passes(model, task, donor, sets, row) for row, donor in _donors(found)])
    np.testing.assert_allclose(found.m(sets).T.ravel(), whole, atol=5e-5 * max(1.0, np.abs(whole).max()))


def _donors(of: Ablation) -> list[tuple[int, list[torch.Tensor]]]:
    """Each prompt's row and means."""
    layers, pairs = range(of.means.shape[0]), of.prompts.task.pairs
    return [(row, [of.means.of(i, [pairs[row]]) for i in layers]) for row in of.prompts.chosen]


class Counts:
    """What a model computes.

    blocks  layer -> positions that went through its block;  attention  and through its attention
    logits  positions times columns of W_U
    """

    def __init__(self) -> None:
        self.blocks: dict[int, int] = {}
        self.attention: dict[int, int] = {}
        self.logits = 0

    @property
    def layers(self) -> int:
        """Positions times layers."""
        return sum(self.blocks.values())


@contextmanager
def counted(model: Model) -> Iterator[Counts]:
    """Count what the model computes within the block."""
    counts, handles = Counts(), []
    ids = torch.zeros(1, 1, dtype=torch.long)
    model.run_until(ids, {}, 1, start=(1, torch.zeros(1, 1, model.record.d_model)))  # what happens once, before

    def into(where: dict[int, int], layer: int):  # type: ignore[no-untyped-def]
        def count(module: torch.nn.Module, args: tuple[object, ...], how: dict[str, object], _: object) -> None:
            given = args[0] if args else how["hidden_states"]
            if "forward" not in module.__dict__:  # skipped, or its output given
                where[layer] = where.get(layer, 0) + given.shape[0] * given.shape[1]  # type: ignore[attr-defined]

        return count

    def unembedded(_: torch.nn.Module, __: object, out: torch.Tensor) -> None:
        counts.logits += out.numel()

    for layer in range(model.record.n_layers):
        block = model.bridge.blocks[layer]
        handles.append(block.register_forward_hook(into(counts.blocks, layer), with_kwargs=True))
        handles.append(block.attn.register_forward_hook(into(counts.attention, layer), with_kwargs=True))
    handles.append(model.bridge.unembed.register_forward_hook(unembedded))
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def ablation(model: Model, task: Task, chosen: Sequence[int]) -> Ablation:
    means = Means(model)
    trace(model, task, 64, corrupted=True, means=means)
    found = Ablation(Batches(model, task, chosen), means)
    list(found.prompts)  # run once, before anything is counted
    return found


def test_sets_share_the_layers_they_agree_on(grouped: Model) -> None:
    task, layers = random_task(), grouped.record.n_layers
    found, positions = ablation(grouped, task, range(6)), sum(len(pair.clean) for pair in task.pairs)
    late = np.zeros((5, *shape(grouped)), bool)
    late[1:, -1] = np.eye(4, dtype=bool)  # the empty set, and every head of the last layer alone
    with counted(grouped) as run:
        found.m(late)
    assert run.blocks == {layers - 1: 4 * positions}  # nothing below; the empty set is the kept run
    early = late | (np.arange(layers) == 0)[:, None]  # all of them with all of layer 0
    with counted(grouped) as run:
        found.m(early)
    assert run.blocks == {0: positions, 1: positions, 2: 5 * positions}  # one state until the last layer
    with counted(grouped) as run:
        found.m(np.concatenate([late, early]))
    assert run.layers == run.logits == 0  # a set asked for again is not run again


def test_only_the_tasks_tokens_are_unembedded_and_attention_is_not_computed_where_it_is_given(grouped: Model) -> None:
    task = random_task()
    clean, corrupted = trace(grouped, task, 4), trace(grouped, task, 4, corrupted=True)
    tokens = {i for pair in task.pairs for i in (*pair.answer_ids, *pair.foil_ids)}
    layers, heads = shape(grouped)
    with counted(grouped) as run:
        direct_effects(grouped, task, clean, corrupted)
    rows = heads * layers * 6 + 6  # one token a head and prompt, and the check that nothing changes
    assert run.logits == rows * len(tokens)
    assert run.layers == heads * 6 * sum(range(1, layers + 1)) + 6 * layers
    assert not run.attention


def test_a_few_heads_by_gradient_are_the_largest(grouped: Model) -> None:
    task = random_task()
    clean, corrupted = trace(grouped, task, 4), trace(grouped, task, 4, corrupted=True)
    whole = direct_effects(grouped, task, clean, corrupted).effects
    with counted(grouped) as run:
        some = direct_effects(grouped, task, clean, corrupted, most=4).effects
    known = np.isfinite(some[0])
    assert known.sum() == 4
    np.testing.assert_allclose(some[:, known], whole[:, known], atol=1e-5)
    assert np.abs(whole.mean(0)).argmax() in np.flatnonzero(known)
    assert run.layers <= (4 * 6 + 2 * 6) * grouped.record.n_layers  # four heads, the check, the gradient


def test_gates_give_the_derivative_of_restoring_a_head(grouped: Model) -> None:
    """A thousandth of the way back to z moves m by a thousandth of the estimate."""
    task, step = random_task(), 0.001
    found = ablation(grouped, task, range(6))
    ablated = np.zeros(shape(grouped), bool)
    ablated[0, 1] = ablated[1, :3] = ablated[2] = True
    estimate = found.restored(ablated)
    assert (estimate[:, ~ablated] == 0).all()
    assert (np.abs(estimate[:, ablated]).max(0) > 0).all()
    base = found.m(ablated[None])[0]
    for batch in found.prompts:
        donor = [found.means.of(i, batch.pairs) for i in range(3)]
        for layer, head in ((0, 1), (1, 2), (2, 3)):
            share = step * (np.arange(12) == 4 * layer + head).reshape(3, 4)
            hooks = {("z", i): _restoring(ablated[i], donor[i], share[i]) for i in range(3)}
            logits = grouped.run(batch.clean.ids, hooks)
            for at, row in enumerate(batch.rows.tolist()):
                change = metric_of(grouped, task.pairs[row], logits[at : at + 1]) - base[row]
                wanted = estimate[row, layer, head]
                assert change / step == pytest.approx(wanted, abs=0.02 * np.abs(estimate).max())


def _restoring(ablated: np.ndarray, donor: torch.Tensor, share: np.ndarray) -> Callable[[torch.Tensor], torch.Tensor]:
    """A hook on z that ablates heads [head] but for a share [head] of their own z."""
    kept = torch.from_numpy(np.where(ablated, share, 1.0)).float()[:, None]
    return lambda z: torch.lerp(donor, z, kept)


# How the cost grows with the number of heads: four times as many of the same size in as many layers.


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    folder: Path = tmp_path_factory.mktemp("sizes")
    size = {"intermediate_size": 64, "num_hidden_layers": 4, "num_key_value_heads": 2, "head_dim": 8}
    made = [
        tiny_folder("mistral", folder / str(heads), **size, hidden_size=8 * heads, num_attention_heads=heads)
        for heads in (8, 32)
    ]
    return [load(path, device="cpu") for path in made]


def test_effects_cost_as_many_positions_as_there_are_heads(sizes: list[Model]) -> None:
    task, direct, total = random_task(), list[int](), list[int]()
    for model in sizes:
        clean, corrupted = trace(model, task, 8), trace(model, task, 8, corrupted=True)
        prompts = Batches(model, task, range(6))
        list(prompts)
        with counted(model) as run:
            direct_effects(model, task, clean, corrupted)
        direct.append(run.layers)
        with counted(model) as run:
            total_effects(prompts, np.ones(shape(model), bool), denoising=True)
        total.append(run.layers)
    assert 3.5 < direct[1] / direct[0] <= 4
    assert 3.5 < total[1] / total[0] <= 4


def test_the_search_for_missed_heads_costs_the_same_with_four_times_the_heads(sizes: list[Model]) -> None:
    task, tried, layers = random_task(), list[int](), list[int]()
    for model in sizes:
        found, seen = ablation(model, task, range(6)), list[int]()
        every = np.ones((1, *shape(model)), bool)

        def m(sets: np.ndarray, of: Ablation = found, into: list[int] = seen) -> np.ndarray:
            into.append(len(sets))
            out: np.ndarray = of.m(sets)
            return out

        templates = np.array([pair.template for pair in task.pairs])
        none, clean = found.m(every)[0], found.m(~every)[0]
        search = MissedHeadSearch(m, found.restored, clean, none, templates, 2, -np.inf, 5)
        with counted(model) as run:
            ways = search.ways(np.zeros(shape(model), bool))
        assert [len(way.heads) for way in ways] == [2, 2]
        tried.append(max(seen))
        layers.append(run.layers)
    assert tried == [5, 5]
    assert layers[1] <= 1.1 * layers[0]


def test_no_more_memory_is_held_than_a_pass_and_the_states_need(
    grouped: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty sets at once hold what one needs, and the states between layers."""
    monkeypatch.setattr(passes, "ROWS", 12)
    found, rng = ablation(grouped, random_task(), range(6)), np.random.default_rng(0)
    peaks = []
    for count in (4, 80):
        monkeypatch.setattr(passes, "STATES", 4 * 18 * grouped.record.d_model)
        with Allocations() as made:
            found.m(rng.random((count, *shape(grouped))) < 0.5)
        peaks.append(made.peak)
    assert peaks[1] < 1.5 * peaks[0]
